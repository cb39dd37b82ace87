/* What a try tells of its target, for the strategies that ask: calls in flight, the time to the
 * first content, what is left of the provider's limit. Calls in flight are counted for each, in
 * its worker's own memory, since the stats show them; the rest costs a branch where none asks. */
#include "dialect/openai_hint.h"
#include "request/holds.h"

#include <aigw/text.h>

static enum policy_strategy strategy_of(const struct request *r)
{
	return r->rules->rules->policy->doc->models[r->model].strategy;
}

static uint32_t place_of(const struct request *r)
{
	return r->rules->rules->policy->target_place[r->target];
}

void measure_begin(struct request *r)
{
	struct health *h = r->env->gw->health;

	r->on_target = true;
	health_in_flight(h, r->env->worker, place_of(r), 1);
	if (strategy_of(r) != STRATEGY_fastest)
		return;
	r->awaits_content = true;
	r->try_at_us = loop_now(r->env->loop);
	health_asked(h, place_of(r), r->try_at_us);
}

static void tell_latency(struct request *r, bool answered)
{
	usec now = loop_now(r->env->loop);

	r->awaits_content = false;
	health_latency(r->env->gw->health, place_of(r), now, now - r->try_at_us, answered);
}

void measure_content(struct request *r)
{
	if (r->awaits_content)
		tell_latency(r, true);
}

static bool number_of(const struct h1_head *h, struct slice name, int64_t *ret)
{
	const struct h1_field *f = h1_find(h, name);
	int64_t nano;

	if (!f || text_parse_nano(slice_trim(f->value), false, &nano) < 0)
		return false;
	*ret = nano / 1000000000;
	return true;
}

/* *ret_left: of the limit of requests or of that of tokens, the scarcer (x-ratelimit-, OpenAI,
 * 2026-11); *ret_reset_us: until that one is whole again, 0: not said. False: nothing is said. */
static bool read_limits(const struct h1_head *h, uint32_t *ret_left, usec *ret_reset_us)
{
	static const struct {
		struct slice limit, remaining, reset;
	} kinds[] = {
		{ SLICE_INIT("x-ratelimit-limit-requests"),
			SLICE_INIT("x-ratelimit-remaining-requests"),
			SLICE_INIT("x-ratelimit-reset-requests") },
		{ SLICE_INIT("x-ratelimit-limit-tokens"),
			SLICE_INIT("x-ratelimit-remaining-tokens"),
			SLICE_INIT("x-ratelimit-reset-tokens") },
	};
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const struct h1_field *reset;
		int64_t limit, remaining;
		uint32_t left = 0;

		if (!number_of(h, kinds[i].limit, &limit) || limit <= 0 ||
			!number_of(h, kinds[i].remaining, &remaining))
			continue;
		/* Both fit 34 bits. */
		left = (uint32_t)(MIN(remaining, limit) * HEALTH_LEFT_ALL / limit);
		if (found && left >= *ret_left)
			continue;
		found = true;
		reset = h1_find(h, kinds[i].reset);
		*ret_left = left;
		*ret_reset_us = reset ? openai_hint_of(reset->value) : 0;
	}
	return found;
}

void measure_head(struct request *r, const struct h1_head *h)
{
	struct health_ways w;
	uint32_t left = 0;
	usec reset;

	if (strategy_of(r) != STRATEGY_headroom || !read_limits(h, &left, &reset))
		return;
	w = rules_ways(r->rules->rules, r->target);
	health_left(r->env->gw->health, w.pairs ? w.pairs[r->credential] : w.target,
		loop_now(r->env->loop), left, reset);
}

void measure_end(struct request *r)
{
	holds_give_provider(r);
	if (!r->on_target)
		return;
	r->on_target = false;
	health_in_flight(r->env->gw->health, r->env->worker, place_of(r), -1);
	if (r->awaits_content)
		tell_latency(r, false);
}
