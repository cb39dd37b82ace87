/* Numbers, dates and amounts. Nothing here looks at the locale or touches a double. */
#include <aigw/text.h>

#define NANO_DECIMALS   9
#define NANO_UNIT       1000000000u
#define U64_SAFE_DIGITS 19 /* so many nines are below 2^64 */

struct unit {
	struct slice name;
	uint64_t factor;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static size_t digits_len(struct slice s)
{
	size_t n = 0;

	while (n < s.n && is_digit(s.p[n]))
		n++;
	return n;
}

int text_parse_u64(struct slice s, uint64_t *ret)
{
	size_t safe = MIN(s.n, (size_t)U64_SAFE_DIGITS);
	uint64_t v = 0;

	if (s.n == 0)
		return -EINVAL;
	for (size_t i = 0; i < safe; i++) {
		unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';

		if (digit > 9)
			return -EINVAL;
		v = v * 10 + digit;
	}
	if (UNLIKELY(safe < s.n)) {
		if (digits_len(s) != s.n)
			return -EINVAL;
		for (size_t i = safe; i < s.n; i++) {
			if (__builtin_mul_overflow(v, 10u, &v) ||
				__builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
				return -ERANGE;
		}
	}
	*ret = v;
	return 0;
}

/* The signed value of a magnitude. */
static int to_i64(bool negative, uint64_t v, int64_t *ret)
{
	if (v > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	*ret = negative ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int text_parse_i64(struct slice s, int64_t *ret)
{
	bool negative = s.n && s.p[0] == '-';
	uint64_t v;
	int r = text_parse_u64(negative ? slice_skip(s, 1) : s, &v);

	return r < 0 ? r : to_i64(negative, v, ret);
}

/* Digits, then one of the units. */
static int parse_with_unit(struct slice s, const struct unit *units, size_t n_units, uint64_t *ret)
{
	size_t digits = digits_len(s);
	struct slice name = slice_skip(s, digits);
	uint64_t v;
	int r;

	for (size_t i = 0; i < n_units; i++) {
		if (!slice_eq(name, units[i].name))
			continue;
		r = text_parse_u64(slice_of(s.p, digits), &v);
		if (r < 0)
			return r;
		return __builtin_mul_overflow(v, units[i].factor, ret) ? -ERANGE : 0;
	}
	return -EINVAL;
}

static const struct unit duration_units[] = {
	{ { "d", 1 }, 86400 * (uint64_t)USEC_PER_S },
	{ { "h", 1 }, 3600 * (uint64_t)USEC_PER_S },
	{ { "m", 1 }, 60 * (uint64_t)USEC_PER_S },
	{ { "s", 1 }, (uint64_t)USEC_PER_S },
	{ { "ms", 2 }, (uint64_t)USEC_PER_MS },
	{ { "us", 2 }, 1 },
};

int text_parse_duration(struct slice s, usec *ret)
{
	uint64_t v;
	int r = parse_with_unit(s, duration_units, ARRAY_LEN(duration_units), &v);

	return r < 0 ? r : to_i64(false, v, ret);
}

void text_format_duration(usec d, char out[static 32])
{
	uint64_t v = d < 0 ? 0 - (uint64_t)d : (uint64_t)d;
	const struct unit *u = duration_units;

	if (v == 0) {
		memcpy(out, "0s", 3);
		return;
	}
	while (v % u->factor != 0)
		u++;
	(void)snprintf(out, 32, "%s%" PRIu64 "%s", d < 0 ? "-" : "", v / u->factor, u->name.p);
}

int text_parse_size(struct slice s, uint64_t *ret)
{
	static const struct unit units[] = {
		{ { "", 0 }, 1 },
		{ { "KiB", 3 }, (uint64_t)1 << 10 },
		{ { "MiB", 3 }, (uint64_t)1 << 20 },
		{ { "GiB", 3 }, (uint64_t)1 << 30 },
		{ { "TiB", 3 }, (uint64_t)1 << 40 },
	};
	uint64_t v;
	int r = parse_with_unit(s, units, ARRAY_LEN(units), &v);

	if (r == 0)
		*ret = v;
	return r;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Days from 0000-03-01 to the first of that month, years counted from March so that a leap day
 * comes last. */
static int64_t days_to_month(unsigned year, unsigned month)
{
	int64_t y = month < 3 ? (int64_t)year - 1 : (int64_t)year;
	int64_t m = month < 3 ? month + 9 : month - 3;
	int64_t leap = y < 0 ? -1 : y / 4 - y / 100 + y / 400;

	return y * 365 + leap + (153 * m + 2) / 5;
}

int text_parse_date(struct slice s, int64_t *ret_day)
{
	uint64_t year, month, day;

	if (s.n != 10 || s.p[4] != '-' || s.p[7] != '-')
		return -EINVAL;
	if (text_parse_u64(slice_of(s.p, 4), &year) < 0 ||
		text_parse_u64(slice_of(s.p + 5, 2), &month) < 0 ||
		text_parse_u64(slice_of(s.p + 8, 2), &day) < 0)
		return -EINVAL;
	if (month < 1 || month > 12 || day < 1)
		return -EINVAL;
	if (day > days_in_month((unsigned)year, (unsigned)month))
		return -EINVAL;
	*ret_day = days_to_month((unsigned)year, (unsigned)month) + (int64_t)day - 1 -
		   days_to_month(1970, 1);
	return 0;
}

int text_parse_nano(struct slice s, bool allow_negative, int64_t *ret_nano)
{
	bool negative = s.n && s.p[0] == '-';
	struct slice whole, rest;
	uint64_t v, fraction = 0;
	int r;

	if (negative && !allow_negative)
		return -EINVAL;
	if (negative)
		s = slice_skip(s, 1);
	whole = slice_of(s.p, digits_len(s));
	rest = slice_skip(s, whole.n);
	if (rest.n) {
		unsigned decimals = (unsigned)(rest.n - 1);

		if (rest.p[0] != '.' || rest.n - 1 > NANO_DECIMALS)
			return -EINVAL;
		if (text_parse_u64(slice_skip(rest, 1), &fraction) < 0)
			return -EINVAL;
		for (; decimals < NANO_DECIMALS; decimals++)
			fraction *= 10;
	}
	r = text_parse_u64(whole, &v);
	if (r < 0)
		return r;
	if (__builtin_mul_overflow(v, NANO_UNIT, &v) || __builtin_add_overflow(v, fraction, &v))
		return -ERANGE;
	return to_i64(negative, v, ret_nano);
}

void text_format_nano(int64_t nano, unsigned decimals_min, char out[static 32])
{
	uint64_t v = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
	unsigned least = MIN(decimals_min, (unsigned)NANO_DECIMALS);
	unsigned decimals = NANO_DECIMALS;
	int n = snprintf(out, 32, "%s%" PRIu64 ".%09" PRIu64, nano < 0 ? "-" : "", v / NANO_UNIT,
		v % NANO_UNIT);

	while (decimals > least && out[n - 1] == '0') {
		decimals--;
		n--;
	}
	if (decimals == 0)
		n--;
	out[n] = '\0';
}
