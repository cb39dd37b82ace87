/* Places in text: each way that this CPU has finds what a loop finds, at every offset and length,
 * and reads nothing behind the end (the text ends where its memory ends). */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <aigw/find.h>

static size_t pair_slow(const char *p, size_t n, size_t from)
{
	for (size_t i = from; i + 1 < n; i++)
		if (p[i] == '"' && p[i + 1] == 'u')
			return i;
	return n;
}

static size_t eol_slow(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] != '\r' && p[i] != '\n')
		i++;
	return i;
}

/* Memory of exactly n bytes, so that a sanitizer sees one byte too many. */
static char *text_of(size_t n, char fill)
{
	char *p = malloc(n ? n : 1);

	assert_non_null(p);
	memset(p, fill, n);
	return p;
}

static void check(const char *p, size_t n, size_t from)
{
	const struct find_way *ways[FIND_WAYS];
	unsigned count = find_ways(ways);

	assert_true(count >= 1 && count <= FIND_WAYS);
	assert_int_equal(find_pair(p, n, from, '"', 'u'), pair_slow(p, n, from));
	assert_int_equal(find_eol(p, n), eol_slow(p, n));
	for (unsigned w = 0; w < count; w++) {
		assert_int_equal(ways[w]->pair(p, n, from, '"', 'u'), pair_slow(p, n, from));
		assert_int_equal(ways[w]->eol(p, n), eol_slow(p, n));
	}
}

static void test_every_place(void **state)
{
	(void)state;
	for (size_t n = 0; n < 200; n++) {
		char *p = text_of(n, '"');

		check(p, n, 0);
		for (size_t at = 0; at < n; at++) {
			p[at] = 'u';
			check(p, n, 0);
			check(p, n, at ? at - 1 : 0);
			check(p, n, at);
			p[at] = at % 2 ? '\n' : '\r';
			check(p, n, 0);
			p[at] = '"';
		}
		free(p);
	}
}

/* Neighbours of what is looked for, and bytes above 0x7f, are not taken for it. */
static void test_other_bytes(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char *p = text_of(150, (char)c);

		for (size_t at = 0; at + 1 < 150; at += 7) {
			p[at] = '"';
			check(p, 150, 0);
			p[at + 1] = 'u';
			check(p, 150, 0);
			p[at] = p[at + 1] = (char)c;
		}
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_place),
		cmocka_unit_test(test_other_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
