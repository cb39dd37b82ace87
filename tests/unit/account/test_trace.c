/* A trace comes back as it was posted, also where names have no room, and nothing else is one. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "account/trace.h"

#include <stdlib.h>
#include <string.h>

static struct slot slot;
static struct line_ring *ring;
static char names[TRACE_TARGETS_MAX][128];

static int begin(void **state)
{
	(void)state;
	memset(&slot, 0, sizeof(slot));
	slot_set_text(&slot, SLOT_TEXT_op_id, SLICE("0123456789abcdef"));
	slot_set_text(&slot, SLOT_TEXT_project, SLICE("search"));
	slot_set_text(&slot, SLOT_TEXT_model, SLICE("gpt"));
	slot.v.status = 200;
	slot.v.duration_us = 1234;
	return line_ring_new(&ring);
}

static int end(void **state)
{
	(void)state;
	line_ring_free(ring);
	return 0;
}

static struct trace sample(unsigned targets, unsigned tries, size_t name_n)
{
	struct trace t = {
		.n_targets = (uint8_t)targets, .n_tries = (uint8_t)tries, .served = 1, .degraded = 1
	};

	for (unsigned i = 0; i < targets; i++) {
		memset(names[i], 'a' + (int)i, sizeof(names[i]));
		t.targets[i] = (struct trace_target){ (uint8_t)i, (uint8_t)(i + 1) };
		t.provider[i] = slice_of(names[i], name_n);
		t.model[i] = slice_of(names[i], name_n / 2);
	}
	for (unsigned i = 0; i < tries; i++)
		t.tries[i] = (struct trace_try){ i * 1000, 7, (uint16_t)(500 + i), (uint8_t)i, 0, 1,
			TRACE_AGAIN };
	return t;
}

static char bytes[LINE_MAX_BYTES];

static struct slice posted(const struct trace *t)
{
	uint64_t first;
	size_t n;

	trace_post(ring, &slot, t);
	assert_int_equal(line_ring_read(ring, line_ring_next(ring) - 1, bytes, &n, &first), 0);
	return slice_of(bytes, n);
}

static void check(unsigned targets, unsigned tries, size_t name_n, bool fits)
{
	struct trace t = sample(targets, tries, name_n), got;

	assert_true(trace_read(posted(&t), &got));
	assert_int_equal(got.n_targets, targets);
	assert_int_equal(got.n_tries, tries);
	assert_int_equal(got.served, 1);
	assert_true(got.degraded);
	assert_memory_equal(got.targets, t.targets, targets * sizeof(t.targets[0]));
	assert_memory_equal(got.tries, t.tries, tries * sizeof(t.tries[0]));
	assert_int_equal(got.call.status, 200);
	assert_int_equal(got.call.duration_us, 1234);
	assert_true(slice_eq(finished_text(&got.call, FINISHED_project), SLICE("search")));
	for (unsigned i = 0; i < targets && fits; i++) {
		assert_true(slice_eq(got.provider[i], t.provider[i]));
		assert_true(slice_eq(got.model[i], t.model[i]));
	}
	if (!fits)
		assert_int_equal(got.provider[targets - 1].n, 0);
}

static void comes_back(void **state)
{
	(void)state;
	check(1, 1, 10, true);
	check(3, 0, 20, true);
	check(2, 10, 12, true);
	check(16, 10, 63, false); /* numbers are whole, names as far as there is room */
}

static void nothing_else_is_one(void **state)
{
	struct trace t = sample(3, 2, 8), got;
	struct slice whole = posted(&t);
	size_t numbers = whole.n - 3 * (2 + 8 + 4); /* without the names */

	(void)state;
	for (size_t n = 0; n < numbers; n++) {
		char *exact = malloc(n ? n : 1); /* one byte too far is seen */

		assert_non_null(exact);
		memcpy(exact, whole.p, n);
		assert_false(trace_read(slice_of(exact, n), &got));
		free(exact);
	}
	bytes[2] = 17; /* targets */
	assert_false(trace_read(whole, &got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(comes_back, begin, end),
		cmocka_unit_test_setup_teardown(nothing_else_is_one, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
