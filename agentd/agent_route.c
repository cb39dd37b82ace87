/* explain route: what would be decided about a request, as control.sock asks. The same function
 * decides that the workers ask; nothing is sent and nothing is changed. Control loop. */
#include "agent_private.h"
#include "request/decide.h"
#include "request/request.h"

#include <aigw/clock.h>
#include <aigw/json.h>

static int endpoint_of(struct slice name)
{
	if (!name.n)
		return ENDPOINT_chat;
	for (int64_t e = ENDPOINT_chat; e <= ENDPOINT_image_variations; e++)
		if (slice_eq(name, slice_str(usage_endpoint_name(e))))
			return (int)e;
	return -1;
}

static json_t *target_json(const struct policy_doc *d, const struct policy_target *t,
	const struct decision *v, uint32_t i)
{
	const struct target_now *n = &v->now[i];

	return json_pack("{s:o, s:o, s:s, s:s, s:o}", "provider",
		json_slice(d->providers[t->provider].name), "model", json_slice(t->model), "why",
		plan_why_name((enum plan_why)v->plan->why[i]), "state", target_state_name(n->state),
		"recover_ms",
		n->recover_us == TARGET_NEVER ? json_null()
					      : json_integer(n->recover_us / USEC_PER_MS));
}

/* `plan`: best first; `left_out`: in the model's order. */
static json_t *decision_json(
	const struct policy *p, const struct decide_ask *a, const struct decision *v)
{
	const struct policy_doc *d = p->doc;
	const struct policy_model *m = &d->models[a->model];
	json_t *plan = json_array(), *left_out = json_array();

	for (uint8_t i = 0; i < v->plan->n; i++)
		(void)json_array_append_new(plan,
			target_json(d, &m->targets[v->plan->target[i]], v, v->plan->target[i]));
	for (uint32_t i = 0; i < m->n_targets; i++)
		if (v->plan->why[i] >= PLAN_WEIGHT_0)
			(void)json_array_append_new(left_out, target_json(d, &m->targets[i], v, i));
	return json_pack("{s:o, s:o, s:I, s:o, s:o, s:b, s:o}", "model", json_slice(m->name),
		"project", json_slice(d->projects[a->project].name), "revision",
		(json_int_t)p->revision, "plan", plan, "left_out", left_out, "degraded",
		(int)v->plan->degraded, "refused",
		v->refused ? json_string(fail_row(v->refused)->name) : json_null());
}

/* Which model and for whom. */
static bool find_names(struct agent *a, const struct control_route *q, struct openai_facts *facts,
	struct decide_ask *ask, enum admin_error *code, struct errbuf *why)
{
	const struct policy *p = a->rules->policy;
	int project = policy_project(p, q->project), endpoint = endpoint_of(q->endpoint),
	    model = -1;
	struct slice name = SLICE_EMPTY;
	const char *member = "";
	size_t at = 0;
	enum fail f = openai_scan(q->body, facts, &at, &member);

	*code = ADMIN_ERROR_usage;
	if (endpoint < 0) {
		(void)err_set(why, 0,
			"there is no endpoint '" SLICE_FMT "'; write chat, embeddings …",
			SLICE_ARG(q->endpoint));
		return false;
	}
	if (f != FAIL_none && !(f == FAIL_missing_model && facts->model_absent)) {
		(void)err_set(why, 0, "the body is no request: %s", fail_row(f)->text);
		return false;
	}
	*code = ADMIN_ERROR_not_found;
	if (project < 0) {
		(void)err_set(why, 0, "the policy in force here has no project '" SLICE_FMT "'",
			SLICE_ARG(q->project));
		return false;
	}
	if (facts->model_raw.n > 2)
		name = slice_of(facts->model_raw.p + 1, facts->model_raw.n - 2);
	model = name.n ? policy_model(p, name) : p->doc->default_model;
	if (model < 0) {
		(void)err_set(why, 0, "the policy in force here has no model '" SLICE_FMT "'",
			SLICE_ARG(name));
		return false;
	}
	ask->project = (uint32_t)project;
	ask->model = (uint32_t)model;
	ask->endpoint = (uint8_t)endpoint;
	return true;
}

json_t *agent_route(
	const struct control_route *q, void *owner, enum admin_error *code, struct errbuf *why)
{
	static const uint64_t no_headers[POLICY_STICKY_HEADERS_MAX];
	struct agent *a = owner;
	struct openai_facts facts;
	struct plan plan;
	struct decision v;
	struct decide_ask ask = { .health = a->gw.health,
		.facts = &facts,
		.body = q->body,
		.input_tokens = q->input_tokens,
		.sticky_hash = no_headers,
		.chance = (uint64_t)clock_mono_us() * UINT64_C(0x9e3779b97f4a7c15),
		.now = loop_now(&a->loop),
		.wall_us = clock_wall_us() };

	if (!a->rules) {
		*code = ADMIN_ERROR_conflict;
		(void)err_set(why, 0, "the agent has no policy yet");
		return NULL;
	}
	ask.rules = a->rules;
	if (!find_names(a, q, &facts, &ask, code, why))
		return NULL;
	if (!policy_project_may(a->rules->policy, ask.project, ask.model))
		return json_pack("{s:o, s:o, s:I, s:[], s:[], s:b, s:s}", "model",
			json_slice(a->rules->policy->doc->models[ask.model].name), "project",
			json_slice(q->project), "revision", (json_int_t)a->rules->policy->revision,
			"plan", "left_out", "degraded", 0, "refused",
			fail_row(FAIL_model_not_allowed)->name);
	ask.require_tags = receive_tags(a->rules->policy->doc, q->tags);
	v.plan = &plan;
	decide(&ask, &v);
	return decision_json(a->rules->policy, &ask, &v);
}
