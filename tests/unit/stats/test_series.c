/* Counters by model, provider and project: places, their limit, and workers that find them at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stats/series.h"

#include <pthread.h>

static struct series *make(unsigned n_workers, uint32_t max)
{
	struct series *s = NULL;

	assert_int_equal(series_new(n_workers, &s), 0);
	series_set_max(s, max);
	return s;
}

static struct series_key key(unsigned model, unsigned provider, unsigned project)
{
	return (struct series_key){ (uint16_t)model, (uint16_t)provider, (uint16_t)project };
}

static void a_combination_keeps_its_place(void **state)
{
	struct series *s = make(1, 100);
	uint32_t a = series_place(s, SERIES_TRAFFIC, key(1, 2, 3));

	(void)state;
	assert_int_equal(a, 1);
	assert_int_equal(series_place(s, SERIES_TRAFFIC, key(1, 2, SERIES_NONE)), 2);
	assert_int_equal(series_place(s, SERIES_TRAFFIC, key(3, 2, 1)), 3);
	assert_int_equal(series_place(s, SERIES_TRAFFIC, key(1, 2, 3)), a);
	assert_int_equal(series_count(s, SERIES_TRAFFIC), 4);
	assert_int_equal(series_key(s, SERIES_TRAFFIC, 2).project, SERIES_NONE);
	assert_int_equal(series_key(s, SERIES_TRAFFIC, 3).model, 3);
	assert_int_equal(series_key(s, SERIES_TRAFFIC, 0).model, 0);
	/* Times know no project. */
	assert_int_equal(series_place(s, SERIES_TIMES, key(1, 2, 3)), 1);
	assert_int_equal(series_place(s, SERIES_TIMES, key(1, 2, 4)), 1);
	assert_int_equal(series_times_of(s, a), 1);
	assert_int_equal(series_times_of(s, 3), 0);
	series_free(s);
}

static void later_ones_are_counted_together(void **state)
{
	struct series *s = make(1, 16);
	struct series_block *b = series_worker(s, 0);
	struct series_traffic_sum sum;
	struct series_times_sum times;

	(void)state;
	assert_int_equal(series_max(s, SERIES_TRAFFIC), 16);
	assert_int_equal(series_max(s, SERIES_TIMES), 2);
	for (unsigned i = 0; i < 20; i++) {
		series_add(&series_traffic(b, key(i, 1, 1))->code[SERIES_2xx], 1);
		buckets_add(&series_times(b, key(i, 1, 1))->of[SERIES_ttft],
			&series_bounds[SERIES_ttft], 1);
	}
	assert_int_equal(series_count(s, SERIES_TRAFFIC), 17);
	assert_int_equal(series_count(s, SERIES_TIMES), 3);
	series_read_traffic(s, 0, &sum);
	assert_int_equal(sum.code[SERIES_2xx], 4);
	series_read_times(s, 0, &times);
	assert_int_equal(times.of[SERIES_ttft].count[0], 18);
	series_free(s);
}

static void fallbacks_are_by_both_providers(void **state)
{
	struct series *s = make(2, 16); /* two of fallbacks */

	(void)state;
	for (uint32_t to = 1; to <= 5; to++)
		series_fallback(series_worker(s, to % 2), 7, to);
	series_fallback(series_worker(s, 0), 7, 1);
	assert_int_equal(series_count(s, SERIES_FALLBACKS), 3);
	assert_int_equal(series_key(s, SERIES_FALLBACKS, 1).model, 7);
	assert_int_equal(series_key(s, SERIES_FALLBACKS, 1).provider, 1);
	assert_int_equal(series_read_fallbacks(s, 1), 2);
	assert_int_equal(series_read_fallbacks(s, 2), 1);
	assert_int_equal(series_read_fallbacks(s, 0), 3);
	series_free(s);
}

#define THREADS 4
#define KEYS    300
#define ROUNDS  200

static struct series *shared;

static void *work(void *arg)
{
	struct series_block *b = series_worker(shared, *(const unsigned *)arg);

	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned i = 0; i < KEYS; i++)
			series_add(
				&series_traffic(b, key(i, i % 7, i % 3))->tokens[SERIES_output], 1);
	return NULL;
}

static void workers_agree_on_places(void **state)
{
	pthread_t t[THREADS];
	unsigned worker[THREADS];
	uint8_t seen[KEYS] = { 0 };

	(void)state;
	shared = make(THREADS, 1000);
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, work, &worker[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		(void)pthread_join(t[i], NULL);
	assert_int_equal(series_count(shared, SERIES_TRAFFIC), KEYS + 1);
	for (uint32_t i = 1; i <= KEYS; i++) {
		struct series_traffic_sum sum;

		series_read_traffic(shared, i, &sum);
		assert_int_equal(sum.tokens[SERIES_output], THREADS * ROUNDS);
		seen[series_key(shared, SERIES_TRAFFIC, i).model]++;
	}
	for (size_t i = 0; i < KEYS; i++)
		assert_int_equal(seen[i], 1);
	series_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_combination_keeps_its_place),
		cmocka_unit_test(later_ones_are_counted_together),
		cmocka_unit_test(fallbacks_are_by_both_providers),
		cmocka_unit_test(workers_agree_on_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
