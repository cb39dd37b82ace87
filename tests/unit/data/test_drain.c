/* An operator's drains as text, and what they hold. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/drain.h>

static const char *const good[] = { "provider 1790000000000000 openai", "model 1 vendor/gpt-4o",
	"target 2 gpt-4o openai/vendor/gpt-4o" };

static void lines(void **state)
{
	static const char *const bad[] = { "", "provider", "provider 1", "provider x openai",
		"provider 1  openai", "provider 1 openai more", "target 1 gpt-4o",
		"target 1 gpt-4o a/b c", "planet 1 mars", "provider 99999999999999999999 x" };
	struct drain d;
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct buf b = buf_over(text, sizeof(text));

		assert_int_equal(drain_parse(slice_str(good[i]), &d), 0);
		assert_int_equal(d.kind, i);
		assert_int_equal(drain_format(&b, &d), 0);
		assert_true(slice_eq(buf_view(&b), slice_str(good[i])));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(drain_parse(slice_str(bad[i]), &d), -EINVAL);
	memset(text, 'x', sizeof(text));
	memcpy(text, "model 1 ", 8);
	assert_int_equal(drain_parse(slice_of(text, sizeof(text)), &d), -EINVAL); /* too long */
}

static void what_they_hold(void **state)
{
	static const bool want[ARRAY_LEN(good)][4] = { { true, true, false, false },
		{ false, false, false, true }, { false, true, false, false } };
	static const struct slice targets[4][3] = {
		{ SLICE_INIT("gpt-4"), SLICE_INIT("openai"), SLICE_INIT("vendor/gpt-4o") },
		{ SLICE_INIT("gpt-4o"), SLICE_INIT("openai"), SLICE_INIT("vendor/gpt-4o") },
		{ SLICE_INIT("gpt-4o"), SLICE_INIT("openai2"), SLICE_INIT("vendor/gpt-4o") },
		{ SLICE_INIT("vendor/gpt-4o"), SLICE_INIT("azure"), SLICE_INIT("x") },
	};
	struct drain d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		for (size_t k = 0; k < 4; k++) {
			assert_int_equal(drain_parse(slice_str(good[i]), &d), 0);
			assert_int_equal(
				drain_holds(&d, targets[k][0], targets[k][1], targets[k][2]),
				want[i][k]);
		}
}

static void lists(void **state)
{
	static struct drains all, again;
	struct drain d = { .kind = DRAIN_model, .name = "m", .until_us = 10 };
	struct buf b;
	bool fresh;

	(void)state;
	all.n = 0;
	assert_int_equal(drains_set(&all, &d, &fresh), 0);
	assert_true(fresh);
	d.until_us = 20;
	assert_int_equal(drains_set(&all, &d, &fresh), 0);
	assert_false(fresh);
	assert_int_equal(all.n, 1);
	assert_int_equal(all.v[0].until_us, 20);
	d.kind = DRAIN_provider;
	d.until_us = 5;
	assert_int_equal(drains_set(&all, &d, &fresh), 0);
	buf_init(&b, 1 << 20);
	assert_int_equal(drains_format(&b, &all), 0);
	(void)buf_str(&b, "of a later version 7\n\n");
	drains_parse(buf_view(&b), &again);
	assert_int_equal(again.n, 2);
	assert_true(drain_is_same(&again.v[1], &d));
	drains_prune(&again, 5);
	assert_int_equal(again.n, 1);
	assert_false(drains_remove(&again, &d));
	d.kind = DRAIN_model;
	assert_true(drains_remove(&again, &d));
	for (int i = 0; i <= DRAINS_MAX; i++) {
		(void)snprintf(d.name, sizeof(d.name), "m%d", i);
		assert_int_equal(drains_set(&again, &d, &fresh), i < DRAINS_MAX ? 0 : -ENOSPC);
	}
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(what_they_hold),
		cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
