/* One histogram of times: log-linear, 32 steps per octave, so a value is known to 3 %. One thread
 * adds, any thread reads. */
#ifndef AGENTD_STATS_HIST_H
#define AGENTD_STATS_HIST_H

#include <aigw/base.h>
#include <stdatomic.h>

#define HIST_STEPS 32u
#define HIST_OCTAVES                                                                               \
	32u /* the first is 0..31 us one by one; the last ends at 2^36 us, 19 hours                \
	     */
#define HIST_BUCKETS (HIST_STEPS * HIST_OCTAVES)

struct hist {
	_Atomic uint64_t max;
	_Atomic uint32_t count[HIST_BUCKETS]; /* stays at UINT32_MAX when it gets there */
};

void hist_add(struct hist *h, uint64_t us); /* the owning thread */
/* Adds h's counts to sum; what is larger than *max replaces it. Any thread. */
void hist_collect(const struct hist *h, uint64_t sum[static HIST_BUCKETS], uint64_t *max);
uint64_t hist_highest(unsigned bucket); /* largest value that falls into it */
/* Smallest value (upper end of its bucket, not above max) that `permille` of all n values do not
 * exceed; 0 if n is 0. */
uint64_t hist_quantile(
	const uint64_t sum[static HIST_BUCKETS], uint64_t n, uint64_t max, unsigned permille);

#endif
