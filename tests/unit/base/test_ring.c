/* One producer, one consumer: nothing lost, nothing twice, in order. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/list.h>
#include <aigw/ring.h>
#include <pthread.h>
#include <sched.h>

#define PASSED 200000u

static void test_capacity(void **state)
{
	static const uint32_t bad[] = { 0, 3, 6, 100, UINT32_MAX };
	static struct ring r; /* its alignment is more than ASan's own stacks give */

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(ring_init(&r, bad[i]), -EINVAL);
	assert_int_equal(ring_init(&r, 1), 0);
	assert_true(ring_push(&r, 1));
	assert_false(ring_push(&r, 2));
	ring_fini(&r);
}

static void test_full_and_empty(void **state)
{
	static struct ring r; /* its alignment is more than ASan's own stacks give */
	uint32_t out[8];

	(void)state;
	assert_int_equal(ring_init(&r, 4), 0);
	assert_int_equal(ring_peek(&r, out, 8), 0);
	for (uint32_t round = 0; round < 10; round++) {
		for (uint32_t i = 0; i < 4; i++)
			assert_true(ring_push(&r, round * 10 + i));
		assert_false(ring_push(&r, 99));
		assert_int_equal(ring_peek(&r, out, 3), 3);
		assert_int_equal(ring_peek(&r, out, 8), 4); /* peeking takes nothing */
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(out[i], round * 10 + i);
		ring_consume(&r, 1);
		assert_true(ring_push(&r, round * 10 + 4));
		assert_int_equal(ring_peek(&r, out, 8), 4);
		assert_int_equal(out[0], round * 10 + 1);
		assert_int_equal(out[3], round * 10 + 4);
		ring_consume(&r, 4);
		assert_int_equal(ring_peek(&r, out, 8), 0);
	}
	ring_fini(&r);
}

static void *produce(void *arg)
{
	for (uint32_t v = 0; v < PASSED; v++) {
		while (!ring_push(arg, v))
			(void)sched_yield();
	}
	return NULL;
}

static void test_two_threads(void **state)
{
	uint32_t out[16], expected = 0;
	pthread_t producer;
	static struct ring r; /* its alignment is more than ASan's own stacks give */

	(void)state;
	assert_int_equal(ring_init(&r, 64), 0);
	assert_int_equal(pthread_create(&producer, NULL, produce, &r), 0);
	while (expected < PASSED) {
		uint32_t n = ring_peek(&r, out, ARRAY_LEN(out));

		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(out[i], expected++);
		ring_consume(&r, n);
		if (n == 0)
			(void)sched_yield();
	}
	assert_int_equal(pthread_join(producer, NULL), 0);
	assert_int_equal(ring_peek(&r, out, 1), 0);
	ring_fini(&r);
}

struct item {
	int value;
	struct list node;
};

static void test_list(void **state)
{
	struct item items[4];
	struct list head, *it, *tmp;
	int seen = 0;

	(void)state;
	list_init(&head);
	assert_true(list_is_empty(&head));
	for (int i = 0; i < 4; i++) {
		items[i].value = i;
		list_push_back(&head, &items[i].node);
	}
	list_remove(&items[3].node);
	assert_true(list_is_empty(&items[3].node)); /* it knows that it is linked no more */
	list_push_front(&head, &items[3].node);
	list_each(it, tmp, &head)
	{
		assert_int_equal(list_entry(it, struct item, node)->value, (seen + 3) % 4);
		list_remove(it);
		seen++;
	}
	assert_int_equal(seen, 4);
	assert_true(list_is_empty(&head));
	list_remove(&items[0].node); /* twice does no harm */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_full_and_empty),
		cmocka_unit_test(test_two_threads),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
