/* A small policy with its slots in fresh stats, for the tests of the stats mount. */
#ifndef TESTS_UNIT_STATFS_FIXTURE_H
#define TESTS_UNIT_STATFS_FIXTURE_H

#include "statfs/render.h"

#define FIXTURE_MODEL      "meta/llama3%" /* a file can't be called so */
#define FIXTURE_MODEL_FILE "meta%2Fllama3%25"
#define FIXTURE_UID        64123u /* a user that no host has */

struct fixture {
	struct stats *stats; /* two workers */
	struct health *health;
	struct policy *policy;
	struct inflight *inflight; /* 64 slots */
	struct watch watch;
	char dir[64];
};

void fixture_begin(struct fixture *f);
void fixture_end(struct fixture *f);
struct node_view fixture_view(const struct fixture *f);
/* Counts n on the second worker. */
void fixture_add(
	struct fixture *f, enum stat_kind kind, const char *name, enum stat_counter c, int64_t n);
void fixture_time(
	struct fixture *f, enum stat_kind kind, const char *name, enum stat_hist h, usec d);
uint32_t fixture_slot(struct fixture *f, enum stat_kind kind, const char *name);

#endif
