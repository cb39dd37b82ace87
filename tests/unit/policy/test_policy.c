/* The compiled policy: names, permissions, near names, who calls on the unix socket, and its life.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/policy.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

static const char text[] = "apiVersion: aigw/v1\n"
			   "providers:\n"
			   "  - {name: openai, type: openai, base_url: "
			   "'https://api.openai.com/v1', credential: openai}\n"
			   "models:\n"
			   "  - {name: gpt-4o-mini, aliases: [small, tiny], targets: [{provider: "
			   "openai, model: gpt-4o-mini}]}\n"
			   "  - {name: gpt-4o, targets: [{provider: openai, model: gpt-4o}]}\n"
			   "  - {name: embed, aliases: [vectors], targets: [{provider: openai, "
			   "model: text-embedding-3-small}]}\n"
			   "customers:\n"
			   "  - name: acme\n"
			   "    projects:\n"
			   "      - {name: all}\n"
			   "      - {name: star, models: ['*']}\n"
			   "      - {name: chat, models: [gpt-4o-mini, gpt-4o]}\n"
			   "      - {name: none, models: []}\n"
			   "identities:\n"
			   "  - {unit: batch.service, project: star}\n"
			   "  - {uid: 4711, project: all}\n"
			   "  - {user: no-such-user-here, project: none}\n"
			   "  - {group: no-such-group-here, project: none}\n"
			   "  - {user: daemon, project: chat}\n"
			   "  - {group: root, project: none}\n"
			   "  - {uid: 4711, project: none}\n";

static struct policy_doc *doc_of(const char *yaml)
{
	struct arena arena;
	struct errbuf e = { "" };
	struct policy_doc *doc = NULL;
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
	return doc;
}

static struct policy *build(const char *yaml)
{
	struct errbuf e = { "" };
	struct policy *p = NULL;

	if (policy_build(doc_of(yaml), 42, 1790064732000000, &p, &e) < 0)
		fail_msg("%s", e.text);
	return p;
}

static void names_and_aliases_lead_to_the_model(void **state)
{
	static const struct {
		const char *name;
		int want;
	} cases[] = {
		{ "gpt-4o-mini", 0 },
		{ "small", 0 },
		{ "tiny", 0 },
		{ "gpt-4o", 1 },
		{ "embed", 2 },
		{ "vectors", 2 },
		{ "", -1 },
		{ "GPT-4o", -1 },
		{ "gpt-4", -1 },
		{ "gpt-4o ", -1 },
		{ "openai", -1 },
		{ "all", -1 },
	};
	struct policy *p = build(text);
	char long_name[POLICY_MODEL_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (policy_model(p, slice_str(cases[i].name)) != cases[i].want)
			fail_msg("%s", cases[i].name);
	}
	memset(long_name, 'x', sizeof(long_name));
	assert_int_equal(policy_model(p, slice_of(long_name, sizeof(long_name))), -1);
	assert_int_equal(policy_model(p, SLICE("embed\0")), -1);
	assert_int_equal(policy_project(p, SLICE("all")), 0);
	assert_int_equal(policy_project(p, SLICE("none")), 3);
	assert_int_equal(policy_project(p, SLICE("acme")), -1);
	assert_int_equal(policy_project(p, SLICE_EMPTY), -1);
	policy_unref(p);
}

static void projects_may_use_what_they_list(void **state)
{
	static const bool may[4][3] = { { 1, 1, 1 }, { 1, 1, 1 }, { 1, 1, 0 }, { 0, 0, 0 } };
	struct policy *p = build(text);

	(void)state;
	for (uint32_t project = 0; project < 4; project++) {
		for (uint32_t model = 0; model < 3; model++)
			assert_int_equal(
				policy_project_may(p, project, model), may[project][model]);
		assert_false(policy_project_may(p, project, 3));
		assert_false(policy_project_may(p, project, UINT32_MAX));
	}
	assert_false(policy_project_may(p, 4, 0));
	assert_false(policy_project_may(p, UINT32_MAX, 0));
	policy_unref(p);
}

/* Rows of bits are longer than one word, and each project has its own. */
static void permissions_hold_for_many_models(void **state)
{
	enum { MODELS = 200, PROJECTS = 20 };
	struct policy *p;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	(void)buf_str(&b, "apiVersion: aigw/v1\nproviders:\n  - {name: p, type: openai-compatible, "
			  "base_url: 'http://127.0.0.1:1/v1'}\nmodels:\n");
	for (int i = 0; i < MODELS; i++)
		(void)buf_printf(&b, "  - {name: m%d, targets: [{provider: p, model: m}]}\n", i);
	(void)buf_str(&b, "customers:\n  - name: c\n    projects:\n");
	for (int i = 0; i < PROJECTS; i++)
		(void)buf_printf(
			&b, "      - {name: p%d, models: [m%d, m%d]}\n", i, i * 7, i * 7 + 65);
	p = build(buf_cstr(&b));
	for (uint32_t project = 0; project < PROJECTS; project++) {
		for (uint32_t model = 0; model < MODELS; model++)
			assert_int_equal(policy_project_may(p, project, model),
				model == project * 7 || model == project * 7 + 65);
	}
	buf_fini(&b);
	policy_unref(p);
}

static void near_names_are_of_models_that_one_may_use(void **state)
{
	static const struct {
		uint32_t project;
		const char *asked;
		const char *want[3];
	} cases[] = {
		{ 0, "gpt-4o-minni", { "gpt-4o-mini" } },
		{ 0, "gpt4o", { "gpt-4o" } },
		{ 0, "GPT-4O", { "gpt-4o", "gpt-4o-mini" } },
		{ 0, "smal", { "small" } },
		{ 0, "embd", { "embed" } },
		{ 2, "embd", { NULL } },
		{ 3, "gpt-4o", { NULL } },
		{ 0, "something-else", { NULL } },
		{ 0, "", { NULL } },
		{ 0, "gpt", { "gpt-4o-mini", "gpt-4o" } },
	};
	struct policy *p = build(text);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice out[3];
		unsigned n = policy_near_models(
				 p, cases[i].project, slice_str(cases[i].asked), out),
			 want = 0;

		while (want < 3 && cases[i].want[want])
			want++;
		if (n != want)
			fail_msg("%s: %u near names", cases[i].asked, n);
		for (unsigned k = 0; k < n; k++) {
			bool found = false;

			for (unsigned j = 0; j < n; j++)
				found |= slice_eq(out[k], slice_str(cases[i].want[j]));
			if (!found)
				fail_msg("%s: " SLICE_FMT, cases[i].asked, SLICE_ARG(out[k]));
		}
	}
	policy_unref(p);
}

static void at_most_three_near_names_the_nearest_first(void **state)
{
	static const char yaml[] =
		"apiVersion: aigw/v1\n"
		"providers:\n"
		"  - {name: p, type: openai-compatible, base_url: 'http://127.0.0.1:1/v1'}\n"
		"models:\n"
		"  - {name: model-aXYZ, targets: [{provider: p, model: m}]}\n"
		"  - {name: model-abYZ, aliases: [model-abcX], targets: [{provider: p, model: "
		"m}]}\n"
		"  - {name: model-aX, targets: [{provider: p, model: m}]}\n"
		"  - {name: model-abcdX, targets: [{provider: p, model: m}]}\n"
		"customers:\n"
		"  - {name: c, projects: [{name: all}]}\n";
	struct policy *p = build(yaml);
	struct slice out[3];

	(void)state;
	assert_int_equal(policy_near_models(p, 0, SLICE("model-abcd"), out), 3);
	/* one place off: two of them, in the order of the file; the alias stands for its model,
	 * once */
	assert_true(slice_eq(out[0], SLICE("model-abcX")));
	assert_true(slice_eq(out[1], SLICE("model-abcdX")));
	assert_true(slice_eq(out[2], SLICE("model-aXYZ")) || slice_eq(out[2], SLICE("model-aX")));
	policy_unref(p);
}

/* Who calls, and which identity (by its place in the file) that is. */
static void callers_are_judged_in_file_order(void **state)
{
	static const uint32_t in_root[] = { 5, 7, 0 }, elsewhere[] = { 5, 7 };
	const struct passwd *daemon_user = getpwnam("daemon");
	uint32_t daemon_uid = daemon_user ? daemon_user->pw_uid : 1;
	const struct {
		const char *what;
		struct policy_peer peer;
		int want;
	} cases[] = {
		{ "a uid", { 4711, 99, NULL, 0, SLICE_EMPTY }, 1 },
		{ "a uid in a unit: the unit stands first",
			{ 4711, 99, NULL, 0, { "batch.service", 13 } }, 0 },
		{ "another unit", { 4712, 99, NULL, 0, { "other.service", 13 } }, -1 },
		{ "a unit's beginning", { 4712, 99, NULL, 0, { "batch", 5 } }, -1 },
		{ "a user by name", { daemon_uid, 99, NULL, 0, SLICE_EMPTY }, 4 },
		{ "a group by the main group", { 4712, 0, NULL, 0, SLICE_EMPTY }, 5 },
		{ "a group by a further one", { 4712, 99, in_root, 3, SLICE_EMPTY }, 5 },
		{ "other groups", { 4712, 99, elsewhere, 2, SLICE_EMPTY }, -1 },
		{ "nobody", { 65534, 65534, NULL, 0, SLICE_EMPTY }, -1 },
		{ "the largest uid", { UINT32_MAX, UINT32_MAX, NULL, 0, SLICE_EMPTY }, -1 },
	};
	struct policy *p = build(text);

	(void)state;
	assert_true(policy_wants_unit(p));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (policy_identify(p, &cases[i].peer) != cases[i].want)
			fail_msg("%s", cases[i].what);
	}
	policy_unref(p);
}

static void unknown_users_and_groups_are_kept_for_a_warning(void **state)
{
	struct policy *p = build(text);
	uint32_t which[2] = { 99, 99 };

	(void)state;
	assert_int_equal(policy_unknown_identities(p, NULL, 0), 2);
	assert_int_equal(policy_unknown_identities(p, which, 1), 2);
	assert_int_equal(which[0], 2);
	assert_int_equal(which[1], 99);
	assert_int_equal(policy_unknown_identities(p, which, 2), 2);
	assert_int_equal(which[1], 3);
	assert_true(slice_eq(p->doc->identities[which[1]].value, SLICE("no-such-group-here")));
	policy_unref(p);
}

static void units_are_asked_for_only_where_one_is_named(void **state)
{
	struct policy *p = build("apiVersion: aigw/v1\n"
				 "customers: [{name: c, projects: [{name: p}]}]\n"
				 "identities: [{uid: 1, project: p}]\n");

	(void)state;
	assert_false(policy_wants_unit(p));
	policy_unref(p);
}

static void a_policy_lives_as_long_as_somebody_holds_it(void **state)
{
	struct policy *p = build(text);

	(void)state;
	assert_int_equal(p->revision, 42);
	assert_int_equal(p->applied_us, 1790064732000000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(p->model_stat[i], 0);
		p->model_stat[i] = 7;
	}
	assert_ptr_equal(policy_ref(p), p);
	policy_unref(p);
	assert_int_equal(policy_model(p, SLICE("embed")), 2);
	policy_unref(p);
	policy_unref(NULL);
}

/* A document made otherwise than by the reader may not break the tables either; it is freed with
 * the failure. */
static void what_contradicts_itself_is_refused(void **state)
{
	struct policy_doc *doc;
	struct policy *p;
	struct errbuf e = { "" };

	(void)state;
	doc = doc_of(text);
	doc->models[1].name = doc->models[0].aliases[1];
	assert_int_equal(policy_build(doc, 1, 1, &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"tiny\""));
	doc = doc_of(text);
	doc->projects[3].name = doc->projects[0].name;
	assert_int_equal(policy_build(doc, 1, 1, &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"all\""));
	doc = doc_of(text);
	doc->projects[2].models[0] = 3;
	assert_int_equal(policy_build(doc, 1, 1, &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"chat\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_aliases_lead_to_the_model),
		cmocka_unit_test(projects_may_use_what_they_list),
		cmocka_unit_test(permissions_hold_for_many_models),
		cmocka_unit_test(near_names_are_of_models_that_one_may_use),
		cmocka_unit_test(at_most_three_near_names_the_nearest_first),
		cmocka_unit_test(callers_are_judged_in_file_order),
		cmocka_unit_test(unknown_users_and_groups_are_kept_for_a_warning),
		cmocka_unit_test(units_are_asked_for_only_where_one_is_named),
		cmocka_unit_test(a_policy_lives_as_long_as_somebody_holds_it),
		cmocka_unit_test(what_contradicts_itself_is_refused),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
