/* GET /v1/requests/ID: one finished call, with what was decided about it. POST /v1/route: what
 * would be. */
#include "account/trace.h"
#include "control/private.h"
#include "route/plan.h"
#include "stats/stats.h"

#include <aigw/error_class.h>
#include <aigw/text.h>

#define REQUESTS_PATH "/v1/requests/"

bool explain_takes(struct slice path)
{
	return slice_starts(path, SLICE(REQUESTS_PATH));
}

/* The newest entry of the ring that is the call's. */
static bool find_in(const struct line_ring *ring, const uint8_t op_id[16], char *bytes,
	size_t *ret_n, bool (*is)(struct slice bytes, const uint8_t op_id[16]))
{
	uint64_t first = line_ring_first(ring), gone;

	for (uint64_t at = line_ring_next(ring); at-- > first;)
		if (line_ring_read(ring, at, bytes, ret_n, &gone) == 0 &&
			is(slice_of(bytes, *ret_n), op_id))
			return true;
	return false;
}

static bool is_trace_of(struct slice bytes, const uint8_t op_id[16])
{
	struct trace t;

	return trace_read(bytes, &t) && memcmp(t.call.op_id, op_id, 16) == 0;
}

static bool is_call_of(struct slice bytes, const uint8_t op_id[16])
{
	struct finished f;

	return finished_read(bytes, &f) && memcmp(f.op_id, op_id, 16) == 0;
}

/* --- as JSON -------------------------------------------------------------------------- */

static json_t *name_of(struct slice name)
{
	return name.n ? json_slice(name) : json_null();
}

static json_t *targets_of(const struct trace *t)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < t->n_targets; i++) {
		bool out = t->targets[i].why >= PLAN_WEIGHT_0;

		(void)json_array_append_new(
			list, json_pack("{s:o, s:o, s:s, s:s, s:b}", "provider",
				      name_of(t->provider[i]), "model", name_of(t->model[i]), "why",
				      plan_why_name((enum plan_why)MIN(
					      t->targets[i].why, (uint8_t)(PLAN_WHY_COUNT - 1))),
				      "state",
				      target_state_name((enum target_state)MIN(t->targets[i].state,
					      (uint8_t)(TARGET_STATE_COUNT - 1))),
				      "planned", (int)!out));
	}
	return list;
}

static json_t *failure_of(const struct trace_try *t)
{
	if (t->failure && t->failure <= PROVIDER_ERROR_COUNT)
		return json_string(stats_error_name((enum provider_error)(t->failure - 1)));
	return json_null();
}

static json_t *tries_of(const struct trace *t)
{
	static const char *const next[] = { [TRACE_GIVEN_UP] = "given_up",
		[TRACE_FALLBACK] = "fallback",
		[TRACE_AGAIN] = "again",
		[TRACE_OTHER_CREDENTIAL] = "other_credential",
		[TRACE_CONTINUED] = "continue" };
	json_t *list = json_array();

	for (unsigned i = 0; i < t->n_tries; i++) {
		const struct trace_try *a = &t->tries[i];

		(void)json_array_append_new(list,
			json_pack("{s:i, s:o, s:o, s:s, s:I, s:s, s:I}", "target", (int)a->target,
				"status", a->status ? json_integer(a->status) : json_null(),
				"failure", failure_of(a), "class",
				error_class_name((enum error_class)MIN(
					a->class, (uint8_t)(CLASS_COUNT - 1))),
				"at_ms", (json_int_t)a->at_ms, "next",
				next[MIN(a->next, TRACE_CONTINUED)], "wait_ms",
				(json_int_t)a->wait_ms));
	}
	return list;
}

static json_t *trace_json(const struct trace *t)
{
	json_t *v = show_finished(&t->call, NULL);

	(void)json_object_set_new(v, "targets", targets_of(t));
	(void)json_object_set_new(v, "tries", tries_of(t));
	(void)json_object_set_new(
		v, "served", t->served == TRACE_NONE ? json_null() : json_integer(t->served));
	(void)json_object_set_new(v, "degraded", json_boolean(t->degraded));
	(void)json_object_set_new(v, "queued_ms", json_integer(t->queued_ms));
	return v;
}

bool control_trace_text(struct slice entry, struct buf *json, uint8_t op_id[static 16])
{
	struct trace t;
	JSON_AUTO *v = NULL;
	size_t from = json->n;

	if (!trace_read(entry, &t))
		return false;
	v = trace_json(&t);
	memcpy(op_id, t.call.op_id, 16);
	if (v && json_write(v, json, false) == 0)
		return true;
	json->n = from;
	return false;
}

void explain_request(struct control *c, struct http_exchange *x)
{
	struct slice id = slice_skip(http_path(x), sizeof(REQUESTS_PATH) - 1);
	char bytes[LINE_MAX_BYTES];
	uint8_t op_id[16];
	struct finished f;
	struct trace t;
	size_t n;

	if (request_id_parse(id, op_id)) {
		control_error(x, ADMIN_ERROR_usage,
			"'%.*s' is no request id; an answer's x-request-id holds one, req_ and 26 "
			"characters, and aigwctl tail -o wide shows them",
			(int)MIN(id.n, (size_t)40), id.n ? id.p : "");
		return;
	}
	if (find_in(c->cfg.troubled, op_id, bytes, &n, is_trace_of) ||
		find_in(c->cfg.traces, op_id, bytes, &n, is_trace_of)) {
		(void)trace_read(slice_of(bytes, n), &t);
		control_answer(x, 200, trace_json(&t));
	} else if (find_in(c->cfg.calls, op_id, bytes, &n, is_call_of)) {
		(void)finished_read(slice_of(bytes, n), &f);
		control_answer(x, 200, show_finished(&f, NULL));
	} else {
		control_error(x, ADMIN_ERROR_not_found,
			"no finished call %.*s is remembered here; the last %u are, and as many "
			"that "
			"failed or fell back, until the agent restarts",
			(int)id.n, id.p, LINE_RING_LINES);
	}
}

/* --- POST /v1/route ------------------------------------------------------------------- */

void explain_route(struct control *c, struct http_exchange *x)
{
	struct control_route q = { .body = http_body(x) };
	struct slice tokens;
	enum admin_error code;
	struct errbuf why;
	json_t *v;

	(void)http_query_get(x, SLICE("project"), &q.project);
	(void)http_query_get(x, SLICE("endpoint"), &q.endpoint);
	(void)http_query_get(x, SLICE("tags"), &q.tags);
	(void)http_query_get(x, SLICE("key"), &q.key);
	(void)http_query_get(x, SLICE("uid"), &q.uid);
	(void)http_query_get(x, SLICE("header"), &q.header);
	if (http_query_get(x, SLICE("input_tokens"), &tokens) &&
		(text_parse_i64(tokens, &q.input_tokens) || q.input_tokens < 0)) {
		control_error(x, ADMIN_ERROR_usage, "input_tokens is a number");
		return;
	}
	v = c->cfg.route(&q, c->cfg.owner, &code, &why);
	if (v)
		control_answer(x, 200, v);
	else
		control_error(x, code, "%s", why.text);
}
