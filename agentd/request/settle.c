/* The end of every call that was let through, exactly once: final values into the slot, the slot to
 * the committer, the numbers to the counters. With strict durability the answer's end waits for the
 * record. */
#include "request/continue.h"
#include "request/holds.h"
#include "request/meter.h"
#include "request/once.h"
#include "request/queue.h"
#include "request/relay.h"
#include "request/upload.h"
#include "stats/series.h"

static void values(struct request *r, struct slot *s)
{
	usec now = loop_now(r->env->loop);
	struct openai_usage u;

	if (continue_is_unserved(r))
		memset(&r->usage, 0, sizeof(r->usage));
	else if (!r->usage_seen)
		meter_estimate(r);
	u = r->usage;
	continue_sum(r, &u);
	s->v.duration_us = now - r->began_us;
	s->v.first_byte_us = r->first_us ? r->first_us - r->began_us : 0;
	s->v.status = r->head_sent ? r->head_status : r->status;
	s->v.outcome = r->outcome;
	s->v.input_tokens = u.input;
	s->v.cached_input_tokens = u.cached_input;
	s->v.cache_write_tokens = u.cache_write;
	s->v.output_tokens = u.output;
	s->v.reasoning_tokens = u.reasoning;
	s->v.audio_input_tokens = u.audio_in;
	s->v.audio_output_tokens = u.audio_out;
	s->v.audio_ms = u.audio_ms;
	if (r->upload) {
		s->v.bytes_in = (int64_t)r->upload->mp.at;
		s->v.stream = r->facts.stream; /* the field may come after the file */
	}
	s->v.usage_seen = r->usage_seen && (!r->cont || r->cont->done_seen);
	s->v.estimated = !s->v.usage_seen && (u.input || u.output || u.audio_ms);
	s->v.bytes_out = (int64_t)r->out_n + (int64_t)r->whole.n + (int64_t)r->tail.n;
	if (r->outcome == USAGE_OK && r->mode != RELAY_NONE && !r->usage_seen && !r->answer_n)
		s->v.outcome = r->outcome = USAGE_EMPTY;
	if (r->fail && (r->outcome == USAGE_FAILED || r->outcome == USAGE_REFUSED ||
			       r->outcome == USAGE_CUT))
		slot_set_text(s, SLOT_TEXT_fail, slice_str(fail_row(r->fail)->name));
}

static int64_t cost_of(const struct policy_price *p, const struct openai_usage *usage)
{
	const struct price_usage u = { usage->input, usage->cached_input, usage->cache_write,
		usage->output, usage->reasoning, usage->audio_in, usage->audio_out,
		usage->audio_ms };
	int64_t nano;

	return price_cost(&p->price, &u, &nano) ? INT64_MAX : nano;
}

/* Nobody has served it: it was refused, or what came was an error, or it waits for its next try. */
static bool is_unserved(const struct request *r)
{
	if (continue_is_on(r))
		return false;
	return r->outcome == USAGE_REFUSED || !r->on_wire ||
	       (!r->usage_seen && (r->outcome == USAGE_FAILED || r->upstream_error));
}

static void price(struct request *r, struct slot *s)
{
	const struct policy_price *p =
		r->counted ? worker_rules_price(r->rules, r->target, r->wall_us) : NULL;
	int64_t nano;

	s->v.priced = p != NULL;
	if (!p)
		return;
	s->v.price_version = p->price.version;
	/* A call that the provider did not serve costs nothing, not even the fee per request. */
	if (is_unserved(r))
		return;
	nano = continue_is_unserved(r) ? 0 : cost_of(p, &r->usage);
	if (__builtin_add_overflow(nano, s->before_nano, &nano))
		nano = INT64_MAX;
	s->v.cost_nano = nano;
	s->v.charge_nano = r->outcome == USAGE_EMPTY ? 0 : nano;
}

static enum stat_counter outcome_counter(const struct request *r)
{
	switch (r->outcome) {
	case USAGE_OK:
	case USAGE_EMPTY: return STAT_ok;
	case USAGE_CLIENT_GONE: return STAT_client_gone;
	case USAGE_CUT: return STAT_streams_cut;
	case USAGE_FAILED: return STAT_upstream_errors;
	default: break;
	}
	if (r->fail == FAIL_invalid_api_key || r->fail == FAIL_no_identity ||
		r->fail == FAIL_ambiguous_credential)
		return STAT_rejected_auth;
	if (r->fail == FAIL_concurrency_limit)
		return STAT_rejected_concurrency;
	return fail_row(r->fail)->status == 503 ? STAT_rejected_overload : STAT_client_errors;
}

static void count_tokens(_Atomic int64_t *row, const struct slot_values *v)
{
	stats_row_add(row, STAT_tokens_in, v->input_tokens);
	stats_row_add(row, STAT_tokens_cached_in, v->cached_input_tokens);
	stats_row_add(row, STAT_tokens_out, v->output_tokens);
	if (v->priced)
		stats_row_add(row, STAT_cost_nano, v->cost_nano);
}

static void count_in(
	struct request *r, enum stat_kind kind, uint32_t slot, const struct slot_values *v)
{
	_Atomic int64_t *row = stats_row(r->env->stats, kind, slot);

	if (kind != STAT_GLOBAL)
		stats_row_add(row, STAT_requests, 1);
	stats_row_add(row, outcome_counter(r), 1);
	if (r->fail == FAIL_model_not_found || r->fail == FAIL_model_not_allowed)
		stats_row_add(row, STAT_rejected_model, 1);
	if (!v)
		return;
	count_tokens(row, v);
	stats_row_add(row, STAT_bytes_in, v->bytes_in);
	stats_row_add(row, STAT_bytes_out, v->bytes_out);
	if (!v->priced && r->outcome != USAGE_REFUSED)
		stats_row_add(row, STAT_unpriced, 1);
	if (v->estimated)
		stats_row_add(row, STAT_estimated, 1);
}

static struct series_key key_of(const struct request *r, const struct policy *p)
{
	return (struct series_key){
		.model = p && r->counted ? (uint16_t)p->model_stat[r->model] : SERIES_NONE,
		.provider = p && r->sent_us ? (uint16_t)p->provider_stat[r->provider] : SERIES_NONE,
		.project = p && r->known ? (uint16_t)p->project_stat[r->project] : SERIES_NONE,
	};
}

static enum series_code code_of(const struct request *r)
{
	if (r->outcome == USAGE_CUT || r->outcome == USAGE_CLIENT_GONE ||
		(r->outcome == USAGE_FAILED && r->head_early))
		return SERIES_cut;
	if (r->status == 429)
		return SERIES_429;
	return r->status < 400 ? SERIES_2xx : r->status < 500 ? SERIES_4xx : SERIES_5xx;
}

static void count_series_tokens(struct series_traffic *t, const struct slot_values *v)
{
	series_add(&t->tokens[SERIES_input],
		MAX(v->input_tokens - v->cached_input_tokens - v->cache_write_tokens, (int64_t)0));
	series_add(&t->tokens[SERIES_cached_input], v->cached_input_tokens);
	series_add(&t->tokens[SERIES_cache_write], v->cache_write_tokens);
	series_add(
		&t->tokens[SERIES_output], MAX(v->output_tokens - v->reasoning_tokens, (int64_t)0));
	series_add(&t->tokens[SERIES_reasoning], v->reasoning_tokens);
	if (v->priced)
		series_add(&t->cost_nano, v->cost_nano);
}

static void count_series(struct request *r, const struct policy *p, const struct slot_values *v)
{
	struct series_key key = key_of(r, p);
	struct series_traffic *t = series_traffic(stats_block_series(r->env->stats), key);

	series_add(&t->code[code_of(r)], 1);
	if (!v || !r->counted)
		return;
	count_series_tokens(t, v);
	if (v->estimated && r->sent_us)
		series_add(&series_times(stats_block_series(r->env->stats), key)->usage_missing, 1);
}

static void time_series(struct request *r, const struct policy *p, const struct slot *s)
{
	struct series_block *b = stats_block_series(r->env->stats);
	struct series_times *t = series_times(b, key_of(r, p));
	usec streaming = s->v.duration_us - s->v.first_byte_us;

	buckets_add(&t->of[SERIES_duration], &series_bounds[SERIES_duration], s->v.duration_us);
	buckets_add(series_own(b, SERIES_overhead), &series_own_bounds[SERIES_overhead],
		s->v.overhead_us);
	if (!r->facts.stream || !r->first_us)
		return;
	buckets_add(&t->of[SERIES_ttft], &series_bounds[SERIES_ttft], s->v.first_byte_us);
	if (s->v.output_tokens > 1)
		buckets_add(&t->of[SERIES_per_token], &series_bounds[SERIES_per_token],
			streaming / (s->v.output_tokens - 1));
}

static void count_times(struct request *r, const struct policy *p, const struct slot *s)
{
	struct stats_block *b = r->env->stats;
	const struct {
		enum stat_kind kind;
		uint32_t slot;
	} whose[] = {
		{ STAT_MODEL, p->model_stat[r->model] },
		{ STAT_PROVIDER, p->provider_stat[r->provider] },
		{ STAT_PROJECT, p->project_stat[r->project] },
	};

	for (size_t i = 0; i < ARRAY_LEN(whose); i++) {
		stats_time(b, whose[i].kind, whose[i].slot, HIST_duration, s->v.duration_us);
		if (r->facts.stream && r->first_us)
			stats_time(b, whose[i].kind, whose[i].slot, HIST_ttft, s->v.first_byte_us);
	}
	stats_time(b, STAT_GLOBAL, 0, HIST_overhead, s->v.overhead_us);
	time_series(r, p, s);
}

/* Without what other targets have served before: that was counted as theirs. */
static struct slot_values own_part(const struct request *r, const struct slot *s)
{
	const struct openai_usage *done = &r->cont->done;
	struct slot_values v = s->v;

	v.input_tokens -= done->input;
	v.cached_input_tokens -= done->cached_input;
	v.cache_write_tokens -= done->cache_write;
	v.output_tokens -= done->output;
	v.reasoning_tokens -= done->reasoning;
	v.cost_nano -= s->before_nano;
	return v;
}

int64_t settle_part(struct request *r)
{
	const struct policy *p = r->rules->rules->policy;
	const struct policy_price *price = worker_rules_price(r->rules, r->target, r->wall_us);
	const struct slot_values v = { .input_tokens = r->usage.input,
		.cached_input_tokens = r->usage.cached_input,
		.cache_write_tokens = r->usage.cache_write,
		.output_tokens = r->usage.output,
		.reasoning_tokens = r->usage.reasoning,
		.priced = price != NULL,
		.cost_nano = price ? cost_of(price, &r->usage) : 0 };

	count_tokens(stats_row(r->env->stats, STAT_PROVIDER, p->provider_stat[r->provider]), &v);
	count_series_tokens(series_traffic(stats_block_series(r->env->stats), key_of(r, p)), &v);
	return v.cost_nano;
}

static void count(struct request *r, const struct slot *s)
{
	struct stats_block *b = r->env->stats;
	const struct policy *p = r->rules ? r->rules->rules->policy : NULL;
	const struct slot_values *v = s ? &s->v : NULL, *own = v;
	struct slot_values part;

	if (v && continue_is_on(r)) {
		part = own_part(r, s);
		own = &part;
	}
	if (r->outcome == USAGE_OK && !r->is_api)
		return;
	count_in(r, STAT_GLOBAL, 0, v);
	count_series(r, p, own);
	if (p && r->known)
		count_in(r, STAT_PROJECT, p->project_stat[r->project], v);
	if (r->has_uid)
		count_in(r, STAT_UID, r->uid_stat, v);
	if (r->has_key)
		count_in(r, STAT_KEY, r->key_stat, v);
	if (!p || !r->counted)
		return;
	count_in(r, STAT_MODEL, p->model_stat[r->model], v);
	if (r->sent_us)
		count_in(r, STAT_PROVIDER, p->provider_stat[r->provider], own);
	if (r->attempt && r->attempt->replaced) {
		stats_add(b, STAT_GLOBAL, 0, STAT_retries, 1);
		stats_add(b, STAT_PROVIDER, p->provider_stat[r->provider], STAT_retries, 1);
	}
	if (r->outcome == USAGE_OK && s)
		count_times(r, p, s);
}

/* Refused for want of a place for its record: there is none. */
static bool leaves_no_record(const struct request *r)
{
	return !r->known || !r->is_api || r->fail == FAIL_spool_full ||
	       r->fail == FAIL_gateway_overloaded || r->fail == FAIL_store_unavailable ||
	       r->fail == FAIL_draining || (r->client_gone && !r->counted);
}

/* Told from others by what there is to tell: a choice, or trouble. */
static void post_trace(struct request *r, const struct slot *s)
{
	bool trouble = r->n_tries || r->outcome != USAGE_OK;
	const struct policy_doc *d;
	const struct policy_model *m;
	struct trace t;

	if (!r->counted || r->fail == FAIL_model_not_allowed)
		return;
	d = r->rules->rules->policy->doc;
	m = &d->models[r->model];
	if (m->n_targets == 1 && !trouble && !r->queued_us)
		return;
	t.n_targets = plan_is_made(&r->plan) ? (uint8_t)m->n_targets : 0;
	t.n_tries = r->tries ? r->n_tries : 0;
	t.degraded = r->plan.degraded;
	t.queued_ms = (uint32_t)MIN(r->queued_us / USEC_PER_MS, (usec)UINT32_MAX);
	t.served = r->attempts ? (uint8_t)(r->target - (uint32_t)(m->targets - d->targets))
			       : TRACE_NONE;
	for (uint32_t i = 0; i < t.n_targets; i++) {
		t.targets[i] = (struct trace_target){ r->plan.why[i], r->plan.state[i] };
		t.provider[i] = d->providers[m->targets[i].provider].name;
		t.model[i] = m->targets[i].model;
	}
	if (t.n_tries)
		memcpy(t.tries, r->tries, t.n_tries * sizeof(*r->tries));
	trace_post(r->env->gw->traces, s, &t);
	if (trouble)
		trace_post(r->env->gw->troubled, s, &t);
}

static void post_call(struct request *r, const struct slot *s)
{
	const struct policy_doc *d;
	const struct trace_try *first;
	struct finished_tries tries;

	if (!r->tries || !r->n_tries) {
		finished_post(r->env->gw->calls, s, NULL);
		return;
	}
	d = r->rules->rules->policy->doc;
	first = &r->tries[0];
	tries = (struct finished_tries){
		.provider = d->providers[d->models[r->model].targets[first->target].provider].name,
		.status = first->status,
		.n = r->n_tries,
		.failure = first->failure
	};
	finished_post(r->env->gw->calls, s, &tries);
}

static void submit(struct request *r)
{
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);
	struct gateway *gw = r->env->gw;

	if (gw->calls) {
		post_call(r, s);
		post_trace(r, s);
	}
	slot_set_state(s, SLOT_SETTLED);
	r->ticket = committer_submit(gw->committer, r->env->worker, r->slot);
	r->slot = SLOT_NONE;
	if (r->client_gone || !atomic_load_explicit(&gw->strict, memory_order_relaxed))
		return;
	/* What stands in scratch memory has to be kept over the wait. */
	reply_own_head(r);
	if (r->whole.n && r->whole.p != r->held.p) {
		buf_reset(&r->held);
		if (buf_slice(&r->held, r->whole))
			r->reset = r->want_close = true;
		r->whole = buf_view(&r->held);
	}
	if (list_is_empty(&r->env->awaiting))
		committer_await(gw->committer, r->env->worker, r->ticket);
	list_push_back(&r->env->awaiting, &r->await_node);
}

void settle_step(struct request *r)
{
	bool admitted = r->slot != SLOT_NONE;
	struct slot *s = NULL;

	if (r->settled)
		return;
	r->settled = true;
	if (r->asks_metrics)
		list_remove(&r->await_node); /* gone before the text was there */
	deadline_stop(r->env->loop, &r->total);
	queue_leave(r);
	retry_stop(r);
	wait_stop(r);
	holds_give(r);
	once_end(r);
	if (admitted || (r->outcome != USAGE_OK && !leaves_no_record(r) && admit_refused(r))) {
		s = inflight_slot(r->env->gw->inflight, r->slot);
		values(r, s);
		price(r, s);
		if (admitted && r->tells_usage)
			reply_usage(r, &s->v);
	}
	count(r, s);
	if (admitted) {
		stats_add(r->env->stats, STAT_GLOBAL, 0, STAT_inflight, -1);
		stats_add(r->env->stats, STAT_MODEL, r->rules->rules->policy->model_stat[r->model],
			STAT_inflight, -1);
	}
	if (s)
		submit(r);
	if (list_is_empty(&r->await_node))
		relay_end(r);
}
