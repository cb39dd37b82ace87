#include "probe/probe.h"

#include "dialect/openai_answer.h"
#include "dialect/openai_hint.h"
#include "request/relay.h"

#include <aigw/clock.h>
#include <aigw/json_scan.h>

struct probe {
	struct attempt attempt;
	struct probe_ask ask;
	struct pool *pool; /* a reference */
	struct loop *loop;
	struct deadline most;
	struct deferred over;
	struct probe_result result;
	usec begun_us, head_us;
	bool compressed;
	struct buf body;
};

static const struct policy_provider *provider_of(const struct probe *p)
{
	return &p->ask.rules->policy->doc->providers[p->ask.provider];
}

/* --- what it comes to ----------------------------------------------------------------- */

static bool wants_models(const struct policy_provider *p)
{
	return !p->health.probe.n || slice_eq(p->health.probe, SLICE(POLICY_PROBE_MODELS));
}

/* A list in an object, or bare; of a long one its beginning tells. */
static bool is_list(struct slice body)
{
	struct slice s = slice_trim(body);

	if (!s.n || (s.p[0] != '{' && s.p[0] != '['))
		return false;
	if (body.n >= PROBE_MAX_BYTES)
		return true;
	return s.p[0] == '{' ? jscan_object(s, NULL, NULL, NULL) == 0
			     : jscan_array(s, NULL, NULL, NULL) == 0;
}

static enum probe_verdict verdict_of(const struct probe_result *r, struct slice body)
{
	switch (r->class) {
	case CLASS_none: return PROBE_GOOD;
	case CLASS_transient: return PROBE_FAILED;
	case CLASS_provider_quota: return PROBE_EMPTY;
	case CLASS_provider_auth:
		/* A key that may call and not list is a good one. */
		return r->status == 403 || openai_lacks_permission(body) ? PROBE_CANNOT_TELL
									 : PROBE_REFUSED;
	case CLASS_rate_limited:
	case CLASS_context_length:
	case CLASS_unsupported_operation:
	case CLASS_caller_fault:
	case CLASS_COUNT: break;
	}
	return PROBE_CANNOT_TELL;
}

static void judge(struct probe *p)
{
	struct slice body = p->compressed ? SLICE_EMPTY : buf_view(&p->body);
	struct probe_result *r = &p->result;

	if (r->failure)
		r->class = CLASS_transient;
	else if (r->status >= 400)
		r->class = relay_class(provider_of(p), r->status, body);
	else if (r->status >= 300)
		r->class = CLASS_unsupported_operation;
	else if (wants_models(provider_of(p)) && !p->compressed && !is_list(body))
		r->undecodable = true;
	if (r->undecodable)
		r->class = CLASS_transient;
	if (!r->hint_us && r->status >= 400)
		r->hint_us = openai_hint_in(body);
	r->verdict = verdict_of(r, body);
}

/* --- times ---------------------------------------------------------------------------- */

static void take_times(struct probe *p)
{
	const struct attempt *a = &p->attempt;
	struct probe_result *r = &p->result;

	r->total_us = loop_now(p->loop) - p->begun_us;
	r->dns_us = a->resolved_us ? a->resolved_us - p->begun_us : -1;
	r->connect_us = a->connected_us ? a->connected_us - a->resolved_us : -1;
	r->tls_us = provider_of(p)->url.tls && a->opened_us ? a->opened_us - a->connected_us : -1;
	r->first_byte_us = p->head_us ? p->head_us - a->opened_us : -1;
	memcpy(r->why, a->why, sizeof(r->why));
}

/* --- life ----------------------------------------------------------------------------- */

static void probe_free(struct probe *p)
{
	deadline_stop(p->loop, &p->most);
	deferred_cancel(&p->over);
	buf_fini(&p->body);
	pool_drop_idle(p->pool); /* whatever the server made of `connection: close` */
	pool_unref(p->pool);
	rules_unref(p->ask.rules);
	free(p);
}

static void on_over(struct deferred *d)
{
	struct probe *p = container_of(d, struct probe, over);
	struct probe_result r;
	struct probe_ask ask = p->ask;

	judge(p);
	take_times(p);
	r = p->result;
	probe_free(p);
	ask.done(&r, ask.owner);
}

/* The attempt is over, or is to be by this. */
static void end(struct probe *p, enum attempt_failure f)
{
	p->result.failure = f;
	attempt_abort(&p->attempt);
	deadline_stop(p->loop, &p->most);
	deferred_queue(p->loop, &p->over);
}

static void on_most(struct deadline *d)
{
	struct probe *p = container_of(d, struct probe, most);

	end(p, p->attempt.opened_us ? ATTEMPT_TIMEOUT_FIRST_BYTE : ATTEMPT_TIMEOUT_CONNECT);
}

/* --- the attempt's events ------------------------------------------------------------- */

static unsigned bytes(struct attempt *a, struct slice *out)
{
	struct probe *p = a->owner;
	const struct policy_provider *provider = provider_of(p);
	struct buf b = buf_over(p->loop->scratch_out, LOOP_SCRATCH_BYTES);

	(void)buf_str(&b, "GET ");
	(void)buf_str(&b, wants_models(provider) ? a->pool->path : "");
	(void)buf_str(&b, wants_models(provider) ? "/models" : "");
	(void)buf_slice(&b, wants_models(provider) ? SLICE_EMPTY : provider->health.probe);
	(void)buf_str(&b, " HTTP/1.1\r\nhost: ");
	(void)buf_str(&b, a->pool->authority);
	(void)buf_str(&b, "\r\nuser-agent: aigw/" AIGW_VERSION
			  "\r\naccept: application/json\r\naccept-encoding: identity\r\n"
			  "connection: close\r\n");
	rules_put_credential(p->ask.rules, p->ask.provider, p->ask.credential, &b);
	(void)buf_str(&b, "\r\n");
	ASSERT(!b.err); /* each part is bounded by the policy or by 8 KiB */
	out[0] = buf_view(&b);
	return 1;
}

static bool on_head(struct attempt *a, const struct h1_head *h)
{
	struct probe *p = a->owner;
	const struct h1_field *coding = h1_find(h, SLICE("content-encoding"));

	p->head_us = loop_now(p->loop);
	p->result.status = h->status;
	p->compressed = coding && !slice_eq_nocase(coding->value, SLICE("identity"));
	if (h->status >= 400)
		p->result.hint_us = openai_hint_of_head(h, clock_wall_us());
	return true;
}

static bool on_body(struct attempt *a, char *bytes_of, size_t n, bool last)
{
	struct probe *p = a->owner;

	(void)buf_append(&p->body, bytes_of, MIN(n, PROBE_MAX_BYTES - p->body.n));
	if (!last && p->body.n < PROBE_MAX_BYTES)
		return true;
	end(p, p->body.err ? ATTEMPT_MEMORY : ATTEMPT_OK);
	return false;
}

static void on_failed(struct attempt *a, enum attempt_failure f)
{
	end(a->owner, f);
}

static const struct attempt_events events = {
	.bytes = bytes, .head = on_head, .body = on_body, .failed = on_failed
};

struct probe *probe_start(const struct probe_ask *ask)
{
	struct probe *p = calloc(1, sizeof(*p));
	const struct policy_provider *provider;
	usec most;

	if (!p)
		return NULL;
	p->ask = *ask;
	p->ask.rules = rules_ref(ask->rules);
	p->pool = pool_ref(ask->pool);
	p->loop = ask->pool->loop;
	p->begun_us = loop_now(p->loop);
	buf_init(&p->body, PROBE_MAX_BYTES);
	deadline_init(&p->most, on_most);
	deferred_init(&p->over, on_over);
	provider = provider_of(p);
	most = provider->connect_us + provider->first_byte_us;
	deadline_set(p->loop, &p->most, ask->most_us ? MIN(most, ask->most_us) : most);
	attempt_init(&p->attempt, ask->pool, &events, p,
		(struct attempt_timeouts){
			provider->connect_us, provider->first_byte_us, provider->idle_us });
	p->attempt.fresh = true; /* the way there is what is asked about */
	attempt_start(&p->attempt);
	return p;
}

void probe_stop(struct probe *p)
{
	if (!p)
		return;
	attempt_abort(&p->attempt);
	probe_free(p);
}
