/* The durable queue of usage records (LMDB, default flags only): appended in groups, read back for
 * the uplink, dropped when the controller acknowledged. Records are keyed by dense big-endian
 * sequence; each value: group number, chain hash after it, record bytes. All functions on the
 * committer thread (or before it starts, after it ended), except spool_gauges. */
#ifndef AGENTD_ACCOUNT_SPOOL_H
#define AGENTD_ACCOUNT_SPOOL_H

#include <aigw/errbuf.h>
#include <aigw/usage.h>

#define SPOOL_MIN_MAP_BYTES (1u << 20)
#define SPOOL_FORMAT        1
#define SPOOL_FULL_PERCENT  80

struct spool;

struct spool_gauges {                 /* any thread; snapshot of atomics */
	uint64_t first_seq, last_seq; /* empty: first = last + 1 */
	uint64_t records;
	uint64_t used_bytes, map_bytes;
	usec oldest_wall_us; /* end time of the first record; 0: empty */
	bool full;           /* at SPOOL_FULL_PERCENT: new billable calls are refused */
	bool failed;         /* a sync failed: nothing is written any more until restart */
};

/* Creates or opens STATE_DIR/spool.mdb with a fixed map; preallocates with fallocate(KEEP_SIZE).
 * -EBUSY: another agent holds it; -EPROTONOSUPPORT: a newer format; -EBADMSG: not a spool, or
 * damaged; each with a sentence. */
int spool_open(const char *state_dir, uint64_t map_bytes, struct spool **ret, struct errbuf *e);
void spool_close(struct spool *s);
void spool_store_id(const struct spool *s, uint8_t ret[16]);
void spool_read_gauges(const struct spool *s, struct spool_gauges *ret);

/* Appends n encoded records as one group in one synced transaction, and drops acknowledged ones
 * (see spool_acknowledge) in the same. On failure nothing of the group is stored and the handle is
 * poisoned (-EIO; -ENOSPC: full, not poisoned). *ret_first_seq: sequence of the first. */
int spool_append(struct spool *s, const struct slice *records, unsigned n, uint64_t *ret_first_seq,
	struct errbuf *e);
uint64_t spool_next_group(const struct spool *s); /* number that the next append gives its group */
void spool_acknowledge(struct spool *s,
	uint64_t high_water); /* remembered; dropped by the next append, or spool_drop() */
bool spool_drop_wanted(const struct spool *s);     /* something acknowledged is still there */
int spool_drop(struct spool *s, struct errbuf *e); /* up to 1,024 in a transaction of its own, when
						      nothing was appended for a second */

/* Operation ids of the last committed group (for recovery): calls fn for each. */
int spool_last_group(struct spool *s, void (*fn)(const uint8_t op_id[16], void *arg), void *arg,
	struct errbuf *e);

/* Up to max_bytes / max_n records from `seq` on, copied into b one after the other; lengths in
 * `lens`. prev_hash: chain before seq; hash: after the last. seq = last + 1: none, both hashes are
 * the chain's end. -ERANGE: seq was dropped or never was; -EBADMSG: a record is damaged. */
int spool_read(struct spool *s, uint64_t seq, unsigned max_n, size_t max_bytes, struct buf *b,
	uint32_t *lens, unsigned *ret_n, uint8_t prev_hash[32], uint8_t hash[32], struct errbuf *e);

#endif
