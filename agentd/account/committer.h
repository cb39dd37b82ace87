/* The one thread that waits for a disk. Takes slot numbers from the workers' rings, makes a group durable (spool_append), frees its
 * slots before anything else, publishes one durable watermark per worker and wakes the workers that wait for theirs. `strict`: commits as soon
 * as the last commit is done and somebody submitted; `relaxed`: on 1,000 records or 100 ms. Between groups it does jobs: cache files, reading
 * batches for the uplink, dropping what was acknowledged.
 * If the spool is full or failed it keeps the slots (nothing is lost) and says so by committer_state(). */
#ifndef AGENTD_ACCOUNT_COMMITTER_H
#define AGENTD_ACCOUNT_COMMITTER_H

#include "account/inflight.h"
#include "account/spool.h"

struct committer;

struct committer_job {
	struct committer_job *next;
	void (*run)(struct committer_job *j, struct spool *s); /* committer thread; owns j from now on */
};

struct committer_config {
	struct inflight *inflight;
	struct spool *spool;
	unsigned n_workers;
	bool strict;
	/* Committer thread: worker's watermark moved past what it waits for; must only post (mailbox or uv_async_send). */
	void (*wake)(unsigned worker, void *owner);
	/* Committer thread: a group was committed (last sequence); must only post. */
	void (*committed)(uint64_t last_seq, void *owner);
	void *owner;
};

int committer_start(const struct committer_config *c, struct committer **ret, struct errbuf *e);
void committer_stop(struct committer *c); /* commits what is in the rings, does the jobs, joins */
void committer_set_strict(struct committer *c, bool strict);

/* Worker w's thread: the slot is SETTLED and goes to the committer. Returns its ticket: durable when committer_durable(w) >= ticket. */
uint64_t committer_submit(struct committer *c, unsigned w, uint32_t slot);
uint64_t committer_durable(const struct committer *c, unsigned w);
/* Worker w's thread: `wake` is wanted once the watermark reaches ticket. */
void committer_await(struct committer *c, unsigned w, uint64_t ticket);

void committer_do(struct committer *c, struct committer_job *j); /* any thread */

enum committer_state { COMMITTER_OK, COMMITTER_STALLED /* a commit takes over 5 s */, COMMITTER_FULL, COMMITTER_FAILED };
enum committer_state committer_state(const struct committer *c); /* any thread */

/* At start, before any thread: money.md 2, "At start": frees slots of the last group, books all others in one group, frees them. *ret_booked. */
int account_recover(struct inflight *f, struct spool *s, unsigned *ret_booked, struct errbuf *e);

#endif
