#include "admin/metrics.h"

#include "admin/api.h"

#include <aigw/clock.h>

struct writer {
	struct ctld *c;
	struct buf *b;
	const char *name;
	bool store_up;
	struct key_states keys;
};

static void one(const struct writer *w, int64_t value)
{
	prom_sample(w->b, w->name, NULL, 0, value);
}

static void labelled(const struct writer *w, const char *label, const char *text, int64_t value)
{
	const struct prom_label l = { label, slice_str(text) };

	prom_sample(w->b, w->name, &l, 1, value);
}

static int count_keys(struct store_txn *t, void *arg)
{
	return store_key_each(t, api_count_key, arg);
}

/* --- a function per row --------------------------------------------------------------- */

static void metric_build_info(const struct writer *w)
{
	labelled(w, "version", AIGW_VERSION, 1);
}

static void metric_agents(const struct writer *w)
{
	static const char *const states[] = { "up", "down", "behind", "refused", "quarantined" };
	int64_t n[ARRAY_LEN(states)] = { 0 };
	struct list *it, *tmp;

	list_each(it, tmp, &w->c->agents.known)
	{
		const char *state = agent_state(list_entry(it, struct agent, node), &w->c->feed);

		for (size_t i = 0; i < ARRAY_LEN(states); i++)
			n[i] += strcmp(state, states[i]) == 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		labelled(w, "state", states[i], n[i]);
}

static void metric_revision(const struct writer *w)
{
	one(w, w->c->feed.policy ? (int64_t)w->c->feed.policy->revision : 0);
}

static void metric_applies(const struct writer *w)
{
	labelled(w, "result", "applied", (int64_t)w->c->applies.applied);
	labelled(w, "result", "unchanged", (int64_t)w->c->applies.unchanged);
	labelled(w, "result", "refused", (int64_t)w->c->applies.refused);
}

static void metric_keys(const struct writer *w)
{
	if (!w->store_up)
		return;
	labelled(w, "state", "active", w->keys.active);
	labelled(w, "state", "revoked", w->keys.revoked);
}

static void metric_records(const struct writer *w)
{
	one(w, (int64_t)w->c->agents.counts.records);
}

static void metric_batches(const struct writer *w)
{
	for (int v = 0; v < INGEST_VERDICTS; v++)
		labelled(w, "result",
			v == INGEST_BOOKED        ? "booked"
			: v == INGEST_UNAVAILABLE ? "unavailable"
						  : ingest_code((enum ingest_verdict)v),
			(int64_t)w->c->agents.counts.batches[v]);
}

static void histogram(
	const struct writer *w, const struct bucket_bounds *bounds, const struct buckets *b)
{
	struct bucket_sums sums = { .sum_us = 0 };

	buckets_collect(b, &sums);
	prom_histogram(w->b, w->name, NULL, 0, bounds, &sums);
}

static void metric_ingest(const struct writer *w)
{
	histogram(w, &usage_commit_bounds, &w->c->agents.counts.commit);
}

static void metric_lag(const struct writer *w)
{
	usec now = clock_wall_us(), lag = 0;
	struct list *it, *tmp;

	list_each(it, tmp, &w->c->agents.known)
	{
		const struct agent *a = list_entry(it, struct agent, node);

		if (a->session && a->spool_oldest_us)
			lag = MAX(lag, now - (usec)a->spool_oldest_us);
	}
	prom_sample_us(w->b, w->name, NULL, 0, lag);
}

static void metric_traces(const struct writer *w)
{
	struct traces_counts n = traces_counts(w->c->agents.traces);

	labelled(w, "result", "kept", (int64_t)n.kept);
	labelled(w, "result", "lost", (int64_t)n.lost);
}

static void metric_store_up(const struct writer *w)
{
	one(w, w->store_up);
}

static void metric_store_used(const struct writer *w)
{
	one(w, (int64_t)store_size(w->c->store).used_bytes);
}

static void metric_disk(const struct writer *w)
{
	prom_sample_us(w->b, w->name, NULL, 0, (usec)w->c->disk_percent * USEC_PER_S / 100);
}

static void metric_query(const struct writer *w)
{
	histogram(w, &api_query_bounds, &w->c->query_times);
}

static void metric_process(const struct writer *w)
{
	prom_process(w->b, w->c->started_us);
}

void ctld_metrics_render(struct ctld *c, struct buf *b)
{
	static const struct row {
		const char *name, *type, *doc;
		void (*put)(const struct writer *w);
	} rows[] = {
#define CTLD_METRIC(id, name, type, labels, doc) { name, type, doc, metric_##id },
#include <aigw/tbl/ctld_metrics.h>
#undef CTLD_METRIC
	};
	struct writer w = { .c = c, .b = b };

	w.store_up = store_read(c->store, count_keys, &w.keys) >= 0;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		w.name = rows[i].name;
		if (rows[i].type[0])
			prom_family(b, rows[i].name, rows[i].type, rows[i].doc);
		rows[i].put(&w);
	}
}
