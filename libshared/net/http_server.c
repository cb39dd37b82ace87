/* Connection: idle -> head -> body -> handler -> answer -> idle. One request at a time; what a
 * client pipelines waits in `in`. */
#include <aigw/errbuf.h>
#include <aigw/http_server.h>
#include <aigw/peer.h>
#include <aigw/stream.h>

#include <unistd.h>

struct http_server {
	struct stream_listener listener;
	struct loop *loop;
	struct http_server_config cfg;
	void *owner;
	struct list conns;
	unsigned n_conns;
	char *path;
	bool closing, listener_closed;
};

struct http_exchange {
	struct stream_plain stream;
	struct http_server *server;
	struct list node;
	struct deadline idle;
	struct http_peer peer;
	struct buf in; /* bytes from the client: head, body, what is pipelined */
	size_t scanned;
	size_t head_n; /* length of the head in `in` */
	size_t body_n; /* content behind it so far */
	size_t raw_at; /* undecoded bytes start here */
	struct h1 h1;
	struct h1_head
		head; /* slices point into `in`: moved when it grows, so offsets are re-based */
	struct buf decoded; /* query values */
	const char *base;   /* in.p when head was parsed */
	void *user;
	bool in_body, with_handler, close_after, gone;
	bool streaming, broken; /* an answer in pieces; it can't be written any more */
	bool head_only;         /* of the request that is being answered */
	bool running; /* conn_run is on the stack: answers given inside it don't start another */
};

static void conn_next(struct http_exchange *x);

static void server_maybe_free(struct http_server *s)
{
	if (!s->closing || !s->listener_closed || s->n_conns)
		return;
	free(s->path);
	free(s);
}

/* --- answers
 * ------------------------------------------------------------------------------------------ */

/* The answer's last byte is written and nothing else follows. */
static void close_behind(struct http_exchange *x)
{
	stream_shutdown(&x->stream.s);
	if (!x->stream.s.queued_writes)
		stream_close(&x->stream.s);
}

static void write_answer(
	struct http_exchange *x, unsigned status, const char *type, struct slice body)
{
	struct buf head;
	struct slice v[2];
	char length[24];

	buf_init(&head, 4096);
	(void)buf_printf(&head, "HTTP/1.1 %u %s\r\n", status, h1_reason(status));
	(void)snprintf(length, sizeof(length), "%zu", body.n);
	(void)h1_write_field(&head, SLICE("content-type"), slice_str(type));
	(void)h1_write_field(&head, SLICE("content-length"), slice_str(length));
	if (x->close_after)
		(void)h1_write_field(&head, SLICE("connection"), SLICE("close"));
	(void)buf_str(&head, "\r\n");
	v[0] = buf_view(&head);
	v[1] = x->head_only ? SLICE_EMPTY : body;
	if (head.err || stream_write(&x->stream.s, v, 2) < 0) {
		stream_close(&x->stream.s);
	} else if (x->close_after) {
		close_behind(x);
	}
	buf_fini(&head);
}

static void refuse(struct http_exchange *x, unsigned status, const char *why)
{
	struct buf body;

	buf_init(&body, 4096);
	(void)buf_str(&body, "{\"error\":{\"message\":");
	(void)buf_char(&body, '"');
	(void)buf_str(&body, why); /* our own texts: nothing to escape */
	(void)buf_printf(&body, "\",\"code\":\"http_%u\"}}\n", status);
	x->close_after = true;
	stream_read_stop(&x->stream.s);
	write_answer(x, status, "application/json", buf_view(&body));
	buf_fini(&body);
}

void http_answer(
	struct http_exchange *x, unsigned status, const char *content_type, struct slice body)
{
	ASSERT(x->with_handler);
	x->with_handler = false;
	if (x->gone) {
		stream_close(&x->stream.s);
		return;
	}
	deadline_set(x->server->loop, &x->idle,
		x->server->cfg.idle_us); /* also for reading the answer */
	write_answer(x, status, content_type, body);
	if (!x->stream.s.closing && !x->close_after)
		conn_next(x);
}

/* --- answers in pieces
 * ------------------------------------------------------------------------------------------ */

int http_stream_begin(struct http_exchange *x, unsigned status, const char *content_type)
{
	struct buf head;
	struct slice v;

	ASSERT(x->with_handler && !x->streaming);
	x->streaming = true;
	if (x->head.minor == 0)
		x->close_after = true; /* the end of the connection is the end of the answer */
	buf_init(&head, 4096);
	(void)buf_printf(&head, "HTTP/1.1 %u %s\r\n", status, h1_reason(status));
	(void)h1_write_field(&head, SLICE("content-type"), slice_str(content_type));
	if (x->head.minor)
		(void)h1_write_field(&head, SLICE("transfer-encoding"), SLICE("chunked"));
	if (x->close_after)
		(void)h1_write_field(&head, SLICE("connection"), SLICE("close"));
	(void)buf_str(&head, "\r\n");
	v = buf_view(&head);
	x->broken = head.err || stream_write(&x->stream.s, &v, 1) < 0;
	buf_fini(&head);
	return x->broken ? -EPIPE : 0;
}

int http_stream_write(struct http_exchange *x, struct slice piece)
{
	char size[24];
	struct slice v[3] = { { size, 0 }, piece, SLICE("\r\n") };

	ASSERT(x->with_handler && x->streaming);
	if (x->broken)
		return -EPIPE;
	if (piece.n == 0 || x->head_only)
		return 0;
	v[0].n = (size_t)snprintf(size, sizeof(size), "%zx\r\n", piece.n);
	if (x->head.minor)
		x->broken = stream_write(&x->stream.s, v, 3) < 0;
	else
		x->broken = stream_write(&x->stream.s, &piece, 1) < 0;
	return x->broken ? -EPIPE : 0;
}

size_t http_stream_backlog(const struct http_exchange *x)
{
	return x->stream.s.queued_bytes;
}

void http_stream_end(struct http_exchange *x)
{
	struct slice last = SLICE("0\r\n\r\n");

	ASSERT(x->with_handler && x->streaming);
	if (!x->broken && !x->head_only && x->head.minor)
		x->broken = stream_write(&x->stream.s, &last, 1) < 0;
	x->with_handler = x->streaming = false;
	if (x->broken || x->gone) {
		stream_close(&x->stream.s);
		return;
	}
	deadline_set(x->server->loop, &x->idle, x->server->cfg.idle_us);
	if (x->close_after)
		close_behind(x);
	else
		conn_next(x);
}

/* --- requests
 * ----------------------------------------------------------------------------------------- */

static void rebase(struct slice *s, ptrdiff_t by)
{
	if (s->p)
		s->p += by;
}

/* `in` may have moved since the head was parsed. */
static void head_follow(struct http_exchange *x)
{
	ptrdiff_t by = x->in.p - x->base;

	if (!by)
		return;
	rebase(&x->head.method, by);
	rebase(&x->head.target, by);
	rebase(&x->head.path, by);
	rebase(&x->head.query, by);
	for (unsigned i = 0; i < x->head.n_fields; i++) {
		rebase(&x->head.fields[i].name, by);
		rebase(&x->head.fields[i].value, by);
	}
	x->base = x->in.p;
}

static int begin_head(struct http_exchange *x)
{
	ssize_t n = h1_head_end(x->in.p, x->in.n, &x->scanned);
	enum h1_error e = n < 0 ? (enum h1_error)n : H1_OK;

	if (n == 0)
		return 0;
	if (e == H1_OK)
		e = h1_begin(&x->h1, H1_REQUEST, false, x->in.p, (size_t)n, &x->head);
	if (e != H1_OK) {
		refuse(x, h1_error_status(e), h1_error_text(e));
		return -1;
	}
	if (x->head.has_length && x->head.length > x->server->cfg.max_body_bytes) {
		refuse(x, 413, "the body is larger than this endpoint takes");
		return -1;
	}
	x->base = x->in.p;
	x->head_n = x->raw_at = (size_t)n;
	x->body_n = 0;
	x->in_body = true;
	if (x->head.expect_continue && x->in.n == x->head_n) {
		struct slice go = SLICE("HTTP/1.1 100 Continue\r\n\r\n");

		(void)stream_write(&x->stream.s, &go, 1);
	}
	return 1;
}

static int take_body(struct http_exchange *x)
{
	size_t used = 0, content = 0;
	enum h1_error e = H1_OK;

	if (!x->h1.done)
		e = h1_body(&x->h1, x->in.p + x->raw_at, x->in.n - x->raw_at, &used, &content);
	if (e != H1_OK) {
		refuse(x, h1_error_status(e), h1_error_text(e));
		return -1;
	}
	/* Content moves down behind what is there already; what follows the message stays behind
	 * it. */
	memmove(x->in.p + x->head_n + x->body_n, x->in.p + x->raw_at, content);
	memmove(x->in.p + x->head_n + x->body_n + content, x->in.p + x->raw_at + used,
		x->in.n - x->raw_at - used);
	x->in.n -= used - content + (x->raw_at - x->head_n - x->body_n);
	x->body_n += content;
	x->raw_at = x->head_n + x->body_n;
	if (x->body_n > x->server->cfg.max_body_bytes) {
		refuse(x, 413, "the body is larger than this endpoint takes");
		return -1;
	}
	return x->h1.done ? 1 : 0;
}

/* One request out of `in`, if it is whole. */
static bool run_one(struct http_exchange *x)
{
	if (!x->in_body && begin_head(x) <= 0)
		return false;
	if (take_body(x) <= 0)
		return false;
	head_follow(x);
	x->in_body = false;
	x->close_after = !x->head.keep_alive;
	x->head_only = slice_eq(x->head.method, SLICE("HEAD"));
	x->with_handler = true;
	deadline_stop(x->server->loop, &x->idle);
	x->server->cfg.request(x, x->server->owner);
	return true;
}

/* A loop, not a recursion: a client may pipeline thousands of requests that are answered at once.
 * Behind an answer that the client does not take, and behind an unanswered request with a flood
 * after it, nothing is run or read. */
static void conn_run(struct http_exchange *x)
{
	struct stream *s = &x->stream.s;

	if (x->running)
		return;
	x->running = true;
	while (x->in.n && !x->with_handler && !s->closing && !x->close_after && !s->queued_writes &&
		run_one(x))
		;
	x->running = false;
	if (s->queued_writes || x->close_after || x->gone ||
		(x->with_handler && x->in.n > x->head_n + x->body_n + H1_MAX_HEAD_BYTES))
		stream_read_stop(s);
	else
		stream_read_start(s);
}

/* The answer is out: forget the request, look at what was pipelined. */
static void conn_next(struct http_exchange *x)
{
	buf_drop(&x->in, x->head_n + x->body_n);
	if (x->in.n == 0)
		buf_fini(&x->in);
	buf_reset(&x->decoded);
	x->scanned = x->head_n = x->body_n = x->raw_at = 0;
	x->user = NULL;
	x->head_only = false;
	conn_run(x);
}

static struct http_exchange *exchange_of(struct stream *s)
{
	return container_of(s, struct http_exchange, stream.s);
}

static void on_gone(struct http_exchange *x)
{
	x->gone = true;
	if (!x->with_handler) {
		stream_close(&x->stream.s);
		return;
	}
	/* The handler still holds the exchange: its answer closes it, or it lets go now. */
	if (x->server->cfg.gone) {
		x->server->cfg.gone(x, x->server->owner);
		x->with_handler = x->streaming = false;
		stream_close(&x->stream.s);
	}
}

static void on_data(struct stream *s, char *p, size_t n)
{
	struct http_exchange *x = exchange_of(s);

	/* The room is there (see on_connection): only memory can be short. */
	if (buf_append(&x->in, p, n))
		on_gone(x);
	else
		conn_run(x);
}

static void on_eof(struct stream *s)
{
	on_gone(exchange_of(s));
}

static void on_error(struct stream *s, int err)
{
	(void)err;
	on_gone(exchange_of(s));
}

static void on_drained(struct stream *s)
{
	if (exchange_of(s)->close_after && !exchange_of(s)->with_handler)
		stream_close(s);
	else
		conn_run(exchange_of(s));
}

static void on_closed(struct stream *s)
{
	struct http_exchange *x = exchange_of(s);
	struct http_server *server = x->server;

	deadline_stop(server->loop, &x->idle);
	list_remove(&x->node);
	server->n_conns--;
	buf_fini(&x->in);
	buf_fini(&x->decoded);
	free(x);
	server_maybe_free(server);
}

static void on_idle(struct deadline *d)
{
	stream_close(&container_of(d, struct http_exchange, idle)->stream.s);
}

static const struct stream_events conn_events = {
	.data = on_data,
	.drained = on_drained,
	.eof = on_eof,
	.error = on_error,
	.closed = on_closed,
};

static void on_connection(struct stream_listener *listener)
{
	struct http_server *s = container_of(listener, struct http_server, listener);
	struct http_exchange *x = calloc(1, sizeof(*x));
	struct peer_cred cred;

	if (!x)
		return;
	stream_plain_init(&x->stream, s->loop, true, &conn_events);
	x->server = s;
	list_init(&x->node);
	list_push_back(&s->conns, &x->node);
	s->n_conns++;
	deadline_init(&x->idle, on_idle);
	/* A head, a body, what may stand behind them before reading stops, and the read that brings
	 * it there. */
	buf_init(&x->in, s->cfg.max_body_bytes + 2 * (size_t)H1_MAX_HEAD_BYTES +
				 2 * (size_t)LOOP_SCRATCH_BYTES);
	buf_init(&x->decoded, 16384);
	if (stream_accept(&x->stream, listener) || s->n_conns > s->cfg.max_conns) {
		stream_close(&x->stream.s);
		return;
	}
	if (peer_cred_of(stream_fd(&x->stream.s), &cred) == 0)
		x->peer = (struct http_peer){ true, cred.uid, cred.gid, cred.pid };
	deadline_set(s->loop, &x->idle, s->cfg.idle_us);
	stream_read_start(&x->stream.s);
}

int http_server_listen_fd(struct loop *l, int fd, const struct http_server_config *c, void *owner,
	struct http_server **ret, struct errbuf *e)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int err;

	if (!s) {
		(void)close(fd);
		return err_set(e, -ENOMEM, "can't listen: no memory");
	}
	s->loop = l;
	s->cfg = *c;
	s->owner = owner;
	list_init(&s->conns);
	err = stream_listen(&s->listener, l, fd, 128, on_connection);
	if (err) {
		free(s);
		return err_set(e, err, "can't listen: %s", uv_strerror(err));
	}
	*ret = s;
	return 0;
}

int http_server_listen_unix(struct loop *l, const char *path, mode_t mode,
	const struct http_server_config *c, void *owner, struct http_server **ret, struct errbuf *e)
{
	int fd, err = unix_listen(path, mode, 128, &fd, e);

	if (err)
		return err;
	err = http_server_listen_fd(l, fd, c, owner, ret, e);
	if (!err)
		(*ret)->path = strdup(path);
	return err;
}

static void on_listener_closed(uv_handle_t *h)
{
	struct http_server *s =
		container_of((struct stream_listener *)h->data, struct http_server, listener);

	s->listener_closed = true;
	server_maybe_free(s);
}

void http_server_close(struct http_server *s)
{
	struct list *it, *tmp;

	if (s->closing)
		return;
	s->closing = true;
	if (s->path)
		(void)unlink(s->path);
	stream_listener_close(&s->listener, on_listener_closed);
	list_each(it, tmp, &s->conns) on_gone(list_entry(it, struct http_exchange, node));
}

/* --- what handlers ask
 * ------------------------------------------------------------------------------ */

struct slice http_method(const struct http_exchange *x)
{
	return x->head.method;
}

struct slice http_path(const struct http_exchange *x)
{
	return x->head.path;
}

struct slice http_field(const struct http_exchange *x, struct slice name)
{
	const struct h1_field *f = h1_find(&x->head, name);

	return f ? f->value : SLICE_EMPTY;
}

struct slice http_body(const struct http_exchange *x)
{
	return slice_of(x->in.p + x->head_n, x->body_n);
}

struct http_peer http_peer_of(const struct http_exchange *x)
{
	return x->peer;
}

int http_peer_groups(const struct http_exchange *x, uint32_t *groups, unsigned *ret_n)
{
	return peer_groups_of(stream_fd(&x->stream.s), groups, ret_n);
}

void http_set_user(struct http_exchange *x, void *p)
{
	x->user = p;
}

void *http_user(const struct http_exchange *x)
{
	return x->user;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes into x->decoded, whose memory is reserved first so that earlier slices stay
 * valid. */
static bool decode(struct http_exchange *x, struct slice s, struct slice *ret)
{
	size_t start = x->decoded.n;

	if (!x->decoded.p && buf_reserve(&x->decoded, 16384))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i] == '+' ? ' ' : s.p[i];

		if (c == '%') {
			int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int lo = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return false;
			c = (char)(hi * 16 + lo);
			i += 2;
		}
		if (buf_char(&x->decoded, c))
			return false;
	}
	*ret = slice_of(x->decoded.p + start, x->decoded.n - start);
	return true;
}

bool http_query_get(struct http_exchange *x, struct slice name, struct slice *ret)
{
	struct slice q = x->head.query;

	while (q.n) {
		const char *amp = memchr(q.p, '&', q.n);
		struct slice pair = slice_of(q.p, amp ? (size_t)(amp - q.p) : q.n);
		const char *eq = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		struct slice key = eq ? slice_of(pair.p, (size_t)(eq - pair.p)) : pair;

		if (slice_eq(key, name))
			return decode(x, eq ? slice_skip(pair, key.n + 1) : SLICE_EMPTY, ret);
		q = slice_skip(q, pair.n + (amp ? 1 : 0));
	}
	return false;
}
