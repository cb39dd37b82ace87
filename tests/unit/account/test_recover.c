/* Restarts: what each kind of slot becomes, and that no kill at any instant loses or doubles an
 * operation. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "account/committer.h"

#define KILLS   240
#define OPS_MAX 400000

struct home {
	struct inflight *inflight;
	struct spool *spool;
};

static void home_open(struct home *h, const char *dir)
{
	struct errbuf e = { "" };

	if (inflight_open(dir, 256, &h->inflight, &e) != 0 ||
		spool_open(dir, FIXTURE_MAP_BYTES * 8, &h->spool, &e) != 0)
		fail_msg("%s", e.text);
}

static void home_close(struct home *h)
{
	spool_close(h->spool);
	inflight_close(h->inflight);
}

static unsigned recover(struct home *h)
{
	struct errbuf e = { "" };
	unsigned booked = UINT32_MAX;

	if (account_recover(h->inflight, h->spool, &booked, &e) != 0)
		fail_msg("%s", e.text);
	return booked;
}

static struct slot *take(struct home *h, uint64_t op, enum slot_state state)
{
	struct slot *s = inflight_slot(h->inflight, inflight_take(h->inflight));

	fixture_fill_slot(s, op);
	slot_set_state(s, state);
	return s;
}

/* The only record of the spool at seq; its texts live in b. */
static void read_one(struct home *h, uint64_t seq, struct buf *b, struct usage_record *ret)
{
	uint8_t prev[32], hash[32];
	uint32_t lens[1];
	struct errbuf e;
	unsigned n;

	buf_init(b, USAGE_RECORD_MAX_BYTES);
	assert_int_equal(
		spool_read(h->spool, seq, 1, USAGE_RECORD_MAX_BYTES, b, lens, &n, prev, hash, &e),
		0);
	assert_int_equal(n, 1);
	assert_int_equal(usage_decode(buf_view(b), ret, &e), 0);
}

static void each_state_has_its_outcome(void **state)
{
	static const struct {
		enum slot_state state;
		bool damaged;
		int64_t outcome, status, output_tokens, estimated, charge_nano, reserved_nano;
		const char *fail;
	} cases[] = {
		{ SLOT_ADMITTED, false, USAGE_REFUSED, 0, 0, 0, 0, 0, "restart" },
		/* what it has seen, at its price: 3,000 for the input, 750 for the output, 7 for
		   the call */
		{ SLOT_SENT, false, USAGE_UNKNOWN, 200, 50, 1, 3757, 99999999, "" },
		{ SLOT_SETTLED, false, USAGE_OK, 200, 50, 0, 12345678, 99999999, "" },
		{ SLOT_SETTLED, true, USAGE_UNKNOWN, 200, 51, 1, 3772, 99999999, "" },
		{ (enum slot_state)77, false, USAGE_UNKNOWN, 200, 50, 1, 3757, 99999999, "" },
	};
	struct home h;

	home_open(&h, *state);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slot *s = take(&h, i, cases[i].state);
		struct usage_record r;
		struct buf b;

		if (cases[i].damaged)
			s->v.output_tokens++;
		assert_int_equal(recover(&h), 1);
		assert_int_equal(inflight_used(h.inflight), 0);
		read_one(&h, i + 1, &b, &r);
		assert_int_equal(fixture_op_number(r.op_id), i);
		assert_int_equal(r.outcome, cases[i].outcome);
		assert_int_equal(r.status, cases[i].status);
		assert_int_equal(r.output_tokens, cases[i].output_tokens);
		assert_int_equal(r.estimated, cases[i].estimated);
		assert_int_equal(r.charge_nano, cases[i].charge_nano);
		assert_int_equal(r.cost_nano, cases[i].charge_nano);
		assert_int_equal(r.reserved_nano, cases[i].reserved_nano);
		assert_true(slice_eq(r.fail, slice_str(cases[i].fail)));
		assert_true(slice_eq(r.customer, SLICE("acme")));
		assert_int_equal(r.group_no, i + 1);
		buf_fini(&b);
	}
	home_close(&h);
}

/* A stream that went on at another target: the first part as it was booked, the second one by the
 * slot's price; nothing for it where nobody had been asked yet. */
static void parts_before_are_not_lost(void **state)
{
	static const struct {
		int64_t before_input, before_output, before_nano, charge_nano;
	} cases[] = {
		{ 0, 0, 0, 3757 },
		{ 400, 20, 1000000, 1000000 + 1800 + 450 + 7 },
		{ 1000, 50, 1000000, 1000000 },
		{ 1000, 20, 1000000, 1000000 + 450 + 7 },
		{ 400, 20, INT64_MAX, INT64_MAX },
	};
	struct home h;

	home_open(&h, *state);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slot *s = take(&h, i, SLOT_SENT);
		struct usage_record r;
		struct buf b;

		s->before_input = cases[i].before_input;
		s->before_output = cases[i].before_output;
		s->before_nano = cases[i].before_nano;
		assert_int_equal(recover(&h), 1);
		read_one(&h, i + 1, &b, &r);
		assert_int_equal(r.input_tokens, 1000);
		assert_int_equal(r.output_tokens, 50);
		assert_int_equal(r.cost_nano, cases[i].charge_nano);
		assert_int_equal(r.charge_nano, cases[i].charge_nano);
		buf_fini(&b);
	}
	home_close(&h);
}

static void all_are_one_group(void **state)
{
	struct home h;
	struct fixture_ops ops;
	struct spool_gauges g;

	home_open(&h, *state);
	for (uint64_t i = 1; i <= 100; i++)
		(void)take(&h, i, i % 3 + 1);
	assert_int_equal(recover(&h), 100);
	assert_int_equal(spool_next_group(h.spool), 2);
	assert_int_equal(recover(&h), 0);
	spool_read_gauges(h.spool, &g);
	assert_int_equal(g.records, 100);
	fixture_read_all(h.spool, 1, &ops);
	assert_int_equal(ops.n, 100);
	fixture_ops_fini(&ops);
	home_close(&h);
}

/* Killed after the commit and before the slots were free: they stand in the last group. */
static void committed_slots_are_only_freed(void **state)
{
	struct home h;
	struct fixture_ops ops;
	struct errbuf e;

	home_open(&h, *state);
	(void)take(&h, 10, SLOT_SETTLED);
	(void)take(&h, 11, SLOT_SETTLED);
	(void)take(&h, 12, SLOT_SENT);
	assert_int_equal(fixture_append(h.spool, 9, 3, &e), 0); /* 9, 10, 11 */
	assert_int_equal(recover(&h), 1);
	assert_int_equal(inflight_used(h.inflight), 0);
	fixture_read_all(h.spool, 1, &ops);
	assert_int_equal(ops.n, 4);
	assert_int_equal(ops.v[3], 12);
	fixture_ops_fini(&ops);
	home_close(&h);
}

static void a_slot_without_an_operation_is_no_call(void **state)
{
	struct home h;

	home_open(&h, *state);
	take(&h, 1, SLOT_SENT)->text_len[SLOT_TEXT_op_id] = 5;
	(void)take(&h, 2, SLOT_SENT);
	assert_int_equal(recover(&h), 1);
	assert_int_equal(inflight_used(h.inflight), 0);
	home_close(&h);
}

static void what_does_not_fit_stays(void **state)
{
	struct home h;
	struct errbuf e = { "" };
	unsigned booked;
	uint64_t n = 0;

	assert_int_equal(inflight_open(*state, 256, &h.inflight, &e), 0);
	assert_int_equal(spool_open(*state, SPOOL_MIN_MAP_BYTES, &h.spool, &e), 0);
	while (fixture_append(h.spool, n + 1, 10, &e) == 0)
		n += 10;
	for (uint64_t i = 1; i <= 50; i++)
		(void)take(&h, n + i, SLOT_SETTLED);
	assert_int_equal(account_recover(h.inflight, h.spool, &booked, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "50 calls of the last run don't fit"));
	assert_non_null(strstr(e.text, "spool_size"));
	assert_int_equal(inflight_used(h.inflight), 50);
	home_close(&h);

	home_open(&h, *state); /* a larger spool */
	assert_int_equal(recover(&h), 50);
	home_close(&h);
}

static void a_failed_sync_stops_the_start(void **state)
{
	struct home h;
	struct errbuf e;
	unsigned booked;

	home_open(&h, *state);
	(void)take(&h, 1, SLOT_SENT);
	atomic_store(&fixture_sync_fails, true);
	assert_int_equal(account_recover(h.inflight, h.spool, &booked, &e), -EIO);
	atomic_store(&fixture_sync_fails, false);
	assert_int_equal(inflight_used(h.inflight), 1);
	home_close(&h);
	home_open(&h, *state);
	assert_int_equal(recover(&h), 1);
	home_close(&h);
}

/* --- kills
 * ----------------------------------------------------------------------------------------- */

/* What the killed processes say that they did, in memory that outlives them. A mark is set after
 * the deed; a kill between both leaves a deed without a mark. */
enum mark { NEVER, ADMITTED, SENT, SETTLED, DURABLE };

struct oracle {
	_Atomic uint64_t next_op;
	_Atomic uint8_t mark[OPS_MAX];
	_Atomic uint8_t booked[OPS_MAX];
	_Atomic uint32_t recoveries; /* that came to their end */
};

struct child {
	struct home home;
	struct committer *committer;
	struct oracle *o;
};

struct child_worker {
	struct child *c;
	unsigned w;
	pthread_t thread;
};

static void on_wake(unsigned worker, void *owner)
{
	(void)worker;
	(void)owner;
}

static void child_call(struct child_worker *w, unsigned *seed)
{
	struct child *c = w->c;
	struct oracle *o = c->o;
	uint32_t i = inflight_take(c->home.inflight);
	uint64_t op, ticket;
	struct slot *s;

	if (i == SLOT_NONE)
		_exit(2);
	op = atomic_fetch_add(&o->next_op, 1);
	if (op >= OPS_MAX)
		_exit(3);
	s = inflight_slot(c->home.inflight, i);
	fixture_fill_slot(s, op);
	slot_set_state(s, SLOT_ADMITTED);
	atomic_store(&o->mark[op], ADMITTED);
	slot_set_text(s, SLOT_TEXT_provider, SLICE("sim"));
	slot_set_state(s, SLOT_SENT);
	atomic_store(&o->mark[op], SENT);
	slot_set_text(s, SLOT_TEXT_upstream_request_id, SLICE("chatcmpl-1"));
	s->v.output_tokens = (int64_t)op;
	slot_set_state(s, SLOT_SETTLED);
	atomic_store(&o->mark[op], SETTLED);
	ticket = committer_submit(c->committer, w->w, i);
	if (rand_r(seed) % 4)
		return;
	while (committer_durable(c->committer, w->w) < ticket)
		(void)sched_yield();
	atomic_store(&o->mark[op], DURABLE);
}

static void *child_worker_run(void *arg)
{
	struct child_worker *w = arg;
	unsigned seed = w->w + (unsigned)getpid();

	for (;;) {
		child_call(w, &seed);
		if (inflight_used(w->c->home.inflight) > 200) {
			while (inflight_used(w->c->home.inflight) > 100)
				(void)sched_yield();
		}
	}
	return NULL;
}

/* An agent that starts, recovers and serves until it is killed. */
static _Noreturn void child_run(const char *dir, struct oracle *o)
{
	struct child c = { .o = o };
	struct child_worker w[2];
	struct errbuf e;

	home_open(&c.home, dir);
	(void)recover(&c.home);
	atomic_fetch_add(&o->recoveries, 1);
	struct committer_config cfg = { .inflight = c.home.inflight,
		.spool = c.home.spool,
		.n_workers = 2,
		.strict = true,
		.wake = on_wake };
	if (committer_start(&cfg, &c.committer, &e) != 0)
		_exit(4);
	for (unsigned i = 0; i < 2; i++) {
		w[i] = (struct child_worker){ &c, i, 0 };
		if (pthread_create(&w[i].thread, NULL, child_worker_run, &w[i]) != 0)
			_exit(5);
	}
	(void)pthread_join(w[0].thread, NULL);
	_exit(6);
}

static void child_kill(const char *dir, struct oracle *o, long after_us)
{
	struct timespec t = { 0, after_us * 1000 };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		child_run(dir, o);
	(void)nanosleep(&t, NULL); /* the instant of the kill: anywhere from exec to full load */
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it never ends by itself */
}

/* The controller: takes all records, books them, acknowledges them. */
static void collect(const char *dir, struct oracle *o, bool recover_first)
{
	struct spool_gauges g;
	struct fixture_ops ops;
	struct errbuf e;
	struct home h;

	home_open(&h, dir);
	if (recover_first)
		(void)recover(&h);
	spool_read_gauges(h.spool, &g);
	fixture_read_all(h.spool, g.first_seq, &ops);
	assert_int_equal(ops.n, g.records);
	for (unsigned i = 0; i < ops.n; i++)
		atomic_fetch_add(&o->booked[ops.v[i]], 1);
	spool_acknowledge(h.spool, g.last_seq);
	while (spool_drop_wanted(h.spool))
		assert_int_equal(spool_drop(h.spool, &e), 0);
	fixture_ops_fini(&ops);
	home_close(&h);
}

static void no_kill_loses_or_doubles_an_operation(void **state)
{
	struct oracle *o =
		mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned seed = 20260114, durable = 0, i;
	uint64_t n;

	assert_true(o != MAP_FAILED);
	/* On a busy host most may die before they have begun: then there are more of them. */
	for (i = 0; i < KILLS || (o->recoveries <= KILLS / 4 && i < 20 * KILLS); i++) {
		/* A third dies at its start, in the middle of the recovery of the one before. */
		child_kill(*state, o, i % 3 == 2 ? rand_r(&seed) % 3000 : rand_r(&seed) % 15000);
		if (i % 10 == 9)
			collect(*state, o, true);
	}
	collect(*state, o, true);
	n = atomic_load(&o->next_op);
	for (uint64_t op = 0; op < n; op++) {
		unsigned want = o->mark[op] == NEVER ? o->booked[op]
						     : 1; /* between deed and mark: 0 or 1 */

		if (o->booked[op] != want || o->booked[op] > 1)
			fail_msg("operation %" PRIu64 " (mark %u) is booked %u times", op,
				o->mark[op], o->booked[op]);
		durable += o->mark[op] == DURABLE;
	}
	assert_true(durable > 10);
	assert_true(o->recoveries > KILLS / 4 &&
		    o->recoveries < i); /* some were killed before their end */
	assert_int_equal(munmap(o, sizeof(*o)), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_dir, fixture_dir_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_state_has_its_outcome),
		TEST(parts_before_are_not_lost),
		TEST(all_are_one_group),
		TEST(committed_slots_are_only_freed),
		TEST(a_slot_without_an_operation_is_no_call),
		TEST(what_does_not_fit_stays),
		TEST(a_failed_sync_stops_the_start),
		TEST(no_kill_loses_or_doubles_an_operation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
