/* Every record is booked exactly once, whatever arrives twice, late, half or from a copied disk;
 * and a store that lies is quarantined, for ever. */
#include "fixture.h"

#include <aigw/clock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fixture_open(f, STORE_MAP_BYTES);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_close(*state);
	free(*state);
	return 0;
}

static void a_batch_is_booked_and_moves_the_high_water_mark(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch b = batch_next(f, &a, 10, 0);

	assert_int_equal(batch_book(f, &b), INGEST_BOOKED);
	assert_int_equal(b.booked, 10);
	assert_int_equal(b.head.high_water, 10);
	assert_memory_equal(b.head.chain, a.chain, 32);
	assert_int_equal(count_records(f), 10);
}

static void a_duplicate_is_acknowledged_and_not_booked(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch b = batch_next(f, &a, 10, 0), again = b;

	assert_int_equal(batch_book(f, &b), INGEST_BOOKED);
	assert_int_equal(batch_book(f, &again), INGEST_BOOKED);
	assert_int_equal(again.booked, 0);
	assert_int_equal(again.head.high_water, 10);
	assert_int_equal(count_records(f), 10);
}

static void of_an_overlap_only_the_new_part_is_booked(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } }, from_6 = a;
	struct ingest_batch first = batch_next(f, &a, 10, 0), over;

	assert_int_equal(batch_book(f, &first), INGEST_BOOKED);
	(void)batch_next(f, &from_6, 5, 0);
	over = batch_next(f, &from_6, 20, 0); /* 6 .. 25 */
	assert_int_equal(over.usage.first_seq, 6);
	assert_int_equal(batch_book(f, &over), INGEST_BOOKED);
	assert_int_equal(over.booked, 15);
	assert_int_equal(over.head.high_water, 25);
	assert_int_equal(count_records(f), 25);
}

static void a_gap_quarantines_the_store_for_good(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch first = batch_next(f, &a, 3, 0), lost = batch_next(f, &a, 2, 0);
	struct ingest_batch after = batch_next(f, &a, 3, 0);

	assert_int_equal(batch_book(f, &first), INGEST_BOOKED);
	assert_int_equal(batch_book(f, &after), INGEST_GAP);
	assert_true(after.quarantined_now);
	assert_string_equal(after.reason, "records 4 to 5 are missing");
	/* the missing batch would fit: it is refused all the same */
	assert_int_equal(batch_book(f, &lost), INGEST_QUARANTINED);
	assert_false(lost.quarantined_now);
	assert_int_equal(count_records(f), 3);
	fixture_reopen(f);
	assert_int_equal(batch_book(f, &lost), INGEST_QUARANTINED);
	assert_string_equal(ingest_code(INGEST_GAP), "gap");
}

static void other_stores_of_the_agent_go_on_after_a_quarantine(void **state)
{
	struct fixture *f = *state;
	struct agent_side bad = { .store_id = { 1 }, .seq = 7 }, good = { .store_id = { 2 } };
	struct ingest_batch gap = batch_next(f, &bad, 1, 0), ok = batch_next(f, &good, 4, 0);
	struct ingest_batch *both[] = { &gap, &ok };

	ingest_book(f->store, both, 2);
	assert_int_equal(gap.verdict, INGEST_GAP);
	assert_int_equal(ok.verdict, INGEST_BOOKED);
	assert_int_equal(count_records(f), 4);
}

/* A disk that was rolled back writes other records under numbers that are booked. */
static void a_duplicate_with_other_content_is_a_fork(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } }, rolled = a;
	struct ingest_batch first = batch_next(f, &a, 10, 0), other;

	assert_int_equal(batch_book(f, &first), INGEST_BOOKED);
	(void)batch_next(f, &rolled, 6, 0);
	other = batch_next(f, &rolled, 3, 1000); /* 7 .. 9, all below the mark */
	assert_int_equal(batch_book(f, &other), INGEST_FORK);
	assert_string_equal(other.reason, "record 7 differs from the one booked");
	assert_int_equal(count_records(f), 10);
}

static void a_batch_with_a_foreign_past_is_a_fork(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } }, copy = a;
	struct ingest_batch first = batch_next(f, &a, 10, 0), next;

	assert_int_equal(batch_book(f, &first), INGEST_BOOKED);
	(void)batch_next(f, &copy, 10, 5000);
	next = batch_next(f, &copy, 1, 0);
	assert_int_equal(batch_book(f, &next), INGEST_FORK);
	assert_int_equal(count_records(f), 10);
}

static void a_wrong_hash_at_the_end_is_a_fork(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch b = batch_next(f, &a, 2, 0);

	b.usage.hash = slice_of("0123456789abcdef0123456789abcdef", 32);
	assert_int_equal(batch_book(f, &b), INGEST_FORK);
	assert_int_equal(count_records(f), 0);
}

static void nonsense_is_refused_and_quarantines_nothing(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch good = batch_next(f, &a, 2, 0), bad;
	struct wire_usage_batch spoiled[4] = { good.usage, good.usage, good.usage, good.usage };

	spoiled[0].first_seq = 0;
	spoiled[1].records.n = 0;
	spoiled[2].prev_hash.n = 31;
	spoiled[3].first_seq = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(spoiled); i++) {
		bad = good;
		bad.usage = spoiled[i];
		assert_int_equal(batch_book(f, &bad), INGEST_REFUSED);
	}
	assert_int_equal(batch_book(f, &good), INGEST_BOOKED);
}

static void a_record_that_can_not_be_read_is_kept_and_counted(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct slice garbage = SLICE("\x07not a record of this version");
	struct ingest_batch b = batch_next(f, &a, 1, 0);

	b.usage.records.v[0] = garbage;
	memset(a.chain, 0, 32);
	usage_chain_next(a.chain, garbage);
	b.usage.hash = slice_of((const char *)a.chain, 32);
	assert_int_equal(batch_book(f, &b), INGEST_BOOKED);
	assert_int_equal(b.head.undecodable, 1);
	assert_int_equal(count_records(f), 1);
}

static void many_batches_share_one_commit(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch b[8], *v[8];

	for (int i = 0; i < 8; i++) {
		b[i] = batch_next(f, &a, 5, 0);
		v[i] = &b[i];
	}
	ingest_book(f->store, v, 8);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(b[i].verdict, INGEST_BOOKED);
		assert_int_equal(b[i].head.high_water, 5 * (i + 1));
	}
	assert_int_equal(count_records(f), 40);
}

static void the_map_doubles_and_nothing_is_lost(void **state)
{
	struct fixture f = { 0 };
	struct agent_side a = { .store_id = { 1 } };
	struct store_size before, after;

	(void)state;
	fixture_open(&f, 256u << 10);
	before = store_size(f.store);
	for (int i = 0; i < 40; i++) {
		struct ingest_batch b = batch_next(&f, &a, 200, 0);

		assert_int_equal(batch_book(&f, &b), INGEST_BOOKED);
	}
	after = store_size(f.store);
	assert_true(after.map_bytes >= 4 * before.map_bytes);
	assert_true(after.used_bytes < after.map_bytes);
	assert_int_equal(count_records(&f), 8000);
	fixture_close(&f);
}

/* The child books without end and reports each acknowledged mark; killed at any moment, what it
 * acknowledged is there, once, and what is there has the right chain. */
static void child_books_for_ever(struct fixture *f, struct agent_side a, int fd)
{
	for (;;) {
		struct ingest_batch b = batch_next(f, &a, 7, 0);

		if (batch_book(f, &b) != INGEST_BOOKED || write(fd, &b.head.high_water, 8) != 8)
			_exit(1);
	}
}

static int check_head(struct store_txn *t, void *arg)
{
	struct agent_side *a = arg;
	struct ledger_head h;
	int r = ledger_head_get(t, SLICE("web-01"), a->store_id, &h);

	if (r < 0)
		return r;
	a->seq = h.high_water;
	memcpy(a->chain, h.chain, 32);
	return 0;
}

static void killed_at_any_moment_it_keeps_what_it_acknowledged(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 9 } };

	for (int round = 0; round < 10; round++) {
		struct agent_side sent = { .store_id = { 9 } };
		uint64_t acked = 0, mark;
		int fds[2], status;
		pid_t pid;

		assert_int_equal(pipe(fds), 0);
		store_close(f->store); /* LMDB's handle must not cross a fork */
		f->store = NULL;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct errbuf e;

			if (store_open(f->dir, STORE_MAP_BYTES, &f->store, &e) < 0)
				_exit(2);
			child_books_for_ever(f, a, fds[1]);
		}
		(void)close(fds[1]);
		for (int i = 0; i < 3 + round * 2 && read(fds[0], &mark, 8) == 8; i++)
			acked = mark;
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &mark, 8) == 8)
			acked = mark;
		(void)close(fds[0]);
		assert_int_equal(store_open(f->dir, STORE_MAP_BYTES, &f->store, NULL), 0);
		assert_int_equal(store_read(f->store, check_head, &a), 0);
		assert_true(a.seq >= acked);
		assert_int_equal(count_records(f), a.seq);
		(void)batch_next(f, &sent, (uint32_t)a.seq, 0);
		assert_memory_equal(sent.chain, a.chain, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_batch_is_booked_and_moves_the_high_water_mark),
		T(a_duplicate_is_acknowledged_and_not_booked),
		T(of_an_overlap_only_the_new_part_is_booked),
		T(a_gap_quarantines_the_store_for_good),
		T(other_stores_of_the_agent_go_on_after_a_quarantine),
		T(a_duplicate_with_other_content_is_a_fork),
		T(a_batch_with_a_foreign_past_is_a_fork),
		T(a_wrong_hash_at_the_end_is_a_fork),
		T(nonsense_is_refused_and_quarantines_nothing),
		T(a_record_that_can_not_be_read_is_kept_and_counted),
		T(many_batches_share_one_commit),
		cmocka_unit_test(the_map_doubles_and_nothing_is_lost),
		T(killed_at_any_moment_it_keeps_what_it_acknowledged),
#undef T
	};

	return cmocka_run_group_tests_name("ctld/ingest", tests, NULL, NULL);
}
