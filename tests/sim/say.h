/*
 * say: what the model answers, as a sequence of pieces; a stream sends one piece per chunk, a plain
 * answer joins them. The content follows from the request alone (its contents' hash, tools, schema)
 * and from the behaviour's tokens-N and bytes-N.
 *
 * Tools are called when the request has tools, tool_choice is not "none", and either tool_choice
 * forces it (a named function or "required") or the last message is the user's and names a tool.
 * All tools so named are called, only the first of them with parallel_tool_calls false; "required"
 * without a named tool calls the first. Arguments are the schema's minimal instance.
 */
#ifndef SIM_SAY_H
#define SIM_SAY_H

#include "ask.h"
#include "script.h"

#define SAY_TOOLS_MAX 64

struct say_tool {
	char *name, *args;
	char id[32];
};

struct say {
	uint64_t seed;
	uint32_t pieces; /* of each choice, after the limit */
	uint32_t bytes;  /* bytes-N, or 0 */
	uint32_t skip;   /* pieces that the prefill has said */
	bool cut;        /* max_tokens ended it: finish_reason length */
	bool stamp;
	char *json; /* JSON schema answer, or NULL */
	uint32_t tool_count;
	struct say_tool *tools;
};

enum piece_kind { PIECE_TEXT, PIECE_TOOL_HEAD, PIECE_TOOL_ARGS };

struct piece {
	enum piece_kind kind;
	uint32_t tool;
	struct span text; /* needs JSON escaping; good until the next call of say_piece */
};

/* NULL, or why tools or schema cannot be read. */
const char *say_make(
	struct say *s, const struct ask *a, const struct behaviour *b, uint64_t call_seq);
void say_fini(struct say *s);
struct piece say_piece(const struct say *s, uint32_t choice, uint32_t k);
/* All text of one choice, joined; for a tool: its arguments as far as the limit lets them come. */
void say_text_add(const struct say *s, uint32_t choice, struct buf *out);
/* Tools of which at least the head is within the limit. */
uint32_t say_tools_begun(const struct say *s);
void say_tool_args_add(const struct say *s, uint32_t tool, struct buf *out);

#endif
