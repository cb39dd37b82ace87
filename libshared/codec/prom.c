#include <aigw/prom.h>

/* --- histograms ----------------------------------------------------------------------- */

void buckets_add(struct buckets *b, const struct bucket_bounds *bounds, usec value)
{
	unsigned i = 0;

	while (i < bounds->n && value > bounds->us[i])
		i++;
	atomic_store_explicit(&b->count[i],
		atomic_load_explicit(&b->count[i], memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_store_explicit(&b->sum_us,
		atomic_load_explicit(&b->sum_us, memory_order_relaxed) + MAX(value, (usec)0),
		memory_order_relaxed);
}

void buckets_collect(const struct buckets *b, struct bucket_sums *to)
{
	for (unsigned i = 0; i <= BUCKETS_MAX; i++)
		to->count[i] += atomic_load_explicit(&b->count[i], memory_order_relaxed);
	to->sum_us += atomic_load_explicit(&b->sum_us, memory_order_relaxed);
}

/* --- text ----------------------------------------------------------------------------- */

static void put_escaped(struct buf *b, struct slice s, bool quotes)
{
	size_t from = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c != '\\' && c != '\n' && (c != '"' || !quotes))
			continue;
		(void)buf_append(b, s.p + from, i - from);
		(void)buf_char(b, '\\');
		(void)buf_char(b, c == '\n' ? 'n' : c);
		from = i + 1;
	}
	(void)buf_append(b, s.p + from, s.n - from);
}

void prom_family(struct buf *b, const char *name, const char *type, const char *help)
{
	(void)buf_str(b, "# HELP ");
	(void)buf_str(b, name);
	(void)buf_char(b, ' ');
	put_escaped(b, slice_str(help), false);
	(void)buf_str(b, "\n# TYPE ");
	(void)buf_str(b, name);
	(void)buf_char(b, ' ');
	(void)buf_str(b, type);
	(void)buf_char(b, '\n');
}

static void put_labels(struct buf *b, const struct prom_label *l, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		if (!l[i].value.n)
			continue;
		(void)buf_char(b, any ? ',' : '{');
		any = true;
		(void)buf_str(b, l[i].name);
		(void)buf_str(b, "=\"");
		put_escaped(b, l[i].value, true);
		(void)buf_char(b, '"');
	}
	if (any)
		(void)buf_char(b, '}');
	(void)buf_char(b, ' ');
}

static void put_decimal(struct buf *b, int64_t value, int64_t unit)
{
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value, one = (uint64_t)unit;

	if (value < 0)
		(void)buf_char(b, '-');
	(void)buf_u64(b, left / one);
	(void)buf_char(b, '.');
	left %= one;
	for (one /= 10; one; one /= 10)
		(void)buf_char(b, (char)('0' + left / one % 10));
}

void prom_sample(
	struct buf *b, const char *name, const struct prom_label *l, unsigned n, int64_t value)
{
	(void)buf_str(b, name);
	put_labels(b, l, n);
	(void)buf_i64(b, value);
	(void)buf_char(b, '\n');
}

void prom_sample_us(
	struct buf *b, const char *name, const struct prom_label *l, unsigned n, usec value)
{
	(void)buf_str(b, name);
	put_labels(b, l, n);
	put_decimal(b, value, USEC_PER_S);
	(void)buf_char(b, '\n');
}

void prom_sample_nano(
	struct buf *b, const char *name, const struct prom_label *l, unsigned n, int64_t value)
{
	(void)buf_str(b, name);
	put_labels(b, l, n);
	put_decimal(b, value, 1000000000);
	(void)buf_char(b, '\n');
}

/* Without trailing zeros, as others write them: 0.00002, 0.25, 10. */
static size_t format_bound(usec us, char out[static 32])
{
	struct buf b = buf_over(out, 32);

	put_decimal(&b, us, USEC_PER_S);
	while (b.p[b.n - 1] == '0')
		b.n--;
	if (b.p[b.n - 1] == '.')
		b.n--;
	return b.n;
}

#define LABELS_MAX 7

void prom_sample_inf(struct buf *b, const char *name, const struct prom_label *l, unsigned n)
{
	(void)buf_str(b, name);
	put_labels(b, l, n);
	(void)buf_str(b, "+Inf\n");
}

void prom_histogram(struct buf *b, const char *name, const struct prom_label *l, unsigned n,
	const struct bucket_bounds *bounds, const struct bucket_sums *sums)
{
	struct prom_label all[LABELS_MAX + 1];
	char text[32], full[128];
	uint64_t count = 0;

	ASSERT(n <= LABELS_MAX);
	if (n)
		memcpy(all, l, n * sizeof(*all));
	(void)snprintf(full, sizeof(full), "%s_bucket", name);
	for (unsigned i = 0; i <= bounds->n; i++) {
		size_t k = i < bounds->n ? format_bound(bounds->us[i], text) : 0;

		count += sums->count[i];
		all[n] = (struct prom_label){ "le", k ? slice_of(text, k) : SLICE("+Inf") };
		prom_sample(b, full, all, n + 1, (int64_t)count);
	}
	(void)snprintf(full, sizeof(full), "%s_sum", name);
	prom_sample_us(b, full, l, n, sums->sum_us);
	(void)snprintf(full, sizeof(full), "%s_count", name);
	prom_sample(b, full, l, n, (int64_t)count);
}
