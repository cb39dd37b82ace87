/* Of this a call that goes well takes retry_earn(), retry_may_follow(), retry_learn_ok() and
 * retry_stop(). */
#include "request/continue.h"
#include "request/queue.h"
#include "stats/series.h"

#include <aigw/log.h>

#define LIMITED_US        (USEC_PER_S) /* a 429 without a hint */
#define BACKOFF_DOUBLINGS 6

static const struct policy *policy_of(const struct request *r)
{
	return r->rules->rules->policy;
}

static const struct policy_model *model_of(const struct request *r)
{
	return &policy_of(r)->doc->models[r->model];
}

static const struct policy_provider *provider_of(const struct request *r)
{
	return &policy_of(r)->doc->providers[r->provider];
}

/* Its name; empty: none is sent. */
static struct slice credential_of(const struct request *r)
{
	const struct policy_provider *p = provider_of(r);

	return r->credential < p->n_credentials ? p->credentials[r->credential] : SLICE_EMPTY;
}

static uint32_t place_of(const struct request *r)
{
	return policy_of(r)->target_place[r->target];
}

#define TARGET_FMT "provider=" SLICE_FMT " model=" SLICE_FMT
#define TARGET_ARGS(r)                                                                             \
	SLICE_ARG(provider_of(r)->name), SLICE_ARG(policy_of(r)->doc->targets[(r)->target].model)

/* --- what it says of the target ------------------------------------------------------- */

/* One load where nothing asks for more, but for the first in a second. */
static void count_ok(struct request *r)
{
	struct health *h = r->env->gw->health;
	usec now = loop_now(r->env->loop);

	if (provider_of(r)->health.min_samples)
		health_count_ok(h, place_of(r), now);
	if (health_wants_ok(h, place_of(r), now))
		health_note_ok(h, place_of(r), now, (uint32_t)route_caller(r));
}

/* What this call has tried of its way: it holds, or another call is to try. */
static void end_lease(struct request *r, bool good)
{
	struct health_ways w = rules_ways(r->rules->rules, r->target);
	struct health *h = r->env->gw->health;

	if (good) {
		health_way_ok(h, &w, r->credential, r->way_lease);
		log_event(LOG_INFO, "upstream", "provider.credential_ok",
			"provider=" SLICE_FMT " credential=" SLICE_FMT " by=call",
			SLICE_ARG(provider_of(r)->name),
			SLICE_ARG(credential_of(r).n ? credential_of(r) : SLICE("-")));
	} else {
		health_way_back(h, &w, r->credential, loop_now(r->env->loop), r->way_lease);
	}
	r->way_lease = 0;
}

void retry_learn_ok(struct request *r, bool whole)
{
	if (r->way_lease)
		end_lease(r, true);
	if (whole)
		count_ok(r);
	/* The probe at its first content, so that others need not wait for the end of a long
	 * answer; everybody else at the end. */
	if (!whole && !r->holds_probe)
		return;
	if (health_ok(r->env->gw->health, place_of(r), r->holds_probe))
		log_event(LOG_INFO, "route", "target.closed", TARGET_FMT, TARGET_ARGS(r));
	r->holds_probe = false;
}

void retry_learn_cut(struct request *r)
{
	const struct policy_health *rules = &provider_of(r)->health;
	const struct health_failure f = { r->holds_probe, (uint32_t)route_caller(r),
		rules->open_after, rules->min_samples, rules->half_open_us };

	if (r->way_lease)
		end_lease(r, false);
	if (health_failed(r->env->gw->health, place_of(r), loop_now(r->env->loop), &f))
		log_event(LOG_WARNING, "route", "target.open", TARGET_FMT, TARGET_ARGS(r));
	r->holds_probe = false;
}

/* Whose fault it is: the credential's, or, for what may be about this model only, the two's
 * together. The target's, where there is but one way to call it. */
static bool hold_way(struct request *r, bool this_model, enum target_state why, usec us)
{
	struct health_ways w = rules_ways(r->rules->rules, r->target);
	uint32_t place = w.target;

	if (this_model && w.pairs)
		place = w.pairs[r->credential];
	else if (!this_model && w.n)
		place = w.credentials[r->credential];
	/* 0: the table is full, and the target is better than nothing. */
	return health_hold(
		r->env->gw->health, place ? place : w.target, why, loop_now(r->env->loop), us);
}

static void say_refused(const struct request *r, unsigned status)
{
	struct slice credential = credential_of(r);

	log_event(LOG_WARNING, "upstream", "provider.auth_failed",
		"provider=" SLICE_FMT " credential=" SLICE_FMT " status=%u model=" SLICE_FMT,
		SLICE_ARG(provider_of(r)->name), SLICE_ARG(credential.n ? credential : SLICE("-")),
		status, SLICE_ARG(policy_of(r)->doc->targets[r->target].model));
}

void retry_learn(struct request *r, enum error_class c, unsigned status)
{
	switch (c) {
	case CLASS_transient: retry_learn_cut(r); return;
	case CLASS_rate_limited:
		(void)hold_way(r, true, TARGET_RATE_LIMITED, r->hint_us ? r->hint_us : LIMITED_US);
		break;
	case CLASS_provider_auth:
		if (r->way_lease)
			end_lease(r, false);
		if (hold_way(r, status == 403, TARGET_NO_CREDENTIAL, HEALTH_AUTH_US))
			say_refused(r, status);
		break;
	case CLASS_provider_quota:
		if (r->way_lease)
			end_lease(r, false);
		if (hold_way(r, false, TARGET_PROVIDER_QUOTA, HEALTH_QUOTA_US))
			log_event(LOG_ERROR, "route", "provider.quota",
				TARGET_FMT " credential=" SLICE_FMT, TARGET_ARGS(r),
				SLICE_ARG(credential_of(r)));
		break;
	case CLASS_none:
	case CLASS_context_length:
	case CLASS_unsupported_operation:
	case CLASS_caller_fault:
	case CLASS_COUNT: break;
	}
	/* It lives. */
	retry_learn_ok(r, true);
}

/* --- whether, where, when ------------------------------------------------------------- */

/* An SDK that tries again by itself has had its tries: one for each of its own. */
static unsigned most_tries(const struct request *r)
{
	return r->sdk_retries ? 1u : MIN(model_of(r)->retry.attempts, (uint32_t)TRACE_TRIES_MAX);
}

/* An upload goes out once: what has been handed through is gone. */
bool retry_has_tries(const struct request *r)
{
	return !r->outcome && !r->client_gone && r->attempts < most_tries(r) && !r->upload;
}

bool retry_may_follow(const struct request *r)
{
	return !r->committed && retry_has_tries(r);
}

/* After a prompt that was too long here. */
static bool is_larger(const struct request *r, uint8_t i)
{
	const struct policy_target *next = &model_of(r)->targets[i];
	const struct policy_target *here = &policy_of(r)->doc->targets[r->target];

	if (next->context_window && here->context_window)
		return next->context_window > here->context_window;
	return !slice_eq(next->model, here->model);
}

static enum target_state stand_of(const struct request *r, uint8_t at, usec now, usec *ret_recover)
{
	const struct policy_target *t = &model_of(r)->targets[r->plan.target[at]];
	struct health_ways w =
		rules_ways(r->rules->rules, (uint32_t)(t - policy_of(r)->doc->targets));
	uint32_t way;

	/* The place that this call has there is free for its next try. */
	if (w.calls && r->holds[HOLD_PROVIDER] == w.calls)
		w.concurrency++;
	return health_stand(r->env->gw->health, &w, 0, now, ret_recover, &way);
}

/* Another credential may do better at the same target, if one stands well. */
static bool has_another_way(const struct request *r, enum error_class c)
{
	return provider_of(r)->n_credentials > 1 &&
	       (c == CLASS_rate_limited || c == CLASS_provider_auth || c == CLASS_provider_quota);
}

/* The next of the plan that stands well, or that may be probed. */
static bool find_next(struct request *r, enum error_class c, uint8_t *ret_at)
{
	usec now = loop_now(r->env->loop), recover;
	uint8_t from = r->plan_at + !has_another_way(r, c);

	for (uint8_t at = from; at < r->plan.n; at++) {
		enum target_state s = stand_of(r, at, now, &recover);

		if (c == CLASS_context_length && !is_larger(r, r->plan.target[at]))
			continue;
		if (r->cont && !continue_at(r, r->plan.target[at]))
			continue;
		if (plan_may_follow(&r->plan, r->plan.target[at], s, recover)) {
			*ret_at = at;
			return true;
		}
	}
	return false;
}

/* Half of it by chance, so that those that failed together don't come back together. */
static usec backoff(const struct request *r)
{
	usec us = model_of(r)->retry.backoff_us;
	uint64_t chance = (r->env->op_prefix ^ (uint64_t)loop_now(r->env->loop)) *
			  UINT64_C(0x9e3779b97f4a7c15);
	unsigned doublings = r->n_tries > r->plan.n ? (unsigned)(r->n_tries - r->plan.n) : 0;

	us <<= MIN(doublings, (unsigned)BACKOFF_DOUBLINGS);
	return us / 2 + (usec)(chance >> 11) % (us / 2 + 1);
}

/* All of the plan have been tried: from its beginning again, those first that are back first. */
static bool find_again(struct request *r, enum error_class c, uint8_t *ret_at, usec *ret_wait)
{
	usec now = loop_now(r->env->loop), recover, best = INT64_MAX;

	if (c != CLASS_transient && c != CLASS_rate_limited)
		return false;
	for (uint8_t at = 0; at < r->plan.n; at++) {
		enum target_state s = stand_of(r, at, now, &recover);

		recover = plan_again_us(&r->plan, r->plan.target[at], s, recover);
		if (recover == TARGET_NEVER)
			continue;
		if (r->cont && !continue_at(r, r->plan.target[at]))
			continue;
		if (at == r->plan_at)
			recover = MAX(recover, r->hint_us); /* a 503 may say when, too */
		if (recover < best) {
			best = recover;
			*ret_at = at;
		}
	}
	if (best == INT64_MAX)
		return false;
	*ret_wait = MAX(best, backoff(r));
	return now + *ret_wait < r->total_at_us;
}

/* A share of the traffic: each call has earned a part of a second try at one target. */
static bool take_credit(struct request *r)
{
	uint32_t *credit = &r->rules->retry_credit[r->model];

	if (*credit < 100)
		return false;
	*credit -= 100;
	return true;
}

/* Memory only for those that need it: without it the head and the trace say less. */
static struct trace_try *note(
	struct request *r, enum error_class c, enum attempt_failure f, unsigned status)
{
	struct trace_try *t;

	if (!r->tries)
		r->tries = malloc(TRACE_TRIES_MAX * sizeof(*r->tries));
	if (!r->tries || r->n_tries == TRACE_TRIES_MAX)
		return NULL;
	t = &r->tries[r->n_tries++];
	*t = (struct trace_try){ .at_ms = (uint32_t)((loop_now(r->env->loop) - r->began_us) /
						     USEC_PER_MS),
		.status = (uint16_t)status,
		.target = r->plan.target[r->plan_at],
		.failure = (uint8_t)f,
		.class = (uint8_t)c,
		.next = TRACE_GIVEN_UP };
	return t;
}

/* Where to, and for how long it waits. */
static void note_next(
	const struct request *r, struct trace_try *t, uint8_t at, bool again, usec wait)
{
	if (!t)
		return;
	t->wait_ms = (uint32_t)(wait / USEC_PER_MS);
	t->next = again ? TRACE_AGAIN : at == r->plan_at ? TRACE_OTHER_CREDENTIAL : TRACE_FALLBACK;
}

static void say_next(const struct request *r, enum error_class c, enum attempt_failure f,
	unsigned status, const char *next, uint8_t at, usec wait)
{
	const struct policy_model *m = model_of(r);
	const struct policy_target *t = &m->targets[r->plan.target[at]];

	log_event(LOG_WARNING, "route", "call.retry",
		"request=%s provider=" SLICE_FMT
		" class=%s reason=%s status=%u next=%s to=" SLICE_FMT " after_ms=%" PRId64,
		r->id, SLICE_ARG(provider_of(r)->name), error_class_name(c),
		f ? attempt_failure_name(f) : "status", status, next,
		SLICE_ARG(policy_of(r)->doc->providers[t->provider].name), wait / USEC_PER_MS);
}

/* What is the caller's own fault is no failure of the provider. */
static void say_given_up(
	const struct request *r, enum error_class c, enum attempt_failure f, unsigned status)
{
	if (c != CLASS_caller_fault)
		log_event(LOG_WARNING, "route", "call.given_up",
			"request=%s provider=" SLICE_FMT
			" class=%s reason=%s status=%u attempts=%u spent=%d",
			r->id, SLICE_ARG(provider_of(r)->name), error_class_name(c),
			f ? attempt_failure_name(f) : "status", status, r->attempts, r->spent);
}

static void go_on(struct request *r)
{
	r->attempt = NULL;
	r->step = STEP_ATTEMPT;
	request_resume(r);
}

static void on_again(struct deadline *d)
{
	struct request *r = container_of(d, struct request, again);

	if (r->in_queue)
		queue_due(r);
	else if (r->step != STEP_AGAIN)
		relay_late(r);
	else
		go_on(r);
}

static void on_soon(struct deferred *d)
{
	struct request *r = container_of(d, struct request, soon);

	if (r->step != STEP_AGAIN)
		wait_head(r);
	else
		go_on(r);
}

static uint8_t word_of(enum attempt_failure f)
{
	switch (f) {
	case ATTEMPT_NO_ADDRESS:
	case ATTEMPT_NO_CONNECTION:
	case ATTEMPT_TLS:
	case ATTEMPT_PROXY: return POLICY_ON_connect;
	case ATTEMPT_TIMEOUT_CONNECT:
	case ATTEMPT_TIMEOUT_FIRST_BYTE:
	case ATTEMPT_TIMEOUT_IDLE: return POLICY_ON_timeout;
	case ATTEMPT_CLOSED_EARLY:
	case ATTEMPT_CUT: return POLICY_ON_reset;
	case ATTEMPT_OK:
	case ATTEMPT_MALFORMED:
	case ATTEMPT_MEMORY: break;
	}
	return POLICY_ON_malformed;
}

/* Does the policy's `on` have it? A refused credential, an empty account, a prompt that is too long
 * are no matter of trying anew: they always go on to where it is otherwise. */
static bool is_picked(
	const struct policy_retry *p, enum error_class c, enum attempt_failure f, unsigned status)
{
	if (!p->picks || (c != CLASS_transient && c != CLASS_rate_limited))
		return true;
	if (status < 400 || status > 599)
		return p->on & word_of(f);
	return p->statuses[(status - 400) / 64] >> (status - 400) % 64 & 1;
}

static void count_fallback(const struct request *r, uint8_t at)
{
	const struct policy *p = policy_of(r);
	uint32_t to = model_of(r)->targets[r->plan.target[at]].provider;

	series_fallback(stats_block_series(r->env->stats), p->provider_stat[r->provider],
		p->provider_stat[to]);
}

static void go_elsewhere(struct request *r, uint8_t at, usec wait)
{
	stats_add(r->env->stats, STAT_GLOBAL, 0, STAT_retries, 1);
	stats_add(r->env->stats, STAT_PROVIDER, policy_of(r)->provider_stat[r->provider],
		STAT_retries, 1);
	if (!attempt_is_over(r->attempt))
		attempt_abort(r->attempt);
	measure_end(r);
	relay_forget(r);
	r->hint_us = 0;
	r->judged = false;
	r->plan_at = at;
	r->repeats = wait > 0;
	r->step = STEP_AGAIN;
	r->on_wire = false;
	continue_rest(r);
	deadline_stop(r->env->loop, &r->again); /* of what might have come behind an end */
	deferred_cancel(&r->soon);              /* of an early head */
	if (wait)
		deadline_set(r->env->loop, &r->again, wait);
	else
		deferred_queue(r->env->loop, &r->soon);
}

/* Where to, and when; another target first. False: nowhere. */
static bool find(
	struct request *r, enum error_class c, uint8_t *ret_at, bool *ret_again, usec *ret_wait)
{
	*ret_wait = 0;
	*ret_again = !find_next(r, c, ret_at);
	/* Going on to another target needs no credit: it is not that one's trouble. */
	if (!*ret_again)
		return true;
	/* Whether what was replaced was stale or broke under the call nobody knows: it may have
	 * been a try. Another target has had none. */
	if (r->attempts + r->resent >= most_tries(r)) {
		r->spent = true;
		return false;
	}
	return find_again(r, c, ret_at, ret_wait) && take_credit(r);
}

bool retry_follows(struct request *r, enum error_class c, enum attempt_failure f, unsigned status)
{
	bool may = retry_may_follow(r) && is_picked(&model_of(r)->retry, c, f, status);
	struct trace_try *tried;
	bool again;
	uint8_t at;
	usec wait;

	r->resent += r->attempt->replaced;
	retry_learn(r, c, status);
	tried = note(r, c, f, status);
	/* What we have added to the request is no fault of the caller's. */
	if (!may || (c == CLASS_caller_fault && !r->cont) || !find(r, c, &at, &again, &wait)) {
		say_given_up(r, c, f, status);
		return false;
	}
	note_next(r, tried, at, again, wait);
	say_next(r, c, f, status, again ? "again" : "fallback", at, wait);
	if (!again && at != r->plan_at)
		count_fallback(r, at);
	go_elsewhere(r, at, wait);
	return true;
}

bool retry_continues(struct request *r, enum attempt_failure f)
{
	struct trace_try *tried;
	bool again;
	uint8_t at;
	usec wait;

	r->resent += r->attempt->replaced;
	if (!continue_may(r) || !retry_has_tries(r) ||
		!is_picked(&model_of(r)->retry, CLASS_transient, f, 0) ||
		!find(r, CLASS_transient, &at, &again, &wait))
		return false;
	tried = note(r, CLASS_transient, f, 0);
	if (tried) {
		tried->wait_ms = (uint32_t)(wait / USEC_PER_MS);
		tried->next = TRACE_CONTINUED;
	}
	say_next(r, CLASS_transient, f, 200, "continue", at, wait);
	if (!again)
		count_fallback(r, at);
	continue_part(r);
	r->committed = false;
	go_elsewhere(r, at, wait);
	return true;
}

void retry_earn(struct request *r)
{
	uint32_t *credit = &r->rules->retry_credit[r->model];

	*credit = MIN(*credit + model_of(r)->retry.budget_pct, (uint32_t)RETRY_CREDIT_MAX);
}

void retry_init(struct request *r)
{
	deadline_init(&r->again, on_again);
	deferred_init(&r->soon, on_soon);
}

void retry_stop(struct request *r)
{
	deadline_stop(r->env->loop, &r->again);
	deferred_cancel(&r->soon);
	measure_end(r);
	if (r->holds_probe)
		health_give_back(r->env->gw->health, place_of(r), loop_now(r->env->loop));
	r->holds_probe = false;
	if (r->way_lease)
		end_lease(r, false);
}
