/* The stats mount for real: as root with /dev/fuse, read by others through the kernel. Skipped with
 * a reason elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"
#include "statfs/statfs.h"

#include <aigw/clock.h>

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

struct served {
	struct fixture f;
	char path[80]; /* of the mount */
	struct stat_mount *m;
	struct stat_tree *tree;
};

static struct served served;

static struct policy *policy_get(void *owner)
{
	struct served *s = owner;

	return policy_ref(s->f.policy);
}

static void info_get(struct statfs_info *ret, void *owner)
{
	(void)owner;
	*ret = (struct statfs_info){
		.agent_id = "here", .start_mono_us = clock_mono_us(), .control = "standalone"
	};
}

static int serve(struct served *s, struct errbuf *e)
{
	const struct stat_tree_config t = { .stats = s->f.stats,
		.health = s->f.health,
		.inflight = s->f.inflight,
		.policy_get = policy_get,
		.info_get = info_get,
		.owner = s };
	struct statfs_config c = { .mountpoint = s->path, .fuse_fd = -1 };

	if (!s->tree) /* it outlives its mounts */
		assert_int_equal(stat_tree_new(&t, &s->tree), 0);
	c.tree = s->tree;
	return statfs_start(&c, &s->m, e);
}

static int begin(void **state)
{
	struct served *s = *state = &served;
	struct errbuf e = { "" };

	*s = (struct served){ .m = NULL };
	fixture_begin(&s->f);
	(void)snprintf(s->path, sizeof(s->path), "%.63s/stats", s->f.dir);
	if (serve(s, &e) < 0)
		fail_msg("%s", e.text);
	return 0;
}

static int end(void **state)
{
	struct served *s = *state;

	statfs_stop(s->m);
	assert_int_equal(rmdir(s->path), 0); /* only if nothing is mounted there any more */
	stat_tree_free(s->tree);
	fixture_end(&s->f);
	return 0;
}

static char *path_of(const struct served *s, const char *below)
{
	static char path[400];

	(void)snprintf(path, sizeof(path), "%s/%s", s->path, below);
	return path;
}

/* The file's text, or NULL and errno. */
static const char *cat(const struct served *s, const char *below)
{
	static char text[65536];
	int fd = open(path_of(s, below), O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t r;

	if (fd < 0)
		return NULL;
	while ((r = read(fd, text + n, MIN(sizeof(text) - 1 - n, (size_t)100))) > 0)
		n += (size_t)r;
	(void)close(fd);
	text[n] = '\0';
	return r < 0 ? NULL : text;
}

static bool list_has(const struct served *s, const char *below, const char *name)
{
	DIR *d = opendir(path_of(s, below));
	const struct dirent *e;
	bool found = false;

	while (d && (e = readdir(d)))
		found |= strcmp(e->d_name, name) == 0;
	if (d)
		(void)closedir(d);
	return found;
}

static void files_are_read_whole(void **state)
{
	struct served *s = *state;
	const char *text;

	fixture_add(&s->f, STAT_GLOBAL, NULL, STAT_requests, 4711);
	text = cat(s, "stat");
	assert_non_null(text);
	assert_non_null(strstr(text, "requests 4711\n"));
	assert_non_null(strstr(text, "\npolicy_revision 42\n"));
	assert_string_equal(cat(s, "health"), "ok\n");
	assert_non_null(cat(s, "README"));
	assert_non_null(cat(s, "models/" FIXTURE_MODEL_FILE "/latency"));
	assert_non_null(cat(s, "projects/search/stat"));
	assert_string_equal(cat(s, "by-uid/64123/project"), "support-bot\n");
	assert_null(cat(s, "models/other/stat"));
	assert_int_equal(errno, ENOENT);
}

static void folders_list_what_is_there(void **state)
{
	struct served *s = *state;

	assert_true(list_has(s, "", "."));
	assert_true(list_has(s, "", ".."));
	assert_true(list_has(s, "", "summary"));
	assert_true(list_has(s, "models", "gpt-4o-mini"));
	assert_true(list_has(s, "models", FIXTURE_MODEL_FILE));
	assert_false(list_has(s, "models", "small"));
	assert_true(list_has(s, "providers/openai", "pool"));
	assert_false(list_has(s, "by-uid", "64123"));
	assert_true(stats_uid_slot(s->f.stats, FIXTURE_UID) > 0);
	assert_true(list_has(s, "by-uid", "64123"));
}

/* More names than one answer holds. */
static void a_long_folder_is_listed_whole(void **state)
{
	struct served *s = *state;
	DIR *d;
	unsigned n = 0;

	for (uint32_t i = 0; i < 3000; i++)
		assert_true(stats_uid_slot(s->f.stats, 100000 + i) > 0);
	d = opendir(path_of(s, "by-uid"));
	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	assert_int_equal(n, 3000 + 2);
}

static void an_open_file_shows_the_moment_of_opening(void **state)
{
	struct served *s = *state;
	char first[8] = "", text[4096] = "";
	int fd = open(path_of(s, "stat"), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, first, 4), 4);
	fixture_add(&s->f, STAT_GLOBAL, NULL, STAT_ok, 99);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "\nok 0\n"));
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "\nok 0\n"));
	(void)close(fd);
	assert_non_null(strstr(cat(s, "stat"), "\nok 99\n"));
}

static void nothing_can_be_written(void **state)
{
	struct served *s = *state;

	assert_true(open(path_of(s, "stat"), O_WRONLY | O_CLOEXEC) < 0 && errno == EROFS);
	assert_true(open(path_of(s, "stat"), O_RDWR | O_TRUNC | O_CLOEXEC) < 0 && errno == EROFS);
	assert_true(open(path_of(s, "new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 &&
		    errno == EROFS);
	assert_true(mkdir(path_of(s, "new"), 0700) < 0 && errno == EROFS);
	assert_true(unlink(path_of(s, "stat")) < 0 && errno == EROFS);
	assert_true(chmod(path_of(s, "stat"), 0666) < 0 && errno == EROFS);
}

static void one_user_opens_eight_files(void **state)
{
	struct served *s = *state;
	int fd[9];

	for (int i = 0; i < 8; i++)
		assert_true((fd[i] = open(path_of(s, "stat"), O_RDONLY | O_CLOEXEC)) >= 0);
	assert_true(open(path_of(s, "stat"), O_RDONLY | O_CLOEXEC) < 0 && errno == ENFILE);
	(void)close(fd[0]);
	/* The release comes after the close; a request behind it is served after it. */
	assert_int_equal(access(path_of(s, "README"), F_OK), 0);
	assert_true((fd[0] = open(path_of(s, "stat"), O_RDONLY | O_CLOEXEC)) >= 0);
	for (int i = 0; i < 8; i++)
		(void)close(fd[i]);
}

static bool refused(const struct served *s, const char *below)
{
	return cat(s, below) == NULL && errno == EACCES;
}

/* In a child with nobody's rights but its own. 0 or the number of what is wrong. */
static int look_as(const struct served *s, uint32_t uid)
{
	char want[32];
	const char *text;

	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return 1;
	(void)snprintf(want, sizeof(want), "%" PRIu32 "\n", uid);
	text = cat(s, "self/user");
	if (!text || strcmp(text, want) != 0)
		return 2;
	text = cat(s, "self/stat");
	if (!text || !strstr(text, "requests 5\n"))
		return 3;
	if (!cat(s, "self/project") || !list_has(s, "self/", "stat"))
		return 4;
	if (!cat(s, "stat") || !cat(s, "summary") || !cat(s, "models/gpt-4o-mini/stat") ||
		!cat(s, "providers/openai/pool"))
		return 5;
	if (!refused(s, "projects/search/stat") || !refused(s, "inflight") ||
		!refused(s, "by-uid/0/stat"))
		return 6;
	if (opendir(path_of(s, "projects")) || errno != EACCES)
		return 7;
	if (opendir(path_of(s, "by-uid")) || errno != EACCES) /* it names who calls */
		return 8;
	return 0;
}

static void another_user_sees_his_own_numbers_only(void **state)
{
	struct served *s = *state;
	int status;
	pid_t pid;

	stats_add(stats_worker(s->f.stats, 0), STAT_UID, stats_uid_slot(s->f.stats, FIXTURE_UID),
		STAT_requests, 5);
	assert_int_equal(chmod(s->f.dir, 0755), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(look_as(s, FIXTURE_UID));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_living_mount_is_not_taken_over(void **state)
{
	struct served *s = *state;
	struct served second = *s;
	struct errbuf e = { "" };

	assert_int_equal(serve(&second, &e), -EBUSY);
	assert_non_null(strstr(e.text, s->path));
	assert_non_null(cat(s, "stat"));
}

static void stopping_ends_open_files(void **state)
{
	struct served *s = *state;
	int fd = open(path_of(s, "stat"), O_RDONLY | O_CLOEXEC);
	char c;

	assert_true(fd >= 0);
	statfs_stop(s->m);
	s->m = NULL;
	assert_true(read(fd, &c, 1) < 0);
	(void)close(fd);
	assert_null(cat(s, "stat"));
	assert_int_equal(errno, ENOENT);
}

/* Serves until it is killed; says by the pipe that the mount stands. */
static _Noreturn void serve_until_killed(struct served *s, int pipe_fd)
{
	struct errbuf e = { "" };

	if (serve(s, &e) == 0 && write(pipe_fd, "x", 1) == 1) {
		for (;;)
			(void)pause();
	}
	_exit(1);
}

/* A server is killed while a file of its mount is open, and another one begins. 0 or the number of
 * what is wrong. */
static int kill_and_serve_again(struct served *s, struct errbuf *e)
{
	int ready[2], fd, status, r = 0;
	pid_t pid;
	char c;

	if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return 1;
	if (pid == 0)
		serve_until_killed(s, ready[1]);
	(void)close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		r = 2;
	(void)close(ready[0]);
	fd = open(path_of(s, "stat"), O_RDONLY | O_CLOEXEC);
	if (kill(pid, SIGKILL) < 0 || waitpid(pid, &status, 0) != pid || fd < 0)
		r = 3;
	else if (cat(s, "stat") || errno != ENOTCONN)
		r = 4;
	else if (serve(s, e) < 0)
		r = 5;
	else if (!cat(s, "stat") || read(fd, &c, 1) >= 0)
		r = 6;
	(void)close(fd);
	return r;
}

static void after_a_kill_the_next_one_mounts_again(void **state)
{
	struct served *s = *state;
	struct errbuf e = { "" };

	for (int round = 0; round < 3; round++) {
		int r;

		statfs_stop(s->m);
		s->m = NULL;
		r = kill_and_serve_again(s, &e);
		if (r)
			fail_msg("step %d: %s", r, e.text);
	}
}

static int starts_without_privileges(struct served *s, uint32_t uid)
{
	struct errbuf e = { "" };

	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return 1;
	if (serve(s, &e) < 0) {
		print_message("no mount without root here: %s\n", e.text);
		return 77;
	}
	if (!cat(s, "stat") || !cat(s, "projects/search/stat") || !cat(s, "self/user"))
		return 2;
	statfs_stop(s->m);
	if (cat(s, "stat"))
		return 3;
	if (kill_and_serve_again(s, &e) != 0)
		return 4;
	statfs_stop(s->m);
	return 0;
}

static void without_root_it_is_mounted_by_the_helper(void **state)
{
	struct served *s = *state;
	const struct passwd *nobody = getpwnam("nobody"); /* the helper wants a user with a name */
	int status;
	pid_t pid;

	if (!nobody)
		skip();
	statfs_stop(s->m);
	s->m = NULL;
	assert_int_equal(chmod(s->f.dir, 0755) | chown(s->path, nobody->pw_uid, nobody->pw_gid), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(starts_without_privileges(s, nobody->pw_uid));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_mount_that_fails_says_why(void **state)
{
	struct served s = { .f = ((struct served *)*state)->f,
		.path = "/nonexistent/folder/stats" };
	struct errbuf e = { "" };

	assert_int_equal(serve(&s, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent/folder"));
	statfs_stop(NULL);
	stat_tree_free(s.tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_are_read_whole, begin, end),
		cmocka_unit_test_setup_teardown(folders_list_what_is_there, begin, end),
		cmocka_unit_test_setup_teardown(a_long_folder_is_listed_whole, begin, end),
		cmocka_unit_test_setup_teardown(
			an_open_file_shows_the_moment_of_opening, begin, end),
		cmocka_unit_test_setup_teardown(nothing_can_be_written, begin, end),
		cmocka_unit_test_setup_teardown(one_user_opens_eight_files, begin, end),
		cmocka_unit_test_setup_teardown(another_user_sees_his_own_numbers_only, begin, end),
		cmocka_unit_test_setup_teardown(a_living_mount_is_not_taken_over, begin, end),
		cmocka_unit_test_setup_teardown(stopping_ends_open_files, begin, end),
		cmocka_unit_test_setup_teardown(after_a_kill_the_next_one_mounts_again, begin, end),
		cmocka_unit_test_setup_teardown(
			without_root_it_is_mounted_by_the_helper, begin, end),
		cmocka_unit_test_setup_teardown(a_mount_that_fails_says_why, begin, end),
	};
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (geteuid() != 0 || fd < 0) {
		(void)printf("skipped: the stats mount needs root and /dev/fuse (%s)\n",
			geteuid() ? "not root" : strerror(errno));
		return 77;
	}
	(void)close(fd);
	return cmocka_run_group_tests_name("statfs/mount", tests, NULL, NULL);
}
