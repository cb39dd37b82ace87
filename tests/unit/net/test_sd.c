/* What a service manager hands over and hears, by the protocol's variables. */
#include "fixture.h"

#include <aigw/errbuf.h>
#include <aigw/peer.h>
#include <aigw/sd.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void set_number(const char *name, long n)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%ld", n);
	assert_int_equal(setenv(name, text, 1), 0);
}

/* Puts fd where the protocol wants the i-th. Descriptors from 3 on are free in this program. */
static void place(int fd, int i)
{
	if (fd == 3 + i)
		return;
	assert_int_equal(dup2(fd, 3 + i), 3 + i);
	(void)close(fd);
}

static void test_sockets_by_name(void **state)
{
	int a, b, seq = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct sd_socket *s;
	struct errbuf e;
	struct sd sd;
	char rest[64];

	(void)state;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path_of("m"));
	assert_int_equal(bind(seq, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(seq, 1), 0);
	assert_int_equal(unix_listen(path_of("a"), 0600, 1, &a, &e), 0);
	assert_int_equal(unix_listen(path_of("b"), 0600, 1, &b, &e), 0);
	a = fcntl(a, F_DUPFD, 20);
	b = fcntl(b, F_DUPFD, 20);
	seq = fcntl(seq, F_DUPFD, 20);
	place(a, 0);
	place(seq, 1);
	place(b, 2);
	set_number("LISTEN_PID", getpid());
	set_number("LISTEN_FDS", 3);
	assert_int_equal(setenv("LISTEN_FDNAMES", "http:mount:http", 1), 0);
	assert_int_equal(sd_init(&sd, &e), 0);
	assert_null(getenv("LISTEN_FDS"));
	assert_int_equal(sd.n_sockets, 3);
	assert_null(sd_take(&sd, "http", AF_INET));
	s = sd_take(&sd, "http", 0);
	assert_non_null(s);
	assert_int_equal(s->fd, 3);
	assert_int_equal(s->family, AF_UNIX);
	assert_true(fcntl(3, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(3, F_GETFL) & O_NONBLOCK);
	s = sd_take(&sd, "mount", AF_UNIX);
	assert_true(s && s->fd == 4 && s->type == SOCK_SEQPACKET);
	sd_close_rest(&sd, rest, sizeof(rest));
	assert_string_equal(rest, "http");
	assert_int_equal(fcntl(5, F_GETFD), -1);
	assert_null(sd_take(&sd, "http", 0));
	(void)close(3);
	(void)close(4);
}

static void test_not_for_us(void **state)
{
	struct errbuf e;
	struct sd sd;

	(void)state;
	set_number("LISTEN_PID", getpid() + 1);
	set_number("LISTEN_FDS", 2);
	set_number("WATCHDOG_PID", getpid() + 1);
	set_number("WATCHDOG_USEC", 1000000);
	assert_int_equal(sd_init(&sd, &e), 0);
	assert_int_equal(sd.n_sockets, 0);
	assert_int_equal(sd.watchdog_us, 0);
	assert_int_equal(sd_notify(&sd, "READY=1"), 0); /* nobody listens */
}

static void test_what_is_no_listening_socket(void **state)
{
	static const struct {
		const char *count, *says;
	} cases[] = { { "17", "at most 16" }, { "1", "Accept=no" } };
	struct errbuf e;
	struct sd sd;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	place(fcntl(fd, F_DUPFD, 20), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		set_number("LISTEN_PID", getpid());
		assert_int_equal(setenv("LISTEN_FDS", cases[i].count, 1), 0);
		assert_int_equal(sd_init(&sd, &e), -EINVAL);
		assert_non_null(strstr(e.text, cases[i].says));
	}
}

static void hear(bool abstract)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	char name[108], text[512];
	struct errbuf e;
	struct sd sd;
	ssize_t n;

	(void)snprintf(name, sizeof(name), "%s%s", abstract ? "@" : "", path_of("notify"));
	memcpy(addr.sun_path, name, sizeof(name));
	if (abstract)
		addr.sun_path[0] = '\0';
	assert_int_equal(
		bind(fd, (struct sockaddr *)&addr,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
		0);
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	set_number("WATCHDOG_USEC", 30000000);
	assert_int_equal(sd_init(&sd, &e), 0);
	assert_int_equal(sd.watchdog_us, 30000000); /* no WATCHDOG_PID: for whoever reads it */
	sd_notify_ready(&sd, "Serving.");
	n = recv(fd, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "READY=1\nSTATUS=Serving.");
	sd_notify_reloading(&sd);
	n = recv(fd, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "RELOADING=1\nMONOTONIC_USEC="));
	(void)close(fd);
	(void)unlink(path_of("notify"));
}

static void test_states(void **state)
{
	(void)state;
	hear(false);
	hear(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sockets_by_name),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_what_is_no_listening_socket),
		cmocka_unit_test(test_states),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
