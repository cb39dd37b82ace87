/* Live numbers: slots, sums over workers, quantiles, and that workers can count while others read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stats/hist.h"
#include "stats/stats.h"

#include <pthread.h>

static struct stats *make(unsigned n_workers)
{
	struct stats *s = NULL;

	assert_int_equal(stats_new(n_workers, &s), 0);
	return s;
}

/* --- slots ---------------------------------------------------------------------------- */

static void a_name_keeps_its_slot(void **state)
{
	struct stats *s = make(1);
	uint32_t a = stats_slot(s, STAT_MODEL, SLICE("a")),
		 b = stats_slot(s, STAT_MODEL, SLICE("b"));

	(void)state;
	assert_int_equal(a, 1);
	assert_int_equal(b, 2);
	assert_int_equal(stats_slot(s, STAT_MODEL, SLICE("a")), a);
	assert_int_equal(stats_slots(s, STAT_MODEL), 3);
	assert_true(slice_eq(stats_slot_name(s, STAT_MODEL, a), SLICE("a")));
	assert_true(slice_eq(stats_slot_name(s, STAT_MODEL, b), SLICE("b")));
	assert_int_equal(stats_slots(s, STAT_PROVIDER), 1);
	stats_free(s);
}

static void slot_zero_takes_the_rest(void **state)
{
	struct stats *s = make(1);
	char name[16];

	(void)state;
	for (uint32_t i = 1; i < STAT_MAX_OBJECTS; i++) {
		(void)snprintf(name, sizeof(name), "p%" PRIu32, i);
		assert_int_equal(stats_slot(s, STAT_PROJECT, slice_str(name)), i);
	}
	assert_int_equal(stats_slot(s, STAT_PROJECT, SLICE("one too many")), 0);
	assert_int_equal(stats_slot(s, STAT_PROJECT, SLICE("p4095")), 4095);
	assert_int_equal(stats_slot(s, STAT_PROJECT, SLICE("")), 0);
	assert_int_equal(stats_slot(s, STAT_GLOBAL, SLICE("any")), 0);
	assert_int_equal(stats_slots(s, STAT_PROJECT), STAT_MAX_OBJECTS);
	assert_true(slice_eq(stats_slot_name(s, STAT_PROJECT, 0), SLICE("_other")));
	stats_free(s);
}

static void uids_get_dense_slots(void **state)
{
	static const uint32_t uids[] = { 0, 1000, 1, UINT32_MAX, 65534, 8192, 16384, 1000 + 8192 };
	struct stats *s = make(1);
	uint32_t uid;

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(uids); i++) {
		assert_int_equal(stats_find_uid(s, uids[i]), 0);
		assert_int_equal(stats_uid_slot(s, uids[i]), i + 1);
	}
	for (uint32_t i = 0; i < ARRAY_LEN(uids); i++) {
		assert_int_equal(stats_uid_slot(s, uids[i]), i + 1);
		assert_int_equal(stats_find_uid(s, uids[i]), i + 1);
		assert_true(stats_slot_uid(s, i + 1, &uid));
		assert_int_equal(uid, uids[i]);
	}
	assert_int_equal(stats_slots(s, STAT_UID), ARRAY_LEN(uids) + 1);
	assert_false(stats_slot_uid(s, 0, &uid));
	assert_false(stats_slot_uid(s, ARRAY_LEN(uids) + 1, &uid));
	stats_free(s);
}

static void a_full_uid_table_overflows(void **state)
{
	struct stats *s = make(1);

	(void)state;
	for (uint32_t i = 1; i < STAT_MAX_OBJECTS; i++)
		assert_int_equal(stats_uid_slot(s, i * 7919), i);
	assert_int_equal(stats_uid_slot(s, 3), 0);
	assert_int_equal(stats_uid_slot(s, 4095 * 7919), 4095);
	assert_int_equal(stats_slots(s, STAT_UID), STAT_MAX_OBJECTS);
	stats_free(s);
}

/* --- counting ------------------------------------------------------------------------- */

static void sums_go_over_the_workers(void **state)
{
	struct stats *s = make(3);
	uint32_t slot = stats_slot(s, STAT_MODEL, SLICE("m"));
	int64_t all[STAT_COUNTER_COUNT];

	(void)state;
	for (unsigned w = 0; w < 3; w++) {
		stats_add(stats_worker(s, w), STAT_MODEL, slot, STAT_requests, 10 + w);
		stats_add(stats_worker(s, w), STAT_MODEL, slot, STAT_inflight, 1);
		stats_add(stats_worker(s, w), STAT_GLOBAL, 0, STAT_tokens_in, INT64_C(1) << 40);
	}
	stats_add(stats_worker(s, 1), STAT_MODEL, slot, STAT_inflight, -1);
	assert_int_equal(stats_sum(s, STAT_MODEL, slot, STAT_requests), 33);
	assert_int_equal(stats_sum(s, STAT_MODEL, slot, STAT_inflight), 2);
	assert_int_equal(stats_sum(s, STAT_MODEL, 0, STAT_requests), 0);
	assert_int_equal(stats_sum(s, STAT_GLOBAL, 0, STAT_tokens_in), INT64_C(3) << 40);
	assert_int_equal(stats_sum(s, STAT_PROVIDER, slot, STAT_requests), 0);
	stats_read(s, STAT_MODEL, slot, all);
	for (int c = 0; c < STAT_COUNTER_COUNT; c++)
		assert_int_equal(all[c], stats_sum(s, STAT_MODEL, slot, c));
	stats_free(s);
}

static void an_impossible_slot_counts_as_other(void **state)
{
	struct stats *s = make(1);

	(void)state;
	stats_add(stats_worker(s, 0), STAT_MODEL, UINT32_MAX, STAT_ok, 1);
	stats_add(stats_worker(s, 0), STAT_MODEL, STAT_MAX_OBJECTS, STAT_ok, 1);
	assert_int_equal(stats_sum(s, STAT_MODEL, 0, STAT_ok), 2);
	assert_int_equal(stats_sum(s, STAT_MODEL, UINT32_MAX, STAT_ok), 0);
	stats_free(s);
}

static void counters_have_the_names_of_the_table(void **state)
{
	(void)state;
	assert_string_equal(stats_counter_name(STAT_requests), "requests");
	assert_string_equal(stats_counter_name(STAT_cost_nano), "cost_nano");
	for (int c = 0; c < STAT_COUNTER_COUNT; c++)
		assert_non_null(stats_counter_name(c));
}

/* --- times ---------------------------------------------------------------------------- */

static void every_bucket_holds_its_own_end(void **state)
{
	uint64_t before = 0;

	(void)state;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		static struct hist h;
		uint64_t top = hist_highest(i), sum[HIST_BUCKETS] = { 0 }, max = 0;

		h = (struct hist){ .max = 0 };
		hist_add(&h, top);
		hist_add(&h, i ? before + 1 : 0);
		hist_collect(&h, sum, &max);
		assert_int_equal(sum[i], 2);
		assert_int_equal(max, top);
		/* no bucket is wider than a 32nd of what is in it */
		assert_true(i == 0 ||
			    (top - before) * HIST_STEPS <= MAX(top + 1, (uint64_t)HIST_STEPS));
		before = top;
	}
	assert_true(before == (UINT64_C(1) << 36) - 1);
}

static void quantiles_are_those_of_the_values(void **state)
{
	static const struct {
		usec from, to; /* each value once */
		struct stat_quantiles want;
	} cases[] = {
		{ 1, 0, { 0, 0, 0, 0, 0, 0, 0 } },
		{ 7, 7, { 1, 7, 7, 7, 7, 7, 7 } },
		{ 1, 20, { 20, 10, 18, 19, 20, 20, 20 } },
		{ 1, 1000, { 1000, 500, 900, 950, 990, 999, 1000 } },
		{ 100001, 200000, { 100000, 150000, 190000, 195000, 199000, 199900, 200000 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stats *s = make(2);
		struct stat_quantiles q;
		const uint64_t *got = &q.p50, *want = &cases[i].want.p50;

		for (usec v = cases[i].from; v <= cases[i].to; v++)
			stats_time(
				stats_worker(s, v % 2 ? 1 : 0), STAT_GLOBAL, 0, HIST_duration, v);
		stats_quantiles(s, STAT_GLOBAL, 0, HIST_duration, &q);
		assert_int_equal(q.n, cases[i].want.n);
		assert_int_equal(q.max, cases[i].want.max);
		for (int k = 0; k < 5; k++) {
			/* never below, at most a 32nd above */
			assert_true(got[k] >= want[k]);
			assert_true(got[k] <= want[k] + want[k] / 32);
			assert_true(got[k] <= q.max);
		}
		stats_quantiles(s, STAT_GLOBAL, 0, HIST_ttft, &q);
		assert_int_equal(q.n, 0);
		stats_free(s);
	}
}

static void odd_times_are_kept_within_bounds(void **state)
{
	struct stats *s = make(1);
	struct stat_quantiles q;

	(void)state;
	stats_time(stats_worker(s, 0), STAT_GLOBAL, 0, HIST_ttft, -5);
	stats_quantiles(s, STAT_GLOBAL, 0, HIST_ttft, &q);
	assert_int_equal(q.n, 1);
	assert_int_equal(q.p50, 0);
	stats_time(stats_worker(s, 0), STAT_GLOBAL, 0, HIST_ttft, INT64_MAX);
	stats_quantiles(s, STAT_GLOBAL, 0, HIST_ttft, &q);
	assert_int_equal(q.n, 2);
	assert_true(q.max == INT64_MAX);
	assert_true(q.p99 == (UINT64_C(1) << 36) - 1);
	stats_free(s);
}

static void a_full_bucket_stays_full(void **state)
{
	static struct hist h;
	uint64_t sum[HIST_BUCKETS] = { 0 }, max = 0;

	(void)state;
	h.count[3] = UINT32_MAX - 1;
	for (int i = 0; i < 3; i++)
		hist_add(&h, 3);
	hist_collect(&h, sum, &max);
	assert_true(sum[3] == UINT32_MAX);
}

/* --- threads -------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  20000

struct counting {
	struct stats *s;
	unsigned worker;
	uint32_t slots[64];
};

static void *count(void *arg)
{
	struct counting *c = arg;

	for (uint32_t i = 0; i < 64; i++)
		c->slots[i] = stats_uid_slot(c->s, (i * 31 + c->worker * 17) % 64);
	for (int i = 0; i < ROUNDS; i++) {
		stats_add(stats_worker(c->s, c->worker), STAT_UID, c->slots[i % 64], STAT_requests,
			1);
		stats_time(stats_worker(c->s, c->worker), STAT_UID, c->slots[i % 64], HIST_duration,
			i);
	}
	return NULL;
}

static void workers_count_at_the_same_time(void **state)
{
	struct stats *s = make(THREADS);
	struct counting c[THREADS];
	pthread_t threads[THREADS];
	int64_t sum = 0;
	uint64_t n = 0;
	bool seen[64] = { false };

	(void)state;
	for (unsigned t = 0; t < THREADS; t++) {
		c[t] = (struct counting){ .s = s, .worker = t };
		assert_int_equal(pthread_create(&threads[t], NULL, count, &c[t]), 0);
	}
	for (int i = 0; i < 100; i++) {
		int64_t now = 0;

		for (uint32_t slot = 0; slot < stats_slots(s, STAT_UID); slot++)
			now += stats_sum(s, STAT_UID, slot, STAT_requests);
		assert_true(now >= sum && now <= THREADS * ROUNDS);
		sum = now;
	}
	for (unsigned t = 0; t < THREADS; t++)
		assert_int_equal(pthread_join(threads[t], NULL), 0);
	assert_int_equal(stats_slots(s, STAT_UID), 65);
	sum = 0;
	for (uint32_t slot = 1; slot <= 64; slot++) {
		struct stat_quantiles q;
		uint32_t uid;

		assert_true(stats_slot_uid(s, slot, &uid));
		assert_true(uid < 64 && !seen[uid]);
		seen[uid] = true;
		sum += stats_sum(s, STAT_UID, slot, STAT_requests);
		stats_quantiles(s, STAT_UID, slot, HIST_duration, &q);
		n += q.n;
	}
	assert_int_equal(sum, THREADS * ROUNDS);
	assert_int_equal(n, THREADS * ROUNDS);
	stats_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_keeps_its_slot),
		cmocka_unit_test(slot_zero_takes_the_rest),
		cmocka_unit_test(uids_get_dense_slots),
		cmocka_unit_test(a_full_uid_table_overflows),
		cmocka_unit_test(sums_go_over_the_workers),
		cmocka_unit_test(an_impossible_slot_counts_as_other),
		cmocka_unit_test(counters_have_the_names_of_the_table),
		cmocka_unit_test(every_bucket_holds_its_own_end),
		cmocka_unit_test(quantiles_are_those_of_the_values),
		cmocka_unit_test(odd_times_are_kept_within_bounds),
		cmocka_unit_test(a_full_bucket_stays_full),
		cmocka_unit_test(workers_count_at_the_same_time),
	};

	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
