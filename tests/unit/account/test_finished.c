/* Finished calls: a slot's values come out of the ring as they went in, at any length of its texts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "account/finished.h"

static struct slot slot;

static struct finished pass(void)
{
	struct line_ring *ring = NULL;
	struct finished f;
	char bytes[LINE_MAX_BYTES];
	uint64_t first;
	size_t n = 0;

	assert_int_equal(line_ring_new(&ring), 0);
	finished_post(ring, &slot, NULL);
	assert_int_equal(line_ring_read(ring, 0, bytes, &n, &first), 0);
	assert_true(finished_read(slice_of(bytes, n), &f));
	line_ring_free(ring);
	return f;
}

static int begin(void **state)
{
	(void)state;
	memset(&slot, 0, sizeof(slot));
	return 0;
}

static void values_and_texts(void **state)
{
	struct finished f;

	(void)state;
	slot.v.start_us = 1790064732000000;
	slot.v.duration_us = 102000;
	slot.v.first_byte_us = 31000;
	slot.v.input_tokens = 812;
	slot.v.output_tokens = 64;
	slot.v.cost_nano = 160000;
	slot.v.priced = 1;
	slot.v.uid = 999;
	slot.v.status = 200;
	slot.v.outcome = USAGE_OK;
	slot_set_text(&slot, SLOT_TEXT_op_id, SLICE("0123456789abcdef"));
	slot_set_text(&slot, SLOT_TEXT_project, SLICE("search"));
	slot_set_text(&slot, SLOT_TEXT_provider, SLICE("openai"));
	slot_set_text(&slot, SLOT_TEXT_fail, SLICE("upstream_cut"));
	f = pass();
	assert_int_equal(finished_end_us(&f), 1790064732102000);
	assert_int_equal(f.first_byte_us, 31000);
	assert_int_equal(f.input_tokens, 812);
	assert_int_equal(f.output_tokens, 64);
	assert_int_equal(f.cost_nano, 160000);
	assert_true(f.priced);
	assert_int_equal(f.uid, 999);
	assert_int_equal(f.status, 200);
	assert_int_equal(f.outcome, USAGE_OK);
	assert_memory_equal(f.op_id, "0123456789abcdef", 16);
	assert_true(slice_eq(finished_text(&f, FINISHED_project), SLICE("search")));
	assert_int_equal(finished_text(&f, FINISHED_model).n, 0);
	assert_true(slice_eq(finished_text(&f, FINISHED_provider), SLICE("openai")));
	assert_int_equal(finished_text(&f, FINISHED_key).n, 0);
	assert_true(slice_eq(finished_text(&f, FINISHED_fail), SLICE("upstream_cut")));
}

static void the_longest_texts_fit(void **state)
{
	char name[127];
	struct finished f;

	(void)state;
	memset(name, 'n', sizeof(name));
	slot_set_text(&slot, SLOT_TEXT_project, slice_of(name, 63));
	slot_set_text(&slot, SLOT_TEXT_model, slice_of(name, 127));
	slot_set_text(&slot, SLOT_TEXT_provider, slice_of(name, 63));
	slot_set_text(&slot, SLOT_TEXT_key_id, slice_of(name, 16));
	slot_set_text(&slot, SLOT_TEXT_fail, slice_of(name, 32));
	f = pass();
	assert_int_equal(finished_text(&f, FINISHED_model).n, 127);
	assert_int_equal(finished_text(&f, FINISHED_fail).n, 32);
}

static void what_is_none_is_refused(void **state)
{
	char bytes[LINE_MAX_BYTES] = { 0 };
	struct finished f;

	(void)state;
	assert_false(finished_read(SLICE_EMPTY, &f));
	assert_false(finished_read(slice_of(bytes, 10), &f));
	assert_true(finished_read(slice_of(bytes, offsetof(struct finished, text)), &f));
	assert_false(finished_read(slice_of(bytes, offsetof(struct finished, text) + 1), &f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(values_and_texts, begin),
		cmocka_unit_test_setup(the_longest_texts_fit, begin),
		cmocka_unit_test_setup(what_is_none_is_refused, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
