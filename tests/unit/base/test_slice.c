/* Slices compared and searched, against what the C library says of the same bytes. Every slice is
 * memory of exactly its length, so that a sanitizer sees a byte read too far. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/slice.h>
#include <strings.h>

static char *copy_of(const char *p, size_t n)
{
	char *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, p, n);
	return copy;
}

/* Two bytes at one place in words that are alike elsewhere. */
static void assert_case_of(char x, char y, size_t n, size_t at)
{
	static const char other[] = "a-Header-Name-Of-Length-25";
	char *a = copy_of(other, n), *b = copy_of(other, n);

	for (size_t i = 0; i < n; i++)
		b[i] = (char)(b[i] >= 'a' && b[i] <= 'z' ? b[i] - 0x20 : b[i]);
	a[at] = x;
	b[at] = y;
	assert_int_equal(slice_eq_nocase(slice_of(a, n), slice_of(b, n)),
		x == y || (!((x | y) & 0x80) && strncasecmp(&x, &y, 1) == 0));
	free(a);
	free(b);
}

static void test_eq_nocase(void **state)
{
	static const size_t lengths[] = { 1, 3, 4, 7, 8, 9, 15, 16, 17, 26 };

	(void)state;
	for (unsigned x = 0; x < 256; x++) {
		for (unsigned y = 0; y < 256; y++)
			assert_case_of((char)x, (char)y, 9, 4);
	}
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		for (size_t at = 0; at < lengths[i]; at++) {
			assert_case_of('k', 'K', lengths[i], at);
			assert_case_of('k', '+', lengths[i], at);
			assert_case_of('-', '\r', lengths[i], at);
			assert_case_of('@', '`', lengths[i], at);
			assert_case_of('[', '{', lengths[i], at);
		}
	}
	assert_true(slice_eq_nocase(SLICE_EMPTY, SLICE_EMPTY));
	assert_false(slice_eq_nocase(SLICE("host"), SLICE("hosts")));
}

static void test_find(void **state)
{
	char text[300];

	(void)state;
	/* Few different bytes make many near misses. */
	srand(1);
	for (unsigned round = 0; round < 20000; round++) {
		size_t n = (size_t)rand() % sizeof(text), m = 1 + (size_t)rand() % 7;
		const char *expected;
		char needle[8];
		char *s;

		for (size_t i = 0; i < n; i++)
			text[i] = (char)('a' + (rand() % 16 == 0));
		for (size_t i = 0; i < m; i++)
			needle[i] = (char)('a' + rand() % 2);
		s = copy_of(text, n);
		expected = memmem(s, n, needle, m);
		assert_ptr_equal(slice_find(slice_of(s, n), slice_of(needle, m)), expected);
		free(s);
	}
	assert_null(slice_find(SLICE_EMPTY, SLICE("x")));
}

static void test_copy(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 40; n++) {
		char *from = malloc(n + 1), *to = malloc(n + 1); /* +1: malloc(0) may give NULL */

		for (size_t i = 0; i < n; i++)
			from[i] = (char)('A' + i);
		to[n] = '!';
		bytes_copy(to, from, n);
		assert_memory_equal(to, from, n);
		assert_int_equal(to[n], '!');
		free(from);
		free(to);
	}
	bytes_copy(NULL, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eq_nocase),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
