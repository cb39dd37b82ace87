/* Tables for people: aligned, with a header. Scripts use the keyed files. */
#include "statfs/render.h"

#include <aigw/text.h>

void render_age(usec d, char out[static 32])
{
	int64_t s = MAX(d, (usec)0) / USEC_PER_S, m = s / 60, h = m / 60;

	if (s < 60)
		(void)snprintf(out, 32, "%" PRId64 "s", s);
	else if (m < 60)
		(void)snprintf(out, 32, "%" PRId64 "m%02" PRId64 "s", m, s % 60);
	else if (h < 24)
		(void)snprintf(out, 32, "%" PRId64 "h%02" PRId64 "m", h, m % 60);
	else
		(void)snprintf(out, 32, "%" PRId64 "d%02" PRId64 "h", h / 24, h % 24);
}

void render_money(const struct render *r, int64_t nano, unsigned decimals, char out[static 48])
{
	struct slice currency = r->policy ? r->policy->doc->currency : SLICE("USD");
	bool dollars = slice_eq(currency, SLICE("USD"));
	char text[32];

	text_format_nano(nano, 9, text);
	text[strlen(text) - (9 - MIN(decimals, 9u))] = '\0';
	(void)snprintf(out, 48, "%s" SLICE_FMT "%s%s", dollars ? "$" : "",
		(int)(dollars ? 0 : MIN(currency.n, (size_t)8)), currency.p, dollars ? "" : " ",
		text);
}

__extension__ typedef __int128 wide; /* products of amounts and microseconds */

/* n per `unit` of time, in tenths. */
static int64_t tenths_per(int64_t n, usec over_us, usec unit_us)
{
	return (int64_t)((wide)n * 10 * unit_us / over_us);
}

static int64_t nano_per_minute(int64_t nano, usec over_us)
{
	return (int64_t)((wide)nano * 60 * USEC_PER_S / over_us);
}

static void format_tenths(int64_t tenths, char out[static 32])
{
	(void)snprintf(
		out, 32, "%" PRId64 ".%" PRId64, tenths / 10, (tenths < 0 ? -tenths : tenths) % 10);
}

/* "0.31s", or - if nothing was measured */
static void format_seconds(const struct stat_quantiles *q, uint64_t us, char out[static 32])
{
	uint64_t hundredths = (us + 5000) / 10000;

	if (q->n == 0)
		(void)snprintf(out, 32, "-");
	else
		(void)snprintf(
			out, 32, "%" PRIu64 ".%02" PRIu64 "s", hundredths / 100, hundredths % 100);
}

/* Of the calls that came to an end at the provider: the share that did so well. */
static void format_ok(const int64_t *all, char out[static 32])
{
	int64_t ends = all[STAT_ok] + all[STAT_upstream_errors] + all[STAT_streams_cut];

	if (ends <= 0)
		(void)snprintf(out, 32, "-");
	else
		format_tenths(all[STAT_ok] * 1000 / ends, out);
}

static void put_model(const struct render *r, const struct node_view *v, struct node model,
	const char *name, int width, struct buf *b)
{
	char rate[32], ok[32], ttft50[32], ttft95[32], p95[32], tokens[32], money[32];
	int i = node_object_index(v, STAT_MODEL, model.object);
	int64_t all[STAT_COUNTER_COUNT];
	struct stat_quantiles ttft, duration;
	const struct policy_target *t;
	const struct policy_model *m;
	char more[16] = " 100%";
	struct watch_rate w;
	char provider[NODE_NAME_MAX + 1];

	if (i < 0)
		return;
	m = &v->policy->doc->models[i];
	t = &m->targets[0];
	(void)node_encode_name(v->policy->doc->providers[t->provider].name, provider);
	if (m->n_targets > 1)
		(void)snprintf(more, sizeof(more), " +%" PRIu32, m->n_targets - 1);
	stats_read(r->stats, STAT_MODEL, model.object, all);
	stats_quantiles(r->stats, STAT_MODEL, model.object, HIST_ttft, &ttft);
	stats_quantiles(r->stats, STAT_MODEL, model.object, HIST_duration, &duration);
	watch_rate(r->watch, WATCH_MODEL, model.object, r->mono_us, &w);
	format_tenths(tenths_per(w.d.requests, w.over_us, USEC_PER_S), rate);
	format_ok(all, ok);
	format_seconds(&ttft, ttft.p50, ttft50);
	format_seconds(&ttft, ttft.p95, ttft95);
	format_seconds(&duration, duration.p95, p95);
	(void)snprintf(tokens, sizeof(tokens), "%" PRId64,
		tenths_per(w.d.tokens_out, w.over_us, USEC_PER_S) / 10);
	text_format_nano(nano_per_minute(w.d.cost_nano, w.over_us), 9, money);
	money[strlen(money) - 5] = '\0'; /* four decimals */
	(void)buf_printf(b, "%-*s %7s %5s %8s %8s %7s %7s %8s   %s%s\n", width, name, rate, ok,
		ttft50, ttft95, p95, tokens, money, provider, more);
}

static void put_summary_head(const struct render *r, struct buf *b)
{
	char up[32], rate[32], money[48];
	struct watch_rate w;

	render_age(r->mono_us - r->info.start_mono_us, up);
	watch_rate(r->watch, WATCH_GLOBAL, 0, r->mono_us, &w);
	format_tenths(tenths_per(w.d.requests, w.over_us, USEC_PER_S), rate);
	render_money(r, watch_cost_today(r->watch), 2, money);
	(void)buf_printf(b, "aigw %s  up %s  rev %" PRIu64 "  control %s  durability %s%s",
		r->info.agent_id, up, r->policy ? r->policy->revision : 0, r->info.control,
		r->info.strict ? "strict" : "relaxed", r->info.draining ? "  draining" : "");
	(void)buf_printf(b,
		"  spool %" PRIu64 "        %s req/s  %" PRId64 " in flight  %s today\n",
		r->info.spool.records, rate, stats_sum(r->stats, STAT_GLOBAL, 0, STAT_inflight),
		money);
}

void render_summary(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = { r->stats, r->policy, r->keys };
	struct node dir = { NODE_models, 0 }, model;
	char name[NODE_NAME_MAX + 1];
	size_t width = 12;
	uint64_t pos = 0;

	(void)n;
	put_summary_head(r, b);
	while (node_next(&v, dir, &pos, &model, name))
		width = MAX(width, MIN(strlen(name), (size_t)48));
	(void)buf_printf(b, "%-*s %7s %5s %8s %8s %7s %7s %8s   %s\n", (int)width, "MODEL", "REQ/S",
		"OK%", "TTFT50", "TTFT95", "P95", "TOK/S", "COST/MIN", "TARGETS");
	for (pos = 0; node_next(&v, dir, &pos, &model, name);)
		put_model(r, &v, model, name, (int)width, b);
}

/* --- inflight ------------------------------------------------------------------------- */

static const char *slot_state_name(const struct slot *s)
{
	switch ((enum slot_state)atomic_load_explicit(&s->state, memory_order_relaxed)) {
	case SLOT_FREE: return "free";
	case SLOT_ADMITTED: return "admitted";
	case SLOT_SENT:
		if (s->v.first_byte_us == 0)
			return "waiting";
		return s->v.stream ? "streaming" : "answering";
	case SLOT_SETTLED: return "settled";
	}
	return "-";
}

/* A text of the slot as a word; - if there is none. */
static const char *slot_word(
	const struct slot *s, enum slot_text field, char out[static NODE_NAME_MAX + 1])
{
	return node_encode_name(slot_text(s, field), out) ? out : "-";
}

static void put_caller(const struct slot *s, struct buf *b)
{
	char unit[NODE_NAME_MAX + 1], key[NODE_NAME_MAX + 1];
	bool has_unit = node_encode_name(slot_text(s, SLOT_TEXT_unit), unit);
	bool has_key = node_encode_name(slot_text(s, SLOT_TEXT_key_id), key);

	(void)buf_str(b, s->v.uid ? "unix" : "tcp");
	if (s->v.uid)
		(void)buf_printf(b, " uid %" PRId64, s->v.uid - 1);
	(void)buf_printf(b, "%s%s%s%s\n", has_unit ? " " : "", has_unit ? unit : "",
		has_key ? " " : "", has_key ? key : "");
}

static void put_call(const struct render *r, const struct slot *s, struct buf *b)
{
	struct slice op_id = slot_text(s, SLOT_TEXT_op_id);
	char id[REQUEST_ID_LEN + 1] = "-", age[32], project[NODE_NAME_MAX + 1],
				 model[NODE_NAME_MAX + 1];
	char provider[NODE_NAME_MAX + 1];
	usec d = r->mono_us - (usec)s->began_mono_us;

	if (op_id.n == 16)
		request_id_format((const uint8_t *)op_id.p, id);
	if (d >= 0 && d < 60 * USEC_PER_S)
		(void)snprintf(age, sizeof(age), "%" PRId64 ".%" PRId64 "s", d / USEC_PER_S,
			d % USEC_PER_S / (USEC_PER_S / 10));
	else
		render_age(d, age);
	(void)buf_printf(b, "%-30s %7s  %-10s %-16s %-20s %-14s %7" PRId64 " %7" PRId64 "  ", id,
		age, slot_state_name(s), slot_word(s, SLOT_TEXT_project, project),
		slot_word(s, SLOT_TEXT_model, model), slot_word(s, SLOT_TEXT_provider, provider),
		s->v.input_tokens, s->v.output_tokens);
	put_caller(s, b);
}

void render_inflight(const struct render *r, struct node n, struct buf *b)
{
	uint32_t count = r->inflight ? inflight_touched(r->inflight) : 0, shown = 0, more = 0;
	struct slot copy;

	(void)n;
	(void)buf_printf(b, "%-30s %7s  %-10s %-16s %-20s %-14s %7s %7s  %s\n", "REQUEST", "AGE",
		"STATE", "PROJECT", "MODEL", "TARGET", "IN", "OUT", "CALLER");
	for (uint32_t i = 0; i < count && !b->err; i++) {
		if (!slot_peek(inflight_slot(r->inflight, i), &copy))
			continue;
		if (shown < INFLIGHT_ROWS_MAX) {
			put_call(r, &copy, b);
			shown++;
		} else {
			more++;
		}
	}
	if (more)
		(void)buf_printf(b, "and %" PRIu32 " more\n", more);
}
