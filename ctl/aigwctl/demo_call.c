/* Calls as an application makes them: plain, streamed, with a tool; each answer is checked. */
#include "demo.h"

#include <aigw/clock.h>
#include <aigw/json.h>
#include <aigw/sse.h>

const char *const demo_call_names[DEMO_CALL_KINDS] = { "plain", "streamed", "tool" };

static const char *const bodies[DEMO_CALL_KINDS] = {
	[DEMO_PLAIN] =
		"{\"model\":\"" DEMO_MODEL "\",\"max_tokens\":64,"
		"\"messages\":[{\"role\":\"user\",\"content\":\"Say hello to the gateway.\"}]}",
	[DEMO_STREAM] = "{\"model\":\"" DEMO_ALIAS "\",\"max_tokens\":64,\"stream\":true,"
			"\"stream_options\":{\"include_usage\":true},"
			"\"messages\":[{\"role\":\"user\",\"content\":\"Count to ten, slowly.\"}]}",
	[DEMO_TOOL] =
		"{\"model\":\"" DEMO_MODEL "\",\"tool_choice\":\"required\","
		"\"messages\":[{\"role\":\"user\",\"content\":\"What is the weather in Oslo?\"}],"
		"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
		"\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}"
		"},"
		"\"required\":[\"city\"]}}}]}",
};

/* --- checks ------------------------------------------------------------------------ */

static bool add_usage(struct demo_sum *sum, const json_t *usage)
{
	int64_t input = json_get_int(usage, "prompt_tokens", 0),
		output = json_get_int(usage, "completion_tokens", 0);

	if (input <= 0 || output <= 0)
		return false;
	sum->input_tokens += input;
	sum->output_tokens += output;
	sum->cached_tokens +=
		json_get_int(json_object_get(usage, "prompt_tokens_details"), "cached_tokens", 0);
	return true;
}

static const json_t *first_choice(const json_t *answer)
{
	return json_array_get(json_object_get(answer, "choices"), 0);
}

/* NULL: all is well; else what is wrong. */
static const char *check_plain(struct demo_sum *sum, struct slice body)
{
	struct errbuf e;
	JSON_AUTO *answer = json_parse(body, &e);
	const json_t *message = json_object_get(first_choice(answer), "message");

	if (!*json_get_str(message, "content", ""))
		return "the answer has no content";
	return add_usage(sum, json_object_get(answer, "usage")) ? NULL : "the answer has no usage";
}

static const char *check_tool(struct demo_sum *sum, struct slice body)
{
	struct errbuf e;
	JSON_AUTO *answer = json_parse(body, &e);
	const json_t *calls =
		json_object_get(json_object_get(first_choice(answer), "message"), "tool_calls");
	const json_t *function = json_object_get(json_array_get(calls, 0), "function");
	const char *arguments = json_get_str(function, "arguments", "");
	JSON_AUTO *parsed = json_parse(slice_str(arguments), &e);

	if (strcmp(json_get_str(function, "name", ""), "get_weather") != 0)
		return "the answer does not call the tool";
	if (!json_is_object(parsed))
		return "the tool call's arguments are not a JSON object";
	return add_usage(sum, json_object_get(answer, "usage")) ? NULL : "the answer has no usage";
}

static const char *check_stream(struct demo_sum *sum, struct slice body)
{
	unsigned pieces = 0;
	bool usage = false, done = false;

	while (body.n && !done) {
		size_t scanned = 0, n = sse_event_end(body.p, body.n, &scanned, true);
		struct sse_event event;
		struct errbuf e;
		JSON_AUTO *chunk = NULL;

		if (!n)
			return "the stream ends in the middle of an event";
		sse_parse(slice_of(body.p, n), &event);
		body = slice_skip(body, n);
		if (!event.data_lines) /* a comment */
			continue;
		if (slice_eq(event.data, SLICE("[DONE]"))) {
			done = true;
			continue;
		}
		chunk = json_parse(event.data, &e);
		if (!json_is_object(chunk))
			return "an event of the stream is not JSON";
		if (*json_get_str(json_object_get(first_choice(chunk), "delta"), "content", ""))
			pieces++;
		if (json_is_object(json_object_get(chunk, "usage")))
			usage = add_usage(sum, json_object_get(chunk, "usage"));
	}
	if (!done)
		return "the stream has no [DONE]";
	if (pieces < 2)
		return "the stream came in one piece";
	return usage ? NULL : "the stream has no usage though it was asked for";
}

static const char *check(
	struct demo_sum *sum, enum demo_call_kind kind, const struct exchange_answer *a)
{
	bool stream = kind == DEMO_STREAM;

	if (strncmp(a->content_type, stream ? "text/event-stream" : "application/json",
		    stream ? 17 : 16) != 0)
		return "the answer's content-type is wrong";
	switch (kind) {
	case DEMO_PLAIN: return check_plain(sum, buf_view(&a->body));
	case DEMO_STREAM: return check_stream(sum, buf_view(&a->body));
	case DEMO_TOOL: return check_tool(sum, buf_view(&a->body));
	case DEMO_CALL_KINDS:
	default: return "no such kind of call";
	}
}

/* --- calls ------------------------------------------------------------------------- */

static int run(
	struct demo *d, struct exchange_request *rq, struct exchange_answer *a, const char *what)
{
	struct errbuf e;
	int rc;
	bool timeout;

	rq->interrupt = &d->signals;
	rc = exchange_run(rq, a, &e);
	if (rc == -EINTR) {
		int code = demo_wait(d, -1, 1000, &timeout);

		return code ? code : EXIT_INTERRUPTED;
	}
	return rc ? cli_fail(d->c, EXIT_FAILED, "%s: %s", what, e.text) : EXIT_DONE;
}

static int judge(
	struct demo *d, enum demo_call_kind kind, const char *what, const struct exchange_answer *a)
{
	struct demo_sum sum = d->sum;
	struct errbuf e;
	JSON_AUTO *error = NULL;
	const char *wrong;

	if (a->status != 200) {
		error = json_parse(buf_view(&a->body), &e);
		return cli_fail(d->c, EXIT_FAILED, "%s: status %u: %s", what, a->status,
			json_get_str(
				json_object_get(error, "error"), "message", "without a message"));
	}
	wrong = check(&sum, kind, a);
	if (wrong)
		return cli_fail(d->c, EXIT_FAILED, "%s: %s", what, wrong);
	sum.requests++;
	d->sum = sum;
	return EXIT_DONE;
}

int demo_call(struct demo *d, enum demo_call_kind kind, bool by_socket)
{
	struct exchange_request rq = { .method = "POST",
		.target = "/v1/chat/completions",
		.body = slice_str(bodies[kind]),
		.deadline_us = clock_mono_us() + 60 * USEC_PER_S };
	struct exchange_peer peer;
	struct exchange_answer a;
	struct exchange_field field = { SLICE("authorization"), { NULL, 0 } };
	char path[108], what[96];
	struct buf bearer;
	struct errbuf e;
	int code;

	(void)snprintf(what, sizeof(what), "%s call %s", demo_call_names[kind],
		by_socket ? "over the unix socket, without a key" : "over TCP, with the key");
	buf_init(&bearer, 4096);
	if (by_socket) {
		if (exchange_unix(demo_path(d, "agent.sock", path), &peer, &e) < 0)
			return cli_fail(d->c, EXIT_FAILED, "%s", e.text);
	} else {
		exchange_loopback(d->port, &peer);
		(void)buf_str(&bearer, "Bearer ");
		(void)buf_slice(&bearer, secret_expose(&d->key));
		field.value = buf_view(&bearer);
		rq.fields = &field;
		rq.n_fields = 1;
	}
	rq.peer = &peer;
	exchange_answer_init(&a);
	code = run(d, &rq, &a, what);
	if (!code)
		code = judge(d, kind, what, &a);
	exchange_answer_fini(&a);
	if (bearer.p)
		secret_wipe(bearer.p, bearer.cap);
	buf_fini(&bearer);
	return code;
}

int demo_get(struct demo *d, const char *path, unsigned *ret_status)
{
	struct exchange_request rq = { .method = "GET",
		.target = path,
		.interrupt = &d->signals,
		.deadline_us = clock_mono_us() + 5 * USEC_PER_S };
	struct exchange_peer peer;
	struct exchange_answer a;
	struct errbuf e;
	bool timeout;
	int code = EXIT_DONE;

	exchange_loopback(d->port, &peer);
	rq.peer = &peer;
	exchange_answer_init(&a);
	*ret_status = 0;
	switch (exchange_run(&rq, &a, &e)) {
	case 0: *ret_status = a.status; break;
	case -EINTR: code = demo_wait(d, -1, 1000, &timeout); break;
	default: break; /* not there yet */
	}
	exchange_answer_fini(&a);
	return code;
}
