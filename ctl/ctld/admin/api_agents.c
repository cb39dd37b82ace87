/* Agents, and the status page that begins with them. */
#include "admin/api.h"
#include "ctld.h"
#include "report/rollup.h"
#include <aigw/clock.h>

static json_t *agent_secrets(const struct agent *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < a->n_secrets; i++)
		(void)json_array_append_new(list, json_pack("{s:o, s:s, s:I}", "name",
							  json_slice(slice_str(a->secrets[i].name)),
							  "source", a->secrets[i].source, "version",
							  (json_int_t)a->secrets[i].version));
	return list;
}

static json_t *agent_reason(const struct agent *a, const char *state)
{
	const char *why = "";

	if (strcmp(state, "quarantined") == 0)
		why = a->head.reason;
	else if (strcmp(state, "refused") == 0)
		why = a->session ? a->reason : a->turned_away;
	else if (a->head.state != LEDGER_OPEN)
		why = a->head.reason;
	return why[0] ? json_slice(slice_str(why)) : json_null();
}

/* What only a connected agent has; the last known numbers stay for one that is gone. */
static void agent_live(const struct agent *a, json_t *v)
{
	usec now = clock_wall_us();
	int64_t lag = a->spool_oldest_us ? (now - (int64_t)a->spool_oldest_us) / USEC_PER_S : 0;

	(void)json_object_set_new(
		v, "pid", a->session ? json_integer((json_int_t)a->pid) : json_null());
	(void)json_object_set_new(
		v, "uptime_s", a->session ? json_integer((json_int_t)a->uptime_s) : json_null());
	(void)json_object_set_new(v, "requests", json_integer((json_int_t)a->requests));
	(void)json_object_set_new(
		v, "inflight", json_integer((json_int_t)(a->session ? a->inflight : 0)));
	(void)json_object_set_new(v, "spool_records", json_integer((json_int_t)a->spool_records));
	(void)json_object_set_new(v, "spool_lag_s", json_integer(MAX(lag, 0)));
	(void)json_object_set_new(v, "clock_diff_ms", json_integer(a->clock_diff_us / USEC_PER_MS));
	(void)json_object_set_new(v, "durability", json_slice(slice_str(a->durability)));
	(void)json_object_set_new(v, "last_seen", api_time(a->session ? now : a->last_seen_us));
	(void)json_object_set_new(v, "duplicate",
		json_boolean(a->duplicate_us && now - a->duplicate_us < AGENT_DUPLICATE_SHOWN_US));
}

static json_t *agent_json(struct ctld *c, const struct agent *a)
{
	const char *state = agent_state(a, &c->feed);
	json_t *v = json_pack(
		"{s:s, s:o, s:I, s:o, s:o, s:s, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:I}", "name",
		a->name, "store_id", api_hex(a->store_id, 16), "uid", (json_int_t)a->uid, "version",
		json_slice(slice_str(a->version)), "host", json_slice(slice_str(a->host)), "state",
		state, "revision",
		a->revision ? json_integer((json_int_t)a->revision) : json_null(), "keys_seq",
		(json_int_t)a->keys_seq, "reason", agent_reason(a, state), "secrets",
		agent_secrets(a), "warnings", api_lines(buf_view(&a->warnings), false),
		"high_water", (json_int_t)a->head.high_water, "records",
		(json_int_t)a->head.high_water, "undecodable", (json_int_t)a->head.undecodable);

	if (v)
		agent_live(a, v);
	return v;
}

json_t *api_agents_json(struct ctld *c)
{
	json_t *list = json_array();
	struct list *it, *tmp;

	list_each(it, tmp, &c->agents.known)(void)
		json_array_append_new(list, agent_json(c, list_entry(it, struct agent, node)));
	return list;
}

void api_agents_list(struct api_request *q)
{
	api_answer(q->x, 200, json_pack("{s:o}", "agents", api_agents_json(q->ctld)));
}

void api_agent_get(struct api_request *q)
{
	const struct agent *a = agents_find(&q->ctld->agents, q->arg);

	if (!a)
		api_error(q->x, ADMIN_ERROR_not_found, "there is no agent " SLICE_FMT,
			SLICE_ARG(q->arg));
	else
		api_answer(q->x, 200, agent_json(q->ctld, a));
}

/* --- status -------------------------------------------------------------------------------------
 */

struct status_run {
	struct ctld *c;
	json_t *versions; /* of the stored secrets, by name */
	json_t *warnings;
	struct key_states keys;
};

static int status_secret(const struct store_secret *s, void *arg)
{
	struct status_run *run = arg;

	return json_object_setn_new(run->versions, s->name.p, s->name.n,
		       json_integer((json_int_t)s->version)) < 0
		       ? -ENOMEM
		       : 0;
}

static int status_head(const struct ledger_head *h, void *arg)
{
	struct status_run *run = arg;
	char id[33];

	if (h->state == LEDGER_OPEN)
		return 0;
	for (unsigned i = 0; i < 16; i++)
		(void)snprintf(id + (size_t)i * 2, 3, "%02x", h->store_id[i]);
	(void)json_array_append_new(run->warnings,
		json_sprintf("store %s of agent %s is quarantined (%s): %s", id, h->agent,
			h->state == LEDGER_GAP ? "gap" : "fork", h->reason));
	return 0;
}

static int status_read(struct store_txn *t, void *arg)
{
	struct status_run *run = arg;
	int r = store_secret_each(t, status_secret, run);

	if (r == 0)
		r = store_key_each(t, api_count_key, &run->keys);
	return r == 0 ? ledger_head_each(t, status_head, run) : r;
}

/* Where a provider's credential is, here and at the agents. */
static json_t *provider_secret(struct status_run *run, struct slice name)
{
	json_t *version = json_object_getn(run->versions, name.p ? name.p : "", name.n),
	       *sources = json_object();
	char text[80];
	struct list *it, *tmp;

	(void)snprintf(text, sizeof(text), SLICE_FMT, SLICE_ARG(name));
	list_each(it, tmp, &run->c->agents.known)
	{
		const struct agent *a = list_entry(it, struct agent, node);
		const struct agent_secret *s = agent_secret_find(a, text);

		if (!a->session || !name.n)
			continue;
		(void)json_object_set_new(sources, a->name, json_string(s ? s->source : "none"));
		if (!s || strcmp(s->source, "none") == 0)
			(void)json_array_append_new(run->warnings,
				json_sprintf("agent %s has no credential %s", a->name, text));
	}
	return json_pack("{s:o, s:b, s:o, s:o}", "name", json_slice(name), "stored",
		version != NULL, "version", version ? json_incref(version) : json_null(), "sources",
		sources);
}

static json_t *status_providers(struct status_run *run)
{
	const struct policy_doc *doc = run->c->feed.policy ? run->c->feed.policy->doc : NULL;
	json_t *list = json_array();

	for (uint32_t i = 0; doc && i < doc->n_providers; i++) {
		const struct policy_provider *p = &doc->providers[i];
		json_t *credentials = json_array();

		for (uint32_t k = 0; k < p->n_credentials; k++)
			(void)json_array_append_new(
				credentials, provider_secret(run, p->credentials[k]));
		(void)json_array_append_new(list,
			json_pack("{s:o, s:s, s:o, s:o}", "name", json_slice(p->name), "type",
				p->type == PROVIDER_openai ? "openai" : "openai-compatible",
				"base_url", json_slice(p->base_url), "credentials", credentials));
	}
	return list;
}

static json_t *status_models(const struct ctld *c)
{
	const struct policy_doc *doc = c->feed.policy ? c->feed.policy->doc : NULL;
	json_t *list = json_array();

	for (uint32_t i = 0; doc && i < doc->n_models; i++)
		(void)json_array_append_new(list, json_slice(doc->models[i].name));
	return list;
}

static json_t *status_today(struct ctld *c)
{
	const usec day = 86400 * USEC_PER_S;
	usec now = clock_wall_us();
	struct rollup_query query = { .since_us = now - now % day, .until_us = INT64_MAX };
	struct rollup_result res;
	const rollup_int *sum;
	char cost[48];
	json_t *v;

	if (api_query(c, &query, &res) < 0)
		return json_null();
	sum = res.total.v;
	rollup_format(sum[SUM_cost], true, cost);
	v = json_pack("{s:I, s:o, s:I}", "requests", (json_int_t)sum[SUM_requests], "cost",
		sum[SUM_requests] && sum[SUM_requests] == sum[SUM_unpriced] ? json_null()
									    : json_string(cost),
		"unpriced", (json_int_t)sum[SUM_unpriced]);
	rollup_result_free(&res);
	return v;
}

static void status_warnings(struct status_run *run)
{
	struct list *it, *tmp;

	if (!run->c->feed.policy)
		(void)json_array_append_new(run->warnings,
			json_string(run->c->feed.unusable[0] ? run->c->feed.unusable
							     : "no policy has been applied yet"));
	if (run->c->disk_percent >= 80)
		(void)json_array_append_new(
			run->warnings, json_sprintf("the disk of %s is %u %% full",
					       run->c->config.state_dir, run->c->disk_percent));
	list_each(it, tmp, &run->c->agents.known)
	{
		const struct agent *a = list_entry(it, struct agent, node);

		if (a->duplicate_us && clock_wall_us() - a->duplicate_us < AGENT_DUPLICATE_SHOWN_US)
			(void)json_array_append_new(run->warnings,
				json_sprintf("a second connection in the name of %s was refused",
					a->name));
		if (a->head.undecodable)
			(void)json_array_append_new(run->warnings,
				json_sprintf("%" PRIu64
					     " records of agent %s can't be read by this version",
					a->head.undecodable, a->name));
	}
}

json_t *api_providers_json(struct api_request *q)
{
	struct status_run run = {
		.c = q->ctld, .versions = json_object(), .warnings = json_array()
	};
	int r = store_read(q->ctld->store, status_read, &run);
	json_t *list = r < 0 ? NULL : status_providers(&run);

	json_decref(run.versions);
	json_decref(run.warnings);
	if (r < 0)
		api_store_error(q->x, r);
	return list;
}

void api_status(struct api_request *q)
{
	struct ctld *c = q->ctld;
	const struct published *p = c->feed.policy;
	struct status_run run = { .c = c, .versions = json_object(), .warnings = json_array() };
	struct store_size size = store_size(c->store);
	int r = store_read(c->store, status_read, &run);
	json_t *v;

	if (r < 0) {
		json_decref(run.versions);
		json_decref(run.warnings);
		api_store_error(q->x, r);
		return;
	}
	status_warnings(&run);
	v = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "version", AIGW_VERSION, "started",
		api_time(c->started_us), "revision",
		p ? json_integer((json_int_t)p->revision) : json_null(), "applied_at",
		api_time(p ? p->applied_us : 0), "applied_by",
		p ? json_slice(slice_str(p->by)) : json_null(), "message",
		p ? json_slice(slice_str(p->message)) : json_null(), "currency",
		p ? json_slice(p->doc->currency) : json_null());
	(void)json_object_set_new(v, "agents", api_agents_json(c));
	(void)json_object_set_new(v, "providers", status_providers(&run));
	(void)json_object_set_new(v, "models", status_models(c));
	(void)json_object_set_new(v, "keys",
		json_pack("{s:I, s:I}", "active", (json_int_t)run.keys.active, "revoked",
			(json_int_t)run.keys.revoked));
	(void)json_object_set_new(v, "usage_today", status_today(c));
	(void)json_object_set_new(v, "store",
		json_pack("{s:I, s:I}", "bytes", (json_int_t)size.used_bytes, "map_bytes",
			(json_int_t)size.map_bytes));
	(void)json_object_set_new(v, "warnings", run.warnings);
	json_decref(run.versions);
	api_answer(q->x, 200, v);
}
