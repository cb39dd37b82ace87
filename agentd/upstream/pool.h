/* This worker's connections to one provider endpoint: idle ones kept last-used first (the hottest
 * is re-used), at most POOL_MAX_IDLE, each watched and dropped on any event. A pool outlives policy
 * revisions that keep its endpoint; it goes when nobody refers to it. Worker's thread. */
#ifndef AGENTD_UPSTREAM_POOL_H
#define AGENTD_UPSTREAM_POOL_H

#include "stats/stats.h"
#include "upstream/resolve.h"

#include <aigw/secret.h>
#include <aigw/stream.h>
#include <aigw/tls.h>
#include <aigw/url.h>

#define POOL_MAX_IDLE 64
#define POOL_IDLE_US  (55 * USEC_PER_S) /* below the 60 s after which many servers close */

struct attempt;
struct pool;

struct upstream_conn {
	struct stream *s; /* &plain.s or a TLS stream */
	struct pool *pool;
	struct attempt *attempt; /* who has it; NULL: idle or closing */
	struct list node;        /* idle list */
	struct deadline idle;
	bool used;                 /* has carried an answer before */
	struct stream_plain plain; /* last: TLS connections are allocated without it */
};

struct pool_config {
	struct loop *loop;
	struct stats_block *stats;
	uint32_t stat_slot;    /* STAT_PROVIDER */
	struct slice base_url; /* with ca_file the pool's identity */
	struct slice ca_file;
	struct url url;          /* of base_url */
	struct tls_trust *trust; /* for https; a reference is taken */
	const struct url *proxy; /* NULL: straight */
	struct slice tunnel;     /* what the proxy is asked */
};

struct pool {
	unsigned refs;
	struct loop *loop;
	struct stats_block *stats;
	uint32_t stat_slot;
	char *base_url;
	char *ca_file;
	char *authority;          /* Host */
	char *path;               /* prefix of the path, "/v1" */
	struct resolver resolver; /* of the proxy, where there is one */
	struct tls_client *tls;   /* NULL: plain */
	char *host;               /* whose certificate has to be shown */
	bool host_is_ip;
	struct secret tunnel; /* request to the proxy; empty: straight */
	struct list idle;
	unsigned n_idle, n_conns;
	bool closing; /* no new conns are kept */
};

int pool_new(const struct pool_config *c, struct pool **ret);
struct pool *pool_ref(struct pool *p);
void pool_unref(
	struct pool *p); /* at 0 idle connections close; memory goes with the last connection */
void pool_drop_idle(struct pool *p);

/* An idle connection, now a's, or NULL. */
struct upstream_conn *pool_take(struct pool *p, struct attempt *a);
/* A new connection to the resolver's address number `which`, now a's; attempt_on_open follows. */
int pool_connect(struct pool *p, struct attempt *a, unsigned which, struct upstream_conn **ret);
/* The answer ended cleanly: keep for the next (or close, if there are enough). */
void pool_give(struct upstream_conn *c);
/* Anything else: close at once. */
void pool_discard(struct upstream_conn *c);

#endif
