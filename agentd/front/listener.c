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

int listen_check(const char *address, struct errbuf *e)
{
	struct sockaddr_storage addr;
	socklen_t n;

	return parse(address, &addr, &n, e);
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

static void on_connection(struct stream_listener *s)
{
	struct listener *l = container_of(s, struct listener, socket);

	conn_accept(l->set, s, l->is_unix);
}

int listener_start(
	struct listener *l, struct loop *loop, int fd, bool is_unix, struct conn_set *set)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (own < 0)
		return -errno;
	l->set = set;
	l->is_unix = is_unix;
	return stream_listen(&l->socket, loop, own, LISTEN_BACKLOG, on_connection);
}

void listener_close(struct listener *l)
{
	stream_listener_close(&l->socket, NULL);
}
