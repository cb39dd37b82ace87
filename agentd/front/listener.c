#include "front/listener.h"

#include <aigw/text.h>
#include <aigw/stream.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

static int parse(
	const char *address, struct sockaddr_storage *ret, socklen_t *ret_n, struct errbuf *e)
{
	const char *colon = strrchr(address, ':');
	struct slice host = colon ? slice_of(address, (size_t)(colon - address)) : SLICE_EMPTY;
	char text[64];
	uint64_t port;

	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = slice_of(host.p + 1, host.n - 2);
	if (!colon || !host.n || host.n >= sizeof(text) ||
		text_parse_u64(slice_str(colon + 1), &port) || port > 65535)
		return err_set(e, -EINVAL,
			"listen: '%s' is no ADDRESS:PORT; write 127.0.0.1:2449 or off", address);
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	memset(ret, 0, sizeof(*ret));
	if (uv_ip4_addr(text, (int)port, (struct sockaddr_in *)ret) == 0) {
		*ret_n = sizeof(struct sockaddr_in);
	} else if (uv_ip6_addr(text, (int)port, (struct sockaddr_in6 *)ret) == 0) {
		*ret_n = sizeof(struct sockaddr_in6);
	} else {
		return err_set(
			e, -EINVAL, "listen: '%s' is no IP address; write 127.0.0.1:PORT", text);
	}
	if (address_is_loopback((struct sockaddr *)ret))
		return 0;
	return err_set(e, -EACCES,
		"listen: %s is not a loopback address; without TLS only 127.0.0.0/8 and [::1] are "
		"served",
		text);
}

int listen_tcp(const char *address, int *ret_fd, struct errbuf *e)
{
	struct sockaddr_storage addr;
	socklen_t n = 0;
	int one = 1, fd, err = parse(address, &addr, &n, e);

	if (err)
		return err;
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	socket_stays_local(fd);
	if (bind(fd, (struct sockaddr *)&addr, n) || listen(fd, LISTEN_BACKLOG)) {
		err = -errno;
		close(fd);
		return err_set(e, err, "can't listen on %s: %s", address, strerror(-err));
	}
	*ret_fd = fd;
	return 0;
}

static void accept_one(struct listener *l)
{
	/* libuv does not watch the socket while a connection waits to be taken. */
	if (conn_accept(l->set, &l->stream, l->is_unix))
		deadline_set(l->set->env->loop, &l->retry, LISTEN_RETRY_US);
}

static void on_retry(struct deadline *d)
{
	accept_one(container_of(d, struct listener, retry));
}

static void on_connection(uv_stream_t *s, int status)
{
	/* Another worker may have been faster (EAGAIN), or descriptors have run out: the next turn
	 * tries again. */
	if (status == 0)
		accept_one(s->data);
}

int listener_start(
	struct listener *l, struct loop *loop, int fd, bool is_unix, struct conn_set *set)
{
	int err, own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (own < 0)
		return -errno;
	l->set = set;
	l->is_unix = is_unix;
	deadline_init(&l->retry, on_retry);
	err = is_unix ? uv_pipe_init(&loop->uv, &l->pipe, 0) : uv_tcp_init(&loop->uv, &l->tcp);
	if (err) {
		close(own);
		return err;
	}
	l->open = true;
	l->handle.data = l;
	err = is_unix ? uv_pipe_open(&l->pipe, own) : uv_tcp_open(&l->tcp, own);
	if (err)
		close(own);
	return err ? err : uv_listen(&l->stream, LISTEN_BACKLOG, on_connection);
}

void listener_close(struct listener *l)
{
	if (!l->open)
		return;
	l->open = false;
	deadline_stop(l->set->env->loop, &l->retry);
	uv_close(&l->handle, NULL);
}
