#include "agents/session.h"

#include "agents/agents.h"
#include <aigw/log.h>
#include <aigw/secret.h>

#define DECODE_ARENA_BYTES (8u << 20)

static struct session *session_of(struct stream *st)
{
	return container_of(st, struct session, stream.s);
}

/* --- out ----------------------------------------------------------------------------------------
 */

/* Frames are written one at a time, and the next one is chosen only when the kernel has taken the
 * last: what is urgent never waits behind more than that one. */
static void session_flush(struct session *s)
{
	struct buf frame;
	int r;

	if (s->cut) {
		session_close(s);
		return;
	}
	if (s->stream.s.closing || s->stream.s.queued_writes)
		return;
	buf_init(&frame, WIRE_MAX_FRAME + 4);
	for (;;) {
		struct slice v;

		buf_reset(&frame);
		r = outbox_next(&s->out, &frame);
		if (r <= 0)
			break;
		v = buf_view(&frame);
		r = stream_write(&s->stream.s, &v, 1);
		secret_wipe(frame.p, frame.n);
		if (r != 0)
			break;
	}
	buf_fini(&frame);
	if (r < 0)
		session_close(s);
	else if (r == 0 && s->leaving)
		session_close(s);
}

static void on_flush(struct deferred *d)
{
	session_flush(container_of(d, struct session, flush));
}

static void session_wake(struct session *s)
{
	if (!s->stream.s.closing)
		deferred_queue(s->stream.s.loop, &s->flush);
}

void session_send(struct session *s, enum outbox_lane lane, const struct wire_message *m)
{
	int r;

	if (s->stream.s.closing || s->cut)
		return;
	r = outbox_put(&s->out, lane, m);
	if (r < 0) {
		log_event(LOG_WARNING, "agents", "agent.cut_off",
			"agent=%s reason=%s queued_bytes=%zu", s->agent ? s->agent->name : "-",
			r == -ENOBUFS ? "slow" : "no_memory", s->out.queued_bytes);
		s->cut = true;
	}
	session_wake(s);
}

void session_send_policy(struct session *s, struct published *p)
{
	outbox_policy(&s->out, p);
	session_wake(s);
}

void session_send_snapshot(struct session *s, struct key_snapshot *k)
{
	outbox_snapshot(&s->out, k);
	session_wake(s);
}

void session_refuse(struct session *s, uint32_t id, const char *code, const char *message)
{
	struct wire_message m = { .kind = WIRE_error, .id = id };

	m.error = (struct wire_error){ slice_str(code), slice_str(message) };
	session_send(s, LANE_ORDINARY, &m);
}

void session_leave(struct session *s)
{
	s->leaving = true;
	stream_read_stop(&s->stream.s);
	session_wake(s);
}

void session_close(struct session *s)
{
	if (s->stream.s.closing)
		return;
	deferred_cancel(&s->flush);
	deadline_stop(s->stream.s.loop, &s->hello_by);
	stream_close(&s->stream.s);
	agents_gone(s);
}

/* --- in -----------------------------------------------------------------------------------------
 */

static void session_broken(struct session *s, const char *why)
{
	log_event(LOG_WARNING, "agents", "agent.bad_frame", "agent=%s uid=%u pid=%d reason=%s",
		s->agent ? s->agent->name : "-", s->peer.uid, s->peer.pid,
		log_quote(slice_str(why)));
	session_close(s);
}

static void session_frame(struct session *s, struct slice payload)
{
	struct wire_message m;
	struct arena a;
	struct errbuf e;
	int r;

	arena_init(&a, 4096, DECODE_ARENA_BYTES);
	r = wire_decode(payload, WIRE_none, &a, &m, &e);
	if (r == -ENOSYS)
		session_refuse(s, m.id, "unknown_method", e.text);
	else if (r < 0)
		session_broken(s, e.text);
	else if (!s->heard_hello && m.kind != WIRE_hello)
		session_broken(s, "the first frame is not hello");
	else if (s->heard_hello && m.kind == WIRE_hello)
		session_broken(s, "a second hello");
	else if (m.kind != WIRE_unknown) {
		if (m.kind == WIRE_hello) {
			s->heard_hello = true;
			deadline_stop(s->stream.s.loop, &s->hello_by);
		}
		agents_message(s, payload, &m);
	}
	arena_fini(&a);
}

/* All whole frames of `in`; what follows a hello waits until that was accepted. */
static void session_frames(struct session *s)
{
	size_t at = 0;

	while (!s->stream.s.closing && !s->leaving && !(s->heard_hello && !s->agent)) {
		size_t max = s->heard_hello ? WIRE_MAX_FRAME : WIRE_MAX_FRAME_BEFORE_HELLO;
		ssize_t n = wire_frame(s->in.p + at, s->in.n - at, max);

		if (n == 0)
			break;
		if (n < 0) {
			session_broken(s, "a frame over the limit");
			break;
		}
		session_frame(s, slice_of(s->in.p + at + 4, (size_t)n));
		at += 4 + (size_t)n;
	}
	buf_drop(&s->in, at);
	if (s->in.n == 0)
		buf_fini(&s->in);
}

void session_go_on(struct session *s)
{
	session_frames(s);
}

static void on_data(struct stream *st, char *p, size_t n)
{
	struct session *s = session_of(st);

	if (buf_append(&s->in, p, n) < 0) {
		session_broken(s, "no memory for its frames");
		return;
	}
	session_frames(s);
}

static void on_drained(struct stream *st)
{
	session_flush(session_of(st));
}

static void on_eof(struct stream *st)
{
	session_close(session_of(st));
}

static void on_error(struct stream *st, int err)
{
	(void)err; /* an agent that was killed: how it ended is shown as "down" */
	session_close(session_of(st));
}

static void on_closed(struct stream *st)
{
	struct session *s = session_of(st);

	agents_freed(s);
	outbox_fini(&s->out);
	buf_fini(&s->in);
	free(s);
}

static const struct stream_events session_events = {
	.data = on_data,
	.drained = on_drained,
	.eof = on_eof,
	.error = on_error,
	.closed = on_closed,
};

static void on_hello_late(struct deadline *d)
{
	session_broken(container_of(d, struct session, hello_by), "no hello within 10 s");
}

struct session *session_accept(struct agents *all, struct stream_listener *listener)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	stream_plain_init(&s->stream, all->loop, true, &session_events);
	s->agents = all;
	list_init(&s->node);
	outbox_init(&s->out);
	buf_init(&s->in, 4 * (size_t)WIRE_MAX_FRAME); /* one frame, and what one turn of the loop
							 can bring behind a hello */
	deadline_init(&s->hello_by, on_hello_late);
	deferred_init(&s->flush, on_flush);
	list_push_back(&all->sessions, &s->node);
	all->n_sessions++;
	if (stream_accept(&s->stream, listener) < 0 || all->n_sessions > AGENTS_MAX_SESSIONS ||
		peer_cred_of(stream_fd(&s->stream.s), &s->peer) < 0) {
		session_close(s);
		return NULL;
	}
	deadline_set(all->loop, &s->hello_by, SESSION_HELLO_US);
	stream_read_start(&s->stream.s);
	return s;
}
