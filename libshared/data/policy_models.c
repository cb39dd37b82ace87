/* Models: their names, who serves them, and in which order. */
#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_TOKENS_MAX   1000000000u
#define POLICY_HEADER_MAX   64
#define POLICY_KEEPALIVE_US (15 * USEC_PER_S)

static void policy_read_aliases(
	struct policy_reader *r, const struct policy_at *up, struct policy_model *m, uint32_t index)
{
	uint32_t n;
	const struct tree *node = policy_list(r, up, "aliases", &n);

	m->aliases = policy_alloc(r, n, sizeof(*m->aliases));
	for (uint32_t i = 0; m->aliases && node; node = node->next, i++) {
		struct policy_at at = { up, node, "aliases", i };

		if (node->kind != TREE_SCALAR || !policy_is_model_name(node->text) ||
			slice_eq(node->text, SLICE("*"))) {
			policy_error(r, &at, node,
				"an alias must be 1 to %d printable ASCII characters without "
				"spaces, quotes and backslashes",
				POLICY_MODEL_NAME_MAX);
			continue;
		}
		policy_names_add(r, &r->model_names, &at, node, node->text, index);
		m->aliases[m->n_aliases++] = policy_copy(r, node->text);
	}
}

static bool policy_has(const struct policy_at *at, const char *key)
{
	return tree_get(at->node, slice_str(key)) != NULL;
}

static void policy_read_size(
	struct policy_reader *r, const struct policy_at *at, const char *key, int64_t *tokens)
{
	uint32_t n;

	if (!policy_has(at, key))
		return;
	r->uses_routing_2 = true;
	policy_count(r, at, key, 1, POLICY_TOKENS_MAX, POLICY_TOKENS_MAX, &n);
	*tokens = n;
}

/* Which requests it may serve; what its model says is the preset. */
static void policy_read_limits(struct policy_reader *r, const struct policy_at *at,
	struct policy_model *m, struct policy_target *t)
{
	policy_capabilities(r, at, m->capabilities, &t->capabilities);
	policy_tags(r, at, "tags", &t->tags);
	t->max_output = m->max_output;
	policy_read_size(r, at, "max_output_tokens", &t->max_output);
	policy_read_size(r, at, "context_window", &t->context_window);
	m->lists_capabilities |= t->capabilities != CAPABILITIES_ALL;
	m->has_windows |= t->context_window > 0;
}

static void policy_read_target(struct policy_reader *r, const struct policy_at *at,
	struct policy_model *m, struct policy_target *t)
{
	const struct policy_provider *p;
	const struct tree *provider, *model;
	struct slice provider_name, model_name;

	if (!policy_check_map(r, at, POLICY_target))
		return;
	provider = policy_text(r, at, "provider", POLICY_REQUIRED, &provider_name);
	if (provider)
		(void)policy_names_refer(r, &r->provider_names, "provider", at, provider,
			provider_name, &t->provider);
	model = policy_model_name(r, at, "model", &model_name);
	if (model)
		t->model = policy_copy(r, model_name);
	policy_count(r, at, "priority", 1, 100, 1, &t->priority);
	policy_count(r, at, "weight", 0, 1000, 100, &t->weight);
	r->uses_routing |= policy_has(at, "priority") || policy_has(at, "weight") ||
			   policy_has(at, "timeouts");
	policy_read_limits(r, at, m, t);
	if (t->provider >= r->doc->n_providers)
		return;
	p = &r->doc->providers[t->provider];
	t->connect_us = p->connect_us;
	t->first_byte_us = p->first_byte_us;
	t->idle_us = p->idle_us;
	t->total_us = p->total_us;
	t->max_ejected = p->health.max_ejected;
	m->keeps_some |= t->max_ejected < 100;
	policy_read_timeouts(r, at, &t->connect_us, &t->first_byte_us, &t->idle_us, &t->total_us);
}

static void policy_check_targets(struct policy_reader *r, const struct policy_at *up,
	const struct tree *given, const struct policy_model *m)
{
	bool some = false;

	for (uint32_t i = 0; i < m->n_targets; i++) {
		some |= m->targets[i].weight > 0;
		for (uint32_t k = 0; k < i; k++)
			if (m->targets[k].provider == m->targets[i].provider &&
				m->targets[i].model.n &&
				slice_eq(m->targets[k].model, m->targets[i].model)) {
				policy_error(r, up, given,
					"the target " PLACE_FMT " of one provider stands twice in "
					"'targets'; leave one, with the sum of the weights",
					PLACE_ARG(m->targets[i].model));
				return;
			}
	}
	if (m->n_targets && !some)
		policy_error(r, up, given,
			"every target has weight 0, so none gets a call; give one a weight");
}

static void policy_read_targets(
	struct policy_reader *r, const struct policy_at *up, struct policy_model *m)
{
	const struct tree *given = tree_get(up->node, SLICE("targets")), *node;
	uint32_t n;

	node = policy_list(r, up, "targets", &n);
	if (!given)
		policy_missing(r, up,
			"'targets' is missing here; add targets: [{provider: NAME, model: NAME}]");
	else if (n == 0 && given->kind == TREE_LIST)
		policy_error(
			r, up, given, "'targets' is empty; add one {provider: NAME, model: NAME}");
	else if (n > POLICY_TARGETS_MAX)
		policy_error(r, up, given, "'targets' has more than %d items", POLICY_TARGETS_MAX);
	if (n > POLICY_TARGETS_MAX || !r->doc->targets)
		return;
	r->uses_routing |= n > 1;
	m->targets = r->doc->targets + r->doc->n_targets;
	for (; node; node = node->next) {
		struct policy_at at = { up, node, "targets", m->n_targets };

		policy_read_target(r, &at, m, &m->targets[m->n_targets++]);
	}
	r->doc->n_targets += m->n_targets;
	policy_check_targets(r, up, given, m);
}

/* Targets, each as often as its provider has credentials. */
static uint32_t policy_ways(const struct policy_doc *d, const struct policy_model *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->n_targets; i++)
		n += m->targets[i].provider < d->n_providers
			     ? MAX(d->providers[m->targets[i].provider].n_credentials, 1u)
			     : 1;
	return n;
}

static void policy_read_retry(
	struct policy_reader *r, const struct policy_at *up, struct policy_model *m)
{
	static const struct tree none = { .kind = TREE_MAP };
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("retry")) };

	r->uses_routing |= at.node != NULL;
	if (!at.node || !policy_check_map(r, &at, POLICY_retry))
		at.node = &none;
	/* Who names one target with one credential and says nothing wants one call, one try. */
	policy_count(
		r, &at, "attempts", 1, 10, MIN(policy_ways(r->doc, m), 3u), &m->retry.attempts);
	policy_duration(r, &at, "backoff", 200 * 1000, &m->retry.backoff_us);
	policy_percent(r, &at, "budget", 100, 20, &m->retry.budget_pct);
	policy_read_retry_on(r, &at, &m->retry);
}

/* Only 0 means something where no share is drawn. */
static void policy_check_weights(
	struct policy_reader *r, const struct policy_at *up, const struct policy_model *m)
{
	const struct tree *node = tree_get(up->node, SLICE("targets"))->child;

	for (uint32_t i = 0; i < m->n_targets && node; node = node->next, i++) {
		struct policy_at at = { up, node, "targets", i };

		if (m->targets[i].weight && tree_get(node, SLICE("weight")))
			policy_error(r, &at, tree_get(node, SLICE("weight")),
				"a weight other than 0 acts with the strategies weighted and "
				"least_busy only; remove it, or the strategy");
	}
}

static bool policy_is_header(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_",
			    s.p[i]))
			return false;
	return s.n > 0 && s.n <= POLICY_HEADER_MAX;
}

/* The header's place among those that some model is sticky by. */
static void policy_sticky_header(struct policy_reader *r, const struct policy_at *at,
	const struct tree *node, struct slice name, uint32_t *ret)
{
	const struct slice own = SLICE("x-aigw-");
	struct policy_doc *d = r->doc;

	if (!policy_is_header(name)) {
		policy_error(r, at, node,
			"'sticky' is 'header:" PLACE_FMT
			"': write the name of a header behind it, 1 to %d letters, digits, - and _",
			PLACE_ARG(name), POLICY_HEADER_MAX);
		return;
	}
	if (name.n > own.n && slice_eq_nocase(slice_of(name.p, own.n), own) &&
		!slice_eq_nocase(name, SLICE("x-aigw-require-tags"))) {
		policy_error(r, at, node,
			"'sticky' is 'header:" PLACE_FMT
			"': headers x-aigw-... are for the gateway and tell no callers apart; use "
			"one of your own",
			PLACE_ARG(name));
		return;
	}
	for (*ret = 0; *ret < d->n_sticky_headers; (*ret)++)
		if (slice_eq_nocase(d->sticky_headers[*ret], name))
			return;
	if (d->n_sticky_headers == POLICY_STICKY_HEADERS_MAX)
		policy_error(r, at, node, "a policy may be sticky by %d different headers",
			POLICY_STICKY_HEADERS_MAX);
	else
		d->sticky_headers[d->n_sticky_headers++] = policy_copy(r, name);
}

static void policy_read_sticky(
	struct policy_reader *r, const struct policy_at *at, struct policy_model *m)
{
	static const char *const words[] = { [STICKY_request] = "request",
		[STICKY_key] = "key",
		[STICKY_user] = "user",
		[STICKY_header] = "header:NAME",
		[STICKY_cache_key] = "cache_key",
		NULL };
	const struct tree *node = tree_get(at->node, SLICE("sticky"));
	const struct slice header = SLICE("header:");
	unsigned word;

	if (node && node->kind == TREE_SCALAR && slice_starts(node->text, header)) {
		m->sticky = STICKY_header;
		policy_sticky_header(
			r, at, node, slice_skip(node->text, header.n), &m->sticky_header);
	} else {
		policy_choice(r, at, "sticky", words, STICKY_request, &word);
		m->sticky = (enum policy_sticky)word;
	}
	r->uses_routing_2 |= m->sticky == STICKY_header || m->sticky == STICKY_cache_key;
}

static void policy_read_routing(
	struct policy_reader *r, const struct policy_at *at, struct policy_model *m)
{
	static const char *const strategies[] = { [STRATEGY_weighted] = "weighted",
		[STRATEGY_priority] = "priority",
		[STRATEGY_cheapest] = "cheapest",
		[STRATEGY_fastest] = "fastest",
		[STRATEGY_least_busy] = "least_busy",
		[STRATEGY_headroom] = "headroom",
		NULL };
	static const char *const all_out[] = { "refuse", "try_best", NULL };
	static const char *const malformed[] = { "error", "skip", NULL };
	unsigned word;

	policy_choice(r, at, "strategy", strategies, STRATEGY_weighted, &word);
	m->strategy = (enum policy_strategy)word;
	policy_read_sticky(r, at, m);
	if (m->sticky != STICKY_request && m->strategy != STRATEGY_weighted)
		policy_error(r, at, tree_get(at->node, SLICE("sticky")),
			"'sticky' acts with the strategy weighted only; remove it, or the "
			"strategy");
	if (m->strategy != STRATEGY_weighted && m->strategy != STRATEGY_least_busy)
		policy_check_weights(r, at, m);
	r->uses_routing_2 |= m->strategy >= STRATEGY_fastest;
	/* A lone target's own answer says more than ours. */
	policy_choice(r, at, "when_all_out", all_out, m->n_targets == 1, &word);
	m->try_best = word == 1;
	policy_choice(r, at, "on_malformed", malformed, 0, &word);
	m->skip_malformed = word == 1;
	policy_read_retry(r, at, m);
	r->uses_routing |= policy_has(at, "strategy") || policy_has(at, "sticky") ||
			   policy_has(at, "on_malformed") || policy_has(at, "when_all_out");
}

static bool policy_can_continue(const struct policy_reader *r, const struct policy_model *m)
{
	for (uint32_t i = 0; i < m->n_targets; i++) {
		const struct policy_target *t = &m->targets[i];

		if (t->provider < r->doc->n_providers && t->weight &&
			r->doc->providers[t->provider].prefill != PREFILL_none &&
			(t->capabilities & CAPABILITY_BIT(prefill)))
			return true;
	}
	return false;
}

static void policy_read_cut(
	struct policy_reader *r, const struct policy_at *at, struct policy_model *m)
{
	static const char *const cut[] = { "error", "continue", NULL };
	const struct tree *node = tree_get(at->node, SLICE("on_cut"));
	unsigned word;

	policy_choice(r, at, "on_cut", cut, 0, &word);
	m->continue_cut = word == 1;
	r->uses_routing_2 |= node != NULL;
	if (m->continue_cut && !policy_can_continue(r, m))
		policy_error(r, at, node,
			"'on_cut' is 'continue', and no target can go on from the text delivered; "
			"give a provider options: {prefill: ...}, or remove it");
	else if (m->continue_cut && m->retry.attempts < 2)
		policy_error(r, at, node,
			"'on_cut' is 'continue', and the model has one attempt; write retry: "
			"{attempts: 2}, or remove it");
}

/* What the client of a stream gets while it waits. */
static void policy_read_streams(
	struct policy_reader *r, const struct policy_at *at, struct policy_model *m)
{
	const struct tree *node = tree_get(at->node, SLICE("keepalive"));

	policy_read_cut(r, at, m);
	policy_read_queue(r, at, m);
	policy_bool(r, at, "early_head", false, &m->early_head);
	if (!node || node->kind != TREE_SCALAR || !slice_eq(node->text, SLICE("off")))
		policy_duration(r, at, "keepalive", POLICY_KEEPALIVE_US, &m->keepalive_us);
	r->uses_routing_2 |= node || policy_has(at, "early_head");
}

static uint32_t policy_count_targets(const struct policy_section *models)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < models->n; i++) {
		const struct tree *targets = tree_get(models->items[i], SLICE("targets"));

		n += targets && targets->kind == TREE_LIST
			     ? MIN(targets->n, (uint32_t)POLICY_TARGETS_MAX)
			     : 0;
	}
	return n;
}

/* All names that models may take, for the size of their index. */
static uint32_t policy_count_names(const struct policy_section *models)
{
	uint32_t n = models->n;

	for (uint32_t i = 0; i < models->n; i++) {
		const struct tree *aliases = tree_get(models->items[i], SLICE("aliases"));

		n += aliases ? aliases->n : 0;
	}
	return n;
}

void policy_read_models(struct policy_reader *r)
{
	struct policy_model *all = policy_alloc(r, r->models.n, sizeof(*all));

	policy_names_init(r, &r->model_names, policy_count_names(&r->models));
	r->doc->models = all;
	r->doc->targets =
		policy_alloc(r, policy_count_targets(&r->models), sizeof(*r->doc->targets));
	for (uint32_t i = 0; all && i < r->models.n; i++) {
		struct policy_at at = { NULL, r->models.items[i], "models", i };
		const struct tree *node;
		struct slice name;

		if (!policy_check_map(r, &at, POLICY_model))
			continue;
		node = policy_model_name(r, &at, "name", &name);
		if (node && slice_eq(name, SLICE("*"))) {
			policy_error(
				r, &at, node, "'*' means every model and can't be a model's name");
		} else if (node) {
			all[i].name = policy_copy(r, name);
			policy_names_add(r, &r->model_names, &at, node, name, i);
		}
		policy_read_aliases(r, &at, &all[i], i);
		policy_capabilities(r, &at, CAPABILITIES_ALL, &all[i].capabilities);
		policy_read_size(r, &at, "max_output_tokens", &all[i].max_output);
		policy_tags(r, &at, "require_tags", &all[i].require_tags);
		policy_read_targets(r, &at, &all[i]);
		policy_read_routing(r, &at, &all[i]);
		policy_read_streams(r, &at, &all[i]);
		r->doc->n_models++;
	}
}

void policy_read_default_model(struct policy_reader *r)
{
	struct policy_at at = { .node = tree_get(r->root, SLICE("settings")) };
	const struct tree *node;
	struct slice name;
	uint32_t index;

	r->doc->default_model = -1;
	if (!at.node || at.node->kind != TREE_MAP || !tree_get(at.node, SLICE("default_model")))
		return;
	r->uses_routing_2 = true;
	node = policy_model_name(r, &at, "default_model", &name);
	if (node && policy_names_refer(r, &r->model_names, "model", &at, node, name, &index))
		r->doc->default_model = (int)index;
}
