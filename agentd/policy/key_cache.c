/* STATE_DIR/keys.mdb. Two databases in it:
 *   "keys"  key id (16 bytes) -> CRC-32C over id and record (4 bytes, big-endian), record
 * (key_record_pack) "meta"  "head" -> format (4), realm (16), sequence (8); integers big-endian The
 * file's map is fixed and large: it is address space only, the file grows by the pages that are
 * written. A full exchange of the keys needs room for both copies. */
#include "policy/key_cache.h"

#include <aigw/crc.h>

#include <fcntl.h>
#include <lmdb.h>

#define KEY_CACHE_FORMAT    1
#define KEY_CACHE_MAP_BYTES ((size_t)4 << 30)
#define KEY_CACHE_READERS   256
#define HEAD_BYTES          (4 + 16 + 8)
#define CRC_BYTES           4
#define RECORD_MAX_BYTES    4096

struct key_cache {
	MDB_env *env;
	MDB_dbi keys, meta;
	char path[512];
};

struct key_cache_txn {
	struct key_cache *cache;
	MDB_txn *txn;
};

struct key_cache_reader {
	struct key_cache *cache;
	MDB_txn *txn; /* reset between look-ups, so that it holds no old pages; NULL after a failed
			 renewal */
};

static void put_be(uint8_t *p, uint64_t v, unsigned n)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get_be(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* LMDB's own codes are below -30000; what is not ours to name becomes -EIO. */
static int key_cache_error(int r)
{
	if (r > 0)
		return -r;
	switch (r) {
	case MDB_MAP_FULL: return -ENOSPC;
	case MDB_NOTFOUND: return -ENOENT;
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_VERSION_MISMATCH: return -EBADMSG;
	case MDB_READERS_FULL: return -EAGAIN;
	default: return -EIO;
	}
}

static int key_cache_fail(const struct key_cache *c, const char *what, int r, struct errbuf *e)
{
	return err_set(e, key_cache_error(r), "key cache %s: cannot %s: %s", c->path, what,
		mdb_strerror(r));
}

/* --- opening -------------------------------------------------------------------------- */

static int write_head(struct key_cache *c, MDB_txn *txn, const struct key_cache_head *head)
{
	uint8_t bytes[HEAD_BYTES];
	MDB_val key = { 4, "head" }, value = { sizeof(bytes), bytes };

	put_be(bytes, KEY_CACHE_FORMAT, 4);
	memcpy(bytes + 4, head->realm, 16);
	put_be(bytes + 20, head->seq, 8);
	return mdb_put(txn, c->meta, &key, &value, 0);
}

static int read_head(
	struct key_cache *c, MDB_txn *txn, struct key_cache_head *ret, struct errbuf *e)
{
	MDB_val key = { 4, "head" }, value;
	MDB_stat st;
	uint64_t format;
	int r = mdb_get(txn, c->meta, &key, &value);

	if (r == MDB_NOTFOUND) {
		*ret = (struct key_cache_head){ .seq = 0 };
		r = write_head(c, txn, ret);
		return r ? key_cache_fail(c, "write its head", r, e) : 0;
	}
	if (r)
		return key_cache_fail(c, "read its head", r, e);
	format = value.mv_size >= 4 ? get_be(value.mv_data, 4) : 0;
	if (format > KEY_CACHE_FORMAT)
		return err_set(e, -ENOTSUP,
			"key cache %s has format %" PRIu64
			", this program knows up to %d: it was written by a "
			"newer version",
			c->path, format, KEY_CACHE_FORMAT);
	if (format == 0 || value.mv_size != HEAD_BYTES)
		return err_set(e, -EBADMSG,
			"key cache %s is damaged: its head is not valid; move it away, the "
			"controller sends all keys anew",
			c->path);
	memcpy(ret->realm, (const uint8_t *)value.mv_data + 4, 16);
	ret->seq = get_be((const uint8_t *)value.mv_data + 20, 8);
	r = mdb_stat(txn, c->keys, &st);
	if (r)
		return key_cache_fail(c, "count its keys", r, e);
	ret->count = st.ms_entries;
	return 0;
}

static int open_tables(struct key_cache *c, struct key_cache_head *ret, struct errbuf *e)
{
	MDB_txn *txn;
	int r = mdb_txn_begin(c->env, NULL, 0, &txn);

	if (r)
		return key_cache_fail(c, "begin a transaction", r, e);
	r = mdb_dbi_open(txn, "keys", MDB_CREATE, &c->keys);
	if (r == 0)
		r = mdb_dbi_open(txn, "meta", MDB_CREATE, &c->meta);
	if (r) {
		mdb_txn_abort(txn);
		return key_cache_fail(c, "open its tables", r, e);
	}
	r = read_head(c, txn, ret, e);
	if (r < 0) {
		mdb_txn_abort(txn);
		return r;
	}
	r = mdb_txn_commit(txn);
	return r ? key_cache_fail(c, "commit", r, e) : 0;
}

int key_cache_open(
	const char *path, struct key_cache **ret, struct key_cache_head *ret_head, struct errbuf *e)
{
	struct key_cache *c = calloc(1, sizeof(*c));
	int n, r, dead;

	if (!c)
		return err_set(e, -ENOMEM, "no memory for the key cache");
	n = snprintf(c->path, sizeof(c->path), "%s", path);
	if (n < 0 || (size_t)n >= sizeof(c->path)) {
		free(c);
		return err_set(e, -ENAMETOOLONG, "key cache %.200s...: the path is too long", path);
	}
	r = mdb_env_create(&c->env);
	if (r) {
		r = key_cache_fail(c, "begin", r, e);
		free(c);
		return r;
	}
	r = mdb_env_set_mapsize(c->env, KEY_CACHE_MAP_BYTES);
	if (r == 0)
		r = mdb_env_set_maxdbs(c->env, 2);
	if (r == 0)
		r = mdb_env_set_maxreaders(c->env, KEY_CACHE_READERS);
	/* NOTLS: a reader belongs to its object, whichever thread uses it. */
	if (r == 0)
		r = mdb_env_open(c->env, c->path, MDB_NOSUBDIR | MDB_NOTLS, 0600);
	if (r) {
		r = key_cache_fail(c, "open it", r, e);
	} else {
		(void)mdb_reader_check(c->env, &dead); /* readers of a killed process */
		r = open_tables(c, ret_head, e);
	}
	if (r < 0) {
		key_cache_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

void key_cache_close(struct key_cache *c)
{
	if (!c)
		return;
	mdb_env_close(c->env);
	free(c);
}

/* --- writing -------------------------------------------------------------------------- */

int key_cache_begin(struct key_cache *c, struct key_cache_txn **ret, struct errbuf *e)
{
	struct key_cache_txn *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, -ENOMEM, "no memory for a change of the key cache");
	t->cache = c;
	r = mdb_txn_begin(c->env, NULL, 0, &t->txn);
	if (r) {
		free(t);
		return key_cache_fail(c, "begin a transaction", r, e);
	}
	*ret = t;
	return 0;
}

static uint32_t record_crc(const char id[VKEY_ID_LEN], struct slice record)
{
	return crc32c(crc32c(0, id, VKEY_ID_LEN), record.p, record.n);
}

/* The record inside a stored value; false if it is damaged. */
static bool value_open(const char id[VKEY_ID_LEN], const MDB_val *value, struct slice *ret)
{
	struct slice record;

	if (value->mv_size < CRC_BYTES)
		return false;
	record = slice_of((const char *)value->mv_data + CRC_BYTES, value->mv_size - CRC_BYTES);
	if (get_be(value->mv_data, CRC_BYTES) != record_crc(id, record))
		return false;
	*ret = record;
	return true;
}

int key_cache_put(
	struct key_cache_txn *t, const char id[VKEY_ID_LEN], struct slice record, struct errbuf *e)
{
	MDB_val key = { VKEY_ID_LEN, (void *)id };
	MDB_val value = { CRC_BYTES + record.n, NULL };
	int r;

	if (record.n > RECORD_MAX_BYTES)
		return err_set(e, -EMSGSIZE, "a key's record has %zu bytes, at most %d are allowed",
			record.n, RECORD_MAX_BYTES);
	r = mdb_put(t->txn, t->cache->keys, &key, &value, MDB_RESERVE);
	if (r)
		return key_cache_fail(t->cache, "write a key", r, e);
	put_be(value.mv_data, record_crc(id, record), CRC_BYTES);
	memcpy((char *)value.mv_data + CRC_BYTES, record.p, record.n);
	return 0;
}

int key_cache_get(
	struct key_cache_txn *t, const char id[VKEY_ID_LEN], struct slice *ret, struct errbuf *e)
{
	MDB_val key = { VKEY_ID_LEN, (void *)id }, value;
	int r = mdb_get(t->txn, t->cache->keys, &key, &value);

	if (r == MDB_NOTFOUND) {
		*ret = SLICE_EMPTY;
		return 0;
	}
	if (r)
		return key_cache_fail(t->cache, "read a key", r, e);
	if (!value_open(id, &value, ret))
		return err_set(e, -EBADMSG, "key cache %s: the record of " SLICE_FMT " is damaged",
			t->cache->path, VKEY_ID_LEN, id);
	return 0;
}

static int sift_step(MDB_cursor *cursor, bool (*keep)(struct slice record), MDB_cursor_op op)
{
	MDB_val key, value;
	struct slice record = SLICE_EMPTY;
	int r = mdb_cursor_get(cursor, &key, &value, op);

	if (r)
		return r;
	if (key.mv_size != VKEY_ID_LEN || !value_open(key.mv_data, &value, &record))
		record = SLICE_EMPTY;
	return keep(record) ? 0 : mdb_cursor_del(cursor, 0);
}

int key_cache_sift(struct key_cache_txn *t, bool (*keep)(struct slice record), struct errbuf *e)
{
	MDB_cursor *cursor;
	MDB_cursor_op op = MDB_FIRST;
	int r = mdb_cursor_open(t->txn, t->cache->keys, &cursor);

	if (r)
		return key_cache_fail(t->cache, "walk its keys", r, e);
	/* After a deletion MDB_NEXT gives the record that moved up. */
	while ((r = sift_step(cursor, keep, op)) == 0)
		op = MDB_NEXT;
	mdb_cursor_close(cursor);
	return r == MDB_NOTFOUND ? 0 : key_cache_fail(t->cache, "walk its keys", r, e);
}

int key_cache_commit(struct key_cache_txn *t, struct key_cache_head *head, struct errbuf *e)
{
	struct key_cache *c = t->cache;
	MDB_stat st;
	int r = write_head(c, t->txn, head);

	if (r == 0)
		r = mdb_stat(t->txn, c->keys, &st);
	if (r) {
		key_cache_abort(t);
		return key_cache_fail(c, "write its head", r, e);
	}
	r = mdb_txn_commit(t->txn); /* frees it also on failure */
	free(t);
	if (r)
		return key_cache_fail(c, "commit", r, e);
	head->count = st.ms_entries;
	return 0;
}

void key_cache_abort(struct key_cache_txn *t)
{
	mdb_txn_abort(t->txn);
	free(t);
}

/* --- reading -------------------------------------------------------------------------- */

int key_cache_reader_new(struct key_cache *c, struct key_cache_reader **ret, struct errbuf *e)
{
	struct key_cache_reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(e, -ENOMEM, "no memory for a reader of the key cache");
	r->cache = c;
	rc = mdb_txn_begin(c->env, NULL, MDB_RDONLY, &r->txn);
	if (rc) {
		free(r);
		return key_cache_fail(c, "begin to read", rc, e);
	}
	mdb_txn_reset(r->txn);
	*ret = r;
	return 0;
}

void key_cache_reader_free(struct key_cache_reader *r)
{
	if (!r)
		return;
	if (r->txn)
		mdb_txn_abort(r->txn);
	free(r);
}

static int reader_renew(struct key_cache_reader *r)
{
	int rc;

	if (r->txn) {
		rc = mdb_txn_renew(r->txn);
		if (rc == 0)
			return 0;
		mdb_txn_abort(r->txn);
		r->txn = NULL;
	}
	rc = mdb_txn_begin(r->cache->env, NULL, MDB_RDONLY, &r->txn);
	if (rc)
		r->txn = NULL;
	return rc;
}

int key_cache_look_up(struct key_cache_reader *r, const char id[VKEY_ID_LEN], struct slice *ret)
{
	MDB_val key = { VKEY_ID_LEN, (void *)id }, value;
	int rc = reader_renew(r);

	if (rc)
		return key_cache_error(rc);
	*ret = SLICE_EMPTY;
	rc = mdb_get(r->txn, r->cache->keys, &key, &value);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc == 0 && value_open(id, &value, ret))
		return 0;
	mdb_txn_reset(r->txn);
	return rc ? key_cache_error(rc) : -EBADMSG;
}

void key_cache_release(struct key_cache_reader *r)
{
	mdb_txn_reset(r->txn);
}

int key_cache_walk(
	struct key_cache_reader *r, int (*each)(struct slice record, void *arg), void *arg)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = reader_renew(r), ret = 0;

	if (rc)
		return key_cache_error(rc);
	rc = mdb_cursor_open(r->txn, r->cache->keys, &cursor);
	if (rc == 0) {
		while (ret == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
			struct slice record;

			if (key.mv_size == VKEY_ID_LEN && value_open(key.mv_data, &value, &record))
				ret = each(record, arg);
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_reset(r->txn);
	return ret ? ret : rc == MDB_NOTFOUND || rc == 0 ? 0 : key_cache_error(rc);
}
