/* The tree of the stats mount: what lies where, what it is called, who may read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"

static struct fixture fixture;

static int begin(void **state)
{
	*state = &fixture;
	fixture_begin(&fixture);
	return 0;
}

static int end(void **state)
{
	fixture_end(*state);
	return 0;
}

static void paths_lead_to_nodes(void **state)
{
	struct fixture *f = *state;
	const struct {
		const char *path;
		int want; /* row, or negative errno */
	} cases[] = {
		{ "", NODE_root },
		{ "README", NODE_README },
		{ "stat", NODE_stat },
		{ "self", NODE_self },
		{ "models", NODE_models },
		{ "models/gpt-4o-mini", NODE_model },
		{ "models/gpt-4o-mini/stat", NODE_model_stat },
		{ "models/gpt-4o-mini/targets", NODE_model_targets },
		{ "models/" FIXTURE_MODEL_FILE "/latency", NODE_model_latency },
		{ "providers/local/pool", NODE_provider_pool },
		{ "projects/support-bot/stat", NODE_project_stat },
		{ "by-uid", NODE_by_uid },
		{ "by-uid/0/user", NODE_uid_user },
		{ "by-uid/4294967294/stat", NODE_uid_stat },
		{ "nothing", -ENOENT },
		{ "readme", -ENOENT },
		{ "models/small", -ENOENT }, /* an alias is no model */
		{ "models/meta", -ENOENT },
		{ "models/gpt-4o-mini/pool", -ENOENT },
		{ "models/NAME", -ENOENT },
		{ "models/_other", -ENOENT },
		{ "models//stat", -ENOENT },
		{ "models/..", -ENOENT },
		{ "by-uid/UID", -ENOENT },
		{ "by-uid/01", -ENOENT },
		{ "by-uid/-1", -ENOENT },
		{ "by-uid/4294967295", -ENOENT }, /* no user can have it */
		{ "by-uid/4294967296", -ENOENT },
		{ "stat/x", -ENOTDIR },
		{ "self/stat", -ENOTDIR },
	};
	struct node_view v = fixture_view(f);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct node n, again;
		int r = node_look_up(&v, slice_str(cases[i].path), &n);

		if ((r < 0 ? r : (int)n.row) != cases[i].want)
			fail_msg("%s: %d", cases[i].path, r < 0 ? r : (int)n.row);
		if (r < 0)
			continue;
		assert_int_equal(node_of_ino(&v, node_ino(n), &again), 0);
		assert_int_equal(again.row, n.row);
		assert_int_equal(again.object, n.object);
	}
}

static void the_root_is_inode_one(void **state)
{
	(void)state;
	assert_int_equal(node_ino((struct node){ NODE_root, 0 }), 1);
}

static void inodes_of_nothing_are_refused(void **state)
{
	struct fixture *f = *state;
	struct node_view v = fixture_view(f);
	const uint64_t wrong[] = { 0, NODE_ROW_COUNT + 1, 255,
		1 | 1 << 8 /* a root with an object */, (NODE_model + 1) | 0 << 8,
		(NODE_model + 1) | 99 << 8, (NODE_model + 1) | UINT64_C(1) << 40, UINT64_MAX };
	struct node n;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(node_of_ino(&v, wrong[i], &n), -ENOENT);
}

/* Walks everything: each listed child is found by its name, lies in its parent, and no two have one
 * inode. */
static unsigned walk(const struct node_view *v, struct node dir, uint64_t *inodes, unsigned n)
{
	char name[NODE_NAME_MAX + 1];
	struct node child, found;
	uint64_t pos = 0;

	while (node_next(v, dir, &pos, &child, name)) {
		assert_int_equal(node_child(v, dir, slice_str(name), &found), 0);
		assert_int_equal(node_ino(found), node_ino(child));
		assert_int_equal(node_ino(node_parent(child)), node_ino(dir));
		for (unsigned i = 0; i < n; i++)
			assert_true(inodes[i] != node_ino(child));
		inodes[n++] = node_ino(child);
		assert_true(n < 100);
		if (S_ISDIR(node_mode(child.row)))
			n = walk(v, child, inodes, n);
	}
	assert_false(node_next(v, dir, &pos, &child, name));
	return n;
}

static void listing_and_look_up_agree(void **state)
{
	struct fixture *f = *state;
	struct node_view v = fixture_view(f);
	uint64_t inodes[100];
	unsigned seen = stats_uid_slot(f->stats, 1000);

	assert_int_equal(seen, 1);
	/* 18 in the root, 4 of config, 4 of control, 2 models of 4, 2 providers of 10, 2 projects
	 * of 5, one uid of 4, each with its folder */
	assert_int_equal(walk(&v, (struct node){ NODE_root, 0 }, inodes, 0),
		18 + 4 + 4 + 2 * 4 + 2 * 10 + 2 * 5 + 4);
	assert_int_equal(node_ino(node_parent((struct node){ NODE_root, 0 })), 1);
}

static void without_a_policy_the_folders_are_empty(void **state)
{
	struct fixture *f = *state;
	struct node_view v = { f->stats, NULL, NULL };
	char name[NODE_NAME_MAX + 1];
	struct node n;
	uint64_t pos = 0;

	assert_false(node_next(&v, (struct node){ NODE_models, 0 }, &pos, &n, name));
	assert_int_equal(node_look_up(&v, SLICE("models/gpt-4o-mini"), &n), -ENOENT);
	assert_int_equal(node_look_up(&v, SLICE("stat"), &n), 0);
	assert_int_equal(node_look_up(&v, SLICE("by-uid/7/stat"), &n), 0);
}

static void an_object_of_the_overflow_slot_has_no_folder(void **state)
{
	struct fixture *f = *state;
	struct node_view v = fixture_view(f);
	struct node n, before;

	assert_int_equal(node_look_up(&v, SLICE("models/gpt-4o-mini"), &before), 0);
	f->policy->model_stat[0] = 0;
	assert_int_equal(node_look_up(&v, SLICE("models/gpt-4o-mini"), &n), -ENOENT);
	assert_int_equal(node_of_ino(&v, node_ino(before), &n), -ENOENT);
	f->policy->model_stat[0] = before.object;
}

static void an_inode_outlives_the_order_in_the_policy(void **state)
{
	struct fixture *f = *state;
	struct node_view v = fixture_view(f);
	struct policy_model model = f->policy->doc->models[0];
	uint32_t slot = f->policy->model_stat[0];
	struct node before, after;

	assert_int_equal(node_look_up(&v, SLICE("models/gpt-4o-mini"), &before), 0);
	f->policy->doc->models[0] = f->policy->doc->models[1];
	f->policy->doc->models[1] = model;
	f->policy->model_stat[0] = f->policy->model_stat[1];
	f->policy->model_stat[1] = slot;
	assert_int_equal(node_look_up(&v, SLICE("models/gpt-4o-mini"), &after), 0);
	assert_int_equal(node_ino(before), node_ino(after));
	assert_int_equal(node_object_index(&v, STAT_MODEL, after.object), 1);
}

/* interfaces: world-readable is what names no project, key or caller. */
static void modes_and_owners(void **state)
{
	struct fixture *f = *state;
	const struct node_owner o = { .uid = 10, .gid = 20, .stats_gid = 30 };
	const struct {
		const char *path;
		mode_t mode;
		uint32_t uid, gid;
	} cases[] = {
		{ "", S_IFDIR | 0555, 10, 20 },
		{ "README", S_IFREG | 0444, 10, 20 },
		{ "version", S_IFREG | 0444, 10, 20 },
		{ "uptime_s", S_IFREG | 0444, 10, 20 },
		{ "health", S_IFREG | 0444, 10, 20 },
		{ "summary", S_IFREG | 0444, 10, 20 },
		{ "stat", S_IFREG | 0444, 10, 20 },
		{ "latency", S_IFREG | 0444, 10, 20 },
		{ "inflight", S_IFREG | 0440, 10, 30 },
		{ "models", S_IFDIR | 0555, 10, 20 },
		{ "models/gpt-4o-mini", S_IFDIR | 0555, 10, 20 },
		{ "models/gpt-4o-mini/stat", S_IFREG | 0444, 10, 20 },
		{ "providers/openai/state", S_IFREG | 0444, 10, 20 },
		{ "projects", S_IFDIR | 0550, 10, 30 },
		{ "projects/search", S_IFDIR | 0550, 10, 30 },
		{ "projects/search/stat", S_IFREG | 0440, 10, 30 },
		{ "self", S_IFLNK | 0777, 10, 20 },
		{ "by-uid", S_IFDIR | 0551, 10, 30 },
		{ "by-uid/1000", S_IFDIR | 0550, 1000, 20 },
		{ "by-uid/1000/project", S_IFREG | 0440, 1000, 20 },
	};
	struct node_view v = fixture_view(f);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stat st;
		struct node n;

		assert_int_equal(node_look_up(&v, slice_str(cases[i].path), &n), 0);
		node_attr(n, &o, 77 * USEC_PER_S, &st);
		if (st.st_mode != cases[i].mode || st.st_uid != cases[i].uid ||
			st.st_gid != cases[i].gid)
			fail_msg("%s: %o %u %u", cases[i].path, st.st_mode, st.st_uid, st.st_gid);
		assert_int_equal(st.st_size, 0);
		assert_int_equal(st.st_mtim.tv_sec, 77);
		assert_int_equal(st.st_ino, node_ino(n));
	}
}

static void names_are_written_as_files_can_have_them(void **state)
{
	static const struct {
		struct slice name;
		const char *want; /* NULL: none */
	} cases[] = {
		{ { "gpt-4o-mini", 11 }, "gpt-4o-mini" },
		{ { "a/b", 3 }, "a%2Fb" },
		{ { "100%", 4 }, "100%25" },
		{ { "a b\tc\n", 6 }, "a%20b%09c%0A" },
		{ { ".", 1 }, "%2E" },
		{ { "..", 2 }, "%2E." },
		{ { "a.b", 3 }, "a.b" },
		{ { "a\0b", 3 }, "a%00b" },
		{ { "\x7f", 1 }, "%7F" },
		{ { "m\xc3\xb6", 3 }, "m\xc3\xb6" },
		{ { "\xff", 1 }, "%FF" },
		{ { "\xc3", 1 }, "%C3" },
		{ { "\xc2\x9b"
		    "1m",
			  4 },
			"%C2%9B1m" },
		{ { "", 0 }, NULL },
	};
	char out[NODE_NAME_MAX + 1], long_name[NODE_NAME_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = node_encode_name(cases[i].name, out);

		assert_int_equal(n, cases[i].want ? strlen(cases[i].want) : 0);
		if (cases[i].want)
			assert_string_equal(out, cases[i].want);
	}
	memset(long_name, 'x', sizeof(long_name));
	assert_int_equal(
		node_encode_name(slice_of(long_name, NODE_NAME_MAX - 2), out), NODE_NAME_MAX - 2);
	assert_int_equal(node_encode_name(slice_of(long_name, NODE_NAME_MAX + 1), out), 0);
	memset(long_name, '/', sizeof(long_name));
	assert_int_equal(node_encode_name(slice_of(long_name, 85), out), 255);
	assert_int_equal(node_encode_name(slice_of(long_name, 86), out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paths_lead_to_nodes, begin, end),
		cmocka_unit_test_setup_teardown(the_root_is_inode_one, begin, end),
		cmocka_unit_test_setup_teardown(inodes_of_nothing_are_refused, begin, end),
		cmocka_unit_test_setup_teardown(listing_and_look_up_agree, begin, end),
		cmocka_unit_test_setup_teardown(without_a_policy_the_folders_are_empty, begin, end),
		cmocka_unit_test_setup_teardown(
			an_object_of_the_overflow_slot_has_no_folder, begin, end),
		cmocka_unit_test_setup_teardown(
			an_inode_outlives_the_order_in_the_policy, begin, end),
		cmocka_unit_test_setup_teardown(modes_and_owners, begin, end),
		cmocka_unit_test(names_are_written_as_files_can_have_them),
	};

	return cmocka_run_group_tests_name("statfs/tree", tests, NULL, NULL);
}
