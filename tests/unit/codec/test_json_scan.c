/* JSON in place: what RFC 8259 allows and what it does not, and members as they
 * stand. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>

#include <aigw/json.h>
#include <aigw/json_scan.h>
#include "scan.h"

#define FIFTEEN "123456789012345"

/* Values: each is tried inside an object, inside an array, and nested. */
static const char *const good_values[] = {
	"0",
	"-0",
	"1",
	"-1",
	"10",
	"1234567890123456789012345678901234567890",
	"0.0",
	"0.5",
	"-1.25",
	"1e5",
	"1E5",
	"1e+5",
	"1e-5",
	"0e0",
	"1.5e300",
	"true",
	"false",
	"null",
	"\"\"",
	"\"a\"",
	"\"\\\"\"",
	"\"\\\\\"",
	"\"\\/\\b\\f\\n\\r\\t\"",
	"\"\\u0000\"",
	"\"\\uABcd\"",
	"\"\\ud800\"",
	"\"\177\"",
	"\"\303\244\"",
	"\"\377\"",
	"\"" FIFTEEN "\"",
	"\"" FIFTEEN "6\"",
	"\"" FIFTEEN "67\"",
	"\"" FIFTEEN "\\n" FIFTEEN "\"",
	"\"{}[],:\"",
	"[]",
	"[ ]",
	"{}",
	"{ }",
	"[1]",
	"[1,2]",
	"[ 1 , 2 ]",
	"[[],[]]",
	"[{},{}]",
	"{\"a\":{}}",
	"{\"a\":[],\"b\":[1,{\"c\":null}]}",
	"{\"\":0}",
	"{\"a\":1,\"a\":2}",
	"\t1\n",
	"\r\n{\r\n}\r\n",
};

static const char *const bad_values[] = {
	"",
	" ",
	"-",
	"+1",
	"01",
	"-01",
	"1.",
	".5",
	"-.5",
	"1.e5",
	"1e",
	"1e+",
	"1e-",
	"1.5.5",
	"0x1",
	"1a",
	"--1",
	"1 2",
	"NaN",
	"Infinity",
	"tru",
	"truex",
	"True",
	"fals",
	"nul",
	"nulll",
	"undefined",
	"'a'",
	"\"",
	"\"a",
	"a\"",
	"\"a\"b",
	"\"\\\"",
	"\"\\x\"",
	"\"\\a\"",
	"\"\\0\"",
	"\"\\u\"",
	"\"\\u12\"",
	"\"\\u123g\"",
	"\"\\U0041\"",
	"\"\n\"",
	"\"\t\"",
	"\"\001\"",
	"\"" FIFTEEN "\037\"",
	"\"" FIFTEEN FIFTEEN "\n\"",
	"\"\\\n\"",
	"[",
	"]",
	"[1",
	"[1,",
	"[1,]",
	"[,1]",
	"[,]",
	"[1 2]",
	"[1:2]",
	"[\"a\":1]",
	"[1}",
	"{",
	"}",
	"{1",
	"{\"a\"",
	"{\"a\":",
	"{\"a\":1",
	"{\"a\":1,",
	"{\"a\":1,}",
	"{,}",
	"{\"a\"}",
	"{\"a\",1}",
	"{\"a\":}",
	"{:1}",
	"{a:1}",
	"{1:1}",
	"{null:1}",
	"{\"a\":1 \"b\":2}",
	"{\"a\":1;\"b\":2}",
	"{\"a\":1]",
	"{\"a\"::1}",
	"{\"a\" 1}",
	"[]]",
	"{}}",
	"//",
	"/**/1",
	"1//",
	"\v1",
	"\f1",
	"\302\2401",
	"\357\273\2771",
};

static int enter_all(void *arg, unsigned depth, const struct jscan_member *m)
{
	(void)arg;
	return m->kind == JSCAN_OBJECT && depth < JSCAN_ENTER_MAX ? JSCAN_ENTER : 0;
}

/* Own memory of the exact size, so that a sanitizer sees every byte too far. What holds of an
 * object holds if it is walked into, too. */
static int scan_exact(struct slice text, bool object, size_t *ret_offset)
{
	char *own = malloc(text.n ? text.n : 1);
	size_t deep = 0, flat = 0;
	int r;

	if (text.n)
		memcpy(own, text.p, text.n);
	r = object ? jscan_object(slice_of(own, text.n), NULL, NULL, ret_offset)
		   : jscan_array(slice_of(own, text.n), NULL, NULL, ret_offset);
	assert_int_equal(jscan_deep(slice_of(own, text.n), enter_all, NULL, &deep),
		jscan_object(slice_of(own, text.n), NULL, NULL, &flat));
	assert_int_equal(deep, flat);
	free(own);
	return r;
}

static void check_value(const char *value, int expected)
{
	static const char *const frames[] = {
		"{\"k\":%s}",
		"{\"k\":%s,\"l\":0}",
		"{\"j\":0,\"k\":%s}",
		"{\"k\":[%s]}",
		"{\"k\":[0,%s]}",
		"{\"k\":{\"m\":%s}}",
		"{\"k\":[[{\"m\":%s}]]}",
		" {\"k\" : %s } ",
	};
	static const char *const arrays[] = { "[%s]", "[0,%s]", "[%s,0]", "[[%s]]" };
	struct buf b;

	buf_init(&b, 4096);
	for (size_t i = 0; i < ARRAY_LEN(frames) + ARRAY_LEN(arrays); i++) {
		bool object = i < ARRAY_LEN(frames);
		const char *frame = object ? frames[i] : arrays[i - ARRAY_LEN(frames)];
		const char *at = strstr(frame, "%s");
		size_t offset = SIZE_MAX;
		int r;

		/* An empty element makes an empty array. */
		if (expected && strspn(value, " ") == strlen(value) && strstr(frame, "[%s]"))
			continue;
		buf_reset(&b);
		(void)buf_append(&b, frame, (size_t)(at - frame));
		(void)buf_str(&b, value);
		assert_int_equal(buf_str(&b, at + 2), 0);
		r = scan_exact(buf_view(&b), object, &offset);
		if (r != expected || (r && offset > b.n))
			fail_msg("%s: %d at %zu, expected %d", buf_cstr(&b), r, offset, expected);
	}
	buf_fini(&b);
}

static void test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good_values); i++)
		check_value(good_values[i], 0);
	for (size_t i = 0; i < ARRAY_LEN(bad_values); i++)
		check_value(bad_values[i], -EINVAL);
}

static void test_top_level(void **state)
{
	static const char *const bad[] = { "", " ", "1", "\"a\"", "null", "[]", "{}{}", "{} x",
		"{},", "x{}", "\357\273\277{}" };

	(void)state;
	assert_int_equal(jscan_object(SLICE("{}"), NULL, NULL, NULL), 0);
	assert_int_equal(jscan_object(SLICE(" \t\r\n{ } \n"), NULL, NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(scan_exact(slice_str(bad[i]), true, NULL), -EINVAL);
	assert_int_equal(jscan_object(SLICE_EMPTY, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(jscan_array(SLICE("[]"), NULL, NULL, NULL), 0);
	assert_int_equal(jscan_array(SLICE("{}"), NULL, NULL, NULL), -EINVAL);
}

static void test_a_nul_is_no_end(void **state)
{
	(void)state;
	assert_int_equal(jscan_object(slice_of("{}\0", 3), NULL, NULL, NULL), -EINVAL);
	assert_int_equal(jscan_object(slice_of("{\"a\":\"\0\"}", 9), NULL, NULL, NULL), -EINVAL);
}

static void test_every_prefix_is_refused(void **state)
{
	static const char text[] = "{\"a\":[1,{\"b\":\"c\\u00e4" FIFTEEN "\"},true],\"d\":-1.5e3}";

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_int_equal(scan_exact(slice_of(text, n), true, NULL), -EINVAL);
	assert_int_equal(scan_exact(slice_of(text, sizeof(text) - 1), true, NULL), 0);
}

static void test_offset_of_the_error(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
	} cases[] = {
		{ "[]", 0 },
		{ "{\"a\":tru}", 8 },
		{ "{\"a\":1,}", 7 },
		{ "{\"a\":1} x", 8 },
		{ "{\"a\":\"\n\"}", 6 },
		{ "{\"a\":[1,2", 9 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t offset = SIZE_MAX;

		assert_int_equal(
			jscan_object(slice_str(cases[i].text), NULL, NULL, &offset), -EINVAL);
		assert_int_equal(offset, cases[i].offset);
	}
}

static void test_depth(void **state)
{
	char text[4 * JSCAN_DEPTH_MAX + 16];

	(void)state;
	for (size_t depth = JSCAN_DEPTH_MAX - 1; depth <= JSCAN_DEPTH_MAX + 1; depth++) {
		int expected = depth <= JSCAN_DEPTH_MAX ? 0 : -EINVAL;

		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(scan_exact(slice_of(text, 2 * depth), false, NULL), expected);
	}
	for (size_t depth = JSCAN_DEPTH_MAX - 1; depth <= JSCAN_DEPTH_MAX + 1; depth++) {
		struct buf b;

		buf_init(&b, 2000);
		for (size_t i = 1; i < depth; i++)
			(void)buf_str(&b, "{\"\":");
		(void)buf_str(&b, "{}");
		for (size_t i = 1; i < depth; i++)
			(void)buf_char(&b, '}');
		assert_int_equal(scan_exact(buf_view(&b), true, NULL),
			depth <= JSCAN_DEPTH_MAX ? 0 : -EINVAL);
		buf_fini(&b);
	}
	/* Objects and arrays by turns, across the words of the stack; then one is closed as the
	 * other. */
	for (size_t wrong = 0; wrong <= 100; wrong++) {
		struct buf b;

		buf_init(&b, 1000);
		for (size_t i = 0; i < 100; i++)
			(void)buf_str(&b, i % 2 ? "{\"a\":" : "[");
		(void)buf_char(&b, '0');
		for (size_t i = 100; i-- > 0;)
			(void)buf_char(&b, (i % 2 == 1) != (i == wrong) ? '}' : ']');
		assert_int_equal(scan_exact(buf_view(&b), false, NULL), wrong == 100 ? 0 : -EINVAL);
		buf_fini(&b);
	}
}

struct seen {
	struct jscan_member m[8];
	unsigned n;
	unsigned stop_at;
};

static int see(void *arg, const struct jscan_member *m)
{
	struct seen *s = arg;

	assert_true(s->n < ARRAY_LEN(s->m));
	s->m[s->n++] = *m;
	return s->n == s->stop_at ? 42 : 0;
}

static void test_members(void **state)
{
	static const struct {
		const char *key, *value;
		enum jscan_kind kind;
		bool key_escaped, value_escaped;
	} expected[] = {
		{ "model", "\"gpt\"", JSCAN_STRING, false, false },
		{ "a\\u0062", "{\"x\" : [1, 2]}", JSCAN_OBJECT, true, false },
		{ "c", "[ ]", JSCAN_ARRAY, false, false },
		{ "", "-1.50", JSCAN_NUMBER, false, false },
		{ "model", "\"q\\\"\"", JSCAN_STRING, false, true },
		{ "t", "true", JSCAN_TRUE, false, false },
		{ "f", "false", JSCAN_FALSE, false, false },
		{ "n", "null", JSCAN_NULL, false, false },
	};
	struct slice text =
		SLICE("{\"model\":\"gpt\", \"a\\u0062\" : {\"x\" : [1, 2]} ,\"c\":[ ],\n\"\":-1.50,"
		      "\"model\":\"q\\\"\",\"t\":true,\"f\":false,\"n\":null}");
	struct seen s = { 0 };

	(void)state;
	assert_int_equal(jscan_object(text, see, &s, NULL), 0);
	assert_int_equal(s.n, ARRAY_LEN(expected));
	for (size_t i = 0; i < s.n; i++) {
		assert_true(slice_eq(s.m[i].key, slice_str(expected[i].key)));
		assert_true(slice_eq(s.m[i].value, slice_str(expected[i].value)));
		assert_int_equal(s.m[i].kind, expected[i].kind);
		assert_int_equal(s.m[i].key_escaped, expected[i].key_escaped);
		assert_int_equal(s.m[i].value_escaped, expected[i].value_escaped);
	}
	s = (struct seen){ .stop_at = 2 };
	assert_int_equal(jscan_object(text, see, &s, NULL), 42);
	assert_int_equal(s.n, 2);
}

struct walked {
	char text[400];
	size_t n;
};

/* "depth key=value ", and into objects whose key does not begin with a '-'. */
static int walk_down(void *arg, unsigned depth, const struct jscan_member *m)
{
	struct walked *w = arg;
	int n = snprintf(w->text + w->n, sizeof(w->text) - w->n, "%u %.*s=%.*s ", depth,
		(int)m->key.n, m->key.p, (int)m->value.n, m->value.p);

	assert_true(n > 0 && (size_t)n < sizeof(w->text) - w->n);
	w->n += (size_t)n;
	if (m->kind == JSCAN_OBJECT) {
		assert_int_equal(m->value.n, 0);
		assert_int_equal(*m->value.p, '{');
		return m->key.n && m->key.p[0] == '-' ? 0 : JSCAN_ENTER;
	}
	return jscan_key_is(m, SLICE("stop")) ? 42 : 0;
}

static void test_objects_below(void **state)
{
	static const struct {
		const char *text, *seen;
		int result;
	} cases[] = {
		{ " { } ", "", 0 },
		{ "{\"a\":1,\"b\":{\"c\":[{}],\"d\":{\"e\":\"f\"}},\"g\":null}",
			"0 a=1 0 b= 1 c=[{}] 1 d= 2 e=\"f\" 0 g=null ", 0 },
		{ "{\"a\" : { \"b\" : { } , \"c\" : { \"d\" : 1 } } }", "0 a= 1 b= 1 c= 2 d=1 ",
			0 },
		{ "{\"-\":{\"a\":{}},\"b\":{\"-c\":{\"d\":[1]}},\"e\":2}", "0 -= 0 b= 1 -c= 0 e=2 ",
			0 },
		{ "{\"a\":{\"stop\":1,\"b\":2},\"c\":3}", "0 a= 1 stop=1 ", 42 },
		{ "{\"a\":{\"b\":1]}", "0 a= 1 b=1 ", -EINVAL },
		{ "{\"a\":{\"b\":1}", "0 a= 1 b=1 ", -EINVAL },
		{ "{\"a\":{\"b\":1}}}", "0 a= 1 b=1 ", -EINVAL },
		{ "{\"a\":{,}}", "0 a= ", -EINVAL },
		{ "{\"a\":{\"b\":1},}", "0 a= 1 b=1 ", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct walked w = { .n = 0 };

		assert_int_equal(
			jscan_deep(slice_str(cases[i].text), walk_down, &w, NULL), cases[i].result);
		assert_string_equal(w.text, cases[i].seen);
	}
}

static void test_elements(void **state)
{
	struct seen s = { 0 };

	(void)state;
	assert_int_equal(jscan_array(SLICE(" [ 1 , \"a\\n\",{\"b\":[]} ] "), see, &s, NULL), 0);
	assert_int_equal(s.n, 3);
	assert_true(slice_eq(s.m[0].value, SLICE("1")));
	assert_true(slice_eq(s.m[1].value, SLICE("\"a\\n\"")) && s.m[1].value_escaped);
	assert_true(slice_eq(s.m[2].value, SLICE("{\"b\":[]}")));
	assert_int_equal(s.m[2].key.n, 0);
}

static void test_find(void **state)
{
	struct slice text = SLICE("{\"a\":{\"b\":1},\"b\":2,\"b\":3,\"\\u0063\":4}");
	struct jscan_member m;

	(void)state;
	assert_int_equal(jscan_find(text, SLICE("b"), &m), 0);
	assert_true(slice_eq(m.value, SLICE("2")));
	assert_int_equal(jscan_find(text, SLICE("c"), &m), 0);
	assert_true(slice_eq(m.value, SLICE("4")));
	assert_int_equal(jscan_find(text, SLICE("d"), &m), -ENOENT);
	assert_int_equal(jscan_find(SLICE("{\"a\":1,}"), SLICE("d"), &m), -EINVAL);
	assert_int_equal(jscan_find(SLICE("[]"), SLICE("d"), &m), -EINVAL);
}

/* Damaged texts: the verdict must be that of an independent parser. */
static void test_agrees_with_the_tree_parser(void **state)
{
	static const char text[] =
		"{\"a\":[1,-2.5,{\"b\":\"c\\n\"},true,[[]]],\"dd\":{\"e\":null,\"f\":false}}";
	static const char bytes[] = "{}[],:\"\\0123-.ntrue \t";
	uint32_t seed = 1;
	unsigned good = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		char damaged[sizeof(text)];
		json_t *tree;
		int r;

		memcpy(damaged, text, sizeof(text));
		for (unsigned k = 0; k < 1 + round % 3; k++) {
			seed = seed * 1664525 + 1013904223;
			damaged[(seed >> 8) % (sizeof(text) - 1)] =
				bytes[(seed >> 20) % (sizeof(bytes) - 1)];
		}
		r = scan_exact(slice_of(damaged, sizeof(text) - 1), true, NULL);
		tree = json_loadb(damaged, sizeof(text) - 1, 0, NULL);
		if ((r == 0) != (tree != NULL))
			fail_msg("%s: %d", damaged, r);
		good += r == 0;
		json_decref(tree);
	}
	assert_true(good > 1000 && good < 19000);
}

/* A string's rules byte by byte: where it ends (behind the quote) or goes wrong. */
static size_t string_end(const char *p, size_t n, bool *ret_right, bool *ret_escaped)
{
	size_t at = 1;

	*ret_right = *ret_escaped = false;
	while (at < n && (unsigned char)p[at] >= 0x20) {
		if (p[at] == '"') {
			*ret_right = true;
			return at + 1;
		}
		if (p[at++] != '\\')
			continue;
		*ret_escaped = true;
		if (at == n || !p[at] || !strchr("\"\\/bfnrtu", p[at]))
			return at;
		if (p[at++] != 'u')
			continue;
		for (unsigned i = 0; i < 4; i++, at++) {
			if (at == n || !isxdigit((unsigned char)p[at]))
				return at;
		}
	}
	return at;
}

static uint32_t draw(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % below;
}

/* Long strings are walked in blocks: whatever lies across the border of two, and wherever the text
 * ends, the verdict, its place and the flag are those of the rules. */
static void test_long_strings(void **state)
{
	static const char *const pieces[] = { "\\\"", "\\\\", "\\n", "\\/", "\\u00e4", "\\uABCD",
		"\303\244", "u", "word and ", "\\\\\\\\\\\\" };
	static const char *const rare[] = { "\"", "\\", "\\u12", "\\x", "\n", "\001" };
	unsigned good = 0, escaped_n = 0;
	uint32_t seed = 7;
	char text[800];

	(void)state;
	for (unsigned round = 0; round < 60000; round++) {
		size_t n = 2, want = 40 + draw(&seed, 600), at, offset = 0, end;
		uint32_t density = 1 + draw(&seed, 20);
		struct seen s = { 0 };
		bool right, escaped;
		int r;

		memcpy(text, "[\"", 2);
		while (n < want) {
			const char *piece =
				draw(&seed, 300) == 0       ? rare[draw(&seed, ARRAY_LEN(rare))]
				: draw(&seed, density) == 0 ? pieces[draw(&seed, ARRAY_LEN(pieces))]
							    : "x";

			memcpy(text + n, piece, strlen(piece));
			n += strlen(piece);
		}
		memcpy(text + n, "\"]", 2);
		n += round % 7 ? 2 : 0;
		r = jscan_array(slice_of(text, n), see, &s, &offset);
		at = string_end(text + 1, n - 1, &right, &escaped);
		end = 1 + at;
		if (!right || end + 1 != n || text[end] != ']') {
			assert_int_equal(r, -EINVAL);
			assert_true(right || offset == end);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(s.m[0].value.n, at);
		assert_int_equal(s.m[0].value_escaped, escaped);
		good++;
		escaped_n += escaped;
	}
	assert_true(good > 10000 && escaped_n > 5000 && escaped_n < good);
}

#ifdef __x86_64__
/* Each way over a string that this CPU has, whichever json_scan would choose: where it says that
 * the string is closed it is, and else what it passed is right and ends between two characters. */
static void test_every_walk_of_this_cpu(void **state)
{
	static const char *const pieces[] = { "\\\"", "\\\\", "\\n", "\\/", "\\b", "\\f", "\\r",
		"\\t", "\\u00e4", "\\uABCD", "\303\244", "u", "b", "\\\\\\\\\\\\", "\177" };
	static const char *const rare[] = { "\"", "\\", "\\u12", "\\u123g", "\\x", "\\\201", "\n",
		"\037", "\\\n", "\\\022" };
	scan_string_walk *walks[SCAN_STRING_WALKS];
	unsigned n_walks = scan_string_walks(walks), closed_n[SCAN_STRING_WALKS] = { 0 };
	uint32_t seed = 11;
	char text[800];

	(void)state;
	assert_true(n_walks >= 1 && n_walks <= SCAN_STRING_WALKS);
	for (unsigned round = 0; round < 40000; round++) {
		uint32_t density = 1 + draw(&seed, 20);
		size_t n = 1, want = 70 + draw(&seed, 500), end;
		bool right, escaped;

		text[0] = '"';
		while (n < want) {
			const char *piece =
				draw(&seed, 1500) == 0      ? rare[draw(&seed, ARRAY_LEN(rare))]
				: draw(&seed, density) == 0 ? pieces[draw(&seed, ARRAY_LEN(pieces))]
							    : "y";

			memcpy(text + n, piece, strlen(piece));
			n += strlen(piece);
		}
		text[n++] = '"';
		memset(text + n, 'z', 80); /* the last bytes of a text are json_scan's */
		n += 80;
		end = string_end(text, n, &right, &escaped);
		for (unsigned w = 0; w < n_walks; w++) {
			bool saw = false, closed = false;
			const char *at = walks[w](text + 1, text + n, &saw, &closed);
			bool part_right, part_escaped;
			char part[802];
			size_t m = (size_t)(at - text);

			if (closed) {
				assert_true(right);
				assert_int_equal(m, end);
				assert_int_equal(saw, escaped);
				closed_n[w]++;
				continue;
			}
			/* What was passed, closed here, is a string. */
			assert_true(at >= text + 1 && m <= end);
			memcpy(part, text, m);
			part[m] = '"';
			assert_int_equal(
				string_end(part, m + 1, &part_right, &part_escaped), m + 1);
			assert_true(part_right);
			/* What is wrong, or the end, was not far. */
			if (w + 1 < n_walks)
				assert_true(end - m <= 64 + 6);
		}
	}
	for (unsigned w = 0; w + 1 < n_walks; w++)
		assert_true(closed_n[w] > 5000);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_top_level),
		cmocka_unit_test(test_a_nul_is_no_end),
		cmocka_unit_test(test_every_prefix_is_refused),
		cmocka_unit_test(test_offset_of_the_error),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_objects_below),
		cmocka_unit_test(test_elements),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_agrees_with_the_tree_parser),
		cmocka_unit_test(test_long_strings),
#ifdef __x86_64__
		cmocka_unit_test(test_every_walk_of_this_cpu),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
