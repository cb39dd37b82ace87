/* Open files of the stats mount: each keeps its moment, and nobody can hold more than his share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "statfs/snapshots.h"

static uint64_t take(struct snapshots *s, uint32_t uid, size_t n)
{
	struct buf b;
	uint64_t handle;

	buf_init(&b, snapshots_room(s, uid));
	for (size_t i = 0; i < n; i++)
		(void)buf_char(&b, (char)('a' + i % 26));
	assert_int_equal(b.err, 0);
	handle = snapshots_take(s, uid, &b);
	assert_null(b.p);
	buf_fini(&b);
	return handle;
}

static void reads_come_from_the_moment_of_opening(void **state)
{
	struct snapshots s = { .bytes = 0 };
	uint64_t h = take(&s, 1, 26);
	static const struct {
		uint64_t at;
		size_t max;
		const char *want;
	} cases[] = {
		{ 0, 3, "abc" },
		{ 24, 100, "yz" },
		{ 25, 1, "z" },
		{ 26, 1, "" },
		{ UINT64_MAX, 1, "" },
		{ 3, 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_true(slice_eq(snapshots_read(&s, h, cases[i].at, cases[i].max),
			slice_str(cases[i].want)));
	snapshots_give(&s, h);
	assert_int_equal(snapshots_read(&s, h, 0, 26).n, 0);
	assert_int_equal(s.bytes, 0);
}

static void handles_that_are_none_are_harmless(void **state)
{
	static const uint64_t wrong[] = { 0, 1, SNAPSHOTS_MAX, SNAPSHOTS_MAX + 1, UINT64_MAX };
	struct snapshots s = { .bytes = 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(snapshots_read(&s, wrong[i], 0, 1).n, 0);
		snapshots_give(&s, wrong[i]);
	}
	assert_int_equal(s.bytes, 0);
}

static void an_empty_file_is_a_file(void **state)
{
	struct snapshots s = { .bytes = 0 };
	uint64_t h = take(&s, 1, 0);

	(void)state;
	assert_true(h > 0);
	assert_int_equal(snapshots_read(&s, h, 0, 1).n, 0);
	snapshots_give(&s, h);
}

static void a_user_has_eight(void **state)
{
	struct snapshots s = { .bytes = 0 };
	uint64_t h = 0;

	(void)state;
	for (unsigned i = 0; i < SNAPSHOTS_PER_UID; i++) {
		assert_true(snapshots_room(&s, 7) > 0);
		h = take(&s, 7, 1);
	}
	assert_int_equal(snapshots_room(&s, 7), 0);
	assert_true(snapshots_room(&s, 8) > 0);
	snapshots_give(&s, h);
	assert_true(snapshots_room(&s, 7) > 0);
	snapshots_fini(&s);
	assert_int_equal(s.bytes, 0);
}

static void all_have_sixty_four(void **state)
{
	struct snapshots s = { .bytes = 0 };

	(void)state;
	for (uint32_t i = 0; i < SNAPSHOTS_MAX; i++)
		(void)take(&s, i, 1);
	assert_int_equal(snapshots_room(&s, 1000), 0);
	snapshots_give(&s, 33);
	assert_true(snapshots_room(&s, 1000) > 0);
	snapshots_fini(&s);
}

static void all_have_sixteen_mebibytes(void **state)
{
	struct snapshots s = { .bytes = 0 };
	uint64_t h;

	(void)state;
	assert_int_equal(snapshots_room(&s, 1), SNAPSHOTS_MAX_BYTES);
	h = take(&s, 1, SNAPSHOTS_MAX_BYTES - 10);
	assert_int_equal(snapshots_room(&s, 2), 10);
	(void)take(&s, 2, 10);
	assert_int_equal(snapshots_room(&s, 3), 0);
	snapshots_give(&s, h);
	assert_int_equal(snapshots_room(&s, 3), SNAPSHOTS_MAX_BYTES - 10);
	snapshots_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_come_from_the_moment_of_opening),
		cmocka_unit_test(handles_that_are_none_are_harmless),
		cmocka_unit_test(an_empty_file_is_a_file),
		cmocka_unit_test(a_user_has_eight),
		cmocka_unit_test(all_have_sixty_four),
		cmocka_unit_test(all_have_sixteen_mebibytes),
	};

	return cmocka_run_group_tests_name("statfs/snapshots", tests, NULL, NULL);
}
