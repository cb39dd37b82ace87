#include "hist.h"

/* Power 0 holds the values below HIST_STEPS one by one; power p > 0 those from HIST_STEPS << (p-1)
 * up, in HIST_STEPS steps of 1 << (p-1) each. */
static unsigned power_of(uint64_t ns)
{
	return ns < HIST_STEPS ? 0 : 64 - HIST_STEPS_LOG2 - (unsigned)__builtin_clzll(ns);
}

void hist_add(struct hist *h, uint64_t ns)
{
	unsigned p = power_of(ns);

	h->bucket[p][(p ? ns >> (p - 1) : ns) & (HIST_STEPS - 1)]++;
	h->count++;
	if (ns > h->max)
		h->max = ns;
}

static uint64_t upper_edge(unsigned p, uint64_t step)
{
	return p ? ((HIST_STEPS + step + 1) << (p - 1)) - 1 : step;
}

uint64_t hist_at(const struct hist *h, unsigned permille)
{
	uint64_t want = (h->count * permille + 999) / 1000, seen = 0;

	if (want == 0)
		want = 1;
	for (unsigned p = 0; p < HIST_POWERS; p++) {
		for (unsigned i = 0; i < HIST_STEPS; i++) {
			seen += h->bucket[p][i];
			if (seen >= want) {
				uint64_t edge = upper_edge(p, i);

				return edge < h->max ? edge : h->max;
			}
		}
	}
	return h->max;
}

void hist_print(FILE *to, const char *name, const struct hist *h)
{
	fprintf(to,
		"\"%s\":{\"n\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,"
		"\"max\":%.1f}",
		name, (unsigned long long)h->count, (double)hist_at(h, 500) / 1e3,
		(double)hist_at(h, 900) / 1e3, (double)hist_at(h, 990) / 1e3,
		(double)hist_at(h, 999) / 1e3, (double)h->max / 1e3);
}
