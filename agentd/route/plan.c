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
		[PLAN_FASTEST] = "fastest",
		[PLAN_LEAST_BUSY] = "least_busy",
		[PLAN_HEADROOM] = "headroom",
		[PLAN_ALONE] = "alone",
		[PLAN_KEPT] = "max_ejected",
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

#define LATENCY_UNITS (1u << 18) /* of 256 microseconds: its square times minus_log2() fits */
#define LEFT_STEPS    50         /* within one of these they share by chance */

/* The fastest that can be called; 0: none is known. */
static usec fastest_of(const struct policy_model *m, const struct target_now *now)
{
	usec best = 0;

	for (uint32_t i = 0; i < m->n_targets; i++) {
		usec us = now[i].state == TARGET_OK ? now[i].numbers.latency_us : 0;

		if (us && (!best || us < best))
			best = us;
	}
	return best;
}

/* What it lags behind the best is believed less the older it is: so it is tried again, the sooner
 * the more calls there are. One without a number counts as the best. */
static uint64_t latency_of(const struct health_numbers *n, usec best)
{
	usec lag = MAX(n->latency_us - best, (usec)0), age = n->latency_age_us;

	lag = age >= 32 * PLAN_AGE_HALF_US ? 0 : lag >> age / PLAN_AGE_HALF_US;
	lag -= lag / 2 * (age % PLAN_AGE_HALF_US / USEC_PER_MS) / (PLAN_AGE_HALF_US / USEC_PER_MS);
	return MIN(MAX((uint64_t)(best + lag) >> 8, UINT64_C(1)), (uint64_t)LATENCY_UNITS);
}

/* The smaller comes first: score / weight. By weight: exponential times, the first of which comes
 * in proportion to the weights; with the same seed a target that leaves moves only its own callers
 * (weighted rendezvous hashing). fastest: likewise, with the inverse square of the latency for a
 * weight. */
static uint64_t score_of(const struct policy_model *m, const struct target_now *now, uint32_t i,
	uint64_t seed, usec best)
{
	const struct health_numbers *n = &now[i].numbers;
	uint64_t drawn, latency;

	switch (m->strategy) {
	case STRATEGY_priority: return i;
	case STRATEGY_cheapest: return (uint64_t)now[i].price;
	case STRATEGY_weighted:
	case STRATEGY_fastest:
	case STRATEGY_least_busy:
	case STRATEGY_headroom: break;
	}
	drawn = minus_log2(mix(seed ^ now[i].hash));
	if (m->strategy == STRATEGY_fastest) {
		latency = latency_of(n, best);
		return drawn * latency * latency;
	}
	if (m->strategy == STRATEGY_headroom)
		drawn |= (uint64_t)(LEFT_STEPS - n->left * LEFT_STEPS / HEALTH_LEFT_ALL) << 32;
	return drawn;
}

static enum plan_why reason_of(const struct policy_model *m)
{
	if (m->n_targets == 1)
		return PLAN_ONLY;
	switch (m->strategy) {
	case STRATEGY_priority: return PLAN_ORDER;
	case STRATEGY_cheapest: return PLAN_CHEAPEST;
	case STRATEGY_fastest: return PLAN_FASTEST;
	case STRATEGY_least_busy: return PLAN_LEAST_BUSY;
	case STRATEGY_headroom: return PLAN_HEADROOM;
	case STRATEGY_weighted: break;
	}
	return m->sticky == STICKY_request ? PLAN_WEIGHT : PLAN_STICKY;
}

static bool is_before(const struct policy_model *m, const struct target_now *now,
	const uint64_t *score, uint8_t a, uint8_t b)
{
	uint64_t v = m->targets[a].weight, w = m->targets[b].weight;
	uint64_t x = score[a], y = score[b];

	if (m->targets[a].priority != m->targets[b].priority)
		return m->targets[a].priority < m->targets[b].priority;
	if (m->strategy == STRATEGY_least_busy &&
		now[a].numbers.in_flight * w != now[b].numbers.in_flight * v)
		return now[a].numbers.in_flight * w < now[b].numbers.in_flight * v;
	if (m->strategy == STRATEGY_weighted || m->strategy == STRATEGY_least_busy) {
		x *= w;
		y *= v;
	}
	return x != y ? x < y : a < b;
}

/* None can be called now. */
static void none_is_well(const struct policy_model *m, const struct target_now *now, struct plan *p)
{
	usec soonest = TARGET_NEVER;
	int best = -1;

	for (uint32_t i = 0; i < m->n_targets; i++)
		if (p->why[i] == PLAN_OUT && now[i].recover_us != TARGET_NEVER) {
			soonest = MIN(soonest, now[i].recover_us);
			if (now[i].state != TARGET_DRAINED && now[i].state != TARGET_AT_CAPACITY &&
				(best < 0 || now[i].recover_us < now[best].recover_us))
				best = (int)i;
		}
	p->recover_us = soonest == TARGET_NEVER ? 0 : soonest;
	if (best < 0 || !m->try_best)
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

static bool is_well(const struct target_now *n)
{
	return target_is_callable(n->state, n->recover_us);
}

static bool is_ejected(const struct target_now *n)
{
	return !is_well(n) && (n->state == TARGET_OPEN || n->state == TARGET_PROBING);
}

/* Does target i stay, though its circuit is open? Of its priority's targets that may serve, at most
 * the smallest max_ejected of them is left out, and one at least; those back soonest stay. */
static bool is_kept(const struct policy_model *m, const struct target_now *now,
	const struct plan_ask *ask, bool any_size, uint32_t i)
{
	uint32_t n = 0, out = 0, sooner = 0, share = 100;
	uint8_t why;

	if (!is_ejected(&now[i]))
		return false;
	for (uint32_t k = 0; k < m->n_targets; k++) {
		const struct policy_target *t = &m->targets[k];

		if (t->priority != m->targets[i].priority || !is_eligible(t, ask, any_size, &why))
			continue;
		n++;
		share = MIN(share, t->max_ejected);
		if (!is_ejected(&now[k]))
			continue;
		out++;
		sooner += now[k].recover_us < now[i].recover_us ||
			  (now[k].recover_us == now[i].recover_us && k < i);
	}
	return sooner + MAX(n * share / 100, 1u) < out;
}

/* Where there is nothing to choose among, the strategy decides nothing. */
static void note_alone(const struct policy_model *m, struct plan *p)
{
	for (uint8_t at = 0; at < p->n; at++) {
		uint8_t i = p->target[at];
		bool first =
			!at || m->targets[p->target[at - 1]].priority != m->targets[i].priority;
		bool last = at + 1 == p->n ||
			    m->targets[p->target[at + 1]].priority != m->targets[i].priority;

		if (first && last && p->why[i] == reason_of(m))
			p->why[i] = PLAN_ALONE;
	}
}

/* True: some were left out for their size alone, and none is left but for that. */
static bool order(const struct policy_model *m, const struct target_now *now,
	const struct plan_ask *ask, bool any_size, struct plan *ret)
{
	uint64_t score[POLICY_TARGETS_MAX];
	usec best = m->strategy == STRATEGY_fastest ? fastest_of(m, now) : 0;
	bool small = false, eligible = false;

	ret->n = 0;
	ret->kept = 0;
	for (uint32_t i = 0; i < m->n_targets; i++) {
		bool well = is_well(&now[i]);
		uint8_t at = ret->n;

		ret->state[i] = (uint8_t)now[i].state;
		if (!is_eligible(&m->targets[i], ask, any_size, &ret->why[i])) {
			small |= ret->why[i] == PLAN_TOO_SMALL;
			continue;
		}
		eligible = true;
		ret->why[i] = well ? (uint8_t)reason_of(m) : PLAN_OUT;
		if (!well && m->keeps_some && is_kept(m, now, ask, any_size, i)) {
			ret->why[i] = PLAN_KEPT;
			ret->kept |= (uint16_t)(1u << i);
			well = true;
		}
		if (!well)
			continue;
		score[i] = m->n_targets > 1 ? score_of(m, now, i, ask->seed, best) : 0;
		for (; at > 0 && is_before(m, now, score, (uint8_t)i, ret->target[at - 1]); at--)
			ret->target[at] = ret->target[at - 1];
		ret->target[at] = (uint8_t)i;
		ret->n++;
	}
	if (m->n_targets > 1)
		note_alone(m, ret);
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

usec plan_again_us(const struct plan *p, uint8_t target, enum target_state s, usec recover_us)
{
	if ((s == TARGET_OPEN && p->degraded) || plan_keeps(p, target, s))
		return 0;
	if (s == TARGET_RATE_LIMITED || s == TARGET_AT_CAPACITY)
		return recover_us;
	return s != TARGET_OPEN && target_is_callable(s, recover_us) ? recover_us : TARGET_NEVER;
}

/* What a target puts into the draw with the one that came first of its priority; 0: it is in none
 * with it. */
static uint64_t lot_of(const struct policy_model *m, const struct target_now *now, uint8_t first,
	uint8_t i, usec best)
{
	uint64_t latency, v = m->targets[first].weight, w = m->targets[i].weight;

	switch (m->strategy) {
	case STRATEGY_priority:
	case STRATEGY_cheapest: return 0;
	case STRATEGY_weighted: return w;
	case STRATEGY_fastest:
		latency = latency_of(&now[i].numbers, best);
		return (UINT64_C(1) << 49) / (latency * latency);
	case STRATEGY_least_busy:
		return now[i].numbers.in_flight * v == now[first].numbers.in_flight * w ? w : 0;
	case STRATEGY_headroom: break;
	}
	return now[i].numbers.left * LEFT_STEPS / HEALTH_LEFT_ALL ==
	       now[first].numbers.left * LEFT_STEPS / HEALTH_LEFT_ALL;
}

bool plan_odds(const struct policy_model *m, const struct target_now *now, const struct plan *p,
	uint16_t odds[static POLICY_TARGETS_MAX])
{
	usec best = m->strategy == STRATEGY_fastest ? fastest_of(m, now) : 0;
	bool any = false;
	uint8_t end;

	for (uint32_t i = 0; i < m->n_targets; i++)
		odds[i] = PLAN_NO_DRAW;
	for (uint8_t at = 0; at < p->n; at = end) {
		uint8_t first = p->target[at];
		uint64_t sum = 0;
		unsigned n = 0;

		for (end = at; end < p->n &&
			       m->targets[p->target[end]].priority == m->targets[first].priority;
			end++) {
			uint64_t lot = lot_of(m, now, first, p->target[end], best);

			sum += lot;
			n += lot > 0;
		}
		for (uint8_t k = at; k < end && n > 1; k++) {
			uint64_t lot = lot_of(m, now, first, p->target[k], best);

			if (lot)
				odds[p->target[k]] = (uint16_t)((lot * 1000 + sum / 2) / sum);
			any = true;
		}
	}
	return any;
}
