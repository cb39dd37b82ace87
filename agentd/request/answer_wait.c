/* What the client of a stream gets while there is nothing to get: comments as signs of life, and,
 * where the policy has it so, the head before anybody has answered. Who served and what went wrong
 * has to be told in the stream then. */
#include "request/continue.h"

#include <aigw/json_scan.h>

/* No event may stand in it: SDKs skip a line that begins with a colon. */
#define KEEPALIVE SLICE(": keep-alive\n\n")

static const struct policy_model *model_of(const struct request *r)
{
	return &r->rules->rules->policy->doc->models[r->model];
}

/* A write costs no more than the time that it leaves: who looks is the deadline. */
static void on_alive(struct deadline *d)
{
	struct request *r = container_of(d, struct request, alive);
	usec every = model_of(r)->keepalive_us;
	usec quiet = loop_now(r->env->loop) - r->wrote_us;

	if (quiet < every) {
		deadline_set(r->env->loop, d, every - quiet);
		return;
	}
	if (r->terminal_seen || !r->client)
		return;
	deadline_set(r->env->loop, d, every);
	/* Who has not read what is there needs no more. */
	if (!r->mid_event && !r->client->queued_bytes)
		(void)relay_write(r, KEEPALIVE, SLICE_EMPTY, false);
}

void wait_init(struct request *r)
{
	deadline_init(&r->alive, on_alive);
}

void wait_begin(struct request *r)
{
	if (r->mode != RELAY_SSE && !r->head_early)
		return;
	r->sse_sent = true;
	r->wrote_us = loop_now(r->env->loop);
	if (model_of(r)->keepalive_us && !r->settled)
		deadline_set(r->env->loop, &r->alive, model_of(r)->keepalive_us);
}

void wait_stop(struct request *r)
{
	deadline_stop(r->env->loop, &r->alive);
}

bool wait_has_early_head(const struct request *r)
{
	return model_of(r)->early_head && r->facts.stream && !r->head_sent &&
	       r->endpoint <= ENDPOINT_responses;
}

void wait_head(struct request *r)
{
	/* An answer that is none has come faster. */
	if (r->step != STEP_RELAY || r->head_sent || r->mode == RELAY_PLAIN || !r->client)
		return;
	r->head_early = true;
	r->has_length = false;
	reply_begin(r, 200);
	(void)reply_field(r, SLICE("content-type"), SLICE("text/event-stream"));
	(void)relay_write(r, SLICE_EMPTY, SLICE_EMPTY, false);
}

void wait_say_who(struct request *r)
{
	char text[2048];
	struct buf b = buf_over(text, sizeof(text));

	reply_who(r, &b);
	if (!b.err)
		(void)relay_write(r, buf_view(&b), SLICE_EMPTY, false);
}

void wait_error(struct request *r, struct slice error)
{
	if (continue_is_on(r)) { /* it is about our words, not the caller's */
		request_fail(r, FAIL_upstream_cut, "%s", "");
		return;
	}
	buf_reset(&r->tail);
	(void)buf_str(&r->tail, "data: {\"error\":");
	(void)buf_slice(&r->tail, error);
	(void)buf_str(&r->tail, "}\n\n");
	r->whole = SLICE_EMPTY;
	if (!r->down_chunked)
		r->want_close = true;
	if (r->tail.err)
		r->reset = r->want_close = true;
	if (!attempt_is_over(r->attempt))
		attempt_abort(r->attempt);
	relay_ended(r, USAGE_FAILED, FAIL_upstream_error);
}

/* One line of JSON can stand in an event. */
static bool is_line(struct slice s)
{
	return s.n && !memchr(s.p, '\n', s.n) && !memchr(s.p, '\r', s.n);
}

void wait_error_body(struct request *r, struct slice piece, bool last)
{
	struct jscan_member m;

	if (buf_slice(&r->held, piece)) {
		request_fail(r, FAIL_gateway_overloaded, "%s", "");
		return;
	}
	if (!last && r->held.n <= ANSWER_WHOLE_BYTES)
		return;
	if (relay_judge(r, buf_view(&r->held)))
		return;
	if (!r->compressed && jscan_find(buf_view(&r->held), SLICE("error"), &m) == 0 &&
		is_line(m.value))
		wait_error(r, m.value);
	else if (continue_is_on(r))
		request_fail(r, FAIL_upstream_cut, "%s", "");
	else
		request_fail(r, FAIL_upstream_error, "The provider answered with the status %u.",
			r->status);
}
