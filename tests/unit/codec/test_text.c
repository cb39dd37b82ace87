/* Text that is not JSON: exact, whole, without locale. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/text.h>

struct u64_case {
	const char *text;
	int result;
	uint64_t value;
};

struct i64_case {
	const char *text;
	int result;
	int64_t value;
};

static void test_u64(void **state)
{
	static const struct u64_case cases[] = {
		{ "0", 0, 0 },
		{ "007", 0, 7 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "0x1", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "1,000", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t v = 0;

		assert_int_equal(text_parse_u64(slice_str(cases[i].text), &v), cases[i].result);
		assert_true(v == cases[i].value);
	}
	assert_int_equal(text_parse_u64(SLICE_EMPTY, &(uint64_t){ 0 }), -EINVAL);
}

static void check_i64(int parse(struct slice, int64_t *), const struct i64_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t v = 0;
		int r = parse(slice_str(cases[i].text), &v);

		if (r != cases[i].result || v != cases[i].value)
			fail_msg("%s: %d, %" PRId64, cases[i].text, r, v);
	}
}

static void test_i64(void **state)
{
	static const struct i64_case cases[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "-12", 0, -12 },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "-9223372036854775808", 0, INT64_MIN },
		{ "9223372036854775808", -ERANGE, 0 },
		{ "-9223372036854775809", -ERANGE, 0 },
		{ "-", -EINVAL, 0 },
		{ "--1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
	};

	(void)state;
	check_i64(text_parse_i64, cases, ARRAY_LEN(cases));
}

static void test_duration(void **state)
{
	static const struct i64_case cases[] = {
		{ "5us", 0, 5 },
		{ "200ms", 0, 200000 },
		{ "2s", 0, 2000000 },
		{ "10m", 0, 600000000 },
		{ "24h", 0, 86400000000 },
		{ "7d", 0, 604800000000 },
		{ "0s", 0, 0 },
		{ "9223372036854775807us", 0, INT64_MAX },
		{ "9223372036854775808us", -ERANGE, 0 },
		{ "106751992d", -ERANGE, 0 },
		{ "99999999999999999999s", -ERANGE, 0 },
		{ "10", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "-1s", -EINVAL, 0 },
		{ "1.5s", -EINVAL, 0 },
		{ "1 s", -EINVAL, 0 },
		{ "1S", -EINVAL, 0 },
		{ "1sec", -EINVAL, 0 },
		{ "1m30s", -EINVAL, 0 },
	};

	(void)state;
	check_i64(text_parse_duration, cases, ARRAY_LEN(cases));
}

static void test_format_duration(void **state)
{
	static const struct {
		usec d;
		const char *text;
	} cases[] = {
		{ 0, "0s" },
		{ 1, "1us" },
		{ 1500, "1500us" },
		{ 1500000, "1500ms" },
		{ 90000000, "90s" },
		{ 120000000, "2m" },
		{ 86400000000, "1d" },
		{ 90000000000, "25h" },
		{ -2000000, "-2s" },
		{ INT64_MAX, "9223372036854775807us" },
		{ INT64_MIN, "-9223372036854775808us" },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		usec back = -1;

		text_format_duration(cases[i].d, out);
		assert_string_equal(out, cases[i].text);
		if (cases[i].d >= 0) {
			assert_int_equal(text_parse_duration(slice_str(out), &back), 0);
			assert_true(back == cases[i].d);
		}
	}
}

static void test_size(void **state)
{
	static const struct u64_case cases[] = {
		{ "512", 0, 512 },
		{ "64KiB", 0, 65536 },
		{ "32MiB", 0, 33554432 },
		{ "1GiB", 0, 1073741824 },
		{ "2TiB", 0, 2199023255552 },
		{ "0", 0, 0 },
		{ "18014398509481984KiB", -ERANGE, 0 },
		{ "KiB", -EINVAL, 0 },
		{ "1KB", -EINVAL, 0 },
		{ "1k", -EINVAL, 0 },
		{ "1 KiB", -EINVAL, 0 },
		{ "1.5MiB", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t v = 0;

		assert_int_equal(text_parse_size(slice_str(cases[i].text), &v), cases[i].result);
		assert_true(v == cases[i].value);
	}
}

static void test_date(void **state)
{
	static const struct i64_case cases[] = {
		{ "1970-01-01", 0, 0 },
		{ "1970-01-02", 0, 1 },
		{ "1969-12-31", 0, -1 },
		{ "1970-03-01", 0, 59 },
		{ "2000-02-29", 0, 11016 },
		{ "2000-03-01", 0, 11017 },
		{ "2024-02-29", 0, 19782 },
		{ "2026-01-01", 0, 20454 },
		{ "2026-12-31", 0, 20818 },
		{ "9999-12-31", 0, 2932896 },
		{ "0000-01-01", 0, -719528 },
		{ "2023-02-29", -EINVAL, 0 },
		{ "1900-02-29", -EINVAL, 0 },
		{ "2026-04-31", -EINVAL, 0 },
		{ "2026-00-01", -EINVAL, 0 },
		{ "2026-13-01", -EINVAL, 0 },
		{ "2026-01-00", -EINVAL, 0 },
		{ "2026-1-1", -EINVAL, 0 },
		{ "2026/01/01", -EINVAL, 0 },
		{ "2026-01-01T", -EINVAL, 0 },
		{ "-026-01-01", -EINVAL, 0 },
		{ "20a6-01-01", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
	};

	(void)state;
	check_i64(text_parse_date, cases, ARRAY_LEN(cases));
}

static void test_every_day_is_one_after_the_last(void **state)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int64_t expected = -719528;

	(void)state;
	for (int y = 0; y < 2500; y++) {
		bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);

		for (int m = 1; m <= 12; m++) {
			int n = lengths[m - 1] + (leap && m == 2);

			for (int d = 1; d <= n; d++, expected++) {
				char text[32];
				int64_t day;

				(void)snprintf(text, sizeof(text), "%04d-%02d-%02d", y, m, d);
				assert_int_equal(text_parse_date(slice_str(text), &day), 0);
				assert_true(day == expected);
			}
		}
	}
}

static void test_nano(void **state)
{
	static const struct {
		const char *text;
		bool negative;
		int result;
		int64_t nano;
	} cases[] = {
		{ "0", false, 0, 0 },
		{ "0.15", false, 0, 150000000 },
		{ "0.1", false, 0, 100000000 },
		{ "0.000000001", false, 0, 1 },
		{ "2.50", false, 0, 2500000000 },
		{ "0.000000000", false, 0, 0 },
		{ "00.10", false, 0, 100000000 },
		{ "123456789.123456789", false, 0, 123456789123456789 },
		{ "9223372036.854775807", false, 0, INT64_MAX },
		{ "9223372036.854775808", false, -ERANGE, 0 },
		{ "9223372037", false, -ERANGE, 0 },
		{ "18446744073709551616", false, -ERANGE, 0 },
		{ "18446744074", false, -ERANGE, 0 },
		{ "-9223372036.854775808", true, 0, INT64_MIN },
		{ "-9223372036.854775809", true, -ERANGE, 0 },
		{ "-0.5", true, 0, -500000000 },
		{ "-0.5", false, -EINVAL, 0 },
		{ "-0", false, -EINVAL, 0 },
		{ "-", true, -EINVAL, 0 },
		{ "--1", true, -EINVAL, 0 },
		{ "+1", true, -EINVAL, 0 },
		{ "0.0000000001", false, -EINVAL, 0 },
		{ "0.1000000000", false, -EINVAL, 0 },
		{ "1e3", false, -EINVAL, 0 },
		{ "1.5e3", false, -EINVAL, 0 },
		{ "1.", false, -EINVAL, 0 },
		{ ".5", false, -EINVAL, 0 },
		{ ".", false, -EINVAL, 0 },
		{ "", false, -EINVAL, 0 },
		{ "1,5", false, -EINVAL, 0 },
		{ "1.2.3", false, -EINVAL, 0 },
		{ "1.-2", true, -EINVAL, 0 },
		{ " 1", false, -EINVAL, 0 },
		{ "1 USD", false, -EINVAL, 0 },
		{ "NaN", false, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t v = 0;
		int r = text_parse_nano(slice_str(cases[i].text), cases[i].negative, &v);

		if (r != cases[i].result || v != cases[i].nano)
			fail_msg("%s: %d, %" PRId64, cases[i].text, r, v);
	}
}

static void test_format_nano(void **state)
{
	static const struct {
		int64_t nano;
		unsigned decimals_min;
		const char *text;
	} cases[] = {
		{ 0, 0, "0" },
		{ 0, 2, "0.00" },
		{ 0, 9, "0.000000000" },
		{ 799000, 0, "0.000799" },
		{ 799000, 2, "0.000799" },
		{ 799000, 9, "0.000799000" },
		{ 1500000000, 2, "1.50" },
		{ 1000000000, 0, "1" },
		{ 10000000000, 0, "10" },
		{ 1, 2, "0.000000001" },
		{ -1, 0, "-0.000000001" },
		{ -2500000000, 2, "-2.50" },
		{ 5, 99, "0.000000005" },
		{ INT64_MAX, 0, "9223372036.854775807" },
		{ INT64_MIN, 0, "-9223372036.854775808" },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t back;

		text_format_nano(cases[i].nano, cases[i].decimals_min, out);
		assert_string_equal(out, cases[i].text);
		assert_int_equal(text_parse_nano(slice_str(out), true, &back), 0);
		assert_true(back == cases[i].nano);
	}
}

static void test_base64(void **state)
{
	/* RFC 4648, section 10 */
	static const char *const vectors[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" }, { "\373\377\277", "+/+/" } };
	static const char *const bad[] = { "Z", "Zg",
		"Zg=", "Zg===", "Z===", "====", "Zh==", "Zm9=", "Zm9v=", "Zg==Zg==", "Z=8=", "Zm-v",
		"Zm_v", "Zm9 ", "Zm9\n" };
	char out[16];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		size_t plain = strlen(vectors[i][0]), coded = strlen(vectors[i][1]);

		assert_int_equal(text_base64_encode(vectors[i][0], plain, out), coded);
		assert_memory_equal(out, vectors[i][1], coded);
		assert_int_equal(text_base64_decode(slice_str(vectors[i][1]), out, plain, &n), 0);
		assert_int_equal(n, plain);
		assert_memory_equal(out, vectors[i][0], plain);
		if (plain)
			assert_int_equal(
				text_base64_decode(slice_str(vectors[i][1]), out, plain - 1, &n),
				-ENOBUFS);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(
			text_base64_decode(slice_str(bad[i]), out, sizeof(out), &n), -EINVAL);
}

static void test_hex(void **state)
{
	unsigned char bytes[4] = { 0x00, 0x7f, 0xa0, 0xff };
	unsigned char back[4] = { 0 };
	char out[8];

	(void)state;
	text_hex(bytes, 4, out);
	assert_memory_equal(out, "007fa0ff", 8);
	assert_int_equal(text_unhex(SLICE("007Fa0fF"), back, 4), 0);
	assert_memory_equal(back, bytes, 4);
	assert_int_equal(text_unhex(SLICE("007fa0f"), back, 4), -EINVAL);
	assert_int_equal(text_unhex(SLICE("007fa0ff0"), back, 4), -EINVAL);
	assert_int_equal(text_unhex(SLICE("007fa0ff00"), back, 4), -EINVAL);
	assert_int_equal(text_unhex(SLICE("007fa0fg"), back, 4), -EINVAL);
	assert_int_equal(text_unhex(SLICE("007fa0 f"), back, 4), -EINVAL);
	assert_int_equal(text_unhex(SLICE("@0"), back, 1), -EINVAL);
}

static void test_base62(void **state)
{
	(void)state;
	assert_true(text_is_base62(slice_of(TEXT_BASE62, 62)));
	assert_false(text_is_base62(SLICE("")));
	for (unsigned c = 0; c < 256; c++) {
		char byte = (char)c;

		assert_int_equal(text_is_base62(slice_of(&byte, 1)),
			c != 0 && strchr(TEXT_BASE62, (int)c) != NULL);
	}
}

static void test_distance(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned max, distance;
	} cases[] = {
		{ "", "", 3, 0 },
		{ "abc", "abc", 0, 0 },
		{ "abc", "abd", 0, 1 },
		{ "abc", "abd", 3, 1 },
		{ "abc", "ab", 3, 1 },
		{ "abc", "abcd", 3, 1 },
		{ "abc", "acb", 3, 1 },
		{ "abc", "cab", 3, 2 },
		{ "kitten", "sitting", 5, 3 },
		{ "kitten", "sitting", 2, 3 },
		{ "kitten", "sitting", 1, 2 },
		{ "abcdef", "", 3, 4 },
		{ "ab", "ba", 1, 1 },
		{ "abxcd", "bayxdc", 4, 3 },
		{ "Abc", "abc", 3, 1 },
	};
	char word[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice a = slice_str(cases[i].a), b = slice_str(cases[i].b);

		assert_int_equal(text_distance(a, b, cases[i].max), cases[i].distance);
		assert_int_equal(text_distance(b, a, cases[i].max), cases[i].distance);
	}
	/* Longer than anything with a name: equal or not. */
	memset(word, 'a', sizeof(word));
	word[500] = 'b';
	assert_int_equal(text_distance(slice_of(word, 300), slice_of(word + 1, 300), 2), 0);
	assert_int_equal(text_distance(slice_of(word, 501), slice_of(word + 1, 501), 2), 3);
}

static void test_near(void **state)
{
	static const struct slice names[] = { { "gpt-4o", 6 }, { "gpt-4o-mini", 11 }, { "o3", 2 },
		{ "base_url", 8 }, { "credential", 10 }, { "claude-sonnet-4-5", 17 }, { "name", 4 },
		{ "models", 6 } };
	static const struct {
		const char *word, *near;
	} cases[] = {
		{ "gpt-4o", "gpt-4o" },
		{ "GPT-4o", "gpt-4o" },
		{ "gtp-4o", "gpt-4o" },
		{ "gpt4o", "gpt-4o" },
		{ "gpt-4o-mni", "gpt-4o-mini" },
		{ "gpt-4", "gpt-4o" },
		{ "baseurl", "base_url" },
		{ "base-url", "base_url" },
		{ "credentials", "credential" },
		{ "creds", "" },
		{ "cred", "credential" },
		{ "claude", "claude-sonnet-4-5" },
		{ "model", "models" },
		{ "nmae", "name" },
		{ "o4", "o3" },
		{ "o", "" },
		{ "x", "" },
		{ "", "" },
		{ "llama-3", "" },
		{ "frobnicate", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice near = text_near(slice_str(cases[i].word), names, ARRAY_LEN(names));

		if (!slice_eq(near, slice_str(cases[i].near)))
			fail_msg("%s: '" SLICE_FMT "'", cases[i].word, SLICE_ARG(near));
	}
	assert_null(text_near(SLICE("name"), NULL, 0).p);
}

static void test_utf8(void **state)
{
	static const char *const good[] = { "", "a", "\177", "\302\200", "\337\277", "\340\240\200",
		"\355\237\277", "\356\200\200", "\357\277\277", "\360\220\200\200",
		"\364\217\277\277", "0123456789abcdef\303\244" };
	static const char *const bad[] = { "\200", "\277", "\300\200", "\301\277", "\302", "\302a",
		"\340\237\277", "\340\240", "\355\240\200", "\355\277\277", "\360\217\277\277",
		"\360\220\200", "\364\220\200\200", "\365\200\200\200", "\376", "\377",
		"01234567\377", "0123456\303", "\303\244\244" };
	static const struct slice nul = { "a\0b", 3 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(text_is_utf8(slice_str(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(text_is_utf8(slice_str(bad[i])));
	assert_true(text_is_utf8(nul));
	assert_int_equal(text_utf8_len(SLICE("\342\202\254x")), 3);
	assert_int_equal(text_utf8_len(SLICE("")), 0);
}

static void test_json_quote(void **state)
{
	static const struct {
		struct slice text;
		const char *json;
	} cases[] = {
		{ { "", 0 }, "\"\"" },
		{ { NULL, 0 }, "\"\"" },
		{ { "plain", 5 }, "\"plain\"" },
		{ { "a\"b\\c/", 6 }, "\"a\\\"b\\\\c/\"" },
		{ { "\b\f\n\r\t", 5 }, "\"\\b\\f\\n\\r\\t\"" },
		{ { "\0\001\037\177", 4 }, "\"\\u0000\\u0001\\u001f\177\"" },
		{ { "\303\244\342\202\254", 5 }, "\"\303\244\342\202\254\"" },
		{ { "a\377b\303", 4 }, "\"a\357\277\275b\357\277\275\"" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_reset(&b);
		assert_int_equal(text_json_quote(&b, cases[i].text), 0);
		assert_string_equal(buf_cstr(&b), cases[i].json);
	}
	buf_fini(&b);
	buf_init(&b, 4);
	assert_int_equal(text_json_quote(&b, SLICE("abc")), -ENOBUFS);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_u64),
		cmocka_unit_test(test_i64),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_format_duration),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_date),
		cmocka_unit_test(test_every_day_is_one_after_the_last),
		cmocka_unit_test(test_nano),
		cmocka_unit_test(test_format_nano),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base62),
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_near),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_json_quote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
