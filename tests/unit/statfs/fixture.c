#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"

#include <aigw/clock.h>

#include <unistd.h>

static const char yaml[] =
	"apiVersion: aigw/v1\n"
	"providers:\n"
	"  - {name: openai, type: openai, base_url: 'https://api.openai.com/v1', credential: "
	"openai}\n"
	"  - {name: local, type: openai-compatible, base_url: 'http://127.0.0.1:11434/v1'}\n"
	"models:\n"
	"  - {name: gpt-4o-mini, aliases: [small], targets: [{provider: openai, model: "
	"gpt-4o-mini}]}\n"
	"  - {name: '" FIXTURE_MODEL "', targets: [{provider: local, model: 'llama3:8b'}]}\n"
	"customers:\n"
	"  - {name: acme, projects: [{name: search}, {name: support-bot}]}\n"
	"identities:\n"
	"  - {unit: some.service, project: search}\n"
	"  - {uid: 64123, project: support-bot}\n";

static struct policy *fixture_policy(void)
{
	struct arena arena;
	struct errbuf e = { "" };
	struct policy_doc *doc = NULL;
	struct policy *p = NULL;
	struct tree *root;
	const char *name = "test.yaml";
	struct buf report;

	arena_init(&arena, 4096, 1 << 20);
	buf_init(&report, 65536);
	if (tree_from_yaml(&arena, slice_str(yaml), name, 0, &root, &e) < 0)
		fail_msg("%s", e.text);
	if (policy_doc_build((const struct tree *const[]){ root }, &name, 1, &doc, &report) < 0)
		fail_msg("%s", buf_cstr(&report));
	assert_int_equal(policy_build(doc, 42, 1, &p, &e), 0);
	buf_fini(&report);
	arena_fini(&arena);
	return p;
}

void fixture_begin(struct fixture *f)
{
	struct errbuf e = { "" };

	memset(f, 0, sizeof(*f));
	memcpy(f->dir, "/tmp/aigw-statfs.XXXXXX", 24);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(stats_new(2, &f->stats), 0);
	assert_int_equal(health_new(2, &f->health), 0);
	if (inflight_open(f->dir, 64, &f->inflight, &e) < 0)
		fail_msg("%s", e.text);
	f->policy = fixture_policy();
	for (uint32_t i = 0; i < f->policy->doc->n_models; i++)
		f->policy->model_stat[i] =
			stats_slot(f->stats, STAT_MODEL, f->policy->doc->models[i].name);
	for (uint32_t i = 0; i < f->policy->doc->n_providers; i++)
		f->policy->provider_stat[i] =
			stats_slot(f->stats, STAT_PROVIDER, f->policy->doc->providers[i].name);
	f->policy->found[0] = 1;
	for (uint32_t i = 0; i < f->policy->doc->n_projects; i++)
		f->policy->project_stat[i] =
			stats_slot(f->stats, STAT_PROJECT, f->policy->doc->projects[i].name);
	watch_init(&f->watch, f->stats, clock_mono_us(), clock_wall_us());
}

void fixture_end(struct fixture *f)
{
	char path[128];

	watch_fini(&f->watch);
	policy_unref(f->policy);
	inflight_close(f->inflight);
	stats_free(f->stats);
	health_free(f->health);
	(void)snprintf(path, sizeof(path), "%s/inflight", f->dir);
	(void)unlink(path);
	assert_int_equal(rmdir(f->dir), 0);
}

struct node_view fixture_view(const struct fixture *f)
{
	return (struct node_view){ f->stats, f->policy, NULL };
}

uint32_t fixture_slot(struct fixture *f, enum stat_kind kind, const char *name)
{
	return kind == STAT_GLOBAL ? 0 : stats_slot(f->stats, kind, slice_str(name));
}

void fixture_add(
	struct fixture *f, enum stat_kind kind, const char *name, enum stat_counter c, int64_t n)
{
	stats_add(stats_worker(f->stats, 1), kind, fixture_slot(f, kind, name), c, n);
}

void fixture_time(
	struct fixture *f, enum stat_kind kind, const char *name, enum stat_hist h, usec d)
{
	stats_time(stats_worker(f->stats, 1), kind, fixture_slot(f, kind, name), h, d);
}
