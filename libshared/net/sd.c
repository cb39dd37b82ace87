#include <aigw/clock.h>
#include <aigw/errbuf.h>
#include <aigw/sd.h>
#include <aigw/slice.h>
#include <aigw/text.h>

#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* --- sockets -------------------------------------------------------------------------- */

/* A number of the environment that is meant for this process. */
static uint64_t number_for_us(const char *pid_name, const char *name)
{
	const char *pid = getenv(pid_name), *value = getenv(name);
	uint64_t of, n = 0;

	if (!value || text_parse_u64(slice_str(value), &n) < 0)
		return 0;
	if (pid && (text_parse_u64(slice_str(pid), &of) < 0 || of != (uint64_t)getpid()))
		return 0;
	return n;
}

static int socket_read(int fd, struct slice name, struct sd_socket *ret, struct errbuf *e)
{
	struct sockaddr_storage addr = { .ss_family = AF_UNSPEC };
	socklen_t n = sizeof(addr), size = sizeof(int);
	int flags = fcntl(fd, F_GETFL), listening = 0;

	*ret = (struct sd_socket){ .fd = fd };
	if (flags < 0 || getsockname(fd, (struct sockaddr *)&addr, &n) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &ret->type, &size) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
		return err_set(e, -EINVAL,
			"the service manager handed over descriptor %d, which is no socket: %s", fd,
			strerror(errno));
	if (!listening)
		return err_set(e, -EINVAL,
			"the service manager handed over descriptor %d, which does not listen: the "
			"socket unit needs Accept=no",
			fd);
	ret->family = addr.ss_family;
	(void)snprintf(ret->name, sizeof(ret->name), SLICE_FMT, SLICE_ARG(name));
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(e, -errno, "descriptor %d: %s", fd, strerror(errno));
	return 0;
}

static int sockets_read(struct sd *sd, struct errbuf *e)
{
	uint64_t n = number_for_us("LISTEN_PID", "LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	struct slice left = slice_str(names ? names : "");

	if (!getenv("LISTEN_PID"))
		return 0;
	if (n > SD_FDS_MAX)
		return err_set(e, -EINVAL,
			"the service manager handed over %" PRIu64 " sockets; at most %d are taken",
			n, SD_FDS_MAX);
	for (uint64_t i = 0; i < n; i++) {
		const char *colon = left.n ? memchr(left.p, ':', left.n) : NULL;
		struct slice name = slice_of(left.p, colon ? (size_t)(colon - left.p) : left.n);
		int r = socket_read(FIRST_FD + (int)i, name, &sd->sockets[sd->n_sockets], e);

		if (r < 0)
			return r;
		sd->n_sockets++;
		left = slice_skip(left, MIN(name.n + 1, left.n));
	}
	return 0;
}

int sd_init(struct sd *sd, struct errbuf *e)
{
	static const char *const variables[] = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
		"LISTEN_PIDFDID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC" };
	const char *notify = getenv("NOTIFY_SOCKET");
	int r;

	memset(sd, 0, sizeof(*sd));
	if (notify && (notify[0] == '/' || notify[0] == '@'))
		(void)snprintf(sd->notify, sizeof(sd->notify), "%s", notify);
	sd->watchdog_us = (usec)MIN(
		number_for_us("WATCHDOG_PID", "WATCHDOG_USEC"), (uint64_t)86400 * USEC_PER_S);
	r = sockets_read(sd, e);
	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		(void)unsetenv(variables[i]);
	return r;
}

const struct sd_socket *sd_take(struct sd *sd, const char *name, int family)
{
	for (unsigned i = 0; i < sd->n_sockets; i++) {
		struct sd_socket *s = &sd->sockets[i];

		if (s->taken || strcmp(s->name, name) != 0 || (family && s->family != family))
			continue;
		s->taken = true;
		return s;
	}
	return NULL;
}

void sd_close_rest(struct sd *sd, char *names, size_t cap)
{
	size_t at = 0;

	names[0] = '\0';
	for (unsigned i = 0; i < sd->n_sockets; i++) {
		struct sd_socket *s = &sd->sockets[i];

		if (s->taken)
			continue;
		s->taken = true;
		(void)close(s->fd);
		if (at < cap)
			at += (size_t)snprintf(
				names + at, cap - at, "%s%s", at ? "," : "", s->name);
	}
}

/* --- states --------------------------------------------------------------------------- */

int sd_notify(const struct sd *sd, const char *fmt, ...)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(sd->notify);
	char text[512];
	va_list ap;
	int fd, err = 0;

	if (!n)
		return 0;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(to.sun_path, sd->notify, n);
	if (to.sun_path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		err = -errno;
	(void)close(fd);
	return err;
}

void sd_notify_reloading(const struct sd *sd)
{
	(void)sd_notify(sd, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=Reading settings.",
		clock_mono_us());
}

void sd_notify_ready(const struct sd *sd, const char *status)
{
	(void)sd_notify(sd, "READY=1\nSTATUS=%s", status);
}
