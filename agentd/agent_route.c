/* explain route: what would be decided about a request, as control.sock asks. The same function
 * decides that the workers ask; nothing is sent and nothing is changed. Control loop. */
#include "agent_private.h"
#include "request/decide.h"
#include "request/request.h"

#include <aigw/clock.h>
#include <aigw/json.h>
#include <aigw/text.h>

static int endpoint_of(struct slice name)
{
	if (!name.n)
		return ENDPOINT_chat;
	for (int64_t e = ENDPOINT_chat; e <= ENDPOINT_image_variations; e++)
		if (slice_eq(name, slice_str(usage_endpoint_name(e))))
			return (int)e;
	return -1;
}

static void no_endpoint(struct slice name, struct errbuf *why)
{
	struct buf list;

	buf_init(&list, 512);
	for (int64_t e = ENDPOINT_chat; e <= ENDPOINT_image_variations; e++)
		(void)buf_printf(&list, "%s%s", list.n ? ", " : "", usage_endpoint_name(e));
	(void)err_set(why, 0, "there is no endpoint '" SLICE_FMT "'; there are: %s",
		SLICE_ARG(name), buf_cstr(&list));
	buf_fini(&list);
}

static json_t *target_json(const struct policy_doc *d, const struct policy_target *t,
	const struct decision *v, uint32_t i, uint16_t odds)
{
	const struct target_now *n = &v->now[i];

	return json_pack("{s:o, s:o, s:I, s:o, s:s, s:s, s:o}", "provider",
		json_slice(d->providers[t->provider].name), "model", json_slice(t->model),
		"priority", (json_int_t)t->priority, "odds_permille",
		odds == PLAN_NO_DRAW ? json_null() : json_integer(odds), "why",
		plan_why_name((enum plan_why)v->plan->why[i]), "state", target_state_name(n->state),
		"recover_in_ms",
		n->recover_us == TARGET_NEVER ? json_null()
					      : json_integer(n->recover_us / USEC_PER_MS));
}

static const char *const seed_names[] = { [SEED_CHANCE] = "chance",
	[SEED_CALLER] = "caller",
	[SEED_USER] = "user",
	[SEED_HEADER] = "header",
	[SEED_CACHE_KEY] = "cache_key" };

/* `plan`: best first; `left_out`: in the model's order; `drawn_by`: null where no draw decided. */
static json_t *decision_json(
	const struct policy *p, const struct decide_ask *a, const struct decision *v)
{
	const struct policy_doc *d = p->doc;
	const struct policy_model *m = &d->models[a->model];
	json_t *plan = json_array(), *left_out = json_array();
	uint16_t odds[POLICY_TARGETS_MAX];
	bool drawn = plan_odds(m, v->now, v->plan, odds);

	for (uint8_t i = 0; i < v->plan->n; i++)
		(void)json_array_append_new(
			plan, target_json(d, &m->targets[v->plan->target[i]], v, v->plan->target[i],
				      odds[v->plan->target[i]]));
	for (uint32_t i = 0; i < m->n_targets; i++)
		if (v->plan->why[i] >= PLAN_WEIGHT_0)
			(void)json_array_append_new(
				left_out, target_json(d, &m->targets[i], v, i, PLAN_NO_DRAW));
	return json_pack("{s:o, s:o, s:I, s:o, s:o, s:b, s:o, s:b, s:o}", "model",
		json_slice(m->name), "project", json_slice(d->projects[a->project].name),
		"revision", (json_int_t)p->revision, "plan", plan, "left_out", left_out, "degraded",
		(int)v->plan->degraded, "drawn_by",
		drawn ? json_string(seed_names[v->seed]) : json_null(), "sticky",
		(int)(m->sticky != STICKY_request), "refused",
		v->refused ? json_string(fail_row(v->refused)->name) : json_null());
}

/* --- who calls ------------------------------------------------------------------------ */

/* Its project, its tags, and whom it is the same for. `l` holds what it points to. */
static bool find_key(struct agent *a, const struct stat_look *l, struct control_route *q,
	struct decide_ask *ask, enum admin_error *code, struct errbuf *why)
{
	const struct key_entry *k = key_list_find_id(l->keys, q->key);
	const char *state = k ? key_entry_state(k, clock_wall_us()) : "";

	*code = k ? ADMIN_ERROR_conflict : ADMIN_ERROR_not_found;
	if (!k) {
		(void)err_set(why, 0, "this agent knows no key '" SLICE_FMT "'", SLICE_ARG(q->key));
		return false;
	}
	if (strcmp(state, "active") != 0) {
		(void)err_set(why, 0, "the key " SLICE_FMT " is %s: its calls are refused",
			SLICE_ARG(q->key), state);
		return false;
	}
	if (q->project.n && !slice_eq(q->project, k->project)) {
		(void)err_set(why, 0,
			"the key " SLICE_FMT " is of the project '" SLICE_FMT "', not '" SLICE_FMT
			"'",
			SLICE_ARG(q->key), SLICE_ARG(k->project), SLICE_ARG(q->project));
		return false;
	}
	q->project = k->project;
	ask->caller = plan_seed(slice_of(k->id, VKEY_ID_LEN));
	ask->require_tags |= receive_tags(a->rules->policy->doc, k->require_tags);
	return true;
}

static bool find_caller(struct agent *a, const struct stat_look *l, struct control_route *q,
	struct decide_ask *ask, enum admin_error *code, struct errbuf *why)
{
	uint64_t uid;

	*code = ADMIN_ERROR_usage;
	if (q->key.n && q->uid.n) {
		(void)err_set(why, 0, "a call comes with a key or from a user: key or uid");
		return false;
	}
	if (q->key.n)
		return find_key(a, l, q, ask, code, why);
	if (q->uid.n && (text_parse_u64(q->uid, &uid) || uid > UINT32_MAX)) {
		(void)err_set(why, 0, "uid is a number, not '" SLICE_FMT "'", SLICE_ARG(q->uid));
		return false;
	}
	ask->caller = q->uid.n ? uid + 1 : 0;
	return true;
}

/* A header that routing goes by: one that some model is sticky by, or the one of tags. */
static bool find_header(const struct policy_doc *d, struct slice header, struct decide_ask *ask,
	uint64_t hashes[static POLICY_STICKY_HEADERS_MAX], struct errbuf *why)
{
	const char *eq = header.n ? memchr(header.p, '=', header.n) : NULL;
	struct slice name = slice_of(header.p, eq ? (size_t)(eq - header.p) : header.n);
	struct slice value = eq ? slice_skip(header, name.n + 1) : SLICE_EMPTY;
	bool is_used = slice_eq_nocase(name, SLICE("x-aigw-require-tags"));

	if (!header.n)
		return true;
	if (!eq) {
		(void)err_set(
			why, 0, "a header is NAME=VALUE, not '" SLICE_FMT "'", SLICE_ARG(header));
		return false;
	}
	if (is_used)
		ask->require_tags |= receive_tags(d, value);
	for (uint32_t k = 0; k < d->n_sticky_headers; k++)
		if (slice_eq_nocase(name, d->sticky_headers[k])) {
			hashes[k] = value.n ? plan_seed(value) : 0;
			is_used = true;
		}
	if (!is_used)
		(void)err_set(why, 0,
			"no model of the policy in force is sticky by a header '" SLICE_FMT "'",
			SLICE_ARG(name));
	return is_used;
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
		no_endpoint(q->endpoint, why);
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
		(void)err_set(why, 0,
			"the policy in force here has no model '" SLICE_FMT
			"'; aigwctl model list shows them",
			SLICE_ARG(name));
		return false;
	}
	ask->project = (uint32_t)project;
	ask->model = (uint32_t)model;
	ask->endpoint = (uint8_t)endpoint;
	return true;
}

static json_t *not_allowed(struct agent *a, const struct decide_ask *ask)
{
	const struct policy_doc *d = a->rules->policy->doc;

	return json_pack("{s:o, s:o, s:I, s:[], s:[], s:b, s:n, s:b, s:s}", "model",
		json_slice(d->models[ask->model].name), "project",
		json_slice(d->projects[ask->project].name), "revision",
		(json_int_t)a->rules->policy->revision, "plan", "left_out", "degraded", 0,
		"drawn_by", "sticky", (int)(d->models[ask->model].sticky != STICKY_request),
		"refused", fail_row(FAIL_model_not_allowed)->name);
}

json_t *agent_route(
	const struct control_route *asked, void *owner, enum admin_error *code, struct errbuf *why)
{
	uint64_t hashes[POLICY_STICKY_HEADERS_MAX] = { 0 };
	struct agent *a = owner;
	struct control_route q = *asked;
	struct openai_facts facts;
	struct stat_look l;
	struct plan plan;
	struct decision v;
	struct decide_ask ask = { .health = a->gw.health,
		.facts = &facts,
		.body = q.body,
		.input_tokens = q.input_tokens,
		.sticky_hash = hashes,
		.chance = (uint64_t)clock_mono_us() * UINT64_C(0x9e3779b97f4a7c15),
		.now = loop_now(&a->loop),
		.wall_us = clock_wall_us() };
	bool found;

	if (!a->rules) {
		*code = ADMIN_ERROR_conflict;
		(void)err_set(why, 0, "the agent has no policy yet");
		return NULL;
	}
	ask.rules = a->rules;
	ask.require_tags = receive_tags(a->rules->policy->doc, q.tags);
	l = stat_look_begin(a->tree);
	found = find_caller(a, &l, &q, &ask, code, why) &&
		find_header(a->rules->policy->doc, q.header, &ask, hashes, why) &&
		find_names(a, &q, &facts, &ask, code, why);
	stat_look_end(&l);
	if (!found)
		return NULL;
	if (!policy_project_may(a->rules->policy, ask.project, ask.model))
		return not_allowed(a, &ask);
	v.plan = &plan;
	decide(&ask, &v);
	return decision_json(a->rules->policy, &ask, &v);
}
