/* Who is at the other end of a unix socket, by the kernel's word; and the socket file of a server.
 */
#include "fixture.h"

#include <aigw/errbuf.h>
#include <aigw/peer.h>

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static int accept_from(int listener)
{
	/* It does not block, and the connection is there already. */
	int fd = accept(listener, NULL, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void test_own_credentials(void **state)
{
	struct errbuf e;
	struct peer_cred c;
	uint32_t groups[PEER_MAX_GROUPS];
	gid_t own[1024];
	unsigned n = 0;
	int listener, client, server, n_own = getgroups(1024, own);

	(void)state;
	assert_int_equal(unix_listen(path_of("s"), 0600, 8, &listener, &e), 0);
	client = connect_to(path_of("s"));
	server = accept_from(listener);
	assert_int_equal(peer_cred_of(server, &c), 0);
	assert_int_equal(c.uid, getuid());
	assert_int_equal(c.gid, getgid());
	assert_int_equal(c.pid, getpid());
	assert_int_equal(peer_groups_of(server, groups, &n), 0);
	assert_int_equal(n, MIN(n_own, PEER_MAX_GROUPS));
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(groups[i], own[i]);
	(void)close(client);
	(void)close(server);
	(void)close(listener);
}

/* Another user, with more groups than are looked at; what the peer becomes later does not count. */
static void be_another(int ready)
{
	gid_t groups[PEER_MAX_GROUPS + 10];
	int fd;

	for (unsigned i = 0; i < ARRAY_LEN(groups); i++)
		groups[i] = 5000 + i;
	if (setgroups(ARRAY_LEN(groups), groups) || setgid(4321) || setuid(1234))
		_exit(1);
	fd = connect_to(path_of("s"));
	if (fd < 0 || write(ready, "x", 1) != 1)
		_exit(2);
	(void)pause();
	_exit(3);
}

static void test_another_user(void **state)
{
	struct errbuf e;
	struct peer_cred c;
	uint32_t groups[PEER_MAX_GROUPS];
	unsigned n = 0;
	int listener, server, ready[2], status;
	pid_t pid;
	char byte;

	(void)state;
	if (getuid() != 0) {
		print_message("needs root: several users\n");
		skip();
	}
	assert_int_equal(chmod(path_of(""), 0755), 0);
	assert_int_equal(unix_listen(path_of("s"), 0666, 8, &listener, &e), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0)
		be_another(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	server = accept_from(listener);
	assert_int_equal(peer_cred_of(server, &c), 0);
	assert_int_equal(c.uid, 1234);
	assert_int_equal(c.gid, 4321);
	assert_int_equal(c.pid, pid);
	assert_int_equal(peer_groups_of(server, groups, &n), 0);
	assert_int_equal(n, PEER_MAX_GROUPS);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(groups[i], 5000 + i);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	/* The credentials outlive the process, its unit can't be told any more. */
	assert_int_equal(peer_cred_of(server, &c), 0);
	assert_int_equal(c.uid, 1234);
	assert_int_equal(peer_unit_of(c.pid, (char[64]){ 0 }, 64), -ESRCH);
	(void)close(server);
	(void)close(listener);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void test_no_socket(void **state)
{
	struct peer_cred c;
	uint32_t groups[PEER_MAX_GROUPS];
	unsigned n = 7;

	(void)state;
	assert_int_equal(peer_cred_of(STDIN_FILENO, &c), -ENOTSOCK);
	assert_int_equal(peer_groups_of(STDIN_FILENO, groups, &n), -ENOTSOCK);
	assert_int_equal(n, 0);
	assert_int_equal(peer_cred_of(-1, &c), -EBADF);
}

/* The innermost unit of our own cgroup, found in another way. */
static void test_unit(void **state)
{
	char want[256] = "", got[256] = "", line[4096], *last = NULL, *save = NULL;
	FILE *f = fopen("/proc/self/cgroup", "r");
	char *path = NULL;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "0::", 3) || strstr(line, ":name=systemd:"))
			path = strchr(line, '/');
	(void)fclose(f);
	for (char *p = path ? strtok_r(path, "/\n", &save) : NULL; p;
		p = strtok_r(NULL, "/\n", &save))
		if ((last = strrchr(p, '.')) &&
			(!strcmp(last, ".service") || !strcmp(last, ".scope") ||
				!strcmp(last, ".socket")))
			(void)snprintf(want, sizeof(want), "%s", p);
	assert_int_equal(peer_unit_of(getpid(), got, sizeof(got)), want[0] ? 0 : -ENOENT);
	assert_string_equal(got, want);
}

static void test_socket_file(void **state)
{
	struct errbuf e = { "" };
	struct stat st;
	int first = -1, second = -1, fd;

	(void)state;
	assert_int_equal(unix_listen(path_of("own"), 0660, 8, &first, &e), 0);
	assert_int_equal(stat(path_of("own"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
	/* In use: refused, and still in use. */
	assert_int_equal(unix_listen(path_of("own"), 0600, 8, &second, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, "another process listens"));
	fd = connect_to(path_of("own"));
	assert_true(fd >= 0);
	(void)close(fd);
	/* Left over: nobody answers, so it is replaced. */
	(void)close(first);
	assert_int_equal(unix_listen(path_of("own"), 0600, 8, &second, &e), 0);
	fd = connect_to(path_of("own"));
	assert_true(fd >= 0);
	(void)close(fd);
	(void)close(second);
}

static void test_wrong_paths(void **state)
{
	struct errbuf e = { "" };
	char path[200];
	struct stat st;
	int fd = open(path_of("file"), O_CREAT | O_WRONLY, 0600), listener;

	(void)state;
	(void)close(fd);
	assert_int_equal(unix_listen(path_of("file"), 0600, 8, &listener, &e), -EEXIST);
	assert_non_null(strstr(e.text, "is no socket"));
	assert_int_equal(stat(path_of("file"), &st), 0); /* nobody's file is removed */
	(void)snprintf(path, sizeof(path), "/tmp/%0150d", 0);
	assert_int_equal(unix_listen(path, 0600, 8, &listener, &e), -ENAMETOOLONG);
	assert_non_null(strstr(e.text, "107 bytes"));
	assert_int_equal(unix_listen(path_of("no/such/folder"), 0600, 8, &listener, &e), -ENOENT);
	assert_non_null(strstr(e.text, "can't make the folder"));
	assert_int_equal(unix_listen(path_of("file/s"), 0600, 8, &listener, &e), -ENOTDIR);
}

/* Others reach the socket in a new folder, also when a daemon's umask is 0077. */
static void test_folder_is_made(void **state)
{
	struct errbuf e = { "" };
	struct stat st;
	int listener = -1;
	mode_t before = umask(0077);

	(void)state;
	assert_int_equal(unix_listen(path_of("new/s"), 0666, 8, &listener, &e), 0);
	(void)umask(before);
	(void)close(listener);
	assert_int_equal(stat(path_of("new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	/* One that is there keeps its mode. */
	assert_int_equal(chmod(path_of("new"), 0700), 0);
	assert_int_equal(unix_listen(path_of("new/s"), 0666, 8, &listener, &e), 0);
	(void)close(listener);
	assert_int_equal(stat(path_of("new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_credentials),
		cmocka_unit_test(test_another_user),
		cmocka_unit_test(test_no_socket),
		cmocka_unit_test(test_unit),
		cmocka_unit_test(test_socket_file),
		cmocka_unit_test(test_wrong_paths),
		cmocka_unit_test(test_folder_is_made),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
