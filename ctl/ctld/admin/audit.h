/* One line of the audit log, written in the transaction of the change it tells of. Never a secret
 * in it. Loop's thread. */
#ifndef CTLD_ADMIN_AUDIT_H
#define CTLD_ADMIN_AUDIT_H

#include "store/store.h"

int audit_add(struct store_txn *t, const char *by, const char *action, struct slice object,
	const char *detail, ...) PRINTF_LIKE(5, 6);

#endif
