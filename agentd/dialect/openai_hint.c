#include "dialect/openai_hint.h"

#include "dialect/openai_answer.h"

#include <aigw/json_scan.h>
#include <aigw/text.h>
#include <time.h>

#define HINT_MAX (INT64_C(365) * 86400 * USEC_PER_S)

/* A number's digits and one point. */
static size_t number_length(struct slice s)
{
	size_t n = 0;

	while (n < s.n && ((s.p[n] >= '0' && s.p[n] <= '9') || s.p[n] == '.'))
		n++;
	return n;
}

static usec unit_of(struct slice s, size_t *ret_n)
{
	*ret_n = 1;
	if (s.n >= 2 && s.p[0] == 'm' && s.p[1] == 's') {
		*ret_n = 2;
		return USEC_PER_MS;
	}
	switch (s.n ? s.p[0] : '\0') {
	case 's': return USEC_PER_S;
	case 'm': return 60 * USEC_PER_S;
	case 'h': return 3600 * USEC_PER_S;
	case 'd': return 86400 * USEC_PER_S;
	default: return 0;
	}
}

usec openai_hint_of(struct slice duration)
{
	struct slice s = slice_trim(duration);
	usec sum = 0;

	while (s.n) {
		size_t n = number_length(s), unit_n;
		usec unit = unit_of(slice_skip(s, n), &unit_n);
		int64_t nano;

		/* Thousandths are exact enough, and within a year their product fits. */
		if (!n || !unit || text_parse_nano(slice_of(s.p, n), false, &nano) ||
			nano / 1000000 > HINT_MAX / unit * 1000)
			return 0;
		sum += nano / 1000000 * unit / 1000;
		s = slice_skip(s, n + unit_n);
	}
	return sum;
}

/* --- of the head ---------------------------------------------------------------------- */

/* How long until then; 0: it is over, or no such time. */
static usec until(struct slice when, const char *format, usec wall_us)
{
	struct tm tm = { 0 };
	char text[64];
	const char *end;
	usec at;

	when = slice_trim(when);
	if (!when.n || when.n >= sizeof(text))
		return 0;
	memcpy(text, when.p, when.n);
	text[when.n] = '\0';
	end = strptime(text, format, &tm);
	if (!end)
		return 0;
	at = (usec)timegm(&tm) * USEC_PER_S - wall_us;
	return MIN(MAX(at, (usec)0), HINT_MAX);
}

/* RFC 3339, in UTC, as Anthropic writes it; parts of a second may stand there. */
static usec until_rfc3339(struct slice when, usec wall_us)
{
	struct slice s = slice_trim(when);

	if (!s.n || (s.p[s.n - 1] != 'Z' && s.p[s.n - 1] != 'z'))
		return 0;
	return until(s, "%Y-%m-%dT%H:%M:%S", wall_us);
}

/* The limits that a head may tell of, and until when. */
static const struct limit_names {
	struct slice limit, remaining, reset;
	bool is_time; /* reset: a time, else a duration */
} limits[] = {
	{ SLICE_INIT("x-ratelimit-limit-requests"), SLICE_INIT("x-ratelimit-remaining-requests"),
		SLICE_INIT("x-ratelimit-reset-requests"), false },
	{ SLICE_INIT("x-ratelimit-limit-tokens"), SLICE_INIT("x-ratelimit-remaining-tokens"),
		SLICE_INIT("x-ratelimit-reset-tokens"), false },
	{ SLICE_INIT("anthropic-ratelimit-requests-limit"),
		SLICE_INIT("anthropic-ratelimit-requests-remaining"),
		SLICE_INIT("anthropic-ratelimit-requests-reset"), true },
	{ SLICE_INIT("anthropic-ratelimit-tokens-limit"),
		SLICE_INIT("anthropic-ratelimit-tokens-remaining"),
		SLICE_INIT("anthropic-ratelimit-tokens-reset"), true },
	{ SLICE_INIT("anthropic-ratelimit-input-tokens-limit"),
		SLICE_INIT("anthropic-ratelimit-input-tokens-remaining"),
		SLICE_INIT("anthropic-ratelimit-input-tokens-reset"), true },
	{ SLICE_INIT("anthropic-ratelimit-output-tokens-limit"),
		SLICE_INIT("anthropic-ratelimit-output-tokens-remaining"),
		SLICE_INIT("anthropic-ratelimit-output-tokens-reset"), true },
};

static bool whole_number_of(const struct h1_head *h, struct slice name, int64_t *ret)
{
	const struct h1_field *f = h1_find(h, name);
	int64_t nano;

	if (!f || text_parse_nano(slice_trim(f->value), false, &nano) < 0)
		return false;
	*ret = nano / 1000000000;
	return true;
}

static usec reset_of(const struct h1_head *h, const struct limit_names *l, usec wall_us)
{
	const struct h1_field *reset = h1_find(h, l->reset);

	if (!reset)
		return 0;
	return l->is_time ? until_rfc3339(reset->value, wall_us) : openai_hint_of(reset->value);
}

/* Until the limit that is used up begins anew. */
static usec hint_of_limits(const struct h1_head *h, usec wall_us)
{
	usec us = 0;

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		const struct h1_field *left = h1_find(h, limits[i].remaining);

		if (left && slice_eq(slice_trim(left->value), SLICE("0")))
			us = MAX(us, reset_of(h, &limits[i], wall_us));
	}
	return us;
}

bool openai_limit_left(
	const struct h1_head *h, usec wall_us, uint32_t all, uint32_t *ret_left, usec *ret_reset_us)
{
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		int64_t limit, remaining;
		uint32_t left;

		if (!whole_number_of(h, limits[i].limit, &limit) || limit <= 0 ||
			!whole_number_of(h, limits[i].remaining, &remaining))
			continue;
		/* Both fit 34 bits, and all 16. */
		left = (uint32_t)(MIN(remaining, limit) * all / limit);
		if (found && left >= *ret_left)
			continue;
		found = true;
		*ret_left = left;
		*ret_reset_us = reset_of(h, &limits[i], wall_us);
	}
	return found;
}

usec openai_hint_of_head(const struct h1_head *h, usec wall_us)
{
	const struct h1_field *f = h1_find(h, SLICE("retry-after-ms"));
	int64_t nano;

	if (f && text_parse_nano(slice_trim(f->value), false, &nano) == 0)
		return nano / 1000000; /* read as milliseconds, to nine decimals */
	f = h1_find(h, SLICE("retry-after"));
	if (!f)
		return hint_of_limits(h, wall_us);
	if (text_parse_nano(slice_trim(f->value), false, &nano) == 0)
		return nano / 1000;
	return until(f->value, "%a, %d %b %Y %H:%M:%S GMT", wall_us);
}

/* --- of the body ---------------------------------------------------------------------- */

static int on_detail(void *arg, const struct jscan_member *m)
{
	struct jscan_member delay;
	usec *us = arg;

	if (m->kind == JSCAN_OBJECT && jscan_find(m->value, SLICE("retryDelay"), &delay) == 0 &&
		delay.kind == JSCAN_STRING)
		*us = openai_hint_of(slice_of(delay.value.p + 1, delay.value.n - 2));
	return *us > 0;
}

/* A unit as people write it. */
static usec unit_in_words(struct slice s, size_t *ret_n)
{
	static const struct {
		const char *word;
		usec us;
	} units[] = { { "milliseconds", USEC_PER_MS }, { "ms", USEC_PER_MS },
		{ "seconds", USEC_PER_S }, { "second", USEC_PER_S }, { "s", USEC_PER_S },
		{ "minutes", 60 * USEC_PER_S }, { "minute", 60 * USEC_PER_S },
		{ "m", 60 * USEC_PER_S }, { "hours", 3600 * USEC_PER_S },
		{ "hour", 3600 * USEC_PER_S }, { "h", 3600 * USEC_PER_S },
		{ "days", 86400 * USEC_PER_S }, { "day", 86400 * USEC_PER_S },
		{ "d", 86400 * USEC_PER_S } };
	size_t n = 0;

	while (n < s.n && ((s.p[n] >= 'a' && s.p[n] <= 'z') || (s.p[n] >= 'A' && s.p[n] <= 'Z')))
		n++;
	*ret_n = n;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (slice_eq_nocase(slice_of(s.p, n), slice_str(units[i].word)))
			return units[i].us;
	return 0;
}

/* "20s. Visit ...", "7m12.5s", "20 seconds": the duration that text begins with. */
static usec leading_duration(struct slice s)
{
	usec sum = 0;

	while (s.n && s.p[0] >= '0' && s.p[0] <= '9') {
		size_t n = number_length(s), unit_n;
		int64_t nano;
		usec unit;

		if (text_parse_nano(slice_of(s.p, n), false, &nano))
			return sum;
		s = slice_skip(s, n);
		if (s.n && s.p[0] == ' ')
			s = slice_skip(s, 1);
		unit = unit_in_words(s, &unit_n);
		if (!unit || nano / 1000000 > HINT_MAX / unit * 1000)
			return sum;
		sum += nano / 1000000 * unit / 1000;
		s = slice_skip(s, unit_n);
	}
	return MIN(sum, HINT_MAX);
}

static usec hint_in_words(struct slice message)
{
	static const struct slice words[] = { SLICE_INIT("try again in "), SLICE_INIT("retry in "),
		SLICE_INIT("retry after "), SLICE_INIT("try again after ") };
	usec us;

	for (size_t i = 0; i < message.n; i++)
		for (size_t k = 0; k < ARRAY_LEN(words); k++) {
			size_t n = words[k].n;

			if (i + n > message.n ||
				!slice_eq_nocase(slice_of(message.p + i, n), words[k]))
				continue;
			us = leading_duration(slice_skip(message, i + n));
			if (us)
				return us;
		}
	return 0;
}

usec openai_hint_in(struct slice body)
{
	struct slice error = openai_error_object(body);
	struct jscan_member m;
	usec us = 0;

	if (jscan_find(error, SLICE("details"), &m) == 0 && m.kind == JSCAN_ARRAY)
		(void)jscan_array(m.value, on_detail, &us, NULL);
	if (!us && jscan_find(error, SLICE("message"), &m) == 0 && m.kind == JSCAN_STRING)
		us = hint_in_words(slice_of(m.value.p + 1, m.value.n - 2));
	return us;
}
