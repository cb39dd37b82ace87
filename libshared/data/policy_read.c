/* Settings, providers and prices. */
#include <aigw/crc.h>
#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_CA_FILE_MAX    4095
#define POLICY_CREDENTIAL_MAX 64
#define POLICY_OPENAI_URL     "https://api.openai.com/v1"

static void policy_read_headers(struct policy_reader *r, const struct policy_at *up)
{
	static const char *const costs[] = { [COST_HEADERS_OFF] = "false",
		[COST_HEADERS_PLAIN] = "true",
		[COST_HEADERS_STREAM] = "stream",
		NULL };
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("headers")) };

	if (!at.node)
		return;
	r->uses_routing_2 = true;
	if (!policy_check_map(r, &at, POLICY_headers))
		return;
	policy_bool(r, &at, "debug", false, &r->doc->debug_headers);
	policy_choice(r, &at, "cost", costs, COST_HEADERS_OFF, &r->doc->cost_headers);
}

void policy_read_settings(struct policy_reader *r)
{
	struct policy_at at = { .node = tree_get(r->root, SLICE("settings")) };
	struct slice s = SLICE("USD");
	const struct tree *node = NULL;

	if (at.node && policy_check_map(r, &at, POLICY_settings)) {
		node = policy_text(r, &at, "currency", POLICY_OPTIONAL, &s);
		policy_read_headers(r, &at);
	}
	if (node) {
		bool ok = s.n == 3;

		for (size_t i = 0; i < 3 && ok; i++)
			ok = s.p[i] >= 'A' && s.p[i] <= 'Z';
		if (!ok)
			policy_error(r, &at, node,
				"currency '" PLACE_FMT
				"' must be three capital letters, such as USD",
				PLACE_ARG(s));
	}
	r->doc->currency = policy_copy(r, s);
}

static void policy_read_type(
	struct policy_reader *r, const struct policy_at *at, struct policy_provider *p)
{
	static const struct slice known[] = { { "openai", 6 }, { "openai-compatible", 17 } };
	static const char *const later[] = { "azure", "anthropic", "bedrock", "gemini" };
	struct slice s, near;
	const struct tree *node = policy_text(r, at, "type", POLICY_REQUIRED, &s);

	if (!node)
		return;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (slice_eq(s, known[i])) {
			p->type = i == 0 ? PROVIDER_openai : PROVIDER_openai_compatible;
			return;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(later); i++) {
		if (slice_eq(s, slice_str(later[i]))) {
			policy_error(r, at, node,
				"not supported yet: provider type '%s'; use openai or "
				"openai-compatible",
				later[i]);
			return;
		}
	}
	near = text_near(s, known, ARRAY_LEN(known));
	if (near.n)
		policy_error(r, at, node,
			"unknown provider type '" PLACE_FMT "', did you mean '" SLICE_FMT "'?",
			PLACE_ARG(s), SLICE_ARG(near));
	else
		policy_error(r, at, node,
			"unknown provider type '" PLACE_FMT "'; use openai or openai-compatible",
			PLACE_ARG(s));
}

/* The text is never repeated in a message: a wrong one may hold a password. */
static void policy_read_url(
	struct policy_reader *r, const struct policy_at *at, struct policy_provider *p)
{
	const struct tree *node = tree_get(at->node, SLICE("base_url"));
	struct slice s = SLICE(POLICY_OPENAI_URL);
	struct errbuf e;

	if (node)
		node = policy_text(r, at, "base_url", POLICY_REQUIRED, &s);
	else if (p->type != PROVIDER_openai)
		policy_missing(r, at,
			"'base_url' is missing here; add it, such as http://127.0.0.1:8000/v1");
	p->base_url = policy_copy(r, s);
	if (p->base_url.p && url_parse(p->base_url, &p->url, &e) < 0)
		policy_error(r, at, node, "'base_url': %s", e.text);
}

/* The name goes behind those of the providers before. */
static void policy_add_credential(struct policy_reader *r, const struct policy_at *at,
	const struct tree *node, struct policy_provider *p)
{
	if (!policy_is_name(node->text, POLICY_CREDENTIAL_MAX) ||
		slice_starts(node->text, SLICE("sk-"))) {
		policy_error(r, at, node,
			"a credential must be the name of a secret (1 to %d of A-Z a-z 0-9 . _ -), "
			"never the secret itself; store it with aigwctl provider secret set",
			POLICY_CREDENTIAL_MAX);
		return;
	}
	for (uint32_t i = 0; i < p->n_credentials; i++)
		if (slice_eq(p->credentials[i], node->text)) {
			policy_error(r, at, node,
				"the credential '" PLACE_FMT "' stands twice here",
				PLACE_ARG(node->text));
			return;
		}
	p->credentials[p->n_credentials++] = policy_copy(r, node->text);
	r->doc->n_credentials++;
}

static void policy_read_credentials(
	struct policy_reader *r, const struct policy_at *up, struct policy_provider *p)
{
	const struct tree *given = tree_get(up->node, SLICE("credentials")), *node;
	struct slice s;
	uint32_t n;

	p->credentials = r->doc->credentials + r->doc->n_credentials;
	node = policy_text(r, up, "credential", POLICY_OPTIONAL, &s);
	if (node)
		policy_add_credential(r, up, node, p);
	if (!given)
		return;
	r->uses_routing_2 = true;
	if (tree_get(up->node, SLICE("credential"))) {
		policy_error(r, up, given,
			"'credential' and 'credentials' both stand here; put all into one list");
		return;
	}
	node = policy_list(r, up, "credentials", &n);
	if (n > POLICY_CREDENTIALS_MAX) {
		policy_error(r, up, given, "'credentials' has more than %d items",
			POLICY_CREDENTIALS_MAX);
		return;
	}
	if (given->kind == TREE_LIST && n == 0)
		policy_error(r, up, given,
			"'credentials' is empty; name some, or remove the key (none is sent)");
	for (uint32_t i = 0; node; node = node->next, i++) {
		struct policy_at at = { up, node, "credentials", i };

		if (node->kind == TREE_SCALAR && node->text.n)
			policy_add_credential(r, &at, node, p);
		else
			policy_error(r, &at, node, "write the name of a secret here");
	}
}

static uint32_t policy_count_credentials(const struct policy_section *providers)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < providers->n; i++) {
		const struct tree *list = tree_get(providers->items[i], SLICE("credentials"));

		n += 1 + (list ? MIN(list->n, (uint32_t)POLICY_CREDENTIALS_MAX) : 0);
	}
	return n;
}

void policy_read_timeouts(struct policy_reader *r, const struct policy_at *up, usec *connect_us,
	usec *first_byte_us, usec *idle_us, usec *total_us)
{
	static const struct tree none = { .kind = TREE_MAP };
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("timeouts")) };

	if (!at.node || !policy_check_map(r, &at, POLICY_timeouts))
		at.node = &none;
	policy_duration(r, &at, "connect", *connect_us, connect_us);
	policy_duration(r, &at, "first_byte", *first_byte_us, first_byte_us);
	policy_duration(r, &at, "idle", *idle_us, idle_us);
	policy_duration(r, &at, "total", *total_us, total_us);
}

/* "models", or a path. */
static void policy_read_probe(
	struct policy_reader *r, const struct policy_at *at, struct policy_health *h)
{
	static const struct slice models = SLICE_INIT(POLICY_PROBE_MODELS);
	const struct tree *every = tree_get(at->node, SLICE("every"));
	struct slice s = SLICE_EMPTY;
	const struct tree *node = policy_text(r, at, "probe", POLICY_OPTIONAL, &s);
	bool good = node && s.n && s.n <= POLICY_PROBE_PATH_MAX;

	policy_duration(r, at, "every", 30 * USEC_PER_S, &h->probe_every_us);
	if (h->probe_every_us < USEC_PER_S || h->probe_every_us > 3600 * USEC_PER_S)
		policy_error(r, at, every, "'every' is " PLACE_FMT ": it may be 1s to 1h",
			PLACE_ARG(every->text));
	if (every && !tree_get(at->node, SLICE("probe")))
		policy_error(r, at, every,
			"'every' says how often 'probe' is asked, which lacks here; add probe: "
			"models, or remove it");
	r->uses_routing_2 |= every || tree_get(at->node, SLICE("probe"));
	for (size_t i = 0; good && i < s.n; i++)
		good = s.p[i] > ' ' && s.p[i] <= '~' && s.p[i] != '#';
	if (good && (s.p[0] == '/' || slice_eq(s, models)))
		h->probe = policy_copy(r, s);
	else if (node)
		policy_error(r, at, node,
			"'probe' is '" PLACE_FMT
			"': write models, or a path on the provider's server such as /health, of "
			"at most %d printable ASCII characters without spaces",
			PLACE_ARG(s), POLICY_PROBE_PATH_MAX);
}

static void policy_read_health(
	struct policy_reader *r, const struct policy_at *up, struct policy_health *h)
{
	static const struct tree none = { .kind = TREE_MAP };
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("health")) };

	r->uses_routing |= at.node != NULL;
	if (!at.node || !policy_check_map(r, &at, POLICY_health))
		at.node = &none;
	policy_count(r, &at, "open_after", 1, 1000, 5, &h->open_after);
	policy_duration(r, &at, "half_open_after", 20 * USEC_PER_S, &h->half_open_us);
	policy_count(r, &at, "min_samples", 0, 10000, 0, &h->min_samples);
	policy_percent(r, &at, "max_ejected", 100, 100, &h->max_ejected);
	policy_read_probe(r, &at, h);
	r->uses_routing_2 |=
		tree_get(at.node, SLICE("min_samples")) || tree_get(at.node, SLICE("max_ejected"));
}

static void policy_read_prefill(
	struct policy_reader *r, const struct policy_at *at, struct policy_provider *p)
{
	static const char *const ways[] = { [PREFILL_none] = "none",
		[PREFILL_message] = "message",
		[PREFILL_prefix] = "prefix",
		[PREFILL_partial] = "partial",
		[PREFILL_continue_final_message] = "continue_final_message",
		NULL };
	unsigned way;

	policy_choice(r, at, "prefill", ways, p->prefill, &way);
	p->prefill = (enum policy_prefill)way;
	p->prefill_told = tree_get(at->node, SLICE("prefill")) != NULL;
	r->uses_routing_2 |= tree_get(at->node, SLICE("prefill")) != NULL;
}

static void policy_read_options(
	struct policy_reader *r, const struct policy_at *up, struct policy_provider *p)
{
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("options")) };
	const struct tree *node;
	struct slice s;

	p->stream_usage = true;
	p->prefill = p->type == PROVIDER_openai ? PREFILL_none : PREFILL_message;
	if (!at.node || !policy_check_map(r, &at, POLICY_options))
		return;
	policy_bool(r, &at, "stream_usage", true, &p->stream_usage);
	policy_read_prefill(r, &at, p);
	r->uses_stream_usage |= tree_get(at.node, SLICE("stream_usage")) != NULL;
	node = policy_text(r, &at, "ca_file", POLICY_OPTIONAL, &s);
	if (!node)
		return;
	r->uses_ca_file = true;
	if (s.p[0] != '/' || s.n > POLICY_CA_FILE_MAX || memchr(s.p, '\0', s.n))
		policy_error(
			r, &at, node, "'ca_file' must be an absolute path on the agent's host");
	else
		p->ca_file = policy_copy(r, s);
}

void policy_read_providers(struct policy_reader *r)
{
	struct policy_provider *all = policy_alloc(r, r->providers.n, sizeof(*all));

	policy_names_init(r, &r->provider_names, r->providers.n);
	r->doc->providers = all;
	r->doc->credentials = policy_alloc(
		r, policy_count_credentials(&r->providers), sizeof(*r->doc->credentials));
	for (uint32_t i = 0; all && r->doc->credentials && i < r->providers.n; i++) {
		struct policy_at at = { NULL, r->providers.items[i], "providers", i };
		struct policy_provider *p = &all[i];
		const struct tree *node;
		struct slice name;

		if (!policy_check_map(r, &at, POLICY_provider))
			continue;
		node = policy_name(r, &at, &name);
		if (node) {
			p->name = policy_copy(r, name);
			policy_names_add(r, &r->provider_names, &at, node, name, i);
		}
		policy_read_type(r, &at, p);
		policy_read_url(r, &at, p);
		policy_read_credentials(r, &at, p);
		p->connect_us = 2 * USEC_PER_S;
		p->first_byte_us = p->idle_us = 60 * USEC_PER_S;
		p->total_us = 600 * USEC_PER_S;
		policy_read_timeouts(
			r, &at, &p->connect_us, &p->first_byte_us, &p->idle_us, &p->total_us);
		policy_read_health(r, &at, &p->health);
		policy_read_errors(r, &at, p);
		policy_read_options(r, &at, p);
		policy_read_concurrency(r, &at, &p->concurrency);
		r->doc->n_providers++;
	}
}

/* Day of effect and CRC-32C of all that the row says: the same row has the same version, wherever
 * it stands. */
static int64_t policy_price_version(const struct policy_price *p)
{
	uint32_t crc = crc32c(0, p->provider.p, p->provider.n);

	crc = crc32c(crc, "", 1);
	crc = crc32c(crc, p->model.p, p->model.n);
	for (int i = 0; i < PRICE_COUNT; i++) {
		uint8_t bytes[9] = { p->price.has[i] };

		/* It came later: rows without it keep their version. */
		if (i == PRICE_per_minute && !p->price.has[i])
			continue;
		for (int k = 0; k < 8; k++)
			bytes[1 + k] = (uint8_t)((uint64_t)p->price.nano[i] >> (56 - 8 * k));
		crc = crc32c(crc, bytes, sizeof(bytes));
	}
	return (int64_t)((uint64_t)p->from_day << 32 | crc);
}

static void policy_read_amounts(
	struct policy_reader *r, const struct policy_at *at, struct price *p)
{
	static const char *const names[PRICE_COUNT] = {
		[PRICE_input] = "input",
		[PRICE_cached_input] = "cached_input",
		[PRICE_cache_write] = "cache_write",
		[PRICE_output] = "output",
		[PRICE_reasoning] = "reasoning",
		[PRICE_audio_in] = "audio_in",
		[PRICE_audio_out] = "audio_out",
		[PRICE_per_request] = "per_request",
		[PRICE_per_minute] = "per_minute",
	};
	bool any = false;

	for (int i = 0; i < PRICE_COUNT; i++) {
		bool main_one = i == PRICE_input || i == PRICE_output || i == PRICE_per_request ||
				i == PRICE_per_minute;

		p->has[i] = policy_amount(r, at, names[i], &p->nano[i]);
		r->uses_per_minute |= i == PRICE_per_minute && p->has[i];
		any |= main_one && tree_get(at->node, slice_str(names[i]));
	}
	if (!any)
		policy_missing(r, at,
			"this price says nothing: add at least one of input, output, per_request, "
			"per_minute");
}

static bool policy_read_day(struct policy_reader *r, const struct policy_at *at, int64_t *ret)
{
	struct slice s;
	const struct tree *node = policy_text(r, at, "from", POLICY_REQUIRED, &s);

	if (!node)
		return false;
	if (text_parse_date(s, ret) == 0)
		return true;
	policy_error(r, at, node, "'from' is '" PLACE_FMT "': write a date, such as 2026-01-01",
		PLACE_ARG(s));
	return false;
}

static void policy_price_once(struct policy_reader *r, struct policy_names *rows,
	const struct policy_at *at, const struct policy_price *p, uint32_t i)
{
	const char *key = arena_printf(&r->scratch, SLICE_FMT " " SLICE_FMT " %" PRId64,
		SLICE_ARG(p->provider), SLICE_ARG(p->model), p->from_day);
	const struct policy_name *first;

	if (!key) {
		policy_out_of_memory(r);
		return;
	}
	first = policy_names_put(r, rows, slice_str(key), i, at->node);
	if (first)
		policy_error(r, at, NULL,
			"a second price of the same provider, model and day; the first is %s",
			first->node->line ? policy_place(r, NULL, first->node) : "before it");
}

void policy_read_prices(struct policy_reader *r)
{
	struct policy_price *all = policy_alloc(r, r->prices.n, sizeof(*all));
	struct policy_names rows;

	policy_names_init(r, &rows, r->prices.n);
	r->doc->prices = all;
	for (uint32_t i = 0; all && i < r->prices.n; i++) {
		struct policy_at at = { NULL, r->prices.items[i], "prices", i };
		const struct tree *provider, *model;
		struct slice provider_name, model_name;
		bool day;
		uint32_t index;

		if (!policy_check_map(r, &at, POLICY_price))
			continue;
		provider = policy_text(r, &at, "provider", POLICY_REQUIRED, &provider_name);
		model = policy_model_name(r, &at, "model", &model_name);
		day = policy_read_day(r, &at, &all[i].from_day);
		policy_read_amounts(r, &at, &all[i].price);
		r->doc->n_prices++;
		if (!provider ||
			!policy_names_refer(r, &r->provider_names, "provider", &at, provider,
				provider_name, &index) ||
			!model || !day)
			continue;
		all[i].provider = policy_copy(r, provider_name);
		all[i].model = policy_copy(r, model_name);
		all[i].price.version = policy_price_version(&all[i]);
		policy_price_once(r, &rows, &at, &all[i], i);
	}
}
