/* YAML to a tree, its packed form, and all that is refused with its place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/tree.h>

static struct arena arena;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 65536, 256u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static struct tree *parse(struct slice text)
{
	struct errbuf e = { "" };
	struct tree *t = NULL;
	int r = tree_from_yaml(&arena, text, "f.yaml", 7, &t, &e);

	if (r < 0)
		fail_msg("%s", e.text);
	return t;
}

static void check_refused(struct slice text, const char *want)
{
	struct errbuf e = { "" };
	struct tree *t = NULL;

	assert_int_equal(tree_from_yaml(&arena, text, "f.yaml", 0, &t, &e), -EINVAL);
	assert_null(t);
	if (!strstr(e.text, want) || strncmp(e.text, "f.yaml:", 7) != 0)
		fail_msg("want '%s' in '%s'", want, e.text);
}

/* As JSON: what stands in the tree. */
static const struct {
	const char *yaml;
	const char *json;
} right[] = {
	{ "", "null" },
	{ "# only a comment\n", "null" },
	{ "a: 1\nb: [x, 'y', \"z\\n\"]\nc: {d: ~, e: null, f: ''}\n",
		"{\"a\":\"1\",\"b\":[\"x\",\"y\",\"z\\n\"],\"c\":{\"d\":null,\"e\":null,\"f\":\"\"}"
		"}" },
	{ "{\"a\": 0.10, \"b\": [true, \"true\", null, \"null\"]}",
		"{\"a\":\"0.10\",\"b\":[true,\"true\",null,\"null\"]}" },
	{ "a: no\nb: 1e3\nc: 0x10\nd: 2026-01-01\n", /* no type is guessed */
		"{\"a\":\"no\",\"b\":\"1e3\",\"c\":\"0x10\",\"d\":\"2026-01-01\"}" },
	{ "a: &x {k: [1, 2]}\nb: *x\n",
		"{\"a\":{\"k\":[\"1\",\"2\"]},\"b\":{\"k\":[\"1\",\"2\"]}}" },
	{ "a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":\"1\",\"b\":\"2\",\"c\":\"2\"}" },
	{ "a: &x q\nb: *x\nc: *x\n", "{\"a\":\"q\",\"b\":\"q\",\"c\":\"q\"}" },
	{ "\xef\xbb\xbf"
	  "a: \xc3\xa4\n",
		"{\"a\":\"\xc3\xa4\"}" },
	{ "---\na: 1\n...\n", "{\"a\":\"1\"}" },
	{ "a: |\n  two\n  lines\n", "{\"a\":\"two\\nlines\\n\"}" },
};

static void right_documents(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		struct buf b;

		buf_init(&b, 4096);
		assert_int_equal(tree_to_json(parse(slice_str(right[i].yaml)), &b), 0);
		assert_string_equal(buf_cstr(&b), right[i].json);
		buf_fini(&b);
	}
}

static void packed_form_keeps_all_but_places(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		struct tree *t = parse(slice_str(right[i].yaml)), *again = NULL;
		struct buf packed, repacked, json;

		buf_init(&packed, 4096);
		buf_init(&repacked, 4096);
		buf_init(&json, 4096);
		assert_int_equal(tree_pack(t, &packed), 0);
		assert_int_equal(tree_unpack(&arena, buf_view(&packed), &again, NULL), 0);
		assert_int_equal(again->line, 0);
		assert_int_equal(tree_pack(again, &repacked), 0);
		assert_true(slice_eq(buf_view(&packed), buf_view(&repacked)));
		assert_int_equal(tree_to_json(again, &json), 0);
		assert_string_equal(buf_cstr(&json), right[i].json);
		buf_fini(&packed);
		buf_fini(&repacked);
		buf_fini(&json);
	}
}

static void places_and_quotes(void **state)
{
	struct tree *t = parse(SLICE("a: 1\nlist:\n  - {k: 'v', n: ~}\n  - &x second\n  - *x\n"));
	const struct tree *list = tree_get(t, SLICE("list")), *k;

	(void)state;
	assert_int_equal(list->key_line, 2);
	assert_int_equal(list->key_column, 1);
	assert_int_equal(list->line, 3);
	assert_int_equal(list->n, 3);
	assert_int_equal(list->file, 7);
	k = tree_get(list->child, SLICE("k"));
	assert_true(k->quoted);
	assert_int_equal(k->line, 3);
	assert_int_equal(k->column, 9);
	assert_int_equal(k->key_column, 6);
	assert_int_equal(tree_get(list->child, SLICE("n"))->kind, TREE_NULL);
	assert_false(list->child->next->quoted);
	assert_int_equal(list->child->next->next->line, 5); /* an alias stands where it is used */
	assert_null(tree_get(t, SLICE("b")));
	assert_null(tree_get(list, SLICE("k"))); /* not a map */
	assert_null(tree_get(NULL, SLICE("k")));
}

static void wrong_documents(void **state)
{
	static const struct {
		const char *yaml;
		const char *want;
	} cases[] = {
		{ "a: 1\nb: 2\na: 3\n",
			"f.yaml:3:1: key 'a' stands twice in this map, first in line 1" },
		{ "x: {k: 1, k: 2}\n", "f.yaml:1:11: key 'k' stands twice" },
		{ "a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document begins here" },
		{ "a: [1, 2\nb: 3\n",
			"f.yaml:2:2: not valid YAML: did not find expected ',' or ']'" },
		{ "a:\n\t- b\n",
			"f.yaml:2:1: not valid YAML: found character that cannot start any "
			"token while scanning for the next token; indent with spaces, not with "
			"tabs" },
		{ "a: 'open\n", "not valid YAML: found unexpected end of stream" },
		{ "a: b: c\n", "f.yaml:1:5: not valid YAML: mapping values are not allowed" },
		{ "? [a, b]\n: c\n", "f.yaml:1:3: a key must be a plain text" },
		{ "? {a: b}\n: c\n", "f.yaml:1:3: a key must be a plain text" },
		{ "a: &x k\n*x : 1\n", "f.yaml:2:1: a key must be a plain text, not an alias" },
		{ "'': 1\n", "f.yaml:1:1: a key is missing" },
		{ "a: *nowhere\n", "f.yaml:1:4: alias '*nowhere' has no anchor before it" },
		{ "a: &x [*x]\n", "f.yaml:1:8: alias '*x' stands inside its own anchor" },
		{ "a: !!int 3\n", "f.yaml:1:4: tags ('!...') are not supported" },
		{ "a: !x {b: c}\n", "f.yaml:1:4: tags ('!...') are not supported" },
		{ "a: 1\nb: \xff\n", "f.yaml:2:4: not UTF-8 text" },
		{ "a: \xc3\n", "f.yaml:1:5: not UTF-8 text" },
		{ "a: \x01\n", "not UTF-8 text: control characters are not allowed" },
		{ "\"a\\e[31m\": 1\n\"a\\e[31m\": 2\n", "f.yaml:2:1: key 'a?[31m' stands twice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check_refused(slice_str(cases[i].yaml), cases[i].want);
	/* Not guessed to be UTF-16, which libyaml knows too. */
	check_refused(slice_of("\xff\xfe"
			       "a\0:\0 \0b\0",
			      10),
		"f.yaml:1:1: not UTF-8 text");
}

static void limits(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 8u << 20);

	for (int i = 0; i < TREE_MAX_DEPTH; i++)
		buf_char(&b, '[');
	for (int i = 0; i < TREE_MAX_DEPTH; i++)
		buf_char(&b, ']');
	{
		struct tree *t = parse(buf_view(&b)), *again;
		struct buf packed;

		buf_init(&packed, 4096);
		assert_int_equal(tree_pack(t, &packed), 0);
		assert_int_equal(tree_unpack(&arena, buf_view(&packed), &again, NULL), 0);
		buf_fini(&packed);
	}

	buf_reset(&b);
	for (int i = 0; i <= TREE_MAX_DEPTH; i++)
		buf_char(&b, '[');
	check_refused(buf_view(&b), "f.yaml:1:33: nested deeper than 32 levels");

	/* Depth counts through aliases: 17 levels used 16 levels down. */
	buf_reset(&b);
	buf_str(&b, "- &x ");
	for (int i = 0; i < 17; i++)
		buf_char(&b, '[');
	for (int i = 0; i < 17; i++)
		buf_char(&b, ']');
	buf_str(&b, "\n- ");
	for (int i = 0; i < 16; i++)
		buf_char(&b, '[');
	buf_str(&b, "*x");
	for (int i = 0; i < 16; i++)
		buf_char(&b, ']');
	check_refused(buf_view(&b), "f.yaml:2:19: nested deeper");

	buf_reset(&b);
	buf_str(&b, "a: &x 1\nb:\n");
	for (int i = 0; i <= TREE_MAX_ALIASES; i++)
		buf_str(&b, "- *x\n");
	check_refused(buf_view(&b), "f.yaml:1003:3: more than 1000 aliases");

	buf_reset(&b);
	for (int i = 0; i <= TREE_MAX_KEYS; i++)
		buf_printf(&b, "k%d: 1\n", i);
	check_refused(buf_view(&b), "f.yaml:257:1: more than 256 keys");

	buf_reset(&b);
	for (int i = 0; i <= TREE_MAX_NODES; i++)
		buf_str(&b, "-\n");
	check_refused(buf_view(&b), "the document has more than 1000000 values");

	buf_reset(&b);
	while (b.n <= TREE_MAX_BYTES)
		buf_str(&b, "# a comment of some length that only fills\n");
	check_refused(buf_view(&b), "f.yaml:1:1: the file is larger than 4 MiB");
	buf_fini(&b);
}

/* Ten aliases of ten aliases of ...: small as a file, endless as a document. */
static void alias_bomb(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 65536);
	buf_str(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 10; i++) {
		buf_printf(&b, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buf_printf(&b, "*a%d,", i - 1);
		buf_str(&b, "]\n");
	}
	check_refused(buf_view(&b), "the document has more than 1000000 values");
	assert_true(arena.used_bytes < 1u << 20);
	buf_fini(&b);
}

static void arena_limit_is_an_error(void **state)
{
	struct arena small;
	struct errbuf e;
	struct tree *t;
	struct buf packed;

	(void)state;
	for (size_t limit = 0; limit < 2048; limit += 64) {
		arena_init(&small, 128, limit);
		assert_int_equal(tree_from_yaml(&small,
					 SLICE("a: [&x {b: c}, *x, d, e, f, g, h, i, "
					       "j, k, l, m, n, o, p]"),
					 "f.yaml", 0, &t, &e),
			-ENOMEM);
		assert_non_null(strstr(e.text, "out of memory"));
		arena_fini(&small);
	}
	buf_init(&packed, 4096);
	assert_int_equal(tree_pack(parse(SLICE("a: [1, 2, 3]")), &packed), 0);
	arena_init(&small, 128, 256);
	assert_int_equal(tree_unpack(&small, buf_view(&packed), &t, &e), -ENOMEM);
	arena_fini(&small);
	packed.max = packed.n;
	assert_int_equal(tree_pack(parse(SLICE("a: 1")), &packed), -ENOBUFS);
	buf_fini(&packed);
}

static void hostile_packed_trees(void **state)
{
	static const struct {
		struct slice bytes;
		const char *want;
	} cases[] = {
		{ { "", 0 }, "cut off" },
		{ { "\xdd\x0f\xff\xff\xff", 5 }, "announces 268435455 objects" },
		{ { "\xdf\xff\xff\xff\xff", 5 }, "announces 8589934590 objects" },
		{ { "\xdb\xff\xff\xff\xff", 5 }, "cut off" },
		{ { "\xc1", 1 }, "broken" },
		{ { "\x07", 1 }, "no text" },
		{ { "\xc3", 1 }, "no text" },
		{ { "\x81\x01\xa1x", 4 }, "a key in the document is not a text" },
		{ { "\x82\xa1k\xa1x\xa1k\xa1y", 9 }, "stands twice" },
		{ { "\xa1\xff", 2 }, "not UTF-8" },
		{ { "\xc0\xc0", 2 }, "1 bytes too many" },
	};
	struct errbuf e;
	struct tree *t;
	char deep[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(tree_unpack(&arena, cases[i].bytes, &t, &e), -EBADMSG);
		if (!strstr(e.text, cases[i].want))
			fail_msg("want '%s' in '%s'", cases[i].want, e.text);
	}
	memset(deep, '\x91', sizeof(deep));
	assert_int_equal(tree_unpack(&arena, slice_of(deep, sizeof(deep)), &t, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "nested deeper"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(right_documents, setup, teardown),
		cmocka_unit_test_setup_teardown(packed_form_keeps_all_but_places, setup, teardown),
		cmocka_unit_test_setup_teardown(places_and_quotes, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_documents, setup, teardown),
		cmocka_unit_test_setup_teardown(limits, setup, teardown),
		cmocka_unit_test_setup_teardown(alias_bomb, setup, teardown),
		cmocka_unit_test_setup_teardown(arena_limit_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_packed_trees, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
