/* What the controller keeps: policy revisions, keys, secrets, agents, the ledger with its rollups,
 * the audit log. The only door to the database. Loop's thread; a write ends with a synced commit
 * and blocks for as long as the disk takes.
 *
 * All reading and writing happens inside store_read() and store_write(): the function given runs in
 * one transaction, and what it was handed (slices) stays valid until it returns. store_write() may
 * run it twice (the map was full and was doubled), so it begins by resetting its results. Functions
 * return 0, -ENOENT (no such row), -EBADMSG (a damaged row), -ENOMEM, or -EIO: the store failed.
 * After a failed commit the handle is closed, never used again, and re-opened at most once a
 * second. */
#ifndef CTLD_STORE_STORE_H
#define CTLD_STORE_STORE_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>
#include <aigw/vkey.h>

#define STORE_FORMAT           1
#define STORE_MAP_BYTES        (64ull << 20) /* first size of the map; it doubles */
#define STORE_KEY_CHANGES_KEPT 10000         /* an agent further behind gets a snapshot */

struct store;
struct store_txn;

/* Opens or creates DIR/ledger.mdb, held exclusively: a second controller on it is -EBUSY. A newer
 * format is refused (-EPROTO). */
int store_open(const char *dir, uint64_t map_bytes, struct store **ret, struct errbuf *e);
void store_close(struct store *s);
/* Drawn at random when the store was created: whoever cached something of another store knows it.
 * 16 bytes. */
const uint8_t *store_realm(const struct store *s);

/* Bytes in use and of the map; zero while the store can't be opened. */
struct store_size {
	uint64_t used_bytes, map_bytes;
};
struct store_size store_size(const struct store *s);

typedef int store_fn(struct store_txn *t, void *arg);
int store_read(struct store *s, store_fn *fn, void *arg);
/* `room_bytes`: about how much fn will write. A negative result of fn aborts: nothing has changed.
 */
int store_write(struct store *s, size_t room_bytes, store_fn *fn, void *arg);

/* --- revisions ----------------------------------------------------------------------------------
 */
struct store_revision {
	uint64_t number;
	usec applied_us;
	struct slice by, message;
	struct slice digest; /* 32 bytes */
	struct slice packed; /* policy_doc's packed tree */
	struct slice files;  /* names and texts; read with store_revision_file() */
};

int store_revision_put(struct store_txn *t, const struct store_revision *r);
int store_revision_get(
	struct store_txn *t, uint64_t number, struct store_revision *ret); /* 0: the last */
/* Newest first. The callback returns 0 to go on, 1 to stop, or a negative error. */
int store_revision_each(
	struct store_txn *t, int (*fn)(const struct store_revision *r, void *arg), void *arg);
void store_files_add(struct buf *files, struct slice name, struct slice text);
bool store_files_next(
	struct slice *files, struct slice *name, struct slice *text); /* false: the end */

/* --- keys ---------------------------------------------------------------------------------------
 */
/* Each change takes the next number of the sequence. -EEXIST: an active key of this project has
 * that name. */
int store_key_put(struct store_txn *t, const struct key_record *k, uint64_t *ret_seq);
int store_key_get(struct store_txn *t, struct slice id, struct key_record *ret);
uint64_t store_keys_seq(struct store_txn *t);
/* All keys in the order of their ids: `bytes` is the packed record. */
int store_key_each(struct store_txn *t, int (*fn)(struct slice bytes, void *arg), void *arg);
/* The changes after `seq`, in order. -ENOENT: not all of them are kept. */
int store_key_changes(struct store_txn *t, uint64_t seq,
	int (*fn)(uint64_t seq, struct slice bytes, void *arg), void *arg);

/* --- secrets ------------------------------------------------------------------------------------
 */
struct store_secret {
	struct slice name, value, by;
	uint64_t version;
	usec set_us;
};

int store_secret_put(struct store_txn *t, const struct store_secret *s,
	uint64_t *ret_version); /* next version */
int store_secret_each(
	struct store_txn *t, int (*fn)(const struct store_secret *s, void *arg), void *arg);

/* --- drains: lines of drain.h, all of them; version 0: never any ---------------------------- */
int store_drains_get(struct store_txn *t, struct slice *ret_lines, uint64_t *ret_version);
int store_drains_put(struct store_txn *t, struct slice lines, uint64_t *ret_version); /* next */

/* --- agents -------------------------------------------------------------------------------------
 */
struct store_agent {
	struct slice name, store_id, host, version;
	uint32_t uid;
	usec first_seen_us, last_seen_us;
};

int store_agent_put(struct store_txn *t, const struct store_agent *a);
int store_agent_each(
	struct store_txn *t, int (*fn)(const struct store_agent *a, void *arg), void *arg);

/* --- ledger -------------------------------------------------------------------------------------
 */
enum ledger_state { LEDGER_OPEN, LEDGER_GAP, LEDGER_FORK };

/* How far one store of one agent has been booked. */
struct ledger_head {
	uint32_t no;    /* stands for (agent, store id) in the records' keys; 0: not stored yet */
	char agent[64]; /* NUL-terminated */
	uint8_t store_id[16];
	uint64_t high_water; /* last sequence booked */
	uint8_t chain[32];   /* hash at high_water */
	enum ledger_state state;
	char reason[192];     /* of a quarantine */
	usec since_us;        /* quarantined since, wall */
	uint64_t undecodable; /* records kept as bytes that this build can't read */
};

/* A store that was never seen gives a fresh head (no = 0, zero hash) and 0. */
int ledger_head_get(struct store_txn *t, struct slice agent, const uint8_t store_id[16],
	struct ledger_head *ret);
int ledger_head_put(struct store_txn *t, struct ledger_head *h); /* gives a new head its number */
int ledger_head_each(
	struct store_txn *t, int (*fn)(const struct ledger_head *h, void *arg), void *arg);

struct ledger_record {
	uint32_t head_no;
	uint64_t seq;
	const uint8_t *hash; /* 32 bytes: the chain after it */
	usec received_us;
	struct slice bytes; /* as the agent wrote them */
};

int ledger_record_put(struct store_txn *t, const struct ledger_record *r);
int ledger_record_get(
	struct store_txn *t, uint32_t head_no, uint64_t seq, struct ledger_record *ret);
/* From (head_no, seq) on, in that order. */
int ledger_record_each(struct store_txn *t, uint32_t head_no, uint64_t seq,
	int (*fn)(const struct ledger_record *r, void *arg), void *arg);

/* Rollups: keys and sums are packed by report/rollup.c; a key begins with its quarter of an hour.
 */
int store_rollup_get(struct store_txn *t, struct slice key, struct slice *ret);
int store_rollup_put(struct store_txn *t, struct slice key, struct slice sums);
int store_rollup_each(struct store_txn *t, struct slice from,
	int (*fn)(struct slice key, struct slice sums, void *arg), void *arg);
int store_rollup_clear(struct store_txn *t);

/* --- audit log ----------------------------------------------------------------------------------
 */
struct store_audit {
	usec at_us;
	struct slice by, action, object, detail;
};

int store_audit_put(struct store_txn *t, const struct store_audit *a);
int store_audit_each(struct store_txn *t, int (*fn)(const struct store_audit *a, void *arg),
	void *arg); /* newest first */

#endif
