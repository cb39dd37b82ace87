/* Growable bytes: the maximum, the sticky error, and what a failed append leaves. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/buf.h>

/* AddressSanitizer would end the program where malloc would refuse. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void assert_text(struct buf *b, const char *expected)
{
	assert_int_equal(b->n, strlen(expected));
	assert_memory_equal(b->p, expected, b->n);
}

static void test_append(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_null(b.p);
	assert_int_equal(buf_str(&b, "ab"), 0);
	assert_int_equal(buf_char(&b, 'c'), 0);
	assert_int_equal(buf_slice(&b, SLICE("de")), 0);
	assert_int_equal(buf_slice(&b, SLICE_EMPTY), 0);
	assert_int_equal(buf_append(&b, "f\0g", 3), 0);
	assert_int_equal(b.n, 8);
	assert_memory_equal(b.p, "abcdef\0g", 8);
	buf_fini(&b);
	assert_null(b.p);
	assert_int_equal(buf_str(&b, "again"), 0);
	assert_text(&b, "again");
	buf_fini(&b);
}

static void test_numbers(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	(void)buf_u64(&b, 0);
	(void)buf_char(&b, ' ');
	(void)buf_u64(&b, UINT64_MAX);
	(void)buf_char(&b, ' ');
	(void)buf_i64(&b, INT64_MIN);
	(void)buf_char(&b, ' ');
	(void)buf_i64(&b, INT64_MAX);
	(void)buf_char(&b, ' ');
	(void)buf_i64(&b, 0);
	assert_int_equal(b.err, 0);
	assert_text(&b, "0 18446744073709551615 -9223372036854775808 9223372036854775807 0");
	buf_fini(&b);
}

static void test_maximum(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4);
	assert_int_equal(buf_str(&b, "abcd"), 0);
	assert_string_equal(buf_cstr(&b), "abcd"); /* the NUL needs no room of the content's */
	assert_int_equal(buf_char(&b, 'e'), -ENOBUFS);
	assert_int_equal(b.n, 4);
	assert_int_equal(b.err, -ENOBUFS);
	/* Sticky, also for what would fit, and nothing half-written is handed out as text. */
	buf_drop(&b, 2);
	assert_int_equal(buf_char(&b, 'x'), -ENOBUFS);
	assert_text(&b, "cd");
	assert_string_equal(buf_cstr(&b), "");
	buf_reset(&b);
	assert_int_equal(buf_str(&b, "xy"), 0);
	assert_text(&b, "xy");
	buf_fini(&b);

	buf_init(&b, 0);
	assert_int_equal(buf_append(&b, "", 0), 0);
	assert_int_equal(buf_char(&b, 'a'), -ENOBUFS);
	buf_fini(&b);
}

static void test_overflow(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, SIZE_MAX);
	assert_int_equal(buf_str(&b, "abc"), 0);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOBUFS);
	buf_reset(&b);
	assert_int_equal(buf_reserve(&b, SIZE_MAX / 2), -ENOMEM);
	assert_int_equal(b.err, -ENOMEM);
	buf_fini(&b);
}

static void test_reserve(void **state)
{
	struct buf b;
	const char *p;

	(void)state;
	buf_init(&b, 100000);
	assert_int_equal(buf_reserve(&b, 50000), 0);
	p = b.p;
	for (unsigned i = 0; i < 50000; i++)
		assert_int_equal(buf_char(&b, 'x'), 0);
	assert_ptr_equal(b.p, p);
	for (unsigned i = 0; i < 50000; i++)
		assert_int_equal(buf_char(&b, 'x'), 0);
	assert_int_equal(b.n, 100000);
	assert_true(b.cap <= 100001);
	buf_fini(&b);
}

static void test_printf(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 300);
	assert_int_equal(buf_printf(&b, "%d-%s", 7, "x"), 0);
	assert_text(&b, "7-x");
	assert_int_equal(buf_printf(&b, "%s", ""), 0);
	assert_text(&b, "7-x");
	/* Exactly to the maximum, past the first allocation; then one byte too many. */
	assert_int_equal(buf_printf(&b, "%297d", 1), 0);
	assert_int_equal(b.n, 300);
	assert_int_equal(b.p[299], '1');
	assert_int_equal(buf_printf(&b, "%s", "y"), -ENOBUFS);
	assert_int_equal(b.n, 300);
	buf_fini(&b);
	buf_init(&b, 3);
	assert_int_equal(buf_printf(&b, "%s", "abcd"), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

static void test_drop(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	buf_drop(&b, 0);
	(void)buf_str(&b, "abcdef");
	buf_drop(&b, 2);
	assert_text(&b, "cdef");
	buf_drop(&b, 4);
	assert_int_equal(b.n, 0);
	assert_string_equal(buf_cstr(&b), "");
	buf_fini(&b);
}

static void test_slices(void **state)
{
	struct slice s = SLICE(" \ta b\t "), part;

	(void)state;
	assert_true(slice_eq(slice_trim(s), SLICE("a b")));
	assert_int_equal(slice_trim(SLICE(" \t")).n, 0);
	assert_int_equal(slice_trim(SLICE_EMPTY).n, 0);
	assert_true(slice_eq(slice_skip(SLICE("abc"), 1), SLICE("bc")));
	assert_int_equal(slice_skip(SLICE("abc"), 9).n, 0);
	assert_null(slice_skip(SLICE_EMPTY, 1).p);
	s = SLICE("a, b,,c");
	assert_true(slice_take_part(&s, &part) && slice_eq(part, SLICE("a")));
	assert_true(slice_take_part(&s, &part) && slice_eq(part, SLICE(" b")));
	assert_true(slice_take_part(&s, &part) && part.n == 0);
	assert_true(slice_take_part(&s, &part) && slice_eq(part, SLICE("c")));
	assert_false(slice_take_part(&s, &part));
	s = SLICE_EMPTY;
	assert_false(slice_take_part(&s, &part));
	assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
	assert_true(slice_starts(SLICE("abc"), SLICE_EMPTY));
	assert_false(slice_starts(SLICE("ab"), SLICE("abc")));
	assert_true(slice_eq(SLICE_EMPTY, SLICE("")));
	assert_false(slice_eq(SLICE("a"), SLICE("A")));
	assert_true(slice_eq_nocase(SLICE("aB-c"), SLICE("Ab-C")));
	assert_int_equal(slice_str(NULL).n, 0);
}

/* Memory of somebody else is filled to its last byte, and neither moved nor freed. */
static void test_borrowed(void **state)
{
	char bytes[8];
	struct buf b = buf_over(bytes, sizeof(bytes));

	(void)state;
	assert_true(buf_is_borrowed(&b));
	assert_int_equal(buf_str(&b, "12345678"), 0);
	assert_memory_equal(bytes, "12345678", 8);
	assert_int_equal(buf_char(&b, '9'), -ENOBUFS);
	assert_int_equal(b.n, 8);
	b = buf_over(bytes, sizeof(bytes));
	(void)buf_str(&b, "12345678");
	assert_string_equal(buf_cstr(&b), ""); /* no room for its end */
	assert_int_equal(b.err, -ENOBUFS);
	buf_reset(&b);
	assert_int_equal(buf_printf(&b, "%d", 1234567), 0);
	assert_string_equal(buf_cstr(&b), "1234567");
	buf_reset(&b);
	assert_int_equal(buf_printf(&b, "%d", 12345678), -ENOBUFS);
	assert_int_equal(b.n, 0);
	assert_ptr_equal(b.p, bytes);
	buf_fini(&b);
	assert_null(b.p);
}

/* One's own is never taken for that, however large it has become. */
static void test_own_is_not_borrowed(void **state)
{
	static const size_t most[] = { 0, 1, 255, 256, 257, 512, 1000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(most); i++) {
		struct buf b;

		buf_init(&b, most[i]);
		assert_false(buf_is_borrowed(&b));
		while (b.n < b.max) {
			assert_int_equal(buf_char(&b, 'x'), 0);
			assert_false(buf_is_borrowed(&b));
		}
		assert_int_equal(strlen(buf_cstr(&b)), most[i]);
		assert_int_equal(buf_char(&b, 'x'), -ENOBUFS);
		assert_false(buf_is_borrowed(&b));
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_printf),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_borrowed),
		cmocka_unit_test(test_own_is_not_borrowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
