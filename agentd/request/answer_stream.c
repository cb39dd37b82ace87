/* An answer that is a stream: held until its first content, then event by event, to the end that it
 * tells. */
#include "request/continue.h"
#include "request/meter.h"

#include <aigw/log.h>

/* What one read of the stream comes to. */
struct cut {
	size_t used;      /* bytes of whole events */
	char *base;       /* where what is to be relayed stands: the region's front, or what
			     continue.c has made of it */
	size_t out;       /* bytes there */
	size_t hold_from; /* of out: the answer's end begins here */
	bool malformed;   /* what comes next is no JSON, and is not left out */
	bool elsewhere;   /* it is an error, and another target goes on instead */
};

/* An event that is no JSON: false: the answer ends there. */
static bool leaves_out(struct request *r)
{
	relay_count_error(r, ERROR_undecodable);
	return r->rules->rules->policy->doc->models[r->model].skip_malformed;
}

/* Is an error the latest that goes to the client, of this read or of those before? */
static bool is_error_last(const struct request *r, const char *p, size_t n)
{
	if (r->endpoint > ENDPOINT_completions || r->terminal_seen)
		return false;
	return n ? openai_ends_in_error(p, n) : r->error_seen;
}

/* An event of a stream that may go on elsewhere, or does. False: it ends here. */
static bool cut_kept(struct request *r, struct slice raw, enum openai_event kind, struct cut *c)
{
	struct buf *out = &r->cont->out;

	if (kind == OPENAI_EVENT_DATA && !r->terminal_seen) {
		enum continue_what what = continue_event(r, raw);

		c->elsewhere = what == CONTINUE_ELSEWHERE;
		c->malformed = what == CONTINUE_MALFORMED;
		if (what == CONTINUE_MALFORMED)
			relay_count_error(r, ERROR_undecodable);
		if (what != CONTINUE_RELAY)
			return false;
	} else if (continue_is_on(r)) {
		continue_verbatim(r, raw);
	}
	if (continue_is_on(r)) {
		c->base = out->p;
		c->out = out->n;
	}
	return true;
}

static inline bool keep_event(
	struct request *r, struct slice raw, enum openai_event kind, struct cut *c)
{
	if (r->cont && !cut_kept(r, raw, kind, c))
		return false;
	if (continue_is_on(r))
		return true;
	if (c->base + c->out != raw.p)
		memmove(c->base + c->out, raw.p, raw.n);
	c->out += raw.n;
	return true;
}

static bool is_nonsense(const struct request *r, struct slice raw, enum openai_event kind)
{
	return kind == OPENAI_EVENT_DATA && r->endpoint <= ENDPOINT_responses &&
	       !r->terminal_seen && !openai_may_be_json(raw);
}

/* True: it is left out. */
static bool mark_end(struct request *r, struct slice raw, enum openai_event kind, struct cut *c)
{
	struct slice error = SLICE_EMPTY;

	if (kind == OPENAI_EVENT_DONE && is_error_last(r, c->base, c->out))
		return true; /* an end mark would make an answer of it */
	if ((kind == OPENAI_EVENT_DONE || kind == OPENAI_EVENT_TERMINAL) && !r->terminal_seen) {
		r->terminal_seen = true;
		c->hold_from = c->out;
		r->error_seen = kind == OPENAI_EVENT_TERMINAL &&
				openai_content_of(raw, r->endpoint, &error) == OPENAI_CONTENT_ERROR;
		if (r->error_seen)
			r->error_class = (uint8_t)relay_class_in_band(r, error);
	}
	return false;
}

/* What an event says of usage and of the end. True: it is left out. */
static bool is_hidden(
	struct request *r, struct slice raw, enum openai_event kind, bool has_usage, struct cut *c)
{
	bool hide = false;

	if (is_nonsense(r, raw, kind)) {
		c->malformed = !leaves_out(r);
		return true;
	}
	if (kind == OPENAI_EVENT_DATA || kind == OPENAI_EVENT_TERMINAL)
		meter_event(r, raw, has_usage, &hide);
	return kind == OPENAI_EVENT_DATA ? hide : mark_end(r, raw, kind, c) || hide;
}

/* Events that say nothing but more content: counted, and all there is to do is to keep them. */
static void keep_usual(struct request *r, char *p, size_t n, struct cut *c)
{
	size_t m;

	while ((m = openai_usual_event(p + c->used, n - c->used)) != 0) {
		meter_count(r, m);
		if (c->base + c->out != p + c->used)
			memmove(c->base + c->out, p + c->used, m);
		c->used += m;
		c->out += m;
	}
}

static struct cut cut_events(struct request *r, char *p, size_t n, size_t scanned, bool last)
{
	size_t usage_at = openai_find_usage(p, 0, n);
	struct cut c = { .base = p, .hold_from = r->terminal_seen ? 0 : SIZE_MAX };
	bool usual = !r->cont && !r->terminal_seen && r->endpoint <= ENDPOINT_completions;

	if (r->cont)
		buf_reset(&r->cont->out);
	while (c.used < n) {
		struct slice raw;
		enum openai_event kind;
		bool hide;
		size_t m;

		if (usual && !scanned)
			keep_usual(r, p, MIN(usage_at, n), &c);
		if (c.used == n)
			break;
		m = sse_event_end(p + c.used, n - c.used, &scanned, last);
		raw = slice_of(p + c.used, m ? m : n - c.used);
		if (!m && !last) {
			r->scanned = scanned;
			break;
		}
		scanned = 0;
		kind = openai_event_kind(raw, r->endpoint);
		hide = is_hidden(r, raw, kind, usage_at < c.used + raw.n, &c);
		if (c.malformed || (!hide && !keep_event(r, raw, kind, &c)))
			return c;
		c.used += raw.n;
		if (usage_at < c.used)
			usage_at = openai_find_usage(p, c.used, n);
	}
	return c;
}

static void note_progress(struct request *r)
{
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);

	if (!r->usage_seen)
		s->v.output_tokens =
			s->before_output +
			(int64_t)MAX(r->events, (r->event_bytes - r->events * r->event_min) / 4);
	s->v.first_byte_us = r->first_us - r->began_us;
}

/* An event beyond all measure: relayed as it is, without a look at it. */
static void pass_oversized(struct request *r, const char *p, size_t n)
{
	r->mid_event = true;
	if (r->cont)
		continue_spoil(r);
	(void)relay_write(r, buf_view(&r->held), slice_of(p, n), false);
	buf_fini(&r->held);
	r->scanned = 0;
}

/* What should come behind the answer's end, the end mark or that of the body, does so at once or
 * not at all. */
#define LATE_US (5 * USEC_PER_S)

/* The latest events count: behind an error something may come still. */
static void note_end(struct request *r, const char *p, size_t n)
{
	enum openai_end e;

	if (!n)
		return;
	e = openai_end_of(p, n);
	r->finish_seen = e == OPENAI_END_FINISH;
	r->error_seen = e == OPENAI_END_ERROR;
}

/* A body that ends is no answer's end: the answer has to say so itself. */
static bool is_broken_off(const struct request *r)
{
	return !r->terminal_seen && !r->finish_seen && !r->error_seen &&
	       r->endpoint <= ENDPOINT_responses;
}

static void say_failed(const struct request *r, const char *reason)
{
	log_event(LOG_WARNING, "upstream", "provider.failed",
		"request=%s provider=" SLICE_FMT " reason=%s sent=1 answered=1", r->id,
		SLICE_ARG(r->rules->rules->policy->doc->providers[r->provider].name), reason);
}

/* An error within the stream counts as its words have it. */
static void learn_error(struct request *r)
{
	enum error_class c = (enum error_class)r->error_class;

	say_failed(r, "error_event");
	relay_count_error(r, ERROR_in_band);
	retry_learn(r, c, error_class_status(c));
}

static void break_off(struct request *r, const struct cut *c)
{
	enum attempt_failure f = c->malformed ? ATTEMPT_MALFORMED : ATTEMPT_CUT;

	if (c->elsewhere) {
		learn_error(r);
	} else {
		say_failed(r, c->malformed ? "malformed_event" : "no_finish");
		if (!c->malformed)
			relay_count_error(r, ERROR_cut);
		retry_learn_cut(r);
	}
	if (retry_continues(r, f))
		return;
	if (c->malformed)
		request_fail(r, FAIL_upstream_protocol,
			"The provider's stream holds an event that is not valid.");
	else
		request_fail(r, FAIL_upstream_cut, "%s", "");
}

/* SDKs wait for the end mark, and some providers forget it. */
void relay_stream_ended(struct request *r)
{
	if (r->mid_event) { /* an end mark would be a part of it */
		retry_learn_cut(r);
		request_fail(r, FAIL_upstream_cut, "%s", "");
		return;
	}
	if (!r->terminal_seen && r->finish_seen && buf_str(&r->tail, "data: [DONE]\n\n"))
		r->reset = true;
	if (r->error_seen) { /* the client has it in the provider's words */
		learn_error(r);
		relay_ended(r, USAGE_CUT, FAIL_upstream_error);
	} else {
		relay_answer_ended(r);
	}
}

void relay_late(struct request *r)
{
	if (r->step != STEP_RELAY || r->mode != RELAY_SSE)
		return;
	if (!r->terminal_seen && !r->finish_seen && !r->error_seen)
		return;  /* it went on behind an error */
	if (r->paused) { /* what has come is not read yet: the client is slow, not the provider */
		deadline_set(r->env->loop, &r->again, LATE_US);
		return;
	}
	attempt_abort(r->attempt);
	relay_stream_ended(r);
}

/* Of an event that is not whole; joined: it stands in r->held, behind `used` bytes. */
static void hold_rest(struct request *r, bool joined, size_t used, struct slice rest)
{
	if (joined) {
		buf_drop(&r->held, used);
		if (!r->held.n)
			buf_fini(&r->held);
	} else if (rest.n && buf_slice(&r->held, rest)) {
		request_fail(r, FAIL_gateway_overloaded, "%s", "");
	}
}

/* An error that is the latest of these events and about the gateway's own credential: from it on
 * nothing is shown. True: it was answered in our words. */
static bool is_our_own(struct request *r, const struct cut *c)
{
	size_t at = c->hold_from;

	if (!r->error_seen || !c->out)
		return false;
	if (!r->terminal_seen)
		r->error_class =
			(uint8_t)relay_class_in_band(r, openai_last_error(c->base, c->out, &at));
	if (r->error_class != CLASS_provider_auth && r->error_class != CLASS_provider_quota)
		return false;
	if (at)
		(void)relay_write(r, slice_of(c->base, at), SLICE_EMPTY, false);
	learn_error(r);
	return relay_refuse_shown(r, (enum error_class)r->error_class);
}

/* The end mark waits: for the record, or for what stands before it. */
static bool holds_end(const struct request *r)
{
	return relay_is_strict(r) || r->tells_at_end;
}

/* What the latest event lacks of its end, where something of ours follows it. */
static struct slice missing_end(const struct request *r, const struct cut *c)
{
	const char *end = c->base + c->out;
	bool follows = r->tells_at_end || (r->finish_seen && !r->terminal_seen);

	if (!follows || !c->out || c->hold_from < c->out)
		return SLICE_EMPTY;
	if (c->out > 1 && end[-2] == end[-1] && (end[-1] == '\n' || end[-1] == '\r'))
		return SLICE_EMPTY;
	if (c->out > 2 && end[-3] == '\n' && end[-2] == '\r' && end[-1] == '\n')
		return SLICE_EMPTY;
	return end[-1] == '\n' ? SLICE("\n") : SLICE("\n\n");
}

/* Goes out now, or with the answer's end. */
static void deliver(struct request *r, const struct cut *c, bool last)
{
	struct slice missing = last ? missing_end(r, c) : SLICE_EMPTY;
	size_t n = c->out;

	if (last && !holds_end(r)) {
		r->whole = slice_of(c->base, n); /* all that is left, in one write with the end */
		if (buf_slice(&r->tail, missing))
			r->reset = true;
		return;
	}
	if (holds_end(r))
		n = MIN(n, c->hold_from);
	if (n)
		(void)relay_write(r, slice_of(c->base, n), missing, false);
	if (c->out > n && buf_append(&r->tail, c->base + n, c->out - n))
		r->reset = true;
}

/* joined: p..n is r->held. */
static void relay_events_of(struct request *r, char *p, size_t n, bool joined, bool last)
{
	struct cut c;

	c = cut_events(r, p, n, joined ? r->scanned : 0, last);
	if (c.used)
		r->mid_event = false;
	if (!r->finish_seen && !r->terminal_seen && r->endpoint <= ENDPOINT_completions)
		note_end(r, c.base, c.out);
	if (is_our_own(r, &c))
		return;
	if (c.malformed || c.elsewhere || (last && is_broken_off(r))) {
		if (c.out)
			(void)relay_write(r, slice_of(c.base, c.out), SLICE_EMPTY, false);
		break_off(r, &c);
		return;
	}
	deliver(r, &c, last);
	if (last) {
		relay_stream_ended(r);
		return;
	}
	note_progress(r);
	if ((r->finish_seen || r->terminal_seen || r->error_seen) && !deadline_is_armed(&r->again))
		deadline_set(r->env->loop, &r->again, LATE_US);
	hold_rest(r, joined, c.used, slice_of(p + c.used, n - c.used));
}

void relay_error_first(struct request *r, struct slice error)
{
	enum error_class c = relay_class_in_band(r, error);
	unsigned status = error_class_status(c);

	r->upstream_error = true;
	relay_count_error(r, ERROR_in_band);
	if (retry_follows(r, c, ATTEMPT_OK, status))
		return;
	r->status = (uint16_t)status;
	if (relay_refuse_shown(r, c))
		return;
	if (r->head_sent) {
		wait_error(r, error);
		return;
	}
	reply_provider_error(r, status, error);
	if (!attempt_is_over(r->attempt))
		attempt_abort(r->attempt);
	relay_answer_ended(r);
}

static void no_content(struct request *r, bool malformed)
{
	r->upstream_error = true;
	relay_count_error(r, malformed ? ERROR_undecodable : ERROR_no_content);
	if (!retry_follows(r, CLASS_transient, ATTEMPT_OK, 200))
		request_fail(r, FAIL_upstream_protocol,
			malformed ? "The provider's stream is not valid."
				  : "The provider's stream ended before it held anything.");
}

#define PRELUDE_BYTES (64u << 10) /* of events without content: more is relayed as it is */

/* Looks for the first content. True: there is some in p..n, or it is not worth waiting for. False:
 * what has come is kept, or the request has moved on. */
static bool content_begins(struct request *r, char *p, size_t n, bool last)
{
	size_t at = r->scanned, scanned = 0, m; /* what has been read before held none */
	struct slice error = SLICE_EMPTY;
	bool is_empty_end = false;

	if (openai_begins_with_text(p, n, r->endpoint))
		return true;
	while (at < n && (m = sse_event_end(p + at, n - at, &scanned, last)) != 0) {
		switch (openai_content_of(slice_of(p + at, m), r->endpoint, &error)) {
		case OPENAI_CONTENT_SOME: return true;
		case OPENAI_CONTENT_ERROR: relay_error_first(r, error); return false;
		case OPENAI_CONTENT_MALFORMED: no_content(r, true); return false;
		case OPENAI_CONTENT_END: is_empty_end = true; break;
		case OPENAI_CONTENT_NONE: break;
		}
		at += m;
		scanned = 0;
	}
	if (last || is_empty_end) {
		no_content(r, false);
		return false;
	}
	if (n > PRELUDE_BYTES)
		return true;
	r->scanned = at;
	if (p != r->held.p && buf_append(&r->held, p, n))
		request_fail(r, FAIL_gateway_overloaded, "%s", "");
	return false;
}

void relay_stream_body(struct request *r, char *p, size_t n, bool last)
{
	bool joined = r->held.n > 0;

	if (!r->committed) {
		if (joined && buf_append(&r->held, p, n)) {
			request_fail(r, FAIL_gateway_overloaded, "%s", "");
			return;
		}
		if (joined) {
			p = r->held.p;
			n = r->held.n;
		}
		if (!content_begins(r, p, n, last))
			return;
		if (!r->first_us)
			r->first_us = loop_now(r->env->loop);
		attempt_content(r->attempt);
		relay_commit(r);
		r->scanned = 0;
		relay_events_of(r, p, n, joined, last);
		return;
	}
	if (joined && r->held.n + n > EVENT_MAX_BYTES && !r->terminal_seen && continue_is_on(r)) {
		break_off(r, &(struct cut){ .malformed = true }); /* it can't be written anew */
		return;
	}
	if (joined && r->held.n + n > EVENT_MAX_BYTES && !r->terminal_seen) {
		pass_oversized(r, p, n);
		p = NULL;
		n = 0;
		joined = false;
	} else if (joined) {
		if (buf_append(&r->held, p, n)) {
			request_fail(r, FAIL_gateway_overloaded, "%s", "");
			return;
		}
		p = r->held.p;
		n = r->held.n;
	}
	relay_events_of(r, p, n, joined, last);
}
