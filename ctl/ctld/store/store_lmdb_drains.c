/* Drains: one row of the meta table, version and lines (drain.h); the whole list is small and goes
 * out as one. */
#include "store/store_lmdb.h"

#define DRAINS_ROW SLICE("drains")

int store_drains_get(struct store_txn *t, struct slice *ret_lines, uint64_t *ret_version)
{
	struct slice row;
	int r = row_get(t, TABLE_META, DRAINS_ROW, &row);

	*ret_lines = SLICE_EMPTY;
	*ret_version = 0;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return unpack_u64(&row, ret_version) && unpack_bytes(&row, ret_lines) ? 0 : -EBADMSG;
}

int store_drains_put(struct store_txn *t, struct slice lines, uint64_t *ret_version)
{
	struct slice old;
	struct buf b;
	int r = store_drains_get(t, &old, ret_version);

	if (r < 0)
		return r;
	buf_init(&b, 1u << 20);
	pack_u64(&b, ++*ret_version);
	pack_bytes(&b, lines);
	r = b.err ? b.err : row_put(t, TABLE_META, DRAINS_ROW, buf_view(&b));
	buf_fini(&b);
	return r;
}
