/* The answer: carried to the client as it comes, byte for byte, with back-pressure. A stream goes
 * event by event; a plain answer of up to ANSWER_WHOLE_BYTES in one write. The end of either waits
 * for settle_step(). */
#include "request/request.h"
#include "request/upload.h"

#include <aigw/json_scan.h>
#include <aigw/log.h>
#include <aigw/text.h>
#include <time.h>

#define GATHER_BYTES 4096

int client_write(struct request *r, const struct slice *v, unsigned n)
{
	struct slice all = { r->env->loop->scratch_out, 0 };
	size_t total = 0;
	int res;

	if (!r->client)
		return -ENOTCONN;
	for (unsigned i = 0; i < n; i++)
		total += v[i].n;
	if (total <= GATHER_BYTES) {
		for (unsigned i = 0; i < n; i++) {
			if (v[i].n)
				memcpy(r->env->loop->scratch_out + all.n, v[i].p, v[i].n);
			all.n += v[i].n;
		}
		res = stream_write(r->client, &all, 1);
	} else {
		res = stream_write(r->client, v, n);
	}
	if (res < 0) {
		stream_close(r->client); /* `closed` tells front, and front tells us */
	} else if (res == 1 && r->attempt && !attempt_is_over(r->attempt)) {
		r->paused = true;
		attempt_pause(r->attempt);
	}
	return res;
}

void relay_drained(struct request *r)
{
	if (!r->paused)
		return;
	r->paused = false;
	if (r->attempt && !attempt_is_over(r->attempt))
		attempt_resume(r->attempt);
}

/* --- framing towards the client
 * --------------------------------------------------------------------------- */

enum framing { FRAME_LENGTH, FRAME_STREAM, FRAME_NONE };

/* The last lines of the head, into b. */
static struct slice end_of_head(struct request *r, enum framing how, uint64_t length, struct buf *b)
{
	bool close_it = r->want_close || !r->keep_alive ||
			atomic_load_explicit(&r->env->gw->draining, memory_order_relaxed);

	if (how == FRAME_LENGTH) {
		(void)buf_str(b, "content-length: ");
		(void)buf_u64(b, length);
		(void)buf_str(b, "\r\n");
	} else if (how == FRAME_STREAM && r->http_minor >= 1) {
		(void)buf_str(b, "transfer-encoding: chunked\r\n");
		r->down_chunked = true;
	} else if (how == FRAME_STREAM) {
		close_it = true;
	}
	if (close_it) {
		r->want_close = true;
		(void)buf_str(b, "connection: close\r\n");
	} else if (r->http_minor == 0) {
		(void)buf_str(b, "connection: keep-alive\r\n");
	}
	(void)buf_str(b, "\r\n");
	r->head_sent = true;
	return buf_view(b);
}

#define CHUNK_LINE_BYTES 18

/* The line before a chunk of n bytes, at the end of p. */
static struct slice chunk_line(char p[static CHUNK_LINE_BYTES], size_t n)
{
	char *at = p + CHUNK_LINE_BYTES;

	*--at = '\n';
	*--at = '\r';
	do
		*--at = "0123456789abcdef"[n & 15];
	while ((n >>= 4) != 0);
	return slice_of(at, (size_t)(p + CHUNK_LINE_BYTES - at));
}

/* Content in the client's framing: the head before it if that is still to come, the end behind it
 * if `last`. At most 6 slices. */
static int write_content(struct request *r, struct slice a, struct slice b, bool last)
{
	char frame[160], size[CHUNK_LINE_BYTES];
	struct buf fb = buf_over(frame, sizeof(frame));
	struct slice v[7];
	unsigned n = 0;
	bool content = a.n + b.n > 0;

	if (!r->head_sent) {
		v[n++] = slice_of(r->head_text, r->head_text_n);
		v[n++] = end_of_head(
			r, r->has_length ? FRAME_LENGTH : FRAME_STREAM, r->answer_length, &fb);
	}
	if (r->head_only)
		content = last = false;
	if (content && r->down_chunked)
		v[n++] = chunk_line(size, a.n + b.n);
	if (content) {
		v[n++] = a;
		v[n++] = b;
		r->out_n += a.n + b.n;
	}
	if (r->down_chunked && content)
		v[n++] = last ? SLICE("\r\n0\r\n\r\n") : SLICE("\r\n");
	else if (r->down_chunked && last)
		v[n++] = SLICE("0\r\n\r\n");
	n = n ? (unsigned)client_write(r, v, n) : 0;
	reply_drop_head(r); /* a held stream does not hold its head */
	return (int)n;
}

static int write_whole(struct request *r)
{
	char frame[160];
	struct buf fb = buf_over(frame, sizeof(frame));
	struct slice v[3] = { slice_of(r->head_text, r->head_text_n), SLICE_EMPTY, r->whole };

	v[1] = end_of_head(r, r->no_body ? FRAME_NONE : FRAME_LENGTH, r->whole.n, &fb);
	return client_write(r, v, r->head_only || r->no_body ? 2 : 3);
}

/* An answer that no record stands behind. */
void relay_error_now(struct request *r)
{
	(void)write_whole(r);
}

/* Settled, and durable if it has to be. */
void relay_end(struct request *r)
{
	if (r->client && !r->reset) {
		if (r->mode == RELAY_SSE)
			(void)write_content(r, r->whole, buf_view(&r->tail), true);
		else if (!r->head_sent && r->head_text)
			(void)write_whole(r);
		else if (r->head_sent)
			(void)write_content(r, r->whole, buf_view(&r->tail), true);
	}
	request_finish(r);
}

void relay_end_in_band(struct request *r, enum fail f, const char *why)
{
	r->whole = SLICE_EMPTY;
	r->keep_alive = false;
	r->want_close = true;
	if (r->mode == RELAY_SSE)
		reply_error_event(r, f, why);
	else
		r->reset = true; /* nothing in a half answer can say that it is one: the connection
				    does */
}

/* --- the provider's head
 * ---------------------------------------------------------------------------------- */

static const struct slice relayed[] = {
	SLICE_INIT("content-type"),
	SLICE_INIT("content-encoding"),
	SLICE_INIT("retry-after"),
	SLICE_INIT("retry-after-ms"),
	SLICE_INIT("x-should-retry"),
};
#define RELAYED_SHOULD_RETRY (ARRAY_LEN(relayed) - 1)

/* The first that is there counts. */
static const struct slice request_ids[] = {
	SLICE_INIT("x-request-id"),
	SLICE_INIT("request-id"),
	SLICE_INIT("apim-request-id"),
};

static int index_of(const struct slice *names, size_t n, struct slice name)
{
	for (size_t i = 0; i < n; i++)
		if (names[i].n == name.n && slice_eq_nocase(names[i], name))
			return (int)i;
	return -1;
}

/* The provider's head, of which little goes on: one pass over its fields. */
static void compose_head(struct request *r, const struct h1_head *h)
{
	struct slice id = SLICE_EMPTY;
	int id_rank = (int)ARRAY_LEN(request_ids), at;
	unsigned seen = 0;
	bool worn_out = h->status >= 400 && reply_is_worn_out(r);

	reply_begin(r, h->status);
	if (worn_out) {
		seen = 1u << RELAYED_SHOULD_RETRY; /* ours, in place of the provider's */
		(void)reply_field(r, SLICE("x-should-retry"), SLICE("false"));
	}
	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct h1_field *f = &h->fields[i];

		at = index_of(relayed, ARRAY_LEN(relayed), f->name);
		if (at >= 0 && !(seen & 1u << at)) {
			seen |= 1u << at;
			(void)reply_field(r, relayed[at], f->value);
			continue;
		}
		at = index_of(request_ids, ARRAY_LEN(request_ids), f->name);
		if (at >= 0 && at < id_rank) {
			id_rank = at;
			id = f->value;
		}
	}
	if (id.n && reply_field(r, SLICE("x-aigw-upstream-request-id"), id) == 0)
		slot_set_text(inflight_slot(r->env->gw->inflight, r->slot),
			SLOT_TEXT_upstream_request_id, id);
}

static void drop_prompt(struct request *r)
{
	body_free(r);
	request_drop_forward(r);
}

static bool is_event_stream(const struct h1_head *h)
{
	const struct h1_field *f = h1_find(h, SLICE("content-type"));
	const struct slice want = SLICE("text/event-stream");

	return f && f->value.n >= want.n && slice_eq_nocase(slice_of(f->value.p, want.n), want);
}

static void count_error(struct request *r, enum provider_error e)
{
	stats_error(r->env->stats, r->rules->rules->policy->provider_stat[r->provider], e);
}

_Static_assert(ERROR_memory == ATTEMPT_MEMORY - 1 && ERROR_no_address == ATTEMPT_NO_ADDRESS - 1 &&
		       ERROR_proxy == ATTEMPT_PROXY - 1 && ERROR_cut == ATTEMPT_CUT - 1,
	"provider_errors.h begins as enum attempt_failure does");

static bool refuse_redirect(struct request *r, const struct h1_head *h)
{
	if (h->status < 300 || h->status >= 400)
		return false;
	r->upstream_error = true;
	count_error(r, ERROR_redirect);
	if (!retry_follows(r, CLASS_unsupported, ATTEMPT_OK, h->status))
		request_fail(r, FAIL_upstream_error,
			"The provider answered with a redirect (%u), which is not followed. "
			"Correct its base_url.",
			h->status);
	return true;
}

/* An answer that nobody asked for: JSON to a call for a stream, or a stream to one that is none. */
static bool refuse_kind(struct request *r, const struct h1_head *h)
{
	bool text = r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions ||
		    r->endpoint == ENDPOINT_responses;

	if (!text || h->status >= 300 || !h->has_body || is_event_stream(h) == r->facts.stream)
		return false;
	r->upstream_error = true;
	count_error(r, ERROR_wrong_kind);
	if (!retry_follows(r, CLASS_transient, ATTEMPT_OK, h->status))
		request_fail(r, FAIL_upstream_protocol,
			r->facts.stream
				? "A stream was asked for, and the provider's answer is none."
				: "The provider answered with a stream that was not asked for.");
	return true;
}

/* What the provider says to wait, in microseconds; 0: nothing. RFC 9110 10.2.3 in seconds or as a
 * date; retry-after-ms is OpenAI's. */
static usec hint_of(const struct request *r, const struct h1_head *h)
{
	const struct h1_field *f = h1_find(h, SLICE("retry-after-ms"));
	struct tm tm = { 0 };
	char date[64];
	int64_t nano;
	usec at;

	if (f && text_parse_nano(slice_trim(f->value), false, &nano) == 0)
		return nano / 1000000; /* thousandths of a "second" that is a millisecond */
	f = h1_find(h, SLICE("retry-after"));
	if (!f)
		return 0;
	if (text_parse_nano(slice_trim(f->value), false, &nano) == 0)
		return nano / 1000;
	if (f->value.n >= sizeof(date))
		return 0;
	memcpy(date, f->value.p, f->value.n);
	date[f->value.n] = '\0';
	if (!strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		return 0;
	at = (usec)timegm(&tm) * USEC_PER_S - (r->wall_us + loop_now(r->env->loop) - r->began_us);
	return MAX(at, (usec)0);
}

/* A refusal of the gateway's own credential is nobody else's business: its text stays here. */
static bool refuse_shown(struct request *r, enum error_class c)
{
	if (c == CLASS_provider_auth) {
		log_event(LOG_WARNING, "upstream", "provider.auth_failed",
			"provider=" SLICE_FMT " status=%u",
			SLICE_ARG(r->rules->rules->policy->doc->providers[r->provider].name),
			r->status);
		request_fail(r, FAIL_upstream_auth_failed, "%s", "");
		return true;
	}
	if (c == CLASS_provider_quota) {
		request_fail(r, FAIL_upstream_quota, "%s", "");
		return true;
	}
	return false;
}

/* An error's answer, as much of it as was held. True: it goes no further. */
static bool judge(struct request *r, struct slice body)
{
	enum error_class c;

	if (r->judged || !r->upstream_error)
		return false;
	r->judged = true;
	c = openai_class_of(r->status, r->compressed ? SLICE_EMPTY : body);
	return retry_follows(r, c, ATTEMPT_OK, r->status) || refuse_shown(r, c);
}

static void note_error(struct request *r, const struct h1_head *h)
{
	enum provider_error e = h->status < 500 ? ERROR_refused : ERROR_failed;

	if (h->status == 401 || h->status == 403)
		e = ERROR_auth;
	else if (h->status == 429)
		e = ERROR_rate_limited;
	count_error(r, e);
	r->hint_us = hint_of(r, h);
}

static bool on_head(struct attempt *a, const struct h1_head *h)
{
	struct request *r = a->owner;
	const struct h1_field *coding = h1_find(h, SLICE("content-encoding"));

	/* No further attempt needs the body; a held stream does not hold its prompt. */
	if (r->spent && a->state != ATTEMPT_SENDING)
		drop_prompt(r);
	if (refuse_redirect(r, h) || refuse_kind(r, h))
		return false;
	r->compressed = coding && !slice_eq_nocase(coding->value, SLICE("identity"));
	r->upstream_error = h->status >= 400;
	if (r->upstream_error)
		note_error(r, h);
	r->mode = !r->compressed && h->status < 300 && is_event_stream(h) ? RELAY_SSE : RELAY_PLAIN;
	r->eager = (r->compressed && is_event_stream(h)) || r->endpoint == ENDPOINT_speech;
	if (r->upload && !r->upload->whole)
		r->want_close = true; /* answered before it was all there */
	r->no_body = !h->has_body && (h->status == 204 || h->status == 304);
	if (r->mode == RELAY_PLAIN && h->has_length) {
		r->has_length = true;
		r->answer_length = h->length;
	}
	if (r->mode == RELAY_PLAIN)
		a->holds_content = false; /* its first byte is what there is to wait for */
	compose_head(r, h);
	return true;
}

void relay_forget(struct request *r)
{
	buf_fini(&r->held);
	buf_fini(&r->tail);
	if (r->tap) {
		jscan_tap_fini(r->tap);
		free(r->tap);
		r->tap = NULL;
	}
	if (r->head_text_owned)
		free(r->head_text);
	r->head_text_owned = false;
	r->head_text = NULL;
	r->head_text_n = 0;
	r->whole = SLICE_EMPTY;
	memset(&r->usage, 0, sizeof(r->usage));
	r->first_us = 0;
	r->answer_length = r->answer_n = r->out_n = 0;
	r->events = r->event_bytes = r->event_min = 0;
	r->scanned = 0;
	r->mode = RELAY_NONE;
	r->has_length = r->usage_seen = r->terminal_seen = r->finish_seen = r->compressed =
		r->upstream_error = r->eager = r->no_body = false;
}

static bool is_strict(const struct request *r)
{
	return atomic_load_explicit(&r->env->gw->strict, memory_order_relaxed);
}

static void ended(struct request *r, enum usage_outcome outcome, enum fail f)
{
	r->outcome = (uint8_t)outcome;
	r->fail = (uint8_t)f;
	r->step = STEP_SETTLE;
	request_resume(r);
}

static void answer_ended(struct request *r)
{
	if (r->upstream_error) {
		ended(r, USAGE_FAILED, FAIL_upstream_error);
		return;
	}
	retry_learn_ok(r, true);
	ended(r, USAGE_OK, FAIL_none);
}

/* --- plain answers
 * ---------------------------------------------------------------------------------------- */

static const struct jscan_tap_path usage_path = { { NULL, 0 }, SLICE_INIT("usage") };

static void tap_begin(struct request *r)
{
	if (r->endpoint == ENDPOINT_speech) /* sound */
		return;
	r->tap = malloc(sizeof(*r->tap));
	if (r->tap)
		jscan_tap_init(r->tap, &usage_path, 1);
}

/* Too large for one write: head and content go out as they come; with strict durability the last
 * byte so far waits. */
static void plain_piece(struct request *r, struct slice piece, bool last)
{
	struct slice before = buf_view(&r->tail);
	char kept;

	if (r->tap)
		jscan_tap_feed(r->tap, piece.p, piece.n);
	if (last)
		meter_tap(r);
	if (!is_strict(r) && !before.n) {
		if (last)
			r->whole = piece; /* in one write with the end */
		else if (piece.n)
			(void)write_content(r, piece, SLICE_EMPTY, false);
	} else if (piece.n) {
		kept = piece.p[piece.n - 1];
		(void)write_content(r, before, slice_of(piece.p, piece.n - 1), false);
		buf_reset(&r->tail);
		if (buf_char(&r->tail, kept))
			r->reset = true;
	}
	if (last)
		answer_ended(r);
}

/* From here on there is no other try, and the prompt is not needed. */
static void commit(struct request *r)
{
	if (r->committed)
		return;
	r->committed = true;
	if (!r->upstream_error)
		retry_learn_ok(r, false);
	if (r->attempt->state != ATTEMPT_SENDING)
		drop_prompt(r);
}

/* Usage that was read to the end of the body proves it well. */
static bool is_decodable(struct request *r, struct slice body)
{
	if (r->upstream_error || r->usage_seen || r->compressed || r->no_body || r->head_only ||
		r->endpoint > ENDPOINT_moderations || openai_is_answer(body))
		return true;
	count_error(r, ERROR_undecodable);
	if (retry_follows(r, CLASS_transient, ATTEMPT_OK, r->status))
		return false;
	if (!body.n) /* nothing at all is no wrong answer: an outcome of its own */
		return true;
	request_fail(r, FAIL_upstream_protocol, "The provider's answer is not valid JSON.");
	return false;
}

static void plain_body(struct request *r, char *p, size_t n, bool last)
{
	struct slice piece = slice_of(p, n);

	if (r->head_sent) {
		plain_piece(r, piece, last);
		return;
	}
	if (r->held.n || (!last && !r->eager)) {
		if (buf_slice(&r->held, piece)) {
			request_fail(r, FAIL_gateway_overloaded, "%s", "");
			return;
		}
		piece = buf_view(&r->held);
	}
	if (last) {
		if (judge(r, piece))
			return;
		r->whole = piece;
		meter_plain(r, piece);
		if (!is_decodable(r, piece))
			return;
		answer_ended(r);
	} else if (piece.n > ANSWER_WHOLE_BYTES || r->eager) {
		if (judge(r, piece))
			return;
		commit(r);
		tap_begin(r);
		plain_piece(r, piece, false);
		buf_fini(&r->held);
	}
}

/* --- event streams
 * ---------------------------------------------------------------------------------------- */

/* What one read of the stream comes to. */
struct cut {
	size_t used;      /* bytes of whole events */
	size_t out;       /* of these, to be relayed: moved together at the region's front */
	size_t hold_from; /* of out: the answer's end begins here */
	bool malformed;   /* what comes next is no JSON, and is not left out */
};

static bool skips_malformed(const struct request *r)
{
	return r->rules->rules->policy->doc->models[r->model].skip_malformed;
}

static struct cut cut_events(struct request *r, char *p, size_t n, size_t scanned, bool last)
{
	size_t usage_at = openai_find_usage(p, 0, n);
	struct cut c = { 0, 0, r->terminal_seen ? 0 : SIZE_MAX, false };
	bool is_json = r->endpoint <= ENDPOINT_responses;

	while (c.used < n) {
		size_t m = sse_event_end(p + c.used, n - c.used, &scanned, last);
		struct slice raw = slice_of(p + c.used, m ? m : n - c.used);
		enum openai_event kind;
		bool hide = false;

		if (!m && !last) {
			r->scanned = scanned;
			break;
		}
		scanned = 0;
		kind = openai_event_kind(raw, r->endpoint);
		if (is_json && kind == OPENAI_EVENT_DATA && !r->terminal_seen &&
			!openai_may_be_json(raw)) {
			count_error(r, ERROR_undecodable);
			if (!skips_malformed(r)) {
				c.malformed = true;
				return c;
			}
			hide = true;
		} else if (kind == OPENAI_EVENT_DATA || kind == OPENAI_EVENT_TERMINAL)
			meter_event(r, raw, usage_at < c.used + raw.n, &hide);
		if ((kind == OPENAI_EVENT_DONE || kind == OPENAI_EVENT_TERMINAL) &&
			!r->terminal_seen) {
			r->terminal_seen = true;
			c.hold_from = c.out;
		}
		c.used += raw.n;
		if (usage_at < c.used)
			usage_at = openai_find_usage(p, c.used, n);
		if (hide)
			continue;
		if (p + c.out != raw.p)
			memmove(p + c.out, raw.p, raw.n);
		c.out += raw.n;
	}
	return c;
}

static void note_progress(struct request *r)
{
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);

	if (!r->usage_seen)
		s->v.output_tokens =
			(int64_t)MAX(r->events, (r->event_bytes - r->events * r->event_min) / 4);
	s->v.first_byte_us = r->first_us - r->began_us;
}

/* An event beyond all measure: relayed as it is, without a look at it. */
static void pass_oversized(struct request *r, const char *p, size_t n)
{
	(void)write_content(r, buf_view(&r->held), slice_of(p, n), false);
	buf_fini(&r->held);
	r->scanned = 0;
}

/* What should come behind the answer's end, the end mark or that of the body, does so at once or
 * not at all. */
#define LATE_US (5 * USEC_PER_S)

/* The latest events count: behind an error something may come still. */
static void note_end(struct request *r, const char *p, size_t n)
{
	enum openai_end e = n ? openai_end_of(p, n) : OPENAI_END_NONE;

	if (!n)
		return;
	r->finish_seen = e == OPENAI_END_FINISH;
	r->error_seen = e == OPENAI_END_ERROR;
}

/* A body that ends is no answer's end: the answer has to say so itself. */
static bool is_broken_off(const struct request *r)
{
	return !r->terminal_seen && !r->finish_seen && !r->error_seen &&
	       r->endpoint <= ENDPOINT_responses;
}

static void break_off(struct request *r, bool malformed)
{
	log_event(LOG_WARNING, "upstream", "provider.failed",
		"provider=" SLICE_FMT " reason=%s sent=1 answered=1",
		SLICE_ARG(r->rules->rules->policy->doc->providers[r->provider].name),
		malformed ? "malformed_event" : "no_finish");
	if (!malformed)
		count_error(r, ERROR_cut);
	retry_learn_cut(r);
	if (malformed)
		request_fail(r, FAIL_upstream_protocol,
			"The provider's stream holds an event that is not valid.");
	else
		request_fail(r, FAIL_upstream_cut, "%s", "");
}

/* SDKs wait for the end mark, and some providers forget it. */
static void stream_ended(struct request *r)
{
	if (!r->terminal_seen && r->finish_seen && buf_str(&r->tail, "data: [DONE]\n\n"))
		r->reset = true;
	if (r->error_seen && !r->terminal_seen) { /* the client has it in the provider's words */
		count_error(r, ERROR_in_band);
		retry_learn_cut(r);
		ended(r, USAGE_CUT, FAIL_upstream_error);
	} else {
		answer_ended(r);
	}
}

void relay_late(struct request *r)
{
	if (r->step != STEP_RELAY || r->mode != RELAY_SSE)
		return;
	attempt_abort(r->attempt);
	stream_ended(r);
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

/* joined: p..n is r->held. */
static void relay_events_of(struct request *r, char *p, size_t n, bool joined, bool last)
{
	struct slice visible;
	struct cut c;

	c = cut_events(r, p, n, joined ? r->scanned : 0, last);
	if (!r->finish_seen && !r->terminal_seen && r->endpoint <= ENDPOINT_completions)
		note_end(r, p, c.out);
	if (c.malformed || (last && is_broken_off(r))) {
		if (c.out)
			(void)write_content(r, slice_of(p, c.out), SLICE_EMPTY, false);
		break_off(r, c.malformed);
		return;
	}
	visible = slice_of(p, is_strict(r) || last ? MIN(c.out, c.hold_from) : c.out);
	if (!last || is_strict(r)) {
		if (visible.n)
			(void)write_content(r, visible, SLICE_EMPTY, false);
		if (c.out > visible.n && buf_append(&r->tail, p + visible.n, c.out - visible.n))
			r->reset = true;
	} else {
		r->whole = slice_of(p, c.out); /* all that is left, in one write with the end */
	}
	if (last) {
		stream_ended(r);
		return;
	}
	note_progress(r);
	if ((r->finish_seen || r->terminal_seen) && !deadline_is_armed(&r->again))
		deadline_set(r->env->loop, &r->again, LATE_US);
	hold_rest(r, joined, c.used, slice_of(p + c.used, n - c.used));
}

/* An error in place of the first content: as if it had come with its status. */
static void error_first(struct request *r, struct slice error)
{
	enum error_class c = openai_class_in_band(error);
	unsigned status = error_class_status(c);

	r->upstream_error = true;
	count_error(r, ERROR_in_band);
	if (retry_follows(r, c, ATTEMPT_OK, status))
		return;
	r->status = (uint16_t)status;
	if (refuse_shown(r, c))
		return;
	reply_provider_error(r, status, error);
	if (!attempt_is_over(r->attempt))
		attempt_abort(r->attempt);
	answer_ended(r);
}

static void no_content(struct request *r, bool malformed)
{
	r->upstream_error = true;
	count_error(r, malformed ? ERROR_undecodable : ERROR_no_content);
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
	size_t at = 0, scanned = 0, m;
	struct slice error = SLICE_EMPTY;
	bool is_empty_end = false;

	if (openai_begins_with_text(p, n, r->endpoint))
		return true;
	while (at < n && (m = sse_event_end(p + at, n - at, &scanned, last)) != 0) {
		switch (openai_content_of(slice_of(p + at, m), r->endpoint, &error)) {
		case OPENAI_CONTENT_SOME: return true;
		case OPENAI_CONTENT_ERROR: error_first(r, error); return false;
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
	if (p != r->held.p && buf_append(&r->held, p, n))
		request_fail(r, FAIL_gateway_overloaded, "%s", "");
	return false;
}

static void sse_body(struct request *r, char *p, size_t n, bool last)
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
		r->first_us = loop_now(r->env->loop);
		attempt_content(r->attempt);
		commit(r);
		r->scanned = 0;
		relay_events_of(r, p, n, joined, last);
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

/* --- events of the attempt
 * -------------------------------------------------------------------------------- */

static bool on_body(struct attempt *a, char *p, size_t n, bool last)
{
	struct request *r = a->owner;

	if (!r->first_us && r->mode != RELAY_SSE)
		r->first_us = loop_now(r->env->loop);
	r->answer_n += n;
	if (r->mode == RELAY_SSE)
		sse_body(r, p, n, last);
	else
		plain_body(r, p, n, last);
	return !attempt_is_over(a) || last;
}

static void on_paused(struct attempt *a)
{
	reply_own_head(a->owner);
}

static enum fail fail_of(enum attempt_failure f)
{
	switch (f) {
	case ATTEMPT_TIMEOUT_CONNECT:
	case ATTEMPT_TIMEOUT_FIRST_BYTE:
	case ATTEMPT_TIMEOUT_IDLE: return FAIL_upstream_timeout;
	case ATTEMPT_MALFORMED: return FAIL_upstream_protocol;
	case ATTEMPT_CUT: return FAIL_upstream_cut;
	case ATTEMPT_MEMORY: return FAIL_gateway_overloaded;
	case ATTEMPT_OK:
	case ATTEMPT_NO_ADDRESS:
	case ATTEMPT_NO_CONNECTION:
	case ATTEMPT_TLS:
	case ATTEMPT_PROXY:
	case ATTEMPT_CLOSED_EARLY: break;
	}
	return FAIL_upstream_unavailable;
}

static void on_failed(struct attempt *a, enum attempt_failure f)
{
	struct request *r = a->owner;

	log_event(LOG_WARNING, "upstream", "provider.failed",
		"provider=" SLICE_FMT " reason=%s sent=%d answered=%d%s%s",
		SLICE_ARG(r->rules->rules->policy->doc->providers[r->provider].name),
		attempt_failure_name(f), r->sent_us != 0, r->head_sent, a->why[0] ? " why=" : "",
		a->why[0] ? log_quote(slice_str(a->why)) : "");
	count_error(r, (enum provider_error)(f - 1));
	/* After the answer's own end nothing is missing. */
	if (r->mode == RELAY_SSE && (r->terminal_seen || r->finish_seen) && !r->held.n) {
		stream_ended(r);
		return;
	}
	if (r->committed)
		retry_learn_cut(r);
	else if (f != ATTEMPT_MEMORY && retry_follows(r, CLASS_transient, f, 0))
		return;
	request_fail(r, fail_of(f), "%s", "");
}

const struct attempt_events relay_events = {
	.bytes = send_bytes_of,
	.head = on_head,
	.body = on_body,
	.paused = on_paused,
	.sent = upload_sent,
	.failed = on_failed,
};
