#include "upstream/attempt.h"

/* Below this all slices are put together in the loop's scratch memory: one write is cheaper than a
 * vector of small ones. */
#define GATHER_BYTES 16384

const char *attempt_failure_name(enum attempt_failure f)
{
	static const char *const names[] = {
		[ATTEMPT_OK] = "ok",
		[ATTEMPT_NO_ADDRESS] = "no_address",
		[ATTEMPT_NO_CONNECTION] = "no_connection",
		[ATTEMPT_TLS] = "tls",
		[ATTEMPT_PROXY] = "proxy",
		[ATTEMPT_TIMEOUT_CONNECT] = "timeout_connect",
		[ATTEMPT_TIMEOUT_FIRST_BYTE] = "timeout_first_byte",
		[ATTEMPT_TIMEOUT_IDLE] = "timeout_idle",
		[ATTEMPT_CLOSED_EARLY] = "closed_early",
		[ATTEMPT_CUT] = "cut",
		[ATTEMPT_MALFORMED] = "malformed",
		[ATTEMPT_MEMORY] = "memory",
	};

	return names[f];
}

static void let_go(struct attempt *a, bool reusable)
{
	struct upstream_conn *c = a->conn;

	deadline_stop(a->pool->loop, &a->deadline);
	if (a->state == ATTEMPT_RESOLVING)
		resolver_cancel(&a->waiter);
	a->conn = NULL;
	if (!c)
		return;
	if (reusable)
		pool_give(c);
	else
		pool_discard(c);
}

static void finish(struct attempt *a)
{
	free(a->head_copy);
	a->head_copy = NULL;
	if (a->pool) {
		pool_unref(a->pool);
		a->pool = NULL;
	}
	http_call_fini(&a->call);
}

COLD static void fail(struct attempt *a, enum attempt_failure f)
{
	let_go(a, false);
	a->state = ATTEMPT_FAILED;
	finish(a);
	a->ev->failed(a, f);
}

/* --- connection
 * ---------------------------------------------------------------------------------------- */

static void connect_next(struct attempt *a)
{
	struct resolver *r = &a->pool->resolver;
	unsigned which;

	if (!r->n_addrs) {
		fail(a, ATTEMPT_NO_ADDRESS);
		return;
	}
	if (a->state == ATTEMPT_RESOLVING)
		a->resolved_us = loop_now(a->pool->loop);
	a->state = ATTEMPT_CONNECTING;
	while (a->tried < r->n_addrs) {
		which = (r->next + a->tried++) % r->n_addrs;
		if (pool_connect(a->pool, a, which, &a->conn) == 0)
			return;
	}
	fail(a, ATTEMPT_NO_CONNECTION);
}

static void on_resolved(struct resolve_waiter *w, int err)
{
	struct attempt *a = container_of(w, struct attempt, waiter);

	(void)err; /* no addresses then */
	connect_next(a);
}

static void connect_fresh(struct attempt *a)
{
	a->tried = 0;
	a->state = ATTEMPT_RESOLVING;
	deadline_set(a->pool->loop, &a->deadline, a->timeouts.connect_us);
	if (resolver_get(&a->pool->resolver, &a->waiter))
		connect_next(a);
}

/* --- sending
 * ------------------------------------------------------------------------------------------- */

/* The owner's turn to find more: his clock runs, not the provider's. */
static void all_is_sent(struct attempt *a)
{
	if (!a->content_seen)
		deadline_stop(a->pool->loop, &a->deadline);
	a->ev->sent(a);
}

int attempt_send(struct attempt *a, const struct slice *v, unsigned n, bool last)
{
	int r;

	if (attempt_is_over(a) || !a->conn)
		return -ENOTCONN;
	r = n ? stream_write(a->conn->s, v, n) : 0;
	if (r < 0) {
		/* It takes no more; why may stand in its answer, which is on its way or lost. */
		last = true;
		r = 0;
	}
	if (last) {
		a->streaming = false;
		if (r == 0)
			a->state = a->answer_seen ? ATTEMPT_ANSWERING : ATTEMPT_WAITING;
	}
	if (a->content_seen)
		return r; /* the answer has begun: its own deadline runs */
	if (last)
		deadline_set(a->pool->loop, &a->deadline, a->timeouts.first_byte_us);
	else if (r == 1)
		deadline_set(a->pool->loop, &a->deadline, a->timeouts.idle_us);
	else
		deadline_stop(a->pool->loop, &a->deadline);
	return r;
}

static void send_bytes(struct attempt *a)
{
	struct slice v[ATTEMPT_MAX_SLICES], all;
	struct loop *l = a->pool->loop;
	unsigned n;
	size_t total = 0;
	int r;

	a->state = ATTEMPT_SENDING;
	deadline_set(l, &a->deadline, a->timeouts.first_byte_us);
	n = a->ev->bytes(a, v);
	for (unsigned i = 0; i < n; i++)
		total += v[i].n;
	if (total <= GATHER_BYTES) {
		all = slice_of(l->scratch_out, 0);
		for (unsigned i = 0; i < n; i++) {
			if (v[i].n && v[i].p != l->scratch_out + all.n)
				memmove(l->scratch_out + all.n, v[i].p, v[i].n);
			all.n += v[i].n;
		}
		r = stream_write(a->conn->s, &all, 1);
	} else {
		/* The bytes have to stay until they are written, and the first piece is composed in
		 * scratch memory. */
		free(a->head_copy);
		a->head_copy = malloc(v[0].n);
		if (!a->head_copy) {
			fail(a, ATTEMPT_MEMORY);
			return;
		}
		memcpy(a->head_copy, v[0].p, v[0].n);
		v[0].p = a->head_copy;
		r = stream_write_held(a->conn->s, v, n);
	}
	if (r < 0) {
		attempt_on_error(a, r);
		return;
	}
	if (r == 0 && !a->streaming)
		a->state = ATTEMPT_WAITING;
	stream_read_start(a->conn->s);
	if (r == 0 && a->streaming)
		all_is_sent(a);
}

void attempt_on_open(struct attempt *a, int status)
{
	struct resolver *r = &a->pool->resolver;

	a->connected_us = stream_tls_connected_us(a->conn->s);
	if (status == 0) {
		a->opened_us = loop_now(a->pool->loop);
		if (!a->connected_us)
			a->connected_us = a->opened_us;
		r->next = (r->next + a->tried - 1) % MAX(r->n_addrs, 1u);
		send_bytes(a);
		return;
	}
	(void)snprintf(a->why, sizeof(a->why), "%s", stream_error_text(a->conn->s));
	pool_discard(a->conn);
	a->conn = NULL;
	if (status == -EPROTO || status == -EACCES)
		fail(a, status == -EPROTO ? ATTEMPT_TLS : ATTEMPT_PROXY);
	else
		connect_next(a);
}

void attempt_on_drained(struct attempt *a)
{
	if (a->streaming)
		all_is_sent(a);
	else if (a->state == ATTEMPT_SENDING)
		a->state = ATTEMPT_WAITING;
}

/* --- the answer
 * ---------------------------------------------------------------------------------------- */

static bool on_head(struct http_call *c, const struct h1_head *h, void *owner)
{
	struct attempt *a = owner;

	(void)c;
	return a->ev->head(a, h);
}

void attempt_content(struct attempt *a)
{
	a->holds_content = false;
	a->content_seen = true;
	if (a->pool && !attempt_is_over(a))
		deadline_set(a->pool->loop, &a->deadline, a->timeouts.idle_us);
}

static bool on_body(struct http_call *c, char *p, size_t n, bool last, void *owner)
{
	struct attempt *a = owner;

	if (last) {
		/* Only a connection that is at rest on both sides is worth keeping. */
		let_go(a, c->keep_alive && !c->excess && a->state != ATTEMPT_SENDING);
		a->state = ATTEMPT_DONE;
	} else if (!a->holds_content) {
		attempt_content(a);
	}
	return a->ev->body(a, p, n, last);
}

static const struct http_call_events call_events = { .head = on_head, .body = on_body };

static void after_feed(struct attempt *a, enum http_call_state st)
{
	a->in_feed = false;
	if (attempt_is_over(a)) { /* answered, or aborted by the owner */
		finish(a);
		return;
	}
	if (st == HTTP_CALL_BROKEN)
		fail(a, ATTEMPT_MALFORMED);
	else if (a->ev->paused && st == HTTP_CALL_BODY)
		a->ev->paused(a);
}

static void broken(struct attempt *a);

/* Bytes that were there before the call was sent, as after a server's timeout (408), or another
 * call's. */
static void stray(struct attempt *a, enum loop_age age)
{
	if (age == LOOP_BEFORE)
		broken(a);
	else
		fail(a, ATTEMPT_MALFORMED); /* or its answer: not to be sent twice then */
}

void attempt_on_data(struct attempt *a, char *p, size_t n)
{
	if (!a->answer_seen && a->mark) {
		enum loop_age age = loop_age(a->pool->loop, a->mark);

		a->mark = 0;
		if (age != LOOP_LATER) {
			stray(a, age);
			return;
		}
	}
	a->answer_seen = true;
	if (a->state == ATTEMPT_WAITING)
		a->state = ATTEMPT_ANSWERING;
	a->in_feed = true;
	after_feed(a, http_call_feed(&a->call, p, n, &call_events, a));
}

static void broken(struct attempt *a)
{
	/* The server closed it while it lay idle: not the call's fault, and nothing was answered.
	 */
	if (a->conn && a->conn->used && !a->answer_seen && !a->replaced) {
		a->replaced = true;
		stats_add(
			a->pool->stats, STAT_PROVIDER, a->pool->stat_slot, STAT_stale_replaced, 1);
		let_go(a, false);
		connect_fresh(a);
		return;
	}
	fail(a, a->call.state == HTTP_CALL_HEAD ? ATTEMPT_CLOSED_EARLY : ATTEMPT_CUT);
}

void attempt_on_eof(struct attempt *a)
{
	if (a->call.state == HTTP_CALL_BODY) {
		a->in_feed = true;
		if (http_call_eof(&a->call, &call_events, a) != HTTP_CALL_BROKEN ||
			a->state == ATTEMPT_FAILED) {
			after_feed(a, HTTP_CALL_DONE);
			return;
		}
		a->in_feed = false;
		fail(a, ATTEMPT_CUT);
		return;
	}
	broken(a);
}

void attempt_on_error(struct attempt *a, int err)
{
	(void)err;
	broken(a);
}

static void on_deadline(struct deadline *d)
{
	struct attempt *a = container_of(d, struct attempt, deadline);
	struct resolver *r = &a->pool->resolver;

	if (a->state == ATTEMPT_CONNECTING && a->conn)
		a->connected_us = stream_tls_connected_us(a->conn->s);
	if (a->state == ATTEMPT_CONNECTING) /* an address that swallows everything costs one call,
					       not each */
		r->next = (r->next + a->tried) % MAX(r->n_addrs, 1u);
	if (a->state == ATTEMPT_RESOLVING || a->state == ATTEMPT_CONNECTING)
		fail(a, ATTEMPT_TIMEOUT_CONNECT);
	else if (a->content_seen)
		fail(a, ATTEMPT_TIMEOUT_IDLE);
	else
		fail(a, ATTEMPT_TIMEOUT_FIRST_BYTE);
}

/* --- the owner's side
 * ---------------------------------------------------------------------------------- */

void attempt_init(struct attempt *a, struct pool *p, const struct attempt_events *ev, void *owner,
	struct attempt_timeouts t)
{
	memset(a, 0, sizeof(*a));
	a->pool = pool_ref(p);
	a->ev = ev;
	a->owner = owner;
	a->timeouts = t;
	a->waiter.done = on_resolved;
	list_init(&a->waiter.node);
	deadline_init(&a->deadline, on_deadline);
	http_call_init(&a->call, false);
}

void attempt_start(struct attempt *a)
{
	if (!a->fresh)
		a->conn = pool_take(a->pool, a);
	if (a->conn)
		send_bytes(a);
	else
		connect_fresh(a);
}

void attempt_start_stream(struct attempt *a)
{
	a->streaming = true;
	a->replaced = true; /* what is sent is gone */
	connect_fresh(a);
}

void attempt_abort(struct attempt *a)
{
	if (attempt_is_over(a))
		return;
	let_go(a, false);
	a->state = ATTEMPT_FAILED;
	if (!a->in_feed)
		finish(a);
}

void attempt_pause(struct attempt *a)
{
	if (a->conn) {
		stream_read_stop(a->conn->s);
		deadline_stop(
			a->pool->loop, &a->deadline); /* the client is slow, not the provider */
	}
}

void attempt_resume(struct attempt *a)
{
	if (a->conn) {
		stream_read_start(a->conn->s);
		deadline_set(a->pool->loop, &a->deadline, a->timeouts.idle_us);
	}
}

bool attempt_is_over(const struct attempt *a)
{
	return a->state == ATTEMPT_DONE || a->state == ATTEMPT_FAILED;
}
