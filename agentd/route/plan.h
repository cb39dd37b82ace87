/* Which targets a call goes to, best first, and why: a pure function of the model's rules, how its
 * targets stand, and a number. The one function that every path asks that may send a call. Any
 * thread; allocates nothing. */
#ifndef AGENTD_ROUTE_PLAN_H
#define AGENTD_ROUTE_PLAN_H

#include "route/health.h"

#include <aigw/policy_doc.h>

enum plan_why {
	/* its place in the plan */
	PLAN_ONLY,       /* the model has one target */
	PLAN_WEIGHT,     /* drawn by weight */
	PLAN_STICKY,     /* the same for the same caller */
	PLAN_ORDER,      /* as the file has it */
	PLAN_CHEAPEST,   /* today's price */
	PLAN_FASTEST,    /* drawn by its time to first content */
	PLAN_LEAST_BUSY, /* calls in flight per weight */
	PLAN_HEADROOM,   /* what is left of its limit */
	PLAN_ALONE,      /* in the plan no other one has its priority */
	PLAN_KEPT,       /* its circuit is open, but so are too many: max_ejected */
	PLAN_BEST,       /* all are out: back soonest */
	/* no place */
	PLAN_WEIGHT_0,
	PLAN_TAGS,      /* it lacks a tag that is required */
	PLAN_LACKS,     /* it can't do what the request needs */
	PLAN_TOO_SMALL, /* for the prompt, or for the output asked for */
	PLAN_OUT,       /* see its state */
	PLAN_WHY_COUNT
};
const char *plan_why_name(enum plan_why w);

#define PLAN_AGE_HALF_US                                                                           \
	(10 * USEC_PER_S) /* fastest: without calls, half of a lag is forgotten                    \
			   */

struct target_now {
	enum target_state state;
	usec recover_us;
	int64_t price; /* nano, for a million tokens in and a million out; INT64_MAX: none */
	uint64_t hash; /* of its names */
	struct health_numbers numbers; /* where the strategy asks for them */
};

/* What the request needs. */
struct plan_ask {
	uint64_t seed;  /* chance, or who it is that should get the same again */
	uint64_t tags;  /* a target has to carry all of these */
	uint32_t needs; /* bits of enum capability: a target has to have all of them */
	int64_t input_tokens, output_tokens; /* estimated; asked for. 0: don't mind */
};

struct plan {
	uint8_t n;                          /* places */
	uint8_t target[POLICY_TARGETS_MAX]; /* of the model's targets, best first */
	uint8_t why[POLICY_TARGETS_MAX];    /* of each target, in the model's order */
	uint16_t kept;                      /* bits, by the model's order: PLAN_KEPT */
	uint8_t state[POLICY_TARGETS_MAX];  /* likewise: how it stood */
	bool degraded;                      /* all are out, and one is tried all the same */
	usec recover_us;                    /* no place: until the soonest is back */
};

/* A seed of a text: the same on every host. Never 0. */
uint64_t plan_seed(struct slice s);

/* A zeroed one has not been made yet. */
static inline bool plan_is_made(const struct plan *p)
{
	return p->n || p->why[0] >= PLAN_WEIGHT_0;
}

/* May it be called, its circuit being as it is now? */
static inline bool plan_keeps(const struct plan *p, uint8_t target, enum target_state s)
{
	return p->kept >> target & 1 && (s == TARGET_OPEN || s == TARGET_PROBING);
}

/* After a try elsewhere that came to nothing: may this one be tried next? */
static inline bool plan_may_follow(
	const struct plan *p, uint8_t target, enum target_state s, usec recover_us)
{
	return target_is_callable(s, recover_us) || plan_keeps(p, target, s);
}

/* All have been tried: in how long this one may be tried again. TARGET_NEVER: by other calls only.
 * Nobody waits for a circuit: either it is open, or all are and one is tried. */
usec plan_again_us(const struct plan *p, uint8_t target, enum target_state s, usec recover_us);

/* `now`: of each target. Where every target that may serve is too small by our estimate, the
 * provider has the last word: none is left out for it. */
void plan_make(const struct policy_model *m, const struct target_now *now,
	const struct plan_ask *ask, struct plan *ret);

#define PLAN_NO_DRAW UINT16_MAX
/* For who asks why: in how many of a thousand plans like this one each target of the plan comes
 * first of its priority, where a draw decides that (by the seed); else PLAN_NO_DRAW. In the model's
 * order. True: somewhere one does. */
bool plan_odds(const struct policy_model *m, const struct target_now *now, const struct plan *p,
	uint16_t odds[static POLICY_TARGETS_MAX]);

#endif
