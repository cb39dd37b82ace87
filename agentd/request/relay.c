/* The answer: carried to the client as it comes, byte for byte, with back-pressure. A stream goes
 * event by event (answer_stream.c); a plain answer of up to ANSWER_WHOLE_BYTES in one write. The
 * end of either waits for settle_step(). */
#include "request/continue.h"
#include "request/meter.h"
#include "request/upload.h"

#include <aigw/json_scan.h>
#include <aigw/log.h>

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
		if (r->tells_at_end)
			reply_trailers(r, b);
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
	r->head_status = r->status;
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
 * if `last`. At most 8 slices. */
int relay_write(struct request *r, struct slice a, struct slice b, bool last)
{
	char frame[160], size[CHUNK_LINE_BYTES];
	struct buf fb = buf_over(frame, sizeof(frame));
	struct slice v[8];
	unsigned n = 0;
	bool content = a.n + b.n > 0;

	if (!r->head_sent) {
		v[n++] = slice_of(r->head_text, r->head_text_n);
		v[n++] = end_of_head(
			r, r->has_length ? FRAME_LENGTH : FRAME_STREAM, r->answer_length, &fb);
		wait_begin(r);
	}
	if (r->head_only)
		content = last = false;
	if (content && r->down_chunked)
		v[n++] = chunk_line(size, a.n + b.n);
	if (content) {
		v[n++] = a;
		v[n++] = b;
		r->out_n += a.n + b.n;
		r->wrote_us = loop_now(r->env->loop);
	}
	if (r->down_chunked && last && r->trailer_n) {
		v[n++] = content ? SLICE("\r\n0\r\n") : SLICE("0\r\n");
		v[n++] = slice_of(r->held.p + r->held.n - r->trailer_n, r->trailer_n);
		v[n++] = SLICE("\r\n");
	} else if (r->down_chunked && content)
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
			(void)relay_write(r, r->whole, buf_view(&r->tail), true);
		else if (!r->head_sent && r->head_text)
			(void)write_whole(r);
		else if (r->head_sent)
			(void)relay_write(r, r->whole, buf_view(&r->tail), true);
	}
	request_finish(r);
}

void relay_end_in_band(struct request *r, enum fail f, const char *why)
{
	r->whole = SLICE_EMPTY;
	/* A stream in chunks ends as any answer, and its head has promised the connection: who
	 * calls next on it must not find it closed. */
	if (!r->down_chunked)
		r->want_close = true;
	if (r->sse_sent && !r->mid_event)
		reply_error_event(r, f, why);
	else
		r->reset = r->want_close = true; /* nothing in a half answer can say that it is one:
				    the connection does */
}

bool relay_is_strict(const struct request *r)
{
	return atomic_load_explicit(&r->env->gw->strict, memory_order_relaxed);
}

void relay_ended(struct request *r, enum usage_outcome outcome, enum fail f)
{
	r->outcome = (uint8_t)outcome;
	r->fail = (uint8_t)f;
	r->step = STEP_SETTLE;
	request_resume(r);
}

void relay_answer_ended(struct request *r)
{
	if (r->upstream_error) {
		relay_ended(r, USAGE_FAILED, FAIL_upstream_error);
		return;
	}
	measure_content(r);
	retry_learn_ok(r, true);
	relay_ended(r, USAGE_OK, FAIL_none);
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

/* Its framing says that it is whole (or has none: the connection's end is its end), and it is not.
 */
static bool is_torn(const struct request *r)
{
	return r->tap && jscan_tap_is_open(r->tap) && !r->upstream_error && !r->compressed &&
	       r->endpoint <= ENDPOINT_moderations;
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
	if (last && is_torn(r)) {
		relay_count_error(r, ERROR_cut);
		retry_learn_cut(r);
		request_fail(r, FAIL_upstream_cut, "%s", "");
		return;
	}
	if (!relay_is_strict(r) && !before.n) {
		if (last)
			r->whole = piece; /* in one write with the end */
		else if (piece.n)
			(void)relay_write(r, piece, SLICE_EMPTY, false);
	} else if (piece.n) {
		kept = piece.p[piece.n - 1];
		(void)relay_write(r, before, slice_of(piece.p, piece.n - 1), false);
		buf_reset(&r->tail);
		if (buf_char(&r->tail, kept))
			r->reset = true;
	}
	if (last)
		relay_answer_ended(r);
}

/* From here on there is no other try, and the prompt is not needed. */
void relay_commit(struct request *r)
{
	if (r->committed)
		return;
	r->committed = true;
	if (!r->upstream_error) {
		measure_content(r);
		retry_learn_ok(r, false);
	}
	continue_begin(r);
	if (r->attempt->state != ATTEMPT_SENDING && !r->cont)
		relay_drop_prompt(r);
	if (r->head_early || continue_is_on(r))
		wait_say_who(r);
}

/* Usage that was read to the end of the body proves it well. False: it goes no further. */
static bool is_answer(struct request *r, struct slice body)
{
	struct slice error;

	if (r->upstream_error || r->usage_seen || r->compressed || r->no_body || r->head_only ||
		r->endpoint > ENDPOINT_moderations)
		return true;
	if (openai_is_answer(body, &error)) {
		if (error.n)
			relay_error_first(r, error);
		return !error.n;
	}
	relay_count_error(r, ERROR_undecodable);
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

	if (r->head_sent && !r->committed) {
		wait_error_body(r, piece, last);
		return;
	}
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
		if (relay_judge(r, piece))
			return;
		r->whole = piece;
		meter_plain(r, piece);
		if (!is_answer(r, piece))
			return;
		relay_answer_ended(r);
	} else if (piece.n > ANSWER_WHOLE_BYTES || r->eager) {
		if (relay_judge(r, piece))
			return;
		relay_commit(r);
		tap_begin(r);
		plain_piece(r, piece, false);
		buf_fini(&r->held);
	}
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
		relay_stream_body(r, p, n, last);
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
		"request=%s provider=" SLICE_FMT " reason=%s sent=%d answered=%d%s%s", r->id,
		SLICE_ARG(r->rules->rules->policy->doc->providers[r->provider].name),
		attempt_failure_name(f), r->sent_us != 0, r->head_sent, a->why[0] ? " why=" : "",
		a->why[0] ? log_quote(slice_str(a->why)) : "");
	relay_count_error(r, (enum provider_error)(f - 1));
	/* After the answer's own end nothing is missing, and one error is enough. */
	if (r->mode == RELAY_SSE &&
		(r->terminal_seen || r->error_seen || (r->finish_seen && !r->held.n))) {
		relay_stream_ended(r);
		return;
	}
	if (r->committed) {
		retry_learn_cut(r);
		if (f != ATTEMPT_MEMORY && retry_continues(r, f))
			return;
	} else if (f != ATTEMPT_MEMORY && retry_follows(r, CLASS_transient, f, 0)) {
		return;
	}
	request_fail(r, fail_of(f), "%s", "");
}

const struct attempt_events relay_events = {
	.bytes = send_bytes_of,
	.head = relay_on_head,
	.body = on_body,
	.paused = on_paused,
	.sent = upload_sent,
	.failed = on_failed,
};
