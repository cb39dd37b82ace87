/* A tree as YAML: what is read from it is the same tree. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/tree.h>

static const char *const texts[] = {
	"{}",
	"[]",
	"a: 1\n",
	"a: {b: [], c: {}, d: null, e: ~, f: 'null', g: \"1\", h: 1.50, i: true, j: 'true'}\n",
	"list: [{name: a, more: {deep: [1, [2, 3], []]}}, {name: b}, c, [d, {e: f}]]\n",
	"url: https://[::1]:8080/v1\n",
	"q: \"a \\\" b \\\\ \\n \\u00e4 : # - x\"\n",
	"'odd key: #': 1\n'-': 3\n",
	"x: a:b\ny: \"a:\"\nz: 2026-01-01\nw: sim+close-after\nv: '*'\nu: vendor/model:1\n",
	"- a\n- b: 1\n  c: 2\n- - d\n  - e\n",
};

static void comes_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct arena a;
		struct tree *first, *second;
		struct buf yaml, before, after;
		struct errbuf e;

		arena_init(&a, 4096, 1 << 20);
		buf_init(&yaml, 65536);
		buf_init(&before, 65536);
		buf_init(&after, 65536);
		assert_int_equal(
			tree_from_yaml(&a, slice_str(texts[i]), "first", 0, &first, &e), 0);
		assert_int_equal(tree_to_yaml(first, &yaml), 0);
		if (tree_from_yaml(&a, buf_view(&yaml), "second", 0, &second, &e))
			fail_msg("%s\n%s\n%s", e.text, texts[i], buf_cstr(&yaml));
		assert_int_equal(tree_pack(first, &before), 0);
		assert_int_equal(tree_pack(second, &after), 0);
		if (!slice_eq(buf_view(&before), buf_view(&after)))
			fail_msg("%s became\n%s", texts[i], buf_cstr(&yaml));
		buf_fini(&yaml);
		buf_fini(&before);
		buf_fini(&after);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(comes_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
