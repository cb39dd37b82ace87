/* What a request is judged by, as one value: the policy, the credentials, the trust stores, with
 * everything that can be computed once. Built by the control loop (which may wait for a disk),
 * immutable, counted. Each worker wraps the one in force in its own struct worker_rules: the pools
 * of its connections and small caches; requests refer to that until they are settled, so none ever
 * sees two revisions. */
#ifndef AGENTD_REQUEST_RULES_H
#define AGENTD_REQUEST_RULES_H

#include "policy/policy.h"
#include "policy/secrets.h"
#include "route/health.h"
#include "upstream/pool.h"
#include "upstream/proxy.h"

struct rules {
	_Atomic uint32_t refs;
	struct policy *policy;      /* owned reference */
	struct secret_set *secrets; /* owned reference */
	struct slice *model_json;   /* by target: its model's name as a JSON string with quotes */
	struct slice
		*credential; /* by doc->credentials: borrowed from secrets; empty: none found */
	uint32_t *usable;    /* by provider: bits of its credentials that were found */
	struct tls_trust **trust;  /* by provider; NULL: plain */
	const struct proxy *proxy; /* borrowed for the life of the agent; NULL: none */
	struct secret *tunnel;     /* by provider: what the proxy is asked; empty: straight */
	struct buf text;           /* memory of model_json */
};

/* policy and secrets: references are taken. `trust_cache`: the system's trust store, made when the
 * first TLS provider without a ca_file appears and kept by the caller. `proxy` may be NULL. */
int rules_build(struct policy *policy, struct secret_set *secrets, const struct proxy *proxy,
	struct tls_trust **trust_cache, struct rules **ret, struct errbuf *e);
/* What a call to the target (of the policy's) hangs on. */
struct health_ways rules_ways(const struct rules *r, uint32_t target);
/* The head's line that shows credential k of the provider's; none where it has none. */
void rules_put_credential(const struct rules *r, uint32_t provider, uint32_t k, struct buf *b);
/* Whether two credentials are the same bytes. */
bool rules_same_secret(const struct rules *a, uint32_t provider, uint32_t k, const struct rules *b,
	uint32_t other, uint32_t l);
/* Connections to the provider's endpoint, for one loop. */
int rules_pool(const struct rules *r, uint32_t provider, struct loop *l, struct stats_block *stats,
	struct pool **ret);
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules *r); /* any thread */

struct price_memo {
	int64_t day; /* UTC day that it was looked up for; -1: never */
	const struct policy_price *price;
};

#define RETRY_CREDIT_MAX 1000 /* ten at once */

/* One worker's. */
struct worker_rules {
	uint32_t refs;
	uint64_t serial; /* no other of this process has it */
	struct rules *rules;
	struct pool **pools;       /* by provider */
	struct price_memo *prices; /* by target */
	uint32_t *turn;            /* by provider: its credential for the next call */
	uint32_t *retry_credit;    /* by model, in hundredths of a retry: its budget */
};

/* Pools of `old` whose endpoint stays the same are taken over. */
int worker_rules_new(struct rules *r, const struct worker_rules *old, struct loop *l,
	struct stats_block *stats, struct worker_rules **ret);
struct worker_rules *worker_rules_ref(struct worker_rules *w);
void worker_rules_unref(struct worker_rules *w);
/* Price in force for the target (index of doc->targets); NULL: unpriced. */
const struct policy_price *worker_rules_price(
	struct worker_rules *w, uint32_t target, usec wall_us);

#endif
