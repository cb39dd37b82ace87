#include "behaviour.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { FLAG, NUMBER, TEXT };

static const struct row {
	const char *name;
	enum kind kind;
	size_t at;
	int64_t min, max;
	bool fault; /* switched off outside of flaky-N and times-N */
	const char *help;
} rows[] = {
#define AT(field) offsetof(struct behaviour, field)
	{ "fail", NUMBER, AT(fail), 300, 599, true,
		"status N with an error body in the shape of OpenAI (300..599)" },
	{ "fail-close", FLAG, AT(fail_close), 0, 0, true, "closes without an answer" },
	{ "fail-reset", FLAG, AT(fail_reset), 0, 0, true, "RST without an answer" },
	{ "fail-hang", FLAG, AT(fail_hang), 0, 0, true, "never answers" },
	{ "fail-midbody", FLAG, AT(fail_midbody), 0, 0, true,
		"closes after half of the body (stream: after half of the chunks)" },
	{ "fail-badjson", FLAG, AT(fail_badjson), 0, 0, true,
		"half of the JSON, right length (stream: first content event cut short)" },
	{ "head-only", FLAG, AT(head_only), 0, 0, true, "sends the head, then closes" },
	{ "retry-after", NUMBER, AT(retry_after), 0, 1000000, true,
		"header retry-after, seconds, with fail-N" },
	{ "retry-after-ms", NUMBER, AT(retry_after_ms), 0, 1000000000, true,
		"header retry-after-ms, with fail-N" },
	{ "code", TEXT, AT(code), 0, 0, true, "error code of fail-N and error-event-N" },
	{ "header", TEXT, AT(header), 0, 0, true, "one more header, TEXT is NAME:VALUE" },
	{ "cut-after", NUMBER, AT(cut_after), 0, 1000000, true,
		"stream: closes after N content chunks; 0: after the role" },
	{ "stall-after", NUMBER, AT(stall_after), 0, 1000000, true,
		"stream: sends nothing more after N content chunks" },
	{ "bad-chunk", NUMBER, AT(bad_chunk), 0, 1000000, true,
		"stream: content chunk N (from 0) is no JSON" },
	{ "error-event", NUMBER, AT(error_event), 0, 1000000, true,
		"stream: error event after N content chunks, then the end; 0: first event" },
	{ "slow", NUMBER, AT(slow), 0, 3600000, true, "everything N ms later" },
	{ "first-after", NUMBER, AT(first_after), 0, 3600000, true,
		"stream: head at once, first event N ms later" },
	{ "swap-framing", FLAG, AT(swap_framing), 0, 0, true,
		"JSON to a stream call, an event stream to a plain one" },
	{ "no-done", FLAG, AT(no_done), 0, 0, true, "stream: no [DONE]" },
	{ "hold-open", FLAG, AT(hold_open), 0, 0, true,
		"stream: all events, then the body never ends" },
	{ "close-after", FLAG, AT(close_after), 0, 0, false,
		"closes after the answer, unannounced" },
	{ "close-on-next", FLAG, AT(close_on_next), 0, 0, false,
		"closes when bytes of the next request come" },
	{ "gzip", FLAG, AT(gzip), 0, 0, false, "compressed in spite of identity" },
	{ "no-usage", FLAG, AT(no_usage), 0, 0, false, "no usage in answer and stream" },
	{ "usage-in-finish", FLAG, AT(usage_in_finish), 0, 0, false,
		"stream: usage in the finish chunk, asked for or not" },
	{ "one-write", FLAG, AT(one_write), 0, 0, false,
		"stream: head and all events in one write, one chunk" },
	{ "chunk-split", FLAG, AT(chunk_split), 0, 0, false,
		"cuts the bytes at random places (--cut-seed)" },
	{ "role-only-first", FLAG, AT(role_only_first), 0, 0, false,
		"stream: role without content at once; first-after holds the rest" },
	{ "no-prefill", FLAG, AT(no_prefill), 0, 0, false,
		"400 if the last message is the assistant's" },
	{ "echo-prefill", FLAG, AT(echo_prefill), 0, 0, false,
		"what goes on from the assistant's last message repeats it first" },
	{ "stamp", FLAG, AT(stamp), 0, 0, false,
		"each content piece begins with T and CLOCK_MONOTONIC in 19 digits of ns" },
	{ "tokens", NUMBER, AT(tokens), 1, 1000000, false, "N words" },
	{ "bytes", NUMBER, AT(bytes), 1, 65536, false, "N bytes per word" },
	{ "pace", NUMBER, AT(pace), 0, 3600000000, false, "N us between content chunks" },
	{ "cached", NUMBER, AT(cached), 0, 1000000000, false, "cached_tokens N" },
	{ "reasoning", NUMBER, AT(reasoning), 0, 1000000000, false,
		"reasoning_tokens N, added to the output tokens" },
	{ "flaky", NUMBER, AT(flaky), 1, 1000000, false,
		"faults (none named: fail-500) on every Nth request of this model name only" },
	{ "times", NUMBER, AT(times), 0, 1000000, false,
		"faults on the first N requests of this model name only" },
#undef AT
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static char wrong[256];

static const char *wrong_say(const char *why, const char *what, size_t n)
{
	snprintf(wrong, sizeof(wrong), "sim: %s \"%.*s\"", why, (int)(n > 120 ? 120 : n), what);
	return wrong;
}

static void *field_of(struct behaviour *b, const struct row *r)
{
	return (char *)b + r->at;
}

static const char *value_set(struct behaviour *b, const struct row *r, int64_t n)
{
	if (n < r->min || n > r->max)
		return wrong_say("number out of range in behaviour", r->name, strlen(r->name));
	memcpy(field_of(b, r), &n, sizeof(n));
	return NULL;
}

static const char *text_set(struct behaviour *b, const struct row *r, const char *p, size_t n)
{
	char *to = field_of(b, r);
	bool fits = n && n < BEHAVIOUR_TEXT_MAX;

	for (size_t i = 0; i < n && fits; i++)
		fits = p[i] >= ' ' && p[i] <= '~';
	if (!fits || (to == b->header && !memchr(p + 1, ':', n - 1)))
		return wrong_say("no such text in behaviour", r->name, strlen(r->name));
	memcpy(to, p, n);
	to[n] = 0;
	return NULL;
}

static void flag_set(struct behaviour *b, const struct row *r, bool on)
{
	memcpy(field_of(b, r), &on, sizeof(on));
}

/* Digits at p: how many, and their value; 0 if none or too many. */
static size_t digits_read(const char *p, size_t n, int64_t *ret)
{
	size_t i = 0;

	*ret = 0;
	while (i < n && i < 15 && p[i] >= '0' && p[i] <= '9')
		*ret = *ret * 10 + (p[i++] - '0');
	return i;
}

/* 1: applied, 0: no such behaviour, -1: wrong (said in `wrong`). */
static int part_apply(struct behaviour *b, const char *p, size_t n, bool first)
{
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		size_t name = strlen(r->name), digits;
		int64_t v;

		if (n < name || memcmp(p, r->name, name))
			continue;
		if (r->kind == FLAG) {
			if (n != name && !(first && p[name] == '-'))
				continue;
			flag_set(b, r, true);
			return 1;
		}
		if (n < name + 2 || p[name] != '-')
			continue;
		if (r->kind == TEXT)
			return text_set(b, r, p + name + 1, n - name - 1) ? -1 : 1;
		digits = digits_read(p + name + 1, n - name - 1, &v);
		if (!digits || (n != name + 1 + digits && !(first && p[name + 1 + digits] == '-')))
			continue;
		return value_set(b, r, v) ? -1 : 1;
	}
	return 0;
}

const char *behaviour_apply_text(struct behaviour *b, const char *text, bool named)
{
	bool first = named;

	for (const char *p = text;; first = false) {
		size_t n = strcspn(p, "+");
		int rc = n ? part_apply(b, p, n, first) : first || !*text;

		if (rc < 0)
			return wrong;
		if (!rc && !first)
			return wrong_say("unknown behaviour", p, n);
		if (!p[n])
			return NULL;
		p += n + 1;
	}
}

static const char *member_apply(struct behaviour *b, const char *key, const json_t *v)
{
	char name[32];
	size_t n = strlen(key);

	if (n >= sizeof(name))
		return wrong_say("unknown behaviour", key, n);
	for (size_t i = 0; i <= n; i++)
		name[i] = key[i] == '_' ? '-' : key[i];
	for (size_t i = 0; i < ROWS; i++) {
		if (strcmp(rows[i].name, name))
			continue;
		if (rows[i].kind == FLAG && json_is_boolean(v)) {
			flag_set(b, &rows[i], json_is_true(v));
			return NULL;
		}
		if (rows[i].kind == NUMBER && json_is_integer(v))
			return value_set(b, &rows[i], json_integer_value(v));
		if (rows[i].kind == TEXT && json_is_string(v))
			return text_set(b, &rows[i], json_string_value(v), json_string_length(v));
		return wrong_say("wrong type for behaviour", key, n);
	}
	return wrong_say("unknown behaviour", key, n);
}

const char *behaviour_apply_json(struct behaviour *b, json_t *what)
{
	const char *key, *why = NULL;
	json_t *v;

	if (json_is_string(what))
		return behaviour_apply_text(b, json_string_value(what), false);
	if (!json_is_object(what))
		return "sim: behaviours are a text or an object";
	json_object_foreach(what, key, v)
	{
		why = member_apply(b, key, v);
		if (why)
			break;
	}
	return why;
}

void behaviour_clear_faults(struct behaviour *b)
{
	for (size_t i = 0; i < ROWS; i++) {
		int64_t none = -1;

		if (!rows[i].fault)
			continue;
		if (rows[i].kind == NUMBER)
			memcpy(field_of(b, &rows[i]), &none, sizeof(none));
		else if (rows[i].kind == FLAG)
			flag_set(b, &rows[i], false);
		else
			memset(field_of(b, &rows[i]), 0, BEHAVIOUR_TEXT_MAX);
	}
}

bool behaviour_has_fault(const struct behaviour *b)
{
	struct behaviour clean;

	memcpy(&clean, b, sizeof(clean));
	behaviour_clear_faults(&clean);
	return memcmp(&clean, b, sizeof(clean)) != 0;
}

void behaviour_init(struct behaviour *b)
{
	int64_t none = -1;

	memset(b, 0, sizeof(*b));
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].kind == NUMBER)
			memcpy(field_of(b, &rows[i]), &none, sizeof(none));
}

void behaviour_names_add(struct buf *out)
{
	static const char *const forms[] = { [FLAG] = "", [NUMBER] = "-N", [TEXT] = "-TEXT" };

	for (size_t i = 0; i < ROWS; i++)
		buf_addf(out, "%s%s%*s %s\n", rows[i].name, forms[rows[i].kind],
			(int)(22 - strlen(rows[i].name) - strlen(forms[rows[i].kind])), "",
			rows[i].help);
}
