/* What is asked, and which targets are to be tried: how they stand is read once, the rest is
 * plan_make()'s. */
#include "dialect/openai_needs.h"
#include "request/request.h"
#include "request/upload.h"

#include <aigw/json_scan.h>

void route_not_found(struct request *r, struct slice asked)
{
	struct slice near[3];
	unsigned n = policy_near_models(r->rules->rules->policy, r->project, asked, near);
	char text[512];
	int at;

	at = snprintf(text, sizeof(text), "The model '" SLICE_FMT "' does not exist here.",
		(int)MIN(asked.n, (size_t)127), asked.p);
	for (unsigned i = 0; i < n && at > 0 && (size_t)at < sizeof(text); i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, "%s'" SLICE_FMT "'",
			i ? ", " : " Did you mean ", SLICE_ARG(near[i]));
	if (at > 0 && (size_t)at < sizeof(text))
		(void)snprintf(text + at, sizeof(text) - (size_t)at,
			"%s List them with GET /v1/models.", n ? "?" : "");
	request_fail(r, FAIL_model_not_found, "%s", text);
}

/* The model's name without quotes; decoded into r->held if it has escapes. */
static struct slice asked_model(struct request *r)
{
	struct slice raw = r->facts.model_raw;

	if (!r->facts.model_escaped)
		return slice_of(raw.p + 1, raw.n - 2);
	buf_reset(&r->held);
	return jscan_string(raw, &r->held) == 0 ? buf_view(&r->held) : SLICE_EMPTY;
}

/* A multipart body was read as it came. */
static void take_upload(struct request *r)
{
	r->facts.model_raw = slice_str(r->upload->model_json);
	r->facts.n = 1;
}

/* Only requests for the API come here, and those have rules. */
static const struct policy *policy_of(const struct request *r)
{
	ASSERT(r->rules);
	return r->rules->rules->policy;
}

/* It names no model, and the policy has one for such. */
static bool has_default(const struct request *r)
{
	return r->facts.model_absent && policy_of(r)->doc->default_model >= 0;
}

static bool scan_body(struct request *r)
{
	struct slice body = slice_of(r->body.bytes ? r->body.bytes : "", r->body.n);
	const char *name = "";
	size_t at = 0;
	enum fail f = openai_scan(body, &r->facts, &at, &name);

	if (f == FAIL_invalid_json)
		request_fail(r, f,
			"The body is not valid JSON (at byte %zu). Send one JSON object.", at);
	else if (f == FAIL_duplicate_member)
		request_fail(
			r, f, "The member \"%s\" stands twice in the body. Send it once.", name);
	else if (f != FAIL_none && !has_default(r))
		request_fail(r, f, "%s", "");
	return !r->outcome;
}

/* Flat index of one of the model's targets. */
static uint32_t target_of(const struct request *r, uint8_t i)
{
	const struct policy_doc *d = policy_of(r)->doc;

	return (uint32_t)(d->models[r->model].targets - d->targets) + i;
}

static int64_t price_of(struct request *r, uint32_t target)
{
	const struct policy_price *p = worker_rules_price(r->rules, target, r->wall_us);
	int64_t sum;

	return !p || __builtin_add_overflow(
			     p->price.nano[PRICE_input], p->price.nano[PRICE_output], &sum)
		       ? INT64_MAX
		       : sum;
}

static struct target_now stand_of(
	struct request *r, const struct policy_model *m, uint32_t target, usec now)
{
	struct health_ways ways = rules_ways(r->rules->rules, target);
	struct target_now n = { .hash = policy_of(r)->target_hash[target] };
	uint32_t way;

	if (m->strategy == STRATEGY_cheapest)
		n.price = price_of(r, target);
	else if (m->strategy >= STRATEGY_fastest)
		n.numbers = measure_read(r, target, now);
	n.state = health_stand(r->env->gw->health, &ways, 0, now, &n.recover_us, &way);
	return n;
}

/* Who should get the same target again. */
uint64_t route_caller(const struct request *r)
{
	if (r->has_key)
		return plan_seed(slice_of(r->key_id, VKEY_ID_LEN));
	return r->has_uid && r->caller ? r->caller->cred.uid : 0;
}

/* Chance, or what this call has in common with others. */
static uint64_t seed_of(
	const struct request *r, const struct policy_model *m, struct slice cache_key)
{
	uint64_t seed = 0;

	if (m->sticky == STICKY_header)
		seed = r->sticky_hash[m->sticky_header];
	else if (m->sticky == STICKY_cache_key && cache_key.n)
		seed = plan_seed(cache_key);
	else if (m->sticky != STICKY_key && m->sticky != STICKY_request && r->facts.user.n > 2)
		seed = plan_seed(r->facts.user);
	else if (m->sticky != STICKY_request)
		seed = route_caller(r);
	return seed ? seed : r->env->op_prefix + r->env->op_count * UINT64_C(0x9e3779b97f4a7c15);
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

static struct plan_ask ask_of(struct request *r, const struct policy_model *m)
{
	const struct policy_project *project = &policy_of(r)->doc->projects[r->project];
	struct plan_ask ask = { .tags = m->require_tags | project->require_tags | r->require_tags,
		.output_tokens = r->facts.max_output_tokens };
	struct openai_needs needs = { 0 };
	bool looks = m->lists_capabilities || m->has_windows || m->sticky == STICKY_cache_key;

	if (looks && !r->upload)
		openai_needs(slice_of(r->body.bytes, r->body.n), &needs);
	if (m->lists_capabilities)
		ask.needs = endpoint_need(r->endpoint) | needs.features;
	/* Four bytes a token; pictures and sound count by rules of their own. */
	if (m->has_windows && !r->upload &&
		!(needs.features & (CAPABILITY_BIT(vision) | CAPABILITY_BIT(audio))))
		ask.input_tokens = (int64_t)(r->body.n + 3) / 4;
	ask.seed = seed_of(r, m, needs.cache_key);
	return ask;
}

/* None may ever serve it: what each lacks. */
static void refuse_ineligible(
	struct request *r, const struct policy_model *m, const struct plan_ask *ask)
{
	const struct policy_doc *d = policy_of(r)->doc;
	struct buf b;

	buf_init(&b, 4096);
	for (uint32_t i = 0; i < m->n_targets; i++) {
		const struct policy_target *t = &m->targets[i];
		uint64_t lacks = r->plan.why[i] == PLAN_TAGS    ? ask->tags & ~t->tags
				 : r->plan.why[i] == PLAN_LACKS ? ask->needs & ~t->capabilities
								: 0;
		unsigned bit = (unsigned)__builtin_ctzll(lacks | POLICY_TAG_UNKNOWN);
		struct slice what;

		if (!lacks)
			continue;
		if (r->plan.why[i] == PLAN_LACKS)
			what = slice_str(capability_name((enum capability)bit));
		else
			what = bit < d->n_tags ? d->tags[bit] : SLICE("asked for by the header");
		(void)buf_printf(&b, "%s" SLICE_FMT " lacks the %s '" SLICE_FMT "'",
			b.n ? ", " : "", SLICE_ARG(d->providers[t->provider].name),
			r->plan.why[i] == PLAN_LACKS ? "capability" : "tag", SLICE_ARG(what));
	}
	request_fail(r, FAIL_no_eligible_target,
		"No target of the model '" SLICE_FMT "' may serve this request: %s.",
		SLICE_ARG(m->name), buf_cstr(&b));
	buf_fini(&b);
}

static void refuse_without_credential(struct request *r)
{
	const struct policy_provider *p = &policy_of(r)->doc->providers[r->provider];

	request_fail(r, FAIL_upstream_no_credential,
		"The gateway has no credential named '" SLICE_FMT
		"'%s. The administrator sets it: aigwctl provider secret set " SLICE_FMT
		" --secret-file -",
		SLICE_ARG(p->credentials[0]),
		p->n_credentials > 1 ? ", nor another one for this provider" : "",
		SLICE_ARG(p->credentials[0]));
}

static void refuse_plan(
	struct request *r, const struct policy_model *m, const struct target_now *now)
{
	const struct policy_doc *d = policy_of(r)->doc;
	struct buf b;
	unsigned limited = 0, missing = 0, out = 0;

	buf_init(&b, 1024);
	for (uint32_t i = 0; i < m->n_targets; i++) {
		if (r->plan.why[i] != PLAN_OUT)
			continue;
		out++;
		limited += now[i].state == TARGET_RATE_LIMITED;
		missing += now[i].recover_us == TARGET_NEVER;
		(void)buf_printf(&b, "%s" SLICE_FMT " is %s", b.n ? ", " : "",
			SLICE_ARG(d->providers[m->targets[i].provider].name),
			target_state_name(now[i].state));
	}
	r->retry_after_ms = (uint32_t)MIN(
		(r->plan.recover_us + USEC_PER_MS - 1) / USEC_PER_MS, (usec)UINT32_MAX);
	if (missing == out)
		refuse_without_credential(r);
	else
		request_fail(r,
			limited + missing == out ? FAIL_upstream_rate_limited
						 : FAIL_upstream_unavailable,
			"No target of this model can be called now: %s. The first is back in "
			"%" PRIu32 " s.",
			buf_cstr(&b), (r->retry_after_ms + 999) / 1000);
	buf_fini(&b);
}

/* Some could serve it, but not now. */
static bool is_out(const struct request *r, const struct policy_model *m)
{
	bool out = false;

	for (uint32_t i = 0; i < m->n_targets; i++)
		out |= r->plan.why[i] == PLAN_OUT;
	return out;
}

bool route_plan(struct request *r)
{
	const struct policy_model *m = &policy_of(r)->doc->models[r->model];
	struct target_now now[POLICY_TARGETS_MAX];
	struct plan_ask ask = ask_of(r, m);
	usec at = loop_now(r->env->loop);

	for (uint8_t i = 0; i < m->n_targets; i++)
		now[i] = stand_of(r, m, target_of(r, i), at);
	plan_make(m, now, &ask, &r->plan);
	r->plan_at = 0;
	if (r->plan.n) {
		r->target = target_of(r, r->plan.target[0]);
		r->provider = policy_of(r)->doc->targets[r->target].provider;
		return true;
	}
	if (is_out(r, m))
		refuse_plan(r, m, now);
	else
		refuse_ineligible(r, m, &ask);
	return false;
}

void route_step(struct request *r)
{
	const struct policy *p;
	struct slice asked;
	int model;

	if (r->asks_metrics) {
		r->step = STEP_METRICS;
		list_push_back(&r->env->scrapers, &r->await_node);
		if (!r->env->scraping) {
			r->env->scraping = true;
			r->env->ask_metrics(r->env);
		}
		return;
	}
	if (r->is_probe) {
		reply_health(r);
		return;
	}
	if (!r->is_api) {
		reply_models(r);
		return;
	}
	p = policy_of(r);
	if (r->upload)
		take_upload(r);
	else if (!scan_body(r))
		return;
	if (has_default(r)) {
		model = p->doc->default_model;
		asked = p->doc->models[model].name;
	} else {
		asked = asked_model(r);
		model = asked.n ? policy_model(p, asked) : -1;
	}
	if (model < 0) {
		route_not_found(r, asked);
		return;
	}
	r->model = (uint32_t)model;
	r->target = (uint32_t)(p->doc->models[model].targets - p->doc->targets);
	r->provider = p->doc->targets[r->target].provider;
	r->counted = true;
	if (!policy_project_may(p, r->project, r->model)) {
		request_fail(r, FAIL_model_not_allowed,
			"The project '" SLICE_FMT "' may not use the model '" SLICE_FMT
			"'. Ask your administrator to allow it.",
			SLICE_ARG(p->doc->projects[r->project].name), SLICE_ARG(asked));
		return;
	}
	buf_reset(&r->held); /* of the name: the answer is gathered there */
	if (!route_plan(r))
		return;
	/* An unasked usage chunk is hidden wherever it comes from: asked for by us or sent unasked.
	 */
	r->hide_usage = r->facts.stream && !r->facts.asks_usage &&
			(r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions);
	r->step = STEP_ADMIT;
}
