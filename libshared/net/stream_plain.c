/* Streams over a socket of their own: TCP and unix.
 *
 * libuv tells when a socket can be read or written; the bytes go by recv(2) and send(2) from here.
 * libuv's own streams go by read(2) and write(2), by way of the file layer, and poll each socket
 * once more after it has been read. A socket is therefore watched for edges (epoll(7)): it is told
 * once that there is more, and `more` remembers it until the socket has been read empty. libuv
 * registers sockets for levels; with its first event a socket is registered for edges instead, and
 * libuv does not touch that again since what it wants to know of it never changes. */
#include "stream_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define READS_PER_EVENT 16 /* then others have their turn */

struct plain_queued {
	struct plain_queued *next;
	unsigned n, at; /* of v: slices, and how many of them are written whole */
	struct iovec v[STREAM_MAX_SLICES];
	char data[]; /* a copy, unless the caller holds the bytes */
};

static struct stream_plain *plain_of(const struct stream *s)
{
	return container_of(s, struct stream_plain, s);
}

static void free_queue(struct stream_plain *p)
{
	while (p->first) {
		struct plain_queued *q = p->first;

		p->first = q->next;
		free(q);
	}
	p->last = NULL;
	p->s.queued_writes = 0;
	p->s.queued_bytes = 0;
}

static void read_some(struct stream_plain *p);

/* What has no event of the socket behind it: the end of a stream that never had one, a connect that
 * failed at once, and what was left to be read of a broken one. */
static void on_later(struct deferred *d)
{
	struct stream_plain *p = container_of(d, struct stream_plain, later);

	if (p->s.closing)
		p->s.ev->closed(&p->s);
	else if (p->connect_error)
		p->s.ev->open(&p->s, p->connect_error);
	else
		read_some(p);
}

void stream_plain_init(
	struct stream_plain *p, struct loop *l, bool is_unix, const struct stream_events *ev)
{
	memset(p, 0, sizeof(*p));
	p->fd = -1;
	p->s.ev = ev;
	p->s.loop = l;
	p->s.kind = STREAM_PLAIN;
	p->s.is_unix = is_unix;
	deferred_init(&p->later, on_later);
}

/* --- watching the socket
 * ------------------------------------------------------------------------------------- */

/* Edges from now on, and one at once for what is there already. To be told when a unix socket can
 * be written costs an event each time its peer reads, so that is asked only while bytes wait. */
static void watch(struct stream_plain *p)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = p->fd };

	if (p->broken) {
		deferred_queue(p->s.loop, &p->later);
		return;
	}
	if (p->first)
		e.events |= EPOLLOUT;
	(void)epoll_ctl(uv_backend_fd(&p->s.loop->uv), EPOLL_CTL_MOD, p->fd, &e);
	p->on_edges = true;
}

static size_t room_for_read(struct stream_plain *p, char **ret)
{
	size_t n = p->s.ev->into ? p->s.ev->into(&p->s, ret) : 0;

	if (n)
		return n;
	*ret = p->s.loop->scratch_in;
	return LOOP_SCRATCH_BYTES;
}

/* Not by the C library's functions, which are places where threads may be cancelled and pay for
 * it. */
static ssize_t receive(int fd, char *at, size_t n)
{
	ssize_t got;

	do
		got = syscall(SYS_recvfrom, fd, at, n, MSG_DONTWAIT, NULL, NULL);
	while (got < 0 && errno == EINTR);
	return got >= 0 ? got : -errno;
}

/* An event may close the stream, stop its reading, or write; the memory stays until `closed`. */
static void read_some(struct stream_plain *p)
{
	struct stream *s = &p->s;

	for (unsigned i = 0; p->more && s->reading; i++) {
		char *at = NULL;
		size_t room;
		ssize_t n;

		s->loop->event_now = 0;
		if (i == READS_PER_EVENT) {
			watch(p);
			return;
		}
		room = room_for_read(p, &at);
		n = receive(p->fd, at, room);
		if (n == -EAGAIN) {
			p->more = false;
		} else if (n > 0) {
			/* A read that was not filled has emptied the socket; what comes later makes
			 * an edge. An end that came with the bytes does not. */
			if ((size_t)n < room && !p->peer_done)
				p->more = false;
			s->ev->data(s, at, (size_t)n);
		} else {
			s->reading = p->more = false;
			s->saw_eof = n == 0;
			if (n == 0)
				s->ev->eof(s);
			else
				s->ev->error(s, (int)n);
		}
	}
}

static void opened(struct stream_plain *p)
{
	int one = 1;

	p->s.open = true;
	if (!p->s.is_unix)
		(void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* To a server on this host. */
static void keep_local(const struct stream_plain *p)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t n = sizeof(peer);

	if (getpeername(p->fd, (struct sockaddr *)&peer, &n) == 0 &&
		address_is_loopback((const struct sockaddr *)&peer))
		socket_stays_local(p->fd);
}

static void connected(struct stream_plain *p)
{
	int err = 0;
	socklen_t n = sizeof(err);

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &n))
		err = errno;
	p->connecting = false;
	if (!err) {
		opened(p);
		watch(p);
		if (!p->s.is_unix)
			keep_local(p);
	}
	p->s.ev->open(&p->s, -err);
}

static void flush_queue(struct stream_plain *p);

static void act_on(struct stream_plain *p, int events)
{
	if (p->connecting) {
		if (events & (UV_WRITABLE | UV_DISCONNECT))
			connected(p);
		return; /* bytes that are there already make an edge */
	}
	if (!p->s.open)
		return;
	if (!p->on_edges)
		watch(p);
	if (events & UV_DISCONNECT)
		p->peer_done = true;
	if (events & (UV_READABLE | UV_DISCONNECT))
		p->more = true;
	if (events & UV_WRITABLE && p->first)
		flush_queue(p);
	if (p->s.reading)
		read_some(p);
}

/* A negative status: the socket is broken, and libuv no longer watches it. What is wrong with it
 * the next read or write says. */
static void on_event(uv_poll_t *h, int status, int events)
{
	struct stream_plain *p = h->data;
	struct loop *l = p->s.loop;

	if (status < 0) {
		p->broken = true;
		events = UV_READABLE | UV_WRITABLE | UV_DISCONNECT;
	}
	l->n_events++;
	l->in_event = true;
	l->event_now = 0;
	act_on(p, events);
	l->in_event = false;
}

/* The descriptor is the stream's from here on. */
static int attach(struct stream_plain *p, int fd)
{
	int err = uv_poll_init(&p->s.loop->uv, &p->poll, fd);

	if (err) {
		(void)close(fd);
		return err;
	}
	p->fd = fd;
	p->poll.data = p;
	p->attached = true;
	return uv_poll_start(&p->poll, UV_READABLE | UV_WRITABLE | UV_DISCONNECT, on_event);
}

/* --- begin
 * ---------------------------------------------------------------------------------------------------
 */

int stream_accept(struct stream_plain *p, struct stream_listener *listener)
{
	int fd = listener->accepted, err;

	listener->accepted = -1;
	err = fd < 0 ? -EAGAIN : attach(p, fd);
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

static socklen_t size_of_address(const struct sockaddr *addr)
{
	switch (addr->sa_family) {
	case AF_UNIX: return sizeof(struct sockaddr_un);
	case AF_INET: return sizeof(struct sockaddr_in);
	default: return sizeof(struct sockaddr_in6);
	}
}

int stream_connect(struct stream_plain *p, const struct sockaddr *addr)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	do
		r = connect(fd, addr, size_of_address(addr));
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != EINPROGRESS) {
		p->connect_error = -errno;
		(void)close(fd);
		deferred_queue(p->s.loop, &p->later);
		return 0;
	}
	p->connecting = true;
	return attach(p, fd);
}

int plain_fd(const struct stream *s)
{
	return plain_of(s)->fd;
}

/* --- reading
 * -------------------------------------------------------------------------------------------------
 */

void plain_read_start(struct stream *s)
{
	struct stream_plain *p = plain_of(s);

	if (s->reading || s->closing || s->saw_eof || !s->open)
		return;
	s->reading = true;
	if (p->more)
		watch(p); /* which tells of it again, outside of the caller's stack */
}

void plain_read_stop(struct stream *s)
{
	s->reading = false;
}

/* --- writing
 * -------------------------------------------------------------------------------------------------
 */

/* What the kernel takes at once, 0 if it is full. */
static ssize_t send_now(const struct stream_plain *p, struct iovec *v, unsigned n)
{
	struct msghdr m = { .msg_iov = v, .msg_iovlen = n };
	ssize_t sent;

	do {
		if (n == 1)
			sent = syscall(SYS_sendto, p->fd, v->iov_base, v->iov_len,
				MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
		else
			sent = syscall(SYS_sendmsg, p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return sent;
	return errno == EAGAIN ? 0 : -errno;
}

/* Takes n written bytes off the slices; returns how many of them that was whole. */
static unsigned advance(struct iovec *v, unsigned n_slices, size_t n)
{
	unsigned i = 0;

	for (; i < n_slices && n >= v[i].iov_len; i++)
		n -= v[i].iov_len;
	if (i < n_slices) {
		v[i].iov_base = (char *)v[i].iov_base + n;
		v[i].iov_len -= n;
	}
	return i;
}

static void flush_queue(struct stream_plain *p)
{
	struct stream *s = &p->s;

	while (p->first) {
		struct plain_queued *q = p->first;
		ssize_t done = send_now(p, q->v + q->at, q->n - q->at);

		if (done == 0)
			return; /* an edge comes when there is room */
		if (done == -ENOBUFS) {
			watch(p); /* the kernel is short of memory: no edge comes, try again */
			return;
		}
		if (done < 0) {
			s->ev->error(s, (int)done);
			return;
		}
		s->queued_bytes -= (size_t)done;
		q->at += advance(q->v + q->at, q->n - q->at, (size_t)done);
		if (q->at < q->n)
			continue;
		p->first = q->next;
		free(q);
		s->queued_writes--;
	}
	p->last = NULL;
	if (p->shut_behind)
		(void)shutdown(p->fd, SHUT_WR);
	if (s->is_unix)
		watch(p);
	if (s->ev->drained)
		s->ev->drained(s);
}

/* What the kernel did not take: v[0..n), `left` bytes in all. */
static int queue_rest(
	struct stream_plain *p, const struct iovec *v, unsigned n, size_t left, bool held)
{
	struct plain_queued *q = malloc(sizeof(*q) + (held ? 0 : left));
	size_t at = 0;

	if (!q)
		return -ENOMEM;
	q->next = NULL;
	q->at = 0;
	q->n = held ? n : 1;
	for (unsigned i = 0; i < n; i++) {
		if (held)
			q->v[i] = v[i];
		else
			memcpy(q->data + at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	if (!held)
		q->v[0] = (struct iovec){ q->data, left };
	if (p->last)
		p->last->next = q;
	else
		p->first = q;
	p->last = q;
	p->s.queued_writes++;
	p->s.queued_bytes += left;
	if (p->first == q && p->on_edges)
		watch(p);
	return 1;
}

int plain_write(struct stream *s, const struct slice *v, unsigned n, bool held)
{
	struct stream_plain *p = plain_of(s);
	struct iovec vec[STREAM_MAX_SLICES];
	size_t total = 0;
	unsigned m = 0, whole;
	ssize_t done;

	ASSERT(n <= STREAM_MAX_SLICES);
	if (s->closing || !s->open)
		return -ENOTCONN;
	for (unsigned i = 0; i < n; i++) {
		if (!v[i].n)
			continue;
		vec[m++] = (struct iovec){ (char *)(uintptr_t)v[i].p, v[i].n };
		total += v[i].n;
	}
	if (!total)
		return 0;
	done = p->first ? 0 : send_now(p, vec, m);
	if (done == -ENOBUFS)
		done = 0;
	if (done < 0)
		return (int)done;
	if ((size_t)done == total)
		return 0;
	whole = advance(vec, m, (size_t)done);
	return queue_rest(p, vec + whole, m - whole, total - (size_t)done, held);
}

/* --- end
 * -----------------------------------------------------------------------------------------------------
 */

void plain_shutdown(struct stream *s)
{
	struct stream_plain *p = plain_of(s);

	if (s->closing || !s->open)
		return;
	if (p->first)
		p->shut_behind = true;
	else
		(void)shutdown(p->fd, SHUT_WR);
}

static void on_closed(uv_handle_t *h)
{
	struct stream_plain *p = h->data;

	p->s.ev->closed(&p->s);
}

void plain_close(struct stream *s, bool reset)
{
	struct stream_plain *p = plain_of(s);
	struct linger none = { .l_onoff = 1 };

	if (s->closing)
		return;
	s->closing = true;
	s->open = s->reading = false;
	free_queue(p);
	deferred_cancel(&p->later);
	if (!p->attached) {
		deferred_queue(s->loop, &p->later);
		return;
	}
	if (reset && !s->is_unix)
		(void)setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	uv_close(&p->handle, on_closed);
	(void)close(p->fd);
	p->fd = -1;
}
