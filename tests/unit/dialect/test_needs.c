/* What a request needs, by members of its body. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dialect/openai_needs.h"

#include <stdlib.h>
#include <string.h>

#define TOOLS     CAPABILITY_BIT(tools)
#define PARALLEL  CAPABILITY_BIT(parallel_tools)
#define SCHEMA    CAPABILITY_BIT(json_schema)
#define VISION    CAPABILITY_BIT(vision)
#define AUDIO     CAPABILITY_BIT(audio)
#define REASONING CAPABILITY_BIT(reasoning)
#define PREFILL   CAPABILITY_BIT(prefill)

static const struct {
	const char *body;
	uint32_t features;
	const char *cache_key;
} cases[] = {
	{ "{}", 0, "" },
	{ "[]", 0, "" },
	{ "{\"tools\":[],\"functions\":null,\"tool_choice\":\"auto\"}", 0, "" },
	{ "{\"tools\":[{}]}", TOOLS, "" },
	{ "{\"functions\":[{}]}", TOOLS, "" },
	{ "{\"t\\u006fols\":[{}]}", TOOLS, "" },
	{ "{\"x\":{\"tools\":[{}]}}", 0, "" },
	{ "{\"parallel_tool_calls\":true}", PARALLEL, "" },
	{ "{\"parallel_tool_calls\":false}", 0, "" },
	{ "{\"response_format\":{\"type\":\"json_object\"}}", 0, "" },
	{ "{\"response_format\":{\"type\":\"json_schema\"}}", SCHEMA, "" },
	{ "{\"text\":{\"format\":{\"type\":\"json_schema\"}}}", SCHEMA, "" },
	{ "{\"text\":{\"format\":{\"type\":\"text\"}}}", 0, "" },
	{ "{\"reasoning_effort\":\"low\"}", REASONING, "" },
	{ "{\"reasoning_effort\":\"none\"}", 0, "" },
	{ "{\"reasoning_effort\":null,\"reasoning\":null}", 0, "" },
	{ "{\"reasoning\":{\"effort\":\"high\"}}", REASONING, "" },
	{ "{\"modalities\":[\"text\",\"audio\"]}", AUDIO, "" },
	{ "{\"audio\":{\"voice\":\"alloy\"}}", AUDIO, "" },
	{ "{\"messages\":[{\"role\":\"user\",\"content\":\"image_url\"}]}", 0, "" },
	{ "{\"messages\":[{\"content\":[{\"type\":\"image_url\"}]},{}]}", VISION, "" },
	{ "{\"messages\":[{\"content\":[{\"type\":\"image\\u005furl\"}]}]}", VISION, "" },
	{ "{\"messages\":[{\"content\":[{\"type\":\"input_audio\"}]}]}", AUDIO, "" },
	{ "{\"input\":[{\"content\":[{\"type\":\"input_image\"}]}]}", VISION, "" },
	{ "{\"messages\":[{\"role\":\"user\"},{\"role\":\"assistant\"}]}", PREFILL, "" },
	{ "{\"messages\":[{\"role\":\"assistant\"},{\"role\":\"user\"}]}", 0, "" },
	{ "{\"messages\":[{\"role\":\"assistant\"},7]}", 0, "" },
	{ "{\"input\":[{\"role\":\"assistant\"}]}", 0, "" },
	{ "{\"prompt_cache_key\":\"k\",\"metadata\":{\"user_id\":\"u\"}}", 0, "\"k\"" },
	{ "{\"metadata\":{\"x\":1,\"user_id\":\"u\"},\"prompt_cache_key\":\"\"}", 0, "\"u\"" },
	{ "{\"metadata\":{\"user_id\":5},\"prompt_cache_key\":5}", 0, "" },
};

static void by_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].body);
		char *exact = malloc(n); /* one byte too far is seen */
		struct openai_needs needs;

		assert_non_null(exact);
		memcpy(exact, cases[i].body, n);
		print_message("%s\n", cases[i].body);
		openai_needs(slice_of(exact, n), &needs);
		assert_int_equal(needs.features, cases[i].features);
		assert_true(slice_eq(needs.cache_key, slice_str(cases[i].cache_key)));
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(by_members) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
