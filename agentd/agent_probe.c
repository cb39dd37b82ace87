/* provider test: probes by hand, as control.sock asks. What came of each, what it means and what to
 * do: never a word of the provider's own, which may repeat a part of the key. Control loop. */
#include "agent_private.h"

#include <aigw/clock.h>
#include <aigw/json.h>

struct by_hand {
	struct agent *agent;
	struct prober_test *test;
	void (*done)(json_t *v, void *arg);
	void *arg;
};

/* --- what it means, and what to do ---------------------------------------------------- */

struct advice {
	const char *means, *remedy;
	bool set_secret; /* "aigwctl provider secret set" and the name stand behind the remedy */
};

static struct advice say(const char *means, const char *remedy)
{
	return (struct advice){ means, remedy, false };
}

static struct advice advice_of_failure(enum attempt_failure f)
{
	switch (f) {
	case ATTEMPT_NO_ADDRESS:
		return say("the host name of base_url has no address",
			"look for a typo in base_url, and at this host's resolver (getent hosts "
			"NAME)");
	case ATTEMPT_NO_CONNECTION:
		return say("no address took a connection",
			"see that the server runs and listens there, and that no firewall "
			"refuses it; a way out by a proxy is the agent's setting proxy");
	case ATTEMPT_TLS:
		return say("TLS failed",
			"see this host's clock and certificates; for a private authority set "
			"options.ca_file of the provider");
	case ATTEMPT_PROXY:
		return say("the proxy refused the tunnel",
			"see the agent's setting proxy, and the secret named proxy");
	case ATTEMPT_TIMEOUT_CONNECT:
		return say("no connection in time",
			"a firewall may drop packets; else raise timeouts.connect of the "
			"provider");
	case ATTEMPT_TIMEOUT_FIRST_BYTE:
		return say("connected, and no answer in time",
			"the provider is overloaded or hangs: see its status page or its log");
	case ATTEMPT_TIMEOUT_IDLE:
		return say("the answer began and stalled",
			"see the provider's status page or its log");
	case ATTEMPT_CLOSED_EARLY:
		return say("the connection was closed before an answer",
			"see the provider's log; https may be wanted where base_url says http");
	case ATTEMPT_CUT:
		return say("the connection was closed within the answer",
			"see the provider's status page or its log");
	case ATTEMPT_MALFORMED:
		return say("what answers there speaks no HTTP", "see port and scheme of base_url");
	case ATTEMPT_OK:
	case ATTEMPT_MEMORY: break;
	}
	return say("the agent has no memory for it", "give the agent more memory");
}

static struct advice advice_of_auth(const struct policy_provider *p, const struct probe_result *r)
{
	if (r->verdict == PROBE_CANNOT_TELL)
		return say("the provider knows the credential, and it may not do this",
			"calls may work all the same: aigwctl try MODEL; else give the key more "
			"rights, or see whether the provider serves this host's country");
	if (!p->n_credentials)
		return say("the provider wants a credential, and the policy names none",
			"add credential: NAME to the provider, then aigwctl provider secret set "
			"NAME");
	return (struct advice){ "the provider refuses the credential",
		"make a new key there, then ", true };
}

static struct advice advice_of(const struct policy_provider *p, const struct probe_result *r)
{
	if (r->failure)
		return advice_of_failure(r->failure);
	if (r->undecodable)
		return say("it answers, but not as the list of models that an API has",
			"see base_url, which ends with /v1 as a rule: a portal or another server "
			"may answer there");
	switch (r->class) {
	case CLASS_none:
		return say(p->n_credentials ? "it answers, and does not refuse the credential"
					    : "it answers",
			"");
	case CLASS_transient:
		return say("the provider is failing",
			"wait, or see its status page; calls go to other targets meanwhile");
	case CLASS_rate_limited:
		return say("the provider limits this credential now",
			"wait; if it lasts, ask for a higher limit there");
	case CLASS_provider_auth: return advice_of_auth(p, r);
	case CLASS_provider_quota:
		return say("the account at the provider is empty",
			"settle the account; the next good test lets a call try at once");
	case CLASS_unsupported_operation:
		if (r->status < 400)
			return say("the provider answers with a redirect, which is "
				   "not followed",
				"correct base_url");
		return say("it answers, and has no such page",
			"see base_url; if calls work (aigwctl try MODEL), name a page that it has "
			"by health.probe");
	case CLASS_context_length:
	case CLASS_caller_fault:
	case CLASS_COUNT: break;
	}
	return say("it answers, and refuses the question",
		"see base_url; if calls work (aigwctl try MODEL), name a page that it has by "
		"health.probe");
}

/* --- as JSON -------------------------------------------------------------------------- */

static json_t *time_json(usec us)
{
	return us < 0 ? json_null() : json_integer(us);
}

static json_t *reason_json(const struct probe_result *r)
{
	if (r->failure)
		return json_string(attempt_failure_name(r->failure));
	return r->undecodable ? json_string(stats_error_name(ERROR_undecodable)) : json_null();
}

static const char *state_of(
	const struct agent *a, const struct rules *rules, uint32_t provider, uint32_t k)
{
	const struct policy_doc *d = rules->policy->doc;
	const struct policy_provider *p = &d->providers[provider];
	usec recover;

	if (k >= p->n_credentials)
		return target_state_name(TARGET_OK);
	if (!(rules->usable[provider] >> k & 1))
		return target_state_name(TARGET_NO_CREDENTIAL);
	return target_state_name(health_state(a->gw.health,
		rules->policy->credential_place[p->credentials - d->credentials + k],
		loop_now((struct loop *)&a->loop), &recover));
}

static json_t *row_json(const struct agent *a, const struct rules *rules, uint32_t provider,
	const struct prober_row *row)
{
	const struct policy_provider *p = &rules->policy->doc->providers[provider];
	const struct probe_result *r = &row->result;
	struct advice advice = { "this host has no secret of that name",
		"put a file of that name into secrets_dir, or ", true };
	struct slice name =
		row->credential < p->n_credentials ? p->credentials[row->credential] : SLICE_EMPTY;
	json_t *v;

	if (!row->missing)
		advice = advice_of(p, r);
	v = json_pack("{s:o, s:s, s:b, s:o, s:o, s:s, s:s, s:o, s:s}", "credential",
		name.n ? json_slice(name) : json_null(), "result",
		row->missing ? "no_secret" : probe_verdict_name(r->verdict), "good",
		(int)(!row->missing && r->verdict == PROBE_GOOD), "status",
		r->status ? json_integer(r->status) : json_null(), "reason", reason_json(r),
		"class", row->missing ? "none" : error_class_name(r->class), "means", advice.means,
		"remedy",
		json_sprintf("%s%s" SLICE_FMT, advice.remedy,
			advice.set_secret ? "aigwctl provider secret set " : "",
			SLICE_ARG(advice.set_secret ? name : SLICE_EMPTY)),
		"detail", r->why);
	if (!v)
		return NULL;
	(void)json_object_set_new(v, "dns_us", time_json(row->missing ? -1 : r->dns_us));
	(void)json_object_set_new(v, "connect_us", time_json(row->missing ? -1 : r->connect_us));
	(void)json_object_set_new(v, "tls_us", time_json(row->missing ? -1 : r->tls_us));
	(void)json_object_set_new(
		v, "first_byte_us", time_json(row->missing ? -1 : r->first_byte_us));
	(void)json_object_set_new(v, "total_us", time_json(row->missing ? -1 : r->total_us));
	(void)json_object_set_new(
		v, "state", json_string(state_of(a, rules, provider, row->credential)));
	(void)json_object_set_new(v, "tried_next", json_boolean(row->due));
	return v;
}

static void on_done(const struct rules *rules, uint32_t provider, const struct prober_row *rows,
	uint32_t n, void *owner)
{
	struct by_hand *b = owner;
	const struct policy_provider *p = &rules->policy->doc->providers[provider];
	json_t *list = json_array(), *v;
	bool models = !p->health.probe.n || slice_eq(p->health.probe, SLICE(POLICY_PROBE_MODELS));

	for (uint32_t i = 0; i < n; i++)
		(void)json_array_append_new(list, row_json(b->agent, rules, provider, &rows[i]));
	/* Put together of what a URL may show. */
	v = json_pack("{s:s, s:o, s:o, s:b, s:b, s:o}", "agent", b->agent->agent_id, "provider",
		json_slice(p->name), "asked",
		json_sprintf("GET %s://" SLICE_FMT SLICE_FMT SLICE_FMT,
			p->url.tls ? "https" : "http", SLICE_ARG(p->url.authority),
			SLICE_ARG(models ? p->url.path : p->health.probe),
			SLICE_ARG(models ? SLICE("/models") : SLICE_EMPTY)),
		"proxy", (int)(rules->tunnel[provider].n > 0), "probed",
		(int)(p->health.probe.n > 0), "credentials", list);
	b->done(v, b->arg);
	free(b);
}

/* --- what is asked -------------------------------------------------------------------- */

static bool find(struct agent *a, const struct control_test *q, struct prober_ask *ask,
	enum admin_error *code, struct errbuf *why)
{
	const struct policy_doc *d = a->rules->policy->doc;
	const struct policy_provider *p = NULL;

	*code = ADMIN_ERROR_not_found;
	for (uint32_t i = 0; i < d->n_providers; i++)
		if (slice_eq(d->providers[i].name, q->provider)) {
			p = &d->providers[i];
			ask->provider = i;
		}
	if (!p) {
		(void)err_set(why, 0, "the policy in force here has no provider '" SLICE_FMT "'",
			SLICE_ARG(q->provider));
		return false;
	}
	if (!q->credential.n)
		ask->credentials = (1u << MAX(p->n_credentials, 1u)) - 1;
	for (uint32_t k = 0; q->credential.n && k < p->n_credentials; k++)
		if (slice_eq(p->credentials[k], q->credential))
			ask->credentials = 1u << k;
	if (!ask->credentials)
		(void)err_set(why, 0, "provider '" SLICE_FMT "' has no credential '" SLICE_FMT "'",
			SLICE_ARG(p->name), SLICE_ARG(q->credential));
	return ask->credentials != 0;
}

void *agent_test(const struct control_test *q, void (*done)(json_t *v, void *arg), void *arg,
	void *owner, enum admin_error *code, struct errbuf *why)
{
	struct agent *a = owner;
	struct by_hand *b;
	struct prober_ask ask = { .rules = a->rules, .most_us = q->most_us, .done = on_done };
	int err;

	*code = ADMIN_ERROR_conflict;
	if (!a->rules) {
		(void)err_set(why, 0, "the agent has no policy yet");
		return NULL;
	}
	if (!find(a, q, &ask, code, why))
		return NULL;
	b = calloc(1, sizeof(*b));
	if (b)
		*b = (struct by_hand){ .agent = a, .done = done, .arg = arg };
	ask.owner = b;
	err = b ? prober_test(&a->prober, &ask, &b->test) : -ENOMEM;
	if (!err)
		return b;
	free(b);
	*code = err == -EBUSY ? ADMIN_ERROR_conflict : ADMIN_ERROR_internal;
	(void)err_set(why, 0,
		err == -EBUSY ? "%d tests are running already, which is as many as may; wait for "
				"one of them"
			      : "out of memory",
		PROBER_TESTS_MAX);
	return NULL;
}

void agent_test_stop(void *handle)
{
	struct by_hand *b = handle;

	prober_test_stop(b->test);
	free(b);
}
