/* What an answer comes to, judged before any of it has gone to the client: the class of an error,
 * and whether an event holds content. Pure; any thread; allocates nothing. Sources: OpenAI API
 * reference (errors, streaming) as of 2026-11; recorded exchanges of compatible providers. */
#ifndef AGENTD_DIALECT_OPENAI_ANSWER_H
#define AGENTD_DIALECT_OPENAI_ANSWER_H

#include "dialect/openai.h"

#include <aigw/error_class.h>

/* The error's own words, what says more before what says less: the reason in its details, code,
 * type, status, without quotes; empty where there is none. `body` is an answer with a member
 * `error`, or that member's value. */
#define OPENAI_ERROR_WORDS 4
void openai_error_words(struct slice body, struct slice ret[OPENAI_ERROR_WORDS]);
/* The error's object, in place; of what is none the whole. Google puts it into a list of one. */
struct slice openai_error_object(struct slice body);

/* Of an answer with an error's status: its code or type first, then the status. `body` may be
 * empty, or no JSON. */
enum error_class openai_class_of(unsigned status, struct slice body);
/* Of an error that stands in a 200: there is no status to go by. */
enum error_class openai_class_in_band(struct slice error);
/* Whether the error says that the key is known and may not do this: OpenAI's restricted keys, under
 * 401 too. */
bool openai_lacks_permission(struct slice body);
/* The status under which such an error goes to the client. */
unsigned error_class_status(enum error_class c);

enum openai_content {
	OPENAI_CONTENT_NONE,  /* a role, usage, a comment, an empty delta: not yet */
	OPENAI_CONTENT_SOME,  /* text, a tool call, a refusal, an end; or what we don't know */
	OPENAI_CONTENT_ERROR, /* *ret_error: the error's value, in place */
	OPENAI_CONTENT_END,   /* [DONE] */
	OPENAI_CONTENT_MALFORMED
};
/* One whole SSE event. */
enum openai_content openai_content_of(struct slice raw, int64_t endpoint, struct slice *ret_error);

/* The usual beginning of a stream, told without reading it as JSON: a whole event with text, and
 * neither an error nor nonsense before it. false: openai_content_of() knows. */
bool openai_begins_with_text(const char *p, size_t n, int64_t endpoint);

/* Is this event's data a JSON object? In the usual form told by its first and last bytes, since
 * each event of each stream is asked: what comes cut short or as a page of HTML does not get by. */
bool openai_may_be_json(struct slice raw);
/* Length of the event at p, if it is one of the usual form: a single line of data that may be JSON
 * as above, and line ends of one LF. 0: it is another one, or not whole. */
size_t openai_usual_event(const char *p, size_t n);

/* How an answer's last events, those at the end of p[0..n), have it. Chat and completions. */
enum openai_end { OPENAI_END_NONE, OPENAI_END_FINISH /* a finish reason */, OPENAI_END_ERROR };
enum openai_end openai_end_of(const char *p, size_t n);
/* Is it OPENAI_END_ERROR? Cheaper where it isn't. */
bool openai_ends_in_error(const char *p, size_t n);

/* The latest error in these whole events: its value, in place, and where its event begins. Empty:
 * there is none. */
struct slice openai_last_error(const char *p, size_t n, size_t *ret_at);

/* Is a whole plain answer one JSON object? *ret_error: the value of `error`, in place, where it
 * says that and gives nothing (some providers answer so with 200); else empty. */
bool openai_is_answer(struct slice body, struct slice *ret_error);

#endif
