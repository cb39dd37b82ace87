#include <aigw/errbuf.h>
#include <aigw/peer.h>
#include <aigw/slice.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

int peer_cred_of(int fd, struct peer_cred *ret)
{
	struct ucred c;
	socklen_t n = sizeof(c);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n))
		return -errno;
	ret->uid = c.uid;
	ret->gid = c.gid;
	ret->pid = c.pid;
	return 0;
}

int peer_groups_of(int fd, uint32_t groups[static PEER_MAX_GROUPS], unsigned *ret_n)
{
	gid_t all[1024];
	socklen_t n = sizeof(all);

	*ret_n = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &n))
		return -errno;
	for (size_t i = 0; i < n / sizeof(all[0]) && i < PEER_MAX_GROUPS; i++)
		groups[(*ret_n)++] = all[i];
	return 0;
}

static ssize_t read_proc(int32_t pid, const char *name, char *out, size_t cap)
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, out, cap - 1);
	if (n < 0)
		n = -errno;
	else
		out[n] = '\0';
	close(fd);
	return n;
}

/* Field 22 of /proc/PID/stat; the command in parentheses may hold anything. */
static int start_time(int32_t pid, uint64_t *ret)
{
	char text[1024];
	ssize_t n = read_proc(pid, "stat", text, sizeof(text));
	char *at;

	if (n < 0)
		return (int)n;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -ESRCH;
	*ret = strtoull(at + 1, NULL, 10);
	return 0;
}

/* The innermost path element that names a unit: ".../system.slice/support-bot.service" */
static int unit_in_cgroup(char *text, char *ret, size_t cap)
{
	static const struct slice kinds[] = { SLICE_INIT(".service"), SLICE_INIT(".scope"),
		SLICE_INIT(".socket") };
	char *path = strstr(text, "0::");

	if (!path)
		path = strstr(text, ":name=systemd:");
	path = path ? strchr(path, '/') : NULL;
	if (!path)
		return -ENOENT;
	path[strcspn(path, "\n")] = '\0';
	for (char *slash = strrchr(path, '/'); slash; slash = strrchr(path, '/')) {
		struct slice last = slice_str(slash + 1);

		for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
			if (last.n > kinds[k].n && last.n < cap &&
				slice_eq(slice_skip(last, last.n - kinds[k].n), kinds[k])) {
				memcpy(ret, last.p, last.n);
				ret[last.n] = '\0';
				return 0;
			}
		}
		*slash = '\0';
	}
	return -ENOENT;
}

int peer_unit_of(int32_t pid, char *ret, size_t cap)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd alive = { .fd = fd, .events = POLLIN };
	uint64_t before = 0, after = 1;
	char cgroup[4096];
	int err;

	if (fd < 0)
		return -errno;
	err = start_time(pid, &before);
	if (!err && read_proc(pid, "cgroup", cgroup, sizeof(cgroup)) < 0)
		err = -ESRCH;
	if (!err)
		err = start_time(pid, &after);
	/* A readable pidfd: the process has ended, what was read may be another's. */
	if (!err && (before != after || poll(&alive, 1, 0) != 0))
		err = -ESRCH;
	close(fd);
	return err ? err : unit_in_cgroup(cgroup, ret, cap);
}

static bool somebody_answers(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool yes;

	if (fd < 0)
		return false;
	yes = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN;
	close(fd);
	return yes;
}

/* /run is empty after a start of the host, and nobody else may make folders there. */
static int make_folder_of(const char *path, struct errbuf *e)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	memcpy(folder, path, (size_t)(slash - path));
	folder[slash - path] = '\0';
	/* Whatever the umask: the socket's own mode says who may use it. */
	if (mkdir(folder, 0755) == 0 ? chmod(folder, 0755) == 0 : errno == EEXIST)
		return 0;
	return err_set(e, -errno, "can't make the folder %s: %s", folder, strerror(errno));
}

int unix_listen(const char *path, mode_t mode, int backlog, int *ret_fd, struct errbuf *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	struct stat st;
	int fd, err;

	if (n >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG,
			"socket path %s is longer than %zu bytes; choose a shorter one", path,
			sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, n + 1);
	err = make_folder_of(path, e);
	if (err)
		return err;
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(e, -EEXIST, "%s is there and is no socket; remove it", path);
		if (somebody_answers(&addr))
			return err_set(e, -EADDRINUSE,
				"another process listens on %s; stop it first", path);
		(void)unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) || chmod(path, mode) ||
		listen(fd, backlog)) {
		err = -errno;
		close(fd);
		return err_set(e, err, "can't listen on %s: %s", path, strerror(-err));
	}
	*ret_fd = fd;
	return 0;
}
