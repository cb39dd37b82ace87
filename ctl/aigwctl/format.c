#include "format.h"

#include <aigw/text.h>
#include <time.h>

static int put_grouped(struct buf *b, const char *digits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			(void)buf_char(b, ',');
		(void)buf_char(b, digits[i]);
	}
	return b->err;
}

int format_count(struct buf *b, int64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64,
		n < 0 ? UINT64_C(0) - (uint64_t)n : (uint64_t)n);

	if (n < 0)
		(void)buf_char(b, '-');
	return put_grouped(b, digits, (size_t)len);
}

int format_short(struct buf *b, int64_t n)
{
	static const struct {
		int64_t unit;
		char letter;
		bool tenth;
	} steps[] = {
		{ 1000, 'k', false },
		{ 1000000, 'M', true },
		{ 1000000000, 'G', true },
		{ 1000000000000, 'T', true },
	};
	unsigned i = 0;
	int64_t scaled;

	if (n < 100000)
		return format_count(b, n);
	/* the next unit already where rounding would print 1000k or 1000.0M */
	while (i + 1 < ARRAY_LEN(steps) &&
		n >= steps[i + 1].unit - steps[i].unit / (steps[i].tenth ? 20 : 2))
		i++;
	if (!steps[i].tenth)
		return buf_printf(b, "%" PRId64 "%c", (n + steps[i].unit / 2) / steps[i].unit,
			steps[i].letter);
	scaled = n / (steps[i].unit / 10);
	scaled += n % (steps[i].unit / 10) >= steps[i].unit / 20;
	return buf_printf(b, "%" PRId64 ".%d%c", scaled / 10, (int)(scaled % 10), steps[i].letter);
}

int format_latency(struct buf *b, int64_t us)
{
	if (us < 0)
		return buf_char(b, '-');
	if (us < 10000)
		return buf_printf(b, "%" PRId64 ".%" PRId64 "ms", us / 1000, us % 1000 / 100);
	if (us < 10 * USEC_PER_S)
		return buf_printf(b, "%" PRId64 ".%02" PRId64 "s", us / USEC_PER_S,
			us % USEC_PER_S / (USEC_PER_S / 100));
	return buf_printf(b, "%" PRId64 ".%" PRId64 "s", us / USEC_PER_S,
		us % USEC_PER_S / (USEC_PER_S / 10));
}

int format_percent(struct buf *b, int64_t part, int64_t whole)
{
	__extension__ __int128 tenths;

	if (whole <= 0)
		return buf_char(b, '-');
	tenths = part;
	tenths = (tenths * 2000 + whole) / whole / 2;
	return buf_printf(b, "%" PRId64 ".%d%%", (int64_t)(tenths / 10), (int)(tenths % 10));
}

int format_bytes(struct buf *b, int64_t n)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	unsigned i = 0;
	int64_t unit = 1024;

	if (n < 1024)
		return buf_printf(b, "%" PRId64 " B", n);
	while (i + 1 < ARRAY_LEN(units) && n / 1024 >= unit) {
		unit *= 1024;
		i++;
	}
	return buf_printf(b, "%" PRId64 ".%d %s", n / unit, (int)(n % unit * 10 / unit), units[i]);
}

unsigned format_money_decimals(const char *nano_text)
{
	const char *dot = strchr(nano_text, '.');
	size_t n = dot ? strlen(dot + 1) : 0;

	while (n > 2 && dot[n] == '0')
		n--;
	return n < 2 ? 2 : (unsigned)n;
}

/* By digits, not by value: sums over a whole ledger may leave 64 bits. */
int format_money(struct buf *b, const char *nano_text, unsigned decimals, const char *currency)
{
	const char *p = nano_text + (*nano_text == '-');
	size_t whole = strspn(p, "0123456789");
	const char *fraction = p[whole] == '.' ? p + whole + 1 : p + whole;
	size_t n = strspn(fraction, "0123456789");
	unsigned needed = format_money_decimals(nano_text);

	if (!whole || fraction[n] || n > 9 || (p[whole] == '.' && !n))
		return -EINVAL;
	(void)buf_str(b, *nano_text == '-' ? "-" : "");
	if (strcmp(currency, "USD") == 0)
		(void)buf_char(b, '$');
	else
		(void)buf_printf(b, "%s ", currency);
	(void)put_grouped(b, p, whole);
	(void)buf_char(b, '.');
	decimals = MIN(MAX(decimals, needed), 9);
	(void)buf_append(b, fraction, MIN(n, decimals));
	for (; n < decimals; n++)
		(void)buf_char(b, '0');
	return b->err;
}

static int put_span(struct buf *b, usec d, bool up)
{
	int64_t s = (d + (up ? USEC_PER_S - 1 : 0)) / USEC_PER_S;

	if (s < 120)
		return buf_printf(b, "%" PRId64 "s", s);
	if (s < 120 * 60)
		return buf_printf(b, "%" PRId64 "m", (s + (up ? 59 : 0)) / 60);
	if (s < 48 * 3600)
		return buf_printf(b, "%" PRId64 "h", (s + (up ? 3599 : 0)) / 3600);
	return buf_printf(b, "%" PRId64 "d", (s + (up ? 86399 : 0)) / 86400);
}

int format_span(struct buf *b, usec d)
{
	return put_span(b, d, false);
}

int format_when(struct buf *b, usec then_us, usec now_us)
{
	usec d = now_us - then_us;

	if (d > -USEC_PER_S && d < USEC_PER_S)
		return buf_str(b, "now");
	(void)buf_str(b, d < 0 ? "in " : "");
	/* A key made a second ago for 90 days expires in 90 days, not in 89. */
	(void)put_span(b, d < 0 ? -d : d, d < 0);
	return buf_str(b, d < 0 ? "" : " ago");
}

int format_parse_utc(const char *text, usec *ret_us)
{
	struct tm tm = { 0 };
	const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	usec fraction = 0, unit = 100000;
	time_t t;

	if (!p)
		return -EINVAL;
	if (*p == '.') {
		if (p[1] < '0' || p[1] > '9')
			return -EINVAL;
		for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
			fraction += (*p - '0') * unit;
	}
	if (strcmp(p, "Z") != 0)
		return -EINVAL;
	t = timegm(&tm);
	if (t < 0 || t > INT64_MAX / USEC_PER_S - 1)
		return -EINVAL;
	*ret_us = (usec)t * USEC_PER_S + fraction;
	return 0;
}
