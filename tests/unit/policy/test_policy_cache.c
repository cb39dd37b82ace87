/* The last good policy on the disk: whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/buf.h>
#include <aigw/policy_doc.h>
#include "policy/keyset.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/aigw-policy-cache.XXXXXX";
static char path[64];

static int begin(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/policy.cache", dir);
	return 0;
}

static int end(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

static int read_back(struct buf *packed, uint64_t *revision, usec *applied, struct errbuf *e)
{
	buf_init(packed, 1 << 20);
	*e = (struct errbuf){ "" };
	return policy_cache_read(dir, revision, applied, packed, e);
}

static void none_yet(void **state)
{
	struct errbuf e;
	struct buf packed;
	uint64_t revision;
	usec applied;

	(void)state;
	assert_int_equal(read_back(&packed, &revision, &applied, &e), -ENOENT);
	buf_fini(&packed);
}

static void what_is_written_is_read(void **state)
{
	static const struct {
		uint64_t revision;
		usec applied;
		size_t n;
	} cases[] = { { 1, 0, 0 }, { 42, 1790064732000000, 1 }, { UINT64_MAX, INT64_MAX, 100000 } };
	static char document[100000];

	(void)state;
	memset(document, 0x81, sizeof(document));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice want = slice_of(document, cases[i].n);
		struct errbuf e = { "" };
		struct buf packed;
		uint64_t revision;
		usec applied;
		struct stat st;

		assert_int_equal(
			policy_cache_write(dir, cases[i].revision, cases[i].applied, want, &e), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(read_back(&packed, &revision, &applied, &e), 0);
		assert_true(revision == cases[i].revision);
		assert_int_equal(applied, cases[i].applied);
		assert_true(slice_eq(buf_view(&packed), want));
		buf_fini(&packed);
	}
}

static void damage_is_seen(void **state)
{
	struct errbuf e = { "" };
	struct buf packed;
	char file[256];
	uint64_t revision;
	usec applied;
	ssize_t n;
	int fd;

	(void)state;
	assert_int_equal(policy_cache_write(dir, 42, 1, SLICE("a packed document"), &e), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	n = pread(fd, file, sizeof(file), 0);
	assert_true(n > 0 && (size_t)n < sizeof(file));
	for (ssize_t i = 0; i < n; i++) {
		char turned = (char)(file[i] ^ 1);
		int r;

		assert_int_equal(pwrite(fd, &turned, 1, i), 1);
		r = read_back(&packed, &revision, &applied, &e);
		assert_true(r == -EBADMSG || r == -ENOTSUP);
		assert_non_null(strstr(e.text, "policy.cache"));
		assert_int_equal(packed.n, 0);
		buf_fini(&packed);
		assert_int_equal(pwrite(fd, file + i, 1, i), 1);
	}
	for (ssize_t i = n; i-- > 0;) {
		assert_int_equal(ftruncate(fd, i), 0);
		assert_int_equal(read_back(&packed, &revision, &applied, &e), -EBADMSG);
		buf_fini(&packed);
	}
	(void)close(fd);
}

static void a_newer_format_is_named(void **state)
{
	struct errbuf e = { "" };
	struct buf packed;
	uint64_t revision;
	usec applied;
	int fd;

	(void)state;
	assert_int_equal(policy_cache_write(dir, 42, 1, SLICE("a packed document"), &e), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\2", 1, 11), 1);
	(void)close(fd);
	assert_int_equal(read_back(&packed, &revision, &applied, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "format 2"));
	buf_fini(&packed);
}

static void a_document_over_the_limit_is_refused(void **state)
{
	struct errbuf e = { "" };
	struct buf packed;
	uint64_t revision;
	usec applied;

	(void)state;
	assert_int_equal(policy_cache_write(dir, 42, 1, SLICE("a packed document"), &e), 0);
	buf_init(&packed, 8);
	assert_int_equal(policy_cache_read(dir, &revision, &applied, &packed, &e), -ENOBUFS);
	buf_fini(&packed);
}

static void a_missing_folder_is_an_error(void **state)
{
	struct errbuf e = { "" };

	(void)state;
	assert_int_equal(policy_cache_write("/nonexistent/folder", 1, 1, SLICE("x"), &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent/folder"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_yet),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(damage_is_seen),
		cmocka_unit_test(a_newer_format_is_named),
		cmocka_unit_test(a_document_over_the_limit_is_refused),
		cmocka_unit_test(a_missing_folder_is_an_error),
	};

	return cmocka_run_group_tests_name("policy/policy_cache", tests, begin, end);
}
