/* Any grouping of rollups equals the sums over the records, to the last unit. */
#include "fixture.h"

#include "report/rollup.h"

#define RECORDS 1500

static struct rollup_sums expected_sum(
	const struct rollup_query *q, const struct rollup_key *want, bool total)
{
	struct rollup_sums all = { 0 };

	for (uint64_t n = 1; n <= RECORDS; n++) {
		struct usage_record u = record_nth(n);
		struct rollup_sums one;
		struct rollup_key k;
		bool same = true;

		assert_true(rollup_of(&u, SLICE("web-01"), &k, &one));
		if (k.quarter_us < q->since_us || k.quarter_us >= q->until_us)
			continue;
		for (unsigned d = 0; d < ROLLUP_TEXT_DIMS; d++) {
			if (q->filtered[d] && !slice_eq(q->filter[d], k.text[d]))
				same = false;
			if (!total && q->by & 1u << d && !slice_eq(want->text[d], k.text[d]))
				same = false;
		}
		if (!total && q->by & 1u << DIM_uid && want->uid != k.uid)
			same = false;
		if (!total && q->by & 1u << DIM_outcome && want->outcome != k.outcome)
			same = false;
		if (!total && q->by & 1u << DIM_endpoint && want->endpoint != k.endpoint)
			same = false;
		if (!total && q->by & 1u << DIM_hour &&
			want->quarter_us != k.quarter_us - k.quarter_us % 3600000000)
			same = false;
		else if (!total && q->by & 1u << DIM_day && !(q->by & 1u << DIM_hour) &&
			 want->quarter_us != k.quarter_us - k.quarter_us % 86400000000)
			same = false;
		for (unsigned i = 0; same && i < SUM_COUNT; i++)
			all.v[i] += one.v[i];
	}
	return all;
}

static void book_all(struct fixture *f)
{
	struct agent_side a = { .store_id = { 1 } };

	fixture_open(f, STORE_MAP_BYTES);
	for (unsigned i = 0; i < RECORDS / 100; i++) {
		struct ingest_batch b = batch_next(f, &a, 100, 0);

		assert_int_equal(batch_book(f, &b), INGEST_BOOKED);
	}
}

static void every_grouping_equals_the_sum_over_the_records(void **state)
{
	struct fixture f = { 0 };
	struct rollup_query q;
	struct rollup_result res;
	unsigned random = 7;

	(void)state;
	book_all(&f);
	for (unsigned round = 0; round < 60; round++) {
		struct rollup_sums sum = { 0 }, want;

		random = random * 1103515245 + 12345;
		q = (struct rollup_query){ .until_us = INT64_MAX,
			.by = (uint16_t)(random >> 16 & ((1u << DIM_COUNT) - 1)) };
		if (round % 3 == 1) {
			q.filtered[DIM_project] = true;
			q.filter[DIM_project] = SLICE("globex");
		}
		if (round % 4 == 3) {
			q.since_us = record_nth(0).start_us + 8 * ROLLUP_QUARTER_US;
			q.until_us = q.since_us + 20 * ROLLUP_QUARTER_US;
		}
		assert_int_equal(rollup_query(f.store, &q, &res), 0);
		assert_true(res.n > 0);
		for (size_t g = 0; g < res.n; g++) {
			want = expected_sum(&q, &res.groups[g].key, false);
			assert_memory_equal(&want, &res.groups[g].sums, sizeof(want));
			for (unsigned i = 0; i < SUM_COUNT; i++)
				sum.v[i] += res.groups[g].sums.v[i];
		}
		want = expected_sum(&q, NULL, true);
		assert_memory_equal(&want, &res.total, sizeof(want));
		assert_memory_equal(&sum, &res.total, sizeof(sum));
		rollup_result_free(&res);
	}
	fixture_close(&f);
}

static int spoil(struct store_txn *t, void *arg)
{
	struct usage_record u = record_nth(3);
	struct rollup_sums sums;
	struct rollup_key key;

	(void)arg;
	assert_true(rollup_of(&u, SLICE("web-01"), &key, &sums));
	return rollup_add(t, &key, &sums);
}

static void rebuilding_finds_and_mends_a_difference(void **state)
{
	struct fixture f = { 0 };
	struct rollup_rebuilt done;

	(void)state;
	book_all(&f);
	assert_int_equal(rollup_rebuild(f.store, &done), 0);
	assert_int_equal(done.records, RECORDS);
	assert_int_equal(done.differences, 0);
	assert_int_equal(store_write(f.store, 0, spoil, NULL), 0);
	assert_int_equal(rollup_rebuild(f.store, &done), 0);
	assert_int_equal(done.differences, 1);
	assert_int_equal(rollup_rebuild(f.store, &done), 0);
	assert_int_equal(done.differences, 0);
	fixture_close(&f);
}

static void sums_do_not_wrap(void **state)
{
	struct fixture f = { 0 };
	struct rollup_query q = { .until_us = INT64_MAX };
	struct rollup_result res;
	char text[48];
	struct ingest_batch b;
	struct agent_side a = { .store_id = { 1 } };

	(void)state;
	fixture_open(&f, STORE_MAP_BYTES);
	b = batch_next(&f, &a, 3, 0);
	memset(a.chain, 0, 32);
	for (unsigned i = 0; i < 3; i++) {
		struct usage_record u = record_nth(1);

		u.cost_nano = INT64_MAX;
		b.usage.records.v[i] = record_bytes(&f, &u);
		usage_chain_next(a.chain, b.usage.records.v[i]);
	}
	b.usage.hash = slice_of((const char *)a.chain, 32);
	assert_int_equal(batch_book(&f, &b), INGEST_BOOKED);
	assert_int_equal(rollup_query(f.store, &q, &res), 0);
	rollup_format(res.total.v[SUM_cost], true, text);
	assert_string_equal(text, "27670116110.564327421");
	rollup_result_free(&res);
	fixture_close(&f);
}

static void numbers_are_printed_exactly(void **state)
{
	static const struct {
		rollup_int v;
		bool nano;
		const char *want;
	} cases[] = {
		{ 0, true, "0.000000000" },
		{ 1, true, "0.000000001" },
		{ 1500000000, true, "1.500000000" },
		{ -1, true, "-0.000000001" },
		{ -2000000000, true, "-2.000000000" },
		{ 0, false, "0" },
		{ 1234567890123, false, "1234567890123" },
	};
	char text[48];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rollup_format(cases[i].v, cases[i].nano, text);
		assert_string_equal(text, cases[i].want);
	}
}

static void what_does_not_fit_a_rollup_is_said(void **state)
{
	struct usage_record u = record_nth(1);
	struct rollup_sums sums;
	struct rollup_key key;
	char long_name[64];

	(void)state;
	memset(long_name, 'x', sizeof(long_name));
	assert_true(rollup_of(&u, SLICE("web-01"), &key, &sums));
	u.start_us = -1;
	assert_false(rollup_of(&u, SLICE("web-01"), &key, &sums));
	u = record_nth(1);
	u.start_us = u.duration_us = INT64_MAX;
	assert_false(rollup_of(&u, SLICE("web-01"), &key, &sums));
	u = record_nth(1);
	u.customer = slice_of(long_name, 64);
	assert_false(rollup_of(&u, SLICE("web-01"), &key, &sums));
	u = record_nth(1);
	u.outcome = 99;
	assert_false(rollup_of(&u, SLICE("web-01"), &key, &sums));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_grouping_equals_the_sum_over_the_records),
		cmocka_unit_test(rebuilding_finds_and_mends_a_difference),
		cmocka_unit_test(sums_do_not_wrap),
		cmocka_unit_test(numbers_are_printed_exactly),
		cmocka_unit_test(what_does_not_fit_a_rollup_is_said),
	};

	return cmocka_run_group_tests_name("ctld/rollup", tests, NULL, NULL);
}
