/* Calls that failed or fell back, as the agent that had them tells it. */
#include "admin/api.h"
#include "ctld.h"
#include <aigw/clock.h>
#include <aigw/usage.h>

/* What an agent sent has to be an object about this call; else it is that agent's trouble, and
 * said. */
static json_t *parse(struct api_request *q, const uint8_t op_id[16], const struct traces_found *f)
{
	struct errbuf e = { "" };
	json_t *v = json_parse(f->text, &e);
	char id[REQUEST_ID_LEN + 1];

	request_id_format(op_id, id);
	if (json_is_object(v) && strcmp(json_get_str(v, "request", ""), id) == 0)
		return v;
	json_decref(v);
	api_error(q->x, ADMIN_ERROR_internal,
		"what agent %s told about this call can't be read; ask it itself: aigwctl explain "
		"request, on host %s",
		f->agent, f->host);
	return NULL;
}

void api_trace_get(struct api_request *q)
{
	const struct published *p = q->ctld->feed.policy;
	struct traces_found f;
	uint8_t op_id[16];
	json_t *v;

	if (request_id_parse(q->arg, op_id)) {
		api_error(q->x, ADMIN_ERROR_usage,
			"'%.*s' is no request id; an answer's x-request-id holds one, req_ and 26 "
			"characters, and aigwctl tail -o wide shows them",
			(int)MIN(q->arg.n, (size_t)40), q->arg.n ? q->arg.p : "");
		return;
	}
	if (!traces_find(q->ctld->agents.traces, op_id, clock_mono_us(), &f)) {
		api_error(q->x, ADMIN_ERROR_not_found,
			"the controller remembers no call %.*s: agents tell it of those that "
			"failed or "
			"fell back, a moment later, and it keeps them for a day at most",
			(int)q->arg.n, q->arg.p);
		return;
	}
	v = parse(q, op_id, &f);
	if (!v)
		return;
	(void)json_object_set_new(v, "agent", json_string(f.agent));
	(void)json_object_set_new(v, "host", json_slice(slice_str(f.host)));
	(void)json_object_set_new(v, "currency", p ? json_slice(p->doc->currency) : json_null());
	api_answer(q->x, 200, v);
}
