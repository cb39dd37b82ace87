/* Accepting sockets. */
#include <aigw/stream.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_EVENT 64 /* then others have their turn */

/* A peer that does not read lets so much lie in the kernel; by itself that would take megabytes on
 * loopback, and some thousand such peers all the memory that the host has for TCP. */
#define UNSENT_BYTES (32u << 10)

/* Without descriptors or memory the next connection can only wait, and the socket stays readable:
 * it is left alone for a while. */
static void rest(struct stream_listener *l)
{
	(void)uv_poll_stop(&l->poll);
	deadline_set(l->loop, &l->retry, STREAM_LISTEN_RETRY_US);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	struct stream_listener *l = h->data;

	(void)events;
	for (unsigned i = 0; i < ACCEPTS_PER_EVENT && l->open; i++) {
		l->accepted = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (l->accepted < 0) {
			/* EAGAIN: another loop was faster. ECONNABORTED: it is gone again. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				errno == ENOMEM || status < 0)
				rest(l);
			return;
		}
		l->connection(l);
		if (l->accepted >= 0)
			(void)close(l->accepted);
		l->accepted = -1;
	}
}

static void watch(struct stream_listener *l)
{
	(void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

static void on_retry(struct deadline *d)
{
	watch(container_of(d, struct stream_listener, retry));
}

int stream_listen(struct stream_listener *l, struct loop *loop, int fd, int backlog,
	void (*connection)(struct stream_listener *l))
{
	unsigned unsent = UNSENT_BYTES;
	int err;

	memset(l, 0, sizeof(*l));
	l->loop = loop;
	l->fd = fd;
	l->accepted = -1;
	l->connection = connection;
	deadline_init(&l->retry, on_retry);
	/* Accepted sockets inherit it; a unix socket has its own bound, and refuses. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	err = listen(fd, backlog) ? -errno : uv_poll_init(&loop->uv, &l->poll, fd);
	if (err) {
		(void)close(fd);
		return err;
	}
	l->poll.data = l;
	l->open = true;
	watch(l);
	return 0;
}

void stream_listener_close(struct stream_listener *l, uv_close_cb closed)
{
	if (!l->open)
		return;
	l->open = false;
	deadline_stop(l->loop, &l->retry);
	uv_close((uv_handle_t *)&l->poll, closed);
	(void)close(l->fd);
}
