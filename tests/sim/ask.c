#include "ask.h"
#include "scan.h"
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS_PER_MESSAGE 3
#define CHOICES_MAX        16

static void text_count(struct ask *a, size_t *bytes, struct span inside)
{
	*bytes += raw_text_bytes(inside);
	a->seed = hash_bytes(a->seed, inside.p, inside.len);
}

/* A content: a string, or parts of which those with a `text` count. */
static void content_count(struct ask *a, size_t *bytes, struct span raw)
{
	struct scan s = scan_of(raw);
	struct span inside, key, part;
	bool first = true;

	if (raw_string(raw, &inside)) {
		text_count(a, bytes, inside);
		return;
	}
	if (scan_peek(&s) != '[')
		return;
	while (scan_element(&s, &first)) {
		struct scan in;
		bool in_first = true;

		part = scan_value(&s);
		in = scan_of(part);
		if (scan_peek(&in) != '{')
			continue;
		while (scan_member(&in, &in_first, &key)) {
			struct span v = scan_value(&in);

			if (span_is(key, "text") && raw_string(v, &inside))
				text_count(a, bytes, inside);
		}
	}
}

static void message_read(struct ask *a, size_t *bytes, struct span raw)
{
	struct scan s = scan_of(raw);
	struct span key, role = { 0 }, content = { 0 };
	bool first = true;

	a->prefill = (struct span){ 0 };
	a->prompt_seed = a->seed;
	if (scan_peek(&s) != '{')
		return;
	while (scan_member(&s, &first, &key)) {
		struct span v = scan_value(&s);

		if (span_is(key, "role"))
			role = v;
		else if (span_is(key, "content") || span_is(key, "output"))
			content = v;
	}
	content_count(a, bytes, content);
	a->user_last = span_is(role, "\"user\"");
	if (a->user_last)
		a->last_user = content;
	if (span_is(role, "\"assistant\""))
		a->prefill = content;
}

/* `messages` of chat, `input` of responses: both are lists of messages, the second may be one
 * string. */
static void messages_read(struct ask *a, size_t *bytes, int64_t *count, struct span raw)
{
	struct scan s = scan_of(raw);
	struct span inside;
	bool first = true;

	if (raw_string(raw, &inside)) {
		text_count(a, bytes, inside);
		a->last_user = raw;
		a->user_last = true;
		++*count;
		return;
	}
	if (scan_peek(&s) != '[')
		return;
	while (scan_element(&s, &first)) {
		message_read(a, bytes, scan_value(&s));
		++*count;
	}
}

/* Prompt or input: a string, a list of integers, or a list of either. Gives its tokens. */
static int64_t input_count(struct ask *a, struct span raw, int64_t per_item)
{
	struct scan s = scan_of(raw);
	struct span inside, v;
	int64_t sum = 0, numbers = 0;
	bool first = true;
	size_t bytes = 0;

	if (raw_string(raw, &inside)) {
		text_count(a, &bytes, inside);
		return tokens_of_bytes(bytes) + per_item;
	}
	if (scan_peek(&s) != '[')
		return 0;
	while (scan_element(&s, &first)) {
		v = scan_value(&s);
		if (v.len && (v.p[0] == '"' || v.p[0] == '[')) {
			sum += input_count(a, v, per_item);
		} else {
			numbers++;
			a->seed = hash_bytes(a->seed, v.p, v.len);
		}
	}
	return sum + (numbers ? numbers + per_item : 0);
}

static void stream_options_read(struct ask *a, struct span raw)
{
	struct scan s = scan_of(raw);
	struct span key;
	bool first = true;

	a->include_usage = false;
	if (scan_peek(&s) != '{')
		return;
	while (scan_member(&s, &first, &key)) {
		struct span v = scan_value(&s);

		if (span_is(key, "include_usage"))
			a->include_usage = raw_true(v);
	}
}

static void format_read(struct ask *a, struct span raw)
{
	struct scan s = scan_of(raw);
	struct span key;
	bool first = true;

	if (scan_peek(&s) != '{')
		return;
	while (scan_member(&s, &first, &key)) {
		struct span v = scan_value(&s);

		if (span_is(key, "format"))
			a->format = v;
	}
}

struct members {
	struct span model, messages, instructions;
	int64_t max_tokens, max_completion_tokens, max_output_tokens;
};

static void member_read(struct ask *a, struct members *m, struct span key, struct span v)
{
	struct span inside;

	if (span_is(key, "model"))
		m->model = v;
	else if (span_is(key, "messages") || (span_is(key, "input") && a->op == OP_RESPONSES))
		m->messages = v;
	else if (span_is(key, "input") || span_is(key, "prompt"))
		a->input = v;
	else if (span_is(key, "instructions"))
		m->instructions = v;
	else if (span_is(key, "stream"))
		a->stream = raw_true(v);
	else if (span_is(key, "stream_options"))
		stream_options_read(a, v);
	else if (span_is(key, "n"))
		a->n = raw_int(v, 1);
	else if (span_is(key, "max_tokens"))
		m->max_tokens = raw_int(v, -1);
	else if (span_is(key, "max_completion_tokens"))
		m->max_completion_tokens = raw_int(v, -1);
	else if (span_is(key, "max_output_tokens"))
		m->max_output_tokens = raw_int(v, -1);
	else if (span_is(key, "dimensions"))
		a->dimensions = raw_int(v, -1);
	else if (span_is(key, "tools"))
		a->tools = v;
	else if (span_is(key, "tool_choice"))
		a->tool_choice = v;
	else if (span_is(key, "parallel_tool_calls"))
		a->parallel_tools = !span_is(v, "false");
	else if (span_is(key, "response_format"))
		a->format = v;
	else if (span_is(key, "text") && a->op == OP_RESPONSES)
		format_read(a, v);
	else if (span_is(key, "encoding_format"))
		a->base64 = raw_string(v, &inside) && span_is(inside, "base64");
	else if (span_is(key, "sim"))
		a->sim = v;
}

static const char *input_missing(
	const struct ask *a, const struct members *m, const char **ret_param)
{
	*ret_param = NULL;
	switch (a->op) {
	case OP_CHAT:
		*ret_param = m->messages.len && m->messages.p[0] == '[' ? NULL : "messages";
		return *ret_param ? "Missing required parameter: 'messages'." : NULL;
	case OP_RESPONSES:
		*ret_param = m->messages.len ? NULL : "input";
		return *ret_param ? "Missing required parameter: 'input'." : NULL;
	case OP_EMBEDDINGS:
	case OP_MODERATIONS:
		*ret_param = a->input.len ? NULL : "input";
		return *ret_param ? "Missing required parameter: 'input'." : NULL;
	case OP_COMPLETIONS:
	case OP_MODELS:
	case OP_NONE: return NULL;
	}
	return NULL;
}

static void counts_fill(struct ask *a, const struct members *m)
{
	size_t bytes = 0;
	int64_t messages = 0;

	if (a->op == OP_CHAT || a->op == OP_RESPONSES) {
		if (m->instructions.len && m->instructions.p[0] == '"') {
			content_count(a, &bytes, m->instructions);
			messages++;
		}
		messages_read(a, &bytes, &messages, m->messages);
		a->input_tokens = tokens_of_bytes(bytes) + TOKENS_PER_MESSAGE * messages;
	} else {
		a->input_tokens =
			input_count(a, a->input, a->op == OP_COMPLETIONS ? TOKENS_PER_MESSAGE : 0);
	}
	if (a->input_tokens < 1)
		a->input_tokens = 1;
	a->max_tokens = m->max_completion_tokens >= 0 ? m->max_completion_tokens
			: m->max_output_tokens >= 0   ? m->max_output_tokens
						      : m->max_tokens;
	if (a->max_tokens == 0)
		a->max_tokens = 1;
	a->n = a->n < 1 ? 1 : a->n > CHOICES_MAX ? CHOICES_MAX : a->n;
}

const char *ask_read(struct ask *a, enum op op, struct span body, const char **ret_param)
{
	struct scan s = scan_of(body);
	struct members m = {
		.max_tokens = -1, .max_completion_tokens = -1, .max_output_tokens = -1
	};
	struct span key, inside;
	struct buf model = { 0 };
	bool first = true;
	const char *why;

	*a = (struct ask){
		.op = op, .parallel_tools = true, .n = 1, .max_tokens = -1, .dimensions = -1
	};
	*ret_param = NULL;
	if (scan_peek(&s) != '{')
		s.bad = true;
	while (!s.bad && scan_member(&s, &first, &key))
		member_read(a, &m, key, scan_value(&s));
	if (!scan_at_end(&s))
		return "We could not parse the JSON body of your request.";
	if (!raw_string(m.model, &inside) || !inside.len) {
		if (op != OP_MODERATIONS) {
			*ret_param = "model";
			return "you must provide a model parameter";
		}
		inside = (struct span){ "omni-moderation-latest", 22 };
	}
	raw_text_add(&model, inside);
	buf_add(&model, "", 1);
	a->model = model.p;
	why = input_missing(a, &m, ret_param);
	if (!why)
		counts_fill(a, &m);
	return why;
}

void ask_fini(struct ask *a)
{
	free(a->model);
	a->model = NULL;
}
