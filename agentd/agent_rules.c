/* What is in force, and who has confirmed it: rules and keys as the builder has made them, given to
 * every worker; the controller hears of it when the last worker has switched. */
#include "agent_private.h"

#include "stats/series.h"

#include <aigw/log.h>

/* --- something that every worker has to confirm
 * -------------------------------------------------------------------- */

struct round {
	struct mail mail;
	struct agent *agent;
	_Atomic unsigned left;
	_Atomic int err; /* of a worker that could not switch; 0: all have */
	uint64_t number;
	void (*all)(struct agent *a, uint64_t number, int err);
};

static void on_round(struct mail *m, void *owner)
{
	struct round *r = container_of(m, struct round, mail);

	r->all(owner, r->number, atomic_load_explicit(&r->err, memory_order_relaxed));
	free(r);
}

/* Worker's thread. */
static void round_done(void *arg, int err)
{
	struct round *r = arg;

	if (err)
		atomic_store_explicit(&r->err, err, memory_order_relaxed);
	if (atomic_fetch_sub_explicit(&r->left, 1, memory_order_acq_rel) == 1)
		mailbox_post(&r->agent->mailbox, &r->mail);
}

static struct round *round_new(
	struct agent *a, uint64_t number, void (*all)(struct agent *, uint64_t, int))
{
	struct round *r = calloc(1, sizeof(*r));

	ASSERT(r); /* cold, small, and without it no revocation would ever be confirmed */
	r->mail.handle = on_round;
	r->agent = a;
	r->left = a->n_workers;
	r->number = number;
	r->all = all;
	return r;
}

/* --- rules
 * ------------------------------------------------------------------------------------------------------------
 */

static void policy_confirmed(struct agent *a, uint64_t revision, int err)
{
	if (!err)
		log_event(LOG_INFO, "policy", "policy.applied", "revision=%" PRIu64, revision);
	/* If not, the worker has logged it. */
	if (a->uplink)
		uplink_policy_result(a->uplink, revision, !err,
			err ? "a worker of the agent is out of memory and stays with the former one"
			    : "");
}

static void nothing_to_confirm(struct agent *a, uint64_t number, int err)
{
	(void)number;
	(void)err; /* the worker has said so */
	if (a->uplink)
		uplink_status_now(a->uplink); /* credentials in force may have changed */
}

static void prepare_model(struct series *s, enum series_kind table, const struct policy *p,
	uint32_t m, uint16_t project)
{
	const struct policy_model *model = &p->doc->models[m];

	for (uint32_t i = 0; i < model->n_targets; i++)
		(void)series_place(s, table,
			(struct series_key){ (uint16_t)p->model_stat[m],
				(uint16_t)p->provider_stat[model->targets[i].provider], project });
}

static void prepare_fallbacks(struct series *s, const struct policy *p, uint32_t m)
{
	const struct policy_model *model = &p->doc->models[m];

	for (uint32_t i = 0; i < model->n_targets; i++)
		for (uint32_t k = 0; k < model->n_targets; k++)
			if (i != k)
				(void)series_place(s, SERIES_FALLBACKS,
					series_fallback_key(
						p->provider_stat[model->targets[i].provider],
						p->provider_stat[model->targets[k].provider]));
}

/* What could be counted is there from the start, with 0: an alert has something to compare with.
 * Where all that the policy allows is more than may be, places go to what is used. */
static void prepare_series(struct series *s, const struct policy *p)
{
	const struct policy_doc *d = p->doc;
	uint64_t pairs = 0;

	for (uint32_t m = 0; m < d->n_models; m++) {
		prepare_model(s, SERIES_TIMES, p, m, SERIES_NONE);
		prepare_fallbacks(s, p, m);
	}
	for (uint32_t j = 0; j < d->n_projects; j++)
		for (uint32_t m = 0; m < d->n_models; m++)
			pairs += policy_project_may(p, j, m) ? d->models[m].n_targets : 0;
	if (pairs > series_max(s, SERIES_TRAFFIC))
		return;
	for (uint32_t j = 0; j < d->n_projects; j++) {
		for (uint32_t m = 0; m < d->n_models; m++)
			if (policy_project_may(p, j, m))
				prepare_model(
					s, SERIES_TRAFFIC, p, m, (uint16_t)p->project_stat[j]);
	}
}

static void publish(struct agent *a, struct rules *rules, uint64_t revision)
{
	struct policy *old;
	struct round *round =
		round_new(a, revision, revision ? policy_confirmed : nothing_to_confirm);

	rules_unref(a->rules);
	a->rules = rules;
	prepare_series(stats_series(a->gw.stats), rules->policy);
	agent_put_drains(a, rules->policy);
	prober_take(&a->prober, rules);
	if (revision)
		atomic_store_explicit(&a->policy_is_fresh, true, memory_order_relaxed);
	pthread_mutex_lock(&a->policy_lock);
	old = a->shown_policy;
	a->shown_policy = policy_ref(rules->policy);
	pthread_mutex_unlock(&a->policy_lock);
	policy_unref(old);
	ASSERT(a->n_workers > 0); /* the last of them ends the round */
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_rules(a->workers[i], rules, round_done, round);
}

static void on_built(struct rules *rules, uint64_t revision, const char *why, void *owner)
{
	struct agent *a = owner;

	if (a->workers_gone) {
		rules_unref(rules);
		return;
	}
	if (rules) {
		publish(a, rules, revision);
		return;
	}
	atomic_fetch_add_explicit(&a->policies_refused, 1, memory_order_relaxed);
	log_event(LOG_ERROR, "policy", "policy.refused", "revision=%" PRIu64 " why=%s", revision,
		log_quote(slice_str(why)));
	if (a->uplink && revision)
		uplink_policy_result(a->uplink, revision, false, why);
}

struct policy *agent_shown_policy(struct agent *a)
{
	struct policy *p;

	pthread_mutex_lock(&a->policy_lock);
	p = a->shown_policy ? policy_ref(a->shown_policy) : NULL;
	pthread_mutex_unlock(&a->policy_lock);
	return p;
}

/* --- keys and secrets
 * --------------------------------------------------------------------------------------------------
 */

static void keys_confirmed(struct agent *a, uint64_t seq, int err)
{
	(void)err; /* there is nothing that could fail */
	if (a->uplink)
		uplink_keys_ack(a->uplink, seq);
}

static void on_keys_stored(uint64_t seq, int err, const char *why, void *owner)
{
	struct agent *a = owner;
	struct round *round;

	if (a->workers_gone)
		return;
	if (err) {
		log_event(LOG_ERROR, "keys", "keys.not_stored", "seq=%" PRIu64 " why=%s", seq,
			log_quote(slice_str(why)));
		if (a->uplink)
			uplink_keys_resync(a->uplink, keyset_seq(a->gw.keyset));
		return;
	}
	round = round_new(a, seq, keys_confirmed);
	ASSERT(a->n_workers > 0);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_keys(a->workers[i], round_done, round);
}

const char *agent_secret_source(struct agent *a, struct slice name, uint64_t *ret_version)
{
	enum secret_source source = SECRET_NONE;

	if (a->rules)
		(void)secret_set_get(a->rules->secrets, name, &source, ret_version);
	return secret_source_name(source);
}

static void on_secret_stored(
	struct slice name, uint64_t version, int err, const char *why, void *owner)
{
	struct agent *a = owner;

	if (err)
		log_event(LOG_ERROR, "secrets", "secret.not_stored", "name=" SLICE_FMT " why=%s",
			SLICE_ARG(name), log_quote(slice_str(why)));
	/* Without a policy nothing is built, but the secret is there. */
	if (!err && a->uplink)
		uplink_secret_ack(a->uplink, name, version,
			a->rules ? agent_secret_source(a, name, NULL)
				 : secret_source_name(SECRET_CACHE));
}

/* --- start
 * -------------------------------------------------------------------------------------------------------------
 */

int agent_start_rules(struct agent *a, struct errbuf *e)
{
	struct builder *b = &a->builder;
	int err;

	b->state_dir = a->cfg.state_dir;
	b->credentials_dir = getenv("CREDENTIALS_DIRECTORY");
	if (strcmp(a->cfg.secrets_dir, "off") != 0)
		(void)snprintf(b->secrets_dir, sizeof(b->secrets_dir), "%s", a->cfg.secrets_dir);
	b->proxy = &a->proxy;
	b->keyset = a->gw.keyset;
	b->stats = a->gw.stats;
	b->health = a->gw.health;
	b->capacities = a->gw.capacities;
	b->mailbox = &a->mailbox;
	b->owner = a;
	b->built = on_built;
	b->keys_stored = on_keys_stored;
	b->secret_stored = on_secret_stored;
	err = builder_start(b, &a->rules, e);
	agent_load_drains(a);
	if (a->rules) {
		a->shown_policy = policy_ref(a->rules->policy);
		prepare_series(stats_series(a->gw.stats), a->rules->policy);
	}
	return err;
}
