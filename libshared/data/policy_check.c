/* What is allowed and yet probably not meant. Runs only on a policy without errors. */
#include <aigw/text.h>

#include "policy_read.h"

/* The model that target i of all belongs to. */
static uint32_t policy_model_of(const struct policy_doc *d, uint32_t i)
{
	uint32_t m = 0;

	while (d->targets + i >= d->models[m].targets + d->models[m].n_targets)
		m++;
	return m;
}

static void policy_warn_price(struct policy_reader *r, uint32_t i)
{
	const struct policy_doc *d = r->doc;
	const struct policy_target *t = &d->targets[i];
	uint32_t m = policy_model_of(d, i);
	struct policy_at at = { NULL, r->models.items[m], "models", m };

	/* At the end of time each row is in force. */
	if (!policy_doc_price(d, t->provider, t->model, INT64_MAX))
		policy_warn(r, &at, NULL,
			"model '" PLACE_FMT "' has no price: its calls are recorded UNPRICED; "
			"add one of provider " PLACE_FMT ", model " PLACE_FMT " to prices",
			PLACE_ARG(d->models[m].name), PLACE_ARG(d->providers[t->provider].name),
			PLACE_ARG(t->model));
}

/* Some target carries all of them. */
static bool policy_has_tags(const struct policy_model *m, uint64_t tags)
{
	for (uint32_t i = 0; i < m->n_targets; i++)
		if (!(tags & ~m->targets[i].tags))
			return true;
	return false;
}

/* Statuses in `on` after which nothing is tried anew, since they mean something else. */
static void policy_warn_statuses(struct policy_reader *r, const struct policy_at *at,
	const struct policy_model *m, const struct tree *on)
{
	int64_t status;

	for (uint32_t i = 0; i < m->n_targets; i++)
		if (r->doc->providers[m->targets[i].provider].n_errors)
			return;
	for (const struct tree *node = on->child; node; node = node->next)
		if (text_parse_i64(node->text, &status) == 0 && status < 500 && status != 408 &&
			status != 409 && status != 429)
			policy_warn(r, at, node,
				"%d is as a rule no failure that another try helps, and does "
				"nothing in 'on' then; a provider's 'errors' can make it transient",
				(int)status);
}

static void policy_warn_retry(struct policy_reader *r, uint32_t i)
{
	static const char *const between[] = { "backoff", "budget", "on" };
	const struct policy_model *m = &r->doc->models[i];
	struct policy_at at = { NULL, r->models.items[i], "models", i };
	const struct tree *retry = tree_get(at.node, SLICE("retry"));
	const struct tree *node;

	for (size_t k = 0; k < ARRAY_LEN(between) && retry && m->retry.attempts == 1; k++) {
		node = tree_get(retry, slice_str(between[k]));
		if (node)
			policy_warn(r, &at, node,
				"'%s' acts between tries, and model '" PLACE_FMT
				"' has one; set 'attempts' to 2 or more, or remove it",
				between[k], PLACE_ARG(m->name));
	}
	node = retry ? tree_get(retry, SLICE("on")) : NULL;
	if (node)
		policy_warn_statuses(r, &at, m, node);
}

static void policy_warn_routing(struct policy_reader *r, uint32_t i)
{
	static const char *const between[] = { "strategy", "sticky" };
	const struct policy_model *m = &r->doc->models[i];
	struct policy_at at = { NULL, r->models.items[i], "models", i };

	for (size_t k = 0; k < ARRAY_LEN(between) && m->n_targets == 1; k++) {
		const struct tree *node = tree_get(at.node, slice_str(between[k]));

		if (node)
			policy_warn(r, &at, node,
				"'%s' acts between targets, and model '" PLACE_FMT
				"' has one; remove it, or add a target",
				between[k], PLACE_ARG(m->name));
	}
	for (uint32_t k = 0; k < m->n_targets && m->continue_cut; k++) {
		const struct policy_provider *p = &r->doc->providers[m->targets[k].provider];

		if (!p->prefill_told && p->prefill != PREFILL_none)
			policy_warn(r, &at, tree_get(at.node, SLICE("on_cut")),
				"'on_cut' takes for granted that provider '" PLACE_FMT
				"' goes on from an assistant's message; say how it does by "
				"options: "
				"{prefill: ...}",
				PLACE_ARG(p->name));
	}
	if (!policy_has_tags(m, m->require_tags))
		policy_warn(r, &at, tree_get(at.node, SLICE("require_tags")),
			"no target of model '" PLACE_FMT
			"' carries every tag of its 'require_tags', so each call of it is refused",
			PLACE_ARG(m->name));
}

/* Of a provider, or of a target, whose `total` may be its provider's. */
static void policy_warn_timeouts(struct policy_reader *r, const struct policy_at *at,
	usec connect_us, usec first_byte_us, usec idle_us, usec total_us)
{
	const struct {
		const char *name;
		usec us;
	} times[] = { { "connect", connect_us }, { "first_byte", first_byte_us },
		{ "idle", idle_us } };
	const struct tree *given = tree_get(at->node, SLICE("timeouts"));

	for (size_t i = 0; given && i < ARRAY_LEN(times); i++) {
		const struct tree *node = tree_get(given, slice_str(times[i].name));

		if (node && times[i].us > total_us)
			policy_warn(r, at, node,
				"'%s' never runs out, since 'total' ends the call after %" PRId64
				" ms; lower it, or raise 'total'",
				times[i].name, total_us / USEC_PER_MS);
	}
}

static void policy_warn_targets(struct policy_reader *r, uint32_t i)
{
	const struct policy_model *m = &r->doc->models[i];
	struct policy_at up = { NULL, r->models.items[i], "models", i };
	const struct tree *node = tree_get(up.node, SLICE("targets"))->child;

	for (uint32_t k = 0; k < m->n_targets; k++, node = node->next) {
		const struct policy_target *t = &m->targets[k];
		struct policy_at at = { &up, node, "targets", k };

		policy_warn_timeouts(
			r, &at, t->connect_us, t->first_byte_us, t->idle_us, t->total_us);
	}
}

static void policy_warn_models(struct policy_reader *r)
{
	const struct policy_doc *d = r->doc;

	if (d->n_models == 0)
		policy_warn(r, NULL, NULL,
			"the policy has no models, so no call can be served; add models");
	for (uint32_t i = 0; i < d->n_targets && r->findings < POLICY_MAX_FINDINGS; i++)
		policy_warn_price(r, i);
	for (uint32_t i = 0; i < d->n_models && r->findings < POLICY_MAX_FINDINGS; i++) {
		policy_warn_routing(r, i);
		policy_warn_retry(r, i);
		policy_warn_targets(r, i);
	}
}

/* Some priority of some model has several targets, one of them this provider's. */
static bool policy_has_rivals(const struct policy_doc *d, uint32_t provider)
{
	for (uint32_t i = 0; i < d->n_models; i++)
		for (uint32_t k = 0; k < d->models[i].n_targets * d->models[i].n_targets; k++) {
			const struct policy_target *a =
				&d->models[i].targets[k / d->models[i].n_targets];
			const struct policy_target *b =
				&d->models[i].targets[k % d->models[i].n_targets];

			if (a != b && a->provider == provider && a->priority == b->priority)
				return true;
		}
	return false;
}

static void policy_warn_providers(struct policy_reader *r)
{
	const struct policy_doc *d = r->doc;
	bool *used = arena_alloc(&r->scratch, MAX(d->n_providers, 1u) * sizeof(*used));

	if (!used) {
		policy_out_of_memory(r);
		return;
	}
	for (uint32_t i = 0; i < d->n_targets; i++)
		used[d->targets[i].provider] = true;
	for (uint32_t i = 0; i < d->n_providers; i++) {
		struct policy_at at = { NULL, r->providers.items[i], "providers", i };

		policy_warn_timeouts(r, &at, d->providers[i].connect_us,
			d->providers[i].first_byte_us, d->providers[i].idle_us,
			d->providers[i].total_us);
		if (!used[i])
			policy_warn(r, &at, NULL, "provider '" PLACE_FMT "' serves no model",
				PLACE_ARG(d->providers[i].name));
		else if (d->providers[i].health.max_ejected < 100 && !policy_has_rivals(d, i))
			policy_warn(r, &at, tree_get(at.node, SLICE("health")),
				"'max_ejected' of provider '" PLACE_FMT
				"' acts between targets of one priority, and it has none such",
				PLACE_ARG(d->providers[i].name));
	}
}

/* Tags that no target carries of a model that it names, or of any, if it may use all. */
static void policy_warn_tags(
	struct policy_reader *r, const struct policy_at *at, const struct policy_project *p)
{
	const struct policy_doc *d = r->doc;
	bool any = false;

	if (!p->require_tags)
		return;
	for (uint32_t i = 0; i < (p->all_models ? d->n_models : p->n_models); i++) {
		const struct policy_model *m = &d->models[p->all_models ? i : p->models[i]];
		bool has = policy_has_tags(m, p->require_tags | m->require_tags);

		any |= has;
		if (!has && !p->all_models)
			policy_warn(r, at, NULL,
				"project '" PLACE_FMT "' may use the model '" PLACE_FMT
				"', but no target of it carries every tag that is required, so "
				"each "
				"call is refused",
				PLACE_ARG(p->name), PLACE_ARG(m->name));
	}
	if (!any && p->all_models && d->n_models)
		policy_warn(r, at, NULL,
			"project '" PLACE_FMT "' requires tags that no target of any model carries "
			"together, so each call "
			"is refused",
			PLACE_ARG(p->name));
}

/* Projects lie one behind the other in the order of the customers. */
static void policy_warn_projects(struct policy_reader *r)
{
	const struct policy_doc *d = r->doc;
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n_customers; i++) {
		struct policy_at up = { NULL, r->customers.items[i], "customers", i };
		const struct tree *list = tree_get(up.node, SLICE("projects"));
		const struct tree *node = list ? list->child : NULL;

		for (uint32_t k = 0; node; node = node->next, k++, n++) {
			struct policy_at at = { &up, node, "projects", k };

			if (!d->projects[n].all_models && d->projects[n].n_models == 0)
				policy_warn(r, &at, NULL,
					"project '" PLACE_FMT "' may use no model; list some, or "
					"remove 'models' to allow all",
					PLACE_ARG(d->projects[n].name));
			policy_warn_tags(r, &at, &d->projects[n]);
		}
	}
}

static void policy_warn_identities(struct policy_reader *r)
{
	const struct policy_doc *d = r->doc;
	struct policy_names callers;

	policy_names_init(r, &callers, d->n_identities);
	for (uint32_t i = 0; i < d->n_identities; i++) {
		struct policy_at at = { NULL, r->identities.items[i], "identities", i };
		const struct policy_identity *id = &d->identities[i];
		const char *key = arena_printf(&r->scratch, "%d %" PRIu32 " " SLICE_FMT,
			(int)id->kind, id->uid, SLICE_ARG(id->value));

		if (!key)
			policy_out_of_memory(r);
		else if (policy_names_put(r, &callers, slice_str(key), i, at.node))
			policy_warn(r, &at, NULL,
				"this caller stands above already, and the first match counts; "
				"remove one");
	}
}

void policy_warnings(struct policy_reader *r)
{
	policy_warn_models(r);
	policy_warn_providers(r);
	policy_warn_projects(r);
	policy_warn_identities(r);
}
