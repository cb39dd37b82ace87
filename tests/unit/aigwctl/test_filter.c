/* Conditions on rows: what is written, what holds, in which order. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "filter.h"

static void test_compare(void **state)
{
	static const struct {
		const char *a, *b;
		int sign;
	} cases[] = {
		{ "1", "2", -1 },
		{ "10", "9", 1 },
		{ "0.10", "0.1", 0 },
		{ "007", "7", 0 },
		{ "-0", "0", 0 },
		{ "-2", "-10", 1 },
		{ "-0.5", "0.25", -1 },
		{ ".5", "0.5", 0 },
		{ "118.420001000", "118.42", 1 },
		{ "99999999999999999999999999999.000000001", "99999999999999999999999999999", 1 },
		{ "abc", "abd", -1 },
		{ "ab", "abc", -1 },
		{ "9", "abc", -1 }, /* numbers before text */
		{ "abc", "9", 1 },
		{ "1e3", "2", 1 }, /* no number */
		{ "", "", 0 },
		{ "", "0", 1 },
		{ ".", "0", 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = filter_compare(slice_str(cases[i].a), slice_str(cases[i].b));

		if ((r > 0) - (r < 0) != cases[i].sign)
			fail_msg("%s with %s: %d", cases[i].a, cases[i].b, r);
	}
}

static void test_holds(void **state)
{
	static const struct {
		const char *filter, *cell;
		bool holds;
	} cases[] = {
		{ "a=up", "up", true },
		{ "a = up", "down", false },
		{ "a == 'two words'", "two words", true },
		{ "a != up", "down", true },
		{ "a ~ own", "down", true },
		{ "a ~", "x", true },
		{ "a>5", "10", true },
		{ "a >= 5", "5.0", true },
		{ "a < 5", "-", false }, /* absent is neither more nor less */
		{ "a > 5", "-", false },
		{ "a < z", "b", true },
		{ "a<=0.5", "0.500", true },
		{ "a = 1.50", "1.5", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e;
		struct filter f;

		assert_int_equal(filter_parse(cases[i].filter, &f, &e), 0);
		assert_true(slice_eq(f.column, SLICE("a")));
		if (filter_holds(&f, slice_str(cases[i].cell)) != cases[i].holds)
			fail_msg("%s of %s", cases[i].filter, cases[i].cell);
	}
}

static void test_wrong(void **state)
{
	static const char *const wrong[] = { "", "state", "= up", " ~ x", "a ! b" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct errbuf e = { "" };
		struct filter f;

		if (filter_parse(wrong[i], &f, &e) != -EINVAL)
			fail_msg("%s: taken", wrong[i]);
		assert_non_null(strstr(e.text, "COLUMN OP VALUE"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
