#include "front/conn.h"

#include <aigw/log.h>

enum conn_state { CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_ANSWERING, CONN_LINGERING };

struct conn {
	struct stream_plain stream;
	struct list node;
	struct conn_set *set;
	struct request *request;
	struct deadline deadline;
	struct deferred next; /* look at pipelined bytes outside of the answer's stack */
	struct h1 h1;
	struct caller caller;
	char *kept; /* bytes of a head that is not whole, or pipelined behind a request */
	uint32_t kept_n, kept_cap;
	uint32_t scanned;
	uint8_t state;
	bool paused;                     /* nothing of the body may be read now */
	uint64_t body_got;               /* content bytes so far */
	usec paused_since_us, paused_us; /* of the body's time: not the client's */
};

static struct conn *conn_of(struct stream *s)
{
	return container_of(container_of(s, struct stream_plain, s), struct conn, stream);
}

static struct loop *loop_of(const struct conn *c)
{
	return c->set->env->loop;
}

static void close_conn(struct conn *c)
{
	stream_close(&c->stream.s);
}

/* --- bytes that wait
 * --------------------------------------------------------------------------------------- */

static bool keep(struct conn *c, const char *p, size_t n)
{
	if (c->kept_n + n > CONN_KEPT_MAX + LOOP_SCRATCH_BYTES)
		return false;
	if (c->kept_n + n > c->kept_cap) {
		size_t cap = MAX(c->kept_n + n, (size_t)c->kept_cap * 2);
		char *more = realloc(c->kept, cap);

		if (!more)
			return false;
		c->kept = more;
		c->kept_cap = (uint32_t)cap;
	}
	memcpy(c->kept + c->kept_n, p, n);
	c->kept_n += (uint32_t)n;
	return true;
}

static void kept_drop(struct conn *c, size_t n)
{
	c->kept_n -= (uint32_t)n;
	memmove(c->kept, c->kept + n, c->kept_n);
	if (!c->kept_n) {
		free(c->kept);
		c->kept = NULL;
		c->kept_cap = 0;
	}
}

/* Reads on if there is room for one more read, and if the client takes what it has been sent: else
 * the flood waits in the kernel. */
static void read_on(struct conn *c)
{
	struct stream *s = &c->stream.s;

	if (c->paused || c->kept_n > CONN_KEPT_MAX || (c->state == CONN_IDLE && s->queued_writes))
		stream_read_stop(s);
	else
		stream_read_start(s);
}

/* --- ends
 * ---------------------------------------------------------------------------------------------------
 */

/* The answer is out or queued; the client may still be sending. Closing now could cost it the
 * answer (RST). */
static void linger(struct conn *c)
{
	c->state = CONN_LINGERING;
	free(c->kept);
	c->kept = NULL;
	c->kept_n = c->kept_cap = 0;
	stream_shutdown(&c->stream.s);
	deadline_set(loop_of(c), &c->deadline,
		c->stream.s.queued_writes ? CONN_IDLE_US : CONN_LINGER_US);
	stream_read_start(&c->stream.s);
}

static void refuse(struct conn *c, enum fail f, const char *why)
{
	request_refuse_raw(c->set->env, &c->stream.s, f, why);
	if (!c->stream.s.closing)
		linger(c);
}

static void refuse_message(struct conn *c, enum h1_error e)
{
	enum fail f = request_fail_of_h1(e);
	char why[256];

	/* The other rows' own texts are as exact as can be. */
	(void)snprintf(why, sizeof(why), "The HTTP request is malformed: %s.", h1_error_text(e));
	refuse(c, f, f == FAIL_bad_request ? why : fail_row(f)->text);
}

/* Idle: what was pipelined comes next. */
static void go_on(struct conn *c)
{
	read_on(c);
	if (c->kept_n)
		deferred_queue(loop_of(c), &c->next);
}

static void on_finished(struct request *r, bool keep_alive)
{
	struct conn *c = r->front;

	c->request = NULL;
	if (c->stream.s.closing)
		return;
	if (r->reset) {
		stream_reset(&c->stream.s);
		return;
	}
	if (!keep_alive || c->set->closing || c->state == CONN_BODY) {
		linger(c);
		return;
	}
	c->state = CONN_IDLE;
	c->scanned = 0;
	deadline_set(loop_of(c), &c->deadline, CONN_IDLE_US);
	go_on(c);
}

/* --- requests
 * ------------------------------------------------------------------------------------------------
 */

/* Judged when bytes come; those that don't come at all have CONN_BODY_IDLE_US. */
static bool body_dribbles(struct conn *c, size_t more)
{
	usec took = loop_now(loop_of(c)) - c->request->began_us - c->paused_us;

	c->body_got += more;
	return took > CONN_BODY_GRACE_US &&
	       c->body_got <
		       (uint64_t)((took - CONN_BODY_GRACE_US) / USEC_PER_S) * CONN_BODY_MIN_RATE_S;
}

static void pause_body(struct conn *c)
{
	c->paused = true;
	c->paused_since_us = loop_now(loop_of(c));
	deadline_stop(loop_of(c), &c->deadline);
}

static void on_resume(struct request *r)
{
	struct conn *c = r->front;

	if (!c->paused || c->stream.s.closing || c->state != CONN_BODY)
		return;
	c->paused = false;
	c->paused_us += loop_now(loop_of(c)) - c->paused_since_us;
	deadline_set(loop_of(c), &c->deadline, CONN_BODY_IDLE_US);
	read_on(c);
}

static void time_out(struct conn *c)
{
	struct request *r = c->request;

	c->request = NULL;
	refuse(c, FAIL_request_timeout, fail_row(FAIL_request_timeout)->text);
	if (r)
		request_client_gone(r);
}

static bool is_through(const struct conn *c)
{
	return c->stream.s.closing || c->state == CONN_LINGERING;
}

/* Body bytes; returns how many of them belonged to the message, or -1 if the connection is through.
 */
static ssize_t take_body(struct conn *c, char *p, size_t n)
{
	struct request *r = c->request;
	size_t used = 0, content = 0;
	enum h1_error e = H1_OK;

	if (!c->h1.done)
		e = h1_body(&c->h1, p, n, &used, &content);
	if (e != H1_OK) {
		c->request = NULL;
		refuse_message(c, e);
		request_client_gone(r);
		return -1;
	}
	if (content)
		request_body_bytes(r, p, content, used == n);
	if (c->request == r && !c->h1.done && request_wants_body(r)) {
		if (body_dribbles(c, content)) {
			time_out(c);
			return -1;
		}
		if (!request_body_goes_on(r)) {
			if (c->request == r)
				pause_body(c);
			return is_through(c) ? -1 : (ssize_t)used;
		}
	}
	if (c->request != r)
		return is_through(c) ? -1 : (ssize_t)used;
	if (c->h1.done || !request_wants_body(r)) {
		if (c->h1.done)
			c->state = CONN_ANSWERING;
		deadline_stop(loop_of(c), &c->deadline);
		request_body_end(r);
		return is_through(c) ? -1 : (ssize_t)used;
	}
	deadline_set(loop_of(c), &c->deadline, CONN_BODY_IDLE_US);
	return (ssize_t)used;
}

static bool begin_request(struct conn *c, char *p, size_t head_n, bool more_is_here)
{
	struct request_env *env = c->set->env;
	enum h1_error e = h1_begin(&c->h1, H1_REQUEST, false, p, head_n, &env->head);
	struct slice go = SLICE("HTTP/1.1 100 Continue\r\n\r\n");

	c->scanned = 0;
	if (e != H1_OK) {
		refuse_message(c, e);
		return false;
	}
	c->state = CONN_BODY;
	c->body_got = 0;
	c->paused = false;
	c->paused_us = 0;
	c->request = request_begin(env, &c->caller, &c->stream.s, on_finished, c);
	if (!c->request) {
		refuse(c, FAIL_gateway_overloaded, fail_row(FAIL_gateway_overloaded)->text);
		return false;
	}
	c->request->resume = on_resume;
	if (env->head.expect_continue && request_wants_body(c->request) && !more_is_here)
		(void)stream_write(&c->stream.s, &go, 1);
	return true;
}

/* Works through p: heads, bodies, as far as they go. Returns bytes used; the rest waits. -1:
 * nothing more to be done with p. */
static ssize_t work(struct conn *c, char *p, size_t n)
{
	size_t at = 0;

	while (at < n || (c->state == CONN_BODY && c->request)) {
		size_t scanned = c->scanned;
		ssize_t m;

		if (c->state == CONN_ANSWERING)
			return (ssize_t)at;
		if (c->state == CONN_BODY) {
			m = take_body(c, p + at, n - at);
			if (m < 0)
				return -1;
			at += (size_t)m;
			if (c->state == CONN_BODY)
				return (ssize_t)at; /* more has to come */
			continue;
		}
		if (c->stream.s.queued_writes)
			return (ssize_t)at; /* the client has to take its answer first */
		m = h1_head_end(p + at, n - at, &scanned);
		if (m == 0) {
			c->scanned = (uint32_t)scanned;
			if (c->state != CONN_HEAD)
				deadline_set(loop_of(c), &c->deadline,
					CONN_HEAD_US); /* for the whole head, not for each byte */
			c->state = CONN_HEAD;
			return (ssize_t)at;
		}
		if (m < 0) {
			refuse_message(c, (enum h1_error)m);
			return -1;
		}
		if (!begin_request(c, p + at, (size_t)m, at + (size_t)m < n))
			return -1;
		at += (size_t)m;
	}
	return (ssize_t)at;
}

static void work_kept(struct conn *c)
{
	ssize_t used = work(c, c->kept, c->kept_n);

	if (used > 0 && c->kept)
		kept_drop(c, (size_t)used);
}

static void on_next(struct deferred *d)
{
	struct conn *c = container_of(d, struct conn, next);

	if (c->stream.s.closing || c->state != CONN_IDLE || !c->kept_n)
		return;
	work_kept(c);
	if (!c->stream.s.closing && c->state != CONN_LINGERING)
		read_on(c);
}

static void on_data(struct stream *s, char *p, size_t n)
{
	struct conn *c = conn_of(s);
	ssize_t used;

	if (c->state == CONN_LINGERING)
		return;
	if (c->kept_n || c->state == CONN_ANSWERING) {
		used = 0;
		if (!keep(c, p, n))
			close_conn(c);
		else if (c->state != CONN_ANSWERING)
			work_kept(c);
	} else {
		used = work(c, p, n);
		if (used >= 0 && (size_t)used < n && !keep(c, p + used, n - (size_t)used))
			close_conn(c);
	}
	if (used < 0 || s->closing || c->state == CONN_LINGERING)
		return;
	if (c->state == CONN_IDLE)
		go_on(c);
	else
		read_on(c);
}

static size_t on_into(struct stream *s, char **ret)
{
	struct conn *c = conn_of(s);

	/* Only a body of known length is read straight to its place: chunk framing has to be taken
	 * out first. */
	if (c->state != CONN_BODY || !c->request || c->kept_n)
		return 0;
	return request_body_room(c->request, ret);
}

/* --- events of the stream
 * -------------------------------------------------------------------------------------- */

static void on_eof(struct stream *s)
{
	close_conn(conn_of(
		s)); /* a client that has closed its side has gone: `closed` tells the request */
}

static void on_error(struct stream *s, int err)
{
	(void)err;
	close_conn(conn_of(s));
}

static void on_drained(struct stream *s)
{
	struct conn *c = conn_of(s);

	if (c->request)
		request_client_drained(c->request);
	else if (c->state == CONN_LINGERING)
		deadline_set(loop_of(c), &c->deadline, CONN_LINGER_US);
	else if (c->state == CONN_IDLE)
		go_on(c);
}

static void on_closed(struct stream *s)
{
	struct conn *c = conn_of(s);
	struct conn_set *set = c->set;
	struct request *r = c->request;

	c->request = NULL;
	if (r)
		request_client_gone(r);
	deadline_stop(set->env->loop, &c->deadline);
	deferred_cancel(&c->next);
	list_remove(&c->node);
	set->n_conns--;
	atomic_fetch_sub_explicit(&set->env->gw->connections, 1, memory_order_relaxed);
	free(c->kept);
	caller_fini(&c->caller);
	free(c);
	if (!set->n_conns && set->emptied)
		set->emptied(set);
}

static void on_deadline(struct deadline *d)
{
	struct conn *c = container_of(d, struct conn, deadline);

	if (c->state == CONN_IDLE || c->state == CONN_LINGERING)
		close_conn(c);
	else
		time_out(c);
}

static const struct stream_events conn_events = {
	.data = on_data,
	.drained = on_drained,
	.eof = on_eof,
	.error = on_error,
	.closed = on_closed,
	.into = on_into,
};

/* --- the set
 * -------------------------------------------------------------------------------------------------
 */

void conn_set_init(struct conn_set *s, struct request_env *env)
{
	memset(s, 0, sizeof(*s));
	s->env = env;
	list_init(&s->conns);
}

void conn_accept(struct conn_set *s, struct stream_listener *listener, bool is_unix)
{
	struct gateway *gw = s->env->gw;
	struct conn *c = calloc(1, sizeof(*c));
	uint32_t n;

	if (!c)
		return;
	n = atomic_fetch_add_explicit(&gw->connections, 1, memory_order_relaxed) + 1;
	stream_plain_init(&c->stream, s->env->loop, is_unix, &conn_events);
	c->set = s;
	list_push_back(&s->conns, &c->node);
	s->n_conns++;
	deadline_init(&c->deadline, on_deadline);
	deferred_init(&c->next, on_next);
	c->caller.is_unix = is_unix;
	if (stream_accept(&c->stream, listener) ||
		(is_unix && peer_cred_of(stream_fd(&c->stream.s), &c->caller.cred))) {
		close_conn(c);
		return;
	}
	if (s->closing || n > atomic_load_explicit(&gw->max_connections, memory_order_relaxed)) {
		refuse(c, FAIL_gateway_overloaded, "Too many connections. Try again shortly.");
		return;
	}
	deadline_set(s->env->loop, &c->deadline, CONN_IDLE_US);
	stream_read_start(&c->stream.s);
}

void conn_set_drain(struct conn_set *s)
{
	struct list *it, *tmp;

	s->closing = true;
	list_each(it, tmp, &s->conns)
	{
		struct conn *c = list_entry(it, struct conn, node);

		if (c->state != CONN_IDLE || c->kept_n)
			continue;
		if (c->stream.s.queued_writes)
			linger(c);
		else
			close_conn(c);
	}
}

void conn_set_close_all(struct conn_set *s)
{
	struct list *it, *tmp;

	s->closing = true;
	list_each(it, tmp, &s->conns) close_conn(list_entry(it, struct conn, node));
}
