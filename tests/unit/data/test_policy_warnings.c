/* Right policies that say something which does nothing, or is probably not meant: each has its
 * warning, with its place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/policy_doc.h>

#define V "apiVersion: aigw/v1\n"

static void check_warnings(const char *yaml, const char *want)
{
	static const char *const names[] = { "a.yaml" };
	struct policy_doc *d = NULL;
	struct buf report;
	struct arena a;
	struct tree *root;

	arena_init(&a, 65536, 64u << 20);
	buf_init(&report, 65536);
	assert_int_equal(tree_from_yaml(&a, slice_str(yaml), names[0], 0, &root, NULL), 0);
	assert_int_equal(
		policy_doc_build((const struct tree *const *)&root, names, 1, &d, &report), 0);
	assert_string_equal(buf_cstr(&report), want);
	policy_doc_free(d);
	buf_fini(&report);
	arena_fini(&a);
}

static void warnings(void **state)
{
	static const struct {
		const char *yaml;
		const char *want;
	} cases[] = {
		{ V, "a.yaml:1:1: warning: the policy has no models, so no call can be served; add "
		     "models\n" },
		{ V "providers: [{name: p, type: openai}]\nmodels: [{name: a, targets: [{provider: "
		    "p, model: m}]}]\n",
			"a.yaml:3:10: warning: model 'a' has no price: its calls are recorded "
			"UNPRICED; add one of "
			"provider p, model m to prices\n" },
		{ V "providers: [{name: p, type: openai}, {name: q, type: openai}]\n"
		    "prices: [{provider: p, model: m, from: 2026-01-01, input: 1}]\n"
		    "models: [{name: a, targets: [{provider: p, model: m}]}]\n",
			"a.yaml:2:38: warning: provider 'q' serves no model\n" },
		{ V "providers: [{name: p, type: openai}]\n"
		    "prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}]\n"
		    "models: [{name: a, targets: [{provider: p, model: m}]}]\n"
		    "customers: [{name: b}, {name: c, projects: [{name: s}, {name: t, models: "
		    "[]}]}]\n"
		    "identities: [{uid: 7, project: s}, {user: u, project: s}, {uid: 7, project: "
		    "t}]\n",
			"a.yaml:5:56: warning: project 't' may use no model; list some, or remove "
			"'models' to allow all\n"
			"a.yaml:6:59: warning: this caller stands above already, and the first "
			"match counts; remove one\n" },
		/* What a provider does is guessed. */
		{ V "providers: [{name: p, type: openai-compatible, base_url: 'http://h/v1'}, "
		    "{name: q, type: openai-compatible, base_url: 'http://h/v1', options: "
		    "{prefill: "
		    "prefix}}]\n"
		    "prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}, {provider: q, "
		    "model: '*', from: 2026-01-01, input: 1}]\n"
		    "models: [{name: a, on_cut: continue, targets: [{provider: p, model: m}, "
		    "{provider: q, model: m}]}]\n",
			"a.yaml:4:28: warning: 'on_cut' takes for granted that provider 'p' goes "
			"on "
			"from an assistant's message; say how it does by options: {prefill: "
			"...}\n" },
		/* Rules that act on nothing. */
		{ V "providers: [{name: p, type: openai}]\n"
		    "prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}]\n"
		    "models:\n"
		    "- {name: a, strategy: priority, targets: [{provider: p, model: m}]}\n"
		    "- {name: b, sticky: key, targets: [{provider: p, model: m, tags: [us]}]}\n"
		    "- {name: c, require_tags: [eu], targets: [{provider: p, model: m}]}\n",
			"a.yaml:5:23: warning: 'strategy' acts between targets, and model 'a' has "
			"one; remove it, or add a target\n"
			"a.yaml:6:21: warning: 'sticky' acts between targets, and model 'b' has "
			"one; remove it, or add a target\n"
			"a.yaml:7:27: warning: no target of model 'c' carries every tag of its "
			"'require_tags', so each call of it is refused\n" },
		{ V "providers: [{name: p, type: openai, health: {max_ejected: 50%}}]\n"
		    "prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}]\n"
		    "models:\n"
		    "- {name: a, targets: [{provider: p, model: m}, {provider: p, model: n, "
		    "priority: 2}]}\n",
			"a.yaml:2:45: warning: 'max_ejected' of provider 'p' acts between targets "
			"of one priority, and it has none such\n" },
		{ V "providers: [{name: p, type: openai}]\n"
		    "prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}]\n"
		    "models: [{name: a, targets: [{provider: p, model: m, tags: [us, eu]}]}]\n"
		    "customers:\n"
		    "- {name: b, require_tags: [us], projects: [{name: s, require_tags: [eu]},\n"
		    "   {name: t, require_tags: [baa]}, {name: u, models: [a], require_tags: "
		    "[baa]}]}\n",
			"a.yaml:7:4: warning: project 't' requires tags that no target of any "
			"model "
			"carries together, so each call is refused\n"
			"a.yaml:7:36: warning: project 'u' may use the model 'a', but no target of "
			"it carries every tag that is required, so each call is refused\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check_warnings(cases[i].yaml, cases[i].want);
}

/* Times that another one always ends first. */
static void warnings_of_times(void **state)
{
	(void)state;
	check_warnings(V
		"providers: [{name: p, type: openai, timeouts: {first_byte: 11m, idle: 10m}}]\n"
		"prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}]\n"
		"models: [{name: a, targets: [{provider: p, model: m, timeouts: {total: 5s,\n"
		"  connect: 5s, idle: 6s}}]}]\n",
		"a.yaml:5:22: warning: 'idle' never runs out, since 'total' ends the call "
		"after 5000 ms; lower it, or raise 'total'\n"
		"a.yaml:2:60: warning: 'first_byte' never runs out, since 'total' ends the "
		"call after 600000 ms; lower it, or raise 'total'\n");
}

static void warnings_of_retry(void **state)
{
	(void)state;
	check_warnings(V "providers:\n"
			 "- {name: p, type: openai}\n"
			 "- {name: q, type: openai, errors: {'404': transient}}\n"
			 "prices: [{provider: p, model: '*', from: 2026-01-01, input: 1},\n"
			 "         {provider: q, model: '*', from: 2026-01-01, input: 1}]\n"
			 "models:\n"
			 "- {name: a, targets: [{provider: p, model: m}], retry: {on: [429]}}\n"
			 "- {name: d, targets: [{provider: p, model: m}],\n"
			 "   retry: {attempts: 1, backoff: 1s, budget: 1%}}\n"
			 "- {name: b, targets: [{provider: p, model: m}],\n"
			 "   retry: {attempts: 2, on: [408, 409, 404, 503, timeout]}}\n"
			 "- {name: c, targets: [{provider: q, model: m}], retry: {attempts: 2, on: "
			 "[404]}}\n",
		"a.yaml:8:61: warning: 'on' acts between tries, and model 'a' has one; set "
		"'attempts' to 2 or more, or remove it\n"
		"a.yaml:10:34: warning: 'backoff' acts between tries, and model 'd' has one; set "
		"'attempts' to 2 or more, or remove it\n"
		"a.yaml:10:46: warning: 'budget' acts between tries, and model 'd' has one; set "
		"'attempts' to 2 or more, or remove it\n"
		"a.yaml:12:40: warning: 404 is as a rule no failure that another try helps, and "
		"does nothing in 'on' then; a provider's 'errors' can make it transient\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warnings),
		cmocka_unit_test(warnings_of_times),
		cmocka_unit_test(warnings_of_retry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
