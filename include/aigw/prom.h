/* Prometheus text exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats,
 * 2026), and histograms with fixed bounds whose values go out as such. Writing: any thread, into a
 * buf that tells at the end whether all fitted. */
#ifndef AIGW_PROM_H
#define AIGW_PROM_H

#include <aigw/buf.h>
#include <stdatomic.h>

#define PROM_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define BUCKETS_MAX       16

/* --- histograms: one thread adds, any thread reads ------------------------------------ */

struct bucket_bounds {
	unsigned n;
	usec us[BUCKETS_MAX]; /* inclusive upper bounds, growing; +Inf follows */
};

struct buckets {
	_Atomic uint64_t count[BUCKETS_MAX + 1]; /* not cumulative */
	_Atomic int64_t sum_us;
};

struct bucket_sums {
	uint64_t count[BUCKETS_MAX + 1];
	int64_t sum_us;
};

void buckets_add(struct buckets *b, const struct bucket_bounds *bounds, usec value);
void buckets_collect(const struct buckets *b, struct bucket_sums *to); /* adds */

/* --- text ----------------------------------------------------------------------------- */

struct prom_label {
	const char *name;
	struct slice
		value; /* written escaped; empty: the label is left out, as the format has it */
};

/* The lines # HELP and # TYPE; all samples of the family have to follow at once. */
void prom_family(struct buf *b, const char *name, const char *type, const char *help);
void prom_sample(
	struct buf *b, const char *name, const struct prom_label *l, unsigned n, int64_t value);
void prom_sample_us(struct buf *b, const char *name, const struct prom_label *l, unsigned n,
	usec value); /* as seconds, all six decimals */
void prom_sample_nano(struct buf *b, const char *name, const struct prom_label *l, unsigned n,
	int64_t value); /* in units, all nine decimals */
void prom_sample_inf(
	struct buf *b, const char *name, const struct prom_label *l, unsigned n); /* +Inf */
void prom_histogram(struct buf *b, const char *name, const struct prom_label *l, unsigned n,
	const struct bucket_bounds *bounds, const struct bucket_sums *sums);
/* process_*: what client libraries say of their own process (prometheus.io/docs/instrumenting/
 * writing_clientlibs, "process metrics"). What the host does not tell is left out. Reads /proc. */
void prom_process(struct buf *b, usec start_wall_us);

#endif
