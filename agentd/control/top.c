/* GET /v1/top?by=WORD&window_s=N: what the last calls amount to, by model, project, key, provider
 * or uid. Summed up from the ring of finished calls when it is asked for, so nothing is counted
 * that nobody looks at, and any group has its exact quantiles. The span is the window, or what the
 * ring covers of it, or what the agent has lived of it: whoever makes rates of the sums divides by
 * it. One answer costs a walk over the ring, 4096 entries at most. */
#include "account/finished.h"
#include "control/private.h"

#include <aigw/clock.h>
#include <aigw/hash.h>
#include <aigw/text.h>

#define WINDOW_S     60
#define WINDOW_MAX_S 3600

enum top_by { TOP_model, TOP_project, TOP_key, TOP_provider, TOP_uid, TOP_BY_COUNT };

static const struct {
	const char *word;
	enum finished_text finished;
	enum slot_text slot;
} groupings[TOP_BY_COUNT] = {
	[TOP_model] = { "model", FINISHED_model, SLOT_TEXT_model },
	[TOP_project] = { "project", FINISHED_project, SLOT_TEXT_project },
	[TOP_key] = { "key", FINISHED_key, SLOT_TEXT_key_id },
	[TOP_provider] = { "provider", FINISHED_provider, SLOT_TEXT_provider },
	[TOP_uid] = { "uid", FINISHED_TEXTS, SLOT_TEXT_op_id }, /* a number, no text */
};

struct sums {
	int64_t calls, errors, inflight, input, output, cost_nano, priced;
};

struct group {
	UT_hash_handle hh;
	struct sums v;
	uint32_t number; /* in the order in which they came up */
	size_t n;
	char name[]; /* empty: of what has none */
};

struct sample {
	uint32_t group;
	int64_t us;
};

struct top {
	struct control *c;
	enum top_by by;
	int64_t window_s;
	usec now_us, from_us; /* wall */
	usec oldest_us;       /* end of the oldest call that the ring still has */
	bool is_cut;          /* the ring does not reach back to from_us */
	struct group *groups;
	struct sums all;
	struct sample *samples;
	uint32_t n_groups, n_samples;
	bool no_memory;
};

/* --- gathering ------------------------------------------------------------------------ */

static struct group *group_of(struct top *t, struct slice name)
{
	bool out_of_memory = false;
	struct group *g = NULL;

	if (!name.n)
		name = SLICE("");
	HASH_FIND(hh, t->groups, name.p, name.n, g);
	if (g)
		return g;
	g = calloc(1, sizeof(*g) + name.n + 1);
	if (g) {
		g->n = name.n;
		g->number = t->n_groups;
		if (name.n)
			memcpy(g->name, name.p, name.n);
		HASH_ADD_KEYPTR(hh, t->groups, g->name, g->n, g);
	}
	if (!g || out_of_memory) {
		free(g);
		t->no_memory = true;
		return NULL;
	}
	t->n_groups++;
	return g;
}

static struct slice uid_text(int64_t uid_plus_one, char out[static 24])
{
	if (!uid_plus_one)
		return SLICE_EMPTY;
	(void)snprintf(out, 24, "%" PRId64, uid_plus_one - 1);
	return slice_str(out);
}

static void sum_up(struct sums *s, const struct finished *f)
{
	s->calls++;
	s->errors += f->outcome != USAGE_OK && f->outcome != USAGE_EMPTY &&
		     f->outcome != USAGE_CLIENT_GONE;
	s->input += f->input_tokens;
	s->output += f->output_tokens;
	s->priced += f->priced;
	if (f->priced && __builtin_add_overflow(s->cost_nano, f->cost_nano, &s->cost_nano))
		s->cost_nano = INT64_MAX;
}

static void take_finished(struct top *t, const struct finished *f)
{
	char uid[24];
	struct slice name = t->by == TOP_uid ? uid_text(f->uid, uid)
					     : finished_text(f, groupings[t->by].finished);
	struct group *g = group_of(t, name);

	if (!g)
		return;
	sum_up(&g->v, f);
	sum_up(&t->all, f);
	if (f->stream && f->first_byte_us && t->n_samples < LINE_RING_LINES)
		t->samples[t->n_samples++] = (struct sample){ g->number, f->first_byte_us };
}

/* From the newest backwards. Ends stand nearly in order: a worker may post a little late. */
static void gather_finished(struct top *t)
{
	const struct line_ring *ring = t->c->cfg.calls;
	uint64_t first = line_ring_first(ring), gone;
	char bytes[LINE_MAX_BYTES];
	struct finished f;
	size_t n;

	t->oldest_us = t->now_us;
	t->is_cut = first > 0;
	for (uint64_t at = line_ring_next(ring); at-- > first;) {
		if (line_ring_read(ring, at, bytes, &n, &gone) != 0 ||
			!finished_read(slice_of(bytes, n), &f))
			continue;
		t->oldest_us = MIN(t->oldest_us, finished_end_us(&f));
		if (finished_end_us(&f) >= t->from_us)
			take_finished(t, &f);
		else if (finished_end_us(&f) < t->from_us - USEC_PER_S)
			break;
	}
	t->is_cut &= t->oldest_us > t->from_us;
}

static void gather_inflight(struct top *t)
{
	struct inflight *f = t->c->cfg.inflight;
	struct slot copy;
	char uid[24];

	for (uint32_t i = 0; i < inflight_touched(f); i++) {
		struct group *g;

		if (!slot_peek(inflight_slot(f, i), &copy) ||
			strcmp(show_state(&copy), "settled") == 0)
			continue; /* the ring has those that are settled */
		g = group_of(t, t->by == TOP_uid ? uid_text(copy.v.uid, uid)
						 : slot_text(&copy, groupings[t->by].slot));
		if (!g)
			return;
		g->v.inflight++;
		t->all.inflight++;
	}
}

/* --- the answer ----------------------------------------------------------------------- */

static int by_group_and_time(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return (x->us > y->us) - (x->us < y->us);
}

static int by_time(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return (x->us > y->us) - (x->us < y->us);
}

/* Most calls first. */
static int by_calls(const struct group *a, const struct group *b)
{
	if (a->v.calls != b->v.calls)
		return a->v.calls > b->v.calls ? -1 : 1;
	if (a->v.inflight != b->v.inflight)
		return a->v.inflight > b->v.inflight ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* Nearest rank. */
static json_t *quantile(const struct sample *s, uint32_t n, uint32_t percent)
{
	return n ? json_integer(s[(n * percent + 99) / 100 - 1].us) : json_null();
}

static json_t *sums_json(const struct sums *v, const struct sample *s, uint32_t n)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "calls", (json_int_t)v->calls,
		"errors", (json_int_t)v->errors, "in_flight", (json_int_t)v->inflight,
		"input_tokens", (json_int_t)v->input, "output_tokens", (json_int_t)v->output,
		"cost", v->priced ? json_nano(v->cost_nano) : json_null(), "ttft_p50_us",
		quantile(s, n, 50), "ttft_p95_us", quantile(s, n, 95));
}

static json_t *rows_json(struct top *t)
{
	json_t *list = json_array();
	struct group *g, *next;
	uint32_t *from = calloc(t->n_groups + 1, sizeof(*from));

	if (!from) {
		t->no_memory = true;
		return list;
	}
	if (t->n_samples)
		qsort(t->samples, t->n_samples, sizeof(*t->samples), by_group_and_time);
	for (uint32_t i = 0; i < t->n_samples; i++)
		from[t->samples[i].group + 1] = i + 1;
	for (uint32_t i = 1; i <= t->n_groups; i++)
		from[i] = MAX(from[i], from[i - 1]);
	HASH_SORT(t->groups, by_calls);
	HASH_ITER(hh, t->groups, g, next)
	{
		json_t *row = sums_json(
			&g->v, t->samples + from[g->number], from[g->number + 1] - from[g->number]);

		(void)json_object_set_new(row, groupings[t->by].word,
			g->n ? json_slice(slice_of(g->name, g->n)) : json_null());
		(void)json_array_append_new(list, row);
	}
	free(from);
	return list;
}

static usec span_of(const struct top *t)
{
	struct statfs_info info;
	usec window = t->window_s * USEC_PER_S;

	if (t->is_cut)
		return MAX(t->now_us - t->oldest_us, (usec)1000);
	stat_tree_info(t->c->cfg.tree, &info);
	return MAX(MIN(window, clock_mono_us() - info.start_mono_us), USEC_PER_S);
}

static json_t *top_json(struct top *t)
{
	struct stat_look l = stat_look_begin(t->c->cfg.tree);
	struct statfs_info info;
	json_t *v, *rows = rows_json(t);

	stat_tree_info(t->c->cfg.tree, &info);
	if (t->n_samples)
		qsort(t->samples, t->n_samples, sizeof(*t->samples), by_time);
	v = json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "agent", info.agent_id, "by",
		groupings[t->by].word, "span_us", (json_int_t)span_of(t), "currency",
		l.policy ? json_slice(l.policy->doc->currency) : json_null(), "rows", rows, "total",
		sums_json(&t->all, t->samples, t->n_samples));
	stat_look_end(&l);
	return v;
}

static bool top_asked(struct top *t, struct http_exchange *x)
{
	struct slice word = SLICE("model"), window = SLICE_EMPTY;

	(void)http_query_get(x, SLICE("by"), &word);
	while (t->by < TOP_BY_COUNT && !slice_eq(word, slice_str(groupings[t->by].word)))
		t->by++;
	if (t->by == TOP_BY_COUNT) {
		control_error(
			x, ADMIN_ERROR_usage, "by is one of model, project, key, provider, uid");
		return false;
	}
	if (http_query_get(x, SLICE("window_s"), &window) &&
		(text_parse_i64(window, &t->window_s) || t->window_s < 1 ||
			t->window_s > WINDOW_MAX_S)) {
		control_error(x, ADMIN_ERROR_usage, "window_s is 1 to %d", WINDOW_MAX_S);
		return false;
	}
	return true;
}

void top_show(struct control *c, struct http_exchange *x)
{
	struct top t = { .c = c, .window_s = WINDOW_S, .now_us = clock_wall_us() };
	struct group *g, *next;
	json_t *v = NULL;

	if (!top_asked(&t, x))
		return;
	t.from_us = t.now_us - t.window_s * USEC_PER_S;
	t.samples = calloc(LINE_RING_LINES, sizeof(*t.samples));
	t.no_memory = !t.samples;
	if (t.samples) {
		gather_finished(&t);
		gather_inflight(&t);
		v = top_json(&t);
	}
	if (t.no_memory) {
		json_decref(v);
		v = NULL;
	}
	HASH_ITER(hh, t.groups, g, next)
	{
		HASH_DEL(t.groups, g);
		ASSERT(t.groups != g);
		free(g);
	}
	free(t.samples);
	control_answer(x, 200, v); /* NULL: out of memory */
}
