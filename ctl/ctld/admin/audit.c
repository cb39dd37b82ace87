#include "admin/audit.h"

#include <aigw/clock.h>

int audit_add(struct store_txn *t, const char *by, const char *action, struct slice object,
	const char *detail, ...)
{
	struct store_audit line = { clock_wall_us(), slice_str(by), slice_str(action), object,
		SLICE_EMPTY };
	char text[512];
	va_list ap;

	va_start(ap, detail);
	(void)vsnprintf(text, sizeof(text), detail, ap);
	va_end(ap);
	line.detail = slice_str(text);
	return store_audit_put(t, &line);
}
