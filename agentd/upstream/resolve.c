#include "upstream/resolve.h"

#include <netdb.h>

static int take_ip(struct resolver *r, uint16_t port)
{
	if (uv_ip4_addr(r->host, port, &r->addrs[0].in) &&
		uv_ip6_addr(r->host, port, &r->addrs[0].in6))
		return -ENOENT;
	r->n_addrs = 1;
	r->is_ip = true;
	return 0;
}

int resolver_init(struct resolver *r, struct loop *l, struct slice host, uint16_t port)
{
	memset(r, 0, sizeof(*r));
	r->loop = l;
	list_init(&r->waiters);
	if (host.n >= sizeof(r->host))
		return -ENAMETOOLONG;
	memcpy(r->host, host.p, host.n);
	(void)snprintf(r->port, sizeof(r->port), "%u", port);
	(void)take_ip(r, port);
	return 0;
}

/* The families take turns, so that a broken one costs one failed connect at most. */
static void keep(struct resolver *r, const struct addrinfo *all)
{
	const struct addrinfo *family[2] = { all, all };
	int want[2] = { all->ai_family, all->ai_family == AF_INET ? AF_INET6 : AF_INET };

	r->n_addrs = 0;
	r->next = 0;
	for (unsigned turn = 0; r->n_addrs < RESOLVE_MAX_ADDRS && (family[0] || family[1]);
		turn ^= 1) {
		const struct addrinfo **at = &family[turn];

		while (*at && (*at)->ai_family != want[turn])
			*at = (*at)->ai_next;
		if (!*at)
			continue;
		memcpy(&r->addrs[r->n_addrs++], (*at)->ai_addr,
			MIN((*at)->ai_addrlen, (socklen_t)sizeof(r->addrs[0])));
		*at = (*at)->ai_next;
	}
}

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *all)
{
	struct resolver *r = container_of(req, struct resolver, req);
	struct list waiting;

	r->looking = false;
	r->telling = true; /* one of them may be the last to hold our owner */
	if (status == 0 && all) {
		keep(r, all);
		r->fresh_until_us = loop_now(r->loop) + RESOLVE_FRESH_US;
	} else {
		/* The last good answer goes on serving; asked again after a second. */
		r->fresh_until_us = loop_now(r->loop) + USEC_PER_S;
	}
	uv_freeaddrinfo(all);
	list_init(&waiting);
	if (!list_is_empty(&r->waiters)) {
		list_insert_after(&r->waiters, &waiting);
		list_remove(&r->waiters);
	}
	while (!list_is_empty(&waiting)) {
		struct resolve_waiter *w = list_entry(waiting.next, struct resolve_waiter, node);

		list_remove(&w->node);
		w->done(w, r->n_addrs ? 0 : status ? status : -ENOENT);
	}
	r->telling = false;
	if (r->idle)
		r->idle(r);
}

bool resolver_get(struct resolver *r, struct resolve_waiter *w)
{
	static const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_ADDRCONFIG };
	int err;

	if (r->is_ip)
		return true;
	if (!r->looking && loop_now(r->loop) >= r->fresh_until_us) {
		r->looking = true;
		err = uv_getaddrinfo(&r->loop->uv, &r->req, on_found, r->host, r->port, &hints);
		if (err)
			r->looking = false;
	}
	if (r->n_addrs)
		return true;
	list_init(&w->node);
	if (!r->looking)
		return true; /* nothing to wait for: the caller sees n_addrs == 0 */
	list_push_back(&r->waiters, &w->node);
	return false;
}

void resolver_cancel(struct resolve_waiter *w)
{
	list_remove(&w->node);
}
