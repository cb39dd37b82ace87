#include "statfs/metrics.h"

#include "stats/series.h"

struct writer {
	const struct render *r;
	struct buf *b;
	const char *name; /* of the row now written */
	bool all;         /* METRICS_ALL */
	/* Without the label project: sums by place of times. NULL if all, or without memory. */
	struct series_traffic_sum *sums;
	uint32_t n_sums;
};

static const struct series *series_of(const struct writer *w)
{
	return stats_series_read(w->r->stats);
}

static struct slice slot_name(const struct writer *w, enum stat_kind kind, uint16_t slot)
{
	return slot == SERIES_NONE ? SLICE_EMPTY : stats_slot_name(w->r->stats, kind, slot);
}

static void one(const struct writer *w, int64_t value)
{
	prom_sample(w->b, w->name, NULL, 0, value);
}

/* --- by model, provider and project --------------------------------------------------- */

struct traffic_row {
	struct prom_label labels[4]; /* the fourth is the caller's */
	const struct series_traffic_sum *sum;
};

typedef void put_traffic_fn(const struct writer *w, struct traffic_row *row);

static void each_traffic(const struct writer *w, put_traffic_fn *put)
{
	const struct series *s = series_of(w);
	enum series_kind kind = w->all ? SERIES_TRAFFIC : SERIES_TIMES;
	uint32_t n = w->all ? series_count(s, kind) : w->n_sums;

	for (uint32_t i = 0; i < n && !w->b->err; i++) {
		struct series_key key = series_key(s, kind, i);
		struct series_traffic_sum own;
		struct traffic_row row = { .labels = {
						   { "model", slot_name(w, STAT_MODEL, key.model) },
						   { "provider", slot_name(w, STAT_PROVIDER,
									 key.provider) },
					   } };

		if (w->all) {
			series_read_traffic(s, i, &own);
			row.sum = &own;
			row.labels[2] = (struct prom_label){ "project",
				slot_name(w, STAT_PROJECT, key.project) };
		} else {
			row.sum = &w->sums[i];
		}
		put(w, &row);
	}
}

static void put_codes(const struct writer *w, struct traffic_row *row)
{
	static const struct slice names[SERIES_CODES] = {
		[SERIES_2xx] = SLICE_INIT("2xx"),
		[SERIES_4xx] = SLICE_INIT("4xx"),
		[SERIES_429] = SLICE_INIT("429"),
		[SERIES_5xx] = SLICE_INIT("5xx"),
		[SERIES_cut] = SLICE_INIT("cut"),
	};

	for (int i = 0; i < SERIES_CODES; i++) {
		row->labels[3] = (struct prom_label){ "code", names[i] };
		prom_sample(w->b, w->name, row->labels, 4, row->sum->code[i]);
	}
}

static void put_tokens(const struct writer *w, struct traffic_row *row)
{
	static const struct slice names[SERIES_TOKENS] = {
		[SERIES_input] = SLICE_INIT("input"),
		[SERIES_cached_input] = SLICE_INIT("cached_input"),
		[SERIES_cache_write] = SLICE_INIT("cache_write"),
		[SERIES_output] = SLICE_INIT("output"),
		[SERIES_reasoning] = SLICE_INIT("reasoning"),
	};

	/* What was refused before its model was known has none. */
	if (row->labels[0].value.n == 0)
		return;
	for (int i = 0; i < SERIES_TOKENS; i++) {
		row->labels[3] = (struct prom_label){ "type", names[i] };
		prom_sample(w->b, w->name, row->labels, 4, row->sum->tokens[i]);
	}
}

static void put_costs(const struct writer *w, struct traffic_row *row)
{
	if (row->labels[0].value.n == 0)
		return;
	prom_sample_nano(w->b, w->name, row->labels, 3, row->sum->cost_nano);
}

static void metric_requests(const struct writer *w)
{
	each_traffic(w, put_codes);
}

static void metric_tokens(const struct writer *w)
{
	each_traffic(w, put_tokens);
}

static void metric_cost(const struct writer *w)
{
	each_traffic(w, put_costs);
}

/* --- by model and provider ------------------------------------------------------------ */

static void each_times(const struct writer *w, int which)
{
	const struct series *s = series_of(w);
	uint32_t n = series_count(s, SERIES_TIMES);

	for (uint32_t i = 0; i < n && !w->b->err; i++) {
		struct series_key key = series_key(s, SERIES_TIMES, i);
		const struct prom_label labels[] = {
			{ "model", slot_name(w, STAT_MODEL, key.model) },
			{ "provider", slot_name(w, STAT_PROVIDER, key.provider) },
		};
		struct series_times_sum sum;

		if (key.model == SERIES_NONE || key.provider == SERIES_NONE)
			continue;
		series_read_times(s, i, &sum);
		if (which < SERIES_TIME_COUNT)
			prom_histogram(
				w->b, w->name, labels, 2, &series_bounds[which], &sum.of[which]);
		else
			prom_sample(w->b, w->name, labels, 2, sum.usage_missing);
	}
}

static void metric_duration(const struct writer *w)
{
	each_times(w, SERIES_duration);
}

static void metric_ttft(const struct writer *w)
{
	each_times(w, SERIES_ttft);
}

static void metric_per_token(const struct writer *w)
{
	each_times(w, SERIES_per_token);
}

static void metric_usage_missing(const struct writer *w)
{
	each_times(w, SERIES_TIME_COUNT);
}

/* --- by target ------------------------------------------------------------------------ */

/* Filled by next_target(); begins zeroed. */
struct target_row {
	uint32_t model, at;          /* of the next one */
	uint32_t n;                  /* how many there were, with this one */
	uint32_t target;             /* index in the document */
	struct prom_label labels[4]; /* the fourth is the caller's */
};

static bool next_target(const struct writer *w, struct target_row *row)
{
	const struct policy_doc *d = w->r->policy ? w->r->policy->doc : NULL;
	const struct policy_target *t;

	while (d && row->model < d->n_models && row->at == d->models[row->model].n_targets) {
		row->model++;
		row->at = 0;
	}
	if (!d || row->model == d->n_models || w->b->err)
		return false;
	t = &d->models[row->model].targets[row->at++];
	row->n++;
	row->target = (uint32_t)(t - d->targets);
	row->labels[0] = (struct prom_label){ "model", d->models[row->model].name };
	row->labels[1] = (struct prom_label){ "provider", d->providers[t->provider].name };
	row->labels[2] = (struct prom_label){ "target", t->model };
	return true;
}

static uint32_t max_targets(const struct writer *w)
{
	return series_max(series_of(w), SERIES_TIMES);
}

/* `n`: how many targets stand so. */
static void put_states(
	const struct writer *w, struct prom_label *l, const uint32_t n[static TARGET_STATE_COUNT])
{
	for (int s = 0; s < TARGET_STATE_COUNT; s++) {
		l[3] = (struct prom_label){ "state",
			slice_str(target_state_name((enum target_state)s)) };
		prom_sample(w->b, w->name, l, 4, n[s]);
	}
}

static void metric_target_state(const struct writer *w)
{
	struct target_row row = { 0 };
	struct prom_label other[4] = { { "model", SLICE("_other") },
		{ "provider", SLICE("_other") }, { "target", SLICE("_other") } };
	uint32_t others[TARGET_STATE_COUNT] = { 0 };
	usec recover;

	while (next_target(w, &row)) {
		uint32_t own[TARGET_STATE_COUNT] = { 0 };
		enum target_state s = render_target(w->r, row.target, &recover);

		if (row.n > max_targets(w)) {
			others[s]++;
			continue;
		}
		own[s] = 1;
		put_states(w, row.labels, own);
	}
	if (row.n > max_targets(w))
		put_states(w, other, others);
}

static void metric_target_recover(const struct writer *w)
{
	struct target_row row = { 0 };
	usec recover;

	while (row.n < max_targets(w) && next_target(w, &row)) {
		(void)render_target(w->r, row.target, &recover);
		if (recover == TARGET_NEVER)
			prom_sample_inf(w->b, w->name, row.labels, 3);
		else
			prom_sample_us(w->b, w->name, row.labels, 3, recover);
	}
}

/* --- of one kind ---------------------------------------------------------------------- */

/* Slot 0 counts what is beyond the limit of objects: shown once there is something. */
static bool is_shown(const struct writer *w, enum stat_kind kind, uint32_t slot)
{
	return slot != 0 || stats_slots(w->r->stats, kind) == STAT_MAX_OBJECTS;
}

static void metric_in_flight(const struct writer *w)
{
	for (uint32_t i = 0; i < stats_slots(w->r->stats, STAT_MODEL); i++) {
		const struct prom_label l = { "model",
			stats_slot_name(w->r->stats, STAT_MODEL, i) };

		if (is_shown(w, STAT_MODEL, i))
			prom_sample(w->b, w->name, &l, 1,
				stats_sum(w->r->stats, STAT_MODEL, i, STAT_inflight));
	}
}

struct reasons {
	int64_t auth, model, overload, concurrency, invalid;
};

static struct reasons reasons_of(const struct writer *w, enum stat_kind kind, uint32_t slot)
{
	int64_t c[STAT_COUNTER_COUNT];

	stats_read(w->r->stats, kind, slot, c);
	return (struct reasons){ c[STAT_rejected_auth], c[STAT_rejected_model],
		c[STAT_rejected_overload], c[STAT_rejected_concurrency],
		c[STAT_client_errors] - c[STAT_rejected_model] };
}

static void put_reasons(const struct writer *w, struct slice project, struct reasons r, bool named)
{
	struct prom_label l[2] = { { "project", project } };

	if (!named) { /* with an identity it can't be for want of one */
		l[1] = (struct prom_label){ "reason", SLICE("auth") };
		prom_sample(w->b, w->name, l, 2, r.auth);
	}
	l[1] = (struct prom_label){ "reason", SLICE("model") };
	prom_sample(w->b, w->name, l, 2, r.model);
	l[1] = (struct prom_label){ "reason", SLICE("overload") };
	prom_sample(w->b, w->name, l, 2, r.overload);
	l[1] = (struct prom_label){ "reason", SLICE("concurrency") };
	prom_sample(w->b, w->name, l, 2, r.concurrency);
	l[1] = (struct prom_label){ "reason", SLICE("invalid") };
	prom_sample(w->b, w->name, l, 2, r.invalid);
}

/* What no project is known for stands without that label. */
static void metric_rejected(const struct writer *w)
{
	struct reasons left = reasons_of(w, STAT_GLOBAL, 0);

	for (uint32_t i = 0; w->all && i < stats_slots(w->r->stats, STAT_PROJECT); i++) {
		struct reasons r = reasons_of(w, STAT_PROJECT, i);

		/* Both are read while they move. */
		left.model = MAX(left.model - r.model, (int64_t)0);
		left.overload = MAX(left.overload - r.overload, (int64_t)0);
		left.concurrency = MAX(left.concurrency - r.concurrency, (int64_t)0);
		left.invalid = MAX(left.invalid - r.invalid, (int64_t)0);
		if (is_shown(w, STAT_PROJECT, i))
			put_reasons(w, stats_slot_name(w->r->stats, STAT_PROJECT, i), r, true);
	}
	put_reasons(w, SLICE_EMPTY, left, false);
}

/* `put` gets the provider's label in l[0]; l[1] is its own. */
typedef void put_provider_fn(
	const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *counters);

static void each_provider(const struct writer *w, put_provider_fn *put)
{
	for (uint32_t i = 0; i < stats_slots(w->r->stats, STAT_PROVIDER); i++) {
		struct prom_label l[2] = { { "provider",
			stats_slot_name(w->r->stats, STAT_PROVIDER, i) } };
		int64_t c[STAT_COUNTER_COUNT];

		if (!is_shown(w, STAT_PROVIDER, i))
			continue;
		stats_read(w->r->stats, STAT_PROVIDER, i, c);
		put(w, i, l, c);
	}
}

static void put_two(const struct writer *w, struct prom_label *l, const char *label,
	const char *first, int64_t a, const char *second, int64_t b)
{
	l[1] = (struct prom_label){ label, slice_str(first) };
	prom_sample(w->b, w->name, l, 2, a);
	l[1].value = slice_str(second);
	prom_sample(w->b, w->name, l, 2, b);
}

static void put_retries(
	const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	(void)slot;
	/* Both are read while they move. */
	put_two(w, l, "reason", "stale", c[STAT_stale_replaced], "failed",
		MAX(c[STAT_retries] - c[STAT_stale_replaced], (int64_t)0));
}

/* Targets that get no calls because they failed. */
static void put_circuit(
	const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	const struct policy *p = w->r->policy;
	int64_t open = 0;
	usec recover;

	(void)c;
	for (uint32_t i = 0; p && i < p->doc->n_targets; i++) {
		enum target_state s;

		if (p->provider_stat[p->doc->targets[i].provider] != slot)
			continue;
		s = health_state(w->r->health, p->target_place[i], w->r->mono_us, &recover);
		open += s == TARGET_OPEN || s == TARGET_PROBING;
	}
	prom_sample(w->b, w->name, l, 1, open);
}

static void put_up(const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	(void)c;
	prom_sample(w->b, w->name, l, 1, w->r->watch->failing_since[slot % STAT_MAX_OBJECTS] == 0);
}

/* Of its targets the one that has least left, of those whose models ask for it. */
static void put_remaining(
	const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	const struct policy *p = w->r->policy;
	uint32_t left = HEALTH_LEFT_ALL;
	bool asked = false;

	(void)c;
	for (uint32_t i = 0; p && i < p->doc->n_models; i++) {
		const struct policy_model *m = &p->doc->models[i];

		if (m->strategy != STRATEGY_headroom)
			continue;
		for (uint32_t k = 0; k < m->n_targets; k++) {
			const struct policy_target *t = &m->targets[k];
			uint32_t target = (uint32_t)(t - p->doc->targets);

			if (p->provider_stat[t->provider] != slot)
				continue;
			asked = true;
			left = MIN(left, render_numbers(w->r, target).left);
		}
	}
	if (asked)
		prom_sample_nano(
			w->b, w->name, l, 1, (int64_t)left * (1000000000 / HEALTH_LEFT_ALL));
}

/* Of each of its credentials, where it is probed. */
static void put_probes(
	const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	const struct policy *p = w->r->policy;
	struct health_probe last;
	int64_t good = 0, others = 0;

	(void)c;
	for (uint32_t i = 0; p && i < p->doc->n_providers; i++) {
		const struct policy_provider *q = &p->doc->providers[i];

		if (p->provider_stat[i] != slot || !q->health.probe.n)
			continue;
		for (uint32_t k = 0; k < MAX(q->n_credentials, 1u); k++) {
			uint32_t place = p->probe_place[i];

			if (q->n_credentials)
				place = p->credential_place[q->credentials - p->doc->credentials +
							    k];
			(void)health_last_probe(w->r->health, place, &last);
			good += last.good;
			others += last.others;
		}
	}
	put_two(w, l, "result", "good", good, "other", others);
}

static void put_connections(
	const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	(void)slot;
	put_two(w, l, "state", "active", MAX(c[STAT_conns_open] - c[STAT_conns_idle], (int64_t)0),
		"idle", c[STAT_conns_idle]);
}

static void put_cut(const struct writer *w, uint32_t slot, struct prom_label *l, const int64_t *c)
{
	(void)slot;
	put_two(w, l, "side", "client", c[STAT_client_gone], "upstream", c[STAT_streams_cut]);
}

static void metric_retries(const struct writer *w)
{
	each_provider(w, put_retries);
}

static void metric_fallbacks(const struct writer *w)
{
	const struct series *s = series_of(w);
	uint32_t n = series_count(s, SERIES_FALLBACKS);

	for (uint32_t i = 0; i < n && !w->b->err; i++) {
		struct series_key key = series_key(s, SERIES_FALLBACKS, i);
		const struct prom_label labels[] = {
			{ "from", slot_name(w, STAT_PROVIDER, key.model) },
			{ "to", slot_name(w, STAT_PROVIDER, key.provider) },
		};

		prom_sample(w->b, w->name, labels, 2, series_read_fallbacks(s, i));
	}
}

static void metric_circuit_open(const struct writer *w)
{
	each_provider(w, put_circuit);
}

static void metric_provider_up(const struct writer *w)
{
	each_provider(w, put_up);
}

static void metric_remaining(const struct writer *w)
{
	each_provider(w, put_remaining);
}

static void metric_probes(const struct writer *w)
{
	each_provider(w, put_probes);
}

static void metric_connections(const struct writer *w)
{
	each_provider(w, put_connections);
}

static void metric_cut(const struct writer *w)
{
	each_provider(w, put_cut);
}

/* --- of the agent --------------------------------------------------------------------- */

static void metric_build_info(const struct writer *w)
{
	const struct prom_label l = { "version", SLICE(AIGW_VERSION) };

	prom_sample(w->b, w->name, &l, 1, 1);
}

static void put_own(const struct writer *w, enum series_own which)
{
	struct bucket_sums sums;

	series_read_own(series_of(w), which, &sums);
	prom_histogram(w->b, w->name, NULL, 0, &series_own_bounds[which], &sums);
}

static void metric_overhead(const struct writer *w)
{
	put_own(w, SERIES_overhead);
}

static void metric_loop_lag(const struct writer *w)
{
	put_own(w, SERIES_loop_lag);
}

static void metric_spool_records(const struct writer *w)
{
	one(w, (int64_t)w->r->info.spool.records);
}

static void metric_spool_bytes(const struct writer *w)
{
	one(w, (int64_t)w->r->info.spool.used_bytes);
}

static void metric_spool_limit(const struct writer *w)
{
	one(w, (int64_t)w->r->info.spool.map_bytes);
}

static void metric_spool_oldest(const struct writer *w)
{
	prom_sample_us(w->b, w->name, NULL, 0, render_spool_age(w->r));
}

static void metric_connected(const struct writer *w)
{
	one(w, strcmp(w->r->info.control, "connected") == 0);
}

static void metric_revision(const struct writer *w)
{
	one(w, w->r->policy ? (int64_t)w->r->policy->revision : 0);
}

static void metric_policy_errors(const struct writer *w)
{
	one(w, (int64_t)w->r->info.policies_refused);
}

static void metric_process(const struct writer *w)
{
	prom_process(w->b, w->r->info.start_wall_us);
}

/* --- all ------------------------------------------------------------------------------ */

enum scope { OPEN, SUMS, CLOSED };

static const struct {
	const char *name, *type, *doc;
	enum scope scope;
	void (*put)(const struct writer *w);
} metrics[] = {
#define METRIC(id, name, type, labels, scope, doc) { name, type, doc, scope, metric_##id },
#include <aigw/tbl/metrics.h>
#undef METRIC
};

/* "aigw_cost_usd_total", in the policy's currency. */
static void cost_name(const struct render *r, const char *pattern, char out[static 64])
{
	struct slice currency = r->policy ? r->policy->doc->currency : SLICE("usd");
	char *at;

	(void)snprintf(out, 64, "%s", pattern);
	at = strstr(out, "usd");
	for (size_t i = 0; at && i < 3 && i < currency.n; i++)
		at[i] = (char)(currency.p[i] | 0x20);
}

/* Traffic by place of times: who looks without a right sees no project. */
static void sum_traffic(struct writer *w)
{
	const struct series *s = series_of(w);
	uint32_t n = series_count(s, SERIES_TRAFFIC);

	w->n_sums = series_count(s, SERIES_TIMES);
	w->sums = calloc(w->n_sums, sizeof(*w->sums));
	if (!w->sums) {
		w->n_sums = 0;
		w->b->err = -ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = series_times_of(s, i);
		struct series_traffic_sum *to = &w->sums[at < w->n_sums ? at : 0], sum;

		series_read_traffic(s, i, &sum);
		for (int k = 0; k < SERIES_CODES; k++)
			to->code[k] += sum.code[k];
		for (int k = 0; k < SERIES_TOKENS; k++)
			to->tokens[k] += sum.tokens[k];
	}
}

void metrics_render(const struct render *r, enum metrics_scope scope, struct buf *b)
{
	struct writer w = { .r = r, .b = b, .all = scope == METRICS_ALL };
	char name[64];

	if (!w.all)
		sum_traffic(&w);
	for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
		if (!w.all && metrics[i].scope == CLOSED)
			continue;
		w.name = metrics[i].name;
		if (metrics[i].put == metric_cost) {
			cost_name(r, metrics[i].name, name);
			w.name = name;
		}
		if (metrics[i].type[0])
			prom_family(b, w.name, metrics[i].type, metrics[i].doc);
		metrics[i].put(&w);
	}
	free(w.sums);
}
