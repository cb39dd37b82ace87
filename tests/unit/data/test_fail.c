/* Every fail row can be sent: a known status, OpenAI's type, a sentence, and a name that finds it
 * again. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/fail.h>

static void names_find_their_rows(void **state)
{
	(void)state;
	for (int i = FAIL_none + 1; i < FAIL_COUNT; i++) {
		const struct fail_row *row = fail_row((enum fail)i);

		assert_int_equal(fail_by_name(slice_str(row->name)), i);
	}
	assert_int_equal(fail_by_name(SLICE("no_such_row")), FAIL_none);
	assert_int_equal(fail_by_name(SLICE_EMPTY), FAIL_none);
	assert_int_equal(fail_by_name(SLICE("none")), FAIL_none);
}

static void rows_can_be_sent(void **state)
{
	(void)state;
	for (int i = FAIL_none + 1; i < FAIL_COUNT; i++) {
		const struct fail_row *row = fail_row((enum fail)i);

		assert_in_range(row->status, 400, 599);
		assert_true(strlen(row->type) > 0);
		assert_true(strlen(row->name) <= 32); /* a usage record keeps it */
		assert_int_equal(row->text[strlen(row->text) - 1], '.');
		/* What the client did wrong does not get better by trying again. */
		if (row->status < 500 && row->status != 408 && row->status != 429)
			assert_int_equal(row->retry, FAIL_RETRY_NO);
	}
}

static void facts_of_single_rows(void **state)
{
	static const struct {
		enum fail fail;
		uint16_t status;
		enum fail_retry retry;
		const char *type;
	} cases[] = {
		{ FAIL_model_not_found, 404, FAIL_RETRY_NO, "invalid_request_error" },
		{ FAIL_invalid_api_key, 401, FAIL_RETRY_NO, "authentication_error" },
		{ FAIL_request_too_large, 413, FAIL_RETRY_NO, "invalid_request_error" },
		{ FAIL_spool_full, 503, FAIL_RETRY_YES, "server_error" },
		{ FAIL_upstream_auth_failed, 502, FAIL_RETRY_NO, "server_error" },
		{ FAIL_upstream_cut, 502, FAIL_RETRY_ANY, "server_error" },
		{ FAIL_internal, 500, FAIL_RETRY_ANY, "server_error" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(fail_row(cases[i].fail)->status, cases[i].status);
		assert_int_equal(fail_row(cases[i].fail)->retry, cases[i].retry);
		assert_string_equal(fail_row(cases[i].fail)->type, cases[i].type);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_find_their_rows),
		cmocka_unit_test(rows_can_be_sent),
		cmocka_unit_test(facts_of_single_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
