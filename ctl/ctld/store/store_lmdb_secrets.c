/* Secrets: name -> version, set, by, value. */
#include "store/store_lmdb.h"
#include <aigw/secret.h>

static int secret_unpack(struct slice name, struct slice row, struct store_secret *ret)
{
	uint64_t set;

	ret->name = name;
	if (!unpack_u64(&row, &ret->version) || !unpack_u64(&row, &set) ||
		!unpack_bytes(&row, &ret->by) || !unpack_bytes(&row, &ret->value))
		return -EBADMSG;
	ret->set_us = (usec)set;
	return 0;
}

int store_secret_put(struct store_txn *t, const struct store_secret *s, uint64_t *ret_version)
{
	struct store_secret old = { 0 };
	struct slice row;
	struct buf b;
	int r = row_get(t, TABLE_SECRETS, s->name, &row);

	if (r == 0)
		r = secret_unpack(s->name, row, &old);
	if (r < 0 && r != -ENOENT)
		return r;
	buf_init(&b, 64u << 10);
	pack_u64(&b, old.version + 1);
	pack_u64(&b, (uint64_t)s->set_us);
	pack_bytes(&b, s->by);
	pack_bytes(&b, s->value);
	r = b.err ? b.err : row_put(t, TABLE_SECRETS, s->name, buf_view(&b));
	secret_wipe(b.p, b.n);
	buf_fini(&b);
	if (r == 0)
		*ret_version = old.version + 1;
	return r;
}

struct secret_walk {
	int (*fn)(const struct store_secret *s, void *arg);
	void *arg;
};

static int secret_visit(struct slice key, struct slice row, void *arg)
{
	const struct secret_walk *w = arg;
	struct store_secret s;
	int r = secret_unpack(key, row, &s);

	return r < 0 ? r : w->fn(&s, w->arg);
}

int store_secret_each(
	struct store_txn *t, int (*fn)(const struct store_secret *s, void *arg), void *arg)
{
	struct secret_walk w = { fn, arg };

	return row_each(t, TABLE_SECRETS, SLICE_EMPTY, secret_visit, &w);
}
