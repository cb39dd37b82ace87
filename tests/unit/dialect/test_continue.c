/* Going on with a stream: what an event says, the event anew, the request with a prefill. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dialect/openai_continue.h"

#include <string.h>

static const struct {
	const char *data, *text, *error;
	bool is_other, is_end, has_usage;
} deltas[] = {
	{ "{}", "", "", false, false, false },
	{ "{\"choices\":[]}", "", "", false, false, false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}", "",
		"", false, false, false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\n\"},\"finish_reason\":null}]}",
		"a\\n", "", false, false, false },
	{ "{\"choices\":[{\"delta\":{\"c\\u006fntent\":\"a\",\"refusal\":null,\"tool_calls\":[]}}]"
	  "}",
		"a", "", false, false, false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{}}", "",
		"", false, true, true },
	{ "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{}]}}]}", "", "", true, false,
		false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"h\"}}]}", "", "", true, false,
		false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{\"content\":[1]}}]}", "", "", true, false, false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\",\"content\":\"b\"}}]}", "a", "",
		true, false, false },
	{ "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"a\"}}]}", "a", "", true, false,
		false },
	{ "{\"choices\":[{\"index\":0,\"delta\":{}},{\"index\":1,\"delta\":{}}]}", "", "", true,
		false, false },
	{ "{\"choices\":[7]}", "", "", true, false, false },
	{ "{\"choices\":[{\"text\":\"a\"}]}", "", "", true, false, false },
	{ "{\"error\":{\"code\":1},\"usage\":null}", "", "{\"code\":1}", false, false, false },
	{ "{\"error\":null}", "", "", false, false, false },
};

static void an_event_is_read(void **state)
{
	struct openai_delta d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(deltas); i++) {
		assert_int_equal(openai_delta_read(slice_str(deltas[i].data), &d), 0);
		if (!slice_eq(d.text, slice_str(deltas[i].text)) ||
			!slice_eq(d.error, slice_str(deltas[i].error)) ||
			d.is_other != deltas[i].is_other || d.is_end != deltas[i].is_end ||
			d.has_usage != deltas[i].has_usage)
			fail_msg("%s", deltas[i].data);
	}
	assert_int_equal(openai_delta_read(SLICE("{\"choices\":[{]}"), &d), -EINVAL);
	assert_int_equal(openai_delta_read(SLICE("[]"), &d), -EINVAL);
	assert_int_equal(
		openai_delta_read(SLICE("{\"id\":\"i\",\"created\":3,\"model\":\"m\"}"), &d), 0);
	assert_true(slice_eq(d.ids.id, SLICE("\"i\"")) && slice_eq(d.ids.created, SLICE("3")) &&
		    slice_eq(d.ids.model, SLICE("\"m\"")));
}

static const struct {
	const char *data, *text, *usage, *want;
} anew[] = {
	{ "{\"id\":\"y\",\"object\":\"c\",\"created\":9,\"model\":\"z\",\"choices\":[{\"index\":0,"
	  "\"delta\":{\"role\":\"assistant\",\"content\":\"ab\",\"refusal\":null},\"finish_"
	  "reason\":null}]}",
		"b", "",
		"{\"id\":\"x\",\"object\":\"c\",\"created\":1,\"choices\":[{\"index\":0,\"delta\":{"
		"\"content\":\"b\",\"refusal\":null},\"finish_reason\":null}]}" },
	{ " { \"choices\" : [ ] , \"usage\" : { \"prompt_tokens\" : 1 } } ", "", "{\"p\":2}",
		"{\"choices\":[],\"usage\":{\"p\":2}}" },
	{ "{\"choices\":[],\"usage\":null}", "", "{\"p\":2}", "{\"choices\":[],\"usage\":null}" },
	{ "{\"choices\":[{\"delta\":{\"role\":\"assistant\"}},{\"delta\":{}},7]}", "", "",
		"{\"choices\":[{\"delta\":{}},{\"delta\":{}},7]}" },
	{ "{\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"a\"}}]}", "q", "",
		"{\"choices\":[{\"delta\":{\"content\":\"q\"}}]}" },
};

static void an_event_is_written(void **state)
{
	const struct openai_ids ids = { SLICE("\"x\""), SLICE("1"), SLICE_EMPTY };
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < ARRAY_LEN(anew); i++) {
		char want[512];

		(void)snprintf(want, sizeof(want), "data: %s\n\n", anew[i].want);
		buf_reset(&out);
		assert_int_equal(openai_delta_write(slice_str(anew[i].data), &ids,
					 slice_str(anew[i].text), slice_str(anew[i].usage), &out),
			0);
		assert_string_equal(buf_cstr(&out), want);
	}
	assert_int_equal(
		openai_delta_write(SLICE("{"), &ids, SLICE_EMPTY, SLICE_EMPTY, &out), -EINVAL);
	buf_fini(&out);
}

#define USER "{\"role\":\"user\",\"content\":\"q\"}"
#define SAID "{\"role\":\"assistant\",\"content\":\"t\\n\""

static const struct {
	enum policy_prefill way;
	const char *body, *want; /* want NULL: it is none to be gone on with */
} requests[] = {
	{ PREFILL_message,
		"{\"model\":\"m\",\"messages\":[" USER "],\"max_tokens\":10,\"stream\":true}",
		"{\"model\":\"m\",\"messages\":[" USER "," SAID
		"}],\"max_tokens\":7,\"stream\":true}" },
	{ PREFILL_prefix, "{\"messages\":[" USER " ] , \"max_completion_tokens\":2}",
		"{\"messages\":[" USER " ," SAID
		",\"prefix\":true}],\"max_completion_tokens\":1}" },
	{ PREFILL_partial, "{\"messages\":[" USER "],\"max_tokens\":null}",
		"{\"messages\":[" USER "," SAID ",\"partial\":true}],\"max_tokens\":null}" },
	{ PREFILL_continue_final_message,
		"{\"add_generation_prompt\":true,\"messages\":[" USER
		"],\"c\\u006fntinue_final_message\":false}",
		"{\"messages\":[" USER "," SAID "}],\"continue_final_message\":true,"
		"\"add_generation_prompt\":false}" },
	{ PREFILL_message,
		"{\"messages\":[" USER "],\"response_format\":{\"type\":\"text\"},\"n\":1}",
		"{\"messages\":[" USER "," SAID
		"}],\"response_format\":{\"type\":\"text\"},\"n\":1}" },
	{ PREFILL_message,
		"{\"messages\":[" USER "],\"response_format\":{\"type\":\"json_object\"}}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER "],\"response_format\":\"json\"}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER "],\"n\":2}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER "],\"n\":\"2\"}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER "],\"audio\":{\"voice\":\"x\"}}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER "," SAID "}]}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER ",{\"r\\u006fle\":\"assist\\u0061nt\"}]}", NULL },
	{ PREFILL_message, "{\"messages\":[]}", NULL },
	{ PREFILL_message, "{\"messages\":\"q\"}", NULL },
	{ PREFILL_message, "{\"messages\":[" USER "],\"messages\":[" USER "]}", NULL },
	{ PREFILL_message, "{\"prompt\":\"q\"}", NULL },
	{ PREFILL_message, "{", NULL },
};

static void a_request_gets_a_prefill(void **state)
{
	struct buf out;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		int r;

		buf_init(&out, 4096);
		r = openai_prefill(
			slice_str(requests[i].body), requests[i].way, SLICE("t\\n"), 3, &out);
		assert_int_equal(r, requests[i].want ? 0 : -EINVAL);
		assert_int_equal(
			openai_may_continue(slice_str(requests[i].body)), requests[i].want != NULL);
		if (requests[i].want)
			assert_string_equal(buf_cstr(&out), requests[i].want);
		buf_fini(&out);
	}
}

static void a_torn_end_is_known(void **state)
{
	static const struct {
		const char *text;
		bool torn;
	} ends[] = { { "", false }, { "a", false }, { "\\\\", false }, { "a\\", true },
		{ "\\\\\\", true }, { "\\ud83d", true }, { "\\uDBFF", true },
		{ "\\ud83d\\ude00", false }, { "\\ud7ff", false }, { "\\ue000", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		assert_int_equal(openai_ends_torn(slice_str(ends[i].text)), ends[i].torn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_read),
		cmocka_unit_test(an_event_is_written),
		cmocka_unit_test(a_request_gets_a_prefill),
		cmocka_unit_test(a_torn_end_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
