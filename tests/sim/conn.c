#include "conn.h"
#include "call.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES     (64 * 1024)
#define READS_PER_TURN 4
#define PIPELINE_MAX   (256 * 1024)

#define conn_of(ptr, member) ((struct conn *)((char *)(ptr)-offsetof(struct conn, member)))

static char read_buf[READ_BYTES];

static void on_poll(uv_poll_t *poll, int status, int events);

/* ---- bytes ---- */

/* What the TLS layer said: >= 0 bytes, -1 nothing now, -2 the connection is over. */
static ssize_t tls_result(struct conn *c, int rc, size_t n)
{
	if (rc > 0)
		return (ssize_t)n;
	switch (SSL_get_error(c->ssl, rc)) {
	case SSL_ERROR_WANT_READ: return -1;
	case SSL_ERROR_WANT_WRITE: c->tls_wants_out = true; return -1;
	default: return -2;
	}
}

static ssize_t bytes_read(struct conn *c, char *p, size_t cap)
{
	size_t got = 0;
	ssize_t n;
	int rc;

	if (c->ssl) {
		ERR_clear_error();
		c->tls_wants_out = false;
		rc = SSL_read_ex(c->ssl, p, cap, &got);
		n = tls_result(c, rc, got);
		if (!c->tls_ready && SSL_is_init_finished(c->ssl)) {
			c->tls_ready = true;
			c->sim->stats.tls_handshakes++;
			c->sim->stats.tls_resumed += (uint64_t)SSL_session_reused(c->ssl);
		}
		return n;
	}
	do
		n = recv(c->fd, p, cap, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -1 : -2;
}

static ssize_t bytes_write(struct conn *c, const char *p, size_t len)
{
	size_t put = 0;
	ssize_t n;
	int rc;

	if (c->ssl) {
		ERR_clear_error();
		rc = SSL_write_ex(c->ssl, p, len, &put);
		return tls_result(c, rc, put);
	}
	do
		n = send(c->fd, p, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
}

static void conn_gone(struct conn *c)
{
	c->gone = true;
	buf_free(&c->out);
	c->out_off = 0;
}

/* Writes what it can; gives the bytes written. */
static size_t bytes_push(struct conn *c, const char *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t put = bytes_write(c, p + done, n - done);

		if (put == -1)
			break;
		if (put < 0) {
			conn_gone(c);
			break;
		}
		done += (size_t)put;
	}
	c->sim->stats.bytes_out += done;
	return done;
}

void conn_send(struct conn *c, const void *p, size_t n)
{
	size_t done = 0;

	if (c->gone)
		return;
	if (!c->out.len)
		done = bytes_push(c, p, n);
	if (done < n && !c->gone)
		buf_add(&c->out, (const char *)p + done, n - done);
}

static void conn_flush(struct conn *c)
{
	if (!c->out.len || c->gone)
		return;
	c->out_off += bytes_push(c, c->out.p + c->out_off, c->out.len - c->out_off);
	if (!c->gone && c->out_off == c->out.len) {
		buf_free(&c->out);
		c->out_off = 0;
	}
}

bool conn_blocked(const struct conn *c)
{
	return c->out.len > 0;
}

/* ---- requests ---- */

/* close-on-next: bytes of a further request have come. Read them for the log, answer nothing. */
static void conn_drop(struct conn *c)
{
	(void)request_feed(&c->req, c->in.p + c->in_off, c->in.len - c->in_off);
	call_log_drop(c);
	conn_gone(c);
}

static void conn_parse(struct conn *c)
{
	if (c->close_on_next) {
		conn_drop(c);
		return;
	}
	c->in_off += request_feed(&c->req, c->in.p + c->in_off, c->in.len - c->in_off);
	if (c->in_off == c->in.len) {
		if (c->in.cap > 4096)
			buf_free(&c->in);
		c->in.len = c->in_off = 0;
	}
	if (c->req.wants_continue && !c->req.refuse) {
		c->req.wants_continue = false;
		conn_send(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	}
	if (c->req.whole || c->req.refuse)
		c->call = call_begin(c);
}

static bool conn_full(const struct conn *c)
{
	return c->call && c->in.len - c->in_off >= PIPELINE_MAX;
}

static void conn_read(struct conn *c)
{
	c->more_to_read = false;
	for (int i = 0; !c->gone; i++) {
		ssize_t n;

		if (i == READS_PER_TURN || conn_full(c)) {
			c->more_to_read = true;
			return;
		}
		n = bytes_read(c, read_buf, sizeof(read_buf));
		if (n == -1)
			return;
		if (n <= 0) {
			conn_gone(c);
			return;
		}
		c->sim->stats.bytes_in += (uint64_t)n;
		buf_add(&c->in, read_buf, (size_t)n);
		if (!c->ssl && (size_t)n < sizeof(read_buf))
			return;
		/* A large body is parsed as it comes, so it is not held twice. */
		if (!c->call && !c->close_on_next)
			conn_parse(c);
	}
}

/* ---- life ---- */

static void on_closed(uv_handle_t *h)
{
	free(conn_of(h, poll));
}

static void conn_close(struct conn *c, bool reset)
{
	struct linger off = { .l_onoff = 1, .l_linger = 0 };
	struct sim *sim = c->sim;

	if (c->call && !c->gone)
		c->call->fault = "shutdown";
	if (c->call)
		call_end(c->call, CALL_CLOSE);
	c->call = NULL;
	timer_unset(&sim->timers, &c->timer);
	if (c->prev)
		c->prev->next = c->next;
	else
		sim->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	uv_close((uv_handle_t *)&c->poll, on_closed);
	if (reset)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	SSL_free(c->ssl);
	close(c->fd);
	request_fini(&c->req);
	buf_free(&c->in);
	buf_free(&c->out);
	sim->stats.connections_open--;
}

static void conn_watch(struct conn *c)
{
	int want = conn_full(c) ? UV_DISCONNECT : UV_READABLE;

	if (c->out.len || c->tls_wants_out)
		want |= UV_WRITABLE;
	if (want != c->events && !uv_poll_start(&c->poll, want, on_poll))
		c->events = want;
}

/* After an answer: true if the connection goes on. */
static bool conn_answered(struct conn *c, enum call_state how)
{
	bool keep = c->req.keep_alive && !c->req.refuse;

	c->close_on_next = c->call->b.close_on_next;
	keep = keep && !c->call->b.close_after && how == CALL_DONE;
	call_end(c->call, how);
	c->call = NULL;
	c->answered++;
	if (!keep) {
		if (c->ssl && how == CALL_DONE && !c->gone)
			(void)SSL_shutdown(c->ssl);
		conn_close(c, how == CALL_RESET);
		return false;
	}
	request_next(&c->req);
	return true;
}

static void conn_advance(struct conn *c)
{
	for (;;) {
		if (c->gone) {
			conn_close(c, false);
			return;
		}
		if (c->call) {
			enum call_state how = call_run(c->call);

			if (c->gone)
				continue;
			if (how == CALL_RUNNING)
				break;
			if (!conn_answered(c, how))
				return;
		} else if (c->in.len > c->in_off) {
			conn_parse(c);
		} else if (c->more_to_read) {
			conn_read(c);
		} else {
			break;
		}
	}
	conn_watch(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct conn *c = conn_of(poll, poll);

	if (status < 0 || events & UV_DISCONNECT)
		conn_gone(c);
	if (!c->gone && (events & UV_WRITABLE))
		conn_flush(c);
	if (!c->gone && (events & UV_READABLE || c->tls_wants_out))
		conn_read(c);
	conn_advance(c);
}

void conn_on_timer(struct timer *t)
{
	conn_advance(conn_of(t, timer));
}

void conn_wake_at(struct conn *c, uint64_t due_us)
{
	timer_set(&c->sim->timers, &c->timer, due_us);
}

void conn_start(struct sim *sim, int fd, bool tls)
{
	struct conn *c = mem_get(sizeof(*c));

	c->sim = sim;
	c->fd = fd;
	if (tls) {
		c->ssl = SSL_new(sim->tls);
		if (!c->ssl || !SSL_set_fd(c->ssl, fd)) {
			SSL_free(c->ssl);
			close(fd);
			free(c);
			return;
		}
		SSL_set_accept_state(c->ssl);
	}
	if (uv_poll_init(&sim->loop, &c->poll, fd)) {
		SSL_free(c->ssl);
		close(fd);
		free(c);
		return;
	}
	request_init(&c->req);
	c->id = ++sim->conn_seq;
	c->next = sim->conns;
	if (c->next)
		c->next->prev = c;
	sim->conns = c;
	sim->stats.connections_accepted++;
	sim->stats.connections_open++;
	conn_watch(c);
	if (!c->events)
		conn_close(c, false);
}

void conn_close_all(struct sim *sim)
{
	while (sim->conns)
		conn_close(sim->conns, false);
}
