/* Daemon settings: presets, every type, and mistakes with their place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/atomic_file.h>
#include <aigw/config.h>

#include <unistd.h>

struct settings {
	const char *socket;
	bool verbose;
	int64_t workers;
	usec drain;
	uint64_t spool;
	int level;
};

static const struct config_row rows[] = {
	{ "socket", CONFIG_STR, offsetof(struct settings, socket), "/run/x.sock", 0, 0, "", false,
		"" },
	{ "verbose", CONFIG_BOOL, offsetof(struct settings, verbose), "false", 0, 0, "", true, "" },
	{ "workers", CONFIG_INT, offsetof(struct settings, workers), "0", 0, 64, "", false, "" },
	{ "drain_timeout", CONFIG_DURATION, offsetof(struct settings, drain), "80s", 0,
		24 * 3600 * USEC_PER_S, "", true, "" },
	{ "spool_size", CONFIG_SIZE, offsetof(struct settings, spool), "512MiB", 1 << 20,
		INT64_C(1) << 40, "", false, "" },
	{ "log", CONFIG_ENUM, offsetof(struct settings, level), "info", 0, 0,
		"error|warning|info|debug", true, "" },
};

static char folder[] = "/tmp/aigw-config-XXXXXX";
static char path[64];
static struct arena arena;

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/c.yaml", folder);
	arena_init(&arena, 4096, 1u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)rmdir(folder);
	arena_fini(&arena);
	return 0;
}

static int load(const char *text, struct settings *s, struct errbuf *e)
{
	assert_int_equal(atomic_file_write(path, 0600, slice_str(text), NULL), 0);
	return config_load(path, false, rows, ARRAY_LEN(rows), &arena, s, e);
}

static void check_presets(const struct settings *s)
{
	assert_string_equal(s->socket, "/run/x.sock");
	assert_false(s->verbose);
	assert_int_equal(s->workers, 0);
	assert_int_equal(s->drain, 80 * USEC_PER_S);
	assert_int_equal(s->spool, 512u << 20);
	assert_int_equal(s->level, 2);
}

static void presets(void **state)
{
	struct settings s;
	struct errbuf e;

	(void)state;
	assert_int_equal(config_load(NULL, false, rows, ARRAY_LEN(rows), &arena, &s, &e), 0);
	check_presets(&s);
	(void)unlink(path);
	memset(&s, 0, sizeof(s));
	assert_int_equal(config_load(path, true, rows, ARRAY_LEN(rows), &arena, &s, &e), 0);
	check_presets(&s);
	assert_int_equal(config_load(path, false, rows, ARRAY_LEN(rows), &arena, &s, &e), -ENOENT);
	assert_non_null(strstr(e.text, path));
	assert_int_equal(load("# nothing\n", &s, &e), 0);
	check_presets(&s);
}

static void every_type(void **state)
{
	struct settings s;
	struct errbuf e = { "" };

	(void)state;
	assert_int_equal(load("socket: off\nverbose: true\nworkers: 64\ndrain_timeout: 250ms\n"
			      "spool_size: 1GiB\nlog: debug\n",
				 &s, &e),
		0);
	assert_string_equal(s.socket, "off");
	assert_true(s.verbose);
	assert_int_equal(s.workers, 64);
	assert_int_equal(s.drain, 250 * USEC_PER_MS);
	assert_int_equal(s.spool, 1u << 30);
	assert_int_equal(s.level, 3);
	assert_int_equal(load("{\"socket\": \"\", \"workers\": 7}\n", &s, &e), 0);
	assert_string_equal(s.socket, "");
	assert_int_equal(s.workers, 7);
	assert_int_equal(s.level, 2);
}

static void mistakes(void **state)
{
	static const struct {
		const char *text;
		const char *want;
	} cases[] = {
		{ "worker: 3\n", ":1:1: unknown setting 'worker', did you mean 'workers'?" },
		{ "log: info\nsokcet: x\n",
			":2:1: unknown setting 'sokcet', did you mean 'socket'?" },
		{ "completely_different: 1\n", ":1:1: unknown setting 'completely_different'" },
		{ "control_socket: /x\n", ":1:1: not supported yet: 'control_socket'" },
		{ "proxy: http://x\n", ":1:1: not supported yet: 'proxy'" },
		{ "log: info\nlog: info\n", ":2:1: key 'log' stands twice" },
		{ "- a\n", ":1:1: write settings as NAME: VALUE" },
		{ "just text\n", ":1:1: write settings as NAME: VALUE" },
		{ "workers:\n", ":1:9: workers has no value" },
		{ "workers: [1]\n", ":1:10: workers must be a single value" },
		{ "workers: many\n", ":1:10: workers is 'many': write a whole number" },
		{ "workers: \"4\"\n", ":1:10: workers is '4': write a whole number" },
		{ "workers: 1.5\n", ":1:10: workers is '1.5': write a whole number" },
		{ "workers: 65\n", ":1:10: workers is 65: it may be 0 to 64" },
		{ "workers: -1\n", ":1:10: workers is -1: it may be 0 to 64" },
		{ "workers: 99999999999999999999\n", "it may be 0 to 64" },
		{ "verbose: yes\n", ":1:10: verbose is 'yes': write true or false" },
		{ "verbose: \"true\"\n", ":1:10: verbose is 'true': write true or false" },
		{ "drain_timeout: 80\n",
			":1:16: drain_timeout is '80': write a whole number with its unit" },
		{ "drain_timeout: 1.5s\n", "write a whole number with its unit" },
		{ "drain_timeout: 25h\n", ":1:16: drain_timeout is 25h: it may be 0" },
		{ "drain_timeout: 2d\n", "to 1d" },
		{ "spool_size: 1048576\n",
			":1:13: spool_size is '1048576': write a whole number with its unit" },
		{ "spool_size: big\n", "KiB, MiB or GiB" },
		{ "spool_size: 1KiB\n", ":1:13: spool_size is 1KiB: it may be 1MiB to 1TiB" },
		{ "log: inof\n", ":1:6: log can't be 'inof', did you mean 'info'?" },
		{ "log: loud\n",
			":1:6: log can't be 'loud'; write one of error|warning|info|debug" },
		{ "socket: \"a\\nb\"\n", ":1:9: socket holds a control character" },
		{ "log: [\n", "not valid YAML" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct settings s;
		struct errbuf e = { "" };

		assert_int_equal(load(cases[i].text, &s, &e), -EINVAL);
		if (strncmp(e.text, path, strlen(path)) != 0 || !strstr(e.text, cases[i].want))
			fail_msg("want '%s' in '%s'", cases[i].want, e.text);
	}
}

static void what_needs_a_restart(void **state)
{
	struct settings old, new;
	struct errbuf e;
	struct buf names;

	(void)state;
	buf_init(&names, 256);
	assert_int_equal(load("socket: /a\n", &old, &e), 0);
	assert_int_equal(load("socket: /a\nlog: debug\nverbose: true\n", &new, &e), 0);
	config_restart_needed(rows, ARRAY_LEN(rows), &old, &new, &names);
	assert_string_equal(buf_cstr(&names), "");
	assert_int_equal(
		load("socket: /b\nworkers: 3\nspool_size: 1MiB\ndrain_timeout: 1s\n", &new, &e), 0);
	config_restart_needed(rows, ARRAY_LEN(rows), &old, &new, &names);
	assert_string_equal(buf_cstr(&names), "socket workers spool_size");
	buf_fini(&names);
}

/* The daemons' own tables: every preset is valid by its own rules, every row is described. */
struct agent_settings {
#define CONFIG(type, member, preset, min, max, choices, reload, doc) CONFIG_MEMBER_##type member;
#define CONFIG_MEMBER_STR                                            const char *
#define CONFIG_MEMBER_BOOL                                           bool
#define CONFIG_MEMBER_INT                                            int64_t
#define CONFIG_MEMBER_DURATION                                       usec
#define CONFIG_MEMBER_SIZE                                           uint64_t
#define CONFIG_MEMBER_ENUM                                           int
#include <aigw/tbl/agent_config.h>
#undef CONFIG
};

struct ctld_settings {
#define CONFIG(type, member, preset, min, max, choices, reload, doc) CONFIG_MEMBER_##type member;
#include <aigw/tbl/ctld_config.h>
#undef CONFIG
};

static void tables_of_the_daemons(void **state)
{
	static const struct config_row agent[] = {
#define CONFIG(type, member, preset, min, max, choices, reload, doc)                               \
	{ #member, CONFIG_##type, offsetof(struct agent_settings, member), preset, min, max,       \
		choices, reload, doc },
#include <aigw/tbl/agent_config.h>
#undef CONFIG
	};
	static const struct config_row ctld[] = {
#define CONFIG(type, member, preset, min, max, choices, reload, doc)                               \
	{ #member, CONFIG_##type, offsetof(struct ctld_settings, member), preset, min, max,        \
		choices, reload, doc },
#include <aigw/tbl/ctld_config.h>
#undef CONFIG
	};
	struct agent_settings a;
	struct ctld_settings c;
	struct errbuf e;

	(void)state;
	assert_int_equal(config_load(NULL, false, agent, ARRAY_LEN(agent), &arena, &a, &e), 0);
	assert_int_equal(a.drain_timeout, 80 * USEC_PER_S);
	assert_int_equal(a.max_body, 32u << 20);
	assert_int_equal(a.durability, 0);
	assert_int_equal(config_load(NULL, false, ctld, ARRAY_LEN(ctld), &arena, &c, &e), 0);
	assert_string_equal(c.state_dir, "/var/lib/aigw-ctl");
	for (size_t i = 0; i < ARRAY_LEN(agent); i++)
		assert_true(strlen(agent[i].doc) > 0);
}

static void arena_limit_is_an_error(void **state)
{
	struct arena small;
	struct settings s;
	struct errbuf e;

	(void)state;
	arena_init(&small, 64, 0);
	assert_int_equal(config_load(NULL, false, rows, ARRAY_LEN(rows), &small, &s, &e), -ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(presets),
		cmocka_unit_test(every_type),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(what_needs_a_restart),
		cmocka_unit_test(tables_of_the_daemons),
		cmocka_unit_test(arena_limit_is_an_error),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
