/* Right policies: what they mean, their packed form, their digest, and prices by day. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/policy_doc.h>

#define V "apiVersion: aigw/v1\n"

static const char full[] =
	V "settings: {currency: EUR}\n"
	  "providers:\n"
	  "  - {name: openai, type: openai, credential: main.key}\n"
	  "  - name: local\n"
	  "    type: openai-compatible\n"
	  "    base_url: https://[::1]:8443/v1\n"
	  "    timeouts: {connect: 1ms, first_byte: 90s, idle: 5m, total: 24h}\n"
	  "    options: {stream_usage: false, ca_file: /etc/ssl/own.pem}\n"
	  "prices:\n"
	  "  - {provider: openai, model: m, from: 2026-02-01, input: 0.3, output: 0.7}\n"
	  "  - {provider: openai, model: m, from: 2026-01-01, input: 0.15, cached_input: 0.075, "
	  "cache_write: 0,"
	  " output: 0.60, reasoning: 1, audio_in: 2, audio_out: 3, per_request: 0.000000001}\n"
	  "  - {provider: openai, model: '*', from: 2026-01-15, input: 9}\n"
	  "  - {provider: local, model: '*', from: 2026-01-01, per_request: '0.01', per_minute: "
	  "0.006}\n"
	  "models:\n"
	  "  - {name: gpt-4o-mini, aliases: [small, 'org/model:v1@x'], targets: [{provider: "
	  "openai, model: m}]}\n"
	  "  - {name: embed, targets: [{provider: local, model: e}]}\n"
	  "customers:\n"
	  "  - name: acme\n"
	  "    projects:\n"
	  "      - {name: search, models: [small, embed]}\n"
	  "      - {name: closed, models: []}\n"
	  "  - {name: other, projects: [{name: open}, {name: star, models: ['*']}]}\n"
	  "  - {name: idle, projects: }\n"
	  "identities:\n"
	  "  - {unit: web.service, project: search}\n"
	  "  - {uid: 0, project: open}\n"
	  "  - {user: www-data, project: closed}\n"
	  "  - {group: staff, project: star}\n";

static struct policy_doc *build_files(const char *const *texts, unsigned n, struct buf *report)
{
	static const char *const names[] = { "a.yaml", "b.yaml", "c.yaml" };
	struct tree *roots[3] = { NULL };
	struct policy_doc *d = NULL;
	struct arena a;
	int r = 0;

	arena_init(&a, 65536, 64u << 20);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(tree_from_yaml(&a, slice_str(texts[i]), names[i], (uint16_t)i,
					 &roots[i], NULL),
			0);
	r = policy_doc_build((const struct tree *const *)roots, names, n, &d, report);
	assert_int_equal(r, d ? 0 : -EINVAL);
	arena_fini(&a); /* the document keeps nothing of the files */
	return d;
}

static struct policy_doc *build(const char *text)
{
	struct policy_doc *d;
	struct buf report;

	buf_init(&report, 65536);
	d = build_files(&text, 1, &report);
	if (!d)
		fail_msg("%s", buf_cstr(&report));
	buf_fini(&report);
	return d;
}

static void check_text(struct slice s, const char *want)
{
	if (!slice_eq(s, slice_str(want)))
		fail_msg("'" SLICE_FMT "' instead of '%s'", SLICE_ARG(s), want);
}

/* The same whether it came from a file or over the wire. */
static void check_full(const struct policy_doc *d)
{
	const struct policy_provider *p = d->providers;

	check_text(d->currency, "EUR");
	assert_int_equal(d->n_providers, 2);
	check_text(p[0].name, "openai");
	assert_int_equal(p[0].type, PROVIDER_openai);
	check_text(p[0].base_url, "https://api.openai.com/v1");
	check_text(p[0].url.host, "api.openai.com");
	assert_true(p[0].url.tls);
	assert_int_equal(p[0].n_credentials, 1);
	check_text(p[0].credentials[0], "main.key");
	assert_int_equal(p[0].connect_us, 2 * USEC_PER_S);
	assert_int_equal(p[0].first_byte_us, 60 * USEC_PER_S);
	assert_int_equal(p[0].idle_us, 60 * USEC_PER_S);
	assert_int_equal(p[0].total_us, 600 * USEC_PER_S);
	assert_true(p[0].stream_usage);
	assert_int_equal(p[0].ca_file.n, 0);
	assert_int_equal(p[1].type, PROVIDER_openai_compatible);
	assert_int_equal(p[1].url.port, 8443);
	check_text(p[1].url.path, "/v1");
	assert_int_equal(p[1].n_credentials, 0);
	assert_int_equal(p[1].connect_us, USEC_PER_MS);
	assert_int_equal(p[1].total_us, 24 * 3600 * USEC_PER_S);
	assert_false(p[1].stream_usage);
	check_text(p[1].ca_file, "/etc/ssl/own.pem");

	assert_int_equal(d->n_models, 2);
	check_text(d->models[0].name, "gpt-4o-mini");
	assert_int_equal(d->models[0].n_aliases, 2);
	check_text(d->models[0].aliases[1], "org/model:v1@x");
	assert_int_equal(d->models[0].targets[0].provider, 0);
	check_text(d->models[0].targets[0].model, "m");
	assert_int_equal(d->models[1].targets[0].provider, 1);

	assert_int_equal(d->n_customers, 3);
	assert_int_equal(d->n_projects, 4);
	check_text(d->projects[0].name, "search");
	assert_false(d->projects[0].all_models);
	assert_int_equal(d->projects[0].n_models, 2);
	assert_int_equal(d->projects[0].models[0], 0); /* by an alias */
	assert_int_equal(d->projects[0].models[1], 1);
	assert_false(d->projects[1].all_models);
	assert_int_equal(d->projects[1].n_models, 0);
	assert_true(d->projects[2].all_models);
	assert_int_equal(d->projects[2].customer, 1);
	assert_true(d->projects[3].all_models);

	assert_int_equal(d->n_identities, 4);
	assert_int_equal(d->identities[0].kind, IDENTITY_unit);
	check_text(d->identities[0].value, "web.service");
	assert_int_equal(d->identities[0].project, 0);
	assert_int_equal(d->identities[1].kind, IDENTITY_uid);
	assert_int_equal(d->identities[1].uid, 0);
	assert_int_equal(d->identities[1].project, 2);
	assert_int_equal(d->identities[2].kind, IDENTITY_user);
	assert_int_equal(d->identities[3].kind, IDENTITY_group);
	assert_int_equal(d->identities[3].project, 3);

	assert_int_equal(d->n_features, 4);
	check_text(d->features[0], "ca_file/1");
	check_text(d->features[1], "core/1");
	check_text(d->features[2], "per_minute/1");
	check_text(d->features[3], "stream_usage/1");
}

static void meaning_of_a_full_policy(void **state)
{
	struct policy_doc *d = build(full);

	(void)state;
	check_full(d);
	policy_doc_free(d);
}

static void headers_of_answers(void **state)
{
	static const struct {
		const char *text;
		bool debug;
		enum policy_cost cost;
		bool needs;
	} rows[] = { { V, false, COST_HEADERS_OFF, false },
		{ V "settings: {headers: {debug: true}}\n", true, COST_HEADERS_OFF, true },
		{ V "settings: {headers: {debug: false}}\n", false, COST_HEADERS_OFF, true },
		{ V "settings: {headers: {cost: true}}\n", false, COST_HEADERS_PLAIN, true },
		{ V "settings: {headers: {cost: stream}}\n", false, COST_HEADERS_STREAM, true },
		{ V "settings: {headers: {cost: false, debug: true}}\n", true, COST_HEADERS_OFF,
			true },
		{ V "settings: {headers: {}}\n", false, COST_HEADERS_OFF, true } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy_doc *d = build(rows[i].text);

		assert_int_equal(d->debug_headers, rows[i].debug);
		assert_int_equal(d->cost_headers, rows[i].cost);
		assert_int_equal(d->n_features, rows[i].needs ? 2 : 1);
		check_text(d->features[d->n_features - 1], rows[i].needs ? "routing/2" : "core/1");
		policy_doc_free(d);
	}
}

static void empty_policies(void **state)
{
	static const char *const texts[] = { V,
		V "settings:\nproviders:\nprices:\nmodels:\ncustomers:\nidentities:\n",
		V "settings: {}\nproviders: []\nprices: []\nmodels: []\ncustomers: []\nidentities: "
		  "[]\n" };
	uint8_t digest[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct policy_doc *d = build(texts[i]), *again = NULL;

		check_text(d->currency, "USD");
		assert_int_equal(d->n_features, 1);
		check_text(d->features[0], "core/1");
		if (i == 0)
			memcpy(digest, d->digest, sizeof(digest));
		assert_memory_equal(d->digest, digest, sizeof(digest));
		assert_int_equal(policy_doc_unpack(buf_view(&d->packed), &again, NULL), 0);
		policy_doc_free(again);
		policy_doc_free(d);
	}
}

static void packed_and_unpacked(void **state)
{
	struct policy_doc *d = build(full), *again = NULL, *other;
	struct errbuf e = { "" };

	(void)state;
	assert_int_equal(policy_doc_unpack(buf_view(&d->packed), &again, &e), 0);
	check_full(again);
	assert_true(slice_eq(buf_view(&d->packed), buf_view(&again->packed)));
	assert_memory_equal(d->digest, again->digest, sizeof(d->digest));
	assert_int_equal(d->n_prices, again->n_prices);
	for (uint32_t i = 0; i < d->n_prices; i++)
		assert_int_equal(d->prices[i].price.version, again->prices[i].price.version);
	other = build(V "models: []\n");
	assert_memory_not_equal(d->digest, other->digest, sizeof(d->digest));
	/* Cut anywhere or with a bit turned: refused or read, no harm done. */
	for (size_t n = 0; n < d->packed.n; n += 7) {
		policy_doc_free(again);
		again = NULL;
		assert_int_equal(policy_doc_unpack(slice_of(d->packed.p, n), &again, &e), -EINVAL);
	}
	for (size_t bit = 0; bit < d->packed.n * 8; bit += 5) {
		int r;

		d->packed.p[bit / 8] = (char)(d->packed.p[bit / 8] ^ 1 << bit % 8);
		r = policy_doc_unpack(buf_view(&d->packed), &again, &e);
		assert_true(r == 0 || r == -EINVAL || r == -ENOTSUP);
		if (r == 0)
			policy_doc_free(again);
		d->packed.p[bit / 8] = (char)(d->packed.p[bit / 8] ^ 1 << bit % 8);
	}
	policy_doc_free(other);
	policy_doc_free(d);
	policy_doc_free(NULL);
}

/* A document as it would come from a controller, written as JSON. */
static int unpack_json(const char *json, struct errbuf *e)
{
	struct policy_doc *d = NULL;
	struct tree *t;
	struct arena a;
	struct buf b;
	int r;

	arena_init(&a, 4096, 1u << 20);
	buf_init(&b, 1u << 20);
	assert_int_equal(tree_from_yaml(&a, slice_str(json), "x", 0, &t, e), 0);
	assert_int_equal(tree_pack(t, &b), 0);
	r = policy_doc_unpack(buf_view(&b), &d, e);
	policy_doc_free(d);
	buf_fini(&b);
	arena_fini(&a);
	return r;
}

static void documents_from_the_wire(void **state)
{
	static const struct {
		const char *json;
		int want;
		const char *sentence;
	} cases[] = {
		{ "{features: [core/1], policy: {apiVersion: aigw/v1}}", 0, "" },
		{ "{features: [core/1, budgets/3], policy: {apiVersion: aigw/v1}}", -ENOTSUP,
			"the policy needs the feature 'budgets/3', which this version lacks" },
		/* The feature is named even where the rest is unknown too. */
		{ "{features: [core/1, budgets/3], policy: {apiVersion: aigw/v1, budgets: []}}",
			-ENOTSUP, "'budgets/3'" },
		{ "{features: [], policy: {apiVersion: aigw/v1}}", -EINVAL,
			"list of features is wrong" },
		{ "{features: [core/1, ca_file/1], policy: {apiVersion: aigw/v1}}", -EINVAL,
			"list of features is wrong" },
		{ "{policy: {apiVersion: aigw/v1}}", -EINVAL, "no list of features" },
		{ "{features: [core/1]}", -EINVAL, "not {features, policy}" },
		{ "{features: [core/1], policy: {apiVersion: aigw/v1}, more: 1}", -EINVAL,
			"not {features, policy}" },
		{ "[core/1]", -EINVAL, "no list of features" },
		{ "{features: [core/1], policy: []}", -EINVAL, "policy: the policy must be a map" },
		/* No lines here: the path says where. */
		{ "{features: [core/1], policy: {apiVersion: aigw/v1, frobs: 1}}", -EINVAL,
			"frobs: unknown key 'frobs' in the policy" },
		{ "{features: [core/1], policy: {apiVersion: aigw/v1, settings: {currency: x}}}",
			-EINVAL, "settings.currency: currency 'x' must be" },
		{ "{features: [core/1], policy: {apiVersion: aigw/v1, providers: [{name: p, type: "
		  "openai}], "
		  "models: [{name: a, targets: [{provider: p, model: m}]}, "
		  "{name: b, targets: [{provider: q, model: m}]}]}}",
			-EINVAL, "models[1].targets[0].provider: there is no provider 'q'" },
		{ "{features: [core/1], policy: {apiVersion: aigw/v1, providers: [{name: p, type: "
		  "openai, "
		  "timeouts: {idle: 2}}]}}",
			-EINVAL, "providers[0].timeouts.idle: 'idle' is '2'" },
		{ "{features: [core/1], policy: {apiVersion: aigw/v1, customers: [{name: c, "
		  "projects: "
		  "[{name: s, models: [x]}]}]}}",
			-EINVAL, "customers[0].projects[0].models[0]: there is no model 'x'" },
		{ "{features: [core/1], policy: {apiVersion: aigw/v1, customers: [{name: c}, "
		  "{name: c}]}}",
			-EINVAL, "customers[1].name: 'c' is given twice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };
		int r = unpack_json(cases[i].json, &e);

		if (r != cases[i].want || !strstr(e.text, cases[i].sentence))
			fail_msg("%s\nwant %d '%s'\ngot %d '%s'", cases[i].json, cases[i].want,
				cases[i].sentence, r, e.text);
	}
}

static void features_of_this_build_are_sorted(void **state)
{
	(void)state;
	for (size_t i = 1; policy_features[i]; i++)
		assert_true(strcmp(policy_features[i - 1], policy_features[i]) < 0);
}

#define DAY(d) ((usec)(d)*86400 * USEC_PER_S)
#define JAN_1  20454 /* 2026, days since 1970 */

static void prices_by_day(void **state)
{
	static const struct {
		uint32_t provider;
		const char *model;
		usec wall;
		int64_t want_input; /* nano; -1: unpriced */
	} cases[] = {
		{ 0, "m", DAY(JAN_1) - 1, -1 },
		{ 0, "m", DAY(JAN_1), 150000000 },
		{ 0, "m", DAY(JAN_1 + 14),
			150000000 }, /* "*" is younger, but m has a row of its own */
		{ 0, "m", DAY(JAN_1 + 31) - 1, 150000000 },
		{ 0, "m", DAY(JAN_1 + 31), 300000000 },
		{ 0, "m", DAY(JAN_1 + 9999), 300000000 },
		{ 0, "x", DAY(JAN_1 + 13), -1 },
		{ 0, "x", DAY(JAN_1 + 14), 9000000000 },
		{ 0, "x", -1, -1 },
		{ 1, "m", DAY(JAN_1), 0 }, /* another provider's: only per_request */
		{ 1, "m", DAY(JAN_1 - 1), -1 },
	};
	struct policy_doc *d = build(full);
	const struct policy_price *p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		p = policy_doc_price(
			d, cases[i].provider, slice_str(cases[i].model), cases[i].wall);
		assert_int_equal(p ? p->price.nano[PRICE_input] : -1, cases[i].want_input);
	}
	p = policy_doc_price(d, 0, SLICE("m"), DAY(JAN_1));
	assert_int_equal(p->price.nano[PRICE_cached_input], 75000000);
	assert_true(p->price.has[PRICE_cache_write]);
	assert_int_equal(p->price.nano[PRICE_cache_write], 0);
	assert_int_equal(p->price.nano[PRICE_output], 600000000);
	assert_int_equal(p->price.nano[PRICE_reasoning], 1000000000);
	assert_int_equal(p->price.nano[PRICE_audio_in], 2000000000);
	assert_int_equal(p->price.nano[PRICE_audio_out], 3000000000);
	assert_int_equal(p->price.nano[PRICE_per_request], 1);
	p = policy_doc_price(d, 1, SLICE("m"), DAY(JAN_1));
	assert_false(p->price.has[PRICE_input]);
	assert_int_equal(p->price.nano[PRICE_per_request], 10000000);
	assert_int_equal(p->price.nano[PRICE_per_minute], 6000000);
	policy_doc_free(d);
}

static int64_t version_of(const char *row)
{
	char text[512];
	struct policy_doc *d;
	int64_t version;

	(void)snprintf(text, sizeof(text),
		V "providers: [{name: p, type: openai}, {name: q, type: openai}]\n"
		  "prices: [{%s}]\n",
		row);
	d = build(text);
	version = d->prices[0].price.version;
	policy_doc_free(d);
	return version;
}

static void price_versions(void **state)
{
	static const char *const others[] = {
		"provider: p, model: m, from: 2026-01-02, input: 1",
		"provider: q, model: m, from: 2026-01-01, input: 1",
		"provider: p, model: n, from: 2026-01-01, input: 1",
		"provider: p, model: m, from: 2026-01-01, input: 2",
		"provider: p, model: m, from: 2026-01-01, output: 1",
		"provider: p, model: m, from: 2026-01-01, input: 1, output: 0",
	};
	int64_t version = version_of("provider: p, model: m, from: 2026-01-01, input: 1");

	(void)state;
	assert_int_equal(version >> 32, JAN_1);
	assert_int_equal(
		version_of("input: 1.00, from: 2026-01-01, model: m, provider: p"), version);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_true(version_of(others[i]) != version);
}

static void files_are_merged(void **state)
{
	static const char *const good[] = {
		V "providers: [{name: p, type: openai}]\nsettings: {currency: EUR}\n",
		V "models: [{name: a, targets: [{provider: p, model: m}]}]\n",
		V "providers: [{name: q, type: openai}]\nmodels: [{name: b, targets: [{provider: "
		  "q, model: m}]}]\n",
	};
	static const struct {
		const char *texts[2];
		const char *want;
	} bad[] = {
		{ { V "providers: [{name: p, type: openai}]\n",
			  V "\nproviders: [{name: p, type: openai}]\n" },
			"b.yaml:3:20: 'p' is given twice, first at a.yaml:2:20; give each a name "
			"of its own\n" },
		{ { V "settings: {currency: USD}\n", V "settings: {currency: EUR}\n" },
			"b.yaml:2:12: setting 'currency' is given in two files, first at "
			"a.yaml:2:22\n" },
		{ { V "models: []\n", "models: []\n" }, "b.yaml:1:1: 'apiVersion' is missing" },
		{ { V "customers: [{name: c, projects: [{name: s}]}]\n",
			  V "customers: [{name: c, projects: [{name: t}]}]\n" },
			"b.yaml:2:20: 'c' is given twice, first at a.yaml:2:20" },
	};
	struct policy_doc *d;
	struct buf report;

	(void)state;
	buf_init(&report, 65536);
	d = build_files(good, 3, &report);
	assert_non_null(d);
	check_text(d->currency, "EUR");
	assert_int_equal(d->n_providers, 2);
	assert_int_equal(d->n_models, 2);
	check_text(d->models[1].name, "b");
	assert_int_equal(d->models[1].targets[0].provider, 1);
	policy_doc_free(d);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_reset(&report);
		assert_null(build_files(bad[i].texts, 2, &report));
		if (strncmp(buf_cstr(&report), bad[i].want, strlen(bad[i].want)) != 0)
			fail_msg("want %s, got %s", bad[i].want, buf_cstr(&report));
	}
	buf_reset(&report);
	assert_null(build_files(NULL, 0, &report));
	assert_string_equal(
		buf_cstr(&report), "policy: no policy file is given; name at least one\n");
	buf_fini(&report);
}

static void the_example_is_without_fault(void **state)
{
	static const char *const paths[] = { POLICY_EXAMPLE, "/nonexistent/policy.yaml" };
	struct policy_doc *d = NULL;
	struct buf report;

	(void)state;
	buf_init(&report, 65536);
	assert_int_equal(policy_doc_from_files(paths, 1, &d, &report), 0);
	assert_string_equal(buf_cstr(&report), "");
	assert_int_equal(d->n_models, 3);
	policy_doc_free(d);
	d = NULL;
	assert_int_equal(policy_doc_from_files(paths, 2, &d, &report), -EINVAL);
	assert_null(d);
	assert_non_null(strstr(buf_cstr(&report), "/nonexistent/policy.yaml"));
	buf_fini(&report);
}

/* Allocations of our own code; those inside of libyaml and msgpack-c go past this. */
static unsigned allocations, fail_at;

static bool allocation_fails(void)
{
	return ++allocations == fail_at;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
	return allocation_fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return allocation_fails() ? NULL : __real_realloc(p, n);
}

/* Not each failure is fatal: a warning that can't be kept is lost, the policy is not. */
static void check_failing_allocations(const struct policy_doc *d, const struct tree *root)
{
	static const char *const names[] = { "f.yaml" };
	unsigned n = 0, refused = 0;
	struct buf report;

	buf_init(&report, 65536);
	do {
		struct policy_doc *again = NULL;
		int r;

		allocations = 0;
		fail_at = ++n;
		r = root ? policy_doc_build(&root, names, 1, &again, &report)
			 : policy_doc_unpack(buf_view(&d->packed), &again, NULL);
		fail_at = 0;
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			assert_null(again);
			refused++;
		} else {
			assert_memory_equal(again->digest, d->digest, sizeof(d->digest));
			policy_doc_free(again);
		}
		buf_fini(&report);
	} while (allocations >= n);
	assert_true(refused >= 5);
}

static void any_allocation_may_fail(void **state)
{
	struct policy_doc *d = build(full);
	struct tree *root;
	struct arena a;

	(void)state;
	arena_init(&a, 65536, 64u << 20);
	assert_int_equal(tree_from_yaml(&a, slice_str(full), "f.yaml", 0, &root, NULL), 0);
	check_failing_allocations(d, NULL);
	check_failing_allocations(d, root);
	arena_fini(&a);
	policy_doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meaning_of_a_full_policy),
		cmocka_unit_test(headers_of_answers),
		cmocka_unit_test(empty_policies),
		cmocka_unit_test(packed_and_unpacked),
		cmocka_unit_test(documents_from_the_wire),
		cmocka_unit_test(features_of_this_build_are_sorted),
		cmocka_unit_test(prices_by_day),
		cmocka_unit_test(price_versions),
		cmocka_unit_test(files_are_merged),
		cmocka_unit_test(the_example_is_without_fault),
		cmocka_unit_test(any_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
