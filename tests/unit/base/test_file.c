/* Files that are whole or not there, and secrets read from files. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/atomic_file.h>
#include <aigw/secret.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[256];

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/aigw-test-file.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/file", folder);
	return 0;
}

/* Only `file` may ever have been left behind. */
static int remove_folder(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

static void write_file(const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static unsigned count_files(void)
{
	DIR *d = opendir(folder);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n - 2;
}

static void test_write_and_read(void **state)
{
	struct errbuf e = { "" };
	struct stat st;
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(atomic_file_write(path, 0640, SLICE("first, longer"), &e), 0);
	assert_int_equal(atomic_file_write(path, 0600, SLICE("sec\0ond"), &e), 0);
	assert_int_equal(file_read(path, &b, &e), 0);
	assert_true(slice_eq(buf_view(&b), SLICE("sec\0ond")));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(count_files(), 1);
	assert_int_equal(atomic_file_write(path, 0644, SLICE_EMPTY, &e), 0);
	buf_reset(&b);
	assert_int_equal(file_read(path, &b, &e), 0);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
	(void)unlink(path);
}

static void test_relative_path(void **state)
{
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(atomic_file_write("file", 0600, SLICE("x"), NULL), 0);
	assert_int_equal(fchdir(here), 0);
	(void)close(here);
	assert_int_equal(access(path, F_OK), 0);
	(void)unlink(path);
}

static void test_write_fails(void **state)
{
	struct errbuf e = { "" };
	char missing[300], longest[5000];

	(void)state;
	(void)snprintf(missing, sizeof(missing), "%s/none/file", folder);
	assert_int_equal(atomic_file_write(missing, 0600, SLICE("x"), &e), -ENOENT);
	assert_non_null(strstr(e.text, missing));
	/* The rename fails: what was there stays, and no temporary file is left. */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(atomic_file_write(path, 0600, SLICE("x"), &e), -EISDIR);
	assert_int_equal(count_files(), 1);
	assert_int_equal(rmdir(path), 0);
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(atomic_file_write(longest, 0600, SLICE("x"), &e), -ENAMETOOLONG);
}

static void test_read_limits(void **state)
{
	static char text[200000];
	struct errbuf e = { "" };
	struct buf b;

	(void)state;
	memset(text, 'x', sizeof(text));
	write_file(text, sizeof(text));
	for (size_t max = sizeof(text) - 1; max <= sizeof(text) + 1; max++) {
		buf_init(&b, max);
		assert_int_equal(file_read(path, &b, &e), max < sizeof(text) ? -EFBIG : 0);
		assert_int_equal(b.n, MIN(max, sizeof(text)));
		buf_fini(&b);
	}
	assert_non_null(strstr(e.text, path));
	(void)unlink(path);
	buf_init(&b, 100);
	assert_int_equal(file_read(path, &b, &e), -ENOENT);
	assert_non_null(strstr(e.text, path));
	assert_int_equal(file_read(folder, &b, &e), -EISDIR);
	buf_fini(&b);
	/* A file that says nothing of its size. */
	buf_init(&b, 1 << 20);
	assert_int_equal(file_read("/proc/self/maps", &b, &e), 0);
	assert_true(b.n > 0);
	buf_fini(&b);
}

static void test_secret_file(void **state)
{
	static const struct {
		struct slice content;
		int result;
		const char *secret;
	} cases[] = {
		{ { "sk-abc", 6 }, 0, "sk-abc" },
		{ { "sk-abc\n", 7 }, 0, "sk-abc" },
		{ { "sk-abc\r\n", 8 }, 0, "sk-abc" },
		{ { " with spaces \n", 14 }, 0, " with spaces " },
		{ { "", 0 }, -EINVAL, "" },
		{ { "\n", 1 }, -EINVAL, "" },
		{ { "SECRET\n\n", 8 }, -EINVAL, "" },
		{ { "SECRET\nb", 8 }, -EINVAL, "" },
		{ { "SEC\0RET", 7 }, -EINVAL, "" },
		{ { "SEC\tRET", 7 }, -EINVAL, "" },
		{ { "SEC\177RET", 7 }, -EINVAL, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };
		struct secret s = { NULL, 0 };

		write_file(cases[i].content.p, cases[i].content.n);
		assert_int_equal(secret_read_file(&s, path, &e), cases[i].result);
		assert_true(slice_eq(secret_expose(&s), slice_str(cases[i].secret)));
		if (cases[i].result) {
			assert_non_null(strstr(e.text, path));
			assert_null(strstr(e.text, "SEC"));
		}
		secret_fini(&s);
	}
	(void)unlink(path);
	assert_int_equal(secret_read_file(&(struct secret){ NULL, 0 }, path, NULL), -ENOENT);
	assert_int_equal(secret_read_file(&(struct secret){ NULL, 0 }, folder, NULL), -EISDIR);
}

static void test_size_of_a_secret(void **state)
{
	static char text[8200];
	struct secret s = { NULL, 0 };

	(void)state;
	memset(text, 'k', sizeof(text));
	text[8192] = '\n';
	write_file(text, 8193);
	assert_int_equal(secret_read_file(&s, path, NULL), 0);
	assert_int_equal(s.n, 8192);
	text[8192] = 'k';
	for (size_t n = 8193; n <= 8200; n++) {
		write_file(text, n);
		assert_int_equal(secret_read_file(&s, path, NULL), -EFBIG);
	}
	assert_int_equal(s.n, 8192); /* a failure leaves what was there */
	secret_fini(&s);
	(void)unlink(path);
}

static void test_secret_from_standard_input(void **state)
{
	struct secret s = { NULL, 0 };
	int saved = dup(STDIN_FILENO), ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "from-a-pipe\n", 12), 12);
	(void)close(ends[1]);
	assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
	(void)close(ends[0]);
	assert_int_equal(secret_read_file(&s, "-", NULL), 0);
	assert_true(slice_eq(secret_expose(&s), SLICE("from-a-pipe")));
	secret_fini(&s);
	if (saved >= 0) {
		(void)dup2(saved, STDIN_FILENO);
		(void)close(saved);
	}
}

static void test_secret(void **state)
{
	struct secret a = { NULL, 0 }, b = { NULL, 0 };

	(void)state;
	assert_int_equal(secret_set(&a, SLICE("one")), 0);
	assert_int_equal(secret_set(&a, secret_expose(&a)), 0); /* from itself */
	assert_true(slice_eq(secret_expose(&a), SLICE("one")));
	assert_int_equal(secret_set(&b, SLICE("two")), 0);
	secret_move(&b, &a);
	assert_null(a.p);
	assert_true(slice_eq(secret_expose(&b), SLICE("one")));
	secret_move(&b, &b);
	assert_true(slice_eq(secret_expose(&b), SLICE("one")));
	assert_int_equal(secret_set(&b, SLICE_EMPTY), 0);
	assert_null(b.p);
	secret_fini(&b);
	secret_fini(&b);
	assert_true(secret_eq(SLICE("abc"), SLICE("abc")));
	assert_true(secret_eq(SLICE_EMPTY, SLICE_EMPTY));
	assert_false(secret_eq(SLICE("abc"), SLICE("abd")));
	assert_false(secret_eq(SLICE("abc"), SLICE("bbc")));
	assert_false(secret_eq(SLICE("abc"), SLICE("ab")));
}

static void test_secret_is_not_dumped(void **state)
{
	char address[32], line[512];
	struct secret s = { NULL, 0 };
	bool here = false, excluded = false;
	FILE *f;

	(void)state;
	assert_int_equal(secret_set(&s, SLICE("one")), 0);
	(void)snprintf(address, sizeof(address), "%lx-", (unsigned long)(uintptr_t)s.p);
	f = fopen("/proc/self/smaps", "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, address) == line)
			here = true;
		if (here && strstr(line, "VmFlags:") == line) {
			excluded = strstr(line, " dd") != NULL;
			break;
		}
	}
	(void)fclose(f);
	assert_true(here && excluded);
	secret_fini(&s);
}

static void test_wipe(void **state)
{
	char text[] = "secret";

	(void)state;
	secret_wipe(text, 5);
	assert_memory_equal(text, "\0\0\0\0\0t", 7);
	secret_wipe(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_and_read),
		cmocka_unit_test(test_relative_path),
		cmocka_unit_test(test_write_fails),
		cmocka_unit_test(test_read_limits),
		cmocka_unit_test(test_secret_file),
		cmocka_unit_test(test_size_of_a_secret),
		cmocka_unit_test(test_secret_from_standard_input),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_secret_is_not_dumped),
		cmocka_unit_test(test_wipe),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
