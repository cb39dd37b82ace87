#include "dialect/openai_answer.h"

#include <aigw/find.h>
#include <aigw/json_scan.h>

static const struct {
	struct slice text;
	enum error_class c;
} codes[] = {
#define PROVIDER_CODE(text, class) { SLICE_INIT(text), CLASS_##class },
#include <aigw/tbl/provider_codes.h>
#undef PROVIDER_CODE
};

/* --- errors --------------------------------------------------------------------------- */

struct error_scan {
	struct slice code, type, message;
	struct slice status, reason; /* Google's: a word for the status, and google.rpc.ErrorInfo */
};

static int on_reason(void *arg, const struct jscan_member *m)
{
	struct jscan_member reason;

	if (m->kind != JSCAN_OBJECT || jscan_find(m->value, SLICE("reason"), &reason) != 0 ||
		reason.kind != JSCAN_STRING)
		return 0;
	*(struct slice *)arg = slice_of(reason.value.p + 1, reason.value.n - 2);
	return 1;
}

static int on_error_member(void *arg, const struct jscan_member *m)
{
	struct error_scan *s = arg;
	struct slice v = m->value;

	if (m->kind == JSCAN_STRING)
		v = slice_of(v.p + 1, v.n - 2);
	else if (m->kind == JSCAN_ARRAY && jscan_key_is(m, SLICE("details")))
		(void)jscan_array(v, on_reason, &s->reason, NULL);
	if (m->kind != JSCAN_STRING && m->kind != JSCAN_NUMBER)
		return 0;
	if (jscan_key_is(m, SLICE("code")))
		s->code = v;
	else if (jscan_key_is(m, SLICE("type")))
		s->type = v;
	else if (jscan_key_is(m, SLICE("message")))
		s->message = v;
	else if (jscan_key_is(m, SLICE("status")))
		s->status = v;
	return 0;
}

static enum error_class class_of_word(struct slice word)
{
	for (size_t i = 0; word.n && i < ARRAY_LEN(codes); i++)
		if (word.n == codes[i].text.n && slice_eq_nocase(word, codes[i].text))
			return codes[i].c;
	return CLASS_none;
}

static bool has_words(struct slice text, const char *words)
{
	size_t n = strlen(words);

	for (size_t i = 0; i + n <= text.n; i++)
		if (slice_eq_nocase(slice_of(text.p + i, n), slice_of(words, n)))
			return true;
	return false;
}

/* Providers that have no code for it say so in words. */
static bool says_too_long(struct slice message)
{
	return has_words(message, "context length") || has_words(message, "context window") ||
	       has_words(message, "maximum context") || has_words(message, "too many tokens");
}

static enum error_class class_of_error(const struct error_scan *s)
{
	const struct slice words[] = { s->reason, s->code, s->type, s->status };
	enum error_class c = CLASS_none;

	for (size_t i = 0; c == CLASS_none && i < ARRAY_LEN(words); i++)
		c = class_of_word(words[i]);
	return c;
}

static int on_first(void *arg, const struct jscan_member *m)
{
	*(struct slice *)arg = m->value;
	return 1;
}

struct slice openai_error_object(struct slice body)
{
	struct slice object = slice_trim(body);
	struct jscan_member m;

	if (object.n && object.p[0] == '[')
		(void)jscan_array(object, on_first, &object, NULL);
	if (jscan_find(object, SLICE("error"), &m) == 0 && m.kind == JSCAN_OBJECT)
		return m.value;
	return object;
}

static void read_error(struct slice body, struct error_scan *ret)
{
	*ret = (struct error_scan){ 0 };
	(void)jscan_object(openai_error_object(body), on_error_member, ret, NULL);
}

/* --- classes -------------------------------------------------------------------------- */

void openai_error_words(struct slice body, struct slice ret[OPENAI_ERROR_WORDS])
{
	struct error_scan s;

	read_error(body, &s);
	ret[0] = s.reason;
	ret[1] = s.code;
	ret[2] = s.type;
	ret[3] = s.status;
}

enum error_class openai_class_of(unsigned status, struct slice body)
{
	struct error_scan s;
	enum error_class c;

	read_error(body, &s);
	c = class_of_error(&s);
	/* A code is believed within its status's meaning only: "server_error" of a 400 is a 400. */
	if (c == CLASS_provider_quota || (c == CLASS_context_length && status < 500))
		return c;
	if (status < 500 && status != 429 && says_too_long(s.message))
		return CLASS_context_length;
	if (status == 429 || status == 529 || (c == CLASS_rate_limited && status != 400))
		return CLASS_rate_limited;
	/* Google's status for a key that it doesn't know is 400. */
	if (status == 400 && c == CLASS_provider_auth)
		return c;
	if (status == 401 || status == 403)
		return c == CLASS_caller_fault ? c : CLASS_provider_auth;
	if (status == 402)
		return CLASS_provider_quota;
	if (status == 408 || status == 409 || status >= 500)
		return CLASS_transient;
	if (status == 404 || status == 405)
		return CLASS_unsupported_operation;
	return CLASS_caller_fault;
}

enum error_class openai_class_in_band(struct slice error)
{
	struct error_scan s = { 0 };
	enum error_class c;

	(void)jscan_object(error, on_error_member, &s, NULL);
	c = class_of_error(&s);
	if (c != CLASS_none)
		return c;
	if (says_too_long(s.message))
		return CLASS_context_length;
	/* vLLM and others put the status there. */
	if (s.code.n == 3 && s.code.p[0] == '4')
		return openai_class_of(
			(unsigned)(400 + (s.code.p[1] - '0') * 10 + s.code.p[2] - '0'),
			SLICE_EMPTY);
	return slice_eq_nocase(s.type, SLICE("invalid_request_error")) ? CLASS_caller_fault
								       : CLASS_transient;
}

bool openai_lacks_permission(struct slice body)
{
	struct error_scan s;

	read_error(body, &s);
	return has_words(s.message, "missing scopes") ||
	       has_words(s.message, "insufficient permissions");
}

unsigned error_class_status(enum error_class c)
{
	switch (c) {
	case CLASS_rate_limited: return 429;
	case CLASS_context_length:
	case CLASS_caller_fault: return 400;
	case CLASS_unsupported_operation: return 404;
	case CLASS_none:
	case CLASS_transient:
	case CLASS_provider_auth:
	case CLASS_provider_quota:
	case CLASS_COUNT: break;
	}
	return 502;
}

/* --- events --------------------------------------------------------------------------- */

struct content_scan {
	bool found, choices;
	struct slice error;
};

/* null, "", [], {} and false say nothing. */
static bool is_empty(const struct jscan_member *m)
{
	switch (m->kind) {
	case JSCAN_NULL:
	case JSCAN_FALSE: return true;
	case JSCAN_STRING: return m->value.n == 2;
	case JSCAN_ARRAY:
	case JSCAN_OBJECT:
		for (size_t i = 1; i + 1 < m->value.n; i++)
			if (!strchr(" \t\r\n", m->value.p[i]))
				return false;
		return true;
	case JSCAN_NUMBER:
	case JSCAN_TRUE: break;
	}
	return false;
}

static int on_delta_member(void *arg, const struct jscan_member *m)
{
	struct content_scan *s = arg;

	if (!jscan_key_is(m, SLICE("role")) && !jscan_key_is(m, SLICE("name")) && !is_empty(m))
		s->found = true;
	return 0;
}

static int on_choice_member(void *arg, const struct jscan_member *m)
{
	struct content_scan *s = arg;

	if (m->kind == JSCAN_OBJECT &&
		(jscan_key_is(m, SLICE("delta")) || jscan_key_is(m, SLICE("message"))))
		return jscan_object(m->value, on_delta_member, s, NULL);
	if ((jscan_key_is(m, SLICE("text")) || jscan_key_is(m, SLICE("finish_reason"))) &&
		!is_empty(m))
		s->found = true;
	return 0;
}

static int on_choice(void *arg, const struct jscan_member *m)
{
	return m->kind == JSCAN_OBJECT ? jscan_object(m->value, on_choice_member, arg, NULL) : 0;
}

static int on_event_member(void *arg, const struct jscan_member *m)
{
	struct content_scan *s = arg;

	if (jscan_key_is(m, SLICE("choices"))) {
		s->choices = true;
		if (m->kind == JSCAN_ARRAY)
			return jscan_array(m->value, on_choice, s, NULL);
	} else if (jscan_key_is(m, SLICE("error")) && !is_empty(m)) {
		s->error = m->value;
	}
	return 0;
}

static bool is_prelude(struct slice type)
{
	static const struct slice preludes[] = {
		SLICE_INIT("response.created"),
		SLICE_INIT("response.queued"),
		SLICE_INIT("response.in_progress"),
		SLICE_INIT("response.output_item.added"),
		SLICE_INIT("response.content_part.added"),
	};

	for (size_t i = 0; i < ARRAY_LEN(preludes); i++)
		if (slice_eq(type, preludes[i]))
			return true;
	return false;
}

/* The Responses API: an event says what it is in `type`. */
static enum openai_content content_of_response(struct slice data, struct slice *ret_error)
{
	struct jscan_member type, m;
	struct slice word;

	if (jscan_find(data, SLICE("type"), &type) || type.kind != JSCAN_STRING)
		return OPENAI_CONTENT_SOME;
	word = slice_of(type.value.p + 1, type.value.n - 2);
	if (slice_eq(word, SLICE("error"))) {
		*ret_error = data;
		if (jscan_find(data, SLICE("error"), &m) == 0 && m.kind == JSCAN_OBJECT)
			*ret_error = m.value;
		return OPENAI_CONTENT_ERROR;
	}
	if (slice_eq(word, SLICE("response.failed")) &&
		jscan_find(data, SLICE("response"), &m) == 0 && m.kind == JSCAN_OBJECT &&
		jscan_find(m.value, SLICE("error"), &m) == 0 && m.kind == JSCAN_OBJECT) {
		*ret_error = m.value;
		return OPENAI_CONTENT_ERROR;
	}
	return is_prelude(word) ? OPENAI_CONTENT_NONE : OPENAI_CONTENT_SOME;
}

enum openai_content openai_content_of(struct slice raw, int64_t endpoint, struct slice *ret_error)
{
	struct content_scan s = { 0 };
	struct sse_event e;

	sse_parse(raw, &e);
	if (!e.data_lines)
		return OPENAI_CONTENT_NONE;
	if (e.data_lines > 1) /* legal and never seen; nothing to hold it for */
		return OPENAI_CONTENT_SOME;
	if (slice_eq(slice_trim(e.data), SLICE("[DONE]")))
		return OPENAI_CONTENT_END;
	if (endpoint > ENDPOINT_responses)
		return OPENAI_CONTENT_SOME;
	if (jscan_object(e.data, on_event_member, &s, NULL))
		return OPENAI_CONTENT_MALFORMED;
	if (endpoint == ENDPOINT_responses && slice_eq(e.name, SLICE("error"))) {
		*ret_error = s.error.n ? s.error : e.data;
		return OPENAI_CONTENT_ERROR;
	}
	if (endpoint == ENDPOINT_responses)
		return content_of_response(e.data, ret_error);
	if (s.error.n && !s.found) {
		*ret_error = s.error;
		return OPENAI_CONTENT_ERROR;
	}
	return s.found || !s.choices ? OPENAI_CONTENT_SOME : OPENAI_CONTENT_NONE;
}

/* Where `word` stands in p[0..n), which begins with the pair a, b; n: nowhere. */
static size_t find_word(const char *p, size_t n, const char *word, size_t word_n)
{
	size_t at = 0;

	while ((at = find_pair(p, n, at, word[0], word[1])) < n) {
		if (at + word_n <= n && memcmp(p + at, word, word_n) == 0)
			return at;
		at++;
	}
	return n;
}

#define TEXT_WORD  "\"content\":\""
#define ERROR_WORD "\"error\""
#define LOOK_BYTES 4096

/* Are these lines such as stand before the first content: events of one line that may be JSON, and
 * comments? */
static bool are_usual(const char *p, size_t n)
{
	size_t line_n;

	for (size_t at = 0; at < n; at += line_n + 1) {
		struct slice line = slice_of(p + at, line_n = find_eol(p + at, n - at));

		if (line.n && line.p[0] != ':' && !slice_starts(line, SLICE("event: ")) &&
			!(line.p[line.n - 1] == '}' && slice_starts(line, SLICE("data: {"))))
			return false;
	}
	return true;
}

/* Does the event end with its line, which ends at `end`? */
static bool ends_event(const char *p, size_t n, size_t end)
{
	if (end + 1 < n && p[end] == '\r' && p[end + 1] == '\n')
		end++;
	return end + 1 < n && (p[end + 1] == '\n' || p[end + 1] == '\r');
}

/* A quote within a string stands behind a backslash, so these words are members. */
bool openai_begins_with_text(const char *p, size_t n, int64_t endpoint)
{
	size_t most = MIN(n, (size_t)LOOK_BYTES), from = 0, at, end;

	if (endpoint != ENDPOINT_chat)
		return false;
	do {
		at = from + find_word(p + from, most - from, TEXT_WORD, sizeof(TEXT_WORD) - 1);
		from = at + sizeof(TEXT_WORD) - 1;
		if (from >= most)
			return false;
	} while (p[from] == '"');
	if (find_word(p, at, ERROR_WORD, sizeof(ERROR_WORD) - 1) < at)
		return false;
	end = at + find_eol(p + at, n - at);
	while (at > 0 && p[at - 1] != '\n' && p[at - 1] != '\r')
		at--;
	return ends_event(p, n, end) && p[end - 1] == '}' &&
	       slice_starts(slice_of(p + at, end - at), SLICE("data: {")) && are_usual(p, at);
}

#define FINISH_WORD  "\"finish_reason\""
#define FINISH_BYTES 2048 /* behind it come usage and the end mark, if anything */

#define USUAL_START "data: {"

bool openai_may_be_json(struct slice raw)
{
	struct slice text = raw;
	struct sse_event e;

	while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
		text.n--;
	if (text.n && text.p[text.n - 1] == '}' && slice_starts(text, SLICE(USUAL_START)))
		return true;
	/* Not the usual form: read it. An event without data is a sign of life. */
	sse_parse(raw, &e);
	return e.data_lines != 1 || !slice_trim(e.data).n ||
	       jscan_object(e.data, NULL, NULL, NULL) == 0;
}

/* memcmp() would be called, once for each event. */
static inline bool starts_as_usual(const char *p)
{
	static const char start[8] = USUAL_START, mask[8] = "\xff\xff\xff\xff\xff\xff\xff";
	uint64_t a, b, m;

	_Static_assert(sizeof(USUAL_START) == 8, "and what comes next is masked");
	memcpy(&a, p, 8);
	memcpy(&b, start, 8);
	memcpy(&m, mask, 8);
	return (a & m) == b;
}

size_t openai_usual_event(const char *p, size_t n)
{
	size_t eol;

	if (n < 8 || !starts_as_usual(p))
		return 0;
	eol = find_eol(p, n);
	return eol + 1 < n && p[eol] == '\n' && p[eol + 1] == '\n' && p[eol - 1] == '}' ? eol + 2
											: 0;
}

/* Is the word there as a member that is not null? */
static bool has_member(const char *p, size_t n, const char *word, size_t word_n)
{
	size_t at = 0;

	while ((at += find_word(p + at, n - at, word, word_n)) < n) {
		at += word_n;
		while (at < n && (p[at] == ' ' || p[at] == ':'))
			at++;
		if (at < n && p[at] != 'n')
			return true;
	}
	return false;
}

#define GOES_ON_WORD "\"finish_reason\":null}"

/* The usual event, told from its end: its last choice goes on, and no error stands behind that. */
static bool goes_on(const char *p, size_t n)
{
	const size_t word_n = sizeof(GOES_ON_WORD) - 1;
	const char *close = memrchr(p, ']', n);
	size_t at = close ? (size_t)(close - p) : 0;

	return at >= word_n && memcmp(p + at - word_n, GOES_ON_WORD, word_n) == 0 &&
	       !has_member(p + at, n - at, ERROR_WORD, sizeof(ERROR_WORD) - 1);
}

enum openai_end openai_end_of(const char *p, size_t n)
{
	size_t from = n > FINISH_BYTES ? n - FINISH_BYTES : 0;

	if (goes_on(p + from, n - from))
		return OPENAI_END_NONE;
	if (has_member(p + from, n - from, FINISH_WORD, sizeof(FINISH_WORD) - 1))
		return OPENAI_END_FINISH;
	if (has_member(p + from, n - from, ERROR_WORD, sizeof(ERROR_WORD) - 1))
		return OPENAI_END_ERROR;
	return OPENAI_END_NONE;
}

bool openai_ends_in_error(const char *p, size_t n)
{
	size_t from = n > FINISH_BYTES ? n - FINISH_BYTES : 0;

	return has_member(p + from, n - from, ERROR_WORD, sizeof(ERROR_WORD) - 1) &&
	       openai_end_of(p, n) == OPENAI_END_ERROR;
}

struct slice openai_last_error(const char *p, size_t n, size_t *ret_at)
{
	struct slice found = SLICE_EMPTY;
	size_t scanned = 0, m;

	for (size_t at = 0; at < n && (m = sse_event_end(p + at, n - at, &scanned, true)) != 0;
		at += m, scanned = 0) {
		struct jscan_member error;
		struct sse_event e;

		sse_parse(slice_of(p + at, m), &e);
		if (e.data_lines != 1 || jscan_find(e.data, SLICE("error"), &error) != 0 ||
			is_empty(&error))
			continue;
		found = error.value;
		*ret_at = at;
	}
	return found;
}

static int on_answer_member(void *arg, const struct jscan_member *m)
{
	static const struct slice given[] = {
		SLICE_INIT("choices"),
		SLICE_INIT("output"),
		SLICE_INIT("data"),
		SLICE_INIT("results"),
	};
	struct content_scan *s = arg;

	if (is_empty(m))
		return 0;
	if (jscan_key_is(m, SLICE("error")))
		s->error = m->value;
	for (size_t i = 0; i < ARRAY_LEN(given); i++)
		s->found |= jscan_key_is(m, given[i]);
	return 0;
}

bool openai_is_answer(struct slice body, struct slice *ret_error)
{
	struct content_scan s = { 0 };
	bool is_object = jscan_object(body, on_answer_member, &s, NULL) == 0;

	*ret_error = is_object && !s.found ? s.error : SLICE_EMPTY;
	return is_object;
}
