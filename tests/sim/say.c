#include "say.h"
#include "scan.h"
#include "schema.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define JSON_OUT                                                                                   \
	(JSON_COMPACT | JSON_ENSURE_ASCII |                                                        \
		JSON_ENCODE_ANY) /* ASCII: fragments may be cut anywhere */

/* Integers beyond 64 bits make jansson refuse a document; read as reals they do no harm in a
 * schema. */
static json_t *doc_read(struct span raw)
{
	json_t *doc = json_loadb(raw.p, raw.len, JSON_DECODE_ANY, NULL);

	return doc ? doc
		   : json_loadb(raw.p, raw.len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
}

static char *instance_text(const json_t *schema)
{
	json_t *v = schema_instance(schema, schema);
	char *text = json_dumps(v, JSON_OUT);

	json_decref(v);
	return text;
}

/* Chat puts the function's name and parameters into "function", responses into the tool itself. */
static const json_t *function_of(const json_t *tool)
{
	const json_t *f = json_object_get(tool, "function");

	return json_is_object(f) ? f : tool;
}

static void tool_add(struct say *s, const json_t *f, uint64_t call_seq)
{
	const json_t *params = json_object_get(f, "parameters");
	const char *name = json_string_value(json_object_get(f, "name"));
	struct say_tool *t = &s->tools[s->tool_count];

	t->name = mem_dup(name, strlen(name));
	t->args = json_is_object(params) ? instance_text(params) : mem_dup("{}", 2);
	if (!t->args)
		t->args = mem_dup("{}", 2);
	snprintf(t->id, sizeof(t->id), "call_sim%llx_%u", (unsigned long long)call_seq,
		s->tool_count);
	s->tool_count++;
}

static bool tool_named(const struct ask *a, const char *name)
{
	return a->user_last && a->last_user.len &&
	       memmem(a->last_user.p, a->last_user.len, name, strlen(name));
}

static void tools_pick(
	struct say *s, const struct ask *a, const json_t *tools, const json_t *choice, uint64_t seq)
{
	const char *forced = json_string_value(json_object_get(function_of(choice), "name"));
	bool required = json_is_string(choice) && !strcmp(json_string_value(choice), "required");
	const json_t *tool, *any = NULL;
	size_t i;

	json_array_foreach(tools, i, tool)
	{
		const json_t *f = function_of(tool);
		const char *name = json_string_value(json_object_get(f, "name"));

		if (!name || !*name || s->tool_count >= SAY_TOOLS_MAX)
			continue;
		any = any ? any : f;
		if (forced ? strcmp(forced, name) : !tool_named(a, name))
			continue;
		tool_add(s, f, seq);
		if (forced || !a->parallel_tools)
			return;
	}
	if (required && !s->tool_count && any)
		tool_add(s, any, seq);
}

static const char *tools_make(struct say *s, const struct ask *a, uint64_t seq)
{
	json_t *tools, *choice = NULL;
	const char *why = NULL;

	if (!a->tools.len || span_is(a->tools, "null") || span_is(a->tool_choice, "\"none\""))
		return NULL;
	tools = doc_read(a->tools);
	if (a->tool_choice.len)
		choice = doc_read(a->tool_choice);
	if (!json_is_array(tools) || (a->tool_choice.len && !choice))
		why = "Invalid value for 'tools' or 'tool_choice'.";
	if (!why) {
		s->tools = mem_get(SAY_TOOLS_MAX * sizeof(*s->tools));
		tools_pick(s, a, tools, choice, seq);
	}
	json_decref(tools);
	json_decref(choice);
	return why;
}

static const char *format_make(struct say *s, const struct ask *a)
{
	json_t *doc;
	const json_t *schema;
	const char *type;

	if (!a->format.len || span_is(a->format, "null"))
		return NULL;
	doc = doc_read(a->format);
	type = json_string_value(json_object_get(doc, "type"));
	if (type && !strcmp(type, "json_object")) {
		s->json = mem_dup("{\"answer\":\"sim\"}", 16);
	} else if (type && !strcmp(type, "json_schema")) {
		schema = json_object_get(json_object_get(doc, "json_schema"), "schema");
		schema = schema ? schema : json_object_get(doc, "schema");
		s->json = json_is_object(schema) ? instance_text(schema) : NULL;
		if (!s->json)
			type = NULL;
	}
	json_decref(doc);
	return type ? NULL : "Invalid value for 'response_format'.";
}

static uint32_t fragments_of(size_t bytes)
{
	return (uint32_t)((bytes + TOKENS_FRAGMENT - 1) / TOKENS_FRAGMENT);
}

/* A prefill that is the beginning of what would be said: it is gone on with. Else the answer is one
 * to all messages. */
static void prefill_take(struct say *s, const struct ask *a, const struct behaviour *b, int64_t n)
{
	struct buf text = { 0 };
	struct span inside;
	size_t at = 0;
	uint32_t k = 0;

	if (!raw_string(a->prefill, &inside) || !inside.len)
		return;
	raw_text_add(&text, inside);
	s->seed = a->prompt_seed;
	for (; at < text.len && k < n; k++) {
		struct span w = say_piece(s, 0, k).text;

		if (w.len > text.len - at || memcmp(text.p + at, w.p, w.len))
			break;
		at += w.len;
	}
	if (at == text.len)
		s->skip = b->echo_prefill ? 0 : k;
	else
		s->seed = a->seed;
	buf_free(&text);
}

const char *say_make(
	struct say *s, const struct ask *a, const struct behaviour *b, uint64_t call_seq)
{
	const char *why;
	int64_t n = b->tokens > 0 ? b->tokens : tokens_default(a->seed);

	*s = (struct say){
		.seed = a->seed, .bytes = b->bytes > 0 ? (uint32_t)b->bytes : 0, .stamp = b->stamp
	};
	why = tools_make(s, a, call_seq);
	if (!why && !s->tool_count)
		why = format_make(s, a);
	if (why)
		return why;
	if (s->tool_count) {
		n = s->tool_count;
		for (uint32_t i = 0; i < s->tool_count; i++)
			n += fragments_of(strlen(s->tools[i].args));
	} else if (s->json) {
		n = fragments_of(strlen(s->json));
	}
	if (a->prefill.len && !s->tool_count && !s->json)
		prefill_take(s, a, b, n);
	n -= s->skip;
	s->cut = a->max_tokens > 0 && n > a->max_tokens;
	s->pieces = (uint32_t)(s->cut ? a->max_tokens : n);
	return NULL;
}

void say_fini(struct say *s)
{
	for (uint32_t i = 0; i < s->tool_count; i++) {
		free(s->tools[i].name);
		free(s->tools[i].args);
	}
	free(s->tools);
	free(s->json);
	*s = (struct say){ 0 };
}

static struct span fragment_of(const char *text, uint32_t k)
{
	size_t n = strlen(text), from = (size_t)k * TOKENS_FRAGMENT;

	if (from >= n)
		return (struct span){ text + n, 0 };
	return (struct span){ text + from,
		n - from < TOKENS_FRAGMENT ? n - from : TOKENS_FRAGMENT };
}

/* A word stretched or cut to bytes-N, or begun with a stamp of the monotonic clock that a load
 * generator reads. */
static struct span word_shape(const struct say *s, struct span word)
{
	static char shaped[65536 + 64];
	size_t n = 0, want = s->bytes ? s->bytes : word.len;
	struct timespec ts;

	if (s->stamp) {
		clock_gettime(CLOCK_MONOTONIC, &ts);
		n = (size_t)snprintf(shaped, 64, "T%019llu",
			(unsigned long long)ts.tv_sec * 1000000000ULL +
				(unsigned long long)ts.tv_nsec);
	}
	for (size_t i = 0; n < want || (s->stamp && !s->bytes && i < word.len); i++)
		shaped[n++] = i < word.len ? word.p[i] : 'x';
	return (struct span){ shaped, n };
}

struct piece say_piece(const struct say *s, uint32_t choice, uint32_t k)
{
	struct piece out = { .kind = PIECE_TEXT };

	if (s->tool_count) {
		for (uint32_t i = 0; i < s->tool_count; i++) {
			uint32_t n = 1 + fragments_of(strlen(s->tools[i].args));

			out.tool = i;
			if (k < n)
				break;
			k -= n;
		}
		out.kind = k ? PIECE_TOOL_ARGS : PIECE_TOOL_HEAD;
		if (k)
			out.text = fragment_of(s->tools[out.tool].args, k - 1);
		return out;
	}
	if (s->json) {
		out.text = fragment_of(s->json, k);
		return out;
	}
	out.text = token_word(s->seed + (uint64_t)choice * 0x9e3779b97f4a7c15ULL, k + s->skip);
	if (s->bytes || s->stamp)
		out.text = word_shape(s, out.text);
	return out;
}

void say_text_add(const struct say *s, uint32_t choice, struct buf *out)
{
	for (uint32_t k = 0; k < s->pieces; k++) {
		struct piece p = say_piece(s, choice, k);

		buf_add(out, p.text.p, p.text.len);
	}
}

uint32_t say_tools_begun(const struct say *s)
{
	return s->pieces ? say_piece(s, 0, s->pieces - 1).tool + 1 : 0;
}

void say_tool_args_add(const struct say *s, uint32_t tool, struct buf *out)
{
	for (uint32_t k = 0; k < s->pieces; k++) {
		struct piece p = say_piece(s, 0, k);

		if (p.kind == PIECE_TOOL_ARGS && p.tool == tool)
			buf_add(out, p.text.p, p.text.len);
	}
}
