#include "exchange.h"

#include <aigw/clock.h>
#include <aigw/http_call.h>
#include <aigw/secret.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

int exchange_unix(const char *path, struct exchange_peer *ret, struct errbuf *e)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (n >= sizeof(un.sun_path))
		return err_set(e, -EINVAL, "socket path of %zu bytes is too long (at most %zu): %s",
			n, sizeof(un.sun_path) - 1, path);
	memcpy(un.sun_path, path, n + 1);
	*ret = (struct exchange_peer){ .len = sizeof(un) };
	memcpy(&ret->addr, &un, sizeof(un));
	(void)snprintf(ret->text, sizeof(ret->text), "unix:%s", path);
	return 0;
}

void exchange_loopback(uint16_t port, struct exchange_peer *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };

	*ret = (struct exchange_peer){ .len = sizeof(in) };
	memcpy(&ret->addr, &in, sizeof(in));
	(void)snprintf(ret->text, sizeof(ret->text), "127.0.0.1:%u", (unsigned)port);
}

void exchange_answer_init(struct exchange_answer *a)
{
	*a = (struct exchange_answer){ 0 };
	buf_init(&a->body, EXCHANGE_MAX_ANSWER);
}

void exchange_answer_fini(struct exchange_answer *a)
{
	if (a->body.p)
		secret_wipe(a->body.p, a->body.cap);
	buf_fini(&a->body);
}

int exchange_escape(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';

		if (plain)
			(void)buf_char(b, (char)c);
		else
			(void)buf_printf(b, "%%%02X", c);
	}
	return b->err;
}

/* --- connection -------------------------------------------------------------------- */

static int wait_for(const struct exchange_request *rq, int fd, short events, struct errbuf *e)
{
	int rc = interrupt_wait(rq->interrupt, fd, events, rq->deadline_us);

	if (rc == -ETIMEDOUT)
		return err_set(e, rc, "no answer from %s in time", rq->peer->text);
	if (rc == -EINTR)
		return err_set(e, rc, "interrupted");
	return rc < 0 ? err_set(e, rc, "poll: %s", strerror(-rc)) : 0;
}

static int connect_error(const struct exchange_request *rq, int err, struct errbuf *e)
{
	int code = err == EACCES || err == EPERM ? -EACCES : -ECONNREFUSED;

	return err_set(e, code, "%s: %s", rq->peer->text, strerror(err));
}

static int connect_to(const struct exchange_request *rq, int fd, struct errbuf *e)
{
	int err = 0;
	socklen_t n = sizeof(err);
	int rc;

	for (;;) {
		if (connect(fd, (const struct sockaddr *)&rq->peer->addr, rq->peer->len) == 0)
			return 0;
		if (errno == EINPROGRESS)
			break;
		if (errno != EAGAIN) /* a unix socket's full backlog can't be polled for */
			return connect_error(rq, errno, e);
		if (clock_mono_us() >= rq->deadline_us)
			return wait_for(rq, -1, 0, e);
		rc = interrupt_wait(rq->interrupt, -1, 0, clock_mono_us() + 10 * USEC_PER_MS);
		if (rc != -ETIMEDOUT)
			return err_set(e, rc, "interrupted");
	}
	rc = wait_for(rq, fd, POLLOUT, e);
	if (rc)
		return rc;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		err = errno;
	return err ? connect_error(rq, err, e) : 0;
}

static int send_all(const struct exchange_request *rq, int fd, struct slice s, struct errbuf *e)
{
	while (s.n) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
		int rc;

		if (n >= 0) {
			s = slice_skip(s, (size_t)n);
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			return 0; /* it may have answered before it closed: read that */
		if (errno != EAGAIN && errno != EINTR)
			return err_set(e, -ECONNRESET, "%s: %s", rq->peer->text, strerror(errno));
		rc = wait_for(rq, fd, POLLOUT, e);
		if (rc)
			return rc;
	}
	return 0;
}

/* --- request and answer ------------------------------------------------------------ */

static int write_head(const struct exchange_request *rq, struct buf *b, struct errbuf *e)
{
	bool unix_socket = rq->peer->addr.ss_family == AF_UNIX;
	char length[24];
	int rc;

	(void)buf_printf(b, "%s %s HTTP/1.1\r\n", rq->method, rq->target);
	rc = h1_write_field(
		b, SLICE("host"), unix_socket ? SLICE("localhost") : slice_str(rq->peer->text));
	for (unsigned i = 0; !rc && i < rq->n_fields; i++)
		rc = h1_write_field(b, rq->fields[i].name, rq->fields[i].value);
	if (!rc && (rq->body.n || strcmp(rq->method, "GET") != 0)) {
		(void)snprintf(length, sizeof(length), "%zu", rq->body.n);
		rc = h1_write_field(b, SLICE("content-length"), slice_str(length));
		if (!rc)
			rc = h1_write_field(b, SLICE("content-type"), SLICE("application/json"));
	}
	if (!rc)
		rc = h1_write_field(b, SLICE("connection"), SLICE("close"));
	(void)buf_str(b, "\r\n");
	if (rc == -EINVAL)
		return err_set(e, rc, "a header's value holds control bytes");
	return b->err ? err_set(e, b->err, "out of memory") : 0;
}

static bool on_head(struct http_call *call, const struct h1_head *h, void *owner)
{
	struct exchange_answer *a = owner;
	const struct h1_field *type = h1_find(h, SLICE("content-type"));
	const struct h1_field *id = h1_find(h, SLICE("x-request-id"));

	(void)call;
	a->status = h->status;
	if (type)
		(void)snprintf(a->content_type, sizeof(a->content_type), SLICE_FMT,
			SLICE_ARG(type->value));
	if (id)
		(void)snprintf(
			a->request_id, sizeof(a->request_id), SLICE_FMT, SLICE_ARG(id->value));
	return true;
}

static bool on_body(struct http_call *call, char *p, size_t n, bool last, void *owner)
{
	struct exchange_answer *a = owner;

	(void)call;
	(void)last;
	if (a->piece && a->status == 200)
		return n == 0 || a->piece(slice_of(p, n), a->owner);
	return n == 0 || buf_append(&a->body, p, n) == 0;
}

static int read_answer(const struct exchange_request *rq, int fd, struct http_call *call,
	struct exchange_answer *a, struct errbuf *e)
{
	static const struct http_call_events events = { on_head, on_body };
	char in[16384];

	for (;;) {
		enum http_call_state state;
		ssize_t n = recv(fd, in, sizeof(in), 0);
		int rc;

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			rc = wait_for(rq, fd, POLLIN, e);
			if (rc)
				return rc;
			continue;
		}
		if (n < 0)
			return err_set(e, -ECONNRESET, "%s: %s", rq->peer->text, strerror(errno));
		state = n > 0 ? http_call_feed(call, in, (size_t)n, &events, a)
			      : http_call_eof(call, &events, a);
		if (state == HTTP_CALL_DONE)
			break;
		if (a->body.err)
			return err_set(e, a->body.err,
				"the answer of %s is larger than %u MiB, or memory is short",
				rq->peer->text, EXCHANGE_MAX_ANSWER >> 20);
		if (a->piece && a->status == 200 && call->state == HTTP_CALL_BROKEN && !call->error)
			return err_set(e, -ECANCELED, "not wanted any more");
		if (n == 0)
			return err_set(e, -ECONNRESET,
				"%s closed the connection before its answer was whole",
				rq->peer->text);
		if (state == HTTP_CALL_BROKEN)
			return err_set(e, -EPROTO, "%s does not answer in HTTP: %s", rq->peer->text,
				h1_error_text(call->error));
	}
	secret_wipe(in, sizeof(in));
	return a->body.err ? err_set(e, a->body.err, "out of memory") : 0;
}

int exchange_run(const struct exchange_request *rq, struct exchange_answer *a, struct errbuf *e)
{
	struct http_call call;
	struct buf head;
	int fd, rc;

	buf_init(&head, 64u << 10);
	http_call_init(&call, strcmp(rq->method, "HEAD") == 0);
	fd = socket(rq->peer->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? err_set(e, -errno, "socket: %s", strerror(errno)) : 0;
	if (!rc)
		rc = write_head(rq, &head, e);
	if (!rc)
		rc = connect_to(rq, fd, e);
	if (!rc)
		rc = send_all(rq, fd, buf_view(&head), e);
	if (!rc)
		rc = send_all(rq, fd, rq->body, e);
	if (!rc)
		rc = read_answer(rq, fd, &call, a, e);
	if (fd >= 0)
		(void)close(fd);
	if (head.p)
		secret_wipe(head.p, head.cap); /* may hold a key */
	buf_fini(&head);
	http_call_fini(&call);
	return rc;
}
