#include "server.h"
#include "buf.h"
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG          8192
#define ACCEPTS_PER_TURN 256

struct listener {
	uv_poll_t poll;
	struct sim *sim;
	int fd;
	bool tls, tcp;
	char where[128];
};

struct server {
	struct listener plain, tls, local;
	uv_signal_t term, interrupt;
};

static int spare_fd = -1;

/* Without a free descriptor a waiting connection would wake us for ever: take it with the spare one
 * and close it. */
static void connection_refuse(struct listener *l)
{
	int fd;

	close(spare_fd);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;
	int one = 1;

	(void)events;
	for (int i = 0; status == 0 && i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
			connection_refuse(l);
			continue;
		}
		if (fd < 0)
			return;
		if (l->tcp)
			(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		conn_start(l->sim, fd, l->tls);
	}
}

static int fail(const char *what, const char *where, int err)
{
	fprintf(stderr, "aigw-sim: %s %s: %s\n", what, where, strerror(err));
	return -1;
}

static int listener_watch(struct listener *l, struct sim *sim, int fd)
{
	int rc;

	l->sim = sim;
	l->fd = fd;
	if (listen(fd, BACKLOG) < 0)
		return fail("listen", l->where, errno);
	rc = uv_poll_init(&sim->loop, &l->poll, fd);
	if (rc)
		return fail("watch", l->where, -rc);
	l->poll.data = l;
	rc = uv_poll_start(&l->poll, UV_READABLE, on_connection);
	return rc ? fail("watch", l->where, -rc) : 0;
}

/* "127.0.0.1:80", "[::1]:80" */
static int address_read(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	const char *colon = strrchr(text, ':');
	char host[64];
	size_t n = colon ? (size_t)(colon - text) : 0;
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	char *end;
	long port = colon ? strtol(colon + 1, &end, 10) : -1;

	if (port < 0 || port > 65535 || *end || n >= sizeof(host))
		return -1;
	memcpy(host, text, n);
	host[n] = 0;
	memset(ret, 0, sizeof(*ret));
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = 0;
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*ret_len = sizeof(*v6);
		return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1 ? 0 : -1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	*ret_len = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1 ? 0 : -1;
}

static void address_show(struct listener *l)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char host[64] = "?";

	if (getsockname(l->fd, (struct sockaddr *)&a, &len) < 0)
		return;
	if (a.ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;

		(void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(l->where, sizeof(l->where), "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;

		(void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(l->where, sizeof(l->where), "%s:%u", host, ntohs(v4->sin_port));
	}
}

static int tcp_start(struct listener *l, struct sim *sim, const char *where, bool tls)
{
	struct sockaddr_storage a;
	socklen_t len;
	int one = 1, fd;

	l->tls = tls;
	l->tcp = true;
	snprintf(l->where, sizeof(l->where), "%s", where);
	if (address_read(where, &a, &len) < 0)
		return fail("address", where, EINVAL);
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail("socket", where, errno);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, len) < 0)
		return fail("bind", where, errno);
	if (listener_watch(l, sim, fd) < 0)
		return -1;
	address_show(l);
	return 0;
}

static int unix_start(struct listener *l, struct sim *sim, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(a.sun_path))
		return fail("unix", path, ENAMETOOLONG);
	memcpy(a.sun_path, path, strlen(path) + 1);
	snprintf(l->where, sizeof(l->where), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail("socket", path, errno);
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return fail("bind", path, errno);
	return listener_watch(l, sim, fd);
}

static void listener_close(struct listener *l)
{
	if (!l->sim)
		return;
	uv_close((uv_handle_t *)&l->poll, NULL);
	close(l->fd);
}

static void on_signal(uv_signal_t *h, int signum)
{
	(void)signum;
	uv_stop(h->loop);
}

static int listeners_start(struct server *s, struct sim *sim)
{
	spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (sim->opts.listen && tcp_start(&s->plain, sim, sim->opts.listen, false) < 0)
		return -1;
	if (sim->opts.tls_listen && tcp_start(&s->tls, sim, sim->opts.tls_listen, true) < 0)
		return -1;
	return sim->opts.unix_path ? unix_start(&s->local, sim, sim->opts.unix_path) : 0;
}

static void ready_print(const struct server *s)
{
	printf("ready");
	if (s->plain.sim)
		printf(" http=%s", s->plain.where);
	if (s->tls.sim)
		printf(" tls=%s", s->tls.where);
	if (s->local.sim)
		printf(" unix=%s", s->local.where);
	printf("\n");
	fflush(stdout);
}

int server_run(struct sim *sim)
{
	static struct server s;
	int rc = uv_loop_init(&sim->loop);

	if (!rc)
		rc = timers_start(&sim->timers, &sim->loop, conn_on_timer);
	if (!rc)
		rc = uv_signal_init(&sim->loop, &s.term) ||
		     uv_signal_start(&s.term, on_signal, SIGTERM) ||
		     uv_signal_init(&sim->loop, &s.interrupt) ||
		     uv_signal_start(&s.interrupt, on_signal, SIGINT);
	if (rc) {
		fputs("aigw-sim: cannot set up the event loop\n", stderr);
		return 1;
	}
	if (listeners_start(&s, sim) < 0)
		return 1;
	ready_print(&s);
	(void)uv_run(&sim->loop, UV_RUN_DEFAULT);

	close(spare_fd);
	listener_close(&s.plain);
	listener_close(&s.tls);
	listener_close(&s.local);
	if (s.local.sim)
		(void)unlink(s.local.where);
	conn_close_all(sim);
	timers_close(&sim->timers);
	uv_close((uv_handle_t *)&s.term, NULL);
	uv_close((uv_handle_t *)&s.interrupt, NULL);
	(void)uv_run(&sim->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&sim->loop);
	return 0;
}
