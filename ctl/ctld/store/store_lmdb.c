#include "store/store_lmdb.h"

#include <aigw/clock.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define REOPEN_EVERY_US (1 * USEC_PER_S)

static const char *const table_names[TABLE_COUNT] = {
	[TABLE_META] = "meta",
	[TABLE_REVISIONS] = "revisions",
	[TABLE_KEYS] = "keys",
	[TABLE_KEY_NAMES] = "key_names",
	[TABLE_KEY_LOG] = "key_log",
	[TABLE_SECRETS] = "secrets",
	[TABLE_AGENTS] = "agents",
	[TABLE_HEADS] = "heads",
	[TABLE_RECORDS] = "records",
	[TABLE_ROLLUPS] = "rollups",
	[TABLE_AUDIT] = "audit",
};

/* --- rows ---------------------------------------------------------------------------------------
 */

static int row_trouble(struct store_txn *t, int rc)
{
	if (!t->trouble)
		t->trouble = rc;
	return rc == ENOMEM ? -ENOMEM : -EIO;
}

static MDB_val val_of(struct slice s)
{
	return (MDB_val){ .mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p };
}

static struct slice val_slice(MDB_val v)
{
	return slice_of(v.mv_data, v.mv_size);
}

int row_get(struct store_txn *t, enum store_table table, struct slice key, struct slice *ret)
{
	MDB_val k = val_of(key), v;
	int rc = mdb_get(t->txn, t->store->dbi[table], &k, &v);

	if (rc == MDB_NOTFOUND)
		return -ENOENT;
	if (rc)
		return row_trouble(t, rc);
	*ret = val_slice(v);
	return 0;
}

int row_put(struct store_txn *t, enum store_table table, struct slice key, struct slice row)
{
	MDB_val k = val_of(key), v = val_of(row);
	int rc = mdb_put(t->txn, t->store->dbi[table], &k, &v, 0);

	return rc ? row_trouble(t, rc) : 0;
}

int row_append(struct store_txn *t, enum store_table table, struct slice key, struct slice row)
{
	MDB_val k = val_of(key), v = val_of(row);
	int rc = mdb_put(t->txn, t->store->dbi[table], &k, &v, MDB_APPEND);

	if (rc == MDB_KEYEXIST) /* not the last key: an ordinary insert, at the price of half-full
				   pages */
		return row_put(t, table, key, row);
	return rc ? row_trouble(t, rc) : 0;
}

int row_delete(struct store_txn *t, enum store_table table, struct slice key)
{
	MDB_val k = val_of(key);
	int rc = mdb_del(t->txn, t->store->dbi[table], &k, NULL);

	return rc && rc != MDB_NOTFOUND ? row_trouble(t, rc) : 0;
}

int table_clear(struct store_txn *t, enum store_table table)
{
	int rc = mdb_drop(t->txn, t->store->dbi[table], 0);

	return rc ? row_trouble(t, rc) : 0;
}

static int row_walk(struct store_txn *t, enum store_table table, struct slice from, bool back,
	row_fn *fn, void *arg)
{
	MDB_cursor *c;
	MDB_val k = val_of(from), v;
	MDB_cursor_op first = back ? MDB_LAST : from.n ? MDB_SET_RANGE : MDB_FIRST;
	int rc, r = 0;

	rc = mdb_cursor_open(t->txn, t->store->dbi[table], &c);
	if (rc)
		return row_trouble(t, rc);
	for (rc = mdb_cursor_get(c, &k, &v, first); rc == 0;
		rc = mdb_cursor_get(c, &k, &v, back ? MDB_PREV : MDB_NEXT)) {
		r = fn(val_slice(k), val_slice(v), arg);
		if (r)
			break;
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return row_trouble(t, rc);
	return MIN(r, 0);
}

int row_each(struct store_txn *t, enum store_table table, struct slice from, row_fn *fn, void *arg)
{
	return row_walk(t, table, from, false, fn, arg);
}

int row_each_back(struct store_txn *t, enum store_table table, row_fn *fn, void *arg)
{
	return row_walk(t, table, SLICE_EMPTY, true, fn, arg);
}

struct last_row {
	struct slice key, row;
	bool found;
};

static int last_row_take(struct slice key, struct slice row, void *arg)
{
	*(struct last_row *)arg = (struct last_row){ key, row, true };
	return 1;
}

int row_last(struct store_txn *t, enum store_table table, struct slice *key, struct slice *row)
{
	struct last_row last = { 0 };
	int r = row_each_back(t, table, last_row_take, &last);

	if (r < 0)
		return r;
	if (!last.found)
		return -ENOENT;
	*key = last.key;
	*row = last.row;
	return 0;
}

int meta_get(struct store_txn *t, const char *name, uint64_t *ret)
{
	struct slice row;
	int r = row_get(t, TABLE_META, slice_str(name), &row);

	*ret = 0;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return unpack_u64(&row, ret) ? 0 : -EBADMSG;
}

int meta_put(struct store_txn *t, const char *name, uint64_t v)
{
	uint8_t raw[8];

	be64_put(raw, v);
	return row_put(t, TABLE_META, slice_str(name), slice_u8(raw, sizeof(raw)));
}

/* --- opening ------------------------------------------------------------------------------------
 */

static int tables_open(struct store_txn *t)
{
	for (unsigned i = 0; i < TABLE_COUNT; i++) {
		int rc = mdb_dbi_open(t->txn, table_names[i], MDB_CREATE, &t->store->dbi[i]);

		if (rc)
			return row_trouble(t, rc);
	}
	return 0;
}

/* A new store gets its format and realm; an old one is checked. */
static int format_check(struct store_txn *t, struct errbuf *e)
{
	struct store *s = t->store;
	struct slice realm;
	uint64_t format;
	int r = meta_get(t, "format", &format);

	if (r < 0)
		return err_set(e, r, "%s: can't read the store's format", s->path);
	if (format > STORE_FORMAT)
		return err_set(e, -EPROTO,
			"%s has format %" PRIu64
			", this aigw-ctld knows up to %d: install the newer version again",
			s->path, format, STORE_FORMAT);
	if (format == 0) {
		if (getrandom(s->realm, sizeof(s->realm), 0) != sizeof(s->realm))
			return err_set(e, -EIO, "no random bytes from the system");
		r = meta_put(t, "format", STORE_FORMAT);
		if (r == 0)
			r = row_put(t, TABLE_META, SLICE("realm"),
				slice_u8(s->realm, sizeof(s->realm)));
		return r < 0 ? err_set(e, r, "%s: can't write", s->path) : 0;
	}
	r = row_get(t, TABLE_META, SLICE("realm"), &realm);
	if (r < 0 || realm.n != sizeof(s->realm))
		return err_set(e, -EBADMSG, "%s: the store has no realm id: damaged", s->path);
	memcpy(s->realm, realm.p, realm.n);
	return 0;
}

static int env_prepare(struct store *s, struct errbuf *e)
{
	struct store_txn t = { .store = s };
	int r, rc = mdb_txn_begin(s->env, NULL, 0, &t.txn);

	if (rc)
		return err_set(e, -EIO, "%s: %s", s->path, mdb_strerror(rc));
	r = tables_open(&t);
	if (r < 0)
		(void)err_set(
			e, r, "%s: can't open its tables: %s", s->path, mdb_strerror(t.trouble));
	else
		r = format_check(&t, e);
	if (r < 0) {
		mdb_txn_abort(t.txn);
		return r;
	}
	rc = mdb_txn_commit(t.txn);
	return rc ? err_set(e, -EIO, "%s: %s", s->path, mdb_strerror(rc)) : 0;
}

static int env_open(struct store *s, struct errbuf *e)
{
	MDB_envinfo info;
	int rc, r, dead;

	rc = mdb_env_create(&s->env);
	if (rc)
		return err_set(e, -ENOMEM, "%s: %s", s->path, mdb_strerror(rc));
	rc = mdb_env_set_maxdbs(s->env, TABLE_COUNT);
	if (!rc)
		rc = mdb_env_set_mapsize(s->env, s->map_bytes);
	if (!rc) /* default flags: commits are synced */
		rc = mdb_env_open(s->env, s->path, MDB_NOSUBDIR | MDB_NOTLS, 0600);
	if (rc) {
		r = err_set(e, -EIO, "%s: %s", s->path, mdb_strerror(rc));
		goto fail;
	}
	(void)mdb_reader_check(s->env, &dead);
	r = env_prepare(s, e);
	if (r < 0)
		goto fail;
	(void)mdb_env_info(s->env, &info);
	s->map_bytes = info.me_mapsize;
	return 0;
fail:
	mdb_env_close(s->env);
	s->env = NULL;
	return r;
}

static int lock_take(struct store *s, const char *dir, struct errbuf *e)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "state_dir is too long");
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, -EBUSY, "%s is held by another aigw-ctld", dir);
	return 0;
}

int store_open(const char *dir, uint64_t map_bytes, struct store **ret, struct errbuf *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->lock_fd = -1;
	s->map_bytes = map_bytes;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		r = err_set(e, -errno, "can't make the folder %s: %s", dir, strerror(errno));
		goto fail;
	}
	if (asprintf(&s->path, "%s/ledger.mdb", dir) < 0) {
		s->path = NULL;
		r = err_set(e, -ENOMEM, "out of memory");
		goto fail;
	}
	r = lock_take(s, dir, e);
	if (r == 0)
		r = env_open(s, e);
	if (r < 0)
		goto fail;
	*ret = s;
	return 0;
fail:
	store_close(s);
	return r;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	ASSERT(!s->busy);
	if (s->env)
		mdb_env_close(s->env);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	free(s->path);
	free(s);
}

const uint8_t *store_realm(const struct store *s)
{
	return s->realm;
}

struct store_size store_size(const struct store *s)
{
	MDB_envinfo info;
	MDB_stat stat;

	if (!s->env || mdb_env_info(s->env, &info) || mdb_env_stat(s->env, &stat))
		return (struct store_size){ 0 };
	return (struct store_size){ (info.me_last_pgno + 1) * stat.ms_psize, info.me_mapsize };
}

/* --- transactions -------------------------------------------------------------------------------
 */

/* Never used again: what LMDB believes to be on the disk may not be there. */
static void env_drop(struct store *s)
{
	mdb_env_close(s->env);
	s->env = NULL;
	s->reopen_us = clock_mono_us() + REOPEN_EVERY_US;
}

static int env_need(struct store *s)
{
	if (s->env)
		return 0;
	if (clock_mono_us() < s->reopen_us)
		return -EIO;
	s->reopen_us = clock_mono_us() + REOPEN_EVERY_US;
	return env_open(s, NULL) < 0 ? -EIO : 0;
}

static int map_double(struct store *s)
{
	if (s->map_bytes > INT64_MAX / 2 || mdb_env_set_mapsize(s->env, s->map_bytes * 2))
		return -ENOMEM;
	s->map_bytes *= 2;
	return 0;
}

/* Between transactions: a quarter of the map stays free, and twice what is about to come. */
static int map_room(struct store *s, size_t room_bytes)
{
	struct store_size size = store_size(s);

	while (size.used_bytes + 2 * (uint64_t)room_bytes + s->map_bytes / 4 > s->map_bytes) {
		int r = map_double(s);

		if (r < 0)
			return r;
	}
	return 0;
}

int store_read(struct store *s, store_fn *fn, void *arg)
{
	struct store_txn t = { .store = s };
	int r = env_need(s);

	if (r < 0)
		return r;
	ASSERT(!s->busy);
	if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &t.txn)) {
		env_drop(s);
		return -EIO;
	}
	s->busy = true;
	r = fn(&t, arg);
	s->busy = false;
	mdb_txn_abort(t.txn);
	return r;
}

static int write_once(struct store *s, store_fn *fn, void *arg, bool *ret_full)
{
	struct store_txn t = { .store = s };
	int r, rc;

	*ret_full = false;
	if (mdb_txn_begin(s->env, NULL, 0, &t.txn)) {
		env_drop(s);
		return -EIO;
	}
	s->busy = true;
	r = fn(&t, arg);
	s->busy = false;
	if (r < 0 || t.trouble) {
		mdb_txn_abort(t.txn);
		*ret_full = t.trouble == MDB_MAP_FULL;
		if (t.trouble && !*ret_full)
			env_drop(s);
		return r < 0 ? r : -EIO;
	}
	rc = mdb_txn_commit(t.txn);
	if (rc == 0)
		return 0;
	*ret_full = rc == MDB_MAP_FULL;
	if (!*ret_full)
		env_drop(s);
	return -EIO;
}

int store_write(struct store *s, size_t room_bytes, store_fn *fn, void *arg)
{
	bool full;
	int r = env_need(s);

	if (r < 0)
		return r;
	ASSERT(!s->busy);
	r = map_room(s, room_bytes);
	if (r < 0)
		return r;
	r = write_once(s, fn, arg, &full);
	if (!full)
		return r;
	r = map_double(s);
	return r < 0 ? r : write_once(s, fn, arg, &full);
}
