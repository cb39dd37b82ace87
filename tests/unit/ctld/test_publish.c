/* What a plan says, and that a revision comes back from the store as it went in. */
#include "fixture.h"

#include "policy/publish.h"

#define V         "apiVersion: aigw/v1\n"
#define PROVIDERS "providers:\n  - {name: openai, type: openai}\n"
#define MODELS    "models:\n  - {name: fast, targets: [{provider: openai, model: m}]}\n"

static const char base[] =
	V PROVIDERS MODELS "customers:\n"
			   "  - {name: acme, projects: [{name: search}, {name: batch}]}\n"
			   "identities:\n"
			   "  - {uid: 1000, project: search}\n";

static struct policy_doc *build(const char *text)
{
	struct policy_file f = { SLICE("policy.yaml"), slice_str(text) };
	struct policy_doc *doc;
	struct buf report;

	buf_init(&report, 64u << 10);
	if (publish_build(&f, 1, &doc, &report) < 0)
		fail_msg("%s", buf_cstr(&report));
	buf_fini(&report);
	return doc;
}

static void a_plan_names_what_differs(void **state)
{
	static const struct {
		const char *to, *added, *changed, *removed;
	} cases[] = {
		{ base, "", "", "" },
		{ V PROVIDERS MODELS "  - {name: smart, targets: [{provider: openai, model: s}]}\n"
				     "customers:\n"
				     "  - {name: acme, projects: [{name: search}, {name: batch}]}\n"
				     "identities:\n"
				     "  - {uid: 1000, project: search}\n",
			"models.smart\n", "", "" },
		{ V PROVIDERS
			"models:\n  - {name: fast, targets: [{provider: openai, model: other}]}\n"
			"customers:\n"
			"  - {name: acme, projects: [{name: search, models: [fast]}]}\n"
			"  - {name: globex, projects: [{name: ads}]}\n"
			"identities:\n"
			"  - {uid: 1000, project: ads}\n",
			"customers.globex\n",
			"models.fast\ncustomers.acme.projects.search\nidentities.1000\n",
			"customers.acme.projects.batch\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct policy_doc *from = build(base), *to = build(cases[i].to);
		struct publish_plan plan;

		assert_int_equal(publish_plan(from, to, &plan), 0);
		assert_string_equal(buf_cstr(&plan.added), cases[i].added);
		assert_string_equal(buf_cstr(&plan.changed), cases[i].changed);
		assert_string_equal(buf_cstr(&plan.removed), cases[i].removed);
		publish_plan_fini(&plan);
		policy_doc_free(from);
		policy_doc_free(to);
	}
}

static void findings_of_all_files_are_reported(void **state)
{
	struct policy_file files[] = {
		{ SLICE("a.yaml"), SLICE("apiVersion: [\n") },
		{ SLICE("b.yaml"), SLICE("x: 1\nx: 2\n") },
	};
	struct policy_doc *doc;
	struct buf report;

	(void)state;
	buf_init(&report, 64u << 10);
	assert_int_equal(publish_build(files, 2, &doc, &report), -EINVAL);
	assert_non_null(strstr(buf_cstr(&report), "a.yaml:2:1: "));
	assert_non_null(strstr(buf_cstr(&report), "b.yaml:2:1: "));
	buf_fini(&report);
}

static void a_revision_comes_back_as_it_went_in(void **state)
{
	struct policy_file file = { SLICE("policy.yaml"), slice_str(base) };
	struct publish_request q = { &file, 1, build(base), SLICE("anna"), SLICE("first try"), 1 };
	struct published *put = NULL, *got = NULL;
	struct fixture f = { 0 };
	struct errbuf e;

	(void)state;
	fixture_open(&f, 256u << 10);
	assert_int_equal(publish_load(f.store, &got, &e), 0);
	assert_null(got);
	assert_int_equal(publish_store(f.store, &q, &put), 0);
	fixture_reopen(&f);
	assert_int_equal(publish_load(f.store, &got, &e), 0);
	assert_int_equal(got->revision, 1);
	assert_string_equal(got->by, "anna");
	assert_string_equal(got->message, "first try");
	assert_memory_equal(got->digest, put->digest, 32);
	assert_int_equal(got->doc->n_projects, 2);
	published_unref(put);
	published_unref(got);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plan_names_what_differs),
		cmocka_unit_test(findings_of_all_files_are_reported),
		cmocka_unit_test(a_revision_comes_back_as_it_went_in),
	};

	return cmocka_run_group_tests_name("ctld/publish", tests, NULL, NULL);
}
