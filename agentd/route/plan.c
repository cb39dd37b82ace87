#include "route/plan.h"

#include <aigw/crc.h>

const char *plan_why_name(enum plan_why w)
{
	static const char *const names[] = {
		[PLAN_ONLY] = "only",
		[PLAN_WEIGHT] = "weight",
		[PLAN_STICKY] = "sticky",
		[PLAN_ORDER] = "order",
		[PLAN_CHEAPEST] = "cheapest",
		[PLAN_BEST] = "back_soonest",
		[PLAN_WEIGHT_0] = "weight_0",
		[PLAN_TAGS] = "tags",
		[PLAN_LACKS] = "lacks",
		[PLAN_TOO_SMALL] = "too_small",
		[PLAN_OUT] = "out",
	};

	return names[w];
}

uint64_t plan_seed(struct slice s)
{
	uint64_t seed = (uint64_t)crc32c(0, s.p, s.n) << 32 | crc32c(1, s.p, s.n);

	return seed ? seed : 1;
}

/* splitmix64 (Steele, Lea, Flood 2014): each bit of the seed reaches each of the result. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* -log2(x / 2^64) in units of 2^-20: the fraction bit by bit, by squaring. */
static uint64_t minus_log2(uint64_t x)
{
	unsigned top = 63 - (unsigned)__builtin_clzll(x | 1);
	uint64_t m = (x | 1) << (63 - top) >> 32, bits = 0; /* 1 to 2, times 2^31 */

	for (int i = 0; i < 20; i++) {
		m = m * m >> 31;
		bits = bits << 1 | m >> 32;
		m >>= m >> 32;
	}
	return (UINT64_C(64) << 20) - ((uint64_t)top << 20 | bits);
}

/* The smaller comes first: score / weight. By weight: exponential times, the first of which comes
 * in proportion to the weights; with the same seed a target that leaves moves only its own callers
 * (weighted rendezvous hashing). */
static uint64_t score_of(
	const struct policy_model *m, const struct target_now *now, uint32_t i, uint64_t seed)
{
	switch (m->strategy) {
	case STRATEGY_priority: return i;
	case STRATEGY_cheapest: return (uint64_t)now[i].price;
	case STRATEGY_weighted: break;
	}
	return minus_log2(mix(seed ^ now[i].hash));
}

static enum plan_why reason_of(const struct policy_model *m)
{
	if (m->n_targets == 1)
		return PLAN_ONLY;
	switch (m->strategy) {
	case STRATEGY_priority: return PLAN_ORDER;
	case STRATEGY_cheapest: return PLAN_CHEAPEST;
	case STRATEGY_weighted: break;
	}
	return m->sticky == STICKY_request ? PLAN_WEIGHT : PLAN_STICKY;
}

static bool is_before(const struct policy_model *m, const uint64_t *score, uint8_t a, uint8_t b)
{
	bool weighs = m->strategy == STRATEGY_weighted;
	uint64_t x = score[a], y = score[b];

	if (m->targets[a].priority != m->targets[b].priority)
		return m->targets[a].priority < m->targets[b].priority;
	if (weighs) {
		x *= m->targets[b].weight;
		y *= m->targets[a].weight;
	}
	return x != y ? x < y : a < b;
}

/* None can be called now. */
static void none_is_well(const struct policy_model *m, const struct target_now *now, struct plan *p)
{
	int best = -1;

	for (uint32_t i = 0; i < m->n_targets; i++)
		if (p->why[i] == PLAN_OUT && now[i].recover_us != TARGET_NEVER &&
			(best < 0 || now[i].recover_us < now[best].recover_us))
			best = (int)i;
	if (best < 0)
		return;
	p->recover_us = now[best].recover_us;
	if (!m->try_best)
		return;
	p->degraded = true;
	p->why[best] = PLAN_BEST;
	p->target[p->n++] = (uint8_t)best;
}

/* May it serve such a request at all? */
static bool is_eligible(
	const struct policy_target *t, const struct plan_ask *ask, bool any_size, uint8_t *ret_why)
{
	bool small =
		(t->context_window && ask->input_tokens + ask->output_tokens > t->context_window) ||
		(t->max_output && ask->output_tokens > t->max_output);

	if (!t->weight)
		*ret_why = PLAN_WEIGHT_0;
	else if (ask->tags & ~t->tags)
		*ret_why = PLAN_TAGS;
	else if (ask->needs & ~t->capabilities)
		*ret_why = PLAN_LACKS;
	else if (small && !any_size)
		*ret_why = PLAN_TOO_SMALL;
	else
		return true;
	return false;
}

/* True: some were left out for their size alone, and none is left but for that. */
static bool order(const struct policy_model *m, const struct target_now *now,
	const struct plan_ask *ask, bool any_size, struct plan *ret)
{
	uint64_t score[POLICY_TARGETS_MAX];
	bool small = false, eligible = false;

	ret->n = 0;
	for (uint32_t i = 0; i < m->n_targets; i++) {
		bool well = now[i].state == TARGET_OK ||
			    (now[i].state == TARGET_OPEN && now[i].recover_us == 0);
		uint8_t at = ret->n;

		if (!is_eligible(&m->targets[i], ask, any_size, &ret->why[i])) {
			small |= ret->why[i] == PLAN_TOO_SMALL;
			continue;
		}
		eligible = true;
		ret->why[i] = well ? (uint8_t)reason_of(m) : PLAN_OUT;
		if (!well)
			continue;
		score[i] = m->n_targets > 1 ? score_of(m, now, i, ask->seed) : 0;
		for (; at > 0 && is_before(m, score, (uint8_t)i, ret->target[at - 1]); at--)
			ret->target[at] = ret->target[at - 1];
		ret->target[at] = (uint8_t)i;
		ret->n++;
	}
	return small && !eligible;
}

void plan_make(const struct policy_model *m, const struct target_now *now,
	const struct plan_ask *ask, struct plan *ret)
{
	ret->degraded = false;
	ret->recover_us = 0;
	if (order(m, now, ask, false, ret))
		(void)order(m, now, ask, true, ret);
	if (!ret->n)
		none_is_well(m, now, ret);
}
