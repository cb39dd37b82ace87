/* Errors on admin.sock and control.sock: the rows of tbl/admin_errors.h. Pure; any thread. */
#ifndef AIGW_ADMIN_ERROR_H
#define AIGW_ADMIN_ERROR_H

#include <aigw/base.h>

enum admin_error {
#define ADMIN_ERROR(name, status, socket, retry, text) ADMIN_ERROR_##name,
#include <aigw/tbl/admin_errors.h>
#undef ADMIN_ERROR
	ADMIN_ERROR_COUNT
};

struct admin_error_row {
	const char *name, *socket, *text;
	uint16_t status;
	bool later;
};

const struct admin_error_row *admin_error_row(enum admin_error e);

#endif
