/* What the controller's unit tests share: a store in a folder of its own, usage records, batches
 * with a right chain. */
#ifndef TEST_CTLD_FIXTURE_H
#define TEST_CTLD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agents/ingest.h"
#include "store/store.h"
#include <aigw/arena.h>
#include <aigw/usage.h>

struct fixture {
	char dir[64];
	struct store *store;
	struct arena arena; /* of batches */
};

void fixture_open(struct fixture *f, uint64_t map_bytes);
void fixture_reopen(struct fixture *f);
void fixture_close(struct fixture *f); /* removes the folder */

/* A record as an agent would write it: the n-th of a day, with every dimension derived from n. */
struct usage_record record_nth(uint64_t n);
struct slice record_bytes(struct fixture *f, const struct usage_record *u);

/* Agent's side of a store: its chain so far. */
struct agent_side {
	uint8_t store_id[16];
	uint64_t seq; /* last one */
	uint8_t chain[32];
};

/* The next n records as a batch. `salt` makes other records out of the same numbers. */
struct ingest_batch batch_next(struct fixture *f, struct agent_side *a, uint32_t n, uint64_t salt);
enum ingest_verdict batch_book(struct fixture *f, struct ingest_batch *b);

uint64_t count_records(struct fixture *f);

#endif
