/* stream: sends a call's answer in time: events as they fall due, whole bodies, both also in random
 * pieces. */
#include "answer.h"
#include "conn.h"
#include "tokens.h"

#include <string.h>

#define WRITE_BYTES (32 * 1024)
#define EVENT_TAIL  3 /* "}\n\n" */

enum step {
	STEP_MORE,  /* an event was added */
	STEP_WAIT,  /* nothing before due_us */
	STEP_YIELD, /* go on in the loop's next turn, so that pieces reach the peer apart */
	STEP_STALL,
	STEP_CLOSE,
	STEP_END,
};

static struct buf wire, scratch;

static void chunk_add(struct buf *out, const char *p, size_t n)
{
	if (!n)
		return;
	buf_addf(out, "%zx\r\n", n);
	buf_add(out, p, n);
	buf_add(out, "\r\n", 2);
}

/* Event bytes as they travel: compressed first if asked. */
static void bytes_encode(struct call *c, struct buf *out, const char *p, size_t n)
{
	if (c->b.gzip)
		gzip_add(&c->gz, out, p, n);
	else
		buf_add(out, p, n);
}

static uint64_t cut_next(struct call *c)
{
	c->cuts = hash_mix(c->cuts + 0x9e3779b97f4a7c15ULL);
	return c->cuts;
}

/* Single bytes often, so that every place of an event is cut sooner or later; long pieces, so that
 * it ends. */
static size_t cut_length(struct call *c, size_t left)
{
	static const uint16_t most[] = { 1, 5, 64, 1500 };
	uint64_t r = cut_next(c);
	size_t n = 1 + (r >> 8) % most[r % 4];

	return n < left ? n : left;
}

/* ---- events in time ---- */

static void error_event(struct call *c, struct buf *out)
{
	buf_adds(out, "data: ");
	error_add(out, 500, NULL, NULL, c->b.code[0] ? c->b.code : NULL);
	buf_adds(out, "\n\n");
	c->stage = STAGE_END;
	c->fault = "error-event";
}

static bool first_wait(struct call *c, uint64_t now)
{
	if (c->b.first_after < 0 || c->waited)
		return false;
	c->waited = true;
	c->due_us = now + (uint64_t)c->b.first_after * 1000;
	return true;
}

static enum step open_step(struct call *c, struct buf *out, uint64_t now)
{
	if (c->b.head_only) {
		c->fault = "head-only";
		return STEP_CLOSE;
	}
	if (!c->b.error_event) {
		error_event(c, out);
		return STEP_MORE;
	}
	if (!c->b.role_only_first && first_wait(c, now))
		return STEP_WAIT;
	c->dialect->open(c, out);
	c->stage = STAGE_PIECES;
	return STEP_MORE;
}

static void piece_add(struct call *c, struct buf *out)
{
	size_t from = out->len;

	c->dialect->piece(c, out);
	if (c->b.bad_chunk == (int64_t)c->at && out->len - from > 2 * EVENT_TAIL) {
		out->len -= 2 * EVENT_TAIL;
		buf_add(out, "\n\n", 2);
		c->fault = "bad-chunk";
	}
	c->at++;
	c->chunks++;
	c->conn->sim->stats.chunks++;
}

static enum step piece_step(struct call *c, struct buf *out, uint64_t now)
{
	int64_t at = c->at;

	if (c->b.cut_after == at) {
		c->fault = "cut-after";
		return STEP_CLOSE;
	}
	if (c->b.stall_after == at) {
		c->fault = "stall-after";
		return STEP_STALL;
	}
	if (c->b.error_event == at) {
		error_event(c, out);
		return STEP_MORE;
	}
	if (c->at == c->say.pieces * (uint32_t)c->n) {
		c->stage = STAGE_CLOSE;
		return STEP_MORE;
	}
	if (first_wait(c, now))
		return STEP_WAIT;
	piece_add(c, out);
	if (c->b.pace > 0)
		c->due_us = (c->due_us ? c->due_us : now) + (uint64_t)c->b.pace;
	return STEP_MORE;
}

static enum step stream_step(struct call *c, struct buf *out, uint64_t now)
{
	if (now < c->due_us && !c->b.one_write)
		return STEP_WAIT;
	switch (c->stage) {
	case STAGE_OPEN: return open_step(c, out, now);
	case STAGE_PIECES: return piece_step(c, out, now);
	case STAGE_CLOSE:
		c->dialect->close(c, out);
		if (c->dialect->done_marker && !c->b.no_done)
			buf_adds(out, "data: [DONE]\n\n");
		c->stage = STAGE_END;
		return STEP_MORE;
	case STAGE_END: break;
	}
	if (c->b.hold_open) {
		c->fault = "hold-open";
		return STEP_STALL;
	}
	return STEP_END;
}

/* ---- writing ---- */

static void stream_end_add(struct call *c, struct buf *out)
{
	if (c->b.gzip) {
		scratch.len = 0;
		gzip_end(&c->gz, &scratch);
		chunk_add(out, scratch.p, scratch.len);
	}
	buf_add(out, "0\r\n\r\n", 5);
}

/* Each event a chunk of its own (one-write: all of them one chunk), together in one write as far as
 * they are due. */
static enum step events_fill(struct call *c, struct buf *out, uint64_t now)
{
	static struct buf event, coded;
	enum step st;

	event.len = 0;
	do {
		st = stream_step(c, &event, now);
		if (st == STEP_MORE && c->b.one_write)
			continue;
		coded.len = 0;
		if (event.len)
			bytes_encode(c, &coded, event.p, event.len);
		chunk_add(out, coded.p, coded.len);
		event.len = 0;
	} while (st == STEP_MORE && (c->b.one_write || out->len < WRITE_BYTES));
	if (st == STEP_END)
		stream_end_add(c, out);
	return st;
}

static void queue_fill(struct call *c, uint64_t now)
{
	enum step st;

	c->body.len = c->body_off = 0;
	scratch.len = 0;
	do
		st = stream_step(c, &scratch, now);
	while (st == STEP_MORE && scratch.len < WRITE_BYTES);
	if (scratch.len)
		bytes_encode(c, &c->body, scratch.p, scratch.len);
	if (st == STEP_MORE || st == STEP_WAIT)
		return;
	if (st == STEP_END && c->b.gzip)
		gzip_end(&c->gz, &c->body);
	c->all_queued = true;
	c->queue_end = (int)st;
}

/* One random piece of the queue. */
static enum step pieces_fill(struct call *c, struct buf *out, uint64_t now)
{
	size_t n;

	if (c->body_off == c->body.len && !c->all_queued)
		queue_fill(c, now);
	if (c->body_off < c->body.len) {
		n = cut_length(c, c->body.len - c->body_off);
		chunk_add(out, c->body.p + c->body_off, n);
		c->body_off += n;
		return STEP_YIELD;
	}
	if (!c->all_queued)
		return STEP_WAIT;
	if (c->queue_end == STEP_END)
		buf_add(out, "0\r\n\r\n", 5);
	return (enum step)c->queue_end;
}

static enum call_state drain(struct call *c, enum call_state outcome)
{
	c->phase = PHASE_DRAIN;
	c->outcome = outcome;
	return call_run(c);
}

enum call_state stream_run(struct call *c)
{
	enum step st;

	if (c->recorded && !c->all_queued) {
		c->all_queued = true;
		c->queue_end = STEP_END;
	}
	for (;;) {
		uint64_t now = time_now_us();

		if (conn_blocked(c->conn))
			return CALL_RUNNING;
		wire.len = 0;
		if (!c->head_status)
			call_head_add(c, &wire, -1);
		st = c->b.chunk_split && !c->b.one_write ? pieces_fill(c, &wire, now)
							 : events_fill(c, &wire, now);
		conn_send(c->conn, wire.p, wire.len);
		switch (st) {
		case STEP_MORE: break;
		case STEP_WAIT: conn_wake_at(c->conn, c->due_us); return CALL_RUNNING;
		case STEP_YIELD: conn_wake_at(c->conn, now); return CALL_RUNNING;
		case STEP_STALL: c->phase = PHASE_HANG; return CALL_RUNNING;
		case STEP_CLOSE: return drain(c, CALL_CLOSE);
		case STEP_END: return drain(c, CALL_DONE);
		}
	}
}

enum call_state plain_run(struct call *c)
{
	enum call_state outcome = c->body_end < c->body.len ? CALL_CLOSE : CALL_DONE;
	size_t n = c->body_end - c->body_off;

	if (conn_blocked(c->conn))
		return CALL_RUNNING;
	wire.len = 0;
	if (!c->head_status)
		call_head_add(c, &wire, (int64_t)c->body.len);
	if (c->conn->req.parser.method == HTTP_HEAD)
		c->body_off = c->body_end, n = 0;
	if (c->b.chunk_split && n)
		n = cut_length(c, n);
	buf_add(&wire, c->body.p + c->body_off, n);
	c->body_off += n;
	conn_send(c->conn, wire.p, wire.len);
	if (c->body_off == c->body_end)
		return drain(c, outcome);
	conn_wake_at(c->conn, time_now_us());
	return CALL_RUNNING;
}
