/* The committer: what is durable when, whose slots are freed, and what happens when the disk says
 * no. */
#include "fixture.h"

#include <aigw/clock.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

#include "account/committer.h"

#define WORKERS 4
#define SLOTS   4096

struct bench {
	const char *dir;
	struct inflight *inflight;
	struct spool *spool;
	struct committer *committer;
	sem_t woken[WORKERS];
	_Atomic uint64_t committed_seq;
	_Atomic unsigned groups;
};

static void on_wake(unsigned worker, void *owner)
{
	struct bench *b = owner;

	(void)sem_post(&b->woken[worker]);
}

static void on_committed(uint64_t last_seq, void *owner)
{
	struct bench *b = owner;

	atomic_store(&b->committed_seq, last_seq);
	atomic_fetch_add(&b->groups, 1);
}

static void bench_open(struct bench *b, const char *dir, bool strict, uint64_t map_bytes)
{
	struct errbuf e = { "" };

	memset(b, 0, sizeof(*b));
	b->dir = dir;
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(sem_init(&b->woken[i], 0, 0), 0);
	if (inflight_open(dir, SLOTS, &b->inflight, &e) != 0 ||
		spool_open(dir, map_bytes, &b->spool, &e) != 0)
		fail_msg("%s", e.text);
	struct committer_config cfg = { .inflight = b->inflight,
		.spool = b->spool,
		.n_workers = WORKERS,
		.strict = strict,
		.wake = on_wake,
		.committed = on_committed,
		.owner = b };
	assert_int_equal(committer_start(&cfg, &b->committer, &e), 0);
}

static void bench_stop(struct bench *b)
{
	committer_stop(b->committer);
	b->committer = NULL;
}

static void bench_close(struct bench *b)
{
	bench_stop(b);
	spool_close(b->spool);
	inflight_close(b->inflight);
	for (unsigned i = 0; i < WORKERS; i++)
		(void)sem_destroy(&b->woken[i]);
}

static void await(sem_t *s)
{
	struct timespec until;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
	until.tv_sec += 30;
	assert_int_equal(sem_timedwait(s, &until), 0);
}

static uint64_t submit(struct bench *b, unsigned w, uint64_t op)
{
	uint32_t i = inflight_take(b->inflight);

	assert_true(i != SLOT_NONE);
	fixture_fill_slot(inflight_slot(b->inflight, i), op);
	slot_set_state(inflight_slot(b->inflight, i), SLOT_SETTLED);
	return committer_submit(b->committer, w, i);
}

static void await_ticket(struct bench *b, unsigned w, uint64_t ticket)
{
	committer_await(b->committer, w, ticket);
	while (committer_durable(b->committer, w) < ticket)
		await(&b->woken[w]);
}

/* --- jobs of the tests
 * ----------------------------------------------------------------------------- */

struct probe {
	struct committer_job job;
	sem_t done;
	uint64_t last_seq, acknowledge;
	unsigned *order, at;
	struct committer *again; /* posts itself once more */
};

static void probe_run(struct committer_job *j, struct spool *s)
{
	struct probe *p = container_of(j, struct probe, job);
	struct spool_gauges g;

	spool_read_gauges(s, &g);
	p->last_seq = g.last_seq;
	if (p->acknowledge)
		spool_acknowledge(s, p->acknowledge);
	if (p->order)
		p->at = (*p->order)++;
	if (p->again) {
		struct committer *c = p->again;

		p->again = NULL;
		committer_do(c, j);
		return;
	}
	(void)sem_post(&p->done);
}

static struct probe *probe_post(struct bench *b, struct probe *p)
{
	p->job.run = probe_run;
	assert_int_equal(sem_init(&p->done, 0, 0), 0);
	committer_do(b->committer, &p->job);
	return p;
}

/* The last sequence, after the committer has looked at everything that was submitted before twice.
 */
static uint64_t settled_last_seq(struct bench *b)
{
	struct probe p = { .again = b->committer };

	await(&probe_post(b, &p)->done);
	return p.last_seq;
}

static void expect_all(const char *dir, unsigned n)
{
	struct fixture_ops ops;
	struct spool *s;
	struct errbuf e;
	bool *seen = calloc(n + 1, sizeof(*seen));

	assert_non_null(seen);
	assert_int_equal(spool_open(dir, FIXTURE_MAP_BYTES, &s, &e), 0);
	fixture_read_all(s, 1, &ops);
	assert_int_equal(ops.n, n);
	for (unsigned i = 0; i < n; i++) {
		assert_true(ops.v[i] >= 1 && ops.v[i] <= n && !seen[ops.v[i]]);
		seen[ops.v[i]] = true;
	}
	fixture_ops_fini(&ops);
	spool_close(s);
	free(seen);
}

/* --- strict
 * ---------------------------------------------------------------------------------------- */

static void strict_commits_at_once(void **state)
{
	struct bench b;

	clock_fake_set(USEC_PER_S, USEC_PER_S); /* it waits for no time to pass */
	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	for (uint64_t i = 1; i <= 20; i++) {
		assert_int_equal(submit(&b, 1, i), i);
		await_ticket(&b, 1, i);
		assert_int_equal(inflight_used(b.inflight), 0); /* freed before anybody is told */
		assert_int_equal(committer_durable(b.committer, 1), i);
		assert_int_equal(committer_durable(b.committer, 0), 0);
	}
	assert_int_equal(settled_last_seq(&b), 20);
	assert_int_equal(b.committed_seq, 20);
	assert_int_equal(inflight_used(b.inflight), 0);
	assert_int_equal(committer_state(b.committer), COMMITTER_OK);
	bench_close(&b);
	clock_fake_off();
	expect_all(*state, 20);
}

/* Whoever awaits a ticket that is durable already is woken all the same. */
static void a_late_await_is_answered(void **state)
{
	struct bench b;
	uint64_t t;

	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	t = submit(&b, 0, 1);
	while (committer_durable(b.committer, 0) < t)
		(void)settled_last_seq(&b);
	assert_int_equal(sem_trywait(&b.woken[0]), -1);
	committer_await(b.committer, 0, t);
	assert_int_equal(sem_trywait(&b.woken[0]), 0);
	bench_close(&b);
}

#define PER_WORKER 800

struct crowd {
	struct bench *b;
	unsigned w;
	bool await;
};

static void *crowd_run(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; i < PER_WORKER; i++) {
		uint64_t t = submit(c->b, c->w, c->w * PER_WORKER + i + 1);

		if (c->await || i + 1 == PER_WORKER)
			await_ticket(c->b, c->w, t);
	}
	return NULL;
}

static void crowd(struct bench *b, bool await)
{
	struct crowd c[WORKERS];
	pthread_t t[WORKERS];

	for (unsigned w = 0; w < WORKERS; w++) {
		c[w] = (struct crowd){ b, w, await };
		assert_int_equal(pthread_create(&t[w], NULL, crowd_run, &c[w]), 0);
	}
	for (unsigned w = 0; w < WORKERS; w++)
		assert_int_equal(pthread_join(t[w], NULL), 0);
	for (unsigned w = 0; w < WORKERS; w++)
		assert_int_equal(committer_durable(b->committer, w), PER_WORKER);
	assert_int_equal(inflight_used(b->inflight), 0);
}

static void strict_workers_share_commits(void **state)
{
	struct bench b;

	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	crowd(&b, false);
	assert_true(b.groups < WORKERS * PER_WORKER);
	(void)crowd_run(&(struct crowd){ &b, 0, true });
	assert_int_equal(committer_durable(b.committer, 0), 2 * PER_WORKER);
	bench_close(&b);
}

/* --- relaxed
 * --------------------------------------------------------------------------------------- */

static void relaxed_gathers_a_thousand(void **state)
{
	struct bench b;

	clock_fake_set(USEC_PER_S, USEC_PER_S);
	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	for (uint64_t i = 1; i <= 999; i++)
		(void)submit(&b, (unsigned)i % WORKERS, i);
	assert_int_equal(settled_last_seq(&b), 0);
	assert_int_equal(inflight_used(b.inflight), 999);
	await_ticket(&b, 0, submit(&b, 0, 1000));
	assert_int_equal(settled_last_seq(&b), 1000);
	assert_int_equal(b.groups, 1);
	bench_close(&b);
	clock_fake_off();
	expect_all(*state, 1000);
}

static void relaxed_waits_a_tenth_of_a_second(void **state)
{
	struct bench b;

	clock_fake_set(USEC_PER_S, USEC_PER_S);
	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	(void)submit(&b, 2, 1);
	assert_int_equal(settled_last_seq(&b), 0);
	clock_fake_advance(99 * USEC_PER_MS);
	(void)submit(&b, 3, 2);
	assert_int_equal(settled_last_seq(&b), 0);
	clock_fake_advance(1 * USEC_PER_MS);
	assert_int_equal(settled_last_seq(&b), 2);
	assert_int_equal(b.groups, 1);
	(void)submit(&b, 3, 3); /* a new tenth */
	assert_int_equal(settled_last_seq(&b), 2);
	clock_fake_advance(100 * USEC_PER_MS);
	assert_int_equal(settled_last_seq(&b), 3);
	bench_close(&b);
	clock_fake_off();
}

/* With the real clock nobody rings; the sleep ends by itself. */
static void relaxed_needs_no_further_bell(void **state)
{
	struct bench b;

	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	await_ticket(&b, 0, submit(&b, 0, 1));
	assert_int_equal(b.groups, 1);
	bench_close(&b);
}

static void strict_set_later_ends_the_gathering(void **state)
{
	struct bench b;

	clock_fake_set(USEC_PER_S, USEC_PER_S);
	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	(void)submit(&b, 0, 1);
	assert_int_equal(settled_last_seq(&b), 0);
	committer_set_strict(b.committer, true);
	await_ticket(&b, 0, 1);
	committer_set_strict(b.committer, false);
	(void)submit(&b, 0, 2);
	assert_int_equal(settled_last_seq(&b), 1);
	bench_close(&b);
	clock_fake_off();
}

static void relaxed_workers_lose_nothing(void **state)
{
	struct bench b;

	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	crowd(&b, false);
	bench_close(&b);
	expect_all(*state, WORKERS * PER_WORKER);
}

static void stop_commits_what_was_submitted(void **state)
{
	struct bench b;

	clock_fake_set(USEC_PER_S, USEC_PER_S);
	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	for (uint64_t i = 1; i <= 10; i++)
		(void)submit(&b, (unsigned)i % WORKERS, i);
	bench_stop(&b);
	assert_int_equal(inflight_used(b.inflight), 0);
	bench_close(&b);
	clock_fake_off();
	expect_all(*state, 10);
}

/* --- jobs
 * ------------------------------------------------------------------------------------------ */

static void jobs_run_in_order_and_to_the_end(void **state)
{
	struct bench b;
	struct probe p[50] = { 0 };
	unsigned order = 0;

	bench_open(&b, *state, false, FIXTURE_MAP_BYTES);
	for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
		p[i].order = &order;
		(void)probe_post(&b, &p[i]);
	}
	bench_stop(&b);
	for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
		assert_int_equal(sem_trywait(&p[i].done), 0);
		assert_int_equal(p[i].at, i);
	}
	bench_close(&b);
}

/* Acknowledged records ride in appends; without any they go a second after the last one. */
static void drops_go_alone_when_nothing_is_appended(void **state)
{
	struct bench b;
	struct probe p = { .acknowledge = 2 };
	struct spool_gauges g;

	clock_fake_set(USEC_PER_S, USEC_PER_S);
	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	for (uint64_t i = 1; i <= 3; i++)
		await_ticket(&b, 0, submit(&b, 0, i));
	await(&probe_post(&b, &p)->done);
	(void)settled_last_seq(&b);
	spool_read_gauges(b.spool, &g);
	assert_int_equal(g.first_seq, 1);
	clock_fake_advance(USEC_PER_S);
	(void)settled_last_seq(&b);
	spool_read_gauges(b.spool, &g);
	assert_int_equal(g.first_seq, 3);
	bench_close(&b);
	clock_fake_off();
}

/* --- the disk says no
 * ------------------------------------------------------------------------------ */

static void a_failed_sync_is_final(void **state)
{
	struct bench b;
	unsigned syncs;
	uint64_t t;

	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	await_ticket(&b, 0, submit(&b, 0, 1));
	atomic_store(&fixture_sync_fails, true);
	t = submit(&b, 0, 2);
	committer_await(b.committer, 0, t);
	while (committer_state(b.committer) != COMMITTER_FAILED)
		await(&b.woken[0]);
	atomic_store(&fixture_sync_fails, false);
	syncs = fixture_syncs;
	t = submit(&b, 0, 3);
	assert_int_equal(settled_last_seq(&b), 1);
	committer_await(b.committer, 0, t); /* is told at once */
	await(&b.woken[0]);
	assert_int_equal(fixture_syncs, syncs);
	assert_int_equal(committer_durable(b.committer, 0), 1);
	assert_int_equal(inflight_used(b.inflight), 2);
	bench_close(&b);

	/* The slots are the records' home: a restart books them. */
	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	bench_stop(&b);
	unsigned booked;
	struct errbuf e;
	assert_int_equal(account_recover(b.inflight, b.spool, &booked, &e), 0);
	assert_int_equal(booked, 2);
	bench_close(&b);
	expect_all(*state, 3);
}

static void a_full_spool_holds_slots_until_there_is_room(void **state)
{
	struct bench b;
	struct spool_gauges g;
	struct errbuf e;
	uint64_t t, n = 0;

	bench_open(&b, *state, true, SPOOL_MIN_MAP_BYTES);
	bench_stop(&b);
	while (fixture_append(b.spool, n + 1, 20, &e) == 0)
		n += 20;
	while (fixture_append(b.spool, n + 1, 1, &e) == 0)
		n++;
	bench_close(&b);

	bench_open(&b, *state, true, SPOOL_MIN_MAP_BYTES);
	assert_int_equal(committer_state(b.committer), COMMITTER_FULL); /* 80 % */
	t = submit(&b, 0, n + 1);
	(void)submit(&b, 1, n + 2);
	assert_int_equal(settled_last_seq(&b), n);
	assert_int_equal(inflight_used(b.inflight), 2);
	assert_int_equal(committer_state(b.committer), COMMITTER_FULL);
	committer_await(b.committer, 0, t);
	struct probe p = { .acknowledge = n - 10 };
	await(&probe_post(&b, &p)->done);
	await_ticket(&b, 0, t);
	assert_int_equal(settled_last_seq(&b), n + 2);
	assert_int_equal(inflight_used(b.inflight), 0);
	while (spool_read_gauges(b.spool, &g), g.full) /* the rest goes a second after the append */
		(void)settled_last_seq(&b);
	assert_int_equal(committer_state(b.committer), COMMITTER_OK);
	bench_close(&b);
}

static void a_hanging_disk_is_a_state(void **state)
{
	struct bench b;

	clock_fake_set(USEC_PER_S, USEC_PER_S);
	bench_open(&b, *state, true, FIXTURE_MAP_BYTES);
	unsigned syncs = fixture_syncs;
	atomic_store(&fixture_sync_hangs, true);
	(void)submit(&b, 0, 1);
	while (fixture_syncs == syncs)
		(void)sched_yield();
	assert_int_equal(committer_state(b.committer), COMMITTER_OK);
	clock_fake_advance(5 * USEC_PER_S + 1);
	assert_int_equal(committer_state(b.committer), COMMITTER_STALLED);
	assert_int_equal(committer_durable(b.committer, 0), 0);
	atomic_store(&fixture_sync_hangs, false);
	await_ticket(&b, 0, 1);
	assert_int_equal(committer_state(b.committer), COMMITTER_OK);
	bench_close(&b);
	clock_fake_off();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_dir, fixture_dir_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(strict_commits_at_once),
		TEST(a_late_await_is_answered),
		TEST(strict_workers_share_commits),
		TEST(relaxed_gathers_a_thousand),
		TEST(relaxed_waits_a_tenth_of_a_second),
		TEST(relaxed_needs_no_further_bell),
		TEST(strict_set_later_ends_the_gathering),
		TEST(relaxed_workers_lose_nothing),
		TEST(stop_commits_what_was_submitted),
		TEST(jobs_run_in_order_and_to_the_end),
		TEST(drops_go_alone_when_nothing_is_appended),
		TEST(a_failed_sync_is_final),
		TEST(a_full_spool_holds_slots_until_there_is_room),
		TEST(a_hanging_disk_is_a_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
