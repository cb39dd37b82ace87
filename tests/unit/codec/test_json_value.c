/* Values of JSON in place: keys and strings decoded, integers. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/json_scan.h>

#define FIFTEEN "123456789012345"

static void test_key_is(void **state)
{
	static const struct {
		struct slice raw, name;
		bool is;
	} cases[] = {
		{ { "model", 5 }, { "model", 5 }, true },
		{ { "mod\\u0065l", 10 }, { "model", 5 }, true },
		{ { "\\u006d\\u006F\\u0064\\u0065\\u006c", 30 }, { "model", 5 }, true },
		{ { "mod\\u0065", 9 }, { "model", 5 }, false },
		{ { "mod\\u0065ls", 11 }, { "model", 5 }, false },
		{ { "a\\/\\\"\\\\\\n", 9 }, { "a/\"\\\n", 5 }, true },
		{ { "\\u00e4\\u20ac", 12 }, { "\303\244\342\202\254", 5 }, true },
		{ { "\\ud83d\\ude00", 12 }, { "\360\237\230\200", 4 }, true },
		{ { "\\ud83d", 6 }, { "\355\240\275", 3 }, false },
		{ { "\\u0000a", 7 }, { "", 0 }, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct jscan_member m = { .key = cases[i].raw,
			.key_escaped = memchr(cases[i].raw.p, '\\', cases[i].raw.n) != NULL };

		assert_int_equal(jscan_key_is(&m, cases[i].name), cases[i].is);
	}
}

static void test_int(void **state)
{
	static const struct {
		const char *text;
		int result;
		int64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "3.0", 0, 3 },
		{ "-12.000", 0, -12 },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "-9223372036854775808", 0, INT64_MIN },
		{ "9223372036854775808", -EINVAL, 0 },
		{ "3.5", -EINVAL, 0 },
		{ "3.01", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "1.0e3", -EINVAL, 0 },
		{ "\"3\"", -EINVAL, 0 },
		{ "true", -EINVAL, 0 },
		{ "null", -EINVAL, 0 },
		{ "[3]", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[64];
		struct jscan_member m;
		int64_t v = 0;

		(void)snprintf(text, sizeof(text), "{\"n\":%s}", cases[i].text);
		assert_int_equal(jscan_find(slice_str(text), SLICE("n"), &m), 0);
		assert_int_equal(jscan_int(&m, &v), cases[i].result);
		assert_int_equal(v, cases[i].value);
	}
}

static void test_string(void **state)
{
	static const struct {
		const char *raw;
		int result;
		const char *text;
	} cases[] = {
		{ "\"\"", 0, "" },
		{ "\"abc\"", 0, "abc" },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", 0, "\"\\/\b\f\n\r\t" },
		{ "\"\\u0041\\u00e4\\u20ac\\uD83D\\uDE00z\"", 0,
			"A\303\244\342\202\254\360\237\230\200z" },
		{ "\"\\uffff\\ue000\"", 0, "\357\277\277\356\200\200" },
		{ "\"" FIFTEEN FIFTEEN "\\n" FIFTEEN "\"", 0, FIFTEEN FIFTEEN "\n" FIFTEEN },
		{ "\"\\ud83d\"", -EINVAL, "" },
		{ "\"\\ud83dx\"", -EINVAL, "" },
		{ "\"\\ud83d\\n\"", -EINVAL, "" },
		{ "\"\\ud83d\\u0041\"", -EINVAL, "" },
		{ "\"\\ude00\"", -EINVAL, "" },
		{ "\"\\ud83d\\ud83d\"", -EINVAL, "" },
		{ "\"ok\\q\"", -EINVAL, "" },
		{ "\"\\\"", -EINVAL, "" },
		{ "\"\\u00\"", -EINVAL, "" },
		{ "\"a\"b\"", -EINVAL, "" },
		{ "\"a\nb\"", -EINVAL, "" },
		{ "\"", -EINVAL, "" },
		{ "", -EINVAL, "" },
		{ "12", -EINVAL, "" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_reset(&b);
		assert_int_equal(buf_str(&b, ">"), 0);
		if (jscan_string(slice_str(cases[i].raw), &b) != cases[i].result)
			fail_msg("%s", cases[i].raw);
		assert_true(slice_starts(buf_view(&b), SLICE(">")));
		assert_true(slice_eq(slice_skip(buf_view(&b), 1), slice_str(cases[i].text)));
	}
	buf_fini(&b);
	buf_init(&b, 4);
	assert_int_equal(jscan_string(SLICE("\"abcde\""), &b), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_is),
		cmocka_unit_test(test_int),
		cmocka_unit_test(test_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
