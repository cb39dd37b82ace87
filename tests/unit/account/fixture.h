/* What the tests of account share: a folder of their own, slots and records with known content, a
 * disk whose sync can fail. */
#ifndef TESTS_UNIT_ACCOUNT_FIXTURE_H
#define TESTS_UNIT_ACCOUNT_FIXTURE_H

#include <aigw/base.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "account/inflight.h"
#include "account/spool.h"

#define FIXTURE_MAP_BYTES ((uint64_t)8 << 20)

/* Fresh folder below $TMPDIR; the path is the test's state and is removed with everything in it. */
int fixture_dir(void **state);
int fixture_dir_gone(void **state);

void fixture_op_id(uint64_t n, uint8_t ret[static 16]);
uint64_t fixture_op_number(struct slice op_id);

/* A call's texts and numbers, as settled by a worker; `n` becomes its operation id. */
void fixture_fill_slot(struct slot *s, uint64_t n);

/* Records with operation ids from..from+n-1 appended as one group; the result of spool_append. */
int fixture_append(struct spool *s, uint64_t from, unsigned n, struct errbuf *e);

struct fixture_ops {
	uint64_t *v;
	unsigned n, cap;
};
/* Operation numbers of all records from `seq` on; checks that the chain fits at every step. */
void fixture_read_all(struct spool *s, uint64_t seq, struct fixture_ops *ret);
void fixture_ops_fini(struct fixture_ops *o);

/* While true, fdatasync() of this program fails with EIO, whoever calls it. */
extern _Atomic bool fixture_sync_fails;
/* While true, fdatasync() waits. */
extern _Atomic bool fixture_sync_hangs;
extern _Atomic unsigned fixture_syncs;

#endif
