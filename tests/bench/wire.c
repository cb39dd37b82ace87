#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || v > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*text - '0');
	}
	if (v < min || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int unix_parse(const char *path, struct endpoint *ret)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(a.sun_path))
		return -EINVAL;
	memcpy(a.sun_path, path, n);
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->addr, &a, sizeof(a));
	ret->len = sizeof(a);
	return 0;
}

int endpoint_parse(const char *text, struct endpoint *ret)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	char host[INET_ADDRSTRLEN];
	const char *colon;
	uint64_t port;
	size_t n;

	if (strncmp(text, "unix:", 5) == 0)
		return unix_parse(text + 5, ret);
	colon = strchr(text, ':');
	n = colon ? (size_t)(colon - text) : 0;
	if (!colon || n >= sizeof(host) || number_parse(colon + 1, 1, 65535, &port))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1 || ntohl(a.sin_addr.s_addr) >> 24 != 127)
		return -EINVAL;
	a.sin_port = htons((uint16_t)port);
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->addr, &a, sizeof(a));
	ret->len = sizeof(a);
	return 0;
}

int endpoint_listen(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, err;

	if (fd < 0)
		return -errno;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
		bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 4096) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int endpoint_connect(const struct endpoint *to)
{
	int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1, err;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&to->addr, to->len) == 0 &&
		(to->addr.ss_family != AF_INET ||
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

void files_raise(void)
{
	struct rlimit now, all = { 1 << 18, 1 << 18 };

	if (setrlimit(RLIMIT_NOFILE, &all) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &now) == 0) {
		now.rlim_cur = now.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &now); /* the soft limit stays: fewer streams */
	}
}

void stamp_write(char *at, uint64_t ns)
{
	for (int i = STAMP_DIGITS - 1; i >= 0; i--) {
		at[i] = (char)('0' + ns % 10);
		ns /= 10;
	}
}

uint64_t stamp_read(const char *at)
{
	uint64_t v = 0;

	for (int i = 0; i < STAMP_DIGITS; i++)
		v = v * 10 + (uint64_t)(at[i] - '0');
	return v;
}

void die(const char *what)
{
	perror(what);
	exit(1);
}
