/* What a request is judged by: names, credentials and trust computed once, pools that outlive a new
 * policy if their endpoint stays, the price of the day. */
#include "../net/fixture.h"

#include "request/rules.h"

#define HEAD          "apiVersion: aigw/v1\nproviders:\n"
#define P(name, more) "  - {name: " name ", type: openai-compatible, " more "}\n"
#define MODELS                                                                                     \
	"models:\n  - {name: m, targets: [{provider: a, model: 'up/m'}]}\n"                        \
	"customers: [{name: c, projects: [{name: p}]}]\n"
#define DAY (86400 * USEC_PER_S)

static struct {
	struct loop loop;
	struct stats *stats;
	struct secret_set *secrets;
	struct tls_trust *trust;
	char why[1024];
} world;

static void file_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	struct buf report;

	(void)state;
	memset(&world, 0, sizeof(world));
	assert_int_equal(loop_init(&world.loop, NULL), 0);
	assert_int_equal(stats_new(1, &world.stats), 0);
	file_write(path_of("key-a"), "sk-a-secret\n");
	buf_init(&report, 65536);
	assert_int_equal(
		secret_set_load(NULL, path_of(""), path_of(""), &world.secrets, &report), 0);
	buf_fini(&report);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	secret_set_unref(world.secrets);
	tls_trust_unref(world.trust);
	loop_fini(&world.loop);
	stats_free(world.stats);
	return 0;
}

static struct rules *rules_of(const char *yaml)
{
	struct arena arena;
	struct errbuf e = { "" };
	struct policy_doc *doc = NULL;
	struct policy *policy = NULL;
	struct rules *r = NULL;
	struct tree *root;
	const char *name = "test.yaml";
	struct buf report;

	arena_init(&arena, 4096, 16 << 20);
	buf_init(&report, 65536);
	if (tree_from_yaml(&arena, slice_str(yaml), name, 0, &root, &e) < 0)
		fail_msg("%s", e.text);
	if (policy_doc_build((const struct tree *const[]){ root }, &name, 1, &doc, &report) < 0)
		fail_msg("%s", buf_cstr(&report));
	buf_fini(&report);
	arena_fini(&arena);
	assert_int_equal(policy_build(doc, 7, 0, &policy, &e), 0);
	if (rules_build(policy, world.secrets, NULL, &world.trust, &r, &e))
		(void)snprintf(world.why, sizeof(world.why), "%s", e.text);
	policy_unref(policy); /* the rules have their own */
	return r;
}

static struct worker_rules *worker_of(struct rules *r, const struct worker_rules *old)
{
	struct worker_rules *w = NULL;

	assert_int_equal(
		worker_rules_new(r, old, &world.loop, stats_worker(world.stats, 0), &w), 0);
	rules_unref(r);
	return w;
}

static void test_computed_once(void **state)
{
	struct rules *r =
		rules_of(HEAD P("a", "base_url: 'http://127.0.0.1:1/v1', credential: key-a")
				P("b", "base_url: 'http://127.0.0.1:1/v1', credential: nobody")
					P("c", "base_url: 'http://127.0.0.1:1/v1'") MODELS);

	(void)state;
	assert_non_null(r);
	assert_true(slice_eq(r->model_json[0], SLICE("\"up/m\"")));
	assert_true(slice_eq(r->credential[0], SLICE("sk-a-secret")));
	assert_int_equal(r->credential[1].n, 0);
	assert_int_equal(r->usable[0], 1);
	assert_int_equal(r->usable[1] + r->usable[2], 0);
	assert_int_equal(rules_ways(r, 0).n, 1);
	assert_null(r->trust[0]);
	assert_null(world.trust); /* nobody needs the system's certificates */
	rules_unref(rules_ref(r));
	rules_unref(r);
	rules_unref(NULL);
}

static void test_certificates(void **state)
{
	struct rules *r;

	(void)state;
	r = rules_of(HEAD P(
		"a", "base_url: 'https://a.test/v1', options: {ca_file: /nowhere/ca.pem}") MODELS);
	assert_null(r);
	assert_non_null(strstr(world.why, "/nowhere/ca.pem"));
	r = rules_of(HEAD P("a", "base_url: 'https://a.test/v1'")
			P("b", "base_url: 'https://b.test/v1'") MODELS);
	if (!r) { /* a host without a bundle */
		assert_non_null(strstr(world.why, "certificates"));
		return;
	}
	assert_non_null(world.trust);
	assert_ptr_equal(r->trust[0], world.trust); /* one store for all */
	assert_ptr_equal(r->trust[1], world.trust);
	rules_unref(r);
}

static void test_pools_stay_with_their_endpoint(void **state)
{
	struct worker_rules *old = worker_of(
		rules_of(HEAD P("a", "base_url: 'http://127.0.0.1:1/v1'")
				P("b", "base_url: 'http://127.0.0.1:2/v1'")
					P("d", "base_url: 'http://127.0.0.1:4/v1'") MODELS),
		NULL);
	struct worker_rules *new =
		worker_of(rules_of(HEAD P("b", "base_url: 'http://127.0.0.1:3/v1'") P(
				  "c", "base_url: 'http://127.0.0.1:2/v1'") P("a",
				  "base_url: 'http://127.0.0.1:1/v1', credential: key-a") MODELS),
			old);

	(void)state;
	assert_true(old->serial != new->serial);
	assert_ptr_equal(new->pools[2], old->pools[0]); /* a: the same endpoint; its credential is
							   not the pool's business */
	assert_ptr_not_equal(new->pools[0], old->pools[1]); /* b moved */
	assert_ptr_not_equal(
		new->pools[1], old->pools[1]); /* c is another provider, with numbers of its own */
	assert_int_equal(new->pools[2]->refs, 2);
	assert_ptr_equal(worker_rules_ref(old), old); /* a request still has it */
	worker_rules_unref(old);
	worker_rules_unref(old);
	assert_int_equal(new->pools[2]->refs, 1);
	worker_rules_unref(new);
	worker_rules_unref(NULL);
}

/* A price holds from its day (UTC) on; the memo of a day is no longer than that day. */
static void test_price_of_the_day(void **state)
{
	struct worker_rules *w = worker_of(
		rules_of(HEAD P(
			"a", "base_url: 'http://127.0.0.1:1/v1'") "prices:\n  - {provider: a, "
								  "model: '*', from: 2026-01-02, "
								  "input: 1, output: 2}\n"
								  "  - {provider: a, model: '*', "
								  "from: 2026-01-05, input: 3, "
								  "output: 4}\n" MODELS),
		NULL);
	const usec first = 1767225600 * USEC_PER_S; /* 2026-01-01 */
	static const struct {
		int day;
		int64_t input; /* per million, 10^-9; 0: none */
	} days[] = { { 0, 0 }, { 1, 1000000000 }, { 3, 1000000000 }, { 4, 3000000000 },
		{ 400, 3000000000 }, { 2, 1000000000 }, { 0, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(days); i++) {
		for (int late = 0; late < 2; late++) {
			const struct policy_price *p = worker_rules_price(
				w, 0, first + days[i].day * DAY + (late ? DAY - 1 : 0));

			assert_int_equal(p != NULL, days[i].input != 0);
			if (p)
				assert_int_equal(p->price.nano[PRICE_input], days[i].input);
		}
	}
	worker_rules_unref(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(test_computed_once),
		T(test_certificates),
		T(test_pools_stay_with_their_endpoint),
		T(test_price_of_the_day),
#undef T
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
