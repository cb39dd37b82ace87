#include "builder.h"

#include <aigw/clock.h>
#include <aigw/log.h>

enum task_kind { TASK_POLICY, TASK_KEYS, TASK_SECRET, TASK_RELOAD };

/* A job there and a mail back. */
struct task {
	struct committer_job job;
	struct mail mail;
	struct builder *b;
	enum task_kind kind;
	uint64_t number; /* revision, sequence or version */
	bool snapshot;
	uint8_t realm[16];
	struct buf bytes; /* policy, secret, or records one after the other */
	struct slice *records;
	uint32_t n_records;
	char name[4096]; /* secret, or secrets_dir */
	struct rules *rules;
	int err;
	struct errbuf why;
};

static void task_free(struct task *t)
{
	if (!t)
		return;
	if (t->kind == TASK_SECRET && t->bytes.p)
		secret_wipe(t->bytes.p, t->bytes.n);
	buf_fini(&t->bytes);
	free(t->records);
	rules_unref(t->rules);
	free(t);
}

/* --- the stats slots of a policy's objects
 * ---------------------------------------------------------------------- */

static void fill_slots(struct stats *s, struct policy *p)
{
	for (uint32_t i = 0; i < p->doc->n_models; i++)
		p->model_stat[i] = stats_slot(s, STAT_MODEL, p->doc->models[i].name);
	for (uint32_t i = 0; i < p->doc->n_providers; i++)
		p->provider_stat[i] = stats_slot(s, STAT_PROVIDER, p->doc->providers[i].name);
	for (uint32_t i = 0; i < p->doc->n_projects; i++)
		p->project_stat[i] = stats_slot(s, STAT_PROJECT, p->doc->projects[i].name);
}

/* Of the target as this model has it: another model may go on using it. */
static uint32_t drain_place(struct health *h, const struct policy_doc *d,
	const struct policy_model *m, const struct policy_target *t)
{
	char text[2 * POLICY_MODEL_NAME_MAX + 16];
	struct buf b = buf_over(text, sizeof(text));

	(void)buf_slice(&b, t->model);
	(void)buf_str(&b, "\n\n");
	(void)buf_slice(&b, m->name);
	return health_place(h, d->providers[t->provider].name, buf_view(&b));
}

/* Behind a line feed, which no name of a model holds, stands the credential. */
static uint32_t credential_place(
	struct health *h, struct slice provider, struct slice model, struct slice credential)
{
	char text[POLICY_MODEL_NAME_MAX + 128];
	struct buf b = buf_over(text, sizeof(text));

	(void)buf_slice(&b, model);
	(void)buf_char(&b, '\n');
	(void)buf_slice(&b, credential);
	return health_place(h, provider, buf_view(&b));
}

static void fill_places(struct health *h, struct policy *p)
{
	const struct policy_doc *d = p->doc;

	for (uint32_t i = 0; i < d->n_targets; i++) {
		const struct policy_provider *provider = &d->providers[d->targets[i].provider];

		p->target_place[i] = health_place(h, provider->name, d->targets[i].model);
		for (uint32_t k = 0; k < provider->n_credentials && p->pair_at[i] != UINT32_MAX;
			k++)
			p->pair_place[p->pair_at[i] + k] = credential_place(
				h, provider->name, d->targets[i].model, provider->credentials[k]);
	}
	for (uint32_t m = 0; m < d->n_models; m++)
		for (uint32_t i = 0; i < d->models[m].n_targets; i++) {
			const struct policy_target *t = &d->models[m].targets[i];

			p->drain_place[t - d->targets] = drain_place(h, d, &d->models[m], t);
		}
	for (uint32_t i = 0; i < d->n_providers; i++)
		if (d->providers[i].health.probe.n && !d->providers[i].n_credentials)
			p->probe_place[i] =
				credential_place(h, d->providers[i].name, SLICE_EMPTY, SLICE_EMPTY);
	for (uint32_t i = 0; i < d->n_providers; i++)
		for (uint32_t k = 0; k < d->providers[i].n_credentials; k++)
			p->credential_place[d->providers[i].credentials - d->credentials + k] =
				credential_place(h, d->providers[i].name, SLICE_EMPTY,
					d->providers[i].credentials[k]);
}

/* Kinds of names among the counters of calls. */
enum { CALLS_PROVIDER = 'p', CALLS_PROJECT = 'j', CALLS_IDENTITY = 'i', CALLS_QUEUE = 'q' };

static bool fill_counter(
	struct capacities *c, char kind, struct slice name, uint32_t limit, struct capacity **ret)
{
	*ret = limit ? capacity_of(c, kind, name) : NULL;
	return !limit || *ret;
}

static int fill_counters(struct capacities *c, struct policy *p, struct errbuf *e)
{
	const struct policy_doc *d = p->doc;
	char text[POLICY_NAME_MAX + 64];
	bool ok = true;

	for (uint32_t i = 0; i < d->n_providers; i++)
		ok &= fill_counter(c, CALLS_PROVIDER, d->providers[i].name,
			d->providers[i].concurrency, &p->provider_calls[i]);
	for (uint32_t i = 0; i < d->n_projects; i++)
		ok &= fill_counter(c, CALLS_PROJECT, d->projects[i].name,
			d->projects[i].concurrency, &p->project_calls[i]);
	for (uint32_t i = 0; i < d->n_models; i++)
		ok &= fill_counter(
			c, CALLS_QUEUE, d->models[i].name, d->models[i].queue_max, &p->queue[i]);
	for (uint32_t i = 0; i < d->n_identities; i++) {
		const struct policy_identity *id = &d->identities[i];
		struct buf b = buf_over(text, sizeof(text));

		(void)buf_printf(&b, "%d %" PRIu32 " ", (int)id->kind, id->uid);
		(void)buf_slice(&b, id->value);
		ok &= fill_counter(
			c, CALLS_IDENTITY, buf_view(&b), id->concurrency, &p->identity_calls[i]);
	}
	return ok ? 0 : err_set(e, -ENOMEM, "no memory for the policy");
}

/* A target of which one credential is the only way, if that was refused there. */
static void release_refused(struct health *h, uint32_t target)
{
	usec recover;

	if (health_state(h, target, clock_mono_us(), &recover) == TARGET_NO_CREDENTIAL)
		health_release(h, target);
}

/* A credential that is there anew deserves a try. `name`: empty: all of them. */
static void release_credentials(struct health *h, const struct policy *p, struct slice name)
{
	for (uint32_t i = 0; p && i < p->doc->n_credentials; i++)
		if (!name.n || slice_eq(p->doc->credentials[i], name))
			health_release(h, p->credential_place[i]);
	for (uint32_t i = 0; p && i < p->doc->n_targets; i++) {
		const struct policy_provider *provider =
			&p->doc->providers[p->doc->targets[i].provider];
		struct policy_places places = policy_places_of(p, i);

		for (uint32_t k = 0; k < places.n; k++) {
			if (name.n && !slice_eq(provider->credentials[k], name))
				continue;
			if (places.pairs)
				health_release(h, places.pairs[k]);
			else
				release_refused(h, places.target);
		}
	}
}

static void warn_unknown(const struct policy *p)
{
	uint32_t some[16];
	unsigned n = policy_unknown_identities(p, some, ARRAY_LEN(some));

	for (unsigned i = 0; i < MIN(n, (unsigned)ARRAY_LEN(some)); i++)
		log_event(LOG_WARNING, "policy", "policy.unknown_identity", "name=%s",
			log_quote(p->doc->identities[some[i]].value));
}

/* --- committer thread
 * -------------------------------------------------------------------------------------------- */

static int build(struct builder *b, struct policy *policy, struct rules **ret, struct errbuf *e)
{
	return policy ? rules_build(policy, b->secrets, b->proxy, &b->trust, ret, e) : 0;
}

static void run_policy(struct task *t)
{
	struct builder *b = t->b;
	usec now = clock_wall_us();
	struct policy_doc *doc = NULL;
	struct policy *policy = NULL;
	struct errbuf cache;

	t->err = policy_doc_unpack(buf_view(&t->bytes), &doc, &t->why);
	if (!t->err)
		t->err = policy_build(doc, t->number, now, &policy, &t->why);
	if (!t->err) {
		fill_slots(b->stats, policy);
		fill_places(b->health, policy);
		t->err = fill_counters(b->capacities, policy, &t->why);
	}
	if (!t->err)
		t->err = build(b, policy, &t->rules, &t->why);
	if (t->err) {
		policy_unref(policy);
		return;
	}
	warn_unknown(policy);
	policy_unref(b->policy);
	b->policy = policy;
	if (policy_cache_write(b->state_dir, t->number, now, buf_view(&t->bytes), &cache))
		log_event(LOG_ERROR, "policy", "policy.cache_failed", "why=%s",
			log_quote(slice_str(cache.text)));
}

/* `anew`: name of the one that was set; empty: any may have been. */
static int load_secrets(struct builder *b, struct slice anew, struct errbuf *e)
{
	struct secret_set *fresh;
	struct buf report;
	int err;

	buf_init(&report, 65536);
	err = secret_set_load(b->credentials_dir, b->secrets_dir[0] ? b->secrets_dir : NULL,
		b->state_dir, &fresh, &report);
	if (report.n)
		log_event(LOG_WARNING, "secrets", "secrets.unreadable", "why=%s",
			log_quote(buf_view(&report)));
	buf_fini(&report);
	if (err)
		return err_set(e, err, "the credentials could not be read: %s", strerror(-err));
	secret_set_unref(b->secrets);
	b->secrets = fresh;
	release_credentials(b->health, b->policy, anew);
	return 0;
}

static void run_secret(struct task *t)
{
	struct builder *b = t->b;

	t->err = secret_cache_put(
		b->state_dir, slice_str(t->name), t->number, buf_view(&t->bytes), &t->why);
	if (!t->err)
		t->err = load_secrets(b, slice_str(t->name), &t->why);
	if (!t->err)
		t->err = build(b, b->policy, &t->rules, &t->why);
}

static void run_reload(struct task *t)
{
	struct builder *b = t->b;

	memcpy(b->secrets_dir, t->name, sizeof(b->secrets_dir));
	t->err = load_secrets(b, SLICE_EMPTY, &t->why);
	if (!t->err)
		t->err = build(b, b->policy, &t->rules, &t->why);
}

static void run_keys(struct task *t)
{
	if (t->snapshot)
		t->err = keyset_replace(
			t->b->keyset, t->realm, t->number, t->records, t->n_records, &t->why);
	else
		t->err = keyset_change(t->b->keyset, t->number, t->records, t->n_records, &t->why);
}

static void on_done(struct mail *m, void *owner)
{
	struct task *t = container_of(m, struct task, mail);
	struct builder *b = t->b;
	struct rules *rules = t->rules;

	(void)owner;
	t->rules = NULL;
	if (t->kind == TASK_KEYS) {
		b->keys_stored(t->number, t->err, t->why.text, b->owner);
	} else if (t->kind == TASK_SECRET) {
		if (rules)
			b->built(rules, 0, NULL, b->owner);
		b->secret_stored(slice_str(t->name), t->number, t->err, t->why.text, b->owner);
	} else if (rules || t->err) {
		b->built(rules, t->kind == TASK_POLICY ? t->number : 0, t->why.text, b->owner);
	}
	task_free(t);
}

static void on_job(struct committer_job *j, struct spool *s)
{
	struct task *t = container_of(j, struct task, job);

	(void)s;
	switch (t->kind) {
	case TASK_POLICY: run_policy(t); break;
	case TASK_KEYS: run_keys(t); break;
	case TASK_SECRET: run_secret(t); break;
	case TASK_RELOAD: run_reload(t); break;
	}
	t->mail.handle = on_done;
	mailbox_post(t->b->mailbox, &t->mail);
}

/* --- control loop
 * ------------------------------------------------------------------------------------------------
 */

static struct task *task_new(struct builder *b, enum task_kind kind, uint64_t number)
{
	struct task *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->job.run = on_job;
	t->b = b;
	t->kind = kind;
	t->number = number;
	buf_init(&t->bytes, SIZE_MAX / 2);
	return t;
}

static const char no_memory[] = "out of memory";

void builder_policy(struct builder *b, uint64_t revision, struct slice packed)
{
	struct task *t = task_new(b, TASK_POLICY, revision);

	if (t && buf_slice(&t->bytes, packed) == 0) {
		committer_do(b->committer, &t->job);
		return;
	}
	task_free(t);
	b->built(NULL, revision, no_memory, b->owner);
}

void builder_secret(struct builder *b, struct slice name, uint64_t version, struct slice bytes)
{
	struct task *t = task_new(b, TASK_SECRET, version);

	if (t && name.n < sizeof(t->name) && buf_slice(&t->bytes, bytes) == 0) {
		memcpy(t->name, name.p, name.n);
		committer_do(b->committer, &t->job);
		return;
	}
	task_free(t);
	b->secret_stored(name, version, -ENOMEM, no_memory, b->owner);
}

void builder_reload(struct builder *b, const char *secrets_dir)
{
	struct task *t = task_new(b, TASK_RELOAD, 0);

	if (!t) {
		b->built(NULL, 0, no_memory, b->owner);
		return;
	}
	(void)snprintf(t->name, sizeof(t->name), "%s", secrets_dir);
	committer_do(b->committer, &t->job);
}

void builder_keys(struct builder *b, bool snapshot, struct slice realm, uint64_t seq,
	const struct slice *records, uint32_t n)
{
	struct task *t = task_new(b, TASK_KEYS, seq);
	size_t total = 0, at = 0;

	for (uint32_t i = 0; i < n; i++)
		total += records[i].n;
	if (t)
		t->records = calloc(MAX(n, 1u), sizeof(*t->records));
	if (!t || !t->records || buf_reserve(&t->bytes, total + 1)) {
		task_free(t);
		b->keys_stored(seq, -ENOMEM, no_memory, b->owner);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		(void)buf_slice(&t->bytes, records[i]);
		t->records[i] = slice_of(t->bytes.p + at, records[i].n);
		at += records[i].n;
	}
	t->n_records = n;
	t->snapshot = snapshot;
	if (realm.n == sizeof(t->realm))
		memcpy(t->realm, realm.p, sizeof(t->realm));
	committer_do(b->committer, &t->job);
}

/* --- start
 * -------------------------------------------------------------------------------------------------------
 */

static int policy_from_cache(struct builder *b, struct errbuf *e)
{
	struct policy_doc *doc = NULL;
	uint64_t revision;
	struct buf packed;
	usec applied;
	int err;

	buf_init(&packed, (size_t)64 << 20);
	err = policy_cache_read(b->state_dir, &revision, &applied, &packed, e);
	if (!err)
		err = policy_doc_unpack(buf_view(&packed), &doc, e);
	buf_fini(&packed);
	if (!err)
		err = policy_build(doc, revision, applied, &b->policy, e);
	if (!err) {
		fill_slots(b->stats, b->policy);
		fill_places(b->health, b->policy);
		err = fill_counters(b->capacities, b->policy, e);
	}
	return err;
}

int builder_start(struct builder *b, struct rules **ret_rules, struct errbuf *e)
{
	struct errbuf why;
	int err = load_secrets(b, SLICE_EMPTY, e);

	*ret_rules = NULL;
	if (err)
		return err;
	err = policy_from_cache(b, &why);
	if (err == -ENOENT)
		return 0;
	if (!err)
		err = build(b, b->policy, ret_rules, &why);
	if (err) /* a damaged cache is no reason not to start: the controller has the policy */
		log_event(LOG_ERROR, "policy", "policy.cache_unusable", "why=%s",
			log_quote(slice_str(why.text)));
	return 0;
}

void builder_fini(struct builder *b)
{
	policy_unref(b->policy);
	secret_set_unref(b->secrets);
	tls_trust_unref(b->trust);
}
