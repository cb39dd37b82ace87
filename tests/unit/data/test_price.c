/* What tokens cost, against sums done by hand. Prices are 10^-9 units per million tokens: 0.15 is
 * 150,000,000. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/price.h>

#define SET(component, value) .nano[PRICE_##component] = value, .has[PRICE_##component] = true

static const struct {
	const char *name;
	struct price price;
	struct price_usage usage;
	int64_t want;
} cases[] = {
	{ "nothing used", { SET(input, 150000000), SET(output, 600000000) }, { 0 }, 0 },
	/* 4120 * 0.15 / 10^6 + 301 * 0.60 / 10^6 = 0.000618 + 0.0001806 */
	{ "input and output", { SET(input, 150000000), SET(output, 600000000) },
		{ .input = 4120, .output = 301 }, 618000 + 180600 },
	/* 1000 of 4120 at 0.075: 3120 * 150 + 1000 * 75 nano */
	{ "cached part is cheaper", { SET(input, 150000000), SET(cached_input, 75000000) },
		{ .input = 4120, .cached_input = 1000 }, 3120 * 150 + 1000 * 75 },
	{ "cached part without a price of its own", { SET(input, 150000000) },
		{ .input = 4120, .cached_input = 1000 }, 4120 * 150 },
	{ "cached part for nothing", { SET(input, 150000000), SET(cached_input, 0) },
		{ .input = 4120, .cached_input = 1000 }, 3120 * 150 },
	{ "each part of the input",
		{ SET(input, 1000000), SET(cached_input, 2000000), SET(cache_write, 3000000),
			SET(audio_in, 4000000) },
		{ .input = 100, .cached_input = 10, .cache_write = 20, .audio_in = 30 },
		40 * 1 + 10 * 2 + 20 * 3 + 30 * 4 },
	{ "each part of the output",
		{ SET(output, 1000000), SET(reasoning, 2000000), SET(audio_out, 5000000) },
		{ .output = 100, .reasoning = 10, .audio_out = 20 }, 70 * 1 + 10 * 2 + 20 * 5 },
	{ "reasoning without a price is output", { SET(output, 3000000) },
		{ .output = 100, .reasoning = 60 }, 300 },
	{ "audio without a price is input and output",
		{ SET(input, 1000000), SET(output, 3000000) },
		{ .input = 10, .audio_in = 5, .output = 10, .audio_out = 5 }, 40 },
	{ "parts larger than their total", { SET(input, 1000000), SET(cached_input, 2000000) },
		{ .input = 5, .cached_input = 10 }, 20 },
	{ "negative numbers count as none",
		{ SET(input, 1000000), SET(cached_input, 1000000), SET(output, 1000000) },
		{ .input = -5, .cached_input = -5, .output = -5 }, 0 },
	{ "per request alone", { SET(per_request, 2000000) }, { .input = 99 }, 2000000 },
	{ "per request on top", { SET(per_request, 7), SET(input, 1000000) }, { .input = 3 }, 10 },
	{ "a minute of audio", { SET(per_minute, 6000000) }, { .audio_ms = 60000 }, 6000000 },
	{ "a tenth of a second, rounded", { SET(per_minute, 6000001) }, { .audio_ms = 100 },
		10000 },
	{ "half a nano of audio", { SET(per_minute, 30) }, { .audio_ms = 1000 }, 1 },
	{ "audio on top", { SET(per_minute, 60000), SET(input, 1000000) },
		{ .input = 3, .audio_ms = 1000 }, 1003 },
	{ "audio without a price of its length", { SET(input, 1000000) },
		{ .input = 3, .audio_ms = 1000 }, 3 },
	{ "audio of less than nothing", { SET(per_minute, 60000) }, { .audio_ms = -1000 }, 0 },
	{ "output without a price", { SET(input, 1000000) }, { .input = 3, .output = 50 }, 3 },
	{ "no price at all", { .version = 0 }, { .input = 3, .output = 50 }, 0 },
	/* Rounding: once per component, half away from zero. */
	{ "0.499999 of a nano", { SET(input, 499999) }, { .input = 1 }, 0 },
	{ "half a nano", { SET(input, 500000) }, { .input = 1 }, 1 },
	{ "one and a half", { SET(input, 500000) }, { .input = 3 }, 2 },
	{ "two halves in two components", { SET(input, 500000), SET(output, 500000) },
		{ .input = 1, .output = 1 }, 2 },
	{ "multiply first", { SET(input, 1) }, { .input = 1500000 }, 2 },
	{ "half away from zero also below it", { SET(input, -500000) }, { .input = 1 }, -1 },
	/* 64 bits would not do: 10^15 tokens * 10^12 is 10^27 before the division. */
	{ "128 bits", { SET(input, INT64_C(9000000000)) }, { .input = INT64_C(1000000000000000) },
		INT64_C(9000000000000000000) },
	{ "64 bits, just", { SET(input, INT64_MAX - 1000000) }, { .input = 1 },
		INT64_C(9223372036854) },
	{ "64 bits, just not", { SET(input, INT64_MAX - 999999) }, { .input = 1 },
		INT64_C(9223372036854) },
	{ "64 bits, but not with a half", { SET(input, INT64_MAX) }, { .input = 1 },
		INT64_C(9223372036855) },
	{ "up to the last nano", { SET(per_request, INT64_MAX) }, { 0 }, INT64_MAX },
};

static void costs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t got = -1;
		int r = price_cost(&cases[i].price, &cases[i].usage, &got);

		if (r != 0 || got != cases[i].want)
			fail_msg("%s: %d, %" PRId64 " instead of %" PRId64, cases[i].name, r, got,
				cases[i].want);
	}
}

static void too_much(void **state)
{
	static const struct {
		struct price price;
		struct price_usage usage;
	} over[] = {
		{ { SET(per_request, INT64_MAX), SET(input, 500000) }, { .input = 1 } },
		{ { SET(input, INT64_MAX) }, { .input = INT64_MAX } },
		{ { SET(input, INT64_MAX), SET(cached_input, INT64_MAX),
			  SET(cache_write, INT64_MAX), SET(audio_in, INT64_MAX),
			  SET(output, INT64_MAX), SET(reasoning, INT64_MAX),
			  SET(audio_out, INT64_MAX) },
			{ INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
				INT64_MAX, 0 } },
		{ { SET(per_minute, INT64_MAX), SET(per_request, INT64_MAX) },
			{ .audio_ms = 60000 } },
		{ { SET(input, INT64_MIN) }, { .input = INT64_MAX } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(over); i++) {
		int64_t got = 77;

		assert_int_equal(price_cost(&over[i].price, &over[i].usage, &got), -ERANGE);
		assert_int_equal(got, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(costs),
		cmocka_unit_test(too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
