#include "dialect/openai.h"

#include <aigw/find.h>
#include <aigw/json_scan.h>
#include <aigw/text.h>

enum { SEEN_MODEL = 1, SEEN_STREAM = 2, SEEN_OPTIONS = 4 };

struct scan {
	struct openai_facts *f;
	struct slice body;
	const char *duplicate;
	uint8_t twins; /* members met in other letters */
};

static bool once(struct scan *s, uint8_t bit, const char *name)
{
	if (s->f->seen & bit) {
		s->duplicate = name;
		return false;
	}
	s->f->seen |= bit;
	return true;
}

/* Some servers (Go's encoding/json) take "Model" for "model", and the long s for an s; the last one
 * counts. To them a member written so beside the plain one is a second one, and it would be theirs
 * that is served and ours that is priced. */
static bool is_twin(const struct jscan_member *m, struct slice name)
{
	char bytes[64], plain[sizeof(bytes)];
	struct buf b = { .p = bytes, .cap = sizeof(bytes), .max = sizeof(bytes) };
	size_t n = 0;

	if (m->key.n < name.n || jscan_string(slice_of(m->key.p - 1, m->key.n + 2), &b))
		return false;
	for (size_t i = 0; i < b.n; i++) {
		bool long_s = i + 1 < b.n && memcmp(b.p + i, "\xc5\xbf", 2) == 0;

		plain[n++] = long_s ? 's' : b.p[i];
		i += long_s;
	}
	return slice_eq_nocase(slice_of(plain, n), name);
}

static void note_twin(struct scan *s, const struct jscan_member *m)
{
	if (is_twin(m, SLICE("model")))
		s->twins |= SEEN_MODEL;
	else if (is_twin(m, SLICE("stream")))
		s->twins |= SEEN_STREAM;
	else if (is_twin(m, SLICE("stream_options")))
		s->twins |= SEEN_OPTIONS;
}

static const char *twin_of(uint8_t both)
{
	if (both & SEEN_MODEL)
		return "model";
	if (both & SEEN_STREAM)
		return "stream";
	return both & SEEN_OPTIONS ? "stream_options" : NULL;
}

static int on_option(void *arg, const struct jscan_member *m)
{
	struct openai_facts *f = arg;

	if (jscan_key_is(m, SLICE("include_usage"))) {
		f->include_usage = m->value;
		f->asks_usage = m->kind == JSCAN_TRUE;
	}
	return 0;
}

/* The lengths that "stream" and "stream_options" have with them. */
static bool has_long_s(struct slice key)
{
	return (key.n == 7 || key.n == 15 || key.n == 16) && memchr(key.p, '\xc5', key.n);
}

static int on_member(void *arg, const struct jscan_member *m)
{
	struct scan *s = arg;
	struct openai_facts *f = s->f;
	int64_t v;

	/* A key without escapes is told apart by its length first. */
	if (!m->key_escaped && m->key.n != 5 && m->key.n != 6 && m->key.n != 14 && m->key.n != 4 &&
		m->key.n != 10 && m->key.n != 21 && m->key.n != 17 && m->key.n != 1 &&
		!has_long_s(m->key))
		return 0;
	if (jscan_key_is(m, SLICE("model"))) {
		if (!once(s, SEEN_MODEL, "model"))
			return 1;
		if (m->kind == JSCAN_STRING)
			f->model_raw = m->value;
		f->model_escaped = m->value_escaped;
	} else if (jscan_key_is(m, SLICE("stream"))) {
		if (!once(s, SEEN_STREAM, "stream"))
			return 1;
		f->stream = m->kind == JSCAN_TRUE;
	} else if (jscan_key_is(m, SLICE("stream_options"))) {
		if (!once(s, SEEN_OPTIONS, "stream_options"))
			return 1;
		f->stream_options = m->value;
		f->stream_options_null = m->kind == JSCAN_NULL;
		if (m->kind == JSCAN_OBJECT)
			(void)jscan_object(m->value, on_option, f, NULL);
		else if (m->kind != JSCAN_NULL)
			f->stream_options =
				SLICE_EMPTY; /* not ours to mend: the provider says what is wrong */
	} else if (jscan_key_is(m, SLICE("user"))) {
		if (m->kind == JSCAN_STRING)
			f->user = m->value;
	} else if (jscan_key_is(m, SLICE("max_tokens")) ||
		   jscan_key_is(m, SLICE("max_completion_tokens")) ||
		   jscan_key_is(m, SLICE("max_output_tokens"))) {
		if (jscan_int(m, &v) == 0 && v > 0)
			f->max_output_tokens = MAX(f->max_output_tokens, v);
	} else if (jscan_key_is(m, SLICE("n"))) {
		if (jscan_int(m, &v) == 0 && v > 1)
			f->n = v;
	} else {
		note_twin(s, m);
	}
	return 0;
}

enum fail openai_scan(
	struct slice body, struct openai_facts *ret, size_t *ret_offset, const char **ret_name)
{
	struct scan s = { .f = ret, .body = body };
	const char *brace;
	uint8_t both;
	int err;

	memset(ret, 0, sizeof(*ret));
	ret->n = 1;
	*ret_offset = 0;
	err = jscan_object(body, on_member, &s, ret_offset);
	both = ret->seen;
	if (ret->stream) /* we may be about to put ours beside it */
		both |= SEEN_OPTIONS;
	if (!err)
		s.duplicate = twin_of(s.twins & both);
	*ret_name = s.duplicate;
	if (s.duplicate)
		return FAIL_duplicate_member;
	if (err)
		return FAIL_invalid_json;
	brace = memchr(body.p, '{', body.n);
	ret->first_member = (size_t)(brace - body.p) + 1;
	ret->model_absent = !((ret->seen | s.twins) & SEEN_MODEL);
	return ret->model_raw.n > 2 ? FAIL_none : FAIL_missing_model;
}

struct edit {
	size_t at, skip;
	struct slice before, text, after; /* in place of what is skipped */
};

static struct edit model_edit(
	struct slice body, const struct openai_facts *f, struct slice model_json)
{
	size_t i = f->first_member;

	if (!f->model_absent)
		return (struct edit){ .at = (size_t)(f->model_raw.p - body.p),
			.skip = f->model_raw.n,
			.text = model_json };
	while (strchr(" \t\r\n", body.p[i]))
		i++;
	return (struct edit){ .at = f->first_member,
		.before = SLICE("\"model\":"),
		.text = model_json,
		.after = body.p[i] == '}' ? SLICE_EMPTY : SLICE(",") };
}

/* The one place where include_usage becomes true; at == SIZE_MAX: it is so already. */
static struct edit usage_edit(struct slice body, const struct openai_facts *f)
{
	const struct slice member = SLICE("\"include_usage\":true");
	const struct slice member_and = SLICE("\"include_usage\":true,");
	size_t options_at, i;

	if (f->asks_usage)
		return (struct edit){ .at = SIZE_MAX };
	if (f->include_usage.n)
		return (struct edit){ .at = (size_t)(f->include_usage.p - body.p),
			.skip = f->include_usage.n,
			.text = SLICE("true") };
	if (!f->stream_options.n) {
		if (f->seen & SEEN_OPTIONS)
			return (struct edit){ .at = SIZE_MAX };
		return (struct edit){ .at = f->first_member,
			.text = SLICE("\"stream_options\":{\"include_usage\":true},") };
	}
	options_at = (size_t)(f->stream_options.p - body.p);
	if (f->stream_options_null)
		return (struct edit){ .at = options_at,
			.skip = f->stream_options.n,
			.text = SLICE("{\"include_usage\":true}") };
	for (i = 1; i < f->stream_options.n && strchr(" \t\r\n", f->stream_options.p[i]); i++)
		;
	return (struct edit){ .at = options_at + 1,
		.text = f->stream_options.p[i] == '}' ? member : member_and };
}

unsigned openai_edit(struct slice body, const struct openai_facts *f, struct slice model_json,
	bool want_usage, struct slice out[OPENAI_MAX_PARTS])
{
	struct edit e[2], swap;
	unsigned n = 0, parts = 0;
	size_t at = 0;

	if (model_json.n)
		e[n++] = model_edit(body, f, model_json);
	if (want_usage) {
		e[n] = usage_edit(body, f);
		if (e[n].at != SIZE_MAX)
			n++;
	}
	if (n == 2 && e[0].at > e[1].at) {
		swap = e[0];
		e[0] = e[1];
		e[1] = swap;
	}
	for (unsigned i = 0; i < n; i++) {
		if (e[i].at > at)
			out[parts++] = slice_of(body.p + at, e[i].at - at);
		if (e[i].before.n)
			out[parts++] = e[i].before;
		out[parts++] = e[i].text;
		if (e[i].after.n)
			out[parts++] = e[i].after;
		at = e[i].at + e[i].skip;
	}
	if (at < body.n)
		out[parts++] = slice_skip(body, at);
	return parts;
}

/* --- answers
 * ------------------------------------------------------------------------------------------- */

/* More than any call takes. Usage that claims more is none, and the call is estimated: such numbers
 * make sums and costs overflow. */
#define TOKENS_MAX  INT64_C(1000000000000)
#define SECONDS_MAX INT64_C(2678400)

struct usage_scan {
	struct openai_usage u;
	int64_t total, cache_hit;
	bool seen, wrong;
};

/* Where in an answer a member stands. */
enum place {
	PLACE_ANSWER,
	PLACE_OUTER, /* what wraps usage: a response, x_groq */
	PLACE_USAGE,
	PLACE_INPUT, /* details */
	PLACE_OUTPUT
};

struct usage_name {
	struct slice name;
	uint8_t at;
};

#define COUNT(name, field)                                                                         \
	{                                                                                          \
		SLICE_INIT(name), offsetof(struct usage_scan, field)                               \
	}
static const struct usage_name usage_counts[] = {
	COUNT("prompt_tokens", u.input),
	COUNT("completion_tokens", u.output),
	COUNT("total_tokens", total),
	COUNT("input_tokens", u.input),
	COUNT("output_tokens", u.output),
	COUNT("prompt_cache_hit_tokens", cache_hit),
};
static const struct usage_name input_counts[] = {
	COUNT("cached_tokens", u.cached_input),
	COUNT("cache_write_tokens", u.cache_write),
	COUNT("audio_tokens", u.audio_in),
};
static const struct usage_name output_counts[] = {
	COUNT("reasoning_tokens", u.reasoning),
	COUNT("audio_tokens", u.audio_out),
};
#undef COUNT

static const struct {
	const struct usage_name *names;
	size_t n;
} counts_at[] = {
	[PLACE_USAGE] = { usage_counts, ARRAY_LEN(usage_counts) },
	[PLACE_INPUT] = { input_counts, ARRAY_LEN(input_counts) },
	[PLACE_OUTPUT] = { output_counts, ARRAY_LEN(output_counts) },
};

/* A length in seconds as milliseconds, up to the next one. More than a month is none. */
static bool milliseconds_of(const struct jscan_member *m, int64_t *ret)
{
	int64_t nano;

	if (m->kind != JSCAN_NUMBER || text_parse_nano(m->value, false, &nano) ||
		nano > SECONDS_MAX * 1000000000)
		return false;
	*ret = (nano + 999999) / 1000000;
	return true;
}

/* A scalar in usage or its details. */
static void note_count(struct usage_scan *s, enum place place, const struct jscan_member *m)
{
	int64_t v;

	for (size_t i = 0; i < counts_at[place].n; i++) {
		const struct usage_name *u = &counts_at[place].names[i];

		if (!jscan_key_is(m, u->name))
			continue;
		if (jscan_int(m, &v) || v < 0)
			return;
		s->wrong |= v > TOKENS_MAX;
		*(int64_t *)(void *)((char *)s + u->at) = v;
		return;
	}
	if (place == PLACE_USAGE &&
		(jscan_key_is(m, SLICE("seconds")) ||
			jscan_key_is(m, SLICE("prompt_audio_seconds"))) &&
		milliseconds_of(m, &v))
		s->u.audio_ms = v;
}

static enum place details_of(const struct jscan_member *m)
{
	if (jscan_key_is(m, SLICE("prompt_tokens_details")) ||
		jscan_key_is(m, SLICE("input_tokens_details")) ||
		jscan_key_is(m, SLICE("input_token_details")))
		return PLACE_INPUT;
	if (jscan_key_is(m, SLICE("completion_tokens_details")) ||
		jscan_key_is(m, SLICE("output_tokens_details")))
		return PLACE_OUTPUT;
	return PLACE_ANSWER; /* none */
}

static bool usage_of(struct usage_scan *s, struct openai_usage *ret)
{
	struct openai_usage *u = &s->u;

	if (s->wrong)
		return false;
	if (!u->cached_input)
		u->cached_input = s->cache_hit; /* DeepSeek's own member */
	/* xAI reports reasoning outside completion_tokens; the total tells. */
	if (u->reasoning && s->total == u->input + u->output + u->reasoning)
		u->output += u->reasoning;
	/* Mistral's transcriptions report audio outside prompt_tokens; the total tells. */
	if (u->audio_in && s->total == u->input + u->output + u->audio_in)
		u->input += u->audio_in;
	*ret = *u;
	return true;
}

struct peek {
	struct usage_scan top, outer;
	struct usage_scan *at;               /* which of them PLACE_USAGE is */
	uint8_t places[JSCAN_ENTER_MAX + 1]; /* by depth */
	bool empty_choices, usage_is_object;
};

static int enter(struct peek *p, unsigned depth, enum place place)
{
	p->places[depth + 1] = (uint8_t)place;
	return JSCAN_ENTER;
}

static int enter_usage(struct peek *p, unsigned depth, struct usage_scan *s)
{
	*s = (struct usage_scan){ .seen = true }; /* of several the last one counts */
	p->at = s;
	return enter(p, depth, PLACE_USAGE);
}

static int on_answer(struct peek *p, unsigned depth, const struct jscan_member *m)
{
	if (jscan_key_is(m, SLICE("usage"))) {
		p->usage_is_object = m->kind == JSCAN_OBJECT;
		return p->usage_is_object ? enter_usage(p, depth, &p->top) : 0;
	}
	if (jscan_key_is(m, SLICE("choices"))) {
		p->empty_choices = m->kind == JSCAN_ARRAY;
		for (size_t i = 1; p->empty_choices && i + 1 < m->value.n; i++)
			p->empty_choices = strchr(" \t\r\n", m->value.p[i]) != NULL;
	} else if (m->kind == JSCAN_OBJECT &&
		   (jscan_key_is(m, SLICE("response")) || jscan_key_is(m, SLICE("x_groq")))) {
		return enter(p, depth, PLACE_OUTER);
	}
	return 0;
}

static int on_deep(void *arg, unsigned depth, const struct jscan_member *m)
{
	struct peek *p = arg;
	enum place place = (enum place)p->places[depth], details;

	if (place == PLACE_ANSWER)
		return on_answer(p, depth, m);
	if (place == PLACE_OUTER)
		return m->kind == JSCAN_OBJECT && jscan_key_is(m, SLICE("usage"))
			       ? enter_usage(p, depth, &p->outer)
			       : 0;
	if (m->kind != JSCAN_OBJECT) {
		note_count(p->at, place, m);
		return 0;
	}
	details = place == PLACE_USAGE ? details_of(m) : PLACE_ANSWER;
	return details == PLACE_ANSWER ? 0 : enter(p, depth, details);
}

bool openai_usage_parse(struct slice object, struct openai_usage *ret)
{
	struct peek p = { .places = { PLACE_USAGE } };

	p.at = &p.top;
	return jscan_deep(object, on_deep, &p, NULL) == 0 && usage_of(&p.top, ret);
}

bool openai_peek(struct slice json, struct openai_usage *ret, bool *ret_hide)
{
	struct peek p = { .places = { PLACE_ANSWER } };

	*ret_hide = false;
	if (jscan_deep(json, on_deep, &p, NULL))
		return false;
	*ret_hide = p.empty_choices && p.usage_is_object;
	if (p.top.seen)
		return usage_of(&p.top, ret);
	return p.outer.seen && usage_of(&p.outer, ret);
}

#define USAGE_WORD "\"usage\""
#define USAGE_N    (sizeof(USAGE_WORD) - 1)

static bool is_usage(const char *p, size_t at, size_t n)
{
	if (at + USAGE_N > n || memcmp(p + at, USAGE_WORD, USAGE_N) != 0)
		return false;
	at += USAGE_N;
	while (at < n && p[at] == ' ')
		at++;
	if (at < n && p[at] == ':')
		at++;
	while (at < n && p[at] == ' ')
		at++;
	return at >= n || p[at] != 'n';
}

/* The word begins where its first two bytes stand, and `"u` is rare. */
size_t openai_find_usage(const char *p, size_t from, size_t n)
{
	size_t at = from;

	while ((at = find_pair(p, n, at, '"', 'u')) < n && !is_usage(p, at, n))
		at++;
	return at;
}

bool openai_peek_whole(char *p, size_t n, struct openai_usage *ret)
{
	size_t at = openai_find_usage(p, 0, n);
	bool hide, found;
	char before;

	if (at == n)
		return false; /* nor deeper inside */
	if (at == 0)
		return openai_peek(slice_of(p, n), ret, &hide);
	before = p[at - 1];
	p[at - 1] = '{';
	found = openai_peek(slice_of(p + at - 1, n - at + 1), ret, &hide);
	p[at - 1] = before;
	return found || openai_peek(slice_of(p, n), ret, &hide);
}

static bool is_terminal_type(struct slice s)
{
	return slice_starts(s, SLICE("completed")) || slice_starts(s, SLICE("incomplete")) ||
	       slice_starts(s, SLICE("failed"));
}

/* By the event's name, or else by the type that its data begins with. */
static bool is_terminal(const struct sse_event *e)
{
	static const struct slice others[] = {
		SLICE_INIT("transcript.text.done"),
		SLICE_INIT("speech.audio.done"),
		SLICE_INIT("image_generation.completed"),
		SLICE_INIT("image_edit.completed"),
		SLICE_INIT("error"),
	};
	struct slice type = e->name;

	if (!type.n && slice_starts(e->data, SLICE("{\"type\":\""))) {
		const char *end;

		type = slice_skip(e->data, 9);
		end = memchr(type.p, '"', type.n);
		type.n = end ? (size_t)(end - type.p) : 0;
	}
	if (slice_starts(type, SLICE("response.")))
		return is_terminal_type(slice_skip(type, 9));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (slice_eq(type, others[i]))
			return true;
	return false;
}

enum openai_event openai_event_kind(struct slice raw, int64_t endpoint)
{
	struct sse_event e;

	/* Most events are one long data line: nothing more needs to be known of them. */
	if (raw.n > 64 && endpoint < ENDPOINT_responses && slice_starts(raw, SLICE("data:")))
		return OPENAI_EVENT_DATA;
	sse_parse(raw, &e);
	if (!e.data_lines)
		return OPENAI_EVENT_OTHER;
	if (slice_eq(slice_trim(e.data), SLICE("[DONE]")))
		return OPENAI_EVENT_DONE;
	return endpoint >= ENDPOINT_responses && is_terminal(&e) ? OPENAI_EVENT_TERMINAL
								 : OPENAI_EVENT_DATA;
}
