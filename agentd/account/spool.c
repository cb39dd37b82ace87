/* One LMDB database in one file; all keys in the unnamed table, in this order:
 *   00                     identity: "aigwspol", format (4 bytes), store id (16)
 *   00 00 00 00 00 00 00 00  anchor, once something was dropped: last dropped sequence (8), its
 * group (8), chain hash after it (32) sequence (8)           group (8), chain hash after it (32),
 * the record's bytes Numbers are big-endian. Sequences are dense, so the first record is the
 * anchor's successor. The anchor keeps sequence, group and chain going when the spool is empty, and
 * lies in the leaf that a drop changes anyway.
 *
 * Free room: LMDB copies on write, so even a drop needs pages. Appends therefore leave some alone
 * (reserve_pages); pages on the free list count as free. A failed commit means that nobody knows
 * what the disk holds: the handle is poisoned and never written again (what was committed before
 * can still be read). After a restart the store says which of both it was. */
#include "account/spool.h"

#include "account/held_file.h"

#include <endian.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <unistd.h>

#include <aigw/crc.h>

#define CHAIN_BYTES       32
#define VALUE_HEAD        (8 + CHAIN_BYTES)
#define ANCHOR_BYTES      (8 + VALUE_HEAD)
#define IDENTITY_BYTES    (8 + 4 + 16)
#define IDENTITY_MAGIC    "aigwspol"
#define DROP_MAX          1024
#define RESERVE_MIN_PAGES 32
#define RESERVE_MAX_PAGES 2048

/* Where the store ends and begins; a transaction works on a copy that becomes true with its commit.
 */
struct ends {
	uint64_t first, last; /* empty: first = last + 1 */
	uint64_t group;       /* of the last record */
	uint8_t chain[CHAIN_BYTES];
	usec oldest_wall_us;
};

struct spool {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader; /* reset between uses */
	int lock_fd;
	char path[HELD_FILE_PATH_MAX];
	uint8_t store_id[16];
	uint64_t map_pages, reserve_pages, used_pages;
	size_t page_bytes;
	struct ends at;
	uint64_t acknowledged;
	bool poisoned;
	_Atomic uint64_t first_seq, last_seq, used_bytes, map_bytes;
	_Atomic int64_t oldest_wall_us;
	_Atomic bool full, failed;
};

static void put_u64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

static uint64_t get_u64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static MDB_val key_of(uint64_t seq, uint8_t room[static 8])
{
	put_u64(room, seq);
	return (MDB_val){ 8, room };
}

static MDB_val key_identity(void)
{
	return (MDB_val){ 1, "" };
}

static int err_mdb(const struct spool *s, struct errbuf *e, int rc, const char *what)
{
	int code = rc < 0 ? -EBADMSG : -rc;

	return err_set(e, code, "%s: %s: %s", s->path, what, mdb_strerror(rc));
}

/* --- reading
 * --------------------------------------------------------------------------------------- */

static int read_begin(struct spool *s)
{
	int rc;

	if (!s->reader)
		return mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);
	rc = mdb_txn_renew(s->reader);
	if (rc == MDB_PANIC || rc == MDB_BAD_TXN) {
		mdb_txn_abort(s->reader);
		s->reader = NULL;
	}
	return rc;
}

static void read_end(struct spool *s)
{
	mdb_txn_reset(s->reader); /* a held snapshot would keep pages from being used again */
}

/* Record of `seq` in transaction t; -EBADMSG if it is missing or damaged. */
static int record_at(struct spool *s, MDB_txn *t, uint64_t seq, MDB_val *ret, struct errbuf *e)
{
	uint8_t room[8];
	MDB_val key = key_of(seq, room);
	const uint8_t *p;
	size_t n;
	int rc = mdb_get(t, s->dbi, &key, ret);

	if (rc != 0)
		return err_mdb(s, e, rc, "record can't be read");
	if (ret->mv_size > VALUE_HEAD + 4) {
		p = (const uint8_t *)ret->mv_data + VALUE_HEAD;
		n = ret->mv_size - VALUE_HEAD - 4;
		if (crc32c(0, p, n) == get_u32(p + n))
			return 0;
	}
	return err_set(e, -EBADMSG, "%s: record %" PRIu64 " is damaged (checksum)", s->path, seq);
}

static uint64_t value_group(const MDB_val *v)
{
	return get_u64(v->mv_data);
}

static const uint8_t *value_chain(const MDB_val *v)
{
	return (const uint8_t *)v->mv_data + 8;
}

static struct slice value_record(const MDB_val *v)
{
	return slice_of((const char *)v->mv_data + VALUE_HEAD, v->mv_size - VALUE_HEAD);
}

/* Chain hash before `first`, from the anchor. */
static int anchor_chain(struct spool *s, MDB_txn *t, uint8_t ret[CHAIN_BYTES], struct errbuf *e)
{
	uint8_t room[8];
	MDB_val key = key_of(0, room), v;
	int rc;

	if (s->at.first == 1) {
		memset(ret, 0, CHAIN_BYTES);
		return 0;
	}
	rc = mdb_get(t, s->dbi, &key, &v);
	if (rc != 0)
		return err_mdb(s, e, rc, "anchor can't be read");
	memcpy(ret, (const uint8_t *)v.mv_data + 16, CHAIN_BYTES);
	return 0;
}

static int read_records(struct spool *s, uint64_t seq, unsigned max_n, size_t max_bytes,
	struct buf *b, uint32_t *lens, unsigned *ret_n, uint8_t hash[32], struct errbuf *e)
{
	size_t end = b->n + max_bytes;
	unsigned n = 0;

	for (; n < max_n && seq + n <= s->at.last; n++) {
		struct slice record;
		MDB_val v;
		int r = record_at(s, s->reader, seq + n, &v, e);

		if (r < 0)
			return r;
		record = value_record(&v);
		if (b->n + record.n > end)
			break;
		if (buf_slice(b, record) < 0)
			return err_set(e, b->err, "records: out of memory");
		lens[n] = (uint32_t)record.n;
		memcpy(hash, value_chain(&v), CHAIN_BYTES);
	}
	*ret_n = n;
	return 0;
}

int spool_read(struct spool *s, uint64_t seq, unsigned max_n, size_t max_bytes, struct buf *b,
	uint32_t *lens, unsigned *ret_n, uint8_t prev_hash[32], uint8_t hash[32], struct errbuf *e)
{
	MDB_val v;
	int r;

	if (seq < s->at.first || seq > s->at.last + 1)
		return err_set(e, -ERANGE,
			"%s holds records %" PRIu64 " to %" PRIu64 ", not %" PRIu64, s->path,
			s->at.first, s->at.last, seq);
	r = read_begin(s);
	if (r != 0)
		return err_mdb(s, e, r, "can't be read");
	if (seq == s->at.first) {
		r = anchor_chain(s, s->reader, prev_hash, e);
	} else {
		r = record_at(s, s->reader, seq - 1, &v, e);
		if (r == 0)
			memcpy(prev_hash, value_chain(&v), CHAIN_BYTES);
	}
	if (r == 0) {
		memcpy(hash, prev_hash, CHAIN_BYTES);
		r = read_records(s, seq, max_n, max_bytes, b, lens, ret_n, hash, e);
	}
	read_end(s);
	return r;
}

int spool_last_group(struct spool *s, void (*fn)(const uint8_t op_id[16], void *arg), void *arg,
	struct errbuf *e)
{
	int r = read_begin(s);

	if (r != 0)
		return err_mdb(s, e, r, "can't be read");
	for (uint64_t seq = s->at.last; seq >= s->at.first && seq > 0; seq--) {
		struct usage_record record;
		MDB_val v;

		r = record_at(s, s->reader, seq, &v, e);
		if (r < 0 || value_group(&v) != s->at.group)
			break;
		r = usage_decode(value_record(&v), &record, e);
		if (r < 0)
			break;
		if (record.op_id.n == 16)
			fn((const uint8_t *)record.op_id.p, arg);
	}
	read_end(s);
	return r;
}

/* --- gauges
 * ---------------------------------------------------------------------------------------- */

/* Pages in use: all up to the highest, without those on LMDB's free list (table 0: lists that begin
 * with their length). */
static int used_measure(struct spool *s)
{
	MDB_envinfo info;
	MDB_cursor *c;
	MDB_val k, v;
	uint64_t free_pages = 0;
	int rc = read_begin(s);

	if (rc != 0)
		return rc;
	rc = mdb_env_info(s->env, &info);
	if (rc == 0)
		rc = mdb_cursor_open(s->reader, 0, &c);
	if (rc == 0) {
		while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
			size_t n;

			memcpy(&n, v.mv_data, sizeof(n));
			free_pages += n;
		}
		mdb_cursor_close(c);
	}
	read_end(s);
	if (rc != MDB_NOTFOUND)
		return rc;
	s->used_pages = info.me_last_pgno + 1 - MIN(free_pages, (uint64_t)info.me_last_pgno);
	return 0;
}

static void oldest_measure(struct spool *s)
{
	struct usage_record record;
	MDB_val v;

	s->at.oldest_wall_us = 0;
	if (s->at.first > s->at.last || read_begin(s) != 0)
		return;
	if (record_at(s, s->reader, s->at.first, &v, NULL) == 0 &&
		usage_decode(value_record(&v), &record, NULL) == 0)
		s->at.oldest_wall_us = record.start_us + record.duration_us;
	read_end(s);
}

static void gauges_publish(struct spool *s)
{
	if (s->at.oldest_wall_us == 0 || s->at.first != s->first_seq)
		oldest_measure(s);
	atomic_store_explicit(&s->used_bytes, s->used_pages * s->page_bytes, memory_order_relaxed);
	atomic_store_explicit(&s->full, s->used_pages * 100 >= s->map_pages * SPOOL_FULL_PERCENT,
		memory_order_relaxed);
	atomic_store_explicit(&s->oldest_wall_us, s->at.oldest_wall_us, memory_order_relaxed);
	/* A reader that sees the new first sees a last that is not behind it. */
	atomic_store_explicit(&s->last_seq, s->at.last, memory_order_release);
	atomic_store_explicit(&s->first_seq, s->at.first, memory_order_release);
}

void spool_read_gauges(const struct spool *s, struct spool_gauges *ret)
{
	ret->first_seq = atomic_load_explicit(&s->first_seq, memory_order_acquire);
	ret->last_seq = atomic_load_explicit(&s->last_seq, memory_order_acquire);
	ret->records = ret->last_seq + 1 - ret->first_seq;
	ret->used_bytes = atomic_load_explicit(&s->used_bytes, memory_order_relaxed);
	ret->map_bytes = atomic_load_explicit(&s->map_bytes, memory_order_relaxed);
	ret->oldest_wall_us = atomic_load_explicit(&s->oldest_wall_us, memory_order_relaxed);
	ret->full = atomic_load_explicit(&s->full, memory_order_relaxed);
	ret->failed = atomic_load_explicit(&s->failed, memory_order_relaxed);
}

void spool_store_id(const struct spool *s, uint8_t ret[16])
{
	memcpy(ret, s->store_id, 16);
}

uint64_t spool_next_group(const struct spool *s)
{
	return s->at.group + 1;
}

/* --- writing
 * --------------------------------------------------------------------------------------- */

/* No room and no memory leave the handle as it was; anything else poisons it. */
static int write_failed(struct spool *s, int rc, bool in_commit, struct errbuf *e)
{
	if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL)
		return err_set(e, -ENOSPC, "%s is full; the controller has to take records first",
			s->path);
	if (rc == ENOMEM && !in_commit)
		return err_set(e, -ENOMEM, "%s: out of memory", s->path);
	s->poisoned = true;
	atomic_store_explicit(&s->failed, true, memory_order_relaxed);
	return err_set(e, -EIO,
		"%s can't be written: %s. Nothing more is written until the agent is restarted",
		s->path, mdb_strerror(rc));
}

static int write_begin(struct spool *s, MDB_txn **ret, struct errbuf *e)
{
	int rc;

	if (s->poisoned)
		return err_set(e, -EIO, "%s failed before; restart the agent", s->path);
	rc = mdb_txn_begin(s->env, NULL, 0, ret);
	return rc == 0 ? 0 : write_failed(s, rc, false, e);
}

/* Commits if rc is 0, else gives up; what `next` says becomes true only by a commit. */
static int write_end(struct spool *s, MDB_txn *t, int rc, const struct ends *next, struct errbuf *e)
{
	if (rc != 0) {
		mdb_txn_abort(t);
		return write_failed(s, rc, false, e);
	}
	rc = mdb_txn_commit(t);
	if (rc != 0)
		return write_failed(s, rc, true, e);
	s->at = *next;
	/* A reading that fails leaves the gauge behind; an append near the end is checked by LMDB,
	 * too. */
	(void)used_measure(s);
	gauges_publish(s);
	return 0;
}

bool spool_drop_wanted(const struct spool *s)
{
	return s->acknowledged >= s->at.first && s->at.first <= s->at.last;
}

/* Drops acknowledged records, DROP_MAX at most: their number bounds the transaction's length and
 * need of pages. */
static int write_drop(struct spool *s, MDB_txn *t, struct ends *next)
{
	uint64_t to = MIN(MIN(s->acknowledged, s->at.last), s->at.first + DROP_MAX - 1);
	uint8_t anchor[ANCHOR_BYTES], room[8];
	MDB_val key, v;
	int rc;

	if (!spool_drop_wanted(s))
		return 0;
	key = key_of(to, room);
	rc = mdb_get(t, s->dbi, &key, &v);
	if (rc != 0)
		return rc;
	put_u64(anchor, to);
	memcpy(anchor + 8, v.mv_data, VALUE_HEAD);
	for (uint64_t seq = s->at.first; rc == 0 && seq <= to; seq++) {
		key = key_of(seq, room);
		rc = mdb_del(t, s->dbi, &key, NULL);
	}
	if (rc != 0)
		return rc;
	next->first = to + 1;
	key = key_of(0, room);
	v = (MDB_val){ sizeof(anchor), anchor };
	return mdb_put(t, s->dbi, &key, &v, 0);
}

static int write_records(
	struct spool *s, MDB_txn *t, const struct slice *records, unsigned n, struct ends *next)
{
	MDB_cursor *c; /* stays at the end: no search for each record */
	int rc = mdb_cursor_open(t, s->dbi, &c);

	if (rc != 0)
		return rc;
	next->group++;
	for (unsigned i = 0; i < n; i++) {
		uint8_t room[8];
		MDB_val key = key_of(++next->last, room), v = { VALUE_HEAD + records[i].n, NULL };
		uint8_t *p;

		rc = mdb_cursor_put(c, &key, &v, MDB_APPEND | MDB_RESERVE);
		if (rc != 0)
			break;
		usage_chain_next(next->chain, records[i]);
		p = v.mv_data;
		put_u64(p, next->group);
		memcpy(p + 8, next->chain, CHAIN_BYTES);
		memcpy(p + VALUE_HEAD, records[i].p, records[i].n);
	}
	mdb_cursor_close(c);
	return rc;
}

/* Whether the group leaves the reserve alone, at the worst fill of a leaf (half). */
static bool has_room(const struct spool *s, const struct slice *records, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += records[i].n + VALUE_HEAD + 32;
	return s->used_pages + bytes / (s->page_bytes / 2) + 1 + s->reserve_pages <= s->map_pages;
}

int spool_append(struct spool *s, const struct slice *records, unsigned n, uint64_t *ret_first_seq,
	struct errbuf *e)
{
	struct ends next = s->at;
	MDB_txn *t;
	int r, rc = 0;

	ASSERT(n > 0);
	for (unsigned i = 0; i < n; i++)
		ASSERT(records[i].n <= USAGE_RECORD_MAX_BYTES);
	if (!s->poisoned && !has_room(s, records, n))
		return write_failed(s, MDB_MAP_FULL, false, e);
	r = write_begin(s, &t, e);
	if (r < 0)
		return r;
	rc = write_drop(s, t, &next);
	if (rc == 0)
		rc = write_records(s, t, records, n, &next);
	r = write_end(s, t, rc, &next, e);
	if (r == 0)
		*ret_first_seq = next.last - n + 1;
	return r;
}

void spool_acknowledge(struct spool *s, uint64_t high_water)
{
	s->acknowledged = MAX(s->acknowledged, high_water);
}

int spool_drop(struct spool *s, struct errbuf *e)
{
	struct ends next = s->at;
	MDB_txn *t;
	int r;

	if (!spool_drop_wanted(s))
		return 0;
	r = write_begin(s, &t, e);
	return r < 0 ? r : write_end(s, t, write_drop(s, t, &next), &next, e);
}

/* --- open
 * ------------------------------------------------------------------------------------------ */

/* The file has its blocks: a disk that fills up later does not stop the spool. */
static int file_secure(struct spool *s, const char *dir, uint64_t map_bytes, struct errbuf *e)
{
	int r = held_file_open(dir, "spool.mdb", "state_dir", s->path, &s->lock_fd, e);

	if (r < 0)
		return r;
	if (fallocate(s->lock_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)map_bytes) < 0 &&
		errno != EOPNOTSUPP)
		return err_set(e, -errno,
			"%s: %" PRIu64 " MiB can't be set aside: %s. Make room or lower spool_size",
			s->path, map_bytes >> 20, strerror(errno));
	return 0;
}

static int env_open(struct spool *s, uint64_t map_bytes, struct errbuf *e)
{
	MDB_envinfo info;
	MDB_stat stat;
	int dead, rc = mdb_env_create(&s->env);

	if (rc == 0)
		rc = mdb_env_set_mapsize(s->env, map_bytes);
	if (rc == 0)
		rc = mdb_env_open(s->env, s->path, MDB_NOSUBDIR | MDB_NOTLS, 0600);
	if (rc == 0)
		rc = mdb_reader_check(s->env, &dead);
	if (rc == 0)
		rc = mdb_env_info(s->env, &info);
	if (rc == 0)
		rc = mdb_env_stat(s->env, &stat);
	if (rc != 0)
		return err_mdb(s, e, rc, "can't be opened");
	s->page_bytes = stat.ms_psize;
	s->map_pages = info.me_mapsize / stat.ms_psize;
	s->reserve_pages = MAX(s->map_pages / 64, (uint64_t)RESERVE_MIN_PAGES);
	s->reserve_pages = MIN(s->reserve_pages, (uint64_t)RESERVE_MAX_PAGES);
	atomic_store_explicit(&s->map_bytes, info.me_mapsize, memory_order_relaxed);
	return 0;
}

static int identity_create(struct spool *s, MDB_txn *t, struct errbuf *e)
{
	uint8_t room[IDENTITY_BYTES] = IDENTITY_MAGIC;
	MDB_val key = key_identity(), v = { sizeof(room), room };
	int rc;

	room[11] = SPOOL_FORMAT;
	if (getrandom(s->store_id, sizeof(s->store_id), 0) != sizeof(s->store_id))
		return err_set(e, -EIO, "no random numbers from the system");
	memcpy(room + 12, s->store_id, sizeof(s->store_id));
	rc = mdb_put(t, s->dbi, &key, &v, 0);
	return rc == 0 ? 0 : err_mdb(s, e, rc, "can't be created");
}

static int identity_load(struct spool *s, MDB_txn *t, struct errbuf *e)
{
	MDB_val key = key_identity(), v;
	MDB_stat stat;
	const uint8_t *p;
	uint32_t format;
	int rc = mdb_stat(t, s->dbi, &stat);

	if (rc == 0 && stat.ms_entries == 0)
		return identity_create(s, t, e);
	if (rc == 0)
		rc = mdb_get(t, s->dbi, &key, &v);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return err_mdb(s, e, rc, "can't be read");
	if (rc == MDB_NOTFOUND || v.mv_size < IDENTITY_BYTES ||
		memcmp(v.mv_data, IDENTITY_MAGIC, 8) != 0)
		return err_set(e, -EBADMSG, "%s is not a spool; move it away", s->path);
	p = v.mv_data;
	format = get_u32(p + 8);
	if (format != SPOOL_FORMAT)
		return err_set(e, -EPROTONOSUPPORT,
			"%s has format %" PRIu32
			"; this program knows up to %d. Start the version that wrote it",
			s->path, format, SPOOL_FORMAT);
	memcpy(s->store_id, p + 12, sizeof(s->store_id));
	return 0;
}

/* First, last, group and chain from what is there; -EBADMSG if sequences are not dense. */
static int ends_load(struct spool *s, MDB_txn *t, struct errbuf *e)
{
	uint8_t room[8];
	MDB_val key = key_of(0, room), v;
	MDB_stat stat;
	uint64_t others = 1; /* identity */
	int r, rc = mdb_get(t, s->dbi, &key, &v);

	if (rc != 0 && rc != MDB_NOTFOUND)
		return err_mdb(s, e, rc, "can't be read");
	if (rc == 0) {
		if (v.mv_size < ANCHOR_BYTES)
			return err_set(e, -EBADMSG, "%s is damaged (anchor)", s->path);
		s->at.last = get_u64(v.mv_data);
		v = (MDB_val){ v.mv_size - 8, (char *)v.mv_data + 8 };
		s->at.group = value_group(&v);
		memcpy(s->at.chain, value_chain(&v), CHAIN_BYTES);
		others++;
	}
	s->at.first = s->at.last + 1;
	rc = mdb_stat(t, s->dbi, &stat);
	if (rc != 0)
		return err_mdb(s, e, rc, "can't be read");
	if (stat.ms_entries <= others)
		return 0;
	s->at.last += stat.ms_entries - others;
	r = record_at(s, t, s->at.last, &v, e); /* fails if the last is another: not dense */
	if (r < 0)
		return r;
	s->at.group = value_group(&v);
	memcpy(s->at.chain, value_chain(&v), CHAIN_BYTES);
	return record_at(s, t, s->at.first, &v, e);
}

static int content_load(struct spool *s, struct errbuf *e)
{
	MDB_txn *t;
	int r, rc = mdb_txn_begin(s->env, NULL, 0, &t);

	if (rc != 0)
		return err_mdb(s, e, rc, "can't be opened");
	rc = mdb_dbi_open(t, NULL, 0, &s->dbi);
	r = rc == 0 ? identity_load(s, t, e) : err_mdb(s, e, rc, "can't be opened");
	if (r == 0)
		r = ends_load(s, t, e);
	if (r < 0) {
		mdb_txn_abort(t);
		return r;
	}
	rc = mdb_txn_commit(t);
	if (rc == 0)
		rc = used_measure(s);
	if (rc != 0)
		return err_mdb(s, e, rc, "can't be opened");
	gauges_publish(s);
	return 0;
}

int spool_open(const char *state_dir, uint64_t map_bytes, struct spool **ret, struct errbuf *e)
{
	struct spool *s;
	int r;

	if (map_bytes < SPOOL_MIN_MAP_BYTES)
		return err_set(e, -EINVAL, "spool_size is at least 1MiB");
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	map_bytes = (map_bytes + 0xffff) & ~(uint64_t)0xffff; /* whole pages of any size */
	s->lock_fd = -1;
	r = file_secure(s, state_dir, map_bytes, e);
	if (r == 0)
		r = env_open(s, map_bytes, e);
	if (r == 0)
		r = content_load(s, e);
	if (r < 0) {
		spool_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void spool_close(struct spool *s)
{
	if (!s)
		return;
	if (s->reader)
		mdb_txn_abort(s->reader);
	if (s->env)
		mdb_env_close(s->env);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	free(s);
}
