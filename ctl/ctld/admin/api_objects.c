/* What the running policy consists of: providers, models, projects, prices. */
#include "admin/api.h"
#include "ctld.h"
#include <aigw/clock.h>
#include <aigw/text.h>

#define DAY_US (86400 * USEC_PER_S)

static const struct policy_doc *doc_of(const struct api_request *q)
{
	return q->ctld->feed.policy ? q->ctld->feed.policy->doc : NULL;
}

static json_t *currency_of(const struct policy_doc *doc)
{
	return doc ? json_slice(doc->currency) : json_null();
}

static json_t *component(const struct price *p, enum price_component c)
{
	return p && p->has[c] ? json_nano(p->nano[c]) : json_null();
}

void api_providers_list(struct api_request *q)
{
	json_t *list = api_providers_json(q);

	if (list)
		api_answer(q->x, 200, json_pack("{s:o}", "providers", list));
}

/* --- models --------------------------------------------------------------------------- */

static int project_find(const struct policy_doc *doc, struct slice name)
{
	for (uint32_t i = 0; doc && i < doc->n_projects; i++)
		if (slice_eq(doc->projects[i].name, name))
			return (int)i;
	return -1;
}

static bool project_may(const struct policy_project *p, uint32_t model)
{
	for (uint32_t i = 0; i < p->n_models && !p->all_models; i++)
		if (p->models[i] == model)
			return true;
	return p->all_models;
}

static json_t *names_json(const struct slice *names, uint32_t n)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_slice(names[i]));
	return list;
}

static json_t *target_json(const struct policy_doc *doc, const struct policy_target *t)
{
	const struct policy_price *p =
		policy_doc_price(doc, t->provider, t->model, clock_wall_us());

	return json_pack("{s:o, s:o, s:I, s:I, s:o, s:o}", "provider",
		json_slice(doc->providers[t->provider].name), "model", json_slice(t->model),
		"priority", (json_int_t)t->priority, "weight", (json_int_t)t->weight, "input",
		component(p ? &p->price : NULL, PRICE_input), "output",
		component(p ? &p->price : NULL, PRICE_output));
}

static json_t *model_json(const struct policy_doc *doc, const struct policy_model *m)
{
	static const char *const strategies[] = { [STRATEGY_weighted] = "weighted",
		[STRATEGY_priority] = "priority",
		[STRATEGY_cheapest] = "cheapest" };
	const struct policy_target *first = &m->targets[0];
	const struct policy_price *p =
		policy_doc_price(doc, first->provider, first->model, clock_wall_us());
	json_t *targets = json_array();

	for (uint32_t i = 0; i < m->n_targets; i++)
		(void)json_array_append_new(targets, target_json(doc, &m->targets[i]));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "name", json_slice(m->name),
		"aliases", names_json(m->aliases, m->n_aliases), "provider",
		json_slice(doc->providers[first->provider].name), "target",
		json_slice(first->model), "input", component(p ? &p->price : NULL, PRICE_input),
		"output", component(p ? &p->price : NULL, PRICE_output), "strategy",
		strategies[m->strategy], "targets", targets);
}

void api_models_list(struct api_request *q)
{
	const struct policy_doc *doc = doc_of(q);
	json_t *list = json_array();
	struct slice project;
	int of = -1;

	if (http_query_get(q->x, SLICE("project"), &project)) {
		of = project_find(doc, project);
		if (of < 0) {
			json_decref(list);
			api_error(q->x, ADMIN_ERROR_not_found,
				"the running policy has no project '" SLICE_FMT "'",
				SLICE_ARG(project));
			return;
		}
	}
	for (uint32_t i = 0; doc && i < doc->n_models; i++) {
		const struct policy_model *m = &doc->models[i];

		if (of >= 0 && !project_may(&doc->projects[of], i))
			continue;
		(void)json_array_append_new(list, model_json(doc, m));
	}
	api_answer(
		q->x, 200, json_pack("{s:o, s:o}", "currency", currency_of(doc), "models", list));
}

/* --- projects ------------------------------------------------------------------------- */

struct key_counts {
	const struct policy_doc *doc;
	uint64_t *active; /* by project */
};

static int count_key(struct slice bytes, void *arg)
{
	struct key_counts *counts = arg;
	struct key_record k;
	int r = key_record_unpack(bytes, &k), at;

	if (r < 0)
		return r;
	at = project_find(counts->doc, k.project);
	if (at >= 0 && k.state == KEY_ACTIVE && !(k.expires_us && k.expires_us <= clock_wall_us()))
		counts->active[at]++;
	return 0;
}

static int count_keys(struct store_txn *t, void *arg)
{
	return store_key_each(t, count_key, arg);
}

static json_t *identities_json(const struct policy_doc *doc, uint32_t project)
{
	static const char *const kinds[] = { [IDENTITY_uid] = "uid",
		[IDENTITY_user] = "user",
		[IDENTITY_group] = "group",
		[IDENTITY_unit] = "unit" };
	json_t *list = json_array();

	for (uint32_t i = 0; i < doc->n_identities; i++) {
		const struct policy_identity *id = &doc->identities[i];

		if (id->project != project)
			continue;
		(void)json_array_append_new(list,
			id->kind == IDENTITY_uid ? json_sprintf("uid:%" PRIu32, id->uid)
						 : json_sprintf("%s:" SLICE_FMT, kinds[id->kind],
							   SLICE_ARG(id->value)));
	}
	return list;
}

static json_t *project_json(const struct policy_doc *doc, uint32_t i, uint64_t keys)
{
	const struct policy_project *p = &doc->projects[i];
	json_t *models = json_array();

	for (uint32_t m = 0; m < p->n_models; m++)
		(void)json_array_append_new(models, json_slice(doc->models[p->models[m]].name));
	if (p->all_models) {
		json_decref(models);
		models = json_null();
	}
	return json_pack("{s:o, s:o, s:o, s:I, s:o}", "name", json_slice(p->name), "customer",
		json_slice(doc->customers[p->customer].name), "models", models, "keys",
		(json_int_t)keys, "identities", identities_json(doc, i));
}

void api_projects_list(struct api_request *q)
{
	struct key_counts counts = { .doc = doc_of(q) };
	json_t *list;
	int r = 0;

	if (counts.doc) {
		counts.active = calloc(counts.doc->n_projects + 1, sizeof(*counts.active));
		r = counts.active ? store_read(q->ctld->store, count_keys, &counts) : -ENOMEM;
	}
	if (r < 0) {
		free(counts.active);
		api_store_error(q->x, r);
		return;
	}
	list = json_array();
	for (uint32_t i = 0; counts.doc && i < counts.doc->n_projects; i++)
		(void)json_array_append_new(list, project_json(counts.doc, i, counts.active[i]));
	free(counts.active);
	api_answer(q->x, 200, json_pack("{s:o}", "projects", list));
}

/* --- prices --------------------------------------------------------------------------- */

/* Whether the row decides on that day for what it names itself. */
static bool in_force(const struct policy_doc *doc, const struct policy_price *p, int64_t day)
{
	if (p->from_day > day)
		return false;
	for (uint32_t i = 0; i < doc->n_prices; i++) {
		const struct policy_price *o = &doc->prices[i];

		if (o != p && slice_eq(o->provider, p->provider) && slice_eq(o->model, p->model) &&
			o->from_day <= day && o->from_day > p->from_day)
			return false;
	}
	return true;
}

static json_t *price_json(const struct policy_price *p, bool now)
{
	static const struct {
		const char *name;
		enum price_component c;
	} parts[] = {
		{ "input", PRICE_input },
		{ "cached_input", PRICE_cached_input },
		{ "cache_write", PRICE_cache_write },
		{ "output", PRICE_output },
		{ "reasoning", PRICE_reasoning },
		{ "audio_in", PRICE_audio_in },
		{ "audio_out", PRICE_audio_out },
		{ "per_request", PRICE_per_request },
		{ "per_minute", PRICE_per_minute },
	};
	char from[32];
	json_t *v;

	clock_format_utc(p->from_day * DAY_US, false, from);
	v = json_pack("{s:o, s:o, s:o, s:b}", "provider", json_slice(p->provider), "model",
		json_slice(p->model), "from", json_slice(slice_of(from, 10)), "in_force", now);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		(void)json_object_set_new(v, parts[i].name, component(&p->price, parts[i].c));
	return v;
}

void api_prices_list(struct api_request *q)
{
	const struct policy_doc *doc = doc_of(q);
	struct slice model, at;
	bool one = http_query_get(q->x, SLICE("model"), &model),
	     dated = http_query_get(q->x, SLICE("at"), &at);
	int64_t day = clock_wall_us() / DAY_US;
	json_t *list;

	if (dated && text_parse_date(at, &day) < 0) {
		api_error(q->x, ADMIN_ERROR_usage, "at is a day such as 2026-11-01");
		return;
	}
	list = json_array();
	for (uint32_t i = 0; doc && i < doc->n_prices; i++) {
		const struct policy_price *p = &doc->prices[i];
		bool now = in_force(doc, p, day);

		if ((one && !slice_eq(p->model, model)) || (dated && !now))
			continue;
		(void)json_array_append_new(list, price_json(p, now));
	}
	api_answer(
		q->x, 200, json_pack("{s:o, s:o}", "currency", currency_of(doc), "prices", list));
}
