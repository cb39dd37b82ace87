#include <aigw/fail.h>

static const struct fail_row fail_rows[FAIL_COUNT] = {
#define FAIL(name, status, type, retry, text)                                                      \
	[FAIL_##name] = { #name, status, FAIL_RETRY_##retry, type, text },
#include <aigw/tbl/fail.h>
#undef FAIL
};

const struct fail_row *fail_row(enum fail f)
{
	ASSERT(f >= FAIL_none && f < FAIL_COUNT);
	return &fail_rows[f];
}

enum fail fail_by_name(struct slice name)
{
	for (int i = FAIL_none + 1; i < FAIL_COUNT; i++) {
		if (slice_eq(name, slice_str(fail_rows[i].name)))
			return (enum fail)i;
	}
	return FAIL_none;
}
