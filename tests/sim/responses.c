/* responses: answers of /responses: one message item, or one function_call item per tool. */
#include "answer.h"

#include <string.h>

static void event_begin(struct call *c, struct buf *out, const char *type)
{
	buf_addf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", type, type,
		c->events++);
}

static void event_end(struct buf *out)
{
	buf_adds(out, "}\n\n");
}

static void message_id(struct call *c, struct buf *out)
{
	buf_addf(out, "\"msg_sim%08x%llx\"", (unsigned)c->created_s, (unsigned long long)c->seq);
}

static void text_part_add(struct call *c, struct buf *out, bool full)
{
	struct buf text = { 0 };

	if (full)
		say_text_add(&c->say, 0, &text);
	buf_adds(out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":");
	buf_add_json(out, text.p ? text.p : "", text.len);
	buf_adds(out, "}");
	buf_free(&text);
}

static void message_add(struct call *c, struct buf *out, bool full)
{
	buf_adds(out, "{\"id\":");
	message_id(c, out);
	buf_addf(out,
		",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[",
		!full        ? "in_progress"
		: c->say.cut ? "incomplete"
			     : "completed");
	if (full)
		text_part_add(c, out, true);
	buf_adds(out, "]}");
}

static void function_add(struct call *c, struct buf *out, uint32_t i, bool full)
{
	const struct say_tool *t = &c->say.tools[i];
	struct buf args = { 0 };

	if (full)
		say_tool_args_add(&c->say, i, &args);
	buf_addf(out,
		"{\"id\":\"fc_%s\",\"type\":\"function_call\",\"status\":\"%s\",\"call_id\":\"%s\","
		"\"name\":",
		t->id, full ? "completed" : "in_progress", t->id);
	buf_add_json(out, t->name, strlen(t->name));
	buf_adds(out, ",\"arguments\":");
	buf_add_json(out, args.p ? args.p : "", args.len);
	buf_adds(out, "}");
	buf_free(&args);
}

static void usage_add(struct call *c, struct buf *out)
{
	int64_t cached = c->b.cached > 0 ? c->b.cached : 0,
		reasoning = c->b.reasoning > 0 ? c->b.reasoning : 0;

	c->usage_sent = true;
	buf_addf(out,
		"{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%lld},\"output_"
		"tokens\":%lld,"
		"\"output_tokens_details\":{\"reasoning_tokens\":%lld},\"total_tokens\":%lld}",
		(long long)c->input_tokens,
		(long long)(cached < c->input_tokens ? cached : c->input_tokens),
		(long long)c->output_tokens, (long long)reasoning,
		(long long)(c->input_tokens + c->output_tokens));
}

/* The response object; `full` with output and usage, else as it stands in response.created. */
static void response_add(struct call *c, struct buf *out, bool full)
{
	uint32_t tools = c->say.tool_count ? say_tools_begun(&c->say) : 0;

	buf_addf(out,
		"{\"id\":\"resp_sim%08x%llx\",\"object\":\"response\",\"created_at\":%llu,"
		"\"status\":\"%s\","
		"\"error\":null,\"incomplete_details\":%s,\"model\":",
		(unsigned)c->created_s, (unsigned long long)c->seq,
		(unsigned long long)c->created_s,
		!full        ? "in_progress"
		: c->say.cut ? "incomplete"
			     : "completed",
		full && c->say.cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
	buf_add_json(out, c->model, strlen(c->model));
	buf_adds(out, ",\"output\":[");
	if (full && !tools)
		message_add(c, out, true);
	for (uint32_t i = 0; full && i < tools; i++) {
		buf_adds(out, i ? "," : "");
		function_add(c, out, i, true);
	}
	buf_adds(out, "],\"parallel_tool_calls\":true,\"previous_response_id\":null,\"store\":"
		      "false,\"usage\":");
	if (full && !c->b.no_usage)
		usage_add(c, out);
	else
		buf_adds(out, "null");
	buf_adds(out, "}");
}

static void responses_plain(struct call *c, struct buf *out)
{
	response_add(c, out, true);
}

static void responses_open(struct call *c, struct buf *out)
{
	static const char *const first[] = { "response.created", "response.in_progress" };

	for (size_t i = 0; i < 2; i++) {
		event_begin(c, out, first[i]);
		buf_adds(out, ",\"response\":");
		response_add(c, out, false);
		event_end(out);
	}
	if (c->say.tool_count)
		return;
	event_begin(c, out, "response.output_item.added");
	buf_adds(out, ",\"output_index\":0,\"item\":");
	message_add(c, out, false);
	event_end(out);
	event_begin(c, out, "response.content_part.added");
	buf_adds(out, ",\"item_id\":");
	message_id(c, out);
	buf_adds(out, ",\"output_index\":0,\"content_index\":0,\"part\":");
	text_part_add(c, out, false);
	event_end(out);
}

static void function_done(struct call *c, struct buf *out, uint32_t i)
{
	struct buf args = { 0 };

	say_tool_args_add(&c->say, i, &args);
	event_begin(c, out, "response.function_call_arguments.done");
	buf_addf(out,
		",\"item_id\":\"fc_%s\",\"output_index\":%u,\"arguments\":", c->say.tools[i].id, i);
	buf_add_json(out, args.p ? args.p : "", args.len);
	event_end(out);
	buf_free(&args);
	event_begin(c, out, "response.output_item.done");
	buf_addf(out, ",\"output_index\":%u,\"item\":", i);
	function_add(c, out, i, true);
	event_end(out);
}

static void responses_piece(struct call *c, struct buf *out)
{
	struct piece p = say_piece(&c->say, 0, c->at);

	switch (p.kind) {
	case PIECE_TEXT:
		event_begin(c, out, "response.output_text.delta");
		buf_adds(out, ",\"item_id\":");
		message_id(c, out);
		buf_adds(out, ",\"output_index\":0,\"content_index\":0,\"logprobs\":[],\"delta\":");
		break;
	case PIECE_TOOL_HEAD:
		if (p.tool)
			function_done(c, out, p.tool - 1);
		event_begin(c, out, "response.output_item.added");
		buf_addf(out, ",\"output_index\":%u,\"item\":", p.tool);
		function_add(c, out, p.tool, false);
		event_end(out);
		return;
	case PIECE_TOOL_ARGS:
		event_begin(c, out, "response.function_call_arguments.delta");
		buf_addf(out, ",\"item_id\":\"fc_%s\",\"output_index\":%u,\"delta\":",
			c->say.tools[p.tool].id, p.tool);
		break;
	}
	buf_add_json(out, p.text.p, p.text.len);
	event_end(out);
}

static void message_done(struct call *c, struct buf *out)
{
	struct buf text = { 0 };

	say_text_add(&c->say, 0, &text);
	event_begin(c, out, "response.output_text.done");
	buf_adds(out, ",\"item_id\":");
	message_id(c, out);
	buf_adds(out, ",\"output_index\":0,\"content_index\":0,\"logprobs\":[],\"text\":");
	buf_add_json(out, text.p ? text.p : "", text.len);
	event_end(out);
	buf_free(&text);
	event_begin(c, out, "response.content_part.done");
	buf_adds(out, ",\"item_id\":");
	message_id(c, out);
	buf_adds(out, ",\"output_index\":0,\"content_index\":0,\"part\":");
	text_part_add(c, out, true);
	event_end(out);
	event_begin(c, out, "response.output_item.done");
	buf_adds(out, ",\"output_index\":0,\"item\":");
	message_add(c, out, true);
	event_end(out);
}

static void responses_close(struct call *c, struct buf *out)
{
	if (c->say.tool_count)
		function_done(c, out, say_tools_begun(&c->say) - 1);
	else
		message_done(c, out);
	event_begin(c, out, c->say.cut ? "response.incomplete" : "response.completed");
	buf_adds(out, ",\"response\":");
	response_add(c, out, true);
	event_end(out);
}

const struct dialect dialect_responses = { responses_plain, responses_open, responses_piece,
	responses_close, false };
