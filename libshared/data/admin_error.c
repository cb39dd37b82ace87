#include <aigw/admin_error.h>

enum { RETRY_NO, RETRY_LATER };

const struct admin_error_row *admin_error_row(enum admin_error e)
{
	static const struct admin_error_row rows[ADMIN_ERROR_COUNT] = {
#define ADMIN_ERROR(name, status, socket, retry, text)                                             \
	{ #name, #socket, text, status, RETRY_##retry == RETRY_LATER },
#include <aigw/tbl/admin_errors.h>
#undef ADMIN_ERROR
	};

	ASSERT(e >= 0 && e < ADMIN_ERROR_COUNT);
	return &rows[e];
}
