#include "statfs/mount_point.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STALE_LAYERS_MAX                                                                           \
	16 /* mounts one over the other, one per killed predecessor that could not clear up */

/* --- mountinfo ------------------------------------------------------------------------ */

/* The next field, blank separated; *at moves behind it. */
static const char *next_field(const char **at, size_t *ret_n)
{
	const char *begin = *at + strspn(*at, " ");

	*ret_n = strcspn(begin, " \n");
	*at = begin + *ret_n;
	return begin;
}

/* Compares a field, in which blanks and backslashes stand as \ooo. */
static bool field_is_path(const char *p, size_t n, const char *path)
{
	size_t i = 0;

	while (i < n && *path) {
		unsigned char c = (unsigned char)p[i++];

		if (c == '\\' && n - i >= 3) {
			c = (unsigned char)((p[i] - '0') << 6 | (p[i + 1] - '0') << 3 |
					    (p[i + 2] - '0'));
			i += 3;
		}
		if (c != (unsigned char)*path++)
			return false;
	}
	return i == n && *path == '\0';
}

bool mount_line_is_ours(const char *line, const char *path)
{
	const char *at = line, *field;
	size_t n;

	for (int i = 0; i < 4; i++) /* id, parent, device, root */
		(void)next_field(&at, &n);
	field = next_field(&at, &n);
	if (!field_is_path(field, n, path))
		return false;
	do {
		field = next_field(&at, &n);
	} while (n && !(n == 1 && field[0] == '-'));
	field = next_field(&at, &n);
	return n == strlen("fuse." MOUNT_FS_NAME) && memcmp(field, "fuse." MOUNT_FS_NAME, n) == 0;
}

/* From the kernel's list, since asking the path itself would ask whoever serves it. */
static bool is_mounted(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	if (!f)
		return false;
	while (!found && getline(&line, &cap, f) > 0)
		found = mount_line_is_ours(line, path);
	free(line);
	(void)fclose(f);
	return found;
}

/* --- clearing ------------------------------------------------------------------------- */

/* Without privileges only the setuid helper of FUSE can unmount. Waits for it; it is the one child
 * that the agent starts. */
static int unmount_by_helper(const char *path)
{
	char program[] = "fusermount3", flags[] = "-uzq", end[] = "--", target[PATH_MAX];
	char *const argv[] = { program, flags, end, target, NULL };
	posix_spawn_file_actions_t actions;
	int n = snprintf(target, sizeof(target), "%s", path), status, r;
	pid_t pid;

	if (n < 0 || (size_t)n >= sizeof(target))
		return -ENAMETOOLONG;
	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int unmount_stale(const char *path)
{
	if (umount2(path, MNT_DETACH) == 0)
		return 0;
	return errno == EPERM ? unmount_by_helper(path) : -errno;
}

static int clear_stale(const char *path, struct errbuf *e)
{
	struct stat st;

	for (int i = 0; i < STALE_LAYERS_MAX && is_mounted(path); i++) {
		int r = stat(path, &st) < 0 ? -errno : 0;

		/* A mount whose server is gone says so; any other answer came from a living one. */
		if (r != -ENOTCONN && r != -ECONNABORTED)
			return err_set(
				e, -EBUSY, "another program serves a stats mount at %s", path);
		r = unmount_stale(path);
		if (r < 0)
			return err_set(e, r, "cannot unmount what a former agent left at %s: %s",
				path, strerror(-r));
	}
	return 0;
}

/* The folder above resolved, the last part as it is: resolving that one would ask the mount. */
static int resolve(const char *path, char ret[static PATH_MAX], struct errbuf *e)
{
	char above[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int n;

	if (path[0] != '/' || !slash || slash[1] == '\0')
		return err_set(e, -EINVAL,
			"the stats mount needs an absolute path without a slash at its end, not "
			"\"%s\"",
			path);
	n = snprintf(above, sizeof(above), "%.*s", (int)MAX(slash - path, 1), path);
	if (n < 0 || (size_t)n >= sizeof(above))
		return err_set(e, -ENAMETOOLONG, "the path of the stats mount is too long");
	if (!realpath(above, ret))
		return err_set(e, -errno, "%s, the folder for the stats mount: %s", above,
			strerror(errno));
	n = (int)strlen(ret) - (strcmp(ret, "/") == 0);
	if ((size_t)n + strlen(slash) >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "the path of the stats mount is too long");
	memcpy(ret + n, slash, strlen(slash) + 1);
	return 0;
}

int mount_point_prepare(const char *path, struct errbuf *e)
{
	char resolved[PATH_MAX];
	int r = resolve(path, resolved, e);

	if (r < 0)
		return r;
	r = clear_stale(resolved, e);
	if (r < 0)
		return r;
	if (mkdir(resolved, 0755) < 0 && errno != EEXIST)
		return err_set(e, -errno, "cannot make %s for the stats mount: %s", resolved,
			strerror(errno));
	return 0;
}
