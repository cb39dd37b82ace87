/* policy_doc -> policy: names into tables, permissions into bits, users and groups into numbers. */
#include "policy/policy_names.h"

#include <aigw/crc.h>

#include <grp.h>
#include <pwd.h>
#include <stdatomic.h>
#include <unistd.h>

#define MAY_MAX_BYTES ((size_t)64 << 20)
#define USER_DB_MAX_BYTES                                                                          \
	((size_t)1 << 20) /* one entry; groups with thousands of members are long */

void policy_destroy(struct policy *p)
{
	if (p->names) {
		HASH_CLEAR(hh, p->names->models);
		HASH_CLEAR(hh, p->names->projects);
		free(p->names->entries);
		free(p->names->rules);
		free(p->names->may);
		free(p->names->may_row);
		free(p->names);
	}
	free(p->model_stat);
	free(p->provider_stat);
	free(p->project_stat);
	free(p->target_place);
	free(p->credential_place);
	free(p->pair_place);
	free(p->pair_at);
	free(p->found);
	free(p->drain_place);
	free(p->probe_place);
	free(p->target_hash);
	free(p->provider_calls);
	free(p->project_calls);
	free(p->identity_calls);
	free(p->queue);
	policy_doc_free(p->doc);
	free(p);
}

/* Memory for n things, never NULL for n = 0. */
static void *table_alloc(size_t n, size_t size)
{
	return calloc(MAX(n, (size_t)1), size);
}

/* 0, -ENOMEM; -EEXIST if the table has the name already. */
static int name_add(
	struct policy_name **head, struct policy_name *entry, struct slice name, uint32_t index)
{
	struct policy_name *there = NULL;
	bool out_of_memory = false;

	HASH_FIND(hh, *head, name.p, name.n, there);
	if (there)
		return -EEXIST;
	entry->index = index;
	HASH_ADD_KEYPTR(hh, *head, name.p, name.n, entry);
	return out_of_memory ? -ENOMEM : 0;
}

static int name_fail(int r, const char *what, struct slice name, struct errbuf *e)
{
	if (r == -EEXIST)
		return err_set(
			e, -EINVAL, "%s \"" SLICE_FMT "\" is named twice", what, SLICE_ARG(name));
	return err_set(e, r, "no memory for the policy's names");
}

static int build_names(struct policy *p, struct errbuf *e)
{
	const struct policy_doc *d = p->doc;
	struct policy_name *entry;
	size_t n = (size_t)d->n_models + d->n_projects;
	int r;

	for (uint32_t i = 0; i < d->n_models; i++)
		n += d->models[i].n_aliases;
	entry = p->names->entries = table_alloc(n, sizeof(*entry));
	if (!entry)
		return err_set(e, -ENOMEM, "no memory for the policy's names");
	for (uint32_t i = 0; i < d->n_models; i++) {
		const struct policy_model *m = &d->models[i];

		r = name_add(&p->names->models, entry++, m->name, i);
		if (r < 0)
			return name_fail(r, "model", m->name, e);
		for (uint32_t a = 0; a < m->n_aliases; a++) {
			r = name_add(&p->names->models, entry++, m->aliases[a], i);
			if (r < 0)
				return name_fail(r, "model", m->aliases[a], e);
		}
	}
	for (uint32_t i = 0; i < d->n_projects; i++) {
		r = name_add(&p->names->projects, entry++, d->projects[i].name, i);
		if (r < 0)
			return name_fail(r, "project", d->projects[i].name, e);
	}
	return 0;
}

static int build_permissions(struct policy *p, struct errbuf *e)
{
	const struct policy_doc *d = p->doc;
	size_t words = ((size_t)d->n_models + 63) / 64;
	uint32_t rows = 0;

	p->names->may_words = words;
	p->names->may_row = table_alloc(d->n_projects, sizeof(uint32_t));
	if (!p->names->may_row)
		return err_set(e, -ENOMEM, "no memory for the projects' models");
	for (uint32_t i = 0; i < d->n_projects; i++) {
		if (!d->projects[i].all_models)
			p->names->may_row[i] = rows++;
	}
	if (words && rows > MAY_MAX_BYTES / sizeof(uint64_t) / words)
		return err_set(e, -E2BIG,
			"%" PRIu32 " projects with a list of models of their own and %" PRIu32
			" models are more than this agent can hold; let projects have all models",
			rows, d->n_models);
	p->names->may = table_alloc(rows * words, sizeof(uint64_t));
	if (!p->names->may)
		return err_set(e, -ENOMEM, "no memory for the projects' models");
	for (uint32_t i = 0; i < d->n_projects; i++) {
		const struct policy_project *project = &d->projects[i];

		for (uint32_t m = 0; m < project->n_models && !project->all_models; m++) {
			uint32_t model = project->models[m];

			if (model >= d->n_models)
				return err_set(e, -EINVAL,
					"project \"" SLICE_FMT "\" names model %" PRIu32
					" of %" PRIu32,
					SLICE_ARG(project->name), model, d->n_models);
			p->names->may[p->names->may_row[i] * words + model / 64] |= UINT64_C(1)
										    << (model % 64);
		}
	}
	return 0;
}

/* --- users and groups ----------------------------------------------------------------- */

struct user_db {
	char *p;
	size_t n;
};

static int user_db_grow(struct user_db *db)
{
	size_t n = db->n ? db->n * 2 : 4096;
	char *p = n <= USER_DB_MAX_BYTES ? realloc(db->p, n) : NULL;

	if (!p)
		return -ENOMEM;
	*db = (struct user_db){ p, n };
	return 0;
}

/* 1: found, 0: the host does not know it (or can't say), negative: no memory. */
static int find_user(struct user_db *db, const char *name, uint32_t *ret_uid)
{
	struct passwd entry, *found = NULL;
	int r;

	while ((r = getpwnam_r(name, &entry, db->p, db->n, &found)) == ERANGE || r == EINTR) {
		if (r == ERANGE && user_db_grow(db) < 0)
			return -ENOMEM;
	}
	if (!found)
		return r == ENOMEM ? -ENOMEM : 0;
	*ret_uid = found->pw_uid;
	return 1;
}

static int find_group(struct user_db *db, const char *name, uint32_t *ret_gid)
{
	struct group entry, *found = NULL;
	int r;

	while ((r = getgrnam_r(name, &entry, db->p, db->n, &found)) == ERANGE || r == EINTR) {
		if (r == ERANGE && user_db_grow(db) < 0)
			return -ENOMEM;
	}
	if (!found)
		return r == ENOMEM ? -ENOMEM : 0;
	*ret_gid = found->gr_gid;
	return 1;
}

static int build_rule(
	const struct policy_identity *id, struct user_db *db, struct policy_rule *rule)
{
	char name[256];
	int r;

	if (id->kind == IDENTITY_uid) {
		*rule = (struct policy_rule){ RULE_UID, id->uid };
		return 0;
	}
	if (id->kind == IDENTITY_unit) {
		*rule = (struct policy_rule){ RULE_UNIT, 0 };
		return 0;
	}
	*rule = (struct policy_rule){ RULE_NEVER, 0 };
	if (id->value.n == 0 || id->value.n >= sizeof(name) || memchr(id->value.p, 0, id->value.n))
		return 0;
	memcpy(name, id->value.p, id->value.n);
	name[id->value.n] = '\0';
	r = id->kind == IDENTITY_user ? find_user(db, name, &rule->id)
				      : find_group(db, name, &rule->id);
	if (r > 0)
		rule->match = id->kind == IDENTITY_user ? RULE_UID : RULE_GID;
	return MIN(r, 0);
}

static int build_rules(struct policy *p, struct errbuf *e)
{
	const struct policy_doc *d = p->doc;
	struct user_db db = { NULL, 0 };
	int r = 0;

	p->names->rules = table_alloc(d->n_identities, sizeof(struct policy_rule));
	if (!p->names->rules || user_db_grow(&db) < 0)
		r = -ENOMEM;
	for (uint32_t i = 0; i < d->n_identities && r == 0; i++) {
		r = build_rule(&d->identities[i], &db, &p->names->rules[i]);
		p->names->wants_unit |= p->names->rules[i].match == RULE_UNIT;
	}
	free(db.p);
	return r < 0 ? err_set(e, r, "no memory for the policy's identities") : 0;
}

static void hash_targets(struct policy *p)
{
	for (uint32_t i = 0; i < p->doc->n_targets; i++) {
		const struct policy_target *t = &p->doc->targets[i];
		struct slice provider = p->doc->providers[t->provider].name;

		p->target_hash[i] = (uint64_t)crc32c(0, provider.p, provider.n) << 32 |
				    crc32c(0, t->model.p, t->model.n);
	}
}

static void count_pairs(struct policy *p)
{
	for (uint32_t i = 0; i < p->doc->n_targets; i++) {
		uint32_t n = p->doc->providers[p->doc->targets[i].provider].n_credentials;

		p->pair_at[i] = n > 1 ? p->n_pairs : UINT32_MAX;
		p->n_pairs += n > 1 ? n : 0;
	}
}

uint32_t policy_found(const struct policy *p, uint32_t provider)
{
	return atomic_load_explicit(&p->found[provider], memory_order_relaxed);
}

struct policy_places policy_places_of(const struct policy *p, uint32_t target)
{
	const struct policy_provider *provider =
		&p->doc->providers[p->doc->targets[target].provider];
	uint32_t pair_at = p->pair_at[target];

	return (struct policy_places){ .target = p->target_place[target],
		.credentials = p->credential_place + (provider->credentials - p->doc->credentials),
		.pairs = pair_at == UINT32_MAX ? NULL : p->pair_place + pair_at,
		.n = provider->n_credentials,
		.drain = p->drain_place[target],
		.calls = p->provider_calls[p->doc->targets[target].provider],
		.concurrency = provider->concurrency };
}

int policy_build(struct policy_doc *doc, uint64_t revision, usec applied_us, struct policy **ret,
	struct errbuf *e)
{
	struct policy *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		policy_doc_free(doc);
		return err_set(e, -ENOMEM, "no memory for the policy");
	}
	atomic_init(&p->refs, 1);
	p->revision = revision;
	p->applied_us = applied_us;
	p->doc = doc;
	p->names = calloc(1, sizeof(*p->names));
	p->model_stat = table_alloc(doc->n_models, sizeof(uint32_t));
	p->provider_stat = table_alloc(doc->n_providers, sizeof(uint32_t));
	p->project_stat = table_alloc(doc->n_projects, sizeof(uint32_t));
	p->target_place = table_alloc(doc->n_targets, sizeof(uint32_t));
	p->credential_place = table_alloc(doc->n_credentials, sizeof(uint32_t));
	p->pair_at = table_alloc(doc->n_targets, sizeof(uint32_t));
	p->drain_place = table_alloc(doc->n_targets, sizeof(uint32_t));
	p->probe_place = table_alloc(doc->n_providers, sizeof(uint32_t));
	if (p->pair_at)
		count_pairs(p);
	p->pair_place = table_alloc(p->n_pairs, sizeof(uint32_t));
	p->found = table_alloc(doc->n_providers, sizeof(*p->found));
	p->target_hash = table_alloc(doc->n_targets, sizeof(uint64_t));
	p->provider_calls = table_alloc(doc->n_providers, sizeof(struct capacity *));
	p->project_calls = table_alloc(doc->n_projects, sizeof(struct capacity *));
	p->identity_calls = table_alloc(doc->n_identities, sizeof(struct capacity *));
	p->queue = table_alloc(doc->n_models, sizeof(struct capacity *));
	if (p->target_hash)
		hash_targets(p);
	if (!p->names || !p->model_stat || !p->provider_stat || !p->project_stat ||
		!p->target_place || !p->credential_place || !p->pair_place || !p->pair_at ||
		!p->drain_place || !p->probe_place || !p->target_hash || !p->found ||
		!p->provider_calls || !p->project_calls || !p->identity_calls || !p->queue)
		r = err_set(e, -ENOMEM, "no memory for the policy");
	else
		r = build_names(p, e);
	if (r == 0)
		r = build_permissions(p, e);
	if (r == 0)
		r = build_rules(p, e);
	if (r < 0) {
		policy_destroy(p);
		return r;
	}
	*ret = p;
	return 0;
}
