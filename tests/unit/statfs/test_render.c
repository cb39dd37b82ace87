/* What each file of the stats mount says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"

#include <unistd.h>

#define T0 (1790064732 * USEC_PER_S) /* wall */
#define M0 (1000 * USEC_PER_S)       /* monotonic */

struct view {
	struct fixture f;
	struct render r;
	struct buf text;
};

static struct view view;

static int begin(void **state)
{
	struct view *v = *state = &view;

	fixture_begin(&v->f);
	watch_fini(&v->f.watch);
	watch_init(&v->f.watch, v->f.stats, M0, T0);
	v->r = (struct render){ .stats = v->f.stats,
		.health = v->f.health,
		.inflight = v->f.inflight,
		.policy = v->f.policy,
		.watch = &v->f.watch,
		.mono_us = M0 + 5 * USEC_PER_S,
		.wall_us = T0 + 5 * USEC_PER_S,
		.info = { .agent_id = "web-01",
			.start_wall_us = T0,
			.start_mono_us = M0,
			.control = "connected",
			.server = "unix:/run/aigw-ctl/agents.sock",
			.strict = true,
			.spool = { .records = 12 } } };
	buf_init(&v->text, SIZE_MAX);
	return 0;
}

static int end(void **state)
{
	struct view *v = *state;

	buf_fini(&v->text);
	fixture_end(&v->f);
	return 0;
}

static const char *cat(struct view *v, const char *path)
{
	struct node_view nodes = { v->r.stats, v->r.policy, NULL };
	struct node n;

	buf_reset(&v->text);
	assert_int_equal(node_look_up(&nodes, slice_str(path), &n), 0);
	watch_judge(&v->f.watch, &v->r.info, v->r.policy != NULL, v->r.wall_us);
	assert_int_equal(render_node(&v->r, n, &v->text), 0);
	return buf_cstr(&v->text);
}

static void check(struct view *v, const char *path, const char *want)
{
	const char *got = cat(v, path);

	if (strcmp(got, want) != 0)
		fail_msg("%s is\n%s---- instead of\n%s----", path, got, want);
}

static void check_line(struct view *v, const char *path, const char *line)
{
	const char *got = cat(v, path), *at = strstr(got, line);

	if (!at || (at != got && at[-1] != '\n') || at[strlen(line)] != '\n')
		fail_msg("%s has no line\n%s\nbut is\n%s", path, line, got);
}

static void single_values(void **state)
{
	struct view *v = *state;

	check(v, "uptime_s", "5\n");
	check(v, "version", "aigw-agentd " AIGW_VERSION " abi 1\n");
	check(v, "health", "ok\n");
	check(v, "providers/openai/state", "ok\n");
	check(v, "control/state", "connected\n");
	check(v, "control/server", "unix:/run/aigw-ctl/agents.sock\n");
	v->r.info.server = NULL;
	check(v, "control/server", "off\n");
	check(v, "models/gpt-4o-mini/targets",
		"openai model=gpt-4o-mini share=100% priority=1 weight=100 state=ok "
		"recover_in_ms=0 opened=0 in_flight=0 ttft_us=- headroom=100%\n");
	check(v, "models/" FIXTURE_MODEL_FILE "/targets",
		"local model=llama3:8b share=100% priority=1 weight=100 state=ok "
		"recover_in_ms=0 opened=0 in_flight=0 ttft_us=- headroom=100%\n");
	check(v, "providers/openai/credentials", "openai state=ok recover_in_ms=0\n");
	check(v, "providers/local/credentials", "");
}

static void readme_explains_every_file(void **state)
{
	struct view *v = *state;
	const char *text = cat(v, "README");

	for (int row = 0; row < NODE_ROW_COUNT; row++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "\n%s ", node_path(row));
		if (S_ISDIR(node_mode(row)))
			continue;
		assert_non_null(strstr(text, path));
		assert_true(strlen(node_doc(row)) > 0);
		assert_non_null(strstr(text, node_doc(row)));
	}
}

static void folders_have_no_text(void **state)
{
	struct view *v = *state;

	for (int row = 0; row < NODE_ROW_COUNT; row++) {
		if (!S_ISREG(node_mode(row)))
			assert_int_equal(
				render_node(&v->r, (struct node){ row, 0 }, &v->text), -EISDIR);
	}
	assert_int_equal(v->text.n, 0);
}

static void stat_has_every_counter(void **state)
{
	struct view *v = *state;

	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_requests, 563787);
	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_inflight, 61);
	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_cost_nano, 200321442001);
	check(v, "stat",
		"requests 563787\n"
		"ok 0\n"
		"client_errors 0\n"
		"upstream_errors 0\n"
		"rejected_auth 0\n"
		"rejected_overload 0\n"
		"retries 0\n"
		"streams_cut 0\n"
		"client_gone 0\n"
		"inflight 61\n"
		"tokens_in 0\n"
		"tokens_cached_in 0\n"
		"tokens_out 0\n"
		"cost_usd 200.321442001\n"
		"unpriced 0\n"
		"estimated 0\n"
		"bytes_in 0\n"
		"bytes_out 0\n"
		"stale_replaced 0\n"
		"conns_opened 0\n"
		"conns_idle 0\n"
		"conns_open 0\n"
		"tls_resumed 0\n"
		"rejected_model 0\n"
		"queued 0\n"
		"rejected_concurrency 0\n"
		"spool_records 12\n"
		"policy_revision 42\n");
	v->r.policy = NULL;
	check_line(v, "stat", "policy_revision 0");
	check_line(v, "stat", "cost_usd 200.321442001");
}

static void stat_of_an_object_has_what_belongs_to_it(void **state)
{
	struct view *v = *state;
	static const char want[] = "requests 0\nok 7\nclient_errors 0\nupstream_errors 0\nretries "
				   "0\nstreams_cut 0\nclient_gone 0\n"
				   "inflight 0\ntokens_in 0\ntokens_cached_in 0\ntokens_out "
				   "0\ncost_usd 0.000000001\nunpriced 0\n"
				   "estimated 0\nbytes_in 0\nbytes_out 0\nrejected_model 0\n"
				   "rejected_concurrency 0\n";
	static const char of_a_model[] =
		"requests 0\nok 7\nclient_errors 0\nupstream_errors 0\nretries "
		"0\nstreams_cut 0\nclient_gone 0\n"
		"inflight 0\ntokens_in 0\ntokens_cached_in 0\ntokens_out "
		"0\ncost_usd 0.000000001\nunpriced 0\n"
		"estimated 0\nbytes_in 0\nbytes_out 0\nrejected_model 0\n"
		"queued 0\nrejected_concurrency 0\n";

	fixture_add(&v->f, STAT_PROJECT, "search", STAT_ok, 7);
	fixture_add(&v->f, STAT_PROJECT, "search", STAT_cost_nano, 1);
	check(v, "projects/search/stat", want);
	check_line(v, "projects/support-bot/stat", "ok 0");
	fixture_add(&v->f, STAT_MODEL, FIXTURE_MODEL, STAT_ok, 7);
	fixture_add(&v->f, STAT_MODEL, FIXTURE_MODEL, STAT_cost_nano, 1);
	check(v, "models/" FIXTURE_MODEL_FILE "/stat", of_a_model);
	stats_add(stats_worker(v->f.stats, 0), STAT_UID, stats_uid_slot(v->f.stats, FIXTURE_UID),
		STAT_ok, 7);
	stats_add(stats_worker(v->f.stats, 0), STAT_UID, stats_uid_slot(v->f.stats, FIXTURE_UID),
		STAT_cost_nano, 1);
	check(v, "by-uid/64123/stat", want);
	check_line(v, "by-uid/64124/stat", "ok 0");
	assert_int_equal(stats_find_uid(v->f.stats, 64124), 0);
	fixture_add(&v->f, STAT_PROVIDER, "openai", STAT_conns_open, 64);
	fixture_add(&v->f, STAT_PROVIDER, "openai", STAT_conns_opened, 1002);
	fixture_add(&v->f, STAT_PROVIDER, "openai", STAT_stale_replaced, 3);
	fixture_add(&v->f, STAT_PROVIDER, "local", STAT_conns_open, 1);
	check_line(v, "providers/openai/stat", "conns_open 64");
	check_line(v, "stat", "conns_open 65");
	check_line(v, "stat", "stale_replaced 3");
	check(v, "providers/openai/pool",
		"connections open=64 idle=0 tls_resumed=0 created=1002 stale_replaced=3\n");
}

static void latency_is_keyed_by_model(void **state)
{
	struct view *v = *state;

	fixture_time(&v->f, STAT_MODEL, "gpt-4o-mini", HIST_duration, 20);
	fixture_time(&v->f, STAT_MODEL, "gpt-4o-mini", HIST_duration, 10);
	fixture_time(&v->f, STAT_MODEL, FIXTURE_MODEL, HIST_ttft, 31);
	fixture_time(&v->f, STAT_GLOBAL, NULL, HIST_overhead, 7);
	check(v, "latency",
		"gpt-4o-mini n=2 p50=10 p90=20 p95=20 p99=20 max=20\n"
		"gpt-4o-mini.ttft n=0 p50=0 p90=0 p95=0 p99=0 max=0\n" FIXTURE_MODEL_FILE
		" n=0 p50=0 p90=0 p95=0 p99=0 max=0\n" FIXTURE_MODEL_FILE
		".ttft n=1 p50=31 p90=31 p95=31 p99=31 max=31\n"
		"gateway n=1 p50=7 p90=7 p95=7 p99=7 p99.9=7 max=7\n");
	check(v, "models/gpt-4o-mini/latency",
		"duration n=2 p50=10 p90=20 p95=20 p99=20 max=20\n"
		"ttft n=0 p50=0 p90=0 p95=0 p99=0 max=0\n");
}

static void health_names_each_fault_and_since_when(void **state)
{
	struct view *v = *state;

	v->r.info.control = "retrying";
	v->r.info.draining = true;
	v->r.info.committer = COMMITTER_STALLED;
	check(v, "health",
		"degraded agent reason=draining since=1790064737\n"
		"degraded controller reason=unreachable since=1790064737\n"
		"degraded spool reason=stalled since=1790064737\n");
	v->r.wall_us += 3 * USEC_PER_S;
	v->r.info.draining = false;
	v->r.info.committer = COMMITTER_FULL;
	v->r.policy = NULL;
	check(v, "health",
		"degraded policy reason=none since=1790064740\n"
		"degraded controller reason=unreachable since=1790064737\n"
		"degraded spool reason=full since=1790064740\n");
	v->r.info = (struct statfs_info){ .control = "standalone", .spool = { .failed = true } };
	v->r.policy = v->f.policy;
	check(v, "health", "degraded spool reason=failed since=1790064740\n");
	v->r.info.spool.failed = false;
	check(v, "health", "ok\n");
}

static void a_provider_fails_until_a_call_succeeds(void **state)
{
	struct view *v = *state;

	fixture_add(&v->f, STAT_PROVIDER, "local", STAT_upstream_errors, 3);
	check(v, "providers/local/state", "failing\n");
	check(v, "providers/openai/state", "ok\n");
	check(v, "health", "degraded provider=local reason=failing since=1790064737\n");
	/* nobody calls any more: what was last still holds */
	for (int i = 1; i <= 4; i++)
		watch_tick(&v->f.watch, M0 + i * WATCH_EVERY_US, T0 + i * WATCH_EVERY_US);
	check(v, "providers/local/state", "failing\n");
	fixture_add(&v->f, STAT_PROVIDER, "local", STAT_upstream_errors, 1);
	fixture_add(&v->f, STAT_PROVIDER, "local", STAT_ok, 1);
	check(v, "providers/local/state", "ok\n");
	check(v, "health", "ok\n");
}

static void users_and_their_projects(void **state)
{
	struct view *v = *state;

	check(v, "by-uid/0/user", "root\n");
	check(v, "by-uid/64123/user", "64123\n");
	check(v, "by-uid/64123/project", "support-bot\n");
	check(v, "by-uid/64124/project", "-\n");
	v->r.policy = NULL;
	check(v, "by-uid/64123/project", "-\n");
}

static void summary_is_a_table(void **state)
{
	struct view *v = *state;

	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_requests, 50);
	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_inflight, 3);
	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_cost_nano, 118429999999);
	fixture_add(&v->f, STAT_MODEL, "gpt-4o-mini", STAT_requests, 50);
	fixture_add(&v->f, STAT_MODEL, "gpt-4o-mini", STAT_ok, 997);
	fixture_add(&v->f, STAT_MODEL, "gpt-4o-mini", STAT_upstream_errors, 3);
	fixture_add(&v->f, STAT_MODEL, "gpt-4o-mini", STAT_tokens_out, 22050);
	fixture_add(&v->f, STAT_MODEL, "gpt-4o-mini", STAT_cost_nano, 18400000);
	fixture_time(&v->f, STAT_MODEL, "gpt-4o-mini", HIST_ttft, 310000);
	fixture_time(&v->f, STAT_MODEL, "gpt-4o-mini", HIST_duration, 2900000);
	check(v, "summary",
		"aigw web-01  up 5s  rev 42  control connected  durability strict  spool 12        "
		"10.0 req/s  3 in flight"
		"  $118.42 today\n"
		"MODEL              REQ/S   OK%   TTFT50   TTFT95     P95   TOK/S COST/MIN   "
		"TARGETS\n"
		"gpt-4o-mini         10.0  99.7    0.31s    0.31s   2.90s    4410   0.2208   "
		"openai 100%\n"
		"meta%2Fllama3%25     0.0     -        -        -       -       0   0.0000   local "
		"100%\n");
	v->r.policy = NULL;
	v->r.info.draining = true;
	v->r.info.strict = false;
	check(v, "summary",
		"aigw web-01  up 5s  rev 0  control connected  durability relaxed  draining  spool "
		"12        10.0 req/s"
		"  3 in flight  $118.42 today\n"
		"MODEL          REQ/S   OK%   TTFT50   TTFT95     P95   TOK/S COST/MIN   "
		"TARGETS\n");
}

/* Whoever reads and how often, a rate is of the last 10 to 20 seconds. */
static void rates_are_of_the_last_seconds(void **state)
{
	struct view *v = *state;
	struct watch_rate rate;

	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_requests, 1000);
	watch_tick(&v->f.watch, M0 + WATCH_EVERY_US - 1, T0);
	watch_rate(&v->f.watch, WATCH_GLOBAL, 0, M0 + WATCH_EVERY_US - 1, &rate);
	assert_int_equal(rate.d.requests, 1000);
	assert_int_equal(rate.over_us, WATCH_EVERY_US - 1);
	watch_tick(&v->f.watch, M0 + WATCH_EVERY_US, T0);
	watch_tick(&v->f.watch, M0 + WATCH_EVERY_US, T0); /* no sample of its own */
	watch_rate(&v->f.watch, WATCH_GLOBAL, 0, M0 + WATCH_EVERY_US + 1, &rate);
	assert_int_equal(rate.d.requests, 1000);
	watch_tick(&v->f.watch, M0 + 2 * WATCH_EVERY_US, T0);
	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_requests, 20);
	watch_rate(&v->f.watch, WATCH_GLOBAL, 0, M0 + 2 * WATCH_EVERY_US, &rate);
	assert_int_equal(rate.d.requests, 20);
	assert_int_equal(rate.over_us, WATCH_EVERY_US);
	/* a model that is new since the sample began at nothing */
	fixture_add(&v->f, STAT_MODEL, "new", STAT_requests, 4);
	watch_rate(&v->f.watch, WATCH_MODEL, fixture_slot(&v->f, STAT_MODEL, "new"),
		M0 + 2 * WATCH_EVERY_US, &rate);
	assert_int_equal(rate.d.requests, 4);
}

static void today_begins_at_midnight_utc(void **state)
{
	struct view *v = *state;
	usec midnight = (T0 / (86400 * USEC_PER_S) + 1) * 86400 * USEC_PER_S;

	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_cost_nano, 5);
	watch_tick(&v->f.watch, M0, midnight - 1);
	assert_int_equal(watch_cost_today(&v->f.watch), 5);
	watch_tick(&v->f.watch, M0, midnight);
	assert_int_equal(watch_cost_today(&v->f.watch), 0);
	fixture_add(&v->f, STAT_GLOBAL, NULL, STAT_cost_nano, 7);
	assert_int_equal(watch_cost_today(&v->f.watch), 7);
}

static struct slot *call(struct view *v, uint32_t *ret_i)
{
	static const uint8_t op_id[16] = { 0 };
	struct slot *s;

	*ret_i = inflight_take(v->f.inflight);
	assert_int_not_equal(*ret_i, SLOT_NONE);
	s = inflight_slot(v->f.inflight, *ret_i);
	s->began_mono_us = (uint64_t)(v->r.mono_us - 4100000);
	slot_set_text(s, SLOT_TEXT_op_id, slice_of((const char *)op_id, 16));
	return s;
}

static void inflight_shows_each_call(void **state)
{
	struct view *v = *state;
	static const char head[] = "REQUEST                            AGE  STATE      PROJECT     "
				   "     MODEL                TARGET"
				   "              IN     OUT  CALLER\n";
	struct slot *s;
	uint32_t a, b, unborn;

	check(v, "inflight", head);
	s = call(v, &a);
	slot_set_text(s, SLOT_TEXT_project, SLICE("support-bot"));
	slot_set_text(s, SLOT_TEXT_model, SLICE("gpt-4o-mini"));
	slot_set_text(s, SLOT_TEXT_provider, SLICE("openai"));
	slot_set_text(s, SLOT_TEXT_unit, SLICE("support-bot.service"));
	s->v.uid = 998 + 1;
	s->v.input_tokens = 4120;
	s->v.output_tokens = 211;
	s->v.stream = 1;
	s->v.first_byte_us = 1;
	slot_set_state(s, SLOT_SENT);
	s = call(v, &b);
	slot_set_text(s, SLOT_TEXT_project, SLICE("a\x1b[31m\nb"));
	slot_set_text(s, SLOT_TEXT_key_id, SLICE("key_0123456789AB"));
	s->began_mono_us = (uint64_t)(v->r.mono_us - 3725 * USEC_PER_S);
	slot_set_state(s, SLOT_ADMITTED);
	(void)call(v, &unborn); /* not admitted yet: not shown */
	assert_int_equal(strlen(head), strcspn(cat(v, "inflight"), "\n") + 1);
	check_line(v, "inflight",
		"req_00000000000000000000000000    4.1s  streaming  support-bot      gpt-4o-mini   "
		"       openai"
		"            4120     211  unix uid 998 support-bot.service");
	check_line(v, "inflight",
		"req_00000000000000000000000000   1h02m  admitted   a%1B[31m%0Ab     -             "
		"       -"
		"                    0       0  tcp key_0123456789AB");
	inflight_free(v->f.inflight, a);
	inflight_free(v->f.inflight, b);
	inflight_free(v->f.inflight, unborn);
	check(v, "inflight", head);
	v->r.inflight = NULL;
	check(v, "inflight", head);
}

static void a_file_over_the_room_fails(void **state)
{
	struct view *v = *state;
	struct buf small;

	buf_init(&small, 16);
	assert_int_equal(render_node(&v->r, (struct node){ NODE_stat, 0 }, &small), -ENOBUFS);
	buf_fini(&small);
}

static void ages_and_money(void **state)
{
	static const struct {
		usec d;
		const char *want;
	} ages[] = { { -5, "0s" }, { 59999999, "59s" }, { 60 * USEC_PER_S, "1m00s" },
		{ 3599 * USEC_PER_S, "59m59s" }, { 3600 * USEC_PER_S, "1h00m" },
		{ 86399 * USEC_PER_S, "23h59m" }, { 86400 * USEC_PER_S, "1d00h" },
		{ 90000 * USEC_PER_S, "1d01h" } };
	struct view *v = *state;
	char text[48];

	for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
		render_age(ages[i].d, text);
		assert_string_equal(text, ages[i].want);
	}
	render_money(&v->r, 1999999999, 2, text);
	assert_string_equal(text, "$1.99");
	v->f.policy->doc->currency = SLICE("EUR");
	render_money(&v->r, 0, 2, text);
	assert_string_equal(text, "EUR 0.00");
	check_line(v, "stat", "cost_eur 0.000000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(single_values, begin, end),
		cmocka_unit_test_setup_teardown(readme_explains_every_file, begin, end),
		cmocka_unit_test_setup_teardown(folders_have_no_text, begin, end),
		cmocka_unit_test_setup_teardown(stat_has_every_counter, begin, end),
		cmocka_unit_test_setup_teardown(
			stat_of_an_object_has_what_belongs_to_it, begin, end),
		cmocka_unit_test_setup_teardown(latency_is_keyed_by_model, begin, end),
		cmocka_unit_test_setup_teardown(health_names_each_fault_and_since_when, begin, end),
		cmocka_unit_test_setup_teardown(a_provider_fails_until_a_call_succeeds, begin, end),
		cmocka_unit_test_setup_teardown(users_and_their_projects, begin, end),
		cmocka_unit_test_setup_teardown(summary_is_a_table, begin, end),
		cmocka_unit_test_setup_teardown(rates_are_of_the_last_seconds, begin, end),
		cmocka_unit_test_setup_teardown(today_begins_at_midnight_utc, begin, end),
		cmocka_unit_test_setup_teardown(inflight_shows_each_call, begin, end),
		cmocka_unit_test_setup_teardown(a_file_over_the_room_fails, begin, end),
		cmocka_unit_test_setup_teardown(ages_and_money, begin, end),
	};

	return cmocka_run_group_tests_name("statfs/render", tests, NULL, NULL);
}
