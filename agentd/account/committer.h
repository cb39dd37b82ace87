/* The one thread that waits for a disk. Takes slot numbers from the workers' rings, makes a group
 * durable (spool_append), frees its slots before anything else, publishes one durable watermark per
 * worker and wakes the workers that wait for theirs. `strict`: commits as soon as the last commit
 * is done and somebody submitted; `relaxed`: on 1,000 records or 100 ms. Between groups it does
 * jobs: cache files, reading batches for the uplink, dropping what was acknowledged. If the spool
 * is full or failed it keeps the slots (nothing is lost) and says so by committer_state(). */
#ifndef AGENTD_ACCOUNT_COMMITTER_H
#define AGENTD_ACCOUNT_COMMITTER_H

#include "account/inflight.h"
#include "account/spool.h"

struct committer;

struct committer_job {
	struct committer_job *next;
	void (*run)(struct committer_job *j,
		struct spool *s); /* committer thread; owns j from now on */
};

struct committer_config {
	struct inflight *inflight;
	struct spool *spool;
	unsigned n_workers;
	bool strict;
	/* Committer thread: worker's watermark moved towards what it waits for, or the spool failed
	 * and it never will; must only post (mailbox or uv_async_send). */
	void (*wake)(unsigned worker, void *owner);
	/* Committer thread: a group was committed (last sequence); its slots are free already; must
	 * only post. May be NULL. */
	void (*committed)(uint64_t last_seq, void *owner);
	void *owner;
};

int committer_start(const struct committer_config *c, struct committer **ret, struct errbuf *e);
/* Commits what is in the rings (unless the spool is full or failed: then the slots stay for
 * account_recover), does the jobs, joins and frees. Nobody submits or posts jobs any more. */
void committer_stop(struct committer *c);
void committer_set_strict(struct committer *c, bool strict);

/* Worker w's thread: the slot is SETTLED and goes to the committer. Returns its ticket: durable
 * when committer_durable(w) >= ticket. */
uint64_t committer_submit(struct committer *c, unsigned w, uint32_t slot);
uint64_t committer_durable(const struct committer *c, unsigned w);
/* Worker w's thread: `wake` is wanted once the watermark reaches ticket. If it has meanwhile, wake
 * is called at once, on this thread. A wake may come early (other tickets of the group): look at
 * committer_durable(). */
void committer_await(struct committer *c, unsigned w, uint64_t ticket);

void committer_do(struct committer *c, struct committer_job *j); /* any thread */

enum committer_state {
	COMMITTER_OK,
	COMMITTER_STALLED /* a commit takes over 5 s */,
	COMMITTER_FULL,
	COMMITTER_FAILED
};
enum committer_state committer_state(const struct committer *c); /* any thread */

/* At start, before any thread: frees the slots whose operation stands in the spool's last group,
 * books all others in one group, frees them. A kill at any instruction of it and another start give
 * the same records. -ENOSPC: they don't fit, with a sentence. */
int account_recover(struct inflight *f, struct spool *s, unsigned *ret_booked, struct errbuf *e);

#endif
