/* Lists and objects in every format; text of others can't drive the terminal. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <locale.h>

#include "client.h"
#include "exchange.h"
#include "print.h"

static char out[16384], err[16384];

static int cell_twice(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return buf_printf(b, "%d", (int)(2 * json_get_int(row, "n", 0)));
}

static const struct column columns[] = {
	{ .title = "NAME", .member = "name" },
	{ .title = "IN TOK", .member = "n", .right = true, .cell = cell_twice },
	{ .title = "STATE", .member = "state", .color = print_color_state },
	{ .title = "NOTE", .member = "note", .wide = true },
};

static const char things[] =
	"{\"things\":["
	"{\"name\":\"a\",\"n\":1,\"state\":\"up\",\"note\":\"x, \\\"y\\\"\"},"
	"{\"name\":\"größer\",\"n\":500,\"state\":\"down\",\"note\":null}],\"more\":true}";

struct run {
	enum output output;
	bool color, quiet;
	uint64_t limit;
	const char *columns;
	bool no_header;
};

/* print_listing into `out`, talk into `err`. */
static int listing(const struct run *r, const char *json)
{
	struct cli c = { .output = r->output,
		.color = r->color,
		.quiet = r->quiet,
		.limit = r->limit ? r->limit : UINT64_MAX };
	const struct listing l = { .member = "things",
		.name = "name",
		.columns = columns,
		.n_columns = ARRAY_LEN(columns) };
	struct errbuf e;
	JSON_AUTO *answer = json_parse(slice_str(json), &e);
	FILE *fo = tmpfile(), *fe = tmpfile();
	int code;

	assert_true(fo && fe);
	c.out = fo;
	c.err = fe;
	c.inv.value[FLAG_columns] = r->columns;
	c.inv.value[FLAG_no_header] = r->no_header ? "" : NULL;
	code = print_listing(&c, answer, &l);
	memset(out, 0, sizeof(out));
	memset(err, 0, sizeof(err));
	rewind(fo);
	rewind(fe);
	(void)!fread(out, 1, sizeof(out) - 1, fo);
	(void)!fread(err, 1, sizeof(err) - 1, fe);
	(void)fclose(fo);
	(void)fclose(fe);
	return code;
}

static void test_formats(void **state)
{
	static const struct {
		struct run run;
		const char *want;
	} cases[] = {
		{ { .output = OUTPUT_TABLE },
			"NAME    IN TOK  STATE\na            2  up\ngrößer    1000  down\n" },
		{ { .output = OUTPUT_TABLE, .no_header = true },
			"a            2  up\ngrößer    1000  down\n" },
		{ { .output = OUTPUT_TABLE, .limit = 1 },
			"NAME  IN TOK  STATE\na          2  up\n" },
		{ { .output = OUTPUT_TABLE, .columns = "state,name" },
			"STATE  NAME\nup     a\ndown   größer\n" },
		{ { .output = OUTPUT_TABLE, .columns = "note" }, "NOTE\nx, \"y\"\n-\n" },
		{ { .output = OUTPUT_TABLE, .columns = "in_tok" }, "IN TOK\n     2\n  1000\n" },
		{ { .output = OUTPUT_WIDE, .limit = 1 },
			"NAME  IN TOK  STATE  NOTE\na          2  up     x, \"y\"\n" },
		{ { .output = OUTPUT_CSV },
			"name,n,state,note\r\na,1,up,\"x, \"\"y\"\"\"\r\ngrößer,500,down,\r\n" },
		{ { .output = OUTPUT_CSV, .no_header = true, .columns = "n" }, "1\r\n500\r\n" },
		{ { .output = OUTPUT_NAME }, "a\ngrößer\n" },
		{ { .output = OUTPUT_JSONL, .columns = "n,name" },
			"{\"n\":1,\"name\":\"a\"}\n{\"n\":500,\"name\":\"größer\"}\n" },
		{ { .output = OUTPUT_YAML, .columns = "name,note" },
			"things:\n  - name: a\n    note: \"x, \\\"y\\\"\"\n  - name: \"größer\"\n  "
			"  note: null\nmore: true\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(listing(&cases[i].run, things), EXIT_DONE);
		assert_string_equal(out, cases[i].want);
	}
}

/* JSON is the server's own object: every member, also those that no column knows. */
static void test_json_is_whole(void **state)
{
	struct errbuf e;
	JSON_AUTO *want = json_parse(slice_str(things), &e);

	(void)state;
	assert_int_equal(listing(&(struct run){ .output = OUTPUT_JSON }, things), EXIT_DONE);
	{
		JSON_AUTO *got = json_parse(slice_str(out), &e);

		assert_true(json_equal(want, got));
	}
}

static void test_talk(void **state)
{
	(void)state;
	assert_int_equal(listing(&(struct run){ .limit = 1 }, things), EXIT_DONE);
	assert_string_equal(err, "1 of 2 things (--limit)\n");
	assert_int_equal(listing(&(struct run){ .limit = 1, .quiet = true }, things), EXIT_DONE);
	assert_string_equal(err, "");
	assert_int_equal(listing(&(struct run){ 0 }, "{\"things\":[]}"), EXIT_DONE);
	assert_string_equal(out, "");
	assert_string_equal(err, "no things\n");
	assert_int_equal(listing(&(struct run){ .columns = "nmae" }, things), EXIT_USAGE);
	assert_non_null(strstr(err, "did you mean name?"));
	assert_int_equal(listing(&(struct run){ 0 }, "{\"other\":[]}"), EXIT_FAILED);
}

static void test_color(void **state)
{
	(void)state;
	assert_int_equal(listing(&(struct run){ .color = true }, things), EXIT_DONE);
	assert_non_null(strstr(out, "\033[32mup"));
	assert_non_null(strstr(out, "\033[31mdown"));
	assert_int_equal(listing(&(struct run){ 0 }, things), EXIT_DONE);
	assert_null(strchr(out, '\033'));
}

/* A name may hold anything; the terminal gets none of its control bytes. */
static void test_hostile_text(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *want;
	} cases[] = {
		{ "plain\ttext\n", 11, "plain\ttext\n" },
		{ "\033[2J", 4, "\\x1b[2J" },
		{ "\xc2\x9b"
		  "2J",
			4, "\\xc2\\x9b2J" }, /* CSI as one character */
		{ "a\x7f\xff\xc3", 4, "a\\x7f\\xff\\xc3" },
		{ "gr\xc3\xb6\xc3\x9f"
		  "er",
			8, "größer" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[64] = "";
		FILE *f = fmemopen(text, sizeof(text), "w");

		assert_non_null(f);
		cli_put_text(f, slice_of(cases[i].text, cases[i].n));
		assert_int_equal(fclose(f), 0);
		assert_string_equal(text, cases[i].want);
	}
	assert_int_equal(listing(&(struct run){ .columns = "name" },
				 "{\"things\":[{\"name\":\"\\u001b[2J\"}]}"),
		EXIT_DONE);
	assert_null(strchr(out, '\033'));
}

static void test_yaml(void **state)
{
	static const struct {
		const char *json, *yaml;
	} cases[] = {
		{ "{\"a\":1,\"b\":\"x\"}", "a: 1\nb: x\n" },
		{ "{\"a\":[]}", "a: []\n" },
		{ "{\"a\":{}}", "a: {}\n" },
		{ "{\"a\":[1,{\"b\":true,\"c\":[2]}]}",
			"a:\n  - 1\n  - b: true\n    c:\n      - 2\n" },
		{ "{\"a\":{\"b\":null}}", "a:\n  b: null\n" },
		{ "{\"a\":\"yes\",\"b\":\"1\",\"c\":\"\",\"d\":\"a: b\"}",
			"a: \"yes\"\nb: \"1\"\nc: \"\"\nd: \"a: b\"\n" },
		{ "{\"k y\":\"l\\n\"}", "\"k y\": \"l\\n\"\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e;
		JSON_AUTO *v = json_parse(slice_str(cases[i].json), &e);
		struct buf b;

		buf_init(&b, 4096);
		assert_int_equal(print_yaml(&b, v), 0);
		assert_string_equal(buf_cstr(&b), cases[i].yaml);
		buf_fini(&b);
	}
}

static void test_exit_codes(void **state)
{
	static const struct {
		unsigned status;
		int code;
	} cases[] = {
		{ 200, EXIT_DONE },
		{ 201, EXIT_DONE },
		{ 400, EXIT_USAGE },
		{ 403, EXIT_NOT_PERMITTED },
		{ 404, EXIT_NOT_FOUND },
		{ 409, EXIT_CONFLICT },
		{ 422, EXIT_POLICY },
		{ 500, EXIT_FAILED },
		{ 503, EXIT_FAILED },
		{ 302, EXIT_FAILED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(client_exit_code(cases[i].status), cases[i].code);
}

static void test_agents_missing(void **state)
{
	struct errbuf e;
	JSON_AUTO *answer =
		json_parse(SLICE("{\"agents\":[{\"name\":\"a\",\"state\":\"applied\"},"
				 "{\"name\":\"b\",\"state\":\"refused\",\"reason\":\"feature "
				 "x\"},{\"name\":\"c\",\"state\":\"pending\"}]}"),
			&e);
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(client_agents_missing(answer, "applied", &b), 2);
	assert_string_equal(buf_cstr(&b), "b (refused: feature x), c (pending)");
	buf_reset(&b);
	assert_int_equal(client_agents_missing(answer, "applied|pending", &b), 1);
	buf_reset(&b);
	assert_int_equal(
		client_agents_missing(answer, "refused|pend|applied", &b), 1); /* whole words */
	assert_int_equal(client_agents_missing(NULL, "applied", &b), 0);
	buf_fini(&b);
}

static void test_escape(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(exchange_escape(&b, SLICE("key_A-1.~")), 0);
	assert_string_equal(buf_cstr(&b), "key_A-1.~");
	buf_reset(&b);
	assert_int_equal(exchange_escape(&b, SLICE("a/b?c d%\xc3\xb6\r\n")), 0);
	assert_string_equal(buf_cstr(&b), "a%2Fb%3Fc%20d%25%C3%B6%0D%0A");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_json_is_whole),
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_color),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_agents_missing),
		cmocka_unit_test(test_escape),
	};

	(void)setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
