/* What a try tells of its target, for the strategies that ask: calls in flight, the time to the
 * first content, what is left of the provider's limit. Calls in flight are counted for each, in
 * its worker's own memory, since the stats show them; the rest costs a branch where none asks. */
#include "dialect/openai_hint.h"
#include "request/holds.h"

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

void measure_head(struct request *r, const struct h1_head *h)
{
	struct health_ways w;
	uint32_t left = 0;
	usec reset;

	if (strategy_of(r) != STRATEGY_headroom ||
		!openai_limit_left(h, r->wall_us + loop_now(r->env->loop) - r->began_us,
			HEALTH_LEFT_ALL, &left, &reset))
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
