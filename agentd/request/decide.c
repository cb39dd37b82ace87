#include "request/decide.h"

#include "dialect/openai_needs.h"

static const struct policy_model *model_of(const struct decide_ask *a)
{
	return &a->rules->policy->doc->models[a->model];
}

/* --- how its targets stand ------------------------------------------------------------ */

static int64_t price_of(const struct decide_ask *a, uint32_t target)
{
	const struct policy_doc *d = a->rules->policy->doc;
	const struct policy_target *t = &d->targets[target];
	const struct policy_price *p =
		a->worker ? worker_rules_price(a->worker, target, a->wall_us)
			  : policy_doc_price(d, t->provider, t->model, a->wall_us);
	int64_t sum;

	return !p || __builtin_add_overflow(
			     p->price.nano[PRICE_input], p->price.nano[PRICE_output], &sum)
		       ? INT64_MAX
		       : sum;
}

struct health_numbers decide_numbers(
	const struct rules *r, const struct health *h, uint32_t target, usec now)
{
	struct health_ways w = rules_ways(r, target);
	struct health_numbers n = health_read(h, w.target, now);

	/* With several credentials the one that has most left is yet to come. */
	for (uint32_t i = 0; w.pairs && i < w.n; i++) {
		uint32_t left = health_read(h, w.pairs[i], now).left;

		n.left = i && left < n.left ? n.left : left;
	}
	return n;
}

static struct target_now stand_of(const struct decide_ask *a, uint32_t target)
{
	const struct policy_model *m = model_of(a);
	struct health_ways ways = rules_ways(a->rules, target);
	struct target_now n = { .hash = a->rules->policy->target_hash[target] };
	uint32_t way;

	if (m->strategy == STRATEGY_cheapest)
		n.price = price_of(a, target);
	else if (m->strategy >= STRATEGY_fastest)
		n.numbers = decide_numbers(a->rules, a->health, target, a->now);
	n.state = health_stand(a->health, &ways, 0, a->now, &n.recover_us, &way);
	return n;
}

/* --- what it needs -------------------------------------------------------------------- */

/* Chance, or what this call has in common with others. */
static uint64_t seed_of(const struct decide_ask *a, struct slice cache_key, enum decide_seed *by)
{
	const struct policy_model *m = model_of(a);
	uint64_t seed = 0;

	if (m->sticky == STICKY_header) {
		*by = SEED_HEADER;
		seed = a->sticky_hash[m->sticky_header];
	} else if (m->sticky == STICKY_cache_key && cache_key.n) {
		*by = SEED_CACHE_KEY;
		seed = plan_seed(cache_key);
	} else if (m->sticky != STICKY_key && m->sticky != STICKY_request && a->facts->user.n > 2) {
		*by = SEED_USER;
		seed = plan_seed(a->facts->user);
	} else if (m->sticky != STICKY_request) {
		*by = SEED_CALLER;
		seed = a->caller;
	}
	if (!seed)
		*by = SEED_CHANCE;
	return seed ? seed : a->chance;
}

static uint32_t endpoint_need(uint8_t endpoint)
{
	switch (endpoint) {
	case ENDPOINT_chat: return CAPABILITY_BIT(chat);
	case ENDPOINT_completions: return CAPABILITY_BIT(completions);
	case ENDPOINT_responses: return CAPABILITY_BIT(responses);
	case ENDPOINT_embeddings: return CAPABILITY_BIT(embeddings);
	case ENDPOINT_transcriptions:
	case ENDPOINT_translations: return CAPABILITY_BIT(transcription);
	case ENDPOINT_speech: return CAPABILITY_BIT(speech);
	case ENDPOINT_images:
	case ENDPOINT_image_edits:
	case ENDPOINT_image_variations: return CAPABILITY_BIT(images);
	default: return CAPABILITY_BIT(moderations);
	}
}

static struct plan_ask needs_of(const struct decide_ask *a, enum decide_seed *by)
{
	const struct policy_model *m = model_of(a);
	const struct policy_project *project = &a->rules->policy->doc->projects[a->project];
	struct plan_ask ask = { .tags = m->require_tags | project->require_tags | a->require_tags,
		.output_tokens = a->facts->max_output_tokens };
	struct openai_needs needs = { 0 };
	bool looks = m->lists_capabilities || m->has_windows || m->sticky == STICKY_cache_key;

	if (looks && a->body.n)
		openai_needs(a->body, &needs);
	if (m->lists_capabilities)
		ask.needs = endpoint_need(a->endpoint) | needs.features;
	/* Four bytes a token; pictures and sound count by rules of their own. */
	if (m->has_windows && a->input_tokens)
		ask.input_tokens = a->input_tokens;
	else if (m->has_windows &&
		 !(needs.features & (CAPABILITY_BIT(vision) | CAPABILITY_BIT(audio))))
		ask.input_tokens = (int64_t)(a->body.n + 3) / 4;
	ask.seed = seed_of(a, needs.cache_key, by);
	return ask;
}

/* Some could serve it, but not now; else none ever may. */
static enum fail refusal_of(const struct policy_model *m, const struct decision *v)
{
	unsigned limited = 0, missing = 0, full = 0, out = 0;

	for (uint32_t i = 0; i < m->n_targets; i++) {
		if (v->plan->why[i] != PLAN_OUT)
			continue;
		out++;
		limited += v->now[i].state == TARGET_RATE_LIMITED;
		full += v->now[i].state == TARGET_AT_CAPACITY;
		missing += v->now[i].recover_us == TARGET_NEVER;
	}
	if (!out)
		return FAIL_no_eligible_target;
	if (missing == out)
		return FAIL_upstream_no_credential;
	if (full)
		return FAIL_provider_at_capacity;
	return limited + missing == out ? FAIL_upstream_rate_limited : FAIL_upstream_unavailable;
}

void decide(const struct decide_ask *a, struct decision *ret)
{
	const struct policy_model *m = model_of(a);
	uint32_t first = (uint32_t)(m->targets - a->rules->policy->doc->targets);

	ret->needs = needs_of(a, &ret->seed);
	for (uint32_t i = 0; i < m->n_targets; i++)
		ret->now[i] = stand_of(a, first + i);
	plan_make(m, ret->now, &ret->needs, ret->plan);
	ret->refused = ret->plan->n ? FAIL_none : refusal_of(m, ret);
}
