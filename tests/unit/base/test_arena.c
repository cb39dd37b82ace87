/* An arena's promises: aligned, zeroed, limited, and whole when it goes. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/arena.h>

static void test_aligned_and_zeroed(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 1024, 1 << 20);
	for (size_t n = 0; n < 2000; n += 7) {
		unsigned char *p = arena_alloc(&a, n);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, n);
		assert_non_null(arena_bytes(&a, "x", 1)); /* leaves the next one unaligned */
	}
	arena_fini(&a);
}

static void test_nothing_overlaps(void **state)
{
	unsigned char *pieces[200];
	struct arena a;

	(void)state;
	arena_init(&a, 256, 1 << 20);
	for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
		pieces[i] = arena_alloc(&a, i);
		assert_non_null(pieces[i]);
		memset(pieces[i], (int)i, i);
	}
	for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
		for (unsigned k = 0; k < i; k++)
			assert_int_equal(pieces[i][k], i);
	}
	arena_fini(&a);
}

static void test_chunks(void **state)
{
	struct arena a;
	char *first;

	(void)state;
	arena_init(&a, 1024, 1 << 20);
	assert_int_equal(a.used_bytes, 0);
	first = arena_bytes(&a, "a", 1);
	assert_int_equal(a.used_bytes, 1024); /* headers included: one small block of malloc */
	/* A large piece gets memory of its own, and the first chunk goes on. */
	assert_non_null(arena_alloc(&a, 5000));
	assert_true(a.used_bytes > 6000 && a.used_bytes < 6200);
	assert_ptr_equal(arena_bytes(&a, "b", 1), first + 2);
	arena_fini(&a);
}

static void test_limit(void **state)
{
	struct arena a;
	volatile size_t most = SIZE_MAX; /* not for the compiler to see */
	unsigned n = 0;

	(void)state;
	arena_init(&a, 1024, 4096);
	while (arena_alloc(&a, 100))
		assert_true(++n < 41);
	assert_true(n >= 32);
	assert_true(a.used_bytes <= 4096);
	assert_null(arena_alloc(&a, 4000));
	assert_null(arena_alloc(&a, most));
	assert_null(arena_alloc(&a, most - 8));
	assert_null(arena_bytes(&a, "", most));
	/* Usable again, and with all of its limit. */
	arena_fini(&a);
	assert_int_equal(a.used_bytes, 0);
	assert_non_null(arena_alloc(&a, 3000));
	assert_null(arena_alloc(&a, 3000));
	arena_fini(&a);
	arena_init(&a, 1024, 512);
	assert_null(arena_alloc(&a, 1));
	arena_fini(&a);
}

static void test_copies(void **state)
{
	struct arena a;
	struct slice s;
	char *p;

	(void)state;
	arena_init(&a, 128, 1 << 16);
	s = arena_slice(&a, SLICE("hello"));
	assert_true(slice_eq(s, SLICE("hello")));
	assert_int_equal(s.p[5], '\0');
	s = arena_slice(&a, SLICE_EMPTY);
	assert_true(s.p && s.n == 0);
	p = arena_printf(&a, "%d %s", 42, "things");
	assert_string_equal(p, "42 things");
	p = arena_printf(&a, "%300d", 5);
	assert_int_equal(strlen(p), 300);
	arena_fini(&a);
	arena_init(&a, 128, 200);
	assert_null(arena_slice(&a, slice_of(p = calloc(1, 1000), 1000)).p);
	assert_null(arena_printf(&a, "%300d", 5));
	free(p);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aligned_and_zeroed),
		cmocka_unit_test(test_nothing_overlaps),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
