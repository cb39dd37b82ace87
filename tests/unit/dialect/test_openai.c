/* OpenAI's dialect as a relay needs it: what a request asks, the bytes that go upstream in its
 * place, the tokens that an answer reports, what is hidden, what an event is. Sources of the
 * shapes: providers' references and recordings as of 2026-11. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "dialect/openai.h"

#include <aigw/buf.h>

/* In memory of its exact size, so that a sanitizer sees every byte too far. */
static struct slice exact(const char *text)
{
	size_t n = strlen(text);
	char *p = malloc(n + !n);

	memcpy(p, text, n);
	return slice_of(p, n);
}

static void drop(struct slice s)
{
	free((void *)(uintptr_t)s.p);
}

/* --- what a request asks
 * ---------------------------------------------------------------------------------------------- */

struct scan_case {
	const char *body;
	enum fail fail;
	const char *model; /* raw; NULL: none */
	bool stream, asks_usage;
	int64_t max_output, n;
	const char *user, *duplicate;
	size_t offset; /* of invalid JSON; 0: anywhere */
};

static const struct scan_case scans[] = {
	{ .body = "{\"model\":\"m\"}", .model = "\"m\"" },
	{ .body = " \t\r\n{ \"model\" : \"m\" } \n", .model = "\"m\"" },
	{ .body = "{\"messages\":[{\"model\":\"inner\"}],\"model\":\"m\"}", .model = "\"m\"" },
	{ .body = "{\"mod\\u0065l\":\"m\"}", .model = "\"m\"" },
	{ .body = "{\"model\":\"a\\/b\"}", .model = "\"a\\/b\"" },
	{ .body = "{\"model\":\"m\",\"stream\":true}", .model = "\"m\"", .stream = true },
	{ .body = "{\"model\":\"m\",\"stream\":false}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"stream\":null}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"stream\":\"true\"}",
		.model = "\"m\"" }, /* the provider's to refuse */
	{ .body = "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true}}",
		.model = "\"m\"",
		.asks_usage = true },
	{ .body = "{\"model\":\"m\",\"stream_options\":{\"include_usage\":false}}",
		.model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"stream_options\":{\"include_usage\":1}}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"stream_options\":{\"x\":{\"include_usage\":true}}}",
		.model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"include_usage\":true}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"stream_options\":null}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"max_tokens\":7}", .model = "\"m\"", .max_output = 7 },
	{ .body = "{\"model\":\"m\",\"max_completion_tokens\":9,\"max_tokens\":7}",
		.model = "\"m\"",
		.max_output = 9 },
	{ .body = "{\"model\":\"m\",\"max_output_tokens\":5}", .model = "\"m\"", .max_output = 5 },
	{ .body = "{\"model\":\"m\",\"max_tokens\":-1}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"max_tokens\":\"7\"}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"max_tokens\":99999999999999999999}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"n\":3}", .model = "\"m\"", .n = 3 },
	{ .body = "{\"model\":\"m\",\"n\":0}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"user\":\"u-1\"}", .model = "\"m\"", .user = "\"u-1\"" },
	{ .body = "{\"model\":\"m\",\"user\":7}", .model = "\"m\"" },
	/* Nothing to route by. */
	{ .body = "{}", .fail = FAIL_missing_model },
	{ .body = "{\"model\":\"\"}", .fail = FAIL_missing_model },
	{ .body = "{\"model\":null}", .fail = FAIL_missing_model },
	{ .body = "{\"model\":5}", .fail = FAIL_missing_model },
	{ .body = "{\"model\":[\"m\"]}", .fail = FAIL_missing_model },
	{ .body = "{\"Model\":\"m\"}", .fail = FAIL_missing_model },
	/* Twice, also when one of them is written with escapes: who is right, we or the provider?
	   Other members may. */
	{ .body = "{\"model\":\"m\",\"model\":\"m\"}",
		.fail = FAIL_duplicate_member,
		.duplicate = "model" },
	{ .body = "{\"model\":\"m\",\"m\\u006fdel\":\"n\"}",
		.fail = FAIL_duplicate_member,
		.duplicate = "model" },
	{ .body = "{\"model\":5,\"model\":\"m\"}",
		.fail = FAIL_duplicate_member,
		.duplicate = "model" },
	{ .body = "{\"stream\":true,\"model\":\"m\",\"stream\":false}",
		.fail = FAIL_duplicate_member,
		.duplicate = "stream" },
	{ .body = "{\"stream_options\":null,\"stream_options\":{}}",
		.fail = FAIL_duplicate_member,
		.duplicate = "stream_options" },
	/* To some servers these are the same member, and their last one counts. */
	{ .body = "{\"model\":\"m\",\"Model\":\"n\"}",
		.fail = FAIL_duplicate_member,
		.duplicate = "model" },
	{ .body = "{\"\\u004dODEL\":\"n\",\"model\":\"m\"}",
		.fail = FAIL_duplicate_member,
		.duplicate = "model" },
	{ .body = "{\"model\":\"m\",\"stream\":false,\"\xc5\xbftream\":true}",
		.fail = FAIL_duplicate_member,
		.duplicate = "stream" },
	{ .body = "{\"model\":\"m\",\"stream_options\":null,\"\\u017ftream_option\xc5\xbf\":{}}",
		.fail = FAIL_duplicate_member,
		.duplicate = "stream_options" },
	/* Alone it is a member of theirs, unless the plain one is about to be put beside it. */
	{ .body = "{\"model\":\"m\",\"stream\":true,\"Stream_Options\":{}}",
		.fail = FAIL_duplicate_member,
		.duplicate = "stream_options" },
	{ .body = "{\"model\":\"m\",\"Stream_Options\":{}}", .model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"Stream\":true,\"models\":1,\"\xc5\xbftrea\":2}",
		.model = "\"m\"" },
	{ .body = "{\"model\":\"m\",\"temperature\":1,\"temperature\":2,\"user\":\"a\",\"user\":"
		  "\"b\"}",
		.model = "\"m\"",
		.user = "\"b\"" },
	/* No JSON object. */
	{ .body = "", .fail = FAIL_invalid_json },
	{ .body = "hello", .fail = FAIL_invalid_json },
	{ .body = "[{\"model\":\"m\"}]", .fail = FAIL_invalid_json },
	{ .body = "\"model\"", .fail = FAIL_invalid_json },
	{ .body = "{\"model\":\"m\"", .fail = FAIL_invalid_json, .offset = 12 },
	{ .body = "{\"model\":\"m\"}}", .fail = FAIL_invalid_json, .offset = 13 },
	{ .body = "{\"model\":\"m\",}", .fail = FAIL_invalid_json },
	{ .body = "{\"model\":\"m\",\"x\":01}", .fail = FAIL_invalid_json },
	{ .body = "{\"model\":\"m\",\"x\":NaN}", .fail = FAIL_invalid_json },
	{ .body = "{'model':'m'}", .fail = FAIL_invalid_json },
	{ .body = "{\"model\":\"m\"}{\"model\":\"m\"}", .fail = FAIL_invalid_json },
	{ .body = "\xef\xbb\xbf{\"model\":\"m\"}", .fail = FAIL_invalid_json },
};

static bool same(struct slice s, const char *want)
{
	return want ? slice_eq(s, slice_str(want)) : s.n == 0;
}

static void test_scan(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(scans); i++) {
		const struct scan_case *c = &scans[i];
		struct slice body = exact(c->body);
		struct openai_facts f;
		const char *name = NULL;
		size_t at = 0;

		print_message("%s\n", c->body);
		assert_int_equal(openai_scan(body, &f, &at, &name), c->fail);
		if (c->fail == FAIL_duplicate_member)
			assert_string_equal(name, c->duplicate);
		if (c->fail == FAIL_invalid_json)
			assert_true(at <= body.n && (!c->offset || at == c->offset));
		if (c->fail == FAIL_none) {
			assert_true(same(f.model_raw, c->model));
			assert_int_equal(f.stream, c->stream);
			assert_int_equal(f.asks_usage, c->asks_usage);
			assert_int_equal(f.max_output_tokens, c->max_output);
			assert_int_equal(f.n, MAX(c->n, 1));
			assert_true(same(f.user, c->user));
		}
		drop(body);
	}
}

/* --- what goes upstream
 * -------------------------------------------------------------------------------------------------
 */

#define ASKS "\"stream_options\":{\"include_usage\":true}"

struct edit_case {
	const char *body;
	const char *model; /* the target's, quoted; "": as it is */
	bool want_usage;
	const char *upstream;
};

static const struct edit_case edits[] = {
	/* Nothing to be done. */
	{ "{\"model\":\"m\"}", "", false, "{\"model\":\"m\"}" },
	{ " {\"model\":\"m\", \"x\": 1e2 }\n", "", false, " {\"model\":\"m\", \"x\": 1e2 }\n" },
	/* The model's name, wherever it stands. */
	{ "{\"model\":\"m\"}", "\"target\"", false, "{\"model\":\"target\"}" },
	{ "{ \"model\" : \"m\" , \"x\":1}", "\"t\"", false, "{ \"model\" : \"t\" , \"x\":1}" },
	{ "{\"x\":[\"m\"],\"model\":\"m\"}", "\"t\"", false, "{\"x\":[\"m\"],\"model\":\"t\"}" },
	{ "{\"mod\\u0065l\":\"\\u006d\"}", "\"t\"", false, "{\"mod\\u0065l\":\"t\"}" },
	{ "{\"model\":\"m\"}", "\"a\\\"b\"", false, "{\"model\":\"a\\\"b\"}" },
	/* stream_options absent, null, empty, with members, false, not a bool; with white space and
	   escapes. */
	{ "{\"model\":\"m\"}", "", true, "{" ASKS ",\"model\":\"m\"}" },
	{ "{ \n\"model\":\"m\"}", "", true, "{" ASKS ", \n\"model\":\"m\"}" },
	{ "  {\"model\":\"m\"}", "", true, "  {" ASKS ",\"model\":\"m\"}" },
	{ "{\"model\":\"m\",\"stream_options\":null}", "", true, "{\"model\":\"m\"," ASKS "}" },
	{ "{\"model\":\"m\",\"stream_options\" : null }", "", true,
		"{\"model\":\"m\",\"stream_options\" : {\"include_usage\":true} }" },
	{ "{\"model\":\"m\",\"stream_options\":{}}", "", true, "{\"model\":\"m\"," ASKS "}" },
	{ "{\"model\":\"m\",\"stream_options\":{ \t\r\n}}", "", true,
		"{\"model\":\"m\",\"stream_options\":{\"include_usage\":true \t\r\n}}" },
	{ "{\"model\":\"m\",\"stream_options\":{\"include_obfuscation\":false}}", "", true,
		"{\"model\":\"m\",\"stream_options\":{\"include_usage\":true,\"include_"
		"obfuscation\":false}}" },
	{ "{\"model\":\"m\",\"stream_options\":{ \"x\" : {} }}", "", true,
		"{\"model\":\"m\",\"stream_options\":{\"include_usage\":true, \"x\" : {} }}" },
	{ "{\"model\":\"m\",\"stream_options\":{\"include_usage\":false}}", "", true,
		"{\"model\":\"m\"," ASKS "}" },
	{ "{\"model\":\"m\",\"stream_options\":{\"include_usage\" : false , \"x\":1}}", "", true,
		"{\"model\":\"m\",\"stream_options\":{\"include_usage\" : true , \"x\":1}}" },
	{ "{\"model\":\"m\",\"stream_options\":{\"include_usage\":null}}", "", true,
		"{\"model\":\"m\"," ASKS "}" },
	{ "{\"model\":\"m\",\"stream_options\":{\"x\":{\"include_usage\":false}}}", "", true,
		"{\"model\":\"m\",\"stream_options\":{\"include_usage\":true,\"x\":{\"include_"
		"usage\":false}}}" },
	{ "{\"model\":\"m\",\"stream_options\":{\"include\\u005fusage\":false}}", "", true,
		"{\"model\":\"m\",\"stream_options\":{\"include\\u005fusage\":true}}" },
	{ "{\"model\":\"m\",\"stream\\u005foptions\":{}}", "", true,
		"{\"model\":\"m\",\"stream\\u005foptions\":{\"include_usage\":true}}" },
	/* Asked for already: not a byte. */
	{ "{\"model\":\"m\",\"stream_options\":{ \"include_usage\":true}}", "", true,
		"{\"model\":\"m\",\"stream_options\":{ \"include_usage\":true}}" },
	/* Not ours to mend: the provider says what is wrong with it. */
	{ "{\"model\":\"m\",\"stream_options\":5}", "", true,
		"{\"model\":\"m\",\"stream_options\":5}" },
	{ "{\"model\":\"m\",\"stream_options\":[]}", "\"t\"", true,
		"{\"model\":\"t\",\"stream_options\":[]}" },
	/* Both, in either order. */
	{ "{\"model\":\"m\"}", "\"t\"", true, "{" ASKS ",\"model\":\"t\"}" },
	{ "{\"model\":\"m\",\"x\":0.10,\"stream_options\":{}}", "\"t\"", true,
		"{\"model\":\"t\",\"x\":0.10," ASKS "}" },
	{ "{\"stream_options\":{\"include_usage\":false},\"x\":18446744073709551616,\"model\":"
	  "\"m\"}",
		"\"t\"", true, "{" ASKS ",\"x\":18446744073709551616,\"model\":\"t\"}" },
	{ "{\"stream_options\":null,\"model\":\"m\"}", "\"t\"", true,
		"{" ASKS ",\"model\":\"t\"}" },
	/* None there: it goes first. */
	{ "{\"x\":1}", "\"t\"", false, "{\"model\":\"t\",\"x\":1}" },
	{ " { }", "\"t\"", false, " {\"model\":\"t\" }" },
	{ "{\n\"stream\":true}", "\"t\"", true, "{\"model\":\"t\"," ASKS ",\n\"stream\":true}" },
	{ "{\"stream_options\":null}", "\"t\"", true, "{\"model\":\"t\"," ASKS "}" },
	{ "{\"x\":1,\"x\":2,\"model\":\"m\",\"x\":3}", "\"t\"", true,
		"{" ASKS ",\"x\":1,\"x\":2,\"model\":\"t\",\"x\":3}" },
};

static void test_edit(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
		const struct edit_case *c = &edits[i];
		struct slice body = exact(c->body), out[OPENAI_MAX_PARTS];
		struct openai_facts f, again;
		const char *name;
		struct buf b;
		size_t at;
		unsigned n;

		print_message("%s\n", c->body);
		assert_int_equal(openai_scan(body, &f, &at, &name),
			strstr(c->body, "\"mod") ? FAIL_none : FAIL_missing_model);
		n = openai_edit(body, &f, slice_str(c->model), c->want_usage, out);
		assert_true(n >= 1 && n <= OPENAI_MAX_PARTS);
		buf_init(&b, 4096);
		for (unsigned k = 0; k < n; k++) {
			assert_true(out[k].n > 0);
			assert_int_equal(buf_slice(&b, out[k]), 0);
		}
		assert_string_equal(buf_cstr(&b), c->upstream);
		/* What goes upstream is JSON that says what was wanted, and an edit of it changes
		 * nothing more. */
		assert_int_equal(openai_scan(buf_view(&b), &again, &at, &name), FAIL_none);
		if (c->model[0])
			assert_true(same(again.model_raw, c->model));
		assert_int_equal(again.stream, f.stream);
		n = openai_edit(buf_view(&b), &again, SLICE_EMPTY, c->want_usage, out);
		assert_int_equal(n, 1);
		assert_true(slice_eq(out[0], buf_view(&b)));
		buf_fini(&b);
		drop(body);
	}
}

/* --- tokens that answers report
 * -------------------------------------------------------------------------------------------- */

struct usage_case {
	const char *name, *object;
	struct openai_usage
		want; /* input, cached_input, cache_write, output, reasoning, audio_in, audio_out */
};

static const struct usage_case usages[] = {
	{ "OpenAI chat",
		"{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"prompt_"
		"tokens_details\":{\"cached_tokens\":4,"
		"\"audio_tokens\":3},\"completion_tokens_details\":{\"reasoning_tokens\":5,\"audio_"
		"tokens\":2,"
		"\"accepted_prediction_tokens\":1,\"rejected_prediction_tokens\":1}}",
		{ 19, 4, 0, 10, 5, 3, 2, 0 } },
	{ "cache writes",
		"{\"prompt_tokens\":2000,\"completion_tokens\":1,\"prompt_tokens_details\":{"
		"\"cached_tokens\":0,\"cache_write_tokens\":1024}}",
		{ 2000, 0, 1024, 1, 0, 0, 0, 0 } },
	{ "responses",
		"{\"input_tokens\":36,\"input_tokens_details\":{\"cached_tokens\":12,\"cache_write_"
		"tokens\":8},\"output_tokens\":87,"
		"\"output_tokens_details\":{\"reasoning_tokens\":64},\"total_tokens\":123}",
		{ 36, 12, 8, 87, 64, 0, 0, 0 } },
	{ "embeddings", "{\"prompt_tokens\":8,\"total_tokens\":8}", { 8, 0, 0, 0, 0, 0, 0, 0 } },
	{ "DeepSeek: hits and misses of its cache",
		"{\"prompt_tokens\":30,\"completion_tokens\":20,\"total_tokens\":50,\"prompt_cache_"
		"hit_tokens\":24,\"prompt_cache_miss_tokens\":6}",
		{ 30, 24, 0, 20, 0, 0, 0, 0 } },
	{ "DeepSeek, with both ways of saying it",
		"{\"prompt_tokens\":30,\"completion_tokens\":20,\"total_tokens\":50,\"prompt_"
		"tokens_details\":{\"cached_tokens\":24},"
		"\"completion_tokens_details\":{\"reasoning_tokens\":7},\"prompt_cache_hit_"
		"tokens\":24,\"prompt_cache_miss_tokens\":6}",
		{ 30, 24, 0, 20, 7, 0, 0, 0 } },
	{ "xAI: reasoning outside of the completion",
		"{\"prompt_tokens\":32,\"completion_tokens\":9,\"total_tokens\":135,\"prompt_"
		"tokens_details\":{\"text_tokens\":32,\"cached_tokens\":6},"
		"\"completion_tokens_details\":{\"reasoning_tokens\":94},\"num_sources_used\":0,"
		"\"cost_in_usd_ticks\":498000}",
		{ 32, 6, 0, 103, 94, 0, 0, 0 } },
	{ "OpenAI's transcriptions: tokens",
		"{\"type\":\"tokens\",\"total_tokens\":182,\"input_tokens\":37,\"input_token_"
		"details\":"
		"{\"text_tokens\":0,\"audio_tokens\":37},\"output_tokens\":145}",
		{ 37, 0, 0, 145, 0, 37, 0, 0 } },
	{ "OpenAI's transcriptions: a length", "{\"type\":\"duration\",\"seconds\":9}",
		{ 0, 0, 0, 0, 0, 0, 0, 9000 } },
	{ "a length between two milliseconds", "{\"type\":\"duration\",\"seconds\":8.4700001}",
		{ 0, 0, 0, 0, 0, 0, 0, 8471 } },
	{ "lengths that are none",
		"{\"seconds\":-1,\"prompt_audio_seconds\":1e9,\"input_tokens\":1}",
		{ 1, 0, 0, 0, 0, 0, 0, 0 } },
	{ "a month and more", "{\"seconds\":2678401}", { 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "Mistral's transcriptions: audio outside of the prompt",
		"{\"prompt_audio_seconds\":3,\"prompt_tokens\":3,\"total_tokens\":389,"
		"\"completion_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":0,"
		"\"audio_tokens\":375},\"service_tier\":\"standard\"}",
		{ 378, 0, 0, 11, 0, 375, 0, 3000 } },
	{ "images",
		"{\"total_tokens\":100,\"input_tokens\":50,\"output_tokens\":50,"
		"\"input_tokens_details\":{\"text_tokens\":10,\"image_tokens\":40}}",
		{ 50, 0, 0, 50, 0, 0, 0, 0 } },
	{ "reasoning inside, as everywhere else",
		"{\"prompt_tokens\":32,\"completion_tokens\":103,\"total_tokens\":135,\"completion_"
		"tokens_details\":{\"reasoning_tokens\":94}}",
		{ 32, 0, 0, 103, 94, 0, 0, 0 } },
	{ "reasoning and no total",
		"{\"prompt_tokens\":1,\"completion_tokens\":9,\"completion_tokens_details\":{"
		"\"reasoning_tokens\":4}}",
		{ 1, 0, 0, 9, 4, 0, 0, 0 } },
	{ "Groq: times beside",
		"{\"queue_time\":0.01,\"prompt_tokens\":15,\"prompt_time\":0.0004,\"completion_"
		"tokens\":5,\"completion_time\":0.01,\"total_tokens\":20,"
		"\"total_time\":0.02}",
		{ 15, 0, 0, 5, 0, 0, 0, 0 } },
	{ "OpenRouter: a cost and details that are null",
		"{\"prompt_tokens\":15,\"completion_tokens\":5,\"total_tokens\":20,\"cost\":0."
		"00014,\"is_byok\":false,\"prompt_tokens_details\":null,"
		"\"completion_tokens_details\":{\"reasoning_tokens\":null}}",
		{ 15, 0, 0, 5, 0, 0, 0, 0 } },
	{ "a total that is larger for another reason",
		"{\"prompt_tokens\":15,\"completion_tokens\":5,\"total_tokens\":60,\"completion_"
		"tokens_details\":{\"reasoning_tokens\":3}}",
		{ 15, 0, 0, 5, 3, 0, 0, 0 } },
	{ "zeros are numbers", "{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}",
		{ 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "negative, fractional and overflowing numbers are none",
		"{\"prompt_tokens\":-1,\"completion_tokens\":1.5,\"prompt_tokens_details\":{"
		"\"cached_tokens\":99999999999999999999}}",
		{ 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "a whole number with a fraction", "{\"prompt_tokens\":12.0,\"completion_tokens\":3.00}",
		{ 12, 0, 0, 3, 0, 0, 0, 0 } },
	{ "keys with escapes", "{\"prompt\\u005ftokens\":7}", { 7, 0, 0, 0, 0, 0, 0, 0 } },
	{ "details of the wrong kind", "{\"prompt_tokens\":7,\"prompt_tokens_details\":[1]}",
		{ 7, 0, 0, 0, 0, 0, 0, 0 } },
	{ "what is nested elsewhere does not count",
		"{\"x\":{\"prompt_tokens\":9},\"prompt_tokens\":7}", { 7, 0, 0, 0, 0, 0, 0, 0 } },
};

static void check_usage(const struct openai_usage *u, const struct openai_usage *want)
{
	assert_int_equal(u->input, want->input);
	assert_int_equal(u->cached_input, want->cached_input);
	assert_int_equal(u->cache_write, want->cache_write);
	assert_int_equal(u->output, want->output);
	assert_int_equal(u->reasoning, want->reasoning);
	assert_int_equal(u->audio_in, want->audio_in);
	assert_int_equal(u->audio_out, want->audio_out);
}

static void test_usage(void **state)
{
	static const char *const none[] = { "", "null", "[]", "5", "\"x\"", "{\"prompt_tokens\":1",
		"{\"prompt_tokens\":1}}",
		/* Numbers that no call has: sums of them would overflow. */
		"{\"prompt_tokens\":1000000000001}",
		"{\"prompt_tokens\":1,\"total_tokens\":9223372036854775807}",
		"{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":9223372036854775807,"
		"\"completion_tokens_"
		"details\":{\"reasoning_tokens\":1}}",
		"{\"completion_tokens_details\":{\"reasoning_tokens\":9223372036854775807}}",
		"{\"prompt_tokens_details\":{\"cached_tokens\":9223372036854775807}}" };
	struct openai_usage u;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(usages); i++) {
		struct slice object = exact(usages[i].object);

		print_message("%s\n", usages[i].name);
		assert_true(openai_usage_parse(object, &u));
		check_usage(&u, &usages[i].want);
		drop(object);
	}
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		struct slice object = exact(none[i]);

		assert_false(openai_usage_parse(object, &u));
		drop(object);
	}
}

struct peek_case {
	const char *name, *json;
	bool found, hide;
	int64_t input, output;
};

#define U "{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}"

static const struct peek_case peeks[] = {
	{ "a plain answer",
		"{\"id\":\"x\",\"choices\":[{\"message\":{\"content\":\"hi\"}}],\"usage\":" U
		",\"z\":1}",
		true, false, 7, 3 },
	{ "an answer of the responses API",
		"{\"object\":\"response\",\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}",
		true, false, 7, 3 },
	{ "its last event",
		"{\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"usage\":{\"input_"
		"tokens\":7,\"output_tokens\":3}}}",
		true, false, 7, 3 },
	{ "its other events",
		"{\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"usage\":null}}", false,
		false, 0, 0 },
	{ "Groq", "{\"choices\":[{\"delta\":{}}],\"x_groq\":{\"id\":\"r\",\"usage\":" U "}}", true,
		false, 7, 3 },
	{ "Groq, asked for",
		"{\"choices\":[],\"usage\":" U ",\"x_groq\":{\"usage\":{\"prompt_tokens\":1}}}",
		true, true, 7, 3 },
	{ "usage in the chunk with the finish reason",
		"{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":" U "}", true, false, 7, 3 },
	/* What is hidden: exactly an event with empty choices and usage that is an object. */
	{ "the usage chunk", "{\"choices\":[],\"usage\":" U "}", true, true, 7, 3 },
	{ "the same with white space", "{ \"usage\" : " U " , \"choices\" : [ \n\t] }", true, true,
		7, 3 },
	{ "Azure's first chunk", "{\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":null}",
		false, false, 0, 0 },
	{ "Azure's first chunk, older", "{\"choices\":[],\"prompt_filter_results\":[{}]}", false,
		false, 0, 0 },
	{ "usage: null in an ordinary chunk",
		"{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}", false, false, 0,
		0 },
	{ "choices of another kind", "{\"choices\":null,\"usage\":" U "}", true, false, 7, 3 },
	{ "no choices", "{\"usage\":" U "}", true, false, 7, 3 },
	{ "choices that are not empty", "{\"choices\":[null],\"usage\":" U "}", true, false, 7, 3 },
	{ "empty choices and usage of another kind", "{\"choices\":[],\"usage\":7}", false, false,
		0, 0 },
	/* Not usage. */
	{ "usage in a message", "{\"choices\":[{\"message\":{\"usage\":" U "}}]}", false, false, 0,
		0 },
	{ "usage as a text",
		"{\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\": {\\\"prompt_tokens\\\": "
		"9}\"}}]}",
		false, false, 0, 0 },
	{ "usage as a value", "{\"object\":\"usage\",\"n\":{\"prompt_tokens\":9}}", false, false, 0,
		0 },
	{ "an error", "{\"error\":{\"message\":\"no\"}}", false, false, 0, 0 },
	{ "no JSON", "{\"choices\":[],\"usage\":" U, false, false, 0, 0 },
	{ "nothing", "", false, false, 0, 0 },
};

/* Also found by the quick look at a whole answer, which leaves the bytes as they were. */
static void test_peek(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(peeks); i++) {
		const struct peek_case *c = &peeks[i];
		struct slice json = exact(c->json);
		struct openai_usage u = { 0 };
		bool hide = true;

		print_message("%s\n", c->name);
		assert_int_equal(openai_peek(json, &u, &hide), c->found);
		assert_int_equal(hide, c->hide);
		assert_int_equal(u.input, c->input);
		assert_int_equal(u.output, c->output);
		u = (struct openai_usage){ 0 };
		/* It may find usage in a text whose beginning is broken, never the other way round.
		 */
		assert_int_equal(
			openai_peek_whole((char *)(uintptr_t)json.p, json.n, &u), c->found);
		assert_int_equal(u.input, c->input);
		assert_memory_equal(json.p, c->json, json.n);
		drop(json);
	}
}

/* Every place and every distance from the end, against a plain search. */
static void test_find_usage(void **state)
{
	static const struct {
		const char *text;
		bool counts;
	} words[] = { { "\"usage\":{", true }, { "\"usage\" : {", true },
		{ "\"usage\":null", false }, { "\"usage\" : null", false },
		{ "\"usagf\":{", false }, { "\"us", false }, { "\"usage\"", true } };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(words); k++) {
		size_t len = strlen(words[k].text);

		for (size_t before = 0; before < 40; before++) {
			for (size_t behind = 0; behind < 40; behind++) {
				size_t n = before + len + behind;
				char *p = malloc(n);

				memset(p, '"', before); /* the worst of fillings */
				memcpy(p + before, words[k].text, len);
				memset(p + before + len, 'u', behind);
				assert_int_equal(
					openai_find_usage(p, 0, n), words[k].counts ? before : n);
				assert_int_equal(openai_find_usage(p, before, n),
					words[k].counts ? before : n);
				assert_int_equal(openai_find_usage(p, before + 1, n), n);
				free(p);
			}
		}
	}
}

/* --- events
 * ------------------------------------------------------------------------------------------------------------------
 */

struct event_case {
	const char *raw;
	enum openai_event chat, responses;
};

#define D OPENAI_EVENT_DATA
#define E OPENAI_EVENT_DONE
#define T OPENAI_EVENT_TERMINAL
#define O OPENAI_EVENT_OTHER

static const struct event_case events[] = {
	{ "data: {\"choices\":[]}\n\n", D, D },
	{ "data: {\"choices\":[{\"delta\":{\"content\":\"a text that is longer than what is looked "
	  "at closely\"}}]}\n\n",
		D, D },
	{ "data: [DONE]\n\n", E, E },
	{ "data:[DONE]\n\n", E, E },
	{ "data: [DONE]\r\n\r\n", E, E },
	{ "data: [DONE]\r\r", E, E },
	{ "data:  [DONE] \n\n", E, E },
	{ ": last words\ndata: [DONE]\n\n", E, E },
	{ "data: [DONE]", E, E }, /* the last event of a stream may lack its empty line */
	{ "data: \"[DONE]\"\n\n", D, D },
	{ "data: [DONE] or not\n\n", D, D },
	{ ": keep-alive\n\n", O, O },
	{ ": OPENROUTER PROCESSING\n\n", O, O },
	{ "\n", O, O },
	{ "event: ping\n\n", O, O },
	{ "id: 7\nretry: 10\n\n", O, O },
	{ "event: error\ndata: {\"error\":{}}\n\n", D, T },
	{ "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n",
		D, T },
	{ "event: response.incomplete\ndata: {}\n\n", D, T },
	{ "event: response.failed\ndata: {}\n\n", D, T },
	{ "event: response.created\ndata: {\"type\":\"response.created\"}\n\n", D, D },
	{ "event: response.output_item.done\ndata: {\"type\":\"response.completed\"}\n\n", D, D },
	{ "data: "
	  "{\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":7,\"output_"
	  "tokens\":3}}}\n\n",
		D, T },
	{ "data: {\"type\":\"response.in_progress\",\"response\":{\"usage\":null}}\n\n", D, D },
	{ "data: {\"note\":\"response.completed\"}\n\n", D, D },
};

static void test_events(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		struct slice raw = exact(events[i].raw);

		print_message("%s", events[i].raw);
		assert_int_equal(openai_event_kind(raw, ENDPOINT_chat), events[i].chat);
		assert_int_equal(openai_event_kind(raw, ENDPOINT_completions), events[i].chat);
		assert_int_equal(openai_event_kind(raw, ENDPOINT_responses), events[i].responses);
		drop(raw);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_edit),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_find_usage),
		cmocka_unit_test(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
