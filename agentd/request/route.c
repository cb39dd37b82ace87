/* What is asked, and the target: a pure look-up here, since a model has exactly one target. */
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
	else if (f != FAIL_none)
		request_fail(r, f, "%s", "");
	return f == FAIL_none;
}

/* Only requests for the API come here, and those have rules. */
static const struct policy *policy_of(const struct request *r)
{
	ASSERT(r->rules);
	return r->rules->rules->policy;
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
	asked = asked_model(r);
	model = asked.n ? policy_model(p, asked) : -1;
	if (model < 0) {
		route_not_found(r, asked);
		return;
	}
	r->model = (uint32_t)model;
	r->provider = p->doc->models[model].target.provider;
	r->counted = true;
	if (!policy_project_may(p, r->project, r->model)) {
		request_fail(r, FAIL_model_not_allowed,
			"The project '" SLICE_FMT "' may not use the model '" SLICE_FMT
			"'. Ask your administrator to allow it.",
			SLICE_ARG(p->doc->projects[r->project].name), SLICE_ARG(asked));
		return;
	}
	buf_reset(&r->held); /* of the name: the answer is gathered there */
	r->asks_upstream = r->facts.stream &&
			   (r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions) &&
			   p->doc->providers[r->provider].stream_usage;
	/* An unasked usage chunk is hidden wherever it comes from: asked for by us or sent unasked.
	 */
	r->hide_usage = r->facts.stream && !r->facts.asks_usage &&
			(r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions);
	r->step = STEP_ADMIT;
}
