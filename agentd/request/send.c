/* The call at the provider: its head written anew, the body's pieces around the edits, one
 * credential. */
#include "request/continue.h"
#include "request/holds.h"
#include "request/meter.h"
#include "request/queue.h"
#include "request/upload.h"

/* How the target stands; a credential in its turn gets its try when it is due. The same again, with
 * another one or none, where another call was faster. */
static enum target_state take_way(
	struct request *r, struct health_ways *ways, usec now, usec *ret_recover)
{
	const struct policy *p = r->rules->rules->policy;
	struct health *h = r->env->gw->health;
	uint32_t *turn = &r->rules->turn[r->provider], way;
	enum target_state s;

	ways->tries = true;
	do {
		s = health_stand(h, ways, *turn, now, ret_recover, &way);
	} while (s != TARGET_OK && target_is_callable(s, *ret_recover) &&
		 !health_take_way(
			 h, ways, way, now, p->doc->targets[r->target].total_us, &r->way_lease));
	*turn = way + 1;
	r->credential = (uint8_t)way;
	return s;
}

/* To r->target, which stands so? */
static bool may_go(struct request *r, enum target_state s, usec recover,
	const struct health_ways *ways, usec now)
{
	const struct policy_target *t = &r->rules->rules->policy->doc->targets[r->target];

	if (r->plan.degraded) {
		r->holds_probe = true; /* whatever comes of it counts */
		return true;
	}
	if (s != TARGET_OPEN && target_is_callable(s, recover))
		return true;
	if (s == TARGET_OPEN &&
		health_take_probe(r->env->gw->health, ways->target, now, t->total_us)) {
		r->holds_probe = true;
		return true;
	}
	/* The circuit waits for its probe all the same. */
	return plan_keeps(&r->plan, r->plan.target[r->plan_at], s);
}

/* Half-open targets take one call at a time, and some providers so many: whoever is late goes on to
 * the next. */
static bool take_target(struct request *r, usec now)
{
	const struct policy *p = r->rules->rules->policy;
	const struct policy_model *m = &p->doc->models[r->model];
	struct health *h = r->env->gw->health;
	uint32_t target = r->target, provider = r->provider;
	usec recover;

	for (; r->plan_at < r->plan.n; r->plan_at++) {
		enum target_state s;
		struct health_ways ways;

		if (continue_is_on(r) && !continue_at(r, r->plan.target[r->plan_at]))
			continue;
		r->target = (uint32_t)(m->targets - p->doc->targets) + r->plan.target[r->plan_at];
		r->provider = p->doc->targets[r->target].provider;
		ways = rules_ways(r->rules->rules, r->target);
		s = take_way(r, &ways, now, &recover);
		if (s != TARGET_DRAINED && holds_take_provider(r)) {
			if (may_go(r, s, recover, &ways, now))
				return true;
			holds_give_provider(r);
		}
		if (r->way_lease)
			health_way_back(h, &ways, r->credential, now, r->way_lease);
		r->way_lease = 0;
	}
	/* Who was asked last is whom the answer and the record name. */
	r->target = target;
	r->provider = provider;
	return false;
}

/* What was planned a moment ago another worker has taken. */
static void refuse_late(struct request *r)
{
	const struct policy *p = r->rules->rules->policy;
	const struct policy_target *targets = p->doc->models[r->model].targets;
	enum fail f = FAIL_upstream_unavailable;

	for (uint8_t i = 0; i < r->plan.n; i++)
		if (p->provider_calls[targets[r->plan.target[i]].provider])
			f = FAIL_provider_at_capacity;
	if (f == FAIL_upstream_unavailable || !queue_takes(r, f, CAPACITY_AGAIN_US))
		request_fail(r, f, "%s", "");
}

void send_step(struct request *r)
{
	const struct policy_doc *d = r->rules->rules->policy->doc;
	const struct policy_target *t;
	struct attempt_timeouts timeouts;
	usec now = loop_now(r->env->loop);

	if (!take_target(r, now) && continue_is_on(r)) {
		request_fail(r, FAIL_upstream_cut, "%s", "");
		return;
	}
	if (r->plan_at == r->plan.n) {
		/* All that stood well when it was planned has fallen since. */
		if (!route_plan(r))
			return;
		if (!take_target(r, now)) {
			refuse_late(r);
			return;
		}
	}
	t = &d->targets[r->target];
	timeouts = (struct attempt_timeouts){ t->connect_us, t->first_byte_us, t->idle_us };
	if (r->plan.n > 1 || r->attempts)
		admit_target(r);
	r->asks_upstream = r->facts.stream &&
			   (r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions) &&
			   d->providers[r->provider].stream_usage;
	if (continue_is_on(r) && !continue_ask(r)) {
		request_fail(r, FAIL_upstream_cut, "%s", "");
		return;
	}
	r->attempt = r->attempt_memory;
	r->step = STEP_RELAY;
	attempt_init(r->attempt, r->rules->pools[r->provider], &relay_events, r, timeouts);
	r->attempt->holds_content = r->facts.stream;
	measure_begin(r);
	r->attempt->fresh = r->repeats; /* one try more is one call more at the provider, not two */
	if (!r->attempts++) {
		retry_earn(r);
		r->total_at_us = now + t->total_us;
		deadline_set(r->env->loop, &r->total, t->total_us);
	}
	r->spent = !retry_may_follow(r);
	/* Either may fail at once, and then r has moved on. */
	if (r->upload && !r->upload->whole)
		attempt_start_stream(r->attempt);
	else
		attempt_start(r->attempt);
}

static const char *endpoint_path(uint8_t endpoint)
{
	switch (endpoint) {
	case ENDPOINT_chat: return "/chat/completions";
	case ENDPOINT_completions: return "/completions";
	case ENDPOINT_embeddings: return "/embeddings";
	case ENDPOINT_responses: return "/responses";
	case ENDPOINT_transcriptions: return "/audio/transcriptions";
	case ENDPOINT_translations: return "/audio/translations";
	case ENDPOINT_speech: return "/audio/speech";
	case ENDPOINT_images: return "/images/generations";
	case ENDPOINT_image_edits: return "/images/edits";
	case ENDPOINT_image_variations: return "/images/variations";
	default: return "/moderations";
	}
}

/* Right before the first byte leaves: from here on the provider may bill. */
static void mark_sent(struct request *r)
{
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);
	struct openai_usage u = { 0 };

	r->on_wire = true;
	s->v.attempts = r->attempts;
	if (!r->sent_us) {
		r->sent_us = loop_now_anew(r->env->loop);
		r->own_us = r->sent_us - r->began_us - r->queued_us;
		s->v.overhead_us = r->own_us;
	}
	r->last_sent_us = loop_now(r->env->loop);
	/* What a crash would book until more is known. */
	meter_input(r, &u);
	continue_sum(r, &u);
	s->v.input_tokens = u.input;
	s->v.audio_input_tokens = u.audio_in;
	s->v.audio_ms = u.audio_ms;
	s->v.estimated = 1;
	slot_set_state(s, SLOT_SENT);
	if (wait_has_early_head(r))
		deferred_queue(r->env->loop, &r->soon); /* this very memory is in use now */
}

/* The head's end, before n pieces of content from out[1] on. Returns how many slices there are
 * then.
 */
static unsigned write_framing(
	struct request *r, struct buf *b, size_t body_n, unsigned n, struct slice *out)
{
	const struct upload *u = r->upload;
	bool runs = u && !u->whole;

	if (runs && u->chunked) {
		(void)buf_printf(b, "\r\ntransfer-encoding: chunked\r\n\r\n%zx\r\n", body_n);
		out[n + 1] = SLICE("\r\n");
		return n + 2;
	}
	(void)buf_str(b, "\r\ncontent-length: ");
	/* What is there, and what has to come still. */
	(void)buf_u64(b, runs ? body_n + (u->length - r->body.n) : body_n);
	(void)buf_str(b, "\r\n\r\n");
	return n + 1;
}

static bool has_its_name(const struct request *r, const struct policy_target *t)
{
	struct slice raw = r->facts.model_raw;

	return raw.n > 2 && slice_eq(slice_of(raw.p + 1, raw.n - 2), t->model);
}

unsigned send_bytes_of(struct attempt *a, struct slice *out)
{
	struct request *r = a->owner;
	const struct policy_target *t = &r->rules->rules->policy->doc->targets[r->target];
	const struct pool *pool = r->rules->pools[r->provider];
	bool goes_on = continue_is_on(r);
	struct slice body = goes_on ? buf_view(&r->cont->body) : slice_of(r->body.bytes, r->body.n);
	const struct openai_facts *facts = goes_on ? &r->cont->facts : &r->facts;
	struct slice model_json =
		has_its_name(r, t) ? SLICE_EMPTY : r->rules->rules->model_json[r->target];
	struct buf b = buf_over(r->env->loop->scratch_out, LOOP_SCRATCH_BYTES);
	size_t body_n = 0;
	unsigned n;

	if (r->upload)
		n = upload_pieces(r, model_json, out + 1);
	else
		n = openai_edit(body, facts, model_json, r->asks_upstream, out + 1);
	for (unsigned i = 1; i <= n; i++)
		body_n += out[i].n;
	(void)buf_str(&b, "POST ");
	(void)buf_str(&b, pool->path);
	(void)buf_str(&b, endpoint_path(r->endpoint));
	(void)buf_str(&b, " HTTP/1.1\r\nhost: ");
	(void)buf_str(&b, pool->authority);
	(void)buf_str(&b, "\r\nuser-agent: aigw/" AIGW_VERSION "\r\naccept-encoding: identity\r\n");
	rules_put_credential(r->rules->rules, r->provider, r->credential, &b);
	(void)buf_append(&b, r->forward, r->forward_n);
	(void)buf_str(&b, "x-client-request-id: ");
	(void)buf_append(&b, r->id, REQUEST_ID_LEN);
	n = write_framing(r, &b, body_n, n, out);
	ASSERT(!b.err); /* every part is bounded: FORWARD_MAX_BYTES, 8 KiB of credential, names of
			   the policy */
	mark_sent(r);
	out[0] = buf_view(&b);
	return n;
}
