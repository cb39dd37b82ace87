/* aigw-statsfs-mount: makes the stats mount for an agent that may not, and hands it over.
 *
 *   root: /dev/fuse -> mount(2), visible to the whole host -> descriptor over --socket -> "ok" ->
 * end
 *
 * The agent runs in a mount namespace and without privileges of its own; systemd's directives for
 * that would hide a mount that it made, and no setuid helper works under them. So this program runs
 * outside, for a moment, with CAP_SYS_ADMIN and nothing else, and knows nothing but these steps.
 * It uses no library of ours: what runs as root is to be read in one go. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LAYERS_MAX 16 /* mounts over each other, one per agent that was killed */
#define PATIENCE_S 10 /* for the agent to listen and to answer */
#define RETRY_NS   50000000
#define FS_NAME    "aigw"

static const char usage[] =
	"usage: aigw-statsfs-mount --socket PATH --user NAME MOUNTPOINT\n"
	"       aigw-statsfs-mount --version | --help\n"
	"\n"
	"Mounts the AI gateway's statistics at MOUNTPOINT and hands the mount to aigw-agentd, "
	"which\n"
	"listens on the socket PATH and runs as NAME. Needs root. See aigw-statsfs-mount(8).\n";

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fputs("aigw-statsfs-mount: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
	return 1;
}

/* A mount whose server is gone answers with one of these. */
static int is_dead(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

/* Whether a FUSE mount of ours is on top there, by the kernel's list: asking the path would ask
 * whoever serves it. */
static int is_ours(const char *path)
{
	char line[8192], point[4096], type[64];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int found = 0;

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		const char *dash = strstr(line, " - ");

		if (dash && sscanf(line, "%*s %*s %*s %*s %4095s", point) == 1 &&
			sscanf(dash, " - %63s", type) == 1 && strcmp(point, path) == 0)
			found = strcmp(type, "fuse." FS_NAME) == 0;
	}
	(void)fclose(f);
	return found;
}

static int prepare(const char *path)
{
	struct stat st;

	for (int i = 0; i < LAYERS_MAX && (is_ours(path) || is_dead(path)); i++) {
		if (umount2(path, MNT_DETACH) < 0)
			return fail("cannot unmount what is on %s: %s", path, strerror(errno));
	}
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return fail("cannot make %s: %s", path, strerror(errno));
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return fail("%s is no folder", path);
	return 0;
}

static int make_mount(const char *path, int fd, uid_t uid, gid_t gid)
{
	char options[256];

	(void)snprintf(options, sizeof(options),
		"fd=%d,rootmode=40555,user_id=%u,group_id=%u,allow_other,default_permissions", fd,
		(unsigned)uid, (unsigned)gid);
	if (mount(FS_NAME, path, "fuse." FS_NAME, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    options) < 0)
		return fail("cannot mount on %s: %s", path, strerror(errno));
	return 0;
}

/* The agent may be starting: its socket is there before it is (systemd made it), but not always. */
static int reach(const char *path)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(to.sun_path)) {
		(void)fail("the path of the socket is too long: %s", path);
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path));
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		struct timespec pause = { .tv_nsec = RETRY_NS };
		int fd;

		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		if (fd < 0)
			break;
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
			return fd;
		(void)close(fd); /* leaves errno as connect set it */
		if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN)
			break;
		(void)nanosleep(&pause, NULL);
	}
	(void)fail("nobody listens on %s: %s", path, strerror(errno));
	return -1;
}

static int hand_over(int to, int fd)
{
	char byte = 'm', answer[512];
	struct iovec part = { &byte, 1 };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr m = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(to, &m, MSG_NOSIGNAL) != 1)
		return fail("cannot hand over the mount: %s", strerror(errno));
	n = recv(to, answer, sizeof(answer) - 1, 0);
	if (n <= 0)
		return fail("the agent does not answer: %s", n ? strerror(errno) : "it hung up");
	answer[n] = '\0';
	return strcmp(answer, "ok") == 0 ? 0 : fail("the agent refused the mount: %s", answer);
}

static int run(const char *socket_path, const char *user, const char *path)
{
	struct passwd entry, *pw = NULL;
	char memory[4096];
	int to, fd, code;

	if (getpwnam_r(user, &entry, memory, sizeof(memory), &pw) != 0 || !pw)
		return fail("no user %s on this host", user);
	if (geteuid() != 0)
		return fail("only root can make a mount that all users see; the unit "
			    "aigw-statsfs.service runs this program");
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(
			"/dev/fuse: %s; without it: aigwctl agent stats cat PATH", strerror(errno));
	to = reach(socket_path);
	if (to < 0)
		return 1;
	code = prepare(path);
	if (code == 0)
		code = make_mount(path, fd, pw->pw_uid, pw->pw_gid);
	if (code == 0) {
		code = hand_over(to, fd);
		if (code)
			(void)umount2(path, MNT_DETACH);
	}
	(void)close(to);
	(void)close(fd);
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *socket_path = NULL, *user = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (c) {
		case 's': socket_path = optarg; break;
		case 'u': user = optarg; break;
		case 'V': (void)puts("aigw-statsfs-mount " AIGW_VERSION); return 0;
		case 'h': (void)fputs(usage, stdout); return 0;
		default: (void)fputs(usage, stderr); return 2;
		}
	}
	if (!socket_path || !user || optind != argc - 1 || argv[optind][0] != '/') {
		(void)fputs(usage, stderr);
		return 2;
	}
	return run(socket_path, user, argv[optind]);
}
