/* How a request can end: the rows of tbl/fail.h as an enum with their facts. No other file maps
 * outcomes to statuses. Pure; any thread. */
#ifndef AIGW_FAIL_H
#define AIGW_FAIL_H

#include <aigw/slice.h>

enum fail {
#define FAIL(name, status, type, retry, text) FAIL_##name,
#include <aigw/tbl/fail.h>
#undef FAIL
	FAIL_COUNT
};

enum fail_retry { FAIL_RETRY_ANY, FAIL_RETRY_NO, FAIL_RETRY_YES };

struct fail_row {
	const char *name;
	uint16_t status;
	enum fail_retry retry;
	const char *type;
	const char *text;
};

const struct fail_row *fail_row(enum fail f);
enum fail fail_by_name(struct slice name); /* FAIL_none if unknown */

#endif
