/* Names to addresses, cached per worker: one look-up per name in flight (libuv's thread pool serves
 * nothing else), answers kept RESOLVE_FRESH_US, the last good one served while a look-up fails. IP
 * addresses need no look-up. Worker's thread. */
#ifndef AGENTD_UPSTREAM_RESOLVE_H
#define AGENTD_UPSTREAM_RESOLVE_H

#include <aigw/loop.h>
#include <aigw/slice.h>
#include <netinet/in.h>

#define RESOLVE_MAX_ADDRS 8
#define RESOLVE_FRESH_US  (30 * USEC_PER_S)

struct resolve_waiter {
	struct list node;
	void (*done)(struct resolve_waiter *w, int err); /* 0: resolver has addresses */
};

struct resolver {
	struct loop *loop;
	char host[256];
	char port[8];
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addrs[RESOLVE_MAX_ADDRS]; /* both families, interleaved in the order of getaddrinfo */
	unsigned n_addrs;
	unsigned next; /* the one that worked last */
	usec fresh_until_us;
	bool is_ip, looking, telling;
	uv_getaddrinfo_t req;
	struct list waiters;
	void (*idle)(struct resolver
			*r); /* set by the owner that waits for the look-up's end before it frees */
};

/* A look-up is on its way, or its waiters are being told: the memory may not go. */
static inline bool resolver_is_busy(const struct resolver *r)
{
	return r->looking || r->telling;
}

int resolver_init(struct resolver *r, struct loop *l, struct slice host, uint16_t port);
/* True: addresses are there. False: w->done comes later (or was queued behind a look-up on its
 * way). */
bool resolver_get(struct resolver *r, struct resolve_waiter *w);
void resolver_cancel(struct resolve_waiter *w);

#endif
