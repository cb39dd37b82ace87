#include "policy/policy_names.h"

#include <aigw/text.h>

#include <stdatomic.h>

#define NEAR_MAX_DISTANCE 8 /* names that are farther off, in case or length, rank last */

struct policy *policy_ref(struct policy *p)
{
	(void)atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void policy_unref(struct policy *p)
{
	if (!p)
		return;
	if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		policy_destroy(p);
}

static int name_find(struct policy_name *head, struct slice name)
{
	struct policy_name *found = NULL;

	if (name.n == 0 || name.n > POLICY_MODEL_NAME_MAX)
		return -1;
	HASH_FIND(hh, head, name.p, name.n, found);
	return found ? (int)found->index : -1;
}

int policy_model(const struct policy *p, struct slice name)
{
	return name_find(p->names->models, name);
}

int policy_project(const struct policy *p, struct slice name)
{
	return name_find(p->names->projects, name);
}

bool policy_project_may(const struct policy *p, uint32_t project, uint32_t model)
{
	const uint64_t *row;

	if (project >= p->doc->n_projects || model >= p->doc->n_models)
		return false;
	if (p->doc->projects[project].all_models)
		return true;
	row = p->names->may + p->names->may_row[project] * p->names->may_words;
	return row[model / 64] >> (model % 64) & 1;
}

/* --- near names ----------------------------------------------------------------------- */

struct near {
	unsigned n;
	unsigned distance[3];
	uint32_t model[3];
	struct slice name[3];
};

/* Keeps the three nearest, at most one name of each model. */
static void near_offer(struct near *best, uint32_t model, struct slice name, unsigned distance)
{
	unsigned at = 0;

	for (unsigned i = 0; i < best->n; i++) {
		if (best->model[i] != model)
			continue;
		if (best->distance[i] <= distance)
			return;
		for (unsigned j = i + 1; j < best->n; j++) {
			best->distance[j - 1] = best->distance[j];
			best->model[j - 1] = best->model[j];
			best->name[j - 1] = best->name[j];
		}
		best->n--;
		break;
	}
	while (at < best->n && best->distance[at] <= distance)
		at++;
	if (at == 3)
		return;
	best->n = MIN(best->n + 1, 3u);
	for (unsigned j = best->n - 1; j > at; j--) {
		best->distance[j] = best->distance[j - 1];
		best->model[j] = best->model[j - 1];
		best->name[j] = best->name[j - 1];
	}
	best->distance[at] = distance;
	best->model[at] = model;
	best->name[at] = name;
}

static void near_try(struct near *best, struct slice asked, uint32_t model, struct slice name)
{
	if (text_near(asked, &name, 1).p)
		near_offer(best, model, name, text_distance(asked, name, NEAR_MAX_DISTANCE));
}

unsigned policy_near_models(
	const struct policy *p, uint32_t project, struct slice asked, struct slice out[3])
{
	struct near best = { .n = 0 };

	if (asked.n > POLICY_MODEL_NAME_MAX)
		return 0;
	for (uint32_t i = 0; i < p->doc->n_models; i++) {
		const struct policy_model *m = &p->doc->models[i];

		if (!policy_project_may(p, project, i))
			continue;
		near_try(&best, asked, i, m->name);
		for (uint32_t a = 0; a < m->n_aliases; a++)
			near_try(&best, asked, i, m->aliases[a]);
	}
	for (unsigned i = 0; i < best.n; i++)
		out[i] = best.name[i];
	return best.n;
}

/* --- who calls ------------------------------------------------------------------------ */

bool policy_wants_unit(const struct policy *p)
{
	return p->names->wants_unit;
}

static bool peer_in_group(const struct policy_peer *peer, uint32_t gid)
{
	if (peer->gid == gid)
		return true;
	for (unsigned i = 0; i < peer->n_groups; i++) {
		if (peer->groups[i] == gid)
			return true;
	}
	return false;
}

static bool rule_matches(const struct policy *p, uint32_t i, const struct policy_peer *peer)
{
	const struct policy_rule *r = &p->names->rules[i];

	switch (r->match) {
	case RULE_NEVER: return false;
	case RULE_UID: return peer->uid == r->id;
	case RULE_GID: return peer_in_group(peer, r->id);
	case RULE_UNIT:
		return peer->unit.n > 0 && slice_eq(peer->unit, p->doc->identities[i].value);
	}
	return false;
}

int policy_identify(const struct policy *p, const struct policy_peer *peer)
{
	for (uint32_t i = 0; i < p->doc->n_identities; i++) {
		if (rule_matches(p, i, peer))
			return (int)i;
	}
	return -1;
}

unsigned policy_unknown_identities(const struct policy *p, uint32_t *out, unsigned max)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < p->doc->n_identities; i++) {
		if (p->names->rules[i].match != RULE_NEVER)
			continue;
		if (n < max)
			out[n] = i;
		n++;
	}
	return n;
}
