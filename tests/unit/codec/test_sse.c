/* Server-sent events: where they end, however the stream is cut, and what they hold. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/sse.h>

#define MAX_EVENTS 8

/* A stream and the lengths of its whole events. What is left is not an event. */
struct stream {
	const char *text;
	size_t lengths[MAX_EVENTS];
};

static const struct stream streams[] = {
	{ "data: a\n\ndata: b\n\n", { 9, 9 } },
	{ "data: a\r\n\r\ndata: b\r\n\r\n", { 11, 11 } },
	{ "data: a\r\rdata: b\r\r", { 9, 9 } },
	{ "data: a\r\n\ndata: b\n\r\n", { 10, 10 } },
	{ "data: a\r\n\rdata: b\n\rdata: c\r\n\r\n", { 10, 9, 11 } },
	{ "\n\n", { 1, 1 } },
	{ "\r\n\r\n", { 2, 2 } },
	{ "\r\r\n", { 1, 2 } },
	{ ": comment\n\n: another\n\n", { 11, 11 } },
	{ "event: x\ndata: 1\ndata: 2\nid: 7\n\n", { 32 } },
	{ "data: a\n\ndata: not whole\n", { 9 } },
	{ "data: no line end", { 0 } },
	{ "data: a\n \n\n", { 11 } },
	{ "", { 0 } },
	{ "data: a line that is longer than sixteen bytes, with more behind it\n\ndata: x\n\n",
		{ 69, 9 } },
};

/* Takes the stream in as if it came in pieces of `step` bytes. */
static void check_stream(const struct stream *s, size_t step)
{
	size_t n = strlen(s->text), begin = 0, have = 0, scanned = 0;
	unsigned events = 0;

	do {
		size_t end;

		have = MIN(have + step, n);
		do {
			/* Memory of exactly what has come, so that a byte too far is seen. */
			char *own = malloc(MAX(have - begin, (size_t)1));

			memcpy(own, s->text + begin, have - begin);
			end = sse_event_end(own, have - begin, &scanned, have == n);
			free(own);
			if (end) {
				assert_true(events < MAX_EVENTS);
				assert_int_equal(end, s->lengths[events]);
				events++;
				begin += end;
				scanned = 0;
			}
		} while (end);
	} while (have < n);
	assert_true(events == MAX_EVENTS || s->lengths[events] == 0);
}

static void test_cut_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		for (size_t step = 1; step <= strlen(streams[i].text) + 1; step++)
			check_stream(&streams[i], step);
	}
}

static void test_last_cr_waits_for_its_lf(void **state)
{
	size_t scanned = 0;

	(void)state;
	assert_int_equal(sse_event_end("data: a\r\n\r", 10, &scanned, false), 0);
	assert_int_equal(sse_event_end("data: a\r\n\r\n", 11, &scanned, false), 11);
	scanned = 0;
	assert_int_equal(sse_event_end("data: a\r\n\r", 10, &scanned, false), 0);
	assert_int_equal(sse_event_end("data: a\r\n\rd", 11, &scanned, false), 10);
	scanned = 0;
	assert_int_equal(sse_event_end("data: a\r\n\r", 10, &scanned, true), 10);
}

static void test_nothing_is_read_twice(void **state)
{
	size_t scanned = 0;

	(void)state;
	assert_int_equal(sse_event_end("data: abc", 9, &scanned, false), 0);
	assert_int_equal(scanned, 9);
	assert_int_equal(sse_event_end("data: abc\n", 10, &scanned, false), 0);
	assert_int_equal(scanned, 10);
	assert_int_equal(sse_event_end("data: abc\n\n", 11, &scanned, false), 11);
}

static void test_parse(void **state)
{
	static const struct {
		const char *raw;
		const char *name;
		const char *data;
		unsigned data_lines;
		bool error_field;
	} cases[] = {
		{ "data: {\"a\":1}\n\n", "", "{\"a\":1}", 1, false },
		{ "data:x\r\n\r\n", "", "x", 1, false },
		{ "data:  x \n\n", "", " x ", 1, false },
		{ "data\n\n", "", "", 1, false },
		{ "data:\n\n", "", "", 1, false },
		{ "data: a:b\n\n", "", "a:b", 1, false },
		{ "event: ping\n\n", "ping", "", 0, false },
		{ "event: a\revent: b\rdata: x\r\r", "b", "x", 1, false },
		{ "event: done\r\ndata: [DONE]\r\n\r\n", "done", "[DONE]", 1, false },
		{ "data: a\ndata: b\n\n", "", "", 2, false },
		{ "data: a\r\ndata: b\r\ndata: c\r\n\r\n", "", "", 3, false },
		{ ": data: x\n\n", "", "", 0, false },
		{ "datax: y\nData: z\n data: w\n\n", "", "", 0, false },
		{ "error: {}\n\n", "", "", 0, true },
		{ "error\ndata: x\n\n", "", "x", 1, true },
		{ "event: error\ndata: x\n\n", "error", "x", 1, false },
		{ "\xef\xbb\xbf"
		  "data: x\n\n",
			"", "x", 1, false },
		{ "id: 3\nretry: 10\ndata: x\n\n", "", "x", 1, false },
		{ "\n", "", "", 0, false },
	};
	struct sse_event e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		sse_parse(slice_str(cases[i].raw), &e);
		if (!slice_eq(e.name, slice_str(cases[i].name)) ||
			!slice_eq(e.data, slice_str(cases[i].data)) ||
			e.data_lines != cases[i].data_lines ||
			e.error_field != cases[i].error_field)
			fail_msg("%s: name '" SLICE_FMT "' data '" SLICE_FMT "' lines %u error %d",
				cases[i].raw, SLICE_ARG(e.name), SLICE_ARG(e.data), e.data_lines,
				e.error_field);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_last_cr_waits_for_its_lf),
		cmocka_unit_test(test_nothing_is_read_twice),
		cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
