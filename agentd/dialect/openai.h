/* OpenAI's dialect, as far as a same-dialect relay needs it: what a request asks, the places to be
 * edited in it, and a peek into answers for usage and ends. Nothing is built, nothing allocated;
 * slices point into the bytes given. Pure; any thread. Sources: OpenAI API reference (chat,
 * completions, embeddings, responses, moderations, audio, images) as of 2026-11; recorded exchanges
 * of compatible providers. */
#ifndef AGENTD_DIALECT_OPENAI_H
#define AGENTD_DIALECT_OPENAI_H

#include <aigw/fail.h>
#include <aigw/sse.h>
#include <aigw/usage.h>

struct openai_facts {
	struct slice model_raw; /* with quotes, in place; empty: missing */
	bool model_escaped;
	bool model_absent; /* no member of that name, in whatever letters: one may be put there */
	bool stream;
	bool asks_usage;             /* stream_options.include_usage is true */
	struct slice stream_options; /* value in place; empty: missing */
	bool stream_options_null;
	struct slice include_usage; /* value inside stream_options; empty: missing */
	size_t first_member;        /* offset behind the opening brace */
	struct slice user;          /* raw string value; empty: none */
	int64_t max_output_tokens;  /* asked for; 0: not */
	int64_t n;                  /* choices asked for; at least 1 */
	uint8_t seen;               /* private: members met */
};

/* Scans a whole body. FAIL_none, FAIL_invalid_json (*ret_offset: byte), FAIL_duplicate_member
 * (*ret_name), FAIL_missing_model. */
enum fail openai_scan(
	struct slice body, struct openai_facts *ret, size_t *ret_offset, const char **ret_name);

/* The body as it goes upstream: at most OPENAI_MAX_PARTS pieces, slices of the body and of texts
 * given. model_json: the target's model as a JSON string with quotes, empty: leave it; it
 * goes first where the body has none. want_usage: see to it that stream_options.include_usage is
 * true. Returns the number of pieces. */
#define OPENAI_MAX_PARTS 7
unsigned openai_edit(struct slice body, const struct openai_facts *f, struct slice model_json,
	bool want_usage, struct slice out[OPENAI_MAX_PARTS]);

struct openai_usage {
	int64_t input, cached_input, cache_write, output, reasoning, audio_in, audio_out;
	int64_t audio_ms; /* what the provider counts by length */
};

/* From a usage object (chat, completions, embeddings or responses shape). false: it is no object.
 */
bool openai_usage_parse(struct slice object, struct openai_usage *ret);

/* Usage in a whole answer or one event's data (`usage`, `x_groq.usage`, `response.usage`): true if
 * there was one. *ret_hide: `choices` is an empty array and `usage` an object. */
bool openai_peek(struct slice json, struct openai_usage *ret, bool *ret_hide);

/* The same for a whole plain answer, where usage mostly stands near the end: the text from the
 * first `"usage"` on is an object's rest exactly if that member stands on the top level, so only
 * the rest is read. p is written to and restored. */
bool openai_peek_whole(char *p, size_t n, struct openai_usage *ret);

/* Offset of the first `"usage"` (quotes included) in p[from..n) whose value is not null, n if there
 * is none: the events before it need no look inside. (Asked for usage, OpenAI puts `usage: null`
 * into every event but the last.) */
size_t openai_find_usage(const char *p, size_t from, size_t n);

enum openai_event {
	OPENAI_EVENT_DATA,
	OPENAI_EVENT_DONE /* data: [DONE] */,
	OPENAI_EVENT_TERMINAL /* response.completed|incomplete|failed, transcript.text.done, ... */,
	OPENAI_EVENT_OTHER /* comment, no data */
};
/* What one whole SSE event is. */
enum openai_event openai_event_kind(struct slice raw, int64_t endpoint);

#endif
