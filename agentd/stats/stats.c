/* An object of a worker (its counters for one model, say) is allocated by that worker when it first
 * counts for it, and published with release; readers add up what is there. Where there is no
 * memory, an object's numbers go to the overflow object of its kind for good, so that a gauge's
 * plus and minus meet. */
#include "stats/stats.h"
#include "stats/hist.h"
#include "stats/series.h"

#include <aigw/hash.h>

#include <sys/mman.h>

#define NUMBER_HINTS  32768u /* power of two, at least twice STAT_MAX_KEYS */
#define NUMBER_PROBES 16u
#define NUMBER_TAKEN  (UINT64_C(1) << 63) /* a zero entry is free, so number 0 needs a mark */

struct stats_object {
	_Alignas(64) _Atomic int64_t count[STAT_COUNTER_COUNT];
	struct hist *_Atomic hist[HIST_COUNT];
	/* Of a provider that had one: counters, and behind them the last with its time. */
	_Atomic int64_t *_Atomic errors;
};

struct stats_block {
	struct stats_object other[STAT_KIND_COUNT]; /* slot 0 */
	struct series_block *series;
	/* Only pages that are used take memory: blocks are mapped. */
	struct stats_object *_Atomic object[STAT_KIND_COUNT][STAT_MAX_KEYS];
};

struct stats_name {
	UT_hash_handle hh;
	uint32_t slot;
	uint32_t n;
	char text[];
};

struct stats_names {
	struct stats_name *table;                          /* control loop's */
	struct stats_name *_Atomic slot[STAT_MAX_OBJECTS]; /* written before `used` says so */
	_Atomic uint32_t used;
};

/* Objects that are numbers: uids and keys. */
struct stats_numbers {
	uint32_t max;                           /* slots, 0 included */
	_Atomic uint32_t used;                  /* 0 included */
	_Atomic uint64_t number[STAT_MAX_KEYS]; /* by slot, filled without holes from 1 */
	_Atomic uint32_t hint[NUMBER_HINTS];    /* hash of a number -> slot; only a short cut */
};

struct stats {
	unsigned n_workers;
	struct stats_block **blocks;
	struct series *series;
	struct stats_names names[STAT_KIND_COUNT];
	struct stats_numbers uids, keys;
};

/* Zero, and only what is used takes memory. */
static void *map(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void object_fini(struct stats_object *o)
{
	for (int h = 0; h < HIST_COUNT; h++)
		free(atomic_load_explicit(&o->hist[h], memory_order_relaxed));
	free(atomic_load_explicit(&o->errors, memory_order_relaxed));
}

static void block_free(struct stats_block *b, uint32_t used[static STAT_KIND_COUNT])
{
	for (int kind = 0; kind < STAT_KIND_COUNT; kind++) {
		struct stats_object *other = &b->other[kind];

		object_fini(other);
		for (uint32_t i = 0; i < used[kind]; i++) {
			struct stats_object *o =
				atomic_load_explicit(&b->object[kind][i], memory_order_relaxed);

			if (!o || o == other)
				continue;
			object_fini(o);
			free(o);
		}
	}
	(void)munmap(b, sizeof(*b));
}

int stats_new(unsigned n_workers, struct stats **ret)
{
	struct stats *s = calloc(1, sizeof(*s)); /* large: only what is used takes memory */

	if (!s)
		return -ENOMEM;
	for (int kind = 0; kind < STAT_KIND_COUNT; kind++)
		atomic_init(&s->names[kind].used, 1);
	atomic_init(&s->uids.used, 1);
	atomic_init(&s->keys.used, 1);
	s->uids.max = STAT_MAX_OBJECTS;
	s->keys.max = STAT_MAX_KEYS;
	if (series_new(n_workers, &s->series)) {
		free(s);
		return -ENOMEM;
	}
	s->blocks = calloc(MAX(n_workers, 1u), sizeof(struct stats_block *));
	while (s->blocks && s->n_workers < n_workers) {
		s->blocks[s->n_workers] = map(sizeof(struct stats_block));
		if (!s->blocks[s->n_workers])
			break;
		s->blocks[s->n_workers]->series = series_worker(s->series, s->n_workers);
		s->n_workers++;
	}
	if (!s->blocks || s->n_workers < n_workers) {
		stats_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void stats_free(struct stats *s)
{
	uint32_t used[STAT_KIND_COUNT];

	if (!s)
		return;
	for (int kind = 0; kind < STAT_KIND_COUNT; kind++)
		used[kind] = stats_slots(s, kind);
	for (unsigned w = 0; w < s->n_workers; w++)
		block_free(s->blocks[w], used);
	for (int kind = 0; kind < STAT_KIND_COUNT; kind++) {
		HASH_CLEAR(hh, s->names[kind].table);
		for (uint32_t i = 0; i < used[kind]; i++)
			free(atomic_load_explicit(&s->names[kind].slot[i], memory_order_relaxed));
	}
	free(s->blocks);
	series_free(s->series);
	free(s);
}

struct series *stats_series(struct stats *s)
{
	return s->series;
}

const struct series *stats_series_read(const struct stats *s)
{
	return s->series;
}

struct series_block *stats_block_series(struct stats_block *b)
{
	return b->series;
}

struct stats_block *stats_worker(struct stats *s, unsigned worker)
{
	ASSERT(worker < s->n_workers);
	return s->blocks[worker];
}

const char *stats_counter_name(enum stat_counter c)
{
	static const char *const names[STAT_COUNTER_COUNT] = {
#define COUNTER(name, unit, doc) #name,
#include <aigw/tbl/counters.h>
#undef COUNTER
	};

	return names[c];
}

/* --- slots ---------------------------------------------------------------------------- */

uint32_t stats_slot(struct stats *s, enum stat_kind kind, struct slice name)
{
	struct stats_names *names = &s->names[kind];
	uint32_t slot = atomic_load_explicit(&names->used, memory_order_relaxed);
	struct stats_name *n = NULL;
	bool out_of_memory = false;

	ASSERT(kind < STAT_UID);
	if (kind == STAT_GLOBAL || name.n == 0 || name.n > UINT16_MAX)
		return 0;
	HASH_FIND(hh, names->table, name.p, name.n, n);
	if (n)
		return n->slot;
	n = slot < STAT_MAX_OBJECTS ? calloc(1, sizeof(*n) + name.n) : NULL;
	if (!n)
		return 0;
	n->slot = slot;
	n->n = (uint32_t)name.n;
	memcpy(n->text, name.p, name.n);
	HASH_ADD_KEYPTR(hh, names->table, n->text, name.n, n);
	if (out_of_memory) {
		free(n);
		return 0;
	}
	atomic_store_explicit(&names->slot[slot], n, memory_order_relaxed);
	atomic_store_explicit(&names->used, slot + 1, memory_order_release);
	return slot;
}

uint32_t stats_slots(const struct stats *s, enum stat_kind kind)
{
	if (kind >= STAT_UID)
		return atomic_load_explicit(
			kind == STAT_UID ? &s->uids.used : &s->keys.used, memory_order_acquire);
	return atomic_load_explicit(&s->names[kind].used, memory_order_acquire);
}

struct slice stats_slot_name(const struct stats *s, enum stat_kind kind, uint32_t slot)
{
	const struct stats_name *n;

	ASSERT(kind < STAT_UID);
	if (slot == 0 || slot >= stats_slots(s, kind))
		return SLICE("_other");
	n = atomic_load_explicit(&s->names[kind].slot[slot], memory_order_relaxed);
	return slice_of(n->text, n->n);
}

static _Atomic uint32_t *hint_of(struct stats_numbers *n, uint64_t number, uint32_t probe)
{
	uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15) >> 40;

	return &n->hint[(mixed + probe) % NUMBER_HINTS];
}

static bool is_at(const struct stats_numbers *n, uint32_t slot, uint64_t number)
{
	return atomic_load_explicit(&n->number[slot], memory_order_relaxed) ==
	       (NUMBER_TAKEN | number);
}

static void publish(struct stats_numbers *n, uint64_t number, uint32_t slot)
{
	uint32_t used = atomic_load_explicit(&n->used, memory_order_relaxed);

	while (used <= slot && !atomic_compare_exchange_weak_explicit(&n->used, &used, slot + 1,
				       memory_order_release, memory_order_relaxed))
		;
	for (uint32_t probe = 0; probe < NUMBER_PROBES; probe++) {
		uint32_t none = 0;

		if (atomic_compare_exchange_strong_explicit(hint_of(n, number, probe), &none, slot,
			    memory_order_relaxed, memory_order_relaxed) ||
			none == slot)
			return;
	}
}

/* The list itself decides who is where: a number is appended by exchanging the first zero entry,
 * and whoever loses looks at what won. So two workers never give one number two slots, and nobody
 * waits. */
static uint32_t slot_of(struct stats_numbers *n, uint64_t number)
{
	for (uint32_t probe = 0; probe < NUMBER_PROBES; probe++) {
		uint32_t slot =
			atomic_load_explicit(hint_of(n, number, probe), memory_order_relaxed);

		if (slot == 0)
			break;
		if (is_at(n, slot, number))
			return slot;
	}
	for (uint32_t slot = 1; slot < n->max; slot++) {
		uint64_t there = 0;

		if (atomic_compare_exchange_strong_explicit(&n->number[slot], &there,
			    NUMBER_TAKEN | number, memory_order_relaxed, memory_order_relaxed) ||
			there == (NUMBER_TAKEN | number)) {
			publish(n, number, slot);
			return slot;
		}
	}
	return 0;
}

/* For readers: finds it or not, makes none. */
static uint32_t find(const struct stats_numbers *n, uint64_t number)
{
	uint32_t used = atomic_load_explicit(&n->used, memory_order_acquire);

	for (uint32_t probe = 0; probe < NUMBER_PROBES; probe++) {
		uint64_t at =
			((number * UINT64_C(0x9e3779b97f4a7c15) >> 40) + probe) % NUMBER_HINTS;
		uint32_t slot = atomic_load_explicit(&n->hint[at], memory_order_relaxed);

		if (slot == 0)
			break; /* none, or one that is being published */
		if (is_at(n, slot, number))
			return slot;
	}
	for (uint32_t slot = 1; slot < used; slot++) {
		if (is_at(n, slot, number))
			return slot;
	}
	return 0;
}

uint32_t stats_uid_slot(struct stats *s, uint32_t uid)
{
	return slot_of(&s->uids, uid);
}

uint32_t stats_key_slot(struct stats *s, uint64_t number)
{
	return slot_of(&s->keys, number);
}

bool stats_slot_uid(const struct stats *s, uint32_t slot, uint32_t *ret_uid)
{
	if (slot == 0 || slot >= stats_slots(s, STAT_UID))
		return false;
	*ret_uid = (uint32_t)atomic_load_explicit(&s->uids.number[slot], memory_order_relaxed);
	return true;
}

uint32_t stats_find_uid(const struct stats *s, uint32_t uid)
{
	return find(&s->uids, uid);
}

uint32_t stats_find_key(const struct stats *s, uint64_t number)
{
	return find(&s->keys, number);
}

static uint32_t limit_of(enum stat_kind kind)
{
	return kind == STAT_KEY ? STAT_MAX_KEYS : STAT_MAX_OBJECTS;
}

/* --- counting ------------------------------------------------------------------------- */

static struct stats_object *object_new(struct stats_block *b, enum stat_kind kind, uint32_t slot)
{
	size_t size = sizeof(struct stats_object); /* a multiple of its alignment */
	struct stats_object *o = aligned_alloc(_Alignof(struct stats_object), size);

	if (o)
		memset(o, 0, size);
	else
		o = &b->other[kind];
	atomic_store_explicit(&b->object[kind][slot], o, memory_order_release);
	return o;
}

static struct stats_object *object_of(struct stats_block *b, enum stat_kind kind, uint32_t slot)
{
	struct stats_object *o;

	if (slot == 0 || slot >= limit_of(kind))
		return &b->other[kind];
	o = atomic_load_explicit(&b->object[kind][slot], memory_order_relaxed);
	return LIKELY(o != NULL) ? o : object_new(b, kind, slot);
}

_Atomic int64_t *stats_row(struct stats_block *b, enum stat_kind kind, uint32_t slot)
{
	return object_of(b, kind, slot)->count;
}

void stats_add(
	struct stats_block *b, enum stat_kind kind, uint32_t slot, enum stat_counter c, int64_t n)
{
	stats_row_add(stats_row(b, kind, slot), c, n);
}

void stats_time(struct stats_block *b, enum stat_kind kind, uint32_t slot, enum stat_hist h, usec d)
{
	struct hist *_Atomic *at = &object_of(b, kind, slot)->hist[h];
	struct hist *hist = atomic_load_explicit(at, memory_order_relaxed);

	if (UNLIKELY(!hist)) {
		hist = calloc(1, sizeof(*hist));
		if (!hist)
			return; /* this time is not in the quantiles; counters are */
		atomic_store_explicit(at, hist, memory_order_release);
	}
	hist_add(hist, d > 0 ? (uint64_t)d : 0);
}

_Static_assert(PROVIDER_ERROR_COUNT <= 256, "one fits a byte beside its time");

void stats_error(struct stats_block *b, uint32_t provider_slot, enum provider_error e, usec wall_us)
{
	_Atomic int64_t *_Atomic *at = &object_of(b, STAT_PROVIDER, provider_slot)->errors;
	_Atomic int64_t *row = atomic_load_explicit(at, memory_order_relaxed);

	if (!row) {
		row = calloc(PROVIDER_ERROR_COUNT + 1, sizeof(*row));
		if (!row)
			return; /* it is in upstream_errors all the same */
		atomic_store_explicit(at, row, memory_order_release);
	}
	atomic_store_explicit(&row[e], atomic_load_explicit(&row[e], memory_order_relaxed) + 1,
		memory_order_relaxed);
	atomic_store_explicit(
		&row[PROVIDER_ERROR_COUNT], wall_us * 256 + (int64_t)e, memory_order_relaxed);
}

/* --- reading -------------------------------------------------------------------------- */

/* NULL: the worker has nothing of its own for it. */
static const struct stats_object *object_read(
	const struct stats_block *b, enum stat_kind kind, uint32_t slot)
{
	const struct stats_object *o;

	if (slot == 0)
		return &b->other[kind];
	if (slot >= limit_of(kind))
		return NULL;
	o = atomic_load_explicit(&b->object[kind][slot], memory_order_acquire);
	return o == &b->other[kind] ? NULL : o;
}

int64_t stats_sum(const struct stats *s, enum stat_kind kind, uint32_t slot, enum stat_counter c)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < s->n_workers; w++) {
		const struct stats_object *o = object_read(s->blocks[w], kind, slot);

		if (o)
			sum += (uint64_t)atomic_load_explicit(&o->count[c], memory_order_relaxed);
	}
	return (int64_t)sum;
}

void stats_read(const struct stats *s, enum stat_kind kind, uint32_t slot,
	int64_t ret[static STAT_COUNTER_COUNT])
{
	memset(ret, 0, STAT_COUNTER_COUNT * sizeof(*ret));
	for (unsigned w = 0; w < s->n_workers; w++) {
		const struct stats_object *o = object_read(s->blocks[w], kind, slot);

		for (int c = 0; o && c < STAT_COUNTER_COUNT; c++)
			ret[c] = (int64_t)((uint64_t)ret[c] +
					   (uint64_t)atomic_load_explicit(
						   &o->count[c], memory_order_relaxed));
	}
}

void stats_quantiles(const struct stats *s, enum stat_kind kind, uint32_t slot, enum stat_hist h,
	struct stat_quantiles *ret)
{
	uint64_t sum[HIST_BUCKETS] = { 0 }, n = 0, max = 0;

	for (unsigned w = 0; w < s->n_workers; w++) {
		const struct stats_object *o = object_read(s->blocks[w], kind, slot);
		const struct hist *hist =
			o ? atomic_load_explicit(&o->hist[h], memory_order_acquire) : NULL;

		if (hist)
			hist_collect(hist, sum, &max);
	}
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		n += sum[i];
	*ret = (struct stat_quantiles){
		.n = n,
		.p50 = hist_quantile(sum, n, max, 500),
		.p90 = hist_quantile(sum, n, max, 900),
		.p95 = hist_quantile(sum, n, max, 950),
		.p99 = hist_quantile(sum, n, max, 990),
		.p999 = hist_quantile(sum, n, max, 999),
		.max = max,
	};
}

void stats_read_errors(
	const struct stats *s, uint32_t provider_slot, int64_t ret[static PROVIDER_ERROR_COUNT])
{
	memset(ret, 0, PROVIDER_ERROR_COUNT * sizeof(*ret));
	for (unsigned w = 0; w < s->n_workers; w++) {
		const struct stats_object *o =
			object_read(s->blocks[w], STAT_PROVIDER, provider_slot);
		_Atomic int64_t *row =
			o ? atomic_load_explicit(&o->errors, memory_order_acquire) : NULL;

		for (int e = 0; row && e < PROVIDER_ERROR_COUNT; e++)
			ret[e] += atomic_load_explicit(&row[e], memory_order_relaxed);
	}
}

bool stats_last_error(
	const struct stats *s, uint32_t provider_slot, enum provider_error *ret, usec *ret_wall_us)
{
	int64_t last = 0;

	for (unsigned w = 0; w < s->n_workers; w++) {
		const struct stats_object *o =
			object_read(s->blocks[w], STAT_PROVIDER, provider_slot);
		_Atomic int64_t *row =
			o ? atomic_load_explicit(&o->errors, memory_order_acquire) : NULL;
		int64_t v =
			row ? atomic_load_explicit(&row[PROVIDER_ERROR_COUNT], memory_order_relaxed)
			    : 0;

		last = MAX(last, v);
	}
	*ret = (enum provider_error)(last % 256);
	*ret_wall_us = last / 256;
	return last > 0;
}

const char *stats_error_name(enum provider_error e)
{
	static const char *const names[PROVIDER_ERROR_COUNT] = {
#define PROVIDER_ERROR(name, doc) #name,
#include <aigw/tbl/provider_errors.h>
#undef PROVIDER_ERROR
	};

	return names[e];
}
