/* What the metrics know by more than one label: counters of a model at a provider for a project
 * ("traffic"), histograms of a model at a provider ("times"), calls that went on from one provider
 * to another ("fallbacks"). Objects are the slots of stats.h. A combination takes a place for the
 * life of the process when it is first made; there are at most `max` of traffic and an eighth of
 * that of times, since a histogram has many lines, and of fallbacks. What comes later is counted
 * together at place 0, shown as "_other". Every worker has rows of its own (one writer); readers
 * add up. Look-ups are lock-free. */
#ifndef AGENTD_STATS_SERIES_H
#define AGENTD_STATS_SERIES_H

#include <aigw/prom.h>
#include <stdatomic.h>

#define SERIES_MAX        4000u
#define SERIES_TIMES_PART 8u
#define SERIES_NONE       UINT16_MAX /* no model, provider or project: refused before it was known */

enum series_kind { SERIES_TRAFFIC, SERIES_TIMES, SERIES_FALLBACKS, SERIES_KINDS };

enum series_code { SERIES_2xx, SERIES_4xx, SERIES_429, SERIES_5xx, SERIES_cut, SERIES_CODES };
enum series_token {
	SERIES_input, /* all of the prompt but what follows */
	SERIES_cached_input,
	SERIES_cache_write,
	SERIES_output, /* all of the output but what follows */
	SERIES_reasoning,
	SERIES_TOKENS
};
enum series_time { SERIES_duration, SERIES_ttft, SERIES_per_token, SERIES_TIME_COUNT };
enum series_own { SERIES_overhead, SERIES_loop_lag, SERIES_OWN_COUNT }; /* have no labels */

struct series_key {
	uint16_t model, provider, project; /* project: SERIES_NONE of times */
};

/* Of fallbacks: the provider that was left stands where the model does. */
static inline struct series_key series_fallback_key(uint32_t from, uint32_t to)
{
	return (struct series_key){ (uint16_t)from, (uint16_t)to, SERIES_NONE };
}

struct series_traffic {
	_Atomic int64_t code[SERIES_CODES], tokens[SERIES_TOKENS], cost_nano;
};
struct series_traffic_sum {
	int64_t code[SERIES_CODES], tokens[SERIES_TOKENS], cost_nano;
};
struct series_times {
	struct buckets of[SERIES_TIME_COUNT];
	_Atomic int64_t usage_missing;
};
struct series_times_sum {
	struct bucket_sums of[SERIES_TIME_COUNT];
	int64_t usage_missing;
};

struct series;       /* the process's */
struct series_block; /* one worker's */

int series_new(unsigned n_workers, struct series **ret); /* -ENOMEM */
void series_free(struct series *s);
/* At start, before anything is counted. */
void series_set_max(struct series *s, uint32_t max);
struct series_block *series_worker(struct series *s, unsigned worker);

/* Any thread: the place of a combination, made if it is new and there is room; else 0. */
uint32_t series_place(struct series *s, enum series_kind kind, struct series_key key);
uint32_t series_max(const struct series *s, enum series_kind kind);

/* Worker's thread: its row; never NULL (the overflow's, where there is no memory). */
struct series_traffic *series_traffic(struct series_block *b, struct series_key key);
struct series_times *series_times(struct series_block *b, struct series_key key);
void series_fallback(struct series_block *b, uint32_t from, uint32_t to); /* counts one */
struct buckets *series_own(struct series_block *b, enum series_own which);
static inline void series_add(_Atomic int64_t *at, int64_t n)
{
	uint64_t sum = (uint64_t)atomic_load_explicit(at, memory_order_relaxed) + (uint64_t)n;

	atomic_store_explicit(at, (int64_t)sum, memory_order_relaxed);
}

extern const struct bucket_bounds series_bounds[SERIES_TIME_COUNT];
extern const struct bucket_bounds series_own_bounds[SERIES_OWN_COUNT];

/* Any thread: sums over workers. */
uint32_t series_count(const struct series *s, enum series_kind kind); /* places in use, with 0 */
struct series_key series_key(const struct series *s, enum series_kind kind, uint32_t place);
void series_read_traffic(const struct series *s, uint32_t place, struct series_traffic_sum *ret);
void series_read_times(const struct series *s, uint32_t place, struct series_times_sum *ret);
int64_t series_read_fallbacks(const struct series *s, uint32_t place);
void series_read_own(const struct series *s, enum series_own which, struct bucket_sums *ret);
/* Place of times for a place of traffic: the same model and provider. */
uint32_t series_times_of(const struct series *s, uint32_t traffic_place);

#endif
