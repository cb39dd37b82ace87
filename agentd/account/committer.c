/* The committer sleeps on one word, `nap`, that says what it sleeps for; who has that rings the
 * bell (a futex), so a submit costs a push and an addition unless the committer waits for just
 * that:
 *
 *   AWAKE    works; it will see everything before it sleeps again
 *   SUBMIT   waits for any submit (idle, or strict)
 *   GATHER   relaxed: a group is being gathered; waits for GATHER_RECORDS, or until gather_until
 *   JOBS     the spool takes nothing: waits for jobs only
 *
 * No wake-up is lost: a submit changes `pending` and then reads `nap`, the committer sets `nap` and
 * then reads `pending` (and jobs, stop, strict); all sequentially consistent, so one of both sees
 * the other.
 *
 * A group is taken out of the rings at once and kept in `group` until it is committed, so that a
 * ring never holds a slot that was freed, and can't overflow: a slot is in one place only. */
#include "account/committer.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <aigw/clock.h>
#include <aigw/log.h>
#include <aigw/ring.h>

#define GROUP_MAX      4096
#define GATHER_RECORDS 1000
#define GATHER_US      (100 * USEC_PER_MS)
#define DROP_AFTER_US  USEC_PER_S /* without an append: acknowledged records are dropped alone */
#define RETRY_AFTER_US (100 * USEC_PER_MS)
#define STALLED_US     (5 * USEC_PER_S)
#define FOREVER        (-1)

enum nap { AWAKE, NAP_SUBMIT, NAP_GATHER, NAP_JOBS };

struct lane { /* one worker's */
	struct ring ring;
	uint64_t submitted; /* the worker's own */
	uint32_t in_group;  /* the committer's own */
	alignas(64) _Atomic uint64_t durable;
	_Atomic uint64_t awaited; /* highest ticket that somebody waits for */
};

struct committer {
	struct committer_config cfg;
	pthread_t thread;
	alignas(64) _Atomic uint32_t nap;
	_Atomic uint32_t pending; /* submitted and not committed */
	_Atomic bool strict, stop;
	_Atomic(struct committer_job *) jobs; /* last posted first */
	_Atomic int64_t began_us;             /* of the running commit; 0: none */
	_Atomic int trouble;                  /* COMMITTER_OK, _FULL or _FAILED */
	/* The committer thread's own. */
	alignas(64) uint32_t n_group;
	unsigned first_lane;
	usec gather_until, retry_at, drop_at;
	struct buf encoded;
	uint32_t group[GROUP_MAX];
	struct slice records[GROUP_MAX];
	struct lane lanes[];
};

/* --- the bell
 * -------------------------------------------------------------------------------------- */

static void bell_ring(struct committer *c, uint32_t nap)
{
	if (nap != AWAKE && atomic_compare_exchange_strong(&c->nap, &nap, AWAKE))
		(void)syscall(SYS_futex, &c->nap, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool nap_is_over(struct committer *c, enum nap kind)
{
	uint32_t pending = atomic_load(&c->pending);

	return atomic_load(&c->jobs) || atomic_load(&c->stop) ||
	       (kind == NAP_SUBMIT && pending > 0) ||
	       (kind == NAP_GATHER && (pending >= GATHER_RECORDS || atomic_load(&c->strict)));
}

static void nap_take(struct committer *c, enum nap kind, usec timeout_us)
{
	struct timespec t = { timeout_us / USEC_PER_S, timeout_us % USEC_PER_S * 1000 };

	atomic_store(&c->nap, kind);
	if (!nap_is_over(c, kind)) /* any result of it means: look again */
		(void)syscall(SYS_futex, &c->nap, FUTEX_WAIT_PRIVATE, kind,
			timeout_us == FOREVER ? NULL : &t, NULL, 0);
	atomic_store(&c->nap, AWAKE);
}

/* --- a group
 * --------------------------------------------------------------------------------------- */

static void group_gather(struct committer *c)
{
	unsigned n = c->cfg.n_workers;

	for (unsigned i = 0; i < n; i++) {
		struct lane *l = &c->lanes[(c->first_lane + i) % n];
		uint32_t got = ring_peek(&l->ring, c->group + c->n_group, GROUP_MAX - c->n_group);

		ring_consume(&l->ring, got);
		l->in_group += got;
		c->n_group += got;
	}
	c->first_lane = (c->first_lane + 1) % n; /* whom a full group leaves out comes first */
}

static void group_encode(struct committer *c)
{
	int64_t group_no = (int64_t)spool_next_group(c->cfg.spool);

	buf_reset(&c->encoded);
	for (uint32_t i = 0; i < c->n_group; i++) {
		struct usage_record record;
		size_t at = c->encoded.n;
		int r;

		slot_record(inflight_slot(c->cfg.inflight, c->group[i]), &record);
		record.group_no = group_no;
		r = usage_encode(&record, &c->encoded);
		ASSERT(r ==
			0); /* a slot's texts are bounded, and the buffer holds the largest group */
		c->records[i] = slice_of(c->encoded.p + at, c->encoded.n - at);
	}
}

static void lane_publish(struct committer *c, unsigned w)
{
	struct lane *l = &c->lanes[w];
	uint64_t before = atomic_load_explicit(&l->durable, memory_order_relaxed);

	if (l->in_group == 0)
		return;
	atomic_store(&l->durable, before + l->in_group);
	l->in_group = 0;
	if (atomic_load(&l->awaited) > before)
		c->cfg.wake(w, c->cfg.owner);
}

static void group_done(struct committer *c, uint64_t last_seq)
{
	uint32_t n = c->n_group;

	/* Before anything else: a kill from here on must find no slot of a group that the uplink
	 * may have seen. */
	for (uint32_t i = 0; i < n; i++)
		inflight_free(c->cfg.inflight, c->group[i]);
	c->n_group = 0;
	atomic_fetch_sub(&c->pending, n);
	for (unsigned w = 0; w < c->cfg.n_workers; w++)
		lane_publish(c, w);
	c->gather_until = 0;
	c->drop_at = clock_mono_us() + DROP_AFTER_US;
	if (c->cfg.committed)
		c->cfg.committed(last_seq, c->cfg.owner);
}

static void spool_gave_up(struct committer *c, const char *why)
{
	atomic_store(&c->trouble, COMMITTER_FAILED);
	log_event(LOG_ERROR, "account", "spool.failed", "why=%s", log_quote(slice_str(why)));
	for (unsigned w = 0; w < c->cfg.n_workers; w++) {
		if (atomic_load(&c->lanes[w].awaited) > atomic_load(&c->lanes[w].durable))
			c->cfg.wake(w, c->cfg.owner);
	}
}

static void group_failed(struct committer *c, int r, const char *why)
{
	if (r == -ENOSPC) {
		atomic_store(&c->trouble, COMMITTER_FULL);
		log_event(LOG_ERROR, "account", "spool.full", "held=%" PRIu32 " why=%s",
			atomic_load(&c->pending), log_quote(slice_str(why)));
	} else if (r == -ENOMEM) {
		c->retry_at = clock_mono_us() + RETRY_AFTER_US;
		log_event(LOG_WARNING, "account", "commit.retried", "why=%s",
			log_quote(slice_str(why)));
	} else {
		spool_gave_up(c, why);
	}
}

static void group_commit(struct committer *c)
{
	struct errbuf e = { "" };
	uint64_t first_seq;
	usec began, took;
	int r;

	group_gather(c);
	if (c->n_group ==
		0) { /* counted, but not pushed yet: a worker was interrupted in between */
		(void)sched_yield();
		return;
	}
	group_encode(c);
	began = clock_mono_us();
	atomic_store_explicit(&c->began_us, began, memory_order_relaxed);
	r = spool_append(c->cfg.spool, c->records, c->n_group, &first_seq, &e);
	atomic_store_explicit(&c->began_us, 0, memory_order_relaxed);
	took = clock_mono_us() - began;
	if (r == 0)
		group_done(c, first_seq + c->n_group - 1);
	else
		group_failed(c, r, e.text);
	if (took >= STALLED_US)
		log_event(LOG_WARNING, "account", "commit.stalled", "ms=%" PRId64,
			took / USEC_PER_MS);
}

static bool group_is_due(struct committer *c, bool stop)
{
	uint32_t pending = atomic_load(&c->pending);
	usec now;

	if (pending == 0 || atomic_load(&c->trouble) != COMMITTER_OK)
		return false;
	now = clock_mono_us();
	if (now < c->retry_at)
		return false;
	if (stop || atomic_load(&c->strict) || pending >= GATHER_RECORDS)
		return true;
	if (c->gather_until == 0)
		c->gather_until = now + GATHER_US;
	return now >= c->gather_until;
}

/* --- jobs, drops, the thread
 * ----------------------------------------------------------------------- */

static bool jobs_run(struct committer *c)
{
	struct committer_job *j = atomic_exchange(&c->jobs, NULL), *first = NULL, *next;

	for (; j; j = next) { /* as they were posted */
		next = j->next;
		j->next = first;
		first = j;
	}
	for (j = first; j; j = next) {
		next = j->next;
		j->run(j, c->cfg.spool);
	}
	return first != NULL;
}

static bool drop_is_wanted(struct committer *c)
{
	return atomic_load(&c->trouble) != COMMITTER_FAILED && spool_drop_wanted(c->cfg.spool);
}

/* A full spool is relieved at once; else drops ride in appends, and go alone only when there are
 * none. */
static bool drop_run(struct committer *c)
{
	bool full = atomic_load(&c->trouble) == COMMITTER_FULL;
	struct errbuf e = { "" };
	int r;

	if (!drop_is_wanted(c) || (!full && clock_mono_us() < c->drop_at))
		return false;
	r = spool_drop(c->cfg.spool, &e);
	if (r == -EIO) {
		spool_gave_up(c, e.text);
	} else if (r < 0) {
		c->drop_at = clock_mono_us() + DROP_AFTER_US;
		log_event(LOG_WARNING, "account", "drop.retried", "why=%s",
			log_quote(slice_str(e.text)));
	} else if (full) {
		atomic_store(&c->trouble, COMMITTER_OK);
	}
	return r == 0;
}

static void nap_until(struct committer *c, enum nap kind, usec at)
{
	usec now = clock_mono_us();

	if (at > now)
		nap_take(c, kind, at - now);
}

static void nap_plan(struct committer *c)
{
	bool drop = drop_is_wanted(c);

	if (atomic_load(&c->trouble) != COMMITTER_OK) {
		if (drop)
			nap_until(c, NAP_JOBS, c->drop_at);
		else
			nap_take(c, NAP_JOBS, FOREVER);
	} else if (clock_mono_us() < c->retry_at) {
		nap_until(c, NAP_JOBS, c->retry_at);
	} else if (c->gather_until) {
		nap_until(c, NAP_GATHER, c->gather_until);
	} else if (drop) {
		nap_until(c, NAP_SUBMIT, c->drop_at);
	} else {
		nap_take(c, NAP_SUBMIT, FOREVER);
	}
}

static void *committer_run(void *arg)
{
	struct committer *c = arg;

	(void)pthread_setname_np(pthread_self(), "committer");
	for (;;) {
		bool stop = atomic_load(&c->stop); /* what came before it is seen below */
		bool worked = jobs_run(c);

		if (group_is_due(c, stop)) {
			group_commit(c);
			worked = true;
		}
		if (drop_run(c) || worked)
			continue;
		if (stop)
			return NULL;
		nap_plan(c);
	}
}

/* --- life
 * ------------------------------------------------------------------------------------------ */

static uint32_t ring_capacity(uint32_t slots)
{
	uint32_t n = 1;

	while (n < slots)
		n *= 2;
	return n;
}

static void committer_free(struct committer *c)
{
	for (unsigned w = 0; w < c->cfg.n_workers; w++)
		ring_fini(&c->lanes[w].ring);
	buf_fini(&c->encoded);
	free(c);
}

/* The thread takes no signals: they are the control loop's. */
static int thread_start(struct committer *c)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&c->thread, NULL, committer_run, c);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int committer_start(const struct committer_config *cfg, struct committer **ret, struct errbuf *e)
{
	size_t bytes = sizeof(struct committer) + cfg->n_workers * sizeof(struct lane);
	struct committer *c = aligned_alloc(alignof(struct committer), bytes);
	int r;

	ASSERT(cfg->n_workers > 0);
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	memset(c, 0, bytes);
	c->cfg = *cfg;
	atomic_init(&c->strict, cfg->strict);
	/* Room for the largest group, once; memory that is never written costs nothing. */
	buf_init(&c->encoded, (size_t)GROUP_MAX * USAGE_RECORD_MAX_BYTES);
	r = buf_reserve(&c->encoded, c->encoded.max);
	for (unsigned w = 0; r == 0 && w < cfg->n_workers; w++)
		r = ring_init(&c->lanes[w].ring, ring_capacity(inflight_count(cfg->inflight)));
	if (r == 0)
		r = thread_start(c);
	if (r < 0) {
		committer_free(c);
		return err_set(e, r, "the committer can't be started: %s", strerror(-r));
	}
	*ret = c;
	return 0;
}

void committer_stop(struct committer *c)
{
	if (!c)
		return;
	atomic_store(&c->stop, true);
	bell_ring(c, atomic_load(&c->nap));
	(void)pthread_join(c->thread, NULL);
	committer_free(c);
}

void committer_set_strict(struct committer *c, bool strict)
{
	atomic_store(&c->strict, strict);
	bell_ring(c, atomic_load(&c->nap));
}

/* --- workers, jobs, state
 * -------------------------------------------------------------------------- */

uint64_t committer_submit(struct committer *c, unsigned w, uint32_t slot)
{
	struct lane *l = &c->lanes[w];
	uint32_t pending, nap;
	bool pushed;

	ASSERT(w < c->cfg.n_workers);
	pending =
		atomic_fetch_add(&c->pending, 1) + 1; /* before the push: it never falls below 0 */
	pushed = ring_push(&l->ring, slot);
	ASSERT(pushed);
	nap = atomic_load(&c->nap);
	if (nap == NAP_SUBMIT || (nap == NAP_GATHER && pending >= GATHER_RECORDS))
		bell_ring(c, nap);
	return ++l->submitted;
}

uint64_t committer_durable(const struct committer *c, unsigned w)
{
	return atomic_load_explicit(&c->lanes[w].durable, memory_order_acquire);
}

void committer_await(struct committer *c, unsigned w, uint64_t ticket)
{
	struct lane *l = &c->lanes[w];

	if (atomic_load_explicit(&l->awaited, memory_order_relaxed) < ticket)
		atomic_store(&l->awaited, ticket);
	/* Either the committer sees the ticket after its commit, or this sees the commit. */
	if (atomic_load(&l->durable) >= ticket || atomic_load(&c->trouble) == COMMITTER_FAILED)
		c->cfg.wake(w, c->cfg.owner);
}

void committer_do(struct committer *c, struct committer_job *j)
{
	j->next = atomic_load(&c->jobs);
	while (!atomic_compare_exchange_weak(&c->jobs, &j->next, j))
		;
	bell_ring(c, atomic_load(&c->nap));
}

enum committer_state committer_state(const struct committer *c)
{
	int trouble = atomic_load_explicit(&c->trouble, memory_order_relaxed);
	usec began = atomic_load_explicit(&c->began_us, memory_order_relaxed);
	struct spool_gauges g;

	if (trouble == COMMITTER_FAILED)
		return COMMITTER_FAILED;
	spool_read_gauges(c->cfg.spool, &g);
	if (trouble == COMMITTER_FULL || g.full)
		return COMMITTER_FULL;
	if (began != 0 && clock_mono_us() - began > STALLED_US)
		return COMMITTER_STALLED;
	return COMMITTER_OK;
}
