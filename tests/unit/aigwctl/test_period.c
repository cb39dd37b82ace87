/* Spans of time as one writes them. The clock of these tests stands at 2026-03-04T05:06:07Z, a
 * Wednesday. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "format.h"
#include "period.h"

static usec at(const char *text)
{
	usec t;

	assert_int_equal(format_parse_utc(text, &t), 0);
	return t;
}

static void test_named(void **state)
{
	static const struct {
		const char *now, *name, *since, *until;
	} cases[] = {
		{ "2026-03-04T05:06:07Z", "today", "2026-03-04T00:00:00Z", NULL },
		{ "2026-03-04T05:06:07Z", "yesterday", "2026-03-03T00:00:00Z",
			"2026-03-04T00:00:00Z" },
		{ "2026-03-04T05:06:07Z", "week", "2026-03-02T00:00:00Z", NULL },
		{ "2026-03-02T00:00:00Z", "week", "2026-03-02T00:00:00Z", NULL }, /* a Monday */
		{ "2026-03-01T23:59:59Z", "week", "2026-02-23T00:00:00Z", NULL }, /* a Sunday */
		{ "2026-03-04T05:06:07Z", "month", "2026-03-01T00:00:00Z", NULL },
		{ "2026-03-04T05:06:07Z", "last-month", "2026-02-01T00:00:00Z",
			"2026-03-01T00:00:00Z" },
		{ "2026-01-31T05:06:07Z", "last-month", "2025-12-01T00:00:00Z",
			"2026-01-01T00:00:00Z" },
		{ "2024-03-31T05:06:07Z", "last-month", "2024-02-01T00:00:00Z",
			"2024-03-01T00:00:00Z" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		usec since, until;

		assert_int_equal(
			period_named(cases[i].name, at(cases[i].now), &since, &until, NULL), 0);
		assert_true(since == at(cases[i].since));
		assert_true(until == (cases[i].until ? at(cases[i].until) : 0));
	}
}

static void test_named_wrong(void **state)
{
	usec a, b;
	struct errbuf e;

	(void)state;
	assert_int_equal(period_named("todya", 0, &a, &b, &e), -EINVAL);
	assert_non_null(strstr(e.text, "did you mean today?"));
	assert_int_equal(period_named("fortnight-ago", 0, &a, &b, &e), -EINVAL);
	assert_non_null(strstr(e.text, "last-month"));
}

static void test_moment(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "now", "2026-03-04T05:06:07Z" },
		{ "24h", "2026-03-03T05:06:07Z" },
		{ "7d", "2026-02-25T05:06:07Z" },
		{ "90s", "2026-03-04T05:04:37Z" },
		{ "2026-03-01", "2026-03-01T00:00:00Z" },
		{ "2025-12-31T23:59:59Z", "2025-12-31T23:59:59Z" },
		{ "month", "2026-03-01T00:00:00Z" },
		{ "today", "2026-03-04T00:00:00Z" },
		{ "1970-01-01", "1970-01-01T00:00:00Z" },
	};
	static const char *const wrong[] = { "", "24", "h", "-24h", "2026-02-30", "2026-13-01",
		"2026-03-01T08:00", "mnth", "40000d 1h", "30000000d" };
	usec now = at("2026-03-04T05:06:07Z"), t;
	struct errbuf e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(period_moment(cases[i].text, now, &t, NULL), 0);
		assert_true(t == at(cases[i].want));
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (period_moment(wrong[i], now, &t, &e) != -EINVAL)
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_non_null(strstr(e.text, "24h"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_named_wrong),
		cmocka_unit_test(test_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
