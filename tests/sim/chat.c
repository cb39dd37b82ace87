/* chat: answers of /chat/completions and /completions. */
#include "answer.h"

#include <string.h>

static uint32_t choice_of(const struct call *c)
{
	return c->at % (uint32_t)c->n;
}

static const char *finish_of(const struct call *c)
{
	if (c->say.cut)
		return "length";
	return c->say.tool_count ? "tool_calls" : "stop";
}

static void usage_add(struct call *c, struct buf *out)
{
	int64_t cached = c->b.cached > 0 ? c->b.cached : 0,
		reasoning = c->b.reasoning > 0 ? c->b.reasoning : 0;

	c->usage_sent = true;
	buf_addf(out,
		"{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
		"\"prompt_tokens_details\":{\"cached_tokens\":%lld,\"audio_tokens\":0},"
		"\"completion_tokens_details\":{\"reasoning_tokens\":%lld,\"audio_tokens\":0,"
		"\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
		(long long)c->input_tokens, (long long)c->output_tokens,
		(long long)(c->input_tokens + c->output_tokens),
		(long long)(cached < c->input_tokens ? cached : c->input_tokens),
		(long long)reasoning);
}

static void begin_add(struct call *c, struct buf *out, const char *prefix, const char *object)
{
	buf_addf(out,
		"{\"id\":\"%s-sim%08x%llx\",\"object\":\"%s\",\"created\":%llu,\"model\":", prefix,
		(unsigned)c->created_s, (unsigned long long)c->seq, object,
		(unsigned long long)c->created_s);
	buf_add_json(out, c->model, strlen(c->model));
}

static void event_begin(struct call *c, struct buf *out)
{
	buf_adds(out, "data: ");
	begin_add(c, out, c->op == OP_CHAT ? "chatcmpl" : "cmpl",
		c->op == OP_CHAT ? "chat.completion.chunk" : "text_completion");
	if (c->op == OP_CHAT)
		buf_adds(out, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_sim\"");
}

/* Closes the list of choices. OpenAI says "usage": null in all chunks but the last if usage was
 * asked for. */
static void event_end(struct call *c, struct buf *out, bool usage)
{
	buf_adds(out, "]");
	if (usage) {
		buf_adds(out, ",\"usage\":");
		usage_add(c, out);
	} else if (c->include_usage) {
		buf_adds(out, ",\"usage\":null");
	}
	buf_adds(out, "}\n\n");
}

static void finish_events(struct call *c, struct buf *out, const char *empty)
{
	bool in_finish = c->b.usage_in_finish && !c->b.no_usage;

	for (int64_t i = 0; i < c->n; i++) {
		event_begin(c, out);
		buf_addf(out,
			",\"choices\":[{\"index\":%lld,%s,\"logprobs\":null,\"finish_reason\":\"%"
			"s\"}",
			(long long)i, empty, finish_of(c));
		event_end(c, out, in_finish && i == c->n - 1);
	}
	if (c->include_usage && !c->b.no_usage && !in_finish) {
		event_begin(c, out);
		buf_adds(out, ",\"choices\":[");
		event_end(c, out, true);
	}
}

/* ---- /chat/completions ---- */

static void message_add(struct call *c, uint32_t choice, struct buf *out)
{
	struct buf text = { 0 };
	uint32_t tools = c->say.tool_count ? say_tools_begun(&c->say) : 0;

	buf_adds(out, "{\"role\":\"assistant\",\"content\":");
	if (!tools) {
		say_text_add(&c->say, choice, &text);
		buf_add_json(out, text.p ? text.p : "", text.len);
	} else {
		buf_adds(out, "null,\"tool_calls\":[");
		for (uint32_t i = 0; i < tools; i++) {
			text.len = 0;
			say_tool_args_add(&c->say, i, &text);
			buf_addf(out,
				"%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
				i ? "," : "", c->say.tools[i].id);
			buf_add_json(out, c->say.tools[i].name, strlen(c->say.tools[i].name));
			buf_adds(out, ",\"arguments\":");
			buf_add_json(out, text.p ? text.p : "", text.len);
			buf_adds(out, "}}");
		}
		buf_adds(out, "]");
	}
	buf_adds(out, ",\"refusal\":null,\"annotations\":[]}");
	buf_free(&text);
}

static void chat_plain(struct call *c, struct buf *out)
{
	begin_add(c, out, "chatcmpl", "chat.completion");
	buf_adds(out, ",\"choices\":[");
	for (int64_t i = 0; i < c->n; i++) {
		buf_addf(out, "%s{\"index\":%lld,\"message\":", i ? "," : "", (long long)i);
		message_add(c, (uint32_t)i, out);
		buf_addf(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}", finish_of(c));
	}
	buf_adds(out, "]");
	if (!c->b.no_usage) {
		buf_adds(out, ",\"usage\":");
		usage_add(c, out);
	}
	buf_adds(out, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_sim\"}");
}

static void chat_open(struct call *c, struct buf *out)
{
	for (int64_t i = 0; i < c->n; i++) {
		event_begin(c, out);
		buf_addf(out,
			",\"choices\":[{\"index\":%lld,\"delta\":{\"role\":\"assistant\"%s},"
			"\"logprobs\":null,"
			"\"finish_reason\":null}",
			(long long)i,
			c->b.role_only_first ? ""
			: c->say.tool_count  ? ",\"content\":null"
					     : ",\"content\":\"\",\"refusal\":null");
		event_end(c, out, false);
	}
}

static void chat_piece(struct call *c, struct buf *out)
{
	uint32_t choice = choice_of(c);
	struct piece p = say_piece(&c->say, choice, c->at / (uint32_t)c->n);
	const struct say_tool *t = c->say.tools ? &c->say.tools[p.tool] : NULL;

	event_begin(c, out);
	buf_addf(out, ",\"choices\":[{\"index\":%u,\"delta\":{", choice);
	if (p.kind == PIECE_TEXT) {
		buf_adds(out, "\"content\":");
		buf_add_json(out, p.text.p, p.text.len);
	} else {
		buf_addf(out, "\"tool_calls\":[{\"index\":%u,", p.tool);
		if (p.kind == PIECE_TOOL_HEAD) {
			buf_addf(out, "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
				t->id);
			buf_add_json(out, t->name, strlen(t->name));
			buf_adds(out, ",\"arguments\":\"\"}}]");
		} else {
			buf_adds(out, "\"function\":{\"arguments\":");
			buf_add_json(out, p.text.p, p.text.len);
			buf_adds(out, "}}]");
		}
	}
	buf_adds(out, "},\"logprobs\":null,\"finish_reason\":null}");
	event_end(c, out, false);
}

static void chat_close(struct call *c, struct buf *out)
{
	finish_events(c, out, "\"delta\":{}");
}

const struct dialect dialect_chat = { chat_plain, chat_open, chat_piece, chat_close, true };

/* ---- /completions ---- */

static void completions_plain(struct call *c, struct buf *out)
{
	struct buf text = { 0 };

	begin_add(c, out, "cmpl", "text_completion");
	buf_adds(out, ",\"choices\":[");
	for (int64_t i = 0; i < c->n; i++) {
		text.len = 0;
		say_text_add(&c->say, (uint32_t)i, &text);
		buf_addf(out, "%s{\"text\":", i ? "," : "");
		buf_add_json(out, text.p ? text.p : "", text.len);
		buf_addf(out, ",\"index\":%lld,\"logprobs\":null,\"finish_reason\":\"%s\"}",
			(long long)i, finish_of(c));
	}
	buf_free(&text);
	buf_adds(out, "]");
	if (!c->b.no_usage) {
		buf_adds(out, ",\"usage\":");
		usage_add(c, out);
	}
	buf_adds(out, "}");
}

static void completions_open(struct call *c, struct buf *out)
{
	(void)c;
	(void)out;
}

static void completions_piece(struct call *c, struct buf *out)
{
	struct piece p = say_piece(&c->say, choice_of(c), c->at / (uint32_t)c->n);

	event_begin(c, out);
	buf_adds(out, ",\"choices\":[{\"text\":");
	buf_add_json(out, p.text.p, p.text.len);
	buf_addf(out, ",\"index\":%u,\"logprobs\":null,\"finish_reason\":null}", choice_of(c));
	event_end(c, out, false);
}

static void completions_close(struct call *c, struct buf *out)
{
	finish_events(c, out, "\"text\":\"\"");
}

const struct dialect dialect_completions = { completions_plain, completions_open, completions_piece,
	completions_close, true };
