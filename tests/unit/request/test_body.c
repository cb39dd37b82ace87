/* Memory of request bodies: what is counted against body_memory, what is kept for the next and for
 * how long. */
#include "../net/fixture.h"

#include "request/request.h"

static struct {
	struct loop loop;
	struct deadline hour;
	struct gateway gw;
	struct request_env env;
} world;

static void nothing(struct deadline *d)
{
	(void)d;
}

static int set_up(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.gw.body_memory = (uint64_t)1 << 30;
	world.env.gw = &world.gw;
	world.env.loop = &world.loop;
	body_cache_init(&world.env.bodies);
	assert_int_equal(loop_init(&world.loop, NULL), 0);
	deadline_init(&world.hour, nothing);
	deadline_set(&world.loop, &world.hour, 3600 * USEC_PER_S);
	turn(&world.loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(world.gw.body_bytes, 0);
	deadline_stop(&world.loop, &world.hour);
	body_cache_close(&world.env);
	body_cache_fini(&world.env.bodies);
	loop_fini(&world.loop);
	return 0;
}

static struct request request_made(void)
{
	return (struct request){ .env = &world.env };
}

static unsigned kept(void)
{
	unsigned n = 0;

	for (int c = 0; c < BODY_CLASSES; c++)
		n += world.env.bodies.n[c];
	return n;
}

static void pass(usec us)
{
	time_skip(us);
	for (int i = 0; i < 3; i++)
		turn(&world.loop);
}

static void test_blocks_hold_what_was_asked_for(void **state)
{
	static const size_t sizes[] = { 1, 255, 256, 257, 4096, 16383, 16384, 16385, 100000, 262144,
		262145, (size_t)33 << 20 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct request r = request_made();

		assert_true(body_room(&r, sizes[i]));
		assert_true(r.body.cap >= sizes[i]);
		assert_int_equal(world.gw.body_bytes, r.body.cap);
		memset(r.body.bytes, 'x', r.body.cap); /* all of it is ours */
		body_free(&r);
		body_free(&r);
		assert_null(r.body.bytes);
		assert_int_equal(world.gw.body_bytes, 0);
	}
}

/* A chunked body that grows keeps its bytes, and only its last block is counted. */
static void test_growing(void **state)
{
	struct request r = request_made();

	(void)state;
	for (size_t n = 1; n <= (size_t)4 << 20; n = n * 3 + 1) {
		if (n > r.body.cap)
			assert_true(body_room(&r, n));
		assert_true(pattern_is(r.body.bytes, 0, r.body.n));
		pattern_fill(r.body.bytes + r.body.n, r.body.n, n - r.body.n);
		r.body.n = n;
		assert_int_equal(world.gw.body_bytes, r.body.cap);
	}
	body_free(&r);
}

static void test_the_limit(void **state)
{
	struct request a = request_made(), b = request_made();

	(void)state;
	world.gw.body_memory = 100000;
	assert_true(body_room(&a, 65536));
	assert_false(body_room(&b, 65536));
	assert_null(b.body.bytes);
	assert_int_equal(world.gw.body_bytes, 65536);
	assert_true(body_room(&b, 16384));
	/* What it grows by has to be there; refused, the old block and its bytes stay. */
	b.body.n = 3;
	memcpy(b.body.bytes, "abc", 3);
	assert_true(body_would_fit(&b, 100000 - 65536 - 16384));
	assert_false(body_would_fit(&b, 100001 - 65536 - 16384));
	assert_false(body_room(&b, 65536));
	assert_memory_equal(b.body.bytes, "abc", 3);
	body_free(&a);
	assert_true(body_room(&b, 32768));
	assert_memory_equal(b.body.bytes, "abc", 3);
	body_free(&b);
	world.gw.body_memory = 0;
	assert_false(body_room(&a, 1));
}

static void test_blocks_are_used_again(void **state)
{
	struct request r = request_made();
	char *first;

	(void)state;
	assert_true(body_room(&r, 30000));
	first = r.body.bytes;
	body_free(&r);
	assert_int_equal(kept(), 1);
	assert_true(body_room(&r, 20000)); /* of the same size of block */
	assert_ptr_equal(r.body.bytes, first);
	assert_int_equal(kept(), 0);
	body_free(&r);
	assert_true(body_room(&r, 100000)); /* of another */
	assert_int_equal(kept(), 1);
	body_free(&r);
}

static void test_no_more_than_enough_is_kept(void **state)
{
	struct request many[BODY_KEEP + 20];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		many[i] = request_made();
		assert_true(body_room(&many[i], 16384));
	}
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		body_free(&many[i]);
	assert_int_equal(kept(), BODY_KEEP);
	many[0] = request_made();
	assert_true(body_room(&many[0], (size_t)8 << 20)); /* too large to be kept */
	body_free(&many[0]);
	assert_int_equal(kept(), BODY_KEEP);
}

/* What a second did not need is given back in the next; what is needed all the time stays. */
static void test_given_back_in_time(void **state)
{
	struct request many[20];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		many[i] = request_made();
		assert_true(body_room(&many[i], 16384));
	}
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		body_free(&many[i]);
	assert_int_equal(kept(), 20);
	for (int second = 0; second < 4; second++) { /* three at a time are in use now and then */
		for (size_t i = 0; i < 3; i++)
			assert_true(body_room(&many[i], 16384));
		for (size_t i = 0; i < 3; i++)
			body_free(&many[i]);
		pass(BODY_TRIM_US + 50 * USEC_PER_MS);
	}
	assert_int_equal(kept(), 3);
	for (int second = 0; second < 3; second++)
		pass(BODY_TRIM_US + 50 * USEC_PER_MS);
	assert_int_equal(kept(), 0);
	assert_false(
		deadline_is_armed(&world.env.bodies.trim)); /* and nothing wakes the loop for it */
}

/* A long body that was read whole stays where it was read to, and the loop reads elsewhere. */
static void test_a_whole_read_is_adopted(void **state)
{
	struct request r = request_made(), other = request_made();
	char *scratch = world.loop.scratch_in, *head_behind = scratch + 300;
	char elsewhere[BODY_ADOPT_BYTES];

	(void)state;
	pattern_fill(scratch, 0, LOOP_SCRATCH_BYTES);
	assert_true(body_room(&r, BODY_ADOPT_BYTES));
	assert_true(body_adopt(&r, head_behind, BODY_ADOPT_BYTES));
	assert_ptr_equal(r.body.bytes, head_behind);
	assert_int_equal(r.body.n, BODY_ADOPT_BYTES);
	assert_int_equal(world.gw.body_bytes, LOOP_SCRATCH_BYTES);
	assert_ptr_not_equal(world.loop.scratch_in, scratch);
	memset(world.loop.scratch_in, 'y', LOOP_SCRATCH_BYTES); /* all of it is there */
	assert_true(pattern_is(r.body.bytes, 300, r.body.n));
	/* Too short; not in the loop's memory; over the limit. */
	assert_false(body_adopt(&other, world.loop.scratch_in, BODY_ADOPT_BYTES - 1));
	assert_false(body_adopt(&other, elsewhere, sizeof(elsewhere)));
	world.gw.body_memory = LOOP_SCRATCH_BYTES + 1000;
	assert_false(body_adopt(&other, world.loop.scratch_in, BODY_ADOPT_BYTES));
	assert_int_equal(world.gw.body_bytes, LOOP_SCRATCH_BYTES);
	body_free(&r);
	/* The loop's first block is a free one like others now. */
	assert_true(body_room(&r, LOOP_SCRATCH_BYTES));
	assert_ptr_equal(r.body.block, scratch);
	body_free(&r);
}

static void test_a_free_block_is_taken_whole(void **state)
{
	struct request r = request_made();

	(void)state;
	assert_int_equal(body_step(&r, BODY_LARGE_BYTES, 250000), BODY_LARGE_BYTES);
	assert_int_equal(body_step(&r, BODY_LARGE_BYTES, 20000), 20000);
	assert_true(body_room(&r, BODY_LARGE_BYTES));
	r.body.n = BODY_LARGE_BYTES;
	pattern_fill(r.body.bytes, 0, r.body.n);
	assert_true(body_room(&r, 250000));
	assert_int_equal(kept(), 0); /* it grew */
	body_free(&r);
	assert_int_equal(body_step(&r, BODY_LARGE_BYTES, 250000), 250000);
	/* Growing into a free one leaves the smaller one free. */
	assert_true(body_room(&r, BODY_LARGE_BYTES));
	r.body.n = BODY_LARGE_BYTES;
	pattern_fill(r.body.bytes, 0, r.body.n);
	assert_true(body_room(&r, 250000));
	assert_true(pattern_is(r.body.bytes, 0, r.body.n));
	assert_int_equal(kept(), 1);
	body_free(&r);
	assert_int_equal(kept(), 2);
}

static void test_a_stopping_worker_keeps_none(void **state)
{
	struct request r = request_made(), s = request_made();

	(void)state;
	assert_true(body_room(&r, 16384));
	assert_true(body_room(&s, 16384));
	body_free(&r);
	body_cache_close(&world.env);
	assert_false(deadline_is_armed(&world.env.bodies.trim));
	body_free(&s);
	assert_int_equal(kept(), 1);
	assert_false(deadline_is_armed(&world.env.bodies.trim));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(test_blocks_hold_what_was_asked_for),
		T(test_growing),
		T(test_the_limit),
		T(test_blocks_are_used_again),
		T(test_no_more_than_enough_is_kept),
		T(test_given_back_in_time),
		T(test_a_whole_read_is_adopted),
		T(test_a_free_block_is_taken_whole),
		T(test_a_stopping_worker_keeps_none),
#undef T
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
