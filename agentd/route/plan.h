/* Which targets a call goes to, best first, and why: a pure function of the model's rules, how its
 * targets stand, and a number. The one function that every path asks that may send a call. Any
 * thread; allocates nothing. */
#ifndef AGENTD_ROUTE_PLAN_H
#define AGENTD_ROUTE_PLAN_H

#include "route/health.h"

#include <aigw/policy_doc.h>

enum plan_why {
	/* its place in the plan */
	PLAN_ONLY,     /* the model has one target */
	PLAN_WEIGHT,   /* drawn by weight */
	PLAN_STICKY,   /* the same for the same caller */
	PLAN_ORDER,    /* as the file has it */
	PLAN_CHEAPEST, /* today's price */
	PLAN_BEST,     /* all are out: back soonest */
	/* no place */
	PLAN_WEIGHT_0,
	PLAN_OUT /* see its state */
};
const char *plan_why_name(enum plan_why w);

#define TARGET_NEVER INT64_MAX /* recover_us: not by waiting */

struct target_now {
	enum target_state state;
	usec recover_us;
	int64_t price; /* nano, for a million tokens in and a million out; INT64_MAX: none */
	uint64_t hash; /* of its names */
};

struct plan {
	uint8_t n;                          /* places */
	uint8_t target[POLICY_TARGETS_MAX]; /* of the model's targets, best first */
	uint8_t why[POLICY_TARGETS_MAX];    /* of each target, in the model's order */
	bool degraded;                      /* all are out, and one is tried all the same */
	usec recover_us;                    /* no place: until the soonest is back */
};

/* `now`: of each target. `seed`: chance, or who it is that should get the same again. */
void plan_make(const struct policy_model *m, const struct target_now *now, uint64_t seed,
	struct plan *ret);

#endif
