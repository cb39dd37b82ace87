/* What the files of the embedded store share: the handle, the tables, and access to rows by bytes.
 * Only store_lmdb.c sees LMDB. Loop's thread, inside a transaction. */
#ifndef CTLD_STORE_STORE_LMDB_H
#define CTLD_STORE_STORE_LMDB_H

#include "store/pack.h"
#include "store/store.h"

struct MDB_env;
struct MDB_txn;

enum store_table {
	TABLE_META,      /* name -> number or bytes */
	TABLE_REVISIONS, /* number -> row */
	TABLE_KEYS,      /* key id -> packed record */
	TABLE_KEY_NAMES, /* project NUL name -> id, of keys that are not revoked */
	TABLE_KEY_LOG,   /* sequence -> packed record */
	TABLE_SECRETS,   /* name -> row */
	TABLE_AGENTS,    /* name -> row */
	TABLE_HEADS,     /* agent NUL store id -> row */
	TABLE_RECORDS,   /* head number (4), sequence (8) -> hash (32), received (8), bytes */
	TABLE_ROLLUPS,   /* quarter and dimensions -> sums */
	TABLE_AUDIT,     /* number -> row */
	TABLE_COUNT
};

struct store {
	struct MDB_env *env; /* NULL: failed, to be opened again */
	unsigned dbi[TABLE_COUNT];
	char *path;
	int lock_fd;
	uint64_t map_bytes;
	usec reopen_us; /* monotonic; not before */
	bool busy;      /* inside a transaction */
	uint8_t realm[16];
};

struct store_txn {
	struct store *store;
	struct MDB_txn *txn;
	int trouble; /* first LMDB code that was not "not found" */
};

int row_get(struct store_txn *t, enum store_table table, struct slice key, struct slice *ret);
int row_put(struct store_txn *t, enum store_table table, struct slice key, struct slice row);
int row_append(struct store_txn *t, enum store_table table, struct slice key,
	struct slice row); /* dense where it is the last */
int row_delete(struct store_txn *t, enum store_table table,
	struct slice key); /* 0 also if it was not there */
int row_last(struct store_txn *t, enum store_table table, struct slice *key, struct slice *row);
int table_clear(struct store_txn *t, enum store_table table);

typedef int row_fn(
	struct slice key, struct slice row, void *arg); /* 0: go on, 1: stop, negative: error */
int row_each(struct store_txn *t, enum store_table table, struct slice from, row_fn *fn, void *arg);
int row_each_back(struct store_txn *t, enum store_table table, row_fn *fn, void *arg);

/* A number in the meta table; 0 if it is not there. */
int meta_get(struct store_txn *t, const char *name, uint64_t *ret);
int meta_put(struct store_txn *t, const char *name, uint64_t v);

static inline struct slice slice_u8(const uint8_t *p, size_t n)
{
	return (struct slice){ (const char *)p, n };
}

#endif
