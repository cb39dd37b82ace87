/* Keys: id -> packed record; every change takes the next number of one sequence and stands in the
 * change log under it, so that an agent at sequence K gets just what came after K. The log keeps
 * the last STORE_KEY_CHANGES_KEPT changes. */
#include "store/store_lmdb.h"

uint64_t store_keys_seq(struct store_txn *t)
{
	uint64_t seq;

	return meta_get(t, "keys_seq", &seq) < 0 ? 0 : seq;
}

/* (project, name) -> id: at most one key that is not revoked. */
static int key_name_keep(struct store_txn *t, const struct key_record *k)
{
	struct slice name, id;
	char key[256];
	int n, r;

	n = snprintf(key, sizeof(key), SLICE_FMT "%c" SLICE_FMT, SLICE_ARG(k->project), 0,
		SLICE_ARG(k->name));
	if (n < 0 || (size_t)n >= sizeof(key))
		return -ENAMETOOLONG;
	name = slice_of(key, (size_t)n);
	r = row_get(t, TABLE_KEY_NAMES, name, &id);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && !slice_eq(id, slice_of(k->id, VKEY_ID_LEN)))
		return k->state == KEY_REVOKED ? 0 : -EEXIST;
	if (k->state == KEY_REVOKED)
		return row_delete(t, TABLE_KEY_NAMES, name);
	return row_put(t, TABLE_KEY_NAMES, name, slice_of(k->id, VKEY_ID_LEN));
}

int store_key_put(struct store_txn *t, const struct key_record *k, uint64_t *ret_seq)
{
	struct buf row;
	uint64_t seq;
	uint8_t raw[8];
	int r;

	r = key_name_keep(t, k);
	if (r < 0)
		return r;
	buf_init(&row, 4096);
	r = key_record_pack(k, &row);
	if (r == 0)
		r = meta_get(t, "keys_seq", &seq);
	if (r < 0)
		goto out;
	seq++;
	be64_put(raw, seq);
	r = row_put(t, TABLE_KEYS, slice_of(k->id, VKEY_ID_LEN), buf_view(&row));
	if (r == 0)
		r = row_append(t, TABLE_KEY_LOG, slice_u8(raw, sizeof(raw)), buf_view(&row));
	if (r == 0)
		r = meta_put(t, "keys_seq", seq);
	if (r == 0 && seq > STORE_KEY_CHANGES_KEPT) {
		be64_put(raw, seq - STORE_KEY_CHANGES_KEPT);
		r = row_delete(t, TABLE_KEY_LOG, slice_u8(raw, sizeof(raw)));
	}
	if (r == 0)
		*ret_seq = seq;
out:
	buf_fini(&row);
	return r;
}

int store_key_get(struct store_txn *t, struct slice id, struct key_record *ret)
{
	struct slice row;
	int r;

	if (id.n != VKEY_ID_LEN)
		return -ENOENT;
	r = row_get(t, TABLE_KEYS, id, &row);
	return r < 0 ? r : key_record_unpack(row, ret);
}

struct key_walk {
	int (*each)(struct slice bytes, void *arg);
	int (*change)(uint64_t seq, struct slice bytes, void *arg);
	void *arg;
	uint64_t next;
};

static int key_visit(struct slice key, struct slice row, void *arg)
{
	const struct key_walk *w = arg;

	(void)key;
	return w->each(row, w->arg);
}

int store_key_each(struct store_txn *t, int (*fn)(struct slice bytes, void *arg), void *arg)
{
	struct key_walk w = { .each = fn, .arg = arg };

	return row_each(t, TABLE_KEYS, SLICE_EMPTY, key_visit, &w);
}

static int change_visit(struct slice key, struct slice row, void *arg)
{
	struct key_walk *w = arg;

	if (key.n != 8 || be64_get(key.p) != w->next)
		return -ENOENT;
	return w->change(w->next++, row, w->arg);
}

int store_key_changes(struct store_txn *t, uint64_t seq,
	int (*fn)(uint64_t seq, struct slice bytes, void *arg), void *arg)
{
	struct key_walk w = { .change = fn, .arg = arg, .next = seq + 1 };
	struct slice first;
	uint64_t last = store_keys_seq(t);
	uint8_t raw[8];
	int r;

	if (seq > last)
		return -ENOENT;
	if (seq == last)
		return 0;
	be64_put(raw, w.next);
	r = row_get(t, TABLE_KEY_LOG, slice_u8(raw, sizeof(raw)),
		&first); /* nothing is said if the first is gone */
	return r < 0 ? r : row_each(t, TABLE_KEY_LOG, slice_u8(raw, sizeof(raw)), change_visit, &w);
}
