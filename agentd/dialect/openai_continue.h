/* Going on with a chat stream that broke off: what its events have said, the request that asks
 * another target to go on from there (its last message is the answer so far: a prefill), and that
 * target's events written anew so that they belong to the stream that the client reads. Pure; any
 * thread; allocates in the buffers given only. Sources: API references of Mistral and DeepSeek
 * (prefix), Moonshot (partial), vLLM (continue_final_message), as of 2026-11. */
#ifndef AGENTD_DIALECT_OPENAI_CONTINUE_H
#define AGENTD_DIALECT_OPENAI_CONTINUE_H

#include <aigw/buf.h>
#include <aigw/prefill.h>

/* What makes two streams out of one; raw values, empty: not there. */
struct openai_ids {
	struct slice id, created, model;
};

struct openai_delta {
	struct openai_ids ids;
	struct slice text;  /* of the first choice, between its quotes, as escaped as it stands */
	struct slice error; /* value */
	bool is_other;      /* there is more in it than text: a tool call, a refusal, reasoning,
			       another choice */
	bool is_end;        /* a finish reason */
	bool has_usage;     /* an object */
};

/* One event's data. -EINVAL: no JSON object. */
int openai_delta_read(struct slice data, struct openai_delta *ret);

/* The event anew: with these ids, `text` in place of its own (empty: none), `usage` in place of its
 * own (empty: none), and no role. Returns out->err. */
int openai_delta_write(struct slice data, const struct openai_ids *ids, struct slice text,
	struct slice usage, struct buf *out);

/* Can an answer to this request be gone on with, as far as the request goes? Its last message is
 * not the assistant's already, and it asks for text. */
bool openai_may_continue(struct slice body);

/* The request that asks to go on from `text` (as escaped as it stands), in this provider's way.
 * `used`: tokens that max_tokens has to give up, at least one is left. -EINVAL: it is none that may
 * be continued; else out->err. */
int openai_prefill(struct slice body, enum policy_prefill way, struct slice text, int64_t used,
	struct buf *out);

/* Does an escaped text end within a character: the first half of a surrogate pair, or a backslash?
 * Nobody can go on from there. */
bool openai_ends_torn(struct slice text);

#endif
