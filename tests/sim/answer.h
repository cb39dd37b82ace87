/*
 * answer: the OpenAI dialect. One `struct dialect` per end point that generates, functions for the
 * others. They only write bytes from a call's say and numbers; when and how these are sent is
 * stream.c's business.
 */
#ifndef SIM_ANSWER_H
#define SIM_ANSWER_H

#include "call.h"

struct dialect {
	void (*plain)(struct call *c, struct buf *out);
	void (*open)(struct call *c, struct buf *out);  /* events before the first content */
	void (*piece)(struct call *c, struct buf *out); /* the event (or events) of piece c->at */
	void (*close)(struct call *c, struct buf *out); /* finish, usage */
	bool done_marker;
};

extern const struct dialect dialect_chat, dialect_completions, dialect_responses;

void embeddings_add(struct call *c, const struct ask *a, struct buf *out);
void moderations_add(struct call *c, const struct ask *a, struct buf *out);
void models_add(struct call *c, struct buf *out);
void model_add(const char *id, size_t n, struct buf *out);

#endif
