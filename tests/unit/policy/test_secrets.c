/* Provider credentials: which of three places counts, what is left out with which warning, and the
 * cache of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/secrets.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char dir[64];
	char credentials[96], secrets[96], state[96];
	struct buf report;
};

static void write_file(const char *dir, const char *name, const char *text, mode_t mode)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
}

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memcpy(f->dir, "/tmp/aigw-secrets.XXXXXX", 25);
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->credentials, sizeof(f->credentials), "%s/credentials", f->dir);
	(void)snprintf(f->secrets, sizeof(f->secrets), "%s/secrets.d", f->dir);
	(void)snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
	assert_int_equal(
		mkdir(f->credentials, 0700) | mkdir(f->secrets, 0700) | mkdir(f->state, 0700), 0);
	buf_init(&f->report, 65536);
	*state = f;
	return 0;
}

static int delete_one(const char *path, const struct stat *st, int flag, struct FTW *where)
{
	(void)st;
	(void)flag;
	(void)where;
	return remove(path);
}

static int end(void **state)
{
	struct fixture *f = *state;

	(void)nftw(f->dir, delete_one, 16, FTW_DEPTH | FTW_PHYS);
	buf_fini(&f->report);
	free(f);
	return 0;
}

static struct secret_set *load(struct fixture *f)
{
	struct secret_set *s = NULL;

	buf_reset(&f->report);
	assert_int_equal(secret_set_load(f->credentials, f->secrets, f->state, &s, &f->report), 0);
	return s;
}

static void check(const struct secret_set *s, const char *name, const char *want,
	enum secret_source source, uint64_t version)
{
	enum secret_source got_source;
	uint64_t got_version;
	struct slice got = secret_set_get(s, slice_str(name), &got_source, &got_version);

	if (!slice_eq(got, slice_str(want)))
		fail_msg("%s: \"" SLICE_FMT "\" instead of \"%s\"", name, SLICE_ARG(got),
			want ? want : "");
	assert_int_equal(got_source, source);
	assert_int_equal(got_version, version);
}

static void put(struct fixture *f, const char *name, uint64_t version, const char *bytes)
{
	struct errbuf e = { "" };

	if (secret_cache_put(f->state, slice_str(name), version, slice_str(bytes), &e) < 0)
		fail_msg("%s", e.text);
}

static void places_are_searched_in_order(void **state)
{
	struct fixture *f = *state;
	struct secret_set *s;

	write_file(f->credentials, "provider_one", "1-systemd-provider\n", 0400);
	write_file(f->credentials, "one", "1-systemd", 0400);
	write_file(f->credentials, "two", "2-systemd", 0400);
	write_file(f->secrets, "one", "1-dir", 0600);
	write_file(f->secrets, "two", "2-dir", 0600);
	write_file(f->secrets, "three", "3-dir\r\n", 0600);
	put(f, "one", 9, "1-cache");
	put(f, "three", 9, "3-cache");
	put(f, "four", 11, "4-cache");
	s = load(f);
	check(s, "one", "1-systemd-provider", SECRET_CREDENTIALS_DIRECTORY, 0);
	check(s, "two", "2-systemd", SECRET_CREDENTIALS_DIRECTORY, 0);
	check(s, "three", "3-dir", SECRET_SECRETS_DIR, 0);
	check(s, "four", "4-cache", SECRET_CACHE, 11);
	check(s, "five", NULL, SECRET_NONE, 0);
	check(s, "", NULL, SECRET_NONE, 0);
	check(s, "provider_one", NULL, SECRET_NONE, 0);
	assert_int_equal(f->report.n, 0);
	secret_set_unref(s);
}

static void names_come_sorted(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = { "a", "a-b", "ab", "b", "z.9" };
	struct secret_set *s;

	for (size_t i = ARRAY_LEN(names); i-- > 0;)
		put(f, names[i], i + 1, "x");
	s = load(f);
	assert_int_equal(secret_set_count(s), ARRAY_LEN(names));
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		enum secret_source source;
		uint64_t version;

		assert_true(
			slice_eq(secret_set_name(s, i, &source, &version), slice_str(names[i])));
		assert_int_equal(source, SECRET_CACHE);
		assert_int_equal(version, i + 1);
		check(s, names[i], "x", SECRET_CACHE, i + 1);
	}
	secret_set_unref(s);
}

static void a_set_stays_as_it_was_loaded(void **state)
{
	struct fixture *f = *state;
	struct secret_set *old, *new_;

	put(f, "p", 1, "first");
	old = load(f);
	put(f, "p", 2, "second");
	new_ = load(f);
	assert_ptr_equal(secret_set_ref(old), old);
	secret_set_unref(old);
	check(old, "p", "first", SECRET_CACHE, 1);
	check(new_, "p", "second", SECRET_CACHE, 2);
	secret_set_unref(old);
	secret_set_unref(new_);
}

static void what_is_wrong_is_told_and_left_out(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *name, *text;
		mode_t mode;
		bool is_there;
		const char *warning; /* NULL: none */
	} cases[] = {
		{ "empty", "", 0600, false, "empty" },
		{ "newline", "\n", 0600, false, "empty" },
		{ "two-lines", "c4\nn4\n", 0600, false, "control" },
		{ "open", "c4n4ry", 0644, true, "0600" },
		{ "group", "c4n4ry", 0640, true, NULL },
		{ "bad name", "c4n4ry", 0600, false, NULL },
		{ ".hidden", "c4n4ry", 0600, false, NULL },
		{ "good", "c4n4ry", 0600, true, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char path[256];
		struct secret_set *s;

		write_file(f->secrets, cases[i].name, cases[i].text, cases[i].mode);
		s = load(f);
		assert_int_equal(secret_set_count(s), cases[i].is_there);
		if (!cases[i].warning != !f->report.n ||
			(cases[i].warning && !strstr(buf_cstr(&f->report), cases[i].warning)))
			fail_msg("%s: %s", cases[i].name, buf_cstr(&f->report));
		if (strlen(cases[i].text) > 1)
			assert_null(strstr(buf_cstr(&f->report), cases[i].text));
		secret_set_unref(s);
		(void)snprintf(path, sizeof(path), "%s/%s", f->secrets, cases[i].name);
		assert_int_equal(unlink(path), 0);
	}
}

static void folders_and_missing_places_are_passed_over(void **state)
{
	struct fixture *f = *state;
	static const char *const none[] = { NULL, "", "off", "/nonexistent/folder" };
	char path[256];
	struct secret_set *s;

	(void)snprintf(path, sizeof(path), "%s/folder", f->secrets);
	assert_int_equal(mkdir(path, 0700), 0);
	s = load(f);
	assert_int_equal(secret_set_count(s), 0);
	secret_set_unref(s);
	put(f, "p", 1, "x");
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		assert_int_equal(secret_set_load(none[i], none[i], f->state, &s, &f->report), 0);
		assert_int_equal(secret_set_count(s), 1);
		secret_set_unref(s);
	}
	assert_int_equal(f->report.n, 0);
}

static void the_cache_is_private(void **state)
{
	struct fixture *f = *state;
	char path[256];
	struct stat st;

	put(f, "p", 1, "x");
	(void)snprintf(path, sizeof(path), "%s/secrets", f->state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	(void)snprintf(path, sizeof(path), "%s/secrets/p", f->state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_cache_takes_valid_names_and_sizes_only(void **state)
{
	struct fixture *f = *state;
	static const struct {
		struct slice name;
		size_t bytes;
		int want;
	} cases[] = {
		{ { "a", 1 }, 1, 0 },
		{ { "a", 1 }, 8192, 0 },
		{ { "AZaz09._-", 9 }, 1, 0 },
		{ { "0123456789012345678901234567890123456789012345678901234567890123", 64 }, 1,
			0 },
		{ { "01234567890123456789012345678901234567890123456789012345678901234", 65 }, 1,
			-EINVAL },
		{ { "", 0 }, 1, -EINVAL },
		{ { ".", 1 }, 1, -EINVAL },
		{ { "..", 2 }, 1, -EINVAL },
		{ { "../x", 4 }, 1, -EINVAL },
		{ { "a/b", 3 }, 1, -EINVAL },
		{ { "a\0b", 3 }, 1, -EINVAL },
		{ { "\xc3\xa4", 2 }, 1, -EINVAL },
		{ { "a", 1 }, 0, -EINVAL },
		{ { "a", 1 }, 8193, -EINVAL },
	};
	static char bytes[8193];

	memset(bytes, 's', sizeof(bytes));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };
		struct secret_set *s;

		assert_int_equal(secret_cache_put(f->state, cases[i].name, i,
					 slice_of(bytes, cases[i].bytes), &e),
			cases[i].want);
		assert_null(strstr(e.text, "sss"));
		if (cases[i].want < 0)
			continue;
		s = load(f);
		assert_int_equal(secret_set_get(s, cases[i].name, NULL, NULL).n, cases[i].bytes);
		secret_set_unref(s);
	}
}

/* It becomes part of a head. */
static void a_secret_of_two_lines_is_not_kept(void **state)
{
	static const char *const wrong[] = { "a\r\nx-more: 1", "a\nb", "a\n", "a\tb", "a\x7f" };
	struct fixture *f = *state;
	struct errbuf e = { "" };
	struct secret_set *s;

	put(f, "one", 1, "good one");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(
			secret_cache_put(f->state, SLICE("one"), 2, slice_str(wrong[i]), &e),
			-EINVAL);
	assert_int_equal(
		secret_cache_put(f->state, SLICE("one"), 2, slice_of("a\0b", 3), &e), -EINVAL);
	s = load(f);
	assert_true(slice_eq(secret_set_get(s, SLICE("one"), NULL, NULL), SLICE("good one")));
	secret_set_unref(s);
}

/* Each byte turned, each length cut: never a wrong secret. */
static void a_damaged_cache_file_is_left_out(void **state)
{
	struct fixture *f = *state;
	char path[256], file[256], was;
	struct secret_set *s;
	ssize_t n;
	int fd;

	put(f, "p", 7, "the secret");
	(void)snprintf(path, sizeof(path), "%s/secrets/p", f->state);
	fd = open(path, O_RDWR | O_CLOEXEC);
	n = pread(fd, file, sizeof(file), 0);
	assert_true(n > 0 && (size_t)n < sizeof(file));
	for (ssize_t i = 0; i < n; i++) {
		was = (char)(file[i] ^ 1);
		assert_int_equal(pwrite(fd, &was, 1, i), 1);
		s = load(f);
		assert_int_equal(secret_set_count(s), 0);
		assert_true(f->report.n > 0);
		secret_set_unref(s);
		assert_int_equal(pwrite(fd, file + i, 1, i), 1);
	}
	for (ssize_t i = n; i-- > 0;) {
		assert_int_equal(ftruncate(fd, i), 0);
		s = load(f);
		assert_int_equal(secret_set_count(s), 0);
		secret_set_unref(s);
	}
	(void)close(fd);
}

static void a_cache_file_counts_under_its_own_name_only(void **state)
{
	struct fixture *f = *state;
	char from[256], to[256];
	struct secret_set *s;

	put(f, "p", 7, "the secret");
	(void)snprintf(from, sizeof(from), "%s/secrets/p", f->state);
	(void)snprintf(to, sizeof(to), "%s/secrets/q", f->state);
	assert_int_equal(rename(from, to), 0);
	s = load(f);
	assert_int_equal(secret_set_count(s), 0);
	assert_non_null(strstr(buf_cstr(&f->report), "another name"));
	secret_set_unref(s);
}

static void sources_have_names(void **state)
{
	(void)state;
	assert_string_equal(secret_source_name(SECRET_NONE), "none");
	assert_string_equal(
		secret_source_name(SECRET_CREDENTIALS_DIRECTORY), "credentials_directory");
	assert_string_equal(secret_source_name(SECRET_SECRETS_DIR), "secrets_dir");
	assert_string_equal(secret_source_name(SECRET_CACHE), "cache");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(places_are_searched_in_order, begin, end),
		cmocka_unit_test_setup_teardown(names_come_sorted, begin, end),
		cmocka_unit_test_setup_teardown(a_secret_of_two_lines_is_not_kept, begin, end),
		cmocka_unit_test_setup_teardown(a_set_stays_as_it_was_loaded, begin, end),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_told_and_left_out, begin, end),
		cmocka_unit_test_setup_teardown(
			folders_and_missing_places_are_passed_over, begin, end),
		cmocka_unit_test_setup_teardown(the_cache_is_private, begin, end),
		cmocka_unit_test_setup_teardown(
			the_cache_takes_valid_names_and_sizes_only, begin, end),
		cmocka_unit_test_setup_teardown(a_damaged_cache_file_is_left_out, begin, end),
		cmocka_unit_test_setup_teardown(
			a_cache_file_counts_under_its_own_name_only, begin, end),
		cmocka_unit_test(sources_have_names),
	};

	return cmocka_run_group_tests_name("policy/secrets", tests, NULL, NULL);
}
