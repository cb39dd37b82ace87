/* What an answer comes to, judged before any of it has gone to the client: the class of an error,
 * and whether an event holds content. Pure; any thread; allocates nothing. Sources: OpenAI API
 * reference (errors, streaming) as of 2026-11; recorded exchanges of compatible providers. */
#ifndef AGENTD_DIALECT_OPENAI_ANSWER_H
#define AGENTD_DIALECT_OPENAI_ANSWER_H

#include "dialect/openai.h"

enum error_class {
#define ERROR_CLASS(name, doc) CLASS_##name,
#include <aigw/tbl/error_classes.h>
#undef ERROR_CLASS
	CLASS_COUNT
};
const char *error_class_name(enum error_class c);

/* Of an answer with an error's status: its code or type first, then the status. `body` may be
 * empty, or no JSON. */
enum error_class openai_class_of(unsigned status, struct slice body);
/* Of an error that stands in a 200: there is no status to go by. */
enum error_class openai_class_in_band(struct slice error);
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

/* The usual beginning of a stream, told without reading it as JSON: a whole event with text, and no
 * error before it. false: openai_content_of() knows. */
bool openai_begins_with_text(const char *p, size_t n, int64_t endpoint);

/* Is a whole plain answer one JSON object? */
bool openai_is_answer(struct slice body);

#endif
