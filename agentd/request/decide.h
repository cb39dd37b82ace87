/* What is decided about a request before anything of it is sent: which targets may serve it, in
 * which order, and why. A function of what is given and of how targets stand; the request's own
 * step (route.c) and `explain route` ask it alike, so that what is explained is what happens. Any
 * thread that holds the rules. */
#ifndef AGENTD_REQUEST_DECIDE_H
#define AGENTD_REQUEST_DECIDE_H

#include "dialect/openai.h"
#include "request/rules.h"
#include "route/plan.h"

#include <aigw/fail.h>

struct decide_ask {
	const struct rules *rules;
	struct worker_rules *worker; /* keeps today's prices; NULL: they are looked up */
	const struct health *health;
	uint32_t project, model;
	uint8_t endpoint;
	const struct openai_facts *facts;
	struct slice body;     /* what the facts were read from; empty: not to be looked into */
	int64_t input_tokens;  /* 0: as many as the body seems to have */
	uint64_t require_tags; /* the key's, and what a header asks for */
	const uint64_t *sticky_hash; /* of the headers, by doc->sticky_headers; 0: not there */
	uint64_t caller;             /* who asks, for stickiness; 0: nobody known */
	uint64_t chance;             /* where nothing is to be the same */
	usec now, wall_us;
};

/* What the seed of a draw is. */
enum decide_seed { SEED_CHANCE, SEED_CALLER, SEED_USER, SEED_HEADER, SEED_CACHE_KEY };

struct decision {
	struct plan_ask needs;
	enum decide_seed seed;
	struct target_now now[POLICY_TARGETS_MAX];
	struct plan *plan; /* the caller's */
	enum fail refused; /* no place: what the client is told; else FAIL_none */
};

void decide(const struct decide_ask *a, struct decision *ret);
/* Numbers of a target for the strategies that go by them. */
struct health_numbers decide_numbers(
	const struct rules *r, const struct health *h, uint32_t target, usec now);

#endif
