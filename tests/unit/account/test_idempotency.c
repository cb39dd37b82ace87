/* Idempotency keys: who is first, what outlives whom, and how many there can be. */
#include "fixture.h"

#include "account/idempotency.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define T0 ((usec)1700000000 * USEC_PER_S)

static struct idempotency *open_table(const char *dir)
{
	struct idempotency *t = NULL;
	struct errbuf e = { "" };

	if (idempotency_open(dir, &t, &e) != 0)
		fail_msg("%s", e.text);
	return t;
}

/* Keys of one bucket where the first four bytes are the same. */
static struct idempotency_key key_of(uint32_t bucket, uint32_t n)
{
	struct idempotency_key k = { .body_hash = 7, .body_n = 70 };

	memcpy(k.hash, &bucket, sizeof(bucket));
	memcpy(k.hash + 8, &n, sizeof(n));
	return k;
}

static uint32_t place;
static struct idempotency_earlier earlier;

static enum idempotency_verdict claim(
	struct idempotency *t, struct idempotency_key k, uint64_t op, usec now)
{
	uint8_t id[16];

	fixture_op_id(op, id);
	return idempotency_claim(t, &k, id, now, &place, &earlier);
}

static uint64_t earlier_op(void)
{
	return fixture_op_number(slice_of((const char *)earlier.op_id, sizeof(earlier.op_id)));
}

static void a_key_is_the_first_ones(void **state)
{
	struct idempotency *t = open_table(*state);
	struct idempotency_key k = key_of(5, 1), other = k;
	uint32_t first;

	assert_int_equal(claim(t, k, 11, T0), IDEMPOTENCY_FIRST);
	first = place;
	assert_int_equal(claim(t, k, 12, T0), IDEMPOTENCY_REPEATED);
	assert_int_equal(place, IDEMPOTENCY_NONE);
	assert_true(earlier.runs);
	assert_int_equal(earlier_op(), 11);
	other.body_hash++;
	assert_int_equal(claim(t, other, 13, T0), IDEMPOTENCY_DIFFERS);
	other = k;
	other.body_n++;
	assert_int_equal(claim(t, other, 13, T0), IDEMPOTENCY_DIFFERS);
	idempotency_end(t, first, T0 + 5, false);
	assert_int_equal(claim(t, k, 14, T0 + 6), IDEMPOTENCY_REPEATED);
	assert_false(earlier.runs);
	assert_int_equal(earlier_op(), 11);
	assert_int_equal(claim(t, key_of(5, 2), 15, T0), IDEMPOTENCY_FIRST);
	idempotency_close(t);
}

static void it_is_kept_for_a_day_after_its_end(void **state)
{
	struct idempotency *t = open_table(*state);
	struct idempotency_key k = key_of(5, 1);
	usec end = T0 + IDEMPOTENCY_KEEP_US * 2;
	uint32_t first;

	assert_int_equal(claim(t, k, 11, T0), IDEMPOTENCY_FIRST);
	first = place;
	assert_int_equal(claim(t, k, 12, end), IDEMPOTENCY_REPEATED); /* it runs */
	idempotency_end(t, first, end, false);
	assert_int_equal(claim(t, k, 12, end + IDEMPOTENCY_KEEP_US - 1), IDEMPOTENCY_REPEATED);
	assert_int_equal(claim(t, k, 13, T0), IDEMPOTENCY_REPEATED); /* the clock was set back */
	assert_int_equal(claim(t, k, 14, end + IDEMPOTENCY_KEEP_US), IDEMPOTENCY_FIRST);
	idempotency_close(t);
}

static void what_was_not_sent_is_forgotten(void **state)
{
	struct idempotency *t = open_table(*state);
	struct idempotency_key k = key_of(5, 1);

	assert_int_equal(claim(t, k, 11, T0), IDEMPOTENCY_FIRST);
	idempotency_end(t, place, T0, true);
	assert_int_equal(claim(t, k, 12, T0), IDEMPOTENCY_FIRST);
	idempotency_close(t);
}

static void the_next_process_knows_it(void **state)
{
	struct idempotency *t = open_table(*state);
	struct idempotency_key k = key_of(5, 1);

	assert_int_equal(claim(t, k, 11, T0), IDEMPOTENCY_FIRST);
	idempotency_close(t); /* as a kill does: it has not ended */
	t = open_table(*state);
	assert_int_equal(claim(t, k, 12, T0 + 1), IDEMPOTENCY_REPEATED);
	assert_false(earlier.runs);
	assert_int_equal(earlier_op(), 11);
	assert_int_equal(claim(t, k, 13, T0 + IDEMPOTENCY_KEEP_US), IDEMPOTENCY_FIRST);
	idempotency_close(t);
}

static void young_ones_and_running_ones_stay(void **state)
{
	struct idempotency *t = open_table(*state);
	uint32_t places[IDEMPOTENCY_WAYS];
	usec later = T0 + IDEMPOTENCY_YOUNG_US;

	for (uint32_t i = 0; i < IDEMPOTENCY_WAYS; i++) {
		assert_int_equal(claim(t, key_of(9, i), i, T0), IDEMPOTENCY_FIRST);
		places[i] = place;
	}
	assert_int_equal(claim(t, key_of(9, 99), 99, later), IDEMPOTENCY_FULL);
	assert_int_equal(place, IDEMPOTENCY_NONE);
	assert_int_equal(claim(t, key_of(10, 99), 99, T0), IDEMPOTENCY_FIRST); /* elsewhere */
	idempotency_end(t, places[4], T0 + 1, false);
	idempotency_end(t, places[7], T0, false);
	assert_int_equal(claim(t, key_of(9, 99), 99, later - 1), IDEMPOTENCY_FULL);
	assert_int_equal(claim(t, key_of(9, 99), 99, later), IDEMPOTENCY_FIRST);
	assert_int_equal(place, places[7]);
	assert_int_equal(claim(t, key_of(9, 98), 98, later), IDEMPOTENCY_FULL);
	assert_int_equal(claim(t, key_of(9, 4), 98, later), IDEMPOTENCY_REPEATED);
	idempotency_close(t);
}

struct racer {
	struct idempotency *t;
	unsigned number, first, repeated;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (uint32_t i = 0; i < 20000; i++) {
		struct idempotency_key k = key_of(i % 1000, i / 1000 % 8);
		struct idempotency_earlier seen;
		enum idempotency_verdict v;
		uint8_t id[16];
		uint32_t at;

		fixture_op_id(r->number * 100000 + i, id);
		v = idempotency_claim(r->t, &k, id, T0, &at, &seen);
		r->first += v == IDEMPOTENCY_FIRST;
		r->repeated += v == IDEMPOTENCY_REPEATED;
		if (v == IDEMPOTENCY_FIRST)
			idempotency_end(r->t, at, T0, false);
	}
	return NULL;
}

static void two_threads_share_no_key(void **state)
{
	struct racer r[2] = { { open_table(*state), 1, 0, 0 }, { NULL, 2, 0, 0 } };
	pthread_t thread[2];

	r[1].t = r[0].t;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, race, &r[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(r[0].first + r[1].first, 8000);
	assert_int_equal(r[0].repeated + r[1].repeated, 32000);
	idempotency_close(r[0].t);
}

static void put(const char *dir, off_t at, const void *p, size_t n)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/idempotency", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, p, n, at), n);
	assert_int_equal(close(fd), 0);
}

static void what_else_stands_in_the_file(void **state)
{
	struct idempotency *t = open_table(*state);
	struct idempotency_key k = key_of(0, 1);
	struct errbuf e = { "" };
	uint32_t format = 77;
	struct stat st;
	char path[512];

	assert_int_equal(idempotency_open(*state, &t, &e), -EBUSY);
	assert_int_equal(claim(t, k, 11, T0), IDEMPOTENCY_FIRST);
	idempotency_close(t);
	/* Few pages are there. */
	(void)snprintf(path, sizeof(path), "%s/idempotency", (const char *)*state);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 < 1 << 16);
	/* A torn entry holds nothing. */
	put(*state, 4096 + 20, "x", 1);
	t = open_table(*state);
	assert_int_equal(claim(t, k, 12, T0), IDEMPOTENCY_FIRST);
	idempotency_close(t);
	/* Another format is forgotten. */
	put(*state, 8, &format, sizeof(format));
	t = open_table(*state);
	assert_int_equal(claim(t, k, 13, T0), IDEMPOTENCY_FIRST);
	idempotency_close(t);
	/* What is somebody else's stays. */
	put(*state, 0, "something", 9);
	t = NULL;
	assert_int_equal(idempotency_open(*state, &t, &e), -EBADMSG);
	assert_null(t);
	assert_non_null(strstr(e.text, "is no table of idempotency keys"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_dir, fixture_dir_gone)
		T(a_key_is_the_first_ones),
		T(it_is_kept_for_a_day_after_its_end),
		T(what_was_not_sent_is_forgotten),
		T(the_next_process_knows_it),
		T(young_ones_and_running_ones_stay),
		T(two_threads_share_no_key),
		T(what_else_stands_in_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
