/* Members of a body that arrives in pieces: the pieces never matter. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/json_scan.h>

#define FIFTEEN "123456789012345"

static const struct jscan_tap_path paths[] = {
	{ { NULL, 0 }, { "usage", 5 } },
	{ { "response", 8 }, { "usage", 5 } },
	{ { NULL, 0 }, { "response", 8 } },
	{ { "response", 8 }, { "model", 5 } },
};

static const struct {
	const char *text;
	const char *found[4]; /* by path; NULL: none */
} cases[] = {
	{ "{}", { NULL } },
	{ "{\"usage\":{\"a\":1}}", { "{\"a\":1}" } },
	{ "{\"usage\":null}", { "null" } },
	{ "{\"usage\" : 12 }", { "12" } },
	{ "{\"usage\":12,\"b\":3}", { "12" } },
	{ "{\"usage\":\"a\\\"}b\",\"c\":1}", { "\"a\\\"}b\"" } },
	{ "{\"usage\":[1,[2],{\"usage\":3}]}", { "[1,[2],{\"usage\":3}]" } },
	{ "{\"a\":{\"usage\":1},\"b\":[{\"usage\":2}]}", { NULL } },
	{ "{\"a\":\"usage\",\"b\":[\"usage\",1]}", { NULL } },
	{ "{\"usage\":1,\"usage\":{ \"x\" : 2 }}", { "{ \"x\" : 2 }" } },
	{ "{\"us\\u0061ge\":7}", { "7" } },
	{ "{\"us\\u00e4ge\":7,\"usage\\u0000\":8,\"usage\\n\":9}", { NULL } },
	{ "{\"usag\":1,\"usagee\":2,\"Usage\":3,\"a key that is much longer than the tap "
	  "keeps\":4}",
		{ NULL } },
	{ "{\"response\":{\"usage\":{\"a\":[1]},\"model\":\"m\"},\"x\":0}",
		{ NULL, "{\"a\":[1]}", "{\"usage\":{\"a\":[1]},\"model\":\"m\"}", "\"m\"" } },
	{ "{\"response\":{\"model\":\"m\",\"usage\":5}}",
		{ NULL, "5", "{\"model\":\"m\",\"usage\":5}", "\"m\"" } },
	{ "{\"response\":{\"usage\":1},\"response\":{\"usage\":2}}",
		{ NULL, "2", "{\"usage\":2}" } },
	{ "{\"response\":[{\"usage\":1},\"usage\",2]}",
		{ NULL, NULL, "[{\"usage\":1},\"usage\",2]" } },
	{ "{\"response\":{\"x\":{\"usage\":1}}}", { NULL, NULL, "{\"x\":{\"usage\":1}}" } },
	{ "{\"other\":{\"usage\":1},\"usage\":2}", { "2" } },
	{ "{\"response\":{\"a\":1},\"other\":{\"model\":\"x\"}}", { NULL, NULL, "{\"a\":1}" } },
	{ "\r\n {\"c\":[{\"d\":\"" FIFTEEN "\\\\" FIFTEEN "\\\"" FIFTEEN "\"}],\n\"usage\":{}}\n",
		{ "{}" } },
	{ "{\"response\":{\"usage\":{\"t\":9}},\"usage\":{\"t\":8}}",
		{ "{\"t\":8}", "{\"t\":9}", "{\"usage\":{\"t\":9}}" } },
	/* Cut off or malformed: nothing that is not whole is shown. */
	{ "{\"usage\":12", { NULL } },
	{ "{\"usage\":{\"a\":1}", { "{\"a\":1}" } },
	{ "{\"usage\":{\"a\":1", { NULL } },
	{ "{\"usage\":1,\"usage\":{\"a\"", { NULL } },
	{ "{\"usage\":\"abc", { NULL } },
	{ "[{\"usage\":1}]", { NULL } },
	{ "\"usage\":1", { NULL } },
	{ "{\"a\\x\":1,\"usage\":1}", { NULL } },
	{ "{\"a\":\"\n\",\"usage\":1}", { NULL } },
	{ "{\"a\":1}{\"usage\":1}", { NULL } },
	{ "}{\"usage\":1}", { NULL } },
	{ "", { NULL } },
};

static void check_values(const struct jscan_tap *t, size_t at, size_t step)
{
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
		const char *found = cases[at].found[i];

		if (!slice_eq(buf_view(&t->value[i]), slice_str(found ? found : "")))
			fail_msg("%s in steps of %zu, path %u: '" SLICE_FMT "'", cases[at].text,
				step, i, SLICE_ARG(buf_view(&t->value[i])));
	}
}

static void feed(struct jscan_tap *t, const char *p, size_t n)
{
	char *own = malloc(n ? n : 1);

	memcpy(own, p, n);
	jscan_tap_feed(t, own, n);
	free(own);
}

static void test_in_steps_of_any_size(void **state)
{
	struct jscan_tap t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].text);

		for (size_t step = 1; step <= n + 1; step++) {
			jscan_tap_init(&t, paths, ARRAY_LEN(paths));
			for (size_t at = 0; at < n; at += step)
				feed(&t, cases[i].text + at, MIN(step, n - at));
			check_values(&t, i, step);
			jscan_tap_fini(&t);
		}
	}
}

static void test_split_at_every_offset(void **state)
{
	struct jscan_tap t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].text);

		for (size_t at = 0; at <= n; at++) {
			jscan_tap_init(&t, paths, ARRAY_LEN(paths));
			feed(&t, cases[i].text, at);
			feed(&t, "", 0);
			feed(&t, cases[i].text + at, n - at);
			check_values(&t, i, at);
			jscan_tap_fini(&t);
		}
	}
}

static void test_whether_the_end_has_come(void **state)
{
	static const struct {
		const char *text;
		bool open;
	} rows[] = {
		{ "", false }, { " \n", false }, { "{", true }, { "{\"a\":[1,{\"b\":2}]", true },
		{ "{\"a\":\"}", true }, { "{\"a\":\"\\\"}", true }, { "{}", false },
		{ "{\"a\":[1,{\"b\":\"}\"}]}\n", false },
		{ "[1,2", false }, /* no object: nothing is known of it */
	};
	struct jscan_tap t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		jscan_tap_init(&t, paths, ARRAY_LEN(paths));
		feed(&t, rows[i].text, strlen(rows[i].text));
		if (jscan_tap_is_open(&t) != rows[i].open)
			fail_msg("%s", rows[i].text);
		jscan_tap_fini(&t);
	}
}

/* {"usage":"xxx…"} with a value of n bytes, quotes included. */
static void feed_long(struct jscan_tap *t, const char *open, size_t n)
{
	feed(t, open, strlen(open));
	feed(t, "\"", 1);
	for (size_t i = 2; i < n; i++)
		jscan_tap_feed(t, "x", 1);
	feed(t, "\"", 1);
}

static void test_limit_of_a_value(void **state)
{
	struct jscan_tap t;

	(void)state;
	jscan_tap_init(&t, paths, ARRAY_LEN(paths));
	feed_long(&t, "{\"usage\":", JSCAN_TAP_VALUE_MAX);
	assert_int_equal(t.value[0].n, JSCAN_TAP_VALUE_MAX);
	/* Latest match wins, also when it is too long to keep; a later one is kept again. */
	feed_long(&t, ",\"usage\":", JSCAN_TAP_VALUE_MAX + 1);
	assert_int_equal(t.value[0].n, 0);
	feed(&t, ",\"usage\":1}", 11);
	assert_true(slice_eq(buf_view(&t.value[0]), SLICE("1")));
	assert_true(t.value[0].cap <= JSCAN_TAP_VALUE_MAX + 1);
	jscan_tap_fini(&t);
}

static void test_depth(void **state)
{
	struct jscan_tap t;

	(void)state;
	for (unsigned depth = JSCAN_DEPTH_MAX - 1; depth <= JSCAN_DEPTH_MAX; depth++) {
		jscan_tap_init(&t, paths, ARRAY_LEN(paths));
		feed(&t, "{\"a\":", 5);
		for (unsigned i = 0; i < depth; i++)
			feed(&t, "[", 1);
		for (unsigned i = 0; i < depth; i++)
			feed(&t, "]", 1);
		feed(&t, ",\"usage\":1}", 11);
		assert_int_equal(t.value[0].n, depth < JSCAN_DEPTH_MAX ? 1 : 0);
		jscan_tap_fini(&t);
	}
}

static void test_after_fini_it_is_deaf(void **state)
{
	struct jscan_tap t;

	(void)state;
	jscan_tap_init(&t, paths, ARRAY_LEN(paths));
	feed(&t, "{\"usage\":{\"a\"", 13);
	jscan_tap_fini(&t);
	feed(&t, ":1}}", 4);
	assert_int_equal(t.value[0].n, 0);
	assert_null(t.value[0].p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_steps_of_any_size),
		cmocka_unit_test(test_split_at_every_offset),
		cmocka_unit_test(test_whether_the_end_has_come),
		cmocka_unit_test(test_limit_of_a_value),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_after_fini_it_is_deaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
