/* JSON trees: integers exact, order kept, duplicates refused, errors with their place. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/json.h>

static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"{\"z\":9223372036854775807,\"a\":-9223372036854775808,\"m\":[1,true,null,\"x\"]}",
		"[]",
		"\"alone\"",
		"12",
	};
	struct errbuf e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		JSON_AUTO *v = json_parse(slice_str(texts[i]), &e);
		struct buf b;

		assert_non_null(v);
		buf_init(&b, 1000);
		assert_int_equal(json_write(v, &b, false), 0);
		assert_string_equal(buf_cstr(&b), texts[i]);
		buf_fini(&b);
	}
}

static void test_errors_say_where(void **state)
{
	static const char *const cases[][2] = {
		{ "{\n  \"a\": 1,\n  \"b\": x\n}", "line 3, column " },
		{ "{\"a\":1,\"a\":2}", "line 1, column " },
		{ "{\"a\":9223372036854775808}", "line 1, column " },
		{ "{\"a\":\"\377\"}", "line 1, column " },
		{ "{} x", "line 1, column " },
		{ "", "line 1, column " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };

		assert_null(json_parse(slice_str(cases[i][0]), &e));
		if (!slice_starts(slice_str(e.text), slice_str(cases[i][1])))
			fail_msg("%s: %s", cases[i][0], e.text);
	}
	assert_null(json_parse(SLICE_EMPTY, NULL));
}

static void test_write(void **state)
{
	JSON_AUTO *v = json_pack("{s:i, s:[i]}", "b", 1, "a", 2);
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(json_write(v, &b, true), 0);
	assert_string_equal(buf_cstr(&b), "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}");
	buf_fini(&b);
	buf_init(&b, 5);
	assert_int_equal(json_write(v, &b, false), -ENOBUFS);
	buf_fini(&b);
}

static void test_members(void **state)
{
	JSON_AUTO *o = json_pack("{s:s, s:I, s:b, s:b, s:f}", "s", "x", "i", (json_int_t)INT64_MIN,
		"t", 1, "f", 0, "r", 1.5);
	JSON_AUTO *array = json_array();

	(void)state;
	assert_string_equal(json_get_str(o, "s", "d"), "x");
	assert_string_equal(json_get_str(o, "i", "d"), "d");
	assert_string_equal(json_get_str(o, "none", "d"), "d");
	assert_null(json_get_str(array, "s", NULL));
	assert_null(json_get_str(NULL, "s", NULL));
	assert_true(json_get_int(o, "i", 7) == INT64_MIN);
	assert_int_equal(json_get_int(o, "s", 7), 7);
	assert_int_equal(json_get_int(o, "r", 7), 7);
	assert_int_equal(json_get_int(NULL, "i", 7), 7);
	assert_true(json_get_bool(o, "t", false));
	assert_false(json_get_bool(o, "f", true));
	assert_true(json_get_bool(o, "i", true));
	assert_false(json_get_bool(NULL, "t", false));
}

static void test_strings(void **state)
{
	static const struct {
		struct slice text;
		struct slice string;
	} cases[] = {
		{ { NULL, 0 }, { "", 0 } },
		{ { "abc", 2 }, { "ab", 2 } },
		{ { "\303\244", 2 }, { "\303\244", 2 } },
		{ { "a\0b", 3 }, { "a\0b", 3 } },
		{ { "a\377", 2 }, { "a\357\277\275", 4 } },
		{ { "\303", 1 }, { "\357\277\275", 3 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		JSON_AUTO *v = json_slice(cases[i].text);

		assert_true(json_is_string(v));
		assert_true(slice_eq(
			slice_of(json_string_value(v), json_string_length(v)), cases[i].string));
	}
}

static void test_nano(void **state)
{
	JSON_AUTO *v = json_nano(-799000);

	(void)state;
	assert_string_equal(json_string_value(v), "-0.000799000");
}

static void test_unrefp_clears(void **state)
{
	json_t *v = json_integer(1), *null = NULL;

	(void)state;
	json_unrefp(&v);
	assert_null(v);
	json_unrefp(&null);
	assert_null(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_errors_say_where),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_nano),
		cmocka_unit_test(test_unrefp_clears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
