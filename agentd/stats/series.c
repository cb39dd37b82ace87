/* The list of combinations decides who is where, as that of uids in stats.c: a new one is appended
 * by exchanging the first zero entry, and whoever loses looks at what won. The table of hints only
 * makes that short. */
#include "stats/series.h"

#include <sys/mman.h>

#define HINTS  8192u /* power of two, at least twice SERIES_MAX */
#define PROBES 16u
#define TAKEN  (UINT64_C(1) << 63) /* a zero entry is free */

struct places {
	_Atomic uint64_t key[SERIES_MAX]; /* filled without holes from 1 */
	_Atomic uint32_t hint[HINTS];
	_Atomic uint32_t used; /* 0 included */
	uint32_t max;          /* places, 0 included */
};

struct series_block {
	struct series *all;
	struct series_traffic other_traffic;
	struct series_times other_times;
	struct buckets own[SERIES_OWN_COUNT];
	/* Mapped: only pages that are used take memory. */
	struct series_traffic *_Atomic traffic[SERIES_MAX];
	struct series_times *_Atomic times[SERIES_MAX];
	_Atomic int64_t fallbacks[SERIES_MAX];
};

struct series {
	unsigned n_workers;
	struct series_block **blocks;
	struct places of[SERIES_KINDS];
};

const struct bucket_bounds series_bounds[SERIES_TIME_COUNT] = {
	/* Those that OpenTelemetry advises for gen_ai.client.operation.duration,
	 * gen_ai.server.time_to_first_token and gen_ai.server.time_per_output_token. */
	[SERIES_duration] = { 14,
		{ 10000, 20000, 40000, 80000, 160000, 320000, 640000, 1280000, 2560000, 5120000,
			10240000, 20480000, 40960000, 81920000 } },
	[SERIES_ttft] = { 16,
		{ 1000, 5000, 10000, 20000, 40000, 60000, 80000, 100000, 250000, 500000, 750000,
			1000000, 2500000, 5000000, 7500000, 10000000 } },
	[SERIES_per_token] = { 13, { 10000, 25000, 50000, 75000, 100000, 150000, 200000, 300000,
					   400000, 500000, 750000, 1000000, 2500000 } },
};

const struct bucket_bounds series_own_bounds[SERIES_OWN_COUNT] = {
	[SERIES_overhead] = { 11,
		{ 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000 } },
	[SERIES_loop_lag] = { 12,
		{ 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 1000000 } },
};

static void *map(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int series_new(unsigned n_workers, struct series **ret)
{
	struct series *s = calloc(1, sizeof(*s)); /* large: only what is used takes memory */

	if (!s)
		return -ENOMEM;
	for (int k = 0; k < SERIES_KINDS; k++)
		atomic_init(&s->of[k].used, 1);
	series_set_max(s, SERIES_MAX);
	s->blocks = calloc(MAX(n_workers, 1u), sizeof(struct series_block *));
	if (!s->blocks)
		n_workers = UINT32_MAX;
	while (s->blocks && s->n_workers < n_workers) {
		struct series_block *b = map(sizeof(*b));

		if (!b)
			break;
		b->all = s;
		s->blocks[s->n_workers++] = b;
	}
	if (s->n_workers < n_workers) {
		series_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void series_free(struct series *s)
{
	if (!s)
		return;
	for (unsigned w = 0; s->blocks && w < s->n_workers; w++) {
		struct series_block *b = s->blocks[w];

		for (uint32_t i = 0; i < series_count(s, SERIES_TRAFFIC); i++)
			free(atomic_load_explicit(&b->traffic[i], memory_order_relaxed));
		for (uint32_t i = 0; i < series_count(s, SERIES_TIMES); i++)
			free(atomic_load_explicit(&b->times[i], memory_order_relaxed));
		(void)munmap(b, sizeof(*b));
	}
	free(s->blocks);
	free(s);
}

void series_set_max(struct series *s, uint32_t max)
{
	max = MIN(max, SERIES_MAX - 1);
	s->of[SERIES_TRAFFIC].max = max + 1;
	s->of[SERIES_TIMES].max = MAX(max / SERIES_TIMES_PART, 1u) + 1;
	s->of[SERIES_FALLBACKS].max = s->of[SERIES_TIMES].max;
}

struct series_block *series_worker(struct series *s, unsigned worker)
{
	ASSERT(worker < s->n_workers);
	return s->blocks[worker];
}

/* --- places --------------------------------------------------------------------------- */

static uint64_t pack(struct series_key k)
{
	return TAKEN | (uint64_t)k.project << 32 | (uint64_t)k.provider << 16 | k.model;
}

static _Atomic uint32_t *hint_of(struct places *p, uint64_t key, uint32_t probe)
{
	return &p->hint[((key * UINT64_C(0x9e3779b97f4a7c15) >> 40) + probe) % HINTS];
}

static void publish(struct places *p, uint64_t key, uint32_t place)
{
	uint32_t used = atomic_load_explicit(&p->used, memory_order_relaxed);

	while (used <= place && !atomic_compare_exchange_weak_explicit(&p->used, &used, place + 1,
					memory_order_release, memory_order_relaxed))
		;
	for (uint32_t probe = 0; probe < PROBES; probe++) {
		uint32_t none = 0;

		if (atomic_compare_exchange_strong_explicit(hint_of(p, key, probe), &none, place,
			    memory_order_relaxed, memory_order_relaxed) ||
			none == place)
			return;
	}
}

static uint32_t append(struct places *p, uint64_t key)
{
	for (uint32_t place = 1; place < p->max; place++) {
		uint64_t there = 0;

		if (atomic_compare_exchange_strong_explicit(&p->key[place], &there, key,
			    memory_order_relaxed, memory_order_relaxed) ||
			there == key) {
			publish(p, key, place);
			return place;
		}
	}
	return 0;
}

static uint32_t find(struct places *p, uint64_t key)
{
	for (uint32_t probe = 0; probe < PROBES; probe++) {
		uint32_t place = atomic_load_explicit(hint_of(p, key, probe), memory_order_relaxed);

		if (place == 0)
			break;
		if (atomic_load_explicit(&p->key[place], memory_order_relaxed) == key)
			return place;
	}
	/* Full: what has no hint is not there either, but for rare collisions, which cost their own
	 * series and nothing else. */
	if (atomic_load_explicit(&p->used, memory_order_relaxed) == p->max)
		return 0;
	return append(p, key);
}

uint32_t series_place(struct series *s, enum series_kind kind, struct series_key key)
{
	if (kind != SERIES_TRAFFIC)
		key.project = SERIES_NONE;
	return find(&s->of[kind], pack(key));
}

uint32_t series_max(const struct series *s, enum series_kind kind)
{
	return s->of[kind].max - 1;
}

/* --- counting ------------------------------------------------------------------------- */

struct series_traffic *series_traffic(struct series_block *b, struct series_key key)
{
	uint32_t place = series_place(b->all, SERIES_TRAFFIC, key);
	struct series_traffic *row = atomic_load_explicit(&b->traffic[place], memory_order_relaxed);

	if (LIKELY(row != NULL))
		return row;
	row = place ? calloc(1, sizeof(*row)) : NULL;
	if (!row)
		return &b->other_traffic;
	(void)series_place(b->all, SERIES_TIMES, key); /* where it is summed over projects */
	atomic_store_explicit(&b->traffic[place], row, memory_order_release);
	return row;
}

struct series_times *series_times(struct series_block *b, struct series_key key)
{
	uint32_t place = series_place(b->all, SERIES_TIMES, key);
	struct series_times *row = atomic_load_explicit(&b->times[place], memory_order_relaxed);

	if (LIKELY(row != NULL))
		return row;
	row = place ? calloc(1, sizeof(*row)) : NULL;
	if (!row)
		return &b->other_times;
	atomic_store_explicit(&b->times[place], row, memory_order_release);
	return row;
}

void series_fallback(struct series_block *b, uint32_t from, uint32_t to)
{
	uint32_t place = series_place(b->all, SERIES_FALLBACKS, series_fallback_key(from, to));

	series_add(&b->fallbacks[place], 1);
}

struct buckets *series_own(struct series_block *b, enum series_own which)
{
	return &b->own[which];
}

/* --- reading -------------------------------------------------------------------------- */

uint32_t series_count(const struct series *s, enum series_kind kind)
{
	return atomic_load_explicit(&s->of[kind].used, memory_order_acquire);
}

struct series_key series_key(const struct series *s, enum series_kind kind, uint32_t place)
{
	uint64_t key = atomic_load_explicit(&s->of[kind].key[place], memory_order_relaxed);

	/* Place 0, and one that was appended and not written yet: slot 0 is "_other". */
	return (struct series_key){ .model = (uint16_t)key,
		.provider = (uint16_t)(key >> 16),
		.project = (uint16_t)((key & ~TAKEN) >> 32) };
}

uint32_t series_times_of(const struct series *s, uint32_t traffic_place)
{
	struct series_key key = series_key(s, SERIES_TRAFFIC, traffic_place);
	uint64_t want;
	uint32_t n = series_count(s, SERIES_TIMES);

	if (traffic_place == 0)
		return 0;
	key.project = SERIES_NONE;
	want = pack(key);
	for (uint32_t i = 1; i < n; i++) {
		if (atomic_load_explicit(&s->of[SERIES_TIMES].key[i], memory_order_relaxed) == want)
			return i;
	}
	return 0;
}

static void add_traffic(const struct series_traffic *row, struct series_traffic_sum *to)
{
	for (int i = 0; i < SERIES_CODES; i++)
		to->code[i] += atomic_load_explicit(&row->code[i], memory_order_relaxed);
	for (int i = 0; i < SERIES_TOKENS; i++)
		to->tokens[i] += atomic_load_explicit(&row->tokens[i], memory_order_relaxed);
	to->cost_nano =
		(int64_t)((uint64_t)to->cost_nano +
			  (uint64_t)atomic_load_explicit(&row->cost_nano, memory_order_relaxed));
}

void series_read_traffic(const struct series *s, uint32_t place, struct series_traffic_sum *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned w = 0; w < s->n_workers; w++) {
		struct series_block *b = s->blocks[w];
		const struct series_traffic *row =
			place ? atomic_load_explicit(&b->traffic[place], memory_order_acquire)
			      : &b->other_traffic;

		if (row)
			add_traffic(row, ret);
	}
}

void series_read_times(const struct series *s, uint32_t place, struct series_times_sum *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned w = 0; w < s->n_workers; w++) {
		struct series_block *b = s->blocks[w];
		const struct series_times *row =
			place ? atomic_load_explicit(&b->times[place], memory_order_acquire)
			      : &b->other_times;

		for (int i = 0; row && i < SERIES_TIME_COUNT; i++)
			buckets_collect(&row->of[i], &ret->of[i]);
		if (row)
			ret->usage_missing +=
				atomic_load_explicit(&row->usage_missing, memory_order_relaxed);
	}
}

int64_t series_read_fallbacks(const struct series *s, uint32_t place)
{
	int64_t n = 0;

	for (unsigned w = 0; w < s->n_workers; w++)
		n += atomic_load_explicit(&s->blocks[w]->fallbacks[place], memory_order_relaxed);
	return n;
}

void series_read_own(const struct series *s, enum series_own which, struct bucket_sums *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned w = 0; w < s->n_workers; w++)
		buckets_collect(&s->blocks[w]->own[which], ret);
}
