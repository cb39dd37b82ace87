#include "stats/hist.h"

#define STEP_BITS 5 /* log2(HIST_STEPS) */
#define VALUE_MAX ((UINT64_C(1) << (STEP_BITS + HIST_OCTAVES - 1)) - 1)

static unsigned bucket_of(uint64_t us)
{
	unsigned octave;

	us = MIN(us, VALUE_MAX);
	if (us < HIST_STEPS)
		return (unsigned)us;
	octave = 63u - (unsigned)__builtin_clzll(us) - STEP_BITS; /* 0: 32..63 */
	return (octave + 1) * HIST_STEPS + (unsigned)(us >> octave) - HIST_STEPS;
}

uint64_t hist_highest(unsigned bucket)
{
	unsigned octave = bucket / HIST_STEPS;
	uint64_t step = bucket % HIST_STEPS;

	if (octave == 0)
		return step;
	return ((HIST_STEPS + step + 1) << (octave - 1)) - 1;
}

void hist_add(struct hist *h, uint64_t us)
{
	_Atomic uint32_t *c = &h->count[bucket_of(us)];
	uint32_t n = atomic_load_explicit(c, memory_order_relaxed);

	if (n != UINT32_MAX)
		atomic_store_explicit(c, n + 1, memory_order_relaxed);
	if (us > atomic_load_explicit(&h->max, memory_order_relaxed))
		atomic_store_explicit(&h->max, us, memory_order_relaxed);
}

void hist_collect(const struct hist *h, uint64_t sum[static HIST_BUCKETS], uint64_t *max)
{
	uint64_t m = atomic_load_explicit(&h->max, memory_order_relaxed);

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		sum[i] += atomic_load_explicit(&h->count[i], memory_order_relaxed);
	*max = MAX(*max, m);
}

uint64_t hist_quantile(
	const uint64_t sum[static HIST_BUCKETS], uint64_t n, uint64_t max, unsigned permille)
{
	/* n * permille may leave 64 bits only with 10^16 values */
	uint64_t rank = (n * permille + 999) / 1000, seen = 0;

	for (unsigned i = 0; i < HIST_BUCKETS && n; i++) {
		seen += sum[i];
		if (seen >= rank)
			return MIN(hist_highest(i), max);
	}
	return n ? max : 0;
}
