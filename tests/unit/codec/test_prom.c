/* Prometheus text: what stands in the lines, and what histograms count where. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/prom.h>

static const struct bucket_bounds bounds = { 3, { 20, 250000, 10000000 } };

static void expect(struct buf *b, const char *want)
{
	assert_string_equal(buf_cstr(b), want);
	buf_reset(b);
}

static void families_and_samples(void **state)
{
	struct prom_label l[2] = { { "model", SLICE("a") }, { "code", SLICE("2xx") } };
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	prom_family(&b, "x_total", "counter", "Back\\slash, \"quotes\"\nand a line.");
	expect(&b,
		"# HELP x_total Back\\\\slash, \"quotes\"\\nand a line.\n# TYPE x_total counter\n");
	prom_sample(&b, "x_total", l, 2, 42);
	expect(&b, "x_total{model=\"a\",code=\"2xx\"} 42\n");
	prom_sample(&b, "x", NULL, 0, INT64_MIN);
	expect(&b, "x -9223372036854775808\n");
	prom_sample_us(&b, "x", NULL, 0, 1500);
	expect(&b, "x 0.001500\n");
	prom_sample_nano(&b, "x", NULL, 0, -1000000001);
	expect(&b, "x -1.000000001\n");
	prom_sample_nano(&b, "x", NULL, 0, INT64_MIN);
	expect(&b, "x -9223372036.854775808\n");
	prom_sample_inf(&b, "x", l, 1);
	expect(&b, "x{model=\"a\"} +Inf\n");
	buf_fini(&b);
}

static void labels_are_escaped_or_left_out(void **state)
{
	struct prom_label l[3] = { { "a", SLICE("q\" b\\ n\n") }, { "b", SLICE_EMPTY },
		{ "c", SLICE("\xc3\xa4{}=,") } };
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	prom_sample(&b, "x", l, 3, 1);
	expect(&b, "x{a=\"q\\\" b\\\\ n\\n\",c=\"\xc3\xa4{}=,\"} 1\n");
	prom_sample(&b, "x", l + 1, 1, 1);
	expect(&b, "x 1\n");
	buf_fini(&b);
}

static void bounds_are_inclusive(void **state)
{
	struct buckets h = { 0 };
	struct bucket_sums sums = { 0 };
	struct prom_label l = { "p", SLICE("q") };
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	buckets_add(&h, &bounds, -5); /* a clock that went back adds no time */
	buckets_add(&h, &bounds, 20);
	buckets_add(&h, &bounds, 21);
	buckets_add(&h, &bounds, 10000000);
	buckets_add(&h, &bounds, 10000001);
	buckets_collect(&h, &sums);
	prom_histogram(&b, "t", &l, 1, &bounds, &sums);
	expect(&b, "t_bucket{p=\"q\",le=\"0.00002\"} 2\n"
		   "t_bucket{p=\"q\",le=\"0.25\"} 3\n"
		   "t_bucket{p=\"q\",le=\"10\"} 4\n"
		   "t_bucket{p=\"q\",le=\"+Inf\"} 5\n"
		   "t_sum{p=\"q\"} 20.000042\n"
		   "t_count{p=\"q\"} 5\n");
	buckets_collect(&h, &sums); /* adds */
	assert_int_equal(sums.count[3], 2);
	buf_fini(&b);
}

static void a_full_buffer_is_told(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 8);
	prom_sample(&b, "longer_than_that", NULL, 0, 1);
	assert_int_equal(b.err, -ENOBUFS);
	buf_fini(&b);
}

static void the_process(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	prom_process(&b, 1500000);
	assert_non_null(strstr(buf_cstr(&b), "\nprocess_resident_memory_bytes "));
	assert_non_null(strstr(buf_cstr(&b), "\nprocess_open_fds "));
	assert_null(strstr(buf_cstr(&b), "process_open_fds 0"));
	assert_non_null(strstr(buf_cstr(&b), "\nprocess_start_time_seconds 1.500000\n"));
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families_and_samples),
		cmocka_unit_test(labels_are_escaped_or_left_out),
		cmocka_unit_test(bounds_are_inclusive),
		cmocka_unit_test(a_full_buffer_is_told),
		cmocka_unit_test(the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
