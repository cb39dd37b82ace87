#include "period.h"
#include "format.h"

#include <aigw/text.h>
#include <time.h>

#define DAY_US ((usec)86400 * USEC_PER_S)

static const char *const names[] = { "today", "yesterday", "week", "month", "last-month" };

/* First instant of the month that lies `back` months before the one of `us`. */
static usec month_begin(usec us, int back)
{
	time_t t = (time_t)(us / USEC_PER_S);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	tm.tm_mday = 1;
	tm.tm_mon -= back;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	return (usec)timegm(&tm) * USEC_PER_S;
}

int period_named(const char *name, usec now_us, usec *ret_since, usec *ret_until, struct errbuf *e)
{
	usec day = now_us / DAY_US;
	struct slice list[ARRAY_LEN(names)], near;

	*ret_until = 0;
	if (strcmp(name, "today") == 0) {
		*ret_since = day * DAY_US;
	} else if (strcmp(name, "yesterday") == 0) {
		*ret_since = (day - 1) * DAY_US;
		*ret_until = day * DAY_US;
	} else if (strcmp(name, "week") == 0) {
		*ret_since = (day - (day + 3) % 7) * DAY_US; /* 1970-01-01 was a Thursday */
	} else if (strcmp(name, "month") == 0) {
		*ret_since = month_begin(now_us, 0);
	} else if (strcmp(name, "last-month") == 0) {
		*ret_since = month_begin(now_us, 1);
		*ret_until = month_begin(now_us, 0);
	} else {
		for (unsigned i = 0; i < ARRAY_LEN(names); i++)
			list[i] = slice_str(names[i]);
		near = text_near(slice_str(name), list, ARRAY_LEN(list));
		return err_set(e, -EINVAL,
			"unknown period %.60s%s" SLICE_FMT
			"%s (today, yesterday, week, month, last-month)",
			name, near.n ? "; did you mean " : "", SLICE_ARG(near), near.n ? "?" : "");
	}
	return 0;
}

int period_moment(const char *text, usec now_us, usec *ret_us, struct errbuf *e)
{
	struct errbuf ignored;
	usec span, end;
	int64_t day;

	if (strcmp(text, "now") == 0) {
		*ret_us = now_us;
		return 0;
	}
	if (text_parse_duration(slice_str(text), &span) == 0 && span <= now_us) {
		*ret_us = now_us - span;
		return 0;
	}
	if (text_parse_date(slice_str(text), &day) == 0 && day >= 0 && day < 3000000) {
		*ret_us = day * DAY_US;
		return 0;
	}
	if (format_parse_utc(text, ret_us) == 0 ||
		period_named(text, now_us, ret_us, &end, &ignored) == 0)
		return 0;
	return err_set(e, -EINVAL,
		"%.60s is no time: say 24h or 7d (ago), 2026-11-01, 2026-11-01T08:00:00Z or month",
		text);
}
