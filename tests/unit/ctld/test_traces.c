/* The controller's memory of traces: who is believed, what goes first, and that it stays within its
 * bounds whatever agents send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "report/traces.h"

#define SECOND USEC_PER_S

static struct traces *make(size_t bytes, size_t agent_bytes, usec age_us)
{
	const struct traces_limits limits = { bytes, agent_bytes, age_us };
	struct traces *t = NULL;

	assert_int_equal(traces_new(&limits, &t), 0);
	return t;
}

static const uint8_t *id_of(unsigned n)
{
	static uint8_t id[16];

	memset(id, 0, sizeof(id));
	memcpy(id, &n, sizeof(n));
	return id;
}

static void put(struct traces *t, unsigned n, const char *agent, usec now)
{
	assert_int_equal(traces_put(t, id_of(n), agent, "host", SLICE("{\"a\":1}"), now), 0);
}

static bool has(struct traces *t, unsigned n, usec now)
{
	struct traces_found f;

	return traces_find(t, id_of(n), now, &f);
}

static void it_says_who_told_it(void **state)
{
	struct traces *t = make(1 << 20, 1 << 20, SECOND);
	struct traces_found f;

	(void)state;
	assert_int_equal(
		traces_put(t, id_of(1), "web-01", "web-01.example", SLICE("{\"x\":2}"), 1), 0);
	/* Another agent can't speak for it any more, nor can it take it back. */
	put(t, 1, "web-02", 2);
	assert_true(traces_find(t, id_of(1), 3, &f));
	assert_string_equal(f.agent, "web-01");
	assert_string_equal(f.host, "web-01.example");
	assert_true(slice_eq(f.text, SLICE("{\"x\":2}")));
	assert_false(traces_find(t, id_of(2), 3, &f));
	assert_int_equal(traces_counts(t).kept, 1);
	traces_free(t);
}

static void the_old_ones_go(void **state)
{
	struct traces *t = make(1 << 20, 1 << 20, 10 * SECOND);

	(void)state;
	put(t, 1, "a", 1 * SECOND);
	put(t, 2, "a", 6 * SECOND);
	assert_true(has(t, 1, 11 * SECOND));
	assert_false(has(t, 1, 11 * SECOND + 1));
	assert_true(has(t, 2, 11 * SECOND + 1));
	traces_prune(t, 17 * SECOND);
	assert_int_equal(traces_counts(t).n, 0);
	assert_int_equal(traces_counts(t).bytes, 0);
	traces_free(t);
}

static void an_agent_pushes_out_its_own(void **state)
{
	struct traces *t = make(1 << 20, 4096, SECOND);
	unsigned left = 0;

	(void)state;
	put(t, 1, "quiet", 1);
	for (unsigned n = 2; n <= 1000; n++)
		put(t, n, "noisy", 1);
	for (unsigned n = 2; n <= 1000; n++)
		left += has(t, n, 1);
	assert_true(has(t, 1, 1));
	assert_true(has(t, 1000, 1));
	assert_false(has(t, 2, 1));
	assert_in_range(left, 2, 4096 / 64);
	assert_int_equal(traces_counts(t).n, left + 1);
	traces_free(t);
}

static void all_have_a_bound(void **state)
{
	struct traces *t = make(16384, 4096, SECOND);
	char agent[16];

	(void)state;
	for (unsigned n = 1; n <= 5000; n++) {
		(void)snprintf(agent, sizeof(agent), "agent-%u", n % 1000);
		put(t, n, agent, 1);
		assert_true(traces_counts(t).bytes <= 16384);
	}
	assert_true(has(t, 5000, 1));
	assert_false(has(t, 1, 1));
	assert_int_equal(traces_counts(t).kept, 5000);
	traces_free(t);
}

static void what_is_no_trace_is_lost(void **state)
{
	struct traces *t = make(1 << 20, 1 << 20, SECOND);
	static char large[TRACES_MAX_TEXT + 1];

	(void)state;
	assert_int_equal(
		traces_put(t, id_of(1), "a", "h", slice_of(large, sizeof(large)), 1), -EMSGSIZE);
	assert_int_equal(traces_put(t, id_of(1), "a", "h", SLICE_EMPTY, 1), -EMSGSIZE);
	assert_int_equal(traces_put(t, id_of(1), "a", "h", slice_of(large, TRACES_MAX_TEXT), 1), 0);
	traces_note_lost(t, 5);
	traces_note_lost(t, UINT64_MAX); /* whatever an agent says */
	assert_int_equal(traces_counts(t).lost, 2 + 5 + (uint64_t)UINT32_MAX);
	assert_int_equal(traces_counts(t).kept, 1);
	traces_free(t);
	traces_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_who_told_it),
		cmocka_unit_test(the_old_ones_go),
		cmocka_unit_test(an_agent_pushes_out_its_own),
		cmocka_unit_test(all_have_a_bound),
		cmocka_unit_test(what_is_no_trace_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
