/* The ring of what happened: order, loss that is told, many writers and a reader at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stats/line_ring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static struct line_ring *make(void)
{
	struct line_ring *r = NULL;

	assert_int_equal(line_ring_new(&r), 0);
	return r;
}

static void post(struct line_ring *r, unsigned i)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "line %u", i);

	line_ring_post(r, slice_of(text, (size_t)n));
}

static void expect(struct line_ring *r, uint64_t n, const char *text)
{
	char out[LINE_MAX_BYTES];
	uint64_t first;
	size_t bytes = 0;

	assert_int_equal(line_ring_read(r, n, out, &bytes, &first), 0);
	assert_int_equal(bytes, strlen(text));
	assert_memory_equal(out, text, bytes);
}

/* An agent has several, and most hosts are idle. */
static void memory_is_touched_as_it_is_used(void **state)
{
	static unsigned char resident[LINE_RING_LINES];
	struct line_ring *r = make();
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;

	(void)state;
	post(r, 0);
	assert_int_equal(mincore(r, LINE_RING_LINES * LINE_MAX_BYTES, resident), 0);
	for (size_t i = 0; i < LINE_RING_LINES * LINE_MAX_BYTES / page; i++)
		n += resident[i] & 1;
	assert_in_range(n, 1, 2);
	line_ring_free(r);
}

static void lines_come_in_order_and_stay(void **state)
{
	struct line_ring *r = make();
	char out[LINE_MAX_BYTES];
	uint64_t first;
	size_t n;

	(void)state;
	assert_int_equal(line_ring_next(r), 0);
	assert_int_equal(line_ring_read(r, 0, out, &n, &first), -EAGAIN);
	post(r, 0);
	post(r, 1);
	expect(r, 0, "line 0");
	expect(r, 1, "line 1");
	expect(r, 0, "line 0");
	assert_int_equal(line_ring_read(r, 2, out, &n, &first), -EAGAIN);
	assert_int_equal(line_ring_next(r), 2);
	assert_int_equal(line_ring_first(r), 0);
	line_ring_free(r);
}

static void what_is_gone_is_told(void **state)
{
	struct line_ring *r = make();
	char out[LINE_MAX_BYTES];
	uint64_t first = 0;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < LINE_RING_LINES + 10; i++)
		post(r, i);
	assert_int_equal(line_ring_read(r, 3, out, &n, &first), -EOVERFLOW);
	assert_int_equal(first, 10);
	assert_int_equal(line_ring_first(r), 10);
	assert_int_equal(line_ring_read(r, 9, out, &n, &first), -EOVERFLOW);
	expect(r, 10, "line 10");
	expect(r, LINE_RING_LINES + 9, "line 4105");
	line_ring_free(r);
}

static void a_long_line_is_cut(void **state)
{
	struct line_ring *r = make();
	char text[LINE_MAX_BYTES + 100], out[LINE_MAX_BYTES];
	uint64_t first;
	size_t n;

	(void)state;
	memset(text, 'x', sizeof(text));
	line_ring_post(r, slice_of(text, sizeof(text)));
	assert_int_equal(line_ring_read(r, 0, out, &n, &first), 0);
	assert_int_equal(n, LINE_MAX_BYTES);
	line_ring_post(r, SLICE_EMPTY);
	assert_int_equal(line_ring_read(r, 1, out, &n, &first), 0);
	assert_int_equal(n, 0);
	line_ring_free(r);
}

#define WRITERS 4
#define EACH    50000u

struct writer {
	pthread_t thread;
	struct line_ring *ring;
	unsigned char letter;
};

/* A line is its letter, as often as its last two digits say: a torn one shows. */
static void *write_lines(void *arg)
{
	struct writer *w = arg;
	char text[400];

	for (unsigned i = 0; i < EACH; i++) {
		memset(text, w->letter, sizeof(text));
		line_ring_post(w->ring, slice_of(text, 1 + i % sizeof(text)));
	}
	return NULL;
}

static void writers_never_tear_a_line(void **state)
{
	struct line_ring *r = make();
	struct writer w[WRITERS];
	char out[LINE_MAX_BYTES];
	uint64_t at = 0, lost = 0, first;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .ring = r, .letter = (unsigned char)('a' + i) };
		assert_int_equal(pthread_create(&w[i].thread, NULL, write_lines, &w[i]), 0);
	}
	while (at < WRITERS * EACH) {
		int err = line_ring_read(r, at, out, &n, &first);

		if (err == -EOVERFLOW) {
			assert_true(first > at);
			lost += first - at;
			at = first;
		} else if (err == 0) {
			assert_true(n >= 1 && n <= 400);
			for (size_t i = 1; i < n; i++)
				assert_int_equal(out[i], out[0]);
			at++;
		} else {
			assert_int_equal(err, -EAGAIN);
			/* A line that was given up at the very end is never overtaken. */
			if (line_ring_next(r) == WRITERS * EACH && WRITERS * EACH - at < 16)
				break;
		}
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
	assert_true(lost < WRITERS * EACH);
	line_ring_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_touched_as_it_is_used),
		cmocka_unit_test(lines_come_in_order_and_stay),
		cmocka_unit_test(what_is_gone_is_told),
		cmocka_unit_test(a_long_line_is_cut),
		cmocka_unit_test(writers_never_tear_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
