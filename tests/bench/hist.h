/* A histogram of nanoseconds with a bounded relative error of 1/512: 512 steps per power of two.
 * Plain memory, no allocation; about 230 KiB each. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>
#include <stdio.h>

enum { HIST_STEPS_LOG2 = 9, HIST_STEPS = 1 << HIST_STEPS_LOG2, HIST_POWERS = 65 - HIST_STEPS_LOG2 };

struct hist {
	uint64_t count, max;
	uint64_t bucket[HIST_POWERS][HIST_STEPS];
};

void hist_add(struct hist *h, uint64_t ns);

/* The smallest recorded value (to the bucket's upper edge, never over the maximum) that at least
 * permille thousandths of all values do not exceed; 0 when nothing was recorded. */
uint64_t hist_at(const struct hist *h, unsigned permille);

/* "name":{"n":...,"p50":...,"p90":...,"p99":...,"p999":...,"max":...} in microseconds, without a
 * comma around it. */
void hist_print(FILE *to, const char *name, const struct hist *h);

#endif
