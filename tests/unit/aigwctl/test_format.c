/* Numbers for eyes: exact where it is money, short where it is size. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "format.h"

static struct buf out;

static const char *fresh(void)
{
	const char *s = buf_cstr(&out);

	out.n = 0;
	return s;
}

static int setup(void **state)
{
	(void)state;
	buf_init(&out, 4096);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&out);
	return 0;
}

static void test_counts(void **state)
{
	static const struct {
		int64_t n;
		const char *count, *brief;
	} cases[] = {
		{ 0, "0", "0" },
		{ 999, "999", "999" },
		{ 1000, "1,000", "1,000" },
		{ 99999, "99,999", "99,999" },
		{ 100000, "100,000", "100k" },
		{ 499499, "499,499", "499k" },
		{ 499500, "499,500", "500k" },
		{ 999499, "999,499", "999k" },
		{ 999500, "999,500", "1.0M" }, /* not 1000k */
		{ 812400000, "812,400,000", "812.4M" },
		{ 999949999, "999,949,999", "999.9M" },
		{ 999950000, "999,950,000", "1.0G" }, /* not 1000.0M */
		{ 1143200113, "1,143,200,113", "1.1G" },
		{ INT64_MAX, "9,223,372,036,854,775,807", "9223372.0T" },
		{ -1234, "-1,234", "-1,234" },
		{ INT64_MIN, "-9,223,372,036,854,775,808", "-9,223,372,036,854,775,808" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(format_count(&out, cases[i].n), 0);
		assert_string_equal(fresh(), cases[i].count);
		assert_int_equal(format_short(&out, cases[i].n), 0);
		assert_string_equal(fresh(), cases[i].brief);
	}
}

static void test_percent(void **state)
{
	static const struct {
		int64_t part, whole;
		const char *want;
	} cases[] = {
		{ 0, 0, "-" },
		{ 0, 5, "0.0%" },
		{ 1, 3, "33.3%" },
		{ 2, 3, "66.7%" },
		{ 5, 5, "100.0%" },
		{ 1, 2000, "0.1%" },
		{ 1, 2001, "0.0%" },
		{ INT64_MAX, INT64_MAX, "100.0%" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(format_percent(&out, cases[i].part, cases[i].whole), 0);
		assert_string_equal(fresh(), cases[i].want);
	}
}

static void test_bytes(void **state)
{
	static const struct {
		int64_t n;
		const char *want;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1048575, "1023.9 KiB" },
		{ 1048576, "1.0 MiB" },
		{ 67108864, "64.0 MiB" },
		{ INT64_MAX, "8388607.9 TiB" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(format_bytes(&out, cases[i].n), 0);
		assert_string_equal(fresh(), cases[i].want);
	}
}

/* Money is never rounded: as many decimals as it takes. */
static void test_money(void **state)
{
	static const struct {
		const char *text;
		const char *currency, *want;
	} cases[] = {
		{ "0.000000000", "USD", "$0.00" },
		{ "148.100000000", "USD", "$148.10" },
		{ "1904.110000000", "USD", "$1,904.11" },
		{ "0.000799000", "USD", "$0.000799" },
		{ "0.000000001", "USD", "$0.000000001" },
		{ "9223372036.854775807", "USD", "$9,223,372,036.854775807" },
		{ "123456789012345678901.500000000", "USD", "$123,456,789,012,345,678,901.50" },
		{ "-12.500000000", "USD", "-$12.50" },
		{ "12.500000000", "EUR", "EUR 12.50" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(format_money(&out, cases[i].text,
					 format_money_decimals(cases[i].text), cases[i].currency),
			0);
		assert_string_equal(fresh(), cases[i].want);
	}
	/* a column has the decimals of its longest */
	assert_int_equal(format_money(&out, "1.500000000", 6, "USD"), 0);
	assert_string_equal(fresh(), "$1.500000");
	/* fewer than needed cut nothing off */
	assert_int_equal(format_money(&out, "0.000799000", 2, "USD"), 0);
	assert_string_equal(fresh(), "$0.000799");
	assert_int_equal(format_money(&out, "1e3", 2, "USD"), -EINVAL);
	assert_int_equal(format_money(&out, "", 2, "USD"), -EINVAL);
	assert_string_equal(fresh(), "");
	assert_int_equal(format_money_decimals("3"), 2);
	assert_int_equal(format_money_decimals("3.1"), 2);
}

static void test_when(void **state)
{
	static const struct {
		int64_t s;
		const char *want;
	} cases[] = {
		{ 0, "now" },
		{ 4, "4s ago" },
		{ 119, "119s ago" },
		{ 120, "2m ago" },
		{ 3 * 3600, "3h ago" },
		{ 90 * 86400, "90d ago" },
		{ -90 * 86400, "in 90d" },
		{ -59, "in 59s" },
		{ -(90 * 86400 - 1), "in 90d" }, /* what is to come rounds up */
		{ -121, "in 3m" },
		{ 90 * 86400 - 1, "89d ago" },
	};
	usec now = (usec)1800000000 * USEC_PER_S;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(format_when(&out, now - cases[i].s * USEC_PER_S, now), 0);
		assert_string_equal(fresh(), cases[i].want);
	}
}

static void test_parse_utc(void **state)
{
	static const struct {
		const char *text;
		int result;
		usec want;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2026-11-23T01:26:51Z", 0, (usec)1795397211 * USEC_PER_S },
		{ "2026-11-23T01:26:51.000001Z", 0, (usec)1795397211 * USEC_PER_S + 1 },
		{ "2026-11-23T01:26:51.5Z", 0, (usec)1795397211 * USEC_PER_S + 500000 },
		{ "2026-11-23T01:26:51", -EINVAL, 0 },
		{ "2026-11-23T01:26:51.Z", -EINVAL, 0 },
		{ "2026-11-23T01:26:51+01:00", -EINVAL, 0 },
		{ "2026-11-23", -EINVAL, 0 },
		{ "yesterday", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		usec t = 0;

		assert_int_equal(format_parse_utc(cases[i].text, &t), cases[i].result);
		assert_true(t == cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_money),
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_parse_utc),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
