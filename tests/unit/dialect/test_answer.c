/* What an answer comes to before any of it has gone out: classes of errors, content of events. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dialect/openai_answer.h"
#include "dialect/openai_hint.h"

#define GOOGLE_KEY                                                                                 \
	"{\"error\":{\"code\":400,\"message\":\"m\",\"status\":\"INVALID_ARGUMENT\",\"details\":[" \
	"{"                                                                                        \
	"\"@type\":\"type.googleapis.com/google.rpc.Help\"},{\"@type\":"                           \
	"\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"API_KEY_INVALID\"}]}}"

static void classes_of_statuses(void **state)
{
	static const struct {
		unsigned status;
		const char *body;
		enum error_class c;
	} rows[] = {
		{ 500, "", CLASS_transient },
		{ 503, "<html>", CLASS_transient },
		{ 408, "{}", CLASS_transient },
		{ 409, "{}", CLASS_transient },
		{ 429, "{}", CLASS_rate_limited },
		{ 529, "{}", CLASS_rate_limited },
		{ 503, "{\"error\":{\"code\":\"rate_limit_exceeded\"}}", CLASS_rate_limited },
		{ 401, "{}", CLASS_provider_auth },
		{ 403, "{}", CLASS_provider_auth },
		{ 403, "{\"error\":{\"code\":\"content_filter\"}}", CLASS_caller_fault },
		{ 402, "{}", CLASS_provider_quota },
		{ 429, "{\"error\":{\"type\":\"insufficient_quota\",\"code\":null}}",
			CLASS_provider_quota },
		{ 429, "{\"error\":{\"type\":\"exceeded_current_quota_error\"}}",
			CLASS_provider_quota },
		{ 429, "{\"error\":{\"code\":\"1113\",\"message\":\"m\"}}", CLASS_provider_quota },
		{ 429, "{\"error\":{\"code\":1113}}", CLASS_provider_quota },
		{ 400, "{\"error\":{\"code\":\"context_length_exceeded\"}}", CLASS_context_length },
		{ 400,
			"{\"error\":{\"message\":\"This model's maximum context length is 8192 "
			"tokens.\"}}",
			CLASS_context_length },
		{ 400, "{\"message\":\"Prompt exceeds the context window\"}",
			CLASS_context_length },
		{ 500, "{\"error\":{\"code\":\"context_length_exceeded\"}}", CLASS_transient },
		{ 400, "{\"error\":{\"type\":\"server_error\"}}", CLASS_caller_fault },
		{ 400, "{\"error\":{\"code\":\"Rate_Limit_Exceeded\"}}", CLASS_caller_fault },
		{ 400, GOOGLE_KEY, CLASS_provider_auth },
		{ 400, "[" GOOGLE_KEY "]", CLASS_provider_auth },
		{ 500, GOOGLE_KEY, CLASS_transient },
		{ 404, "{}", CLASS_unsupported_operation },
		{ 405, "{}", CLASS_unsupported_operation },
		{ 422, "{}", CLASS_caller_fault },
		{ 400, "{\"error\":\"text\"}", CLASS_caller_fault },
		{ 400, "{\"error\":{\"code\":\"INSUFFICIENT_QUOTA\"}}", CLASS_provider_quota },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (openai_class_of(rows[i].status, slice_str(rows[i].body)) != rows[i].c)
			fail_msg("%u %s is %s, not %s", rows[i].status, rows[i].body,
				error_class_name(
					openai_class_of(rows[i].status, slice_str(rows[i].body))),
				error_class_name(rows[i].c));
}

static void classes_in_band(void **state)
{
	static const struct {
		const char *error;
		enum error_class c;
		unsigned status;
	} rows[] = {
		{ "{\"code\":\"rate_limit_exceeded\"}", CLASS_rate_limited, 429 },
		{ "{\"type\":\"invalid_request_error\",\"message\":\"m\"}", CLASS_caller_fault,
			400 },
		{ "{\"code\":404}", CLASS_unsupported_operation, 404 },
		{ "{\"code\":\"429\"}", CLASS_rate_limited, 429 },
		{ "{\"code\":500}", CLASS_transient, 502 },
		{ "{\"code\":503,\"status\":\"RESOURCE_EXHAUSTED\"}", CLASS_rate_limited, 429 },
		{ "{\"code\":\"4\"}", CLASS_transient, 502 },
		{ "\"broken\"", CLASS_transient, 502 },
		{ "{\"message\":\"too many tokens\"}", CLASS_context_length, 400 },
		{ "{\"code\":\"invalid_api_key\"}", CLASS_provider_auth, 502 },
		{ "{\"code\":\"insufficient_quota\"}", CLASS_provider_quota, 502 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum error_class c = openai_class_in_band(slice_str(rows[i].error));

		if (c != rows[i].c || error_class_status(c) != rows[i].status)
			fail_msg("%s is %s (%u)", rows[i].error, error_class_name(c),
				error_class_status(c));
	}
}

#define CHOICE(inner)                                                                              \
	"data: {\"id\":\"x\",\"choices\":[{\"index\":0," inner "}],\"usage\":null}\n\n"

static void content_of_events(void **state)
{
	static const struct {
		const char *raw;
		int64_t endpoint;
		enum openai_content c;
	} rows[] = {
		{ CHOICE("\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"),
			ENDPOINT_chat, OPENAI_CONTENT_NONE },
		{ CHOICE("\"delta\":{\"content\":null},\"finish_reason\":null"), ENDPOINT_chat,
			OPENAI_CONTENT_NONE },
		{ CHOICE("\"delta\":{\"content\":\"a\"}"), ENDPOINT_chat, OPENAI_CONTENT_SOME },
		{ CHOICE("\"delta\":{\"tool_calls\":[{}]}"), ENDPOINT_chat, OPENAI_CONTENT_SOME },
		{ CHOICE("\"delta\":{\"tool_calls\":[ ]}"), ENDPOINT_chat, OPENAI_CONTENT_NONE },
		{ CHOICE("\"delta\":{\"refusal\":\"no\"}"), ENDPOINT_chat, OPENAI_CONTENT_SOME },
		{ CHOICE("\"delta\":{\"reasoning_content\":\"h\"}"), ENDPOINT_chat,
			OPENAI_CONTENT_SOME },
		{ CHOICE("\"delta\":{},\"finish_reason\":\"stop\""), ENDPOINT_chat,
			OPENAI_CONTENT_SOME },
		{ CHOICE("\"text\":\"\""), ENDPOINT_completions, OPENAI_CONTENT_NONE },
		{ CHOICE("\"text\":\"a\""), ENDPOINT_completions, OPENAI_CONTENT_SOME },
		{ "data: {\"choices\":[],\"usage\":{}}\n\n", ENDPOINT_chat, OPENAI_CONTENT_NONE },
		{ "data: {\"unknown\":1}\n\n", ENDPOINT_chat, OPENAI_CONTENT_SOME },
		{ ": comment\n\n", ENDPOINT_chat, OPENAI_CONTENT_NONE },
		{ "data: [DONE]\n\n", ENDPOINT_chat, OPENAI_CONTENT_END },
		{ "data: {\"choices\":[{\n\n", ENDPOINT_chat, OPENAI_CONTENT_MALFORMED },
		{ "data: <html>\n\n", ENDPOINT_chat, OPENAI_CONTENT_MALFORMED },
		{ "data: {\"error\":{\"message\":\"m\"}}\n\n", ENDPOINT_chat,
			OPENAI_CONTENT_ERROR },
		{ "data: {\"error\":null,\"choices\":[]}\n\n", ENDPOINT_chat, OPENAI_CONTENT_NONE },
		{ "data: {\"a\":\ndata: 1}\n\n", ENDPOINT_chat, OPENAI_CONTENT_SOME },
		{ "event: response.created\ndata: "
		  "{\"type\":\"response.created\",\"response\":{}}\n\n",
			ENDPOINT_responses, OPENAI_CONTENT_NONE },
		{ "data: {\"type\":\"response.output_text.delta\"}\n\n", ENDPOINT_responses,
			OPENAI_CONTENT_SOME },
		{ "data: {\"type\":\"error\",\"code\":\"x\"}\n\n", ENDPOINT_responses,
			OPENAI_CONTENT_ERROR },
		{ "data: "
		  "{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n",
			ENDPOINT_responses, OPENAI_CONTENT_ERROR },
		{ "data: {\"type\":\"response.failed\",\"response\":{}}\n\n", ENDPOINT_responses,
			OPENAI_CONTENT_SOME },
		{ "data: RIFF\n\n", ENDPOINT_speech, OPENAI_CONTENT_SOME },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice error = SLICE_EMPTY;
		enum openai_content c =
			openai_content_of(slice_str(rows[i].raw), rows[i].endpoint, &error);

		if (c != rows[i].c)
			fail_msg("%s is %d, not %d", rows[i].raw, (int)c, (int)rows[i].c);
		assert_int_equal(error.n > 0, c == OPENAI_CONTENT_ERROR);
	}
}

static void usual_beginnings(void **state)
{
	static const struct {
		const char *text;
		bool begins;
	} rows[] = {
		{ CHOICE("\"delta\":{\"role\":\"assistant\",\"content\":\"\"}")
				CHOICE("\"delta\":{\"content\":\"a\"}"),
			true },
		{ CHOICE("\"delta\":{\"content\":\"a\"}"), true },
		{ CHOICE("\"delta\":{\"content\":\"\"}"), false },
		{ CHOICE("\"delta\":{\"role\":\"\\\"content\\\":\\\"a\"}"), false },
		{ "data: <html>\n\n" CHOICE("\"delta\":{\"content\":\"a\"}"), false },
		{ "data: {\"id\":\n\n" CHOICE("\"delta\":{\"content\":\"a\"}"), false },
		{ ": x\n\n" CHOICE("\"delta\":{\"content\":\"a\"}"), true },
		{ "data: {\"delta\":{\"content\":\"a\"}}\n", false }, /* its end has not come */
		{ "data: {\"error\":{}}\n\n" CHOICE("\"delta\":{\"content\":\"a\"}"), false },
		{ "data: {\"choices\":[{\"delta\":{\"content\":\"a\n\n", false },   /* cut short */
		{ "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", false }, /* not whole */
		{ "\"content\":\"", false },
		{ "\"content\":\"a", false },
		{ "event: x\r\ndata: {\"delta\":{\"content\":\"a\"}}\r\n\r\n", true },
		{ "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (openai_begins_with_text(rows[i].text, strlen(rows[i].text), ENDPOINT_chat) !=
			rows[i].begins)
			fail_msg("%s", rows[i].text);
	assert_false(
		openai_begins_with_text(rows[1].text, strlen(rows[1].text), ENDPOINT_completions));
}

static void what_may_be_json(void **state)
{
	(void)state;
	assert_true(openai_may_be_json(SLICE("data: {\"a\":1}\n\n")));
	assert_true(openai_may_be_json(SLICE("data:{}\r\n\r\n")));
	assert_true(openai_may_be_json(SLICE("event: x\ndata: {\"a\":1}\n\n")));
	assert_true(openai_may_be_json(SLICE("data:\n\n"))); /* a sign of life */
	assert_true(openai_may_be_json(SLICE("event: ping\ndata:\n\n")));
	assert_true(openai_may_be_json(SLICE("data: {\"a\":1}\nevent: x\n\n")));
	assert_true(openai_may_be_json(SLICE("data: {\"a\":\ndata: 1}\n\n")));
	assert_false(openai_may_be_json(SLICE("data: {\"a\":\n\n")));
	assert_false(openai_may_be_json(SLICE("data: hello\n\n")));
	assert_false(openai_may_be_json(SLICE("data: <html>}\n\n")));
	assert_false(openai_may_be_json(SLICE("event: x\ndata: {\"a\":\n\n")));
}

static void ends_of_answers(void **state)
{
	static const struct {
		const char *text;
		enum openai_end end;
	} rows[] = {
		{ CHOICE("\"delta\":{},\"finish_reason\":\"stop\""), OPENAI_END_FINISH },
		{ CHOICE("\"delta\":{},\"finish_reason\" : \"length\""), OPENAI_END_FINISH },
		{ CHOICE("\"delta\":{},\"finish_reason\":null"), OPENAI_END_NONE },
		{ "data: {\"error\":{\"message\":\"m\"}}\n\n", OPENAI_END_ERROR },
		{ "data: {\"error\":null}\n\n", OPENAI_END_NONE },
		{ "", OPENAI_END_NONE },
		{ "data: {\"finish_reason\"", OPENAI_END_NONE },
		/* The latest event counts. */
		{ "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n"
		  "data: {\"choices\":[],\"usage\":{}}\n\n",
			OPENAI_END_FINISH },
		{ "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
			OPENAI_END_FINISH },
		{ "data: {\"choices\":[{\"finish_reason\":null}],\"usage\":null,\"obfuscation\":"
		  "\"x\"}\n\n",
			OPENAI_END_NONE },
		{ "data: {\"choices\":[{\"finish_reason\":null}],\"error\":{\"code\":1}}\n\n",
			OPENAI_END_ERROR },
		{ "data: {\"choices\":[{\"finish_reason\":null}]}\n\n"
		  "data: {\"error\":{\"code\":1}}\n\n",
			OPENAI_END_ERROR },
		{ CHOICE("\"delta\":{\"content\":\"\\\"finish_reason\\\":null}]\"},"
			 "\"finish_reason\":\"stop\""),
			OPENAI_END_FINISH },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n = strlen(rows[i].text);

		if (openai_end_of(rows[i].text, n) != rows[i].end ||
			openai_ends_in_error(rows[i].text, n) != (rows[i].end == OPENAI_END_ERROR))
			fail_msg("%s", rows[i].text);
	}
}

static void the_latest_error(void **state)
{
	const struct slice text = SLICE(
		"data: {\"error\":{\"code\":1}}\n\n: x\n\ndata: {\"error\":{\"code\":2}}\r\n\r\n"
		"data: {\"choices\":[],\"error\":null}\n\ndata: [DONE]\n\n");
	const struct slice none = SLICE("data: {\"choices\":[{\"error\":1}]}\n\n");
	size_t at = 0;

	(void)state;
	assert_true(slice_eq(openai_last_error(text.p, text.n, &at), SLICE("{\"code\":2}")));
	assert_int_equal(at, 33);
	assert_int_equal(openai_last_error(none.p, none.n, &at).n, 0);
	assert_int_equal(openai_last_error(none.p, 0, &at).n, 0);
}

static void usual_events(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} rows[] = {
		{ "data: {}\n\n", 10 },
		{ "data: {\"a\":1}\n\ndata: {}\n\n", 15 },
		{ "data: {\"a\":1}\n\nd", 15 },
		{ "data: {\"a\":1}\n", 0 }, /* not whole */
		{ "data: {\"a\":1}", 0 },
		{ "data: {", 0 },
		{ "data: {}", 0 },
		{ "", 0 },
		{ "data: {\"a\":1}\r\n\r\n", 0 },
		{ "data: {\"a\":1}\n\r\n", 0 },
		{ "data: {\"a\":1\n\n", 0 },          /* no JSON */
		{ "data: {\"a\":\ndata: 1}\n\n", 0 }, /* two lines */
		{ "data: {\"a\":1}\nid: 1\n\n", 0 },
		{ "data:{\"a\":1}\n\n", 0 },
		{ "data: [DONE]\n\n", 0 },
		{ ": comment }\n\n", 0 },
		{ "event: x\ndata: {}\n\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (openai_usual_event(rows[i].text, strlen(rows[i].text)) != rows[i].n)
			fail_msg("%s", rows[i].text);
}

#define NOW_US (INT64_C(1795928400) * USEC_PER_S) /* 2026-11-29T05:00:00Z */

/* A head of such fields. */
static void write_lines(struct h1_head *h, const char *const *lines)
{
	for (; *lines; lines += 2) {
		h->fields[h->n_fields].name = slice_str(lines[0]);
		h->fields[h->n_fields++].value = slice_str(lines[1]);
	}
}

static usec hint_of_head(const char *const *lines)
{
	struct h1_head h = { .status = 429 };

	write_lines(&h, lines);
	return openai_hint_of_head(&h, NOW_US);
}

static void limits_of_heads(void **state)
{
	static const struct {
		const char *lines[13];
		int left; /* of 1000; -1: none is told */
		usec reset_us;
	} rows[] = {
		{ { "x-ratelimit-limit-requests", "200", "x-ratelimit-remaining-requests", "50",
			  "x-ratelimit-reset-requests", "6m0s" },
			250, 360000000 },
		{ { "x-ratelimit-limit-requests", "200", "x-ratelimit-remaining-requests", "50",
			  "x-ratelimit-limit-tokens", "1000", "x-ratelimit-remaining-tokens", "1",
			  "x-ratelimit-reset-requests", "6m0s" },
			1, 0 },
		{ { "anthropic-ratelimit-requests-limit", "50",
			  "anthropic-ratelimit-requests-remaining", "49",
			  "anthropic-ratelimit-output-tokens-limit", "8000",
			  "anthropic-ratelimit-output-tokens-remaining", "2000",
			  "anthropic-ratelimit-output-tokens-reset", "2026-11-29T05:01:00Z" },
			250, 60000000 },
		{ { "anthropic-ratelimit-tokens-limit", "8000",
			  "anthropic-ratelimit-tokens-remaining", "0",
			  "anthropic-ratelimit-tokens-reset", "2026-11-29T04:01:00Z" },
			0, 0 },
		{ { "x-ratelimit-limit-tokens", "10", "x-ratelimit-remaining-tokens", "20" }, 1000,
			0 },
		{ { "x-ratelimit-remaining-tokens", "20" }, -1, 0 },
		{ { "x-ratelimit-limit-tokens", "0", "x-ratelimit-remaining-tokens", "0" }, -1, 0 },
		{ { "x-ratelimit-limit-tokens", "many", "x-ratelimit-remaining-tokens", "9" }, -1,
			0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct h1_head h = { .n_fields = 0 };
		uint32_t left = 0;
		usec reset_us = 0;
		bool told;

		write_lines(&h, rows[i].lines);
		told = openai_limit_left(&h, NOW_US, 1000, &left, &reset_us);
		if ((told ? (int)left : -1) != rows[i].left || reset_us != rows[i].reset_us)
			fail_msg("%s: %s: %u, %lld", rows[i].lines[0], rows[i].lines[1], left,
				(long long)reset_us);
	}
}

static void hints_of_heads(void **state)
{
	static const struct {
		const char *lines[9];
		usec us;
	} rows[] = {
		{ { "retry-after", " 7" }, 7000000 },
		{ { "retry-after", "0.25", "retry-after-ms", "1500.5" }, 1500500 },
		{ { "retry-after", "Sun, 29 Nov 2026 05:00:09 GMT" }, 9000000 },
		{ { "retry-after", "Sun, 29 Nov 2026 04:59:09 GMT" }, 0 },
		{ { "retry-after", "soon" }, 0 },
		{ { "x-ratelimit-remaining-tokens", "0", "x-ratelimit-reset-tokens", "6m0s" },
			360000000 },
		{ { "anthropic-ratelimit-requests-remaining", "0",
			  "anthropic-ratelimit-requests-reset", "2026-11-29T05:00:12Z" },
			12000000 },
		{ { "anthropic-ratelimit-input-tokens-remaining", "0",
			  "anthropic-ratelimit-input-tokens-reset", "2026-11-29T05:01:00Z",
			  "anthropic-ratelimit-output-tokens-remaining", "0",
			  "anthropic-ratelimit-output-tokens-reset", "2026-11-29T05:00:30.5Z" },
			60000000 },
		{ { "anthropic-ratelimit-tokens-remaining", "3", "anthropic-ratelimit-tokens-reset",
			  "2026-11-29T05:01:00Z" },
			0 }, /* not used up */
		{ { "anthropic-ratelimit-tokens-remaining", "0", "anthropic-ratelimit-tokens-reset",
			  "2026-11-29T05:01:00Z", "retry-after", "5" },
			5000000 }, /* said outright */
		{ { "anthropic-ratelimit-tokens-remaining", "0", "anthropic-ratelimit-tokens-reset",
			  "2026-11-29T05:01:00+01:00" },
			0 },
		{ { "anthropic-ratelimit-tokens-remaining", "0", "anthropic-ratelimit-tokens-reset",
			  "tomorrow Z" },
			0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (hint_of_head(rows[i].lines) != rows[i].us)
			fail_msg("%s: %s: %lld", rows[i].lines[0], rows[i].lines[1],
				(long long)hint_of_head(rows[i].lines));
}

static void hints(void **state)
{
	static const struct {
		const char *text;
		usec us;
	} durations[] = { { "12s", 12000000 }, { "20ms", 20000 }, { "6m0s", 360000000 },
		{ "1h2m3.5s", 3723500000 }, { " 1d ", 86400000000 }, { "0s", 0 }, { "", 0 },
		{ "12", 0 }, { "s", 0 }, { "1x", 0 }, { "1.2.3s", 0 }, { "-1s", 0 },
		{ "99999999999999999999s", 0 }, { "9000000000d", 0 }, { "1s2", 0 } };
	static const struct {
		const char *body;
		usec us;
	} bodies[] = {
		{ "{\"error\":{\"code\":429,\"details\":[{\"@type\":\"x/QuotaFailure\"},{\"@type\":"
		  "\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"17s\"}]}}",
			17000000 },
		{ " [{\"error\":{\"details\":[{\"retryDelay\":\"39.5s\"}]}}]\n", 39500000 },
		{ "{\"error\":{\"details\":[7,{\"retryDelay\":17}]}}", 0 },
		{ "{\"error\":{\"details\":{\"retryDelay\":\"17s\"}}}", 0 },
		{ "{\"error\":\"17s\"}", 0 },
		{ "{\"error\":{\"message\":\"Rate limit reached for gpt-4o. Please try again in "
		  "20s. Visit https://x to learn more.\"}}",
			20000000 },
		{ "{\"error\":{\"message\":\"Please try again in 1.5s.\"}}", 1500000 },
		{ "{\"error\":{\"message\":\"please Try Again In 6m0s. Contact us\"}}", 360000000 },
		{ "{\"error\":{\"message\":\"try again in 2m59.56s\"}}", 179560000 },
		{ "{\"error\":{\"message\":\"Please try again in 548ms\"}}", 548000 },
		{ "{\"error\":{\"message\":\"Please retry after 20 seconds.\"}}", 20000000 },
		{ "{\"error\":{\"message\":\"Please retry in 37.5s.\",\"details\":[{\"retryDelay\":"
		  "\"37s\"}]}}",
			37000000 },
		{ "{\"error\":{\"message\":\"try again after 1 hour\"}}", 3600000000 },
		{ "{\"error\":{\"message\":\"try again in a while, 20s\"}}", 0 },
		{ "{\"error\":{\"message\":\"try again in 20 parsecs\"}}", 0 },
		{ "{\"error\":{\"message\":\"try again in 9000000000d\"}}", 0 },
		{ "{\"error\":{\"message\":\"try again in 20\"}}", 0 },
		{ "{\"error\":{\"message\":\"try again in \"}}", 0 },
		{ "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"Try "
		  "again in 3 minutes\"}}",
			180000000 },
		{ "[]", 0 },
		{ "[", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(durations); i++)
		if (openai_hint_of(slice_str(durations[i].text)) != durations[i].us)
			fail_msg("%s", durations[i].text);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		if (openai_hint_in(slice_str(bodies[i].body)) != bodies[i].us)
			fail_msg("%s", bodies[i].body);
	/* An error in a list of one is read, too. */
	assert_int_equal(openai_class_of(400, SLICE("[{\"error\":{\"code\":\"context_length_"
						    "exceeded\"}}]")),
		CLASS_context_length);
}

static void words_of_errors(void **state)
{
	static const struct {
		const char *body, *words[OPENAI_ERROR_WORDS];
	} rows[] = {
		{ "[" GOOGLE_KEY "]", { "API_KEY_INVALID", "400", "", "INVALID_ARGUMENT" } },
		{ "{\"error\":{\"code\":1113,\"type\":\"t\"}}", { "", "1113", "t", "" } },
		{ "{\"code\":\"c\",\"type\":null,\"details\":\"d\"}", { "", "c", "", "" } },
		{ "{\"details\":[{\"reason\":1},[],{\"reason\":\"r\"}]}", { "r", "", "", "" } },
		{ "", { "", "", "", "" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice words[OPENAI_ERROR_WORDS];

		openai_error_words(slice_str(rows[i].body), words);
		for (size_t w = 0; w < OPENAI_ERROR_WORDS; w++)
			if (!slice_eq(words[w], slice_str(rows[i].words[w])))
				fail_msg("%s: word %zu", rows[i].body, w);
	}
}

static void whole_answers(void **state)
{
	static const struct {
		const char *body;
		bool is_object;
		const char *error; /* what it says in place of an answer */
	} rows[] = {
		{ " {\"a\":[1,2]}\n", true, "" },
		{ "{\"a\":[1,2]", false, "" },
		{ "[1]", false, "" },
		{ "<html></html>", false, "" },
		{ "", false, "" },
		{ "{\"error\":{\"code\":429}}", true, "{\"code\":429}" },
		{ "{\"id\":\"x\",\"error\":\"no\",\"choices\":[ ]}", true, "\"no\"" },
		{ "{\"error\":{\"code\":1},\"choices\":[{}]}", true, "" },
		{ "{\"error\":{\"code\":1},\"output\":[{}]}", true, "" },
		{ "{\"error\":null,\"data\":[]}", true, "" },
		{ "{\"error\":{},\"choices\":[]}", true, "" },
		{ "{\"error\":{\"code\":1}", false, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice error;

		assert_int_equal(
			openai_is_answer(slice_str(rows[i].body), &error), rows[i].is_object);
		assert_true(slice_eq(error, slice_str(rows[i].error)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_of_statuses),
		cmocka_unit_test(classes_in_band),
		cmocka_unit_test(content_of_events),
		cmocka_unit_test(usual_beginnings),
		cmocka_unit_test(what_may_be_json),
		cmocka_unit_test(ends_of_answers),
		cmocka_unit_test(the_latest_error),
		cmocka_unit_test(usual_events),
		cmocka_unit_test(hints),
		cmocka_unit_test(hints_of_heads),
		cmocka_unit_test(limits_of_heads),
		cmocka_unit_test(words_of_errors),
		cmocka_unit_test(whole_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
