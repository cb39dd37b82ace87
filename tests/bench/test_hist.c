#include "hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct hist h;

static int fresh(void **state)
{
	(void)state;
	memset(&h, 0, sizeof(h));
	return 0;
}

static void empty_has_no_value(void **state)
{
	(void)state;
	assert_int_equal(hist_at(&h, 500), 0);
	assert_int_equal(h.count, 0);
}

static void small_values_are_exact(void **state)
{
	static const struct {
		unsigned permille;
		uint64_t want;
	} cases[] = { { 0, 1 }, { 1, 1 }, { 10, 1 }, { 11, 2 }, { 500, 50 }, { 990, 99 },
		{ 991, 100 }, { 1000, 100 } };

	(void)state;
	for (uint64_t v = 1; v <= 100; v++)
		hist_add(&h, v);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(hist_at(&h, cases[i].permille), cases[i].want);
}

/* One value below, the value, one above: the middle one is told with an error below 1/512. */
static void every_power_is_resolved(void **state)
{
	(void)state;
	for (unsigned bit = 1; bit < 63; bit++) {
		uint64_t v = (UINT64_C(1) << bit) + (UINT64_C(1) << bit) / 3, got;

		memset(&h, 0, sizeof(h));
		hist_add(&h, 0);
		hist_add(&h, v);
		hist_add(&h, UINT64_MAX);
		got = hist_at(&h, 500);
		assert_true(got >= v && got - v <= v / HIST_STEPS);
	}
}

static void never_over_the_maximum(void **state)
{
	(void)state;
	hist_add(&h, 1000001);
	assert_int_equal(hist_at(&h, 500), 1000001);
	assert_int_equal(hist_at(&h, 1000), 1000001);
	hist_add(&h, UINT64_MAX);
	assert_int_equal(hist_at(&h, 1000), UINT64_MAX);
	assert_int_equal(h.max, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(empty_has_no_value, fresh),
		cmocka_unit_test_setup(small_values_are_exact, fresh),
		cmocka_unit_test_setup(every_power_is_resolved, fresh),
		cmocka_unit_test_setup(never_over_the_maximum, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
