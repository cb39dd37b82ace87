/* Revisions: number -> applied, by, message, digest, packed, files. The first five come first, so
 * that a list does not touch the pages of the texts. */
#include "store/store_lmdb.h"

void store_files_add(struct buf *files, struct slice name, struct slice text)
{
	pack_bytes(files, name);
	pack_bytes(files, text);
}

bool store_files_next(struct slice *files, struct slice *name, struct slice *text)
{
	return files->n > 0 && unpack_bytes(files, name) && unpack_bytes(files, text);
}

int store_revision_put(struct store_txn *t, const struct store_revision *r)
{
	struct buf row;
	uint8_t key[8];
	int rc;

	be64_put(key, r->number);
	buf_init(&row, 256u << 20);
	pack_u64(&row, (uint64_t)r->applied_us);
	pack_bytes(&row, r->by);
	pack_bytes(&row, r->message);
	pack_bytes(&row, r->digest);
	pack_bytes(&row, r->packed);
	pack_bytes(&row, r->files);
	rc = row.err ? row.err
		     : row_append(t, TABLE_REVISIONS, slice_u8(key, sizeof(key)), buf_view(&row));
	buf_fini(&row);
	return rc;
}

static int revision_unpack(struct slice key, struct slice row, struct store_revision *ret)
{
	uint64_t at;

	if (key.n != 8)
		return -EBADMSG;
	ret->number = be64_get(key.p);
	if (!unpack_u64(&row, &at) || !unpack_bytes(&row, &ret->by) ||
		!unpack_bytes(&row, &ret->message) || !unpack_bytes(&row, &ret->digest) ||
		!unpack_bytes(&row, &ret->packed) || !unpack_bytes(&row, &ret->files) ||
		ret->digest.n != 32)
		return -EBADMSG;
	ret->applied_us = (usec)at;
	return 0;
}

int store_revision_get(struct store_txn *t, uint64_t number, struct store_revision *ret)
{
	struct slice key, row;
	uint8_t raw[8];
	int r;

	if (number == 0) {
		r = row_last(t, TABLE_REVISIONS, &key, &row);
	} else {
		be64_put(raw, number);
		key = slice_u8(raw, sizeof(raw));
		r = row_get(t, TABLE_REVISIONS, key, &row);
	}
	return r < 0 ? r : revision_unpack(key, row, ret);
}

struct revision_walk {
	int (*fn)(const struct store_revision *r, void *arg);
	void *arg;
};

static int revision_visit(struct slice key, struct slice row, void *arg)
{
	const struct revision_walk *w = arg;
	struct store_revision rev;
	int r = revision_unpack(key, row, &rev);

	return r < 0 ? r : w->fn(&rev, w->arg);
}

int store_revision_each(
	struct store_txn *t, int (*fn)(const struct store_revision *r, void *arg), void *arg)
{
	struct revision_walk w = { fn, arg };

	return row_each_back(t, TABLE_REVISIONS, revision_visit, &w);
}
