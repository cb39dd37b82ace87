/* What is asked, and which targets are to be tried: how they stand is read once, the rest is
 * plan_make()'s. */
#include "request/decide.h"
#include "request/holds.h"
#include "request/once.h"
#include "request/queue.h"
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

/* Who should get the same target again. */
uint64_t route_caller(const struct request *r)
{
	if (r->has_key)
		return plan_seed(slice_of(r->key_id, VKEY_ID_LEN));
	return r->has_uid && r->caller ? r->caller->cred.uid + UINT64_C(1) : 0;
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

static void refuse_plan(struct request *r, const struct policy_model *m, const struct decision *v)
{
	const struct policy_doc *d = policy_of(r)->doc;
	struct buf b;

	r->retry_after_ms = (uint32_t)MIN(
		(r->plan.recover_us + USEC_PER_MS - 1) / USEC_PER_MS, (usec)UINT32_MAX);
	if (v->refused == FAIL_upstream_no_credential) {
		refuse_without_credential(r);
		return;
	}
	buf_init(&b, 1024);
	for (uint32_t i = 0; i < m->n_targets; i++) {
		if (r->plan.why[i] != PLAN_OUT)
			continue;
		(void)buf_printf(&b, "%s" SLICE_FMT " is %s", b.n ? ", " : "",
			SLICE_ARG(d->providers[m->targets[i].provider].name),
			target_state_name(v->now[i].state));
	}
	request_fail(r, v->refused,
		"No target of this model can be called now: %s. The first is back in "
		"%" PRIu32 " s.",
		buf_cstr(&b), (r->retry_after_ms + 999) / 1000);
	buf_fini(&b);
}

bool route_plan(struct request *r)
{
	const struct policy_model *m = &policy_of(r)->doc->models[r->model];
	const struct decide_ask ask = { .rules = r->rules->rules,
		.worker = r->rules,
		.health = r->env->gw->health,
		.project = r->project,
		.model = r->model,
		.endpoint = r->endpoint,
		.facts = &r->facts,
		.body = r->upload ? SLICE_EMPTY : slice_of(r->body.bytes, r->body.n),
		.require_tags = r->require_tags,
		.sticky_hash = r->sticky_hash,
		.caller = m->sticky == STICKY_request ? 0 : route_caller(r),
		.chance = r->env->op_prefix + r->env->op_count * UINT64_C(0x9e3779b97f4a7c15),
		.now = loop_now(r->env->loop),
		.wall_us = r->wall_us };
	struct decision d;

	d.plan = &r->plan; /* the rest is filled as far as the model has targets */
	decide(&ask, &d);
	r->plan_at = 0;
	if (r->plan.n && r->attempts)
		return true; /* who was asked last stays so until another one is */
	if (r->plan.n) {
		r->target = target_of(r, r->plan.target[0]);
		r->provider = policy_of(r)->doc->targets[r->target].provider;
		return true;
	}
	if (queue_takes(r, d.refused, r->plan.recover_us))
		return false;
	if (d.refused == FAIL_no_eligible_target)
		refuse_ineligible(r, m, &d.needs);
	else
		refuse_plan(r, m, &d);
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
	if (r->once && !once_claim(r))
		return;
	/* An unasked usage chunk is hidden wherever it comes from: asked for by us or sent unasked.
	 */
	r->hide_usage = r->facts.stream && !r->facts.asks_usage &&
			(r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions);
	if (holds_take_caller(r) && route_plan(r))
		r->step = STEP_ADMIT;
}
