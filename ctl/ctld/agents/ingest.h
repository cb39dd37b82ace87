/* Usage coming in: batches of records are booked exactly once. A batch's records, the high-water
 * mark, the chain hash and the rollups change in one transaction; batches that arrived together
 * share one commit, and are answered after it.
 *
 * Judged against what is booked of (agent, store id):
 *   - records up to the high-water mark must be, by their chain hashes, the ones that stand in the
 * ledger: they are acknowledged and not booked again. If they are others, the disk was copied or
 * rolled back: a fork.
 *   - a first sequence above high-water + 1 is a gap.
 * Gap and fork quarantine that store: nothing of it is booked any more, never mended in silence.
 * Records that this build can't read are booked as bytes, counted, and stand in no rollup. Loop's
 * thread. */
#ifndef CTLD_AGENTS_INGEST_H
#define CTLD_AGENTS_INGEST_H

#include "store/store.h"
#include <aigw/wire.h>

enum ingest_verdict {
	INGEST_BOOKED,
	INGEST_REFUSED,
	INGEST_GAP,
	INGEST_FORK,
	INGEST_QUARANTINED,
	INGEST_UNAVAILABLE,
	INGEST_VERDICTS
};

struct ingest_batch {
	struct slice agent;
	usec received_us;
	struct wire_usage_batch usage; /* borrowed */
	/* result */
	enum ingest_verdict verdict;
	bool quarantined_now;    /* this batch did it */
	uint64_t booked;         /* new records */
	struct ledger_head head; /* after it; unless UNAVAILABLE */
	char reason[192];        /* a sentence if not BOOKED */
};

/* Books n batches in one commit. Each gets its verdict; UNAVAILABLE for all if the commit failed.
 */
void ingest_book(struct store *s, struct ingest_batch **batches, size_t n);

const char *ingest_code(enum ingest_verdict v); /* the wire's error code: "gap", "fork", … */

#endif
