/* Live numbers. Every worker has blocks of its own (one writer: relaxed load + store, plain moves);
 * readers sum over the workers. Objects (models, providers, projects, uids) get a slot number for
 * the life of the process; slot 0 of each kind takes the overflow ("_other"). Histograms:
 * log-linear, 32 steps per octave, microseconds; allocated by the worker at first use. */
#ifndef AGENTD_STATS_STATS_H
#define AGENTD_STATS_STATS_H

#include <aigw/base.h>
#include <aigw/buf.h>
#include <aigw/slice.h>
#include <stdatomic.h>

enum stat_kind {
	STAT_GLOBAL,
	STAT_MODEL,
	STAT_PROVIDER,
	STAT_PROJECT,
	STAT_UID,
	STAT_KEY,
	STAT_KIND_COUNT
};
#define STAT_MAX_OBJECTS 4096  /* per kind */
#define STAT_MAX_KEYS    16384 /* but for keys */

enum stat_counter {
#define COUNTER(name, unit, doc) STAT_##name,
#include <aigw/tbl/counters.h>
#undef COUNTER
	STAT_COUNTER_COUNT
};

enum stat_hist { HIST_duration, HIST_ttft, HIST_overhead, HIST_COUNT };

enum provider_error {
#define PROVIDER_ERROR(name, doc) ERROR_##name,
#include <aigw/tbl/provider_errors.h>
#undef PROVIDER_ERROR
	PROVIDER_ERROR_COUNT
};

struct stats;       /* the process's */
struct stats_block; /* one worker's */
struct series;      /* by more than one label (series.h) */
struct series_block;

int stats_new(unsigned n_workers, struct stats **ret);
void stats_free(struct stats *s);
struct stats_block *stats_worker(struct stats *s, unsigned worker);
struct series *stats_series(struct stats *s);
const struct series *stats_series_read(const struct stats *s);
struct series_block *stats_block_series(struct stats_block *b);

/* Slot of an object, made if new. Control loop (names); uids from workers too (lock-free table). 0:
 * overflow. */
uint32_t stats_slot(struct stats *s, enum stat_kind kind, struct slice name);
uint32_t stats_uid_slot(struct stats *s, uint32_t uid);
/* Keys are known by a number made of their id (statfs/key_list.h): below 2^55. Any thread. */
uint32_t stats_key_slot(struct stats *s, uint64_t number);
uint32_t stats_find_key(const struct stats *s, uint64_t number); /* 0: none yet */

/* Worker's thread. */
void stats_add(
	struct stats_block *b, enum stat_kind kind, uint32_t slot, enum stat_counter c, int64_t n);
void stats_time(
	struct stats_block *b, enum stat_kind kind, uint32_t slot, enum stat_hist h, usec d);

COLD void stats_error(struct stats_block *b, uint32_t provider_slot, enum provider_error e,
	usec wall_us); /* wall: now */

/* Several counters of one object: its row once, then plain moves. Valid as long as the block. */
_Atomic int64_t *stats_row(struct stats_block *b, enum stat_kind kind, uint32_t slot);
static inline void stats_row_add(_Atomic int64_t *row, enum stat_counter c, int64_t n)
{
	uint64_t sum = (uint64_t)atomic_load_explicit(&row[c], memory_order_relaxed) + (uint64_t)n;

	atomic_store_explicit(&row[c], (int64_t)sum, memory_order_relaxed);
}

/* Any thread: sums over workers. */
int64_t stats_sum(const struct stats *s, enum stat_kind kind, uint32_t slot, enum stat_counter c);
void stats_read(const struct stats *s, enum stat_kind kind, uint32_t slot,
	int64_t ret[static STAT_COUNTER_COUNT]); /* all in one pass */
void stats_read_errors(
	const struct stats *s, uint32_t provider_slot, int64_t ret[static PROVIDER_ERROR_COUNT]);
/* The last one of all workers; false: there was none. */
bool stats_last_error(
	const struct stats *s, uint32_t provider_slot, enum provider_error *ret, usec *ret_wall_us);
const char *stats_error_name(enum provider_error e);
struct stat_quantiles {
	uint64_t n, p50, p90, p95, p99, p999, max;
}; /* us */
void stats_quantiles(const struct stats *s, enum stat_kind kind, uint32_t slot, enum stat_hist h,
	struct stat_quantiles *ret);
uint32_t stats_slots(const struct stats *s, enum stat_kind kind); /* slots in use, 0 included */
struct slice stats_slot_name(const struct stats *s, enum stat_kind kind,
	uint32_t slot); /* valid for ever; slot 0 "_other"; not for uids */
bool stats_slot_uid(
	const struct stats *s, uint32_t slot, uint32_t *ret_uid); /* false: no such slot, or 0 */
uint32_t stats_find_uid(
	const struct stats *s, uint32_t uid); /* its slot without making one; 0: none */
const char *stats_counter_name(enum stat_counter c);

#endif
