/* Where the stats are mounted: what counts as our own mount in the kernel's list, and which paths
 * will do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "statfs/mount_point.h"

#include <sys/stat.h>
#include <unistd.h>

static void lines_of_mountinfo(void **state)
{
	static const struct {
		const char *line, *path;
		bool want;
	} cases[] = {
		{ "60 27 0:51 / /run/aigw/stats ro,nosuid shared:9 - fuse.aigw aigw ro,user_id=0\n",
			"/run/aigw/stats", true },
		{ "60 27 0:51 / /run/aigw/stats ro - fuse.aigw aigw ro\n", "/run/aigw/stats",
			true },
		{ "60 27 0:51 / /run/aigw/stats ro shared:9 master:1 - fuse.aigw aigw ro\n",
			"/run/aigw/stats", true },
		{ "60 27 0:51 / /run/a\\040b\\134c ro - fuse.aigw aigw ro\n", "/run/a b\\c", true },
		{ "60 27 0:51 / /run/aigw/stats ro - fuse.aigw aigw ro\n", "/run/aigw/stat",
			false },
		{ "60 27 0:51 / /run/aigw/stats ro - fuse.aigw aigw ro\n", "/run/aigw/stats/",
			false },
		{ "60 27 0:51 / /run/aigw/stats ro - fuse.sshfs aigw ro\n", "/run/aigw/stats",
			false },
		{ "60 27 0:51 / /run/aigw/stats ro - fuse.aigw2 aigw ro\n", "/run/aigw/stats",
			false },
		{ "60 27 0:51 / /run/aigw/stats ro - tmpfs fuse.aigw ro\n", "/run/aigw/stats",
			false },
		{ "60 27 0:51 /run/aigw/stats / ro - fuse.aigw aigw ro\n", "/run/aigw/stats",
			false },
		{ "60 27 0:51 / /run/aigw/stats ro fuse.aigw\n", "/run/aigw/stats", false },
		{ "60 27 0:51 / /run/x\\0", "/run/x", false },
		{ "\n", "/", false },
		{ "", "/", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (mount_line_is_ours(cases[i].line, cases[i].path) != cases[i].want)
			fail_msg("%s", cases[i].line);
	}
}

static void paths_that_will_not_do(void **state)
{
	static const struct {
		const char *path;
		int want;
	} cases[] = {
		{ "", -EINVAL },
		{ "stats", -EINVAL },
		{ "/", -EINVAL },
		{ "/tmp/", -EINVAL },
		{ "/nonexistent/folder/stats", -ENOENT },
		{ "/dev/null/stats", -ENOTDIR },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };

		assert_int_equal(mount_point_prepare(cases[i].path, &e), cases[i].want);
		assert_true(e.text[0]);
	}
}

static void a_missing_folder_is_made(void **state)
{
	char dir[] = "/tmp/aigw-mount.XXXXXX", path[64];
	struct errbuf e = { "" };
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/stats", dir);
	assert_int_equal(mount_point_prepare(path, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(mount_point_prepare(path, &e), 0);
	assert_int_equal(rmdir(path) | rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_mountinfo),
		cmocka_unit_test(paths_that_will_not_do),
		cmocka_unit_test(a_missing_folder_is_made),
	};

	return cmocka_run_group_tests_name("statfs/mount_point", tests, NULL, NULL);
}
