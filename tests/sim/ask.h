/*
 * ask: what a request body asks for. Reads the body once without building a tree; all spans point
 * into the body and live as long as it does. A member that stands twice counts as its last, as JSON
 * readers at providers do.
 */
#ifndef SIM_ASK_H
#define SIM_ASK_H

#include "buf.h"

enum op {
	OP_NONE,
	OP_CHAT,
	OP_COMPLETIONS,
	OP_EMBEDDINGS,
	OP_RESPONSES,
	OP_MODERATIONS,
	OP_MODELS,
};

struct ask {
	enum op op;
	char *model; /* escapes resolved; owned */
	bool stream, include_usage, parallel_tools, base64;
	int64_t n;          /* choices, 1..16 */
	int64_t max_tokens; /* -1: not limited */
	int64_t dimensions; /* -1: not given */
	int64_t input_tokens;
	uint64_t seed;         /* hash of all contents */
	uint64_t prompt_seed;  /* without the prefill */
	struct span prefill;   /* raw content of the last message, if it is the assistant's */
	bool user_last;        /* the last message is the user's, so naming a tool asks for it */
	struct span last_user; /* raw content of the last user message */
	struct span input;     /* raw: embeddings, moderations, completions' prompt */
	struct span tools, tool_choice, format; /* raw; len 0 = absent. format: response_format, or
						   Responses' text.format */
	struct span sim;                        /* raw value of the member "sim" */
};

/* NULL, or why the body is refused: a sentence in OpenAI's manner. *ret_param names the member or
 * is NULL. */
const char *ask_read(struct ask *a, enum op op, struct span body, const char **ret_param);
void ask_fini(struct ask *a);

#endif
