/* Streams over a socket of their own: TCP and unix. */
#include "stream_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct plain_queued {
	uv_write_t req;
	struct stream_plain *owner;
	size_t n;
	char data[]; /* a copy, unless the caller holds the bytes */
};

static struct stream_plain *plain_of(const struct stream *s)
{
	return container_of(s, struct stream_plain, s);
}

int stream_plain_init(
	struct stream_plain *p, struct loop *l, bool is_unix, const struct stream_events *ev)
{
	int err = is_unix ? uv_pipe_init(&l->uv, &p->pipe, 0) : uv_tcp_init(&l->uv, &p->tcp);

	memset(&p->s, 0, sizeof(p->s));
	p->fd = -1;
	p->s.ev = ev;
	p->s.loop = l;
	p->s.kind = STREAM_PLAIN;
	p->s.is_unix = is_unix;
	p->handle.data = p;
	return err;
}

static void opened(struct stream_plain *p)
{
	uv_os_fd_t fd;

	p->s.open = true;
	p->fd = uv_fileno(&p->handle, &fd) ? -1 : fd;
	if (!p->s.is_unix)
		(void)uv_tcp_nodelay(&p->tcp, 1);
}

int stream_accept(struct stream_plain *p, uv_stream_t *listener)
{
	int err = uv_accept(listener, &p->stream);

	if (!err)
		opened(p);
	return err;
}

bool address_is_loopback(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)addr)->sin_addr.s_addr) >> 24 == 127;
	return addr->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)addr)->sin6_addr);
}

void socket_stays_local(int fd)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}

/* To a server on this host. */
static void keep_local(const struct stream_plain *p)
{
	struct sockaddr_storage peer;
	int n = sizeof(peer);

	if (uv_tcp_getpeername(&p->tcp, (struct sockaddr *)&peer, &n) == 0 &&
		address_is_loopback((const struct sockaddr *)&peer))
		socket_stays_local(p->fd);
}

static void on_connected(uv_connect_t *req, int status)
{
	struct stream_plain *p = req->data;

	free(req);
	if (p->s.closing)
		return;
	if (status == 0) {
		opened(p);
		if (!p->s.is_unix)
			keep_local(p);
	}
	p->s.ev->open(&p->s, status);
}

int stream_connect(struct stream_plain *p, const struct sockaddr *addr)
{
	uv_connect_t *req = malloc(sizeof(*req));
	int err = 0;

	if (!req)
		return -ENOMEM;
	req->data = p;
	if (addr->sa_family == AF_UNIX)
		uv_pipe_connect(
			req, &p->pipe, ((const struct sockaddr_un *)addr)->sun_path, on_connected);
	else
		err = uv_tcp_connect(req, &p->tcp, addr, on_connected);
	if (err)
		free(req);
	return err;
}

int plain_fd(const struct stream *s)
{
	return plain_of(s)->fd;
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
	struct stream_plain *p = h->data;
	char *at = NULL;
	size_t n = p->s.ev->into ? p->s.ev->into(&p->s, &at) : 0;

	(void)suggested;
	if (!n) {
		at = p->s.loop->scratch_in;
		n = LOOP_SCRATCH_BYTES;
	}
	*ret = uv_buf_init(at, (unsigned)MIN(n, (size_t)1 << 30));
}

static void on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
	struct stream_plain *p = st->data;

	if (n > 0) {
		p->s.ev->data(&p->s, b->base, (size_t)n);
		return;
	}
	if (n == 0)
		return;
	plain_read_stop(&p->s);
	if (n == UV_EOF) {
		p->s.saw_eof = true;
		p->s.ev->eof(&p->s);
	} else {
		p->s.ev->error(&p->s, (int)n);
	}
}

void plain_read_start(struct stream *s)
{
	if (s->reading || s->closing || s->saw_eof)
		return;
	if (uv_read_start(&plain_of(s)->stream, on_alloc, on_read) == 0)
		s->reading = true;
}

void plain_read_stop(struct stream *s)
{
	if (!s->reading)
		return;
	(void)uv_read_stop(&plain_of(s)->stream);
	s->reading = false;
}

static void on_written(uv_write_t *req, int status)
{
	struct plain_queued *q = container_of(req, struct plain_queued, req);
	struct stream *s = &q->owner->s;

	s->queued_writes--;
	s->queued_bytes -= q->n;
	free(q);
	if (s->closing)
		return;
	if (status < 0)
		s->ev->error(s, status);
	else if (s->queued_writes == 0 && s->ev->drained)
		s->ev->drained(s);
}

/* What the kernel did not take: bufs b[0..n), `left` bytes in all. */
static int queue_rest(struct stream_plain *p, uv_buf_t *b, unsigned n, size_t left, bool held)
{
	struct plain_queued *q = malloc(sizeof(*q) + (held ? 0 : left));
	uv_buf_t one;
	int err;

	if (!q)
		return -ENOMEM;
	q->owner = p;
	q->n = left;
	if (!held) {
		size_t at = 0;

		for (unsigned i = 0; i < n; i++) {
			memcpy(q->data + at, b[i].base, b[i].len);
			at += b[i].len;
		}
		one = uv_buf_init(q->data, (unsigned)left);
		b = &one;
		n = 1;
	}
	err = uv_write(&q->req, &p->stream, b, n, on_written);
	if (err) {
		free(q);
		return err;
	}
	p->s.queued_writes++;
	p->s.queued_bytes += left;
	return 1;
}

/* What the kernel takes at once. uv_try_write() would do the same by write(2), which costs more on
 * a socket than send(2): it goes by way of the file layer. uv_buf_t is laid out as struct iovec. */
static ssize_t send_now(const struct stream_plain *p, uv_buf_t *b, unsigned n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)b, .msg_iovlen = n };
	ssize_t sent;

	do {
		if (n == 1)
			/* Not by the C library's function, which is a place where threads may be
			 * cancelled and pays for it. */
			sent = syscall(SYS_sendto, p->fd, b->base, b->len,
				MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
		else
			sent = sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return sent;
	return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
}

int plain_write(struct stream *s, const struct slice *v, unsigned n, bool held)
{
	struct stream_plain *p = plain_of(s);
	uv_buf_t bufs[STREAM_MAX_SLICES], *b = bufs;
	size_t total = 0;
	unsigned m = 0;
	ssize_t done;

	ASSERT(n <= STREAM_MAX_SLICES);
	if (s->closing || !s->open)
		return -ENOTCONN;
	for (unsigned i = 0; i < n; i++) {
		if (!v[i].n)
			continue;
		b[m++] = uv_buf_init((char *)(uintptr_t)v[i].p, (unsigned)v[i].n);
		total += v[i].n;
	}
	if (!total)
		return 0;
	done = s->queued_writes ? 0 : send_now(p, b, m);
	if (done < 0)
		return (int)done;
	if ((size_t)done == total)
		return 0;
	total -= (size_t)done;
	while ((size_t)done >= b->len) {
		done -= (ssize_t)b->len;
		b++;
		m--;
	}
	b->base += done;
	b->len -= (size_t)done;
	return queue_rest(p, b, m, total, held);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	(void)status; /* the close that follows finds out */
	free(req);
}

void plain_shutdown(struct stream *s)
{
	uv_shutdown_t *req;

	if (s->closing || !s->open)
		return;
	req = malloc(sizeof(*req));
	if (!req || uv_shutdown(req, &plain_of(s)->stream, on_shutdown))
		free(req);
}

static void on_closed(uv_handle_t *h)
{
	struct stream_plain *p = h->data;

	p->s.ev->closed(&p->s);
}

void plain_close(struct stream *s, bool reset)
{
	struct stream_plain *p = plain_of(s);

	if (s->closing)
		return;
	s->closing = true;
	s->open = s->reading = false;
	if (reset && !s->is_unix && uv_tcp_close_reset(&p->tcp, on_closed) == 0)
		return;
	uv_close(&p->handle, on_closed);
}
