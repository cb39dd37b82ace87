/* Clocks that run, a clock that stands, and labels of times. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/clock.h>
#include <aigw/errbuf.h>

static void test_real(void **state)
{
	usec before = clock_mono_us();

	(void)state;
	assert_true(clock_mono_us() >= before);
	assert_true(clock_boot_us() >= before);
	assert_true(clock_wall_us() > 1700000000 * USEC_PER_S);
}

static void test_fake(void **state)
{
	(void)state;
	clock_fake_set(100, 1000);
	assert_int_equal(clock_mono_us(), 100);
	assert_int_equal(clock_boot_us(), 100);
	assert_int_equal(clock_wall_us(), 1000);
	clock_fake_advance(5);
	assert_int_equal(clock_mono_us(), 105);
	assert_int_equal(clock_boot_us(), 105);
	assert_int_equal(clock_wall_us(), 1005);
	clock_fake_off();
	assert_true(clock_wall_us() > 1700000000 * USEC_PER_S);
}

static void test_format(void **state)
{
	static const struct {
		usec us;
		bool with_us;
		const char *text;
	} cases[] = {
		{ 0, false, "1970-01-01T00:00:00Z" },
		{ 1795397211 * USEC_PER_S, false, "2026-11-23T01:26:51Z" },
		{ 1795397211 * USEC_PER_S + 42, true, "2026-11-23T01:26:51.000042Z" },
		{ 1795397211 * USEC_PER_S + 999999, false, "2026-11-23T01:26:51Z" },
		{ 951782400 * USEC_PER_S, false, "2000-02-29T00:00:00Z" },
		{ -1, true, "1969-12-31T23:59:59.999999Z" },
		{ INT64_MAX, false, "9999-12-31T23:59:59Z" },
		{ INT64_MIN, true, "0000-01-01T00:00:00Z" },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		clock_format_utc(cases[i].us, cases[i].with_us, out);
		assert_string_equal(out, cases[i].text);
	}
}

static void test_errbuf(void **state)
{
	struct errbuf e;
	char text[2000];

	(void)state;
	assert_int_equal(err_set(&e, -EINVAL, "line %d: %s", 3, "x"), -EINVAL);
	assert_string_equal(e.text, "line 3: x");
	assert_int_equal(err_set(NULL, -ENOENT, "nobody listens"), -ENOENT);
	memset(text, 'a', sizeof(text));
	text[1023] = '\0';
	(void)err_set(&e, 0, "%s", text);
	assert_string_equal(e.text, text);
	text[1023] = 'a';
	text[1999] = '\0';
	(void)err_set(&e, 0, "%s", text);
	assert_int_equal(strlen(e.text), 1023);
	assert_string_equal(e.text + 1018, "aa...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_fake),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_errbuf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
