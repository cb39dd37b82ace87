/* A slot in the in-flight file: the record's home from here on. */
#include "request/request.h"

#include <aigw/json_scan.h>

/* `admitted`: else nobody is asked, and nobody is named for it. */
static void slot_name(struct request *r, struct slot *s, bool admitted)
{
	const struct policy_doc *d = r->rules->rules->policy->doc;
	const struct policy_project *project = &d->projects[r->project];
	struct slice user = r->facts.user;

	slot_set_text(s, SLOT_TEXT_op_id, slice_of((const char *)r->op_id, sizeof(r->op_id)));
	slot_set_text(s, SLOT_TEXT_customer, d->customers[project->customer].name);
	slot_set_text(s, SLOT_TEXT_project, project->name);
	if (r->has_key)
		slot_set_text(s, SLOT_TEXT_key_id, slice_of(r->key_id, VKEY_ID_LEN));
	if (r->facts.model_raw.n > 2)
		slot_set_text(s, SLOT_TEXT_model_asked,
			slice_of(r->facts.model_raw.p + 1, r->facts.model_raw.n - 2));
	if (r->counted)
		slot_set_text(s, SLOT_TEXT_model, d->models[r->model].name);
	if (admitted) {
		slot_set_text(s, SLOT_TEXT_provider, d->providers[r->provider].name);
		slot_set_text(s, SLOT_TEXT_upstream_model, d->targets[r->target].model);
	}
	if (r->caller && r->caller->unit && !r->has_key)
		slot_set_text(s, SLOT_TEXT_unit, slice_str(r->caller->unit));
	if (user.n > 2)
		slot_set_text(s, SLOT_TEXT_end_user, slice_of(user.p + 1, user.n - 2));
}

static struct slot *slot_begin(struct request *r, bool admitted)
{
	struct slot *s;

	r->slot = inflight_take(r->env->gw->inflight);
	if (r->slot == SLOT_NONE)
		return NULL;
	s = inflight_slot(r->env->gw->inflight, r->slot);
	slot_name(r, s, admitted);
	s->began_mono_us = (uint64_t)r->began_us;
	s->v.start_us = r->wall_us;
	s->v.uid = r->has_uid && r->caller ? (int64_t)r->caller->cred.uid + 1 : 0;
	s->v.endpoint = r->endpoint;
	s->v.stream = r->facts.stream;
	s->v.dialect = 1;
	s->v.attempt = 1;
	s->v.revision = (int64_t)r->rules->rules->policy->revision;
	s->v.bytes_in = (int64_t)r->body.n;
	return s;
}

/* Upper bound of the cost: a byte-level token is at least one byte; the output as far as the client
 * bounded it. */
static int64_t reserve(const struct request *r, const struct policy_price *price)
{
	struct price_usage u = { .input = (int64_t)r->body.n };
	int64_t nano = 0;

	if (__builtin_mul_overflow(r->facts.max_output_tokens, r->facts.n, &u.output))
		u.output = r->facts.max_output_tokens;
	return price_cost(&price->price, &u, &nano) ? INT64_MAX : nano;
}

static bool store_takes(struct request *r)
{
	struct spool_gauges g;

	switch (committer_state(r->env->gw->committer)) {
	case COMMITTER_FAILED: request_fail(r, FAIL_store_unavailable, "%s", ""); return false;
	case COMMITTER_FULL: request_fail(r, FAIL_spool_full, "%s", ""); return false;
	case COMMITTER_OK:
	case COMMITTER_STALLED: break;
	}
	spool_read_gauges(r->env->gw->spool, &g);
	if (g.full) {
		request_fail(r, FAIL_spool_full, "%s", "");
		return false;
	}
	return true;
}

/* Who serves it and what that costs: in the slot before the first byte leaves, so that a crash
 * books it right. */
void admit_target(struct request *r)
{
	const struct policy_doc *d = r->rules->rules->policy->doc;
	const struct policy_price *price = worker_rules_price(r->rules, r->target, r->wall_us);
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);

	if (r->attempts) { /* slot_begin() has named the first one */
		slot_set_text(s, SLOT_TEXT_provider, d->providers[r->provider].name);
		slot_set_text(s, SLOT_TEXT_upstream_model, d->targets[r->target].model);
	}
	s->v.priced = price != NULL;
	s->v.price_version = price ? price->price.version : 0;
	s->v.reserved_nano = price ? reserve(r, price) : 0;
	if (__builtin_add_overflow(s->v.reserved_nano, s->before_nano, &s->v.reserved_nano))
		s->v.reserved_nano = INT64_MAX;
	s->rate_input = price ? price->price.nano[PRICE_input] : 0;
	s->rate_output = price ? price->price.nano[PRICE_output] : 0;
	s->rate_request = price ? price->price.nano[PRICE_per_request] : 0;
	s->rate_minute = price ? price->price.nano[PRICE_per_minute] : 0;
}

void admit_step(struct request *r)
{
	struct slot *s;

	if (!store_takes(r))
		return;
	s = slot_begin(r, true);
	if (!s) {
		request_fail(r, FAIL_gateway_overloaded,
			"All in-flight slots are taken. Try again shortly.");
		return;
	}
	admit_target(r);
	slot_set_state(s, SLOT_ADMITTED);
	stats_add(r->env->stats, STAT_GLOBAL, 0, STAT_inflight, 1);
	stats_add(r->env->stats, STAT_MODEL, r->rules->rules->policy->model_stat[r->model],
		STAT_inflight, 1);
	r->step = STEP_ATTEMPT;
}

/* A refused call of a known identity leaves a short record, at most ten a second of one identity; a
 * flood is only counted. */
bool admit_refused(struct request *r)
{
	struct refusal_memo *m;
	uint32_t tag = r->project * 2654435761u;

	for (int i = 0; r->has_key && i < VKEY_ID_LEN; i++)
		tag = tag * 31 + (uint8_t)r->key_id[i];
	if (!r->has_key && r->caller)
		tag = tag * 31 + r->caller->cred.uid;
	m = &r->env->refusals[tag % ARRAY_LEN(r->env->refusals)];
	if (m->tag != tag || m->second != (uint32_t)(r->began_us / USEC_PER_S)) {
		*m = (struct refusal_memo){ tag, (uint32_t)(r->began_us / USEC_PER_S), 0 };
	}
	if (++m->count > 10)
		return false;
	return slot_begin(r, false) != NULL;
}
