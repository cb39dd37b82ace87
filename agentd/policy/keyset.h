/* All virtual keys that this agent knows, looked up in an LMDB of its own (a million keys are
 * looked up, not loaded). The committer thread is its only writer; workers read with a transaction
 * of their own each. A verdict holds only for the generation it was made at: sequences may repeat
 * (another controller, one restored from a backup), generations never do within a process. */
#ifndef AGENTD_POLICY_KEYSET_H
#define AGENTD_POLICY_KEYSET_H

#include <aigw/errbuf.h>
#include <aigw/vkey.h>

struct keyset;
struct keyset_reader; /* one thread's */

int keyset_open(const char *state_dir, struct keyset **ret,
	struct errbuf *e); /* STATE_DIR/keys.mdb; format number; newer refused */
void keyset_close(struct keyset *k);
uint64_t keyset_seq(
	const struct keyset *k); /* any thread; acquire: the controller's, for hello and keys.ack */
uint64_t keyset_generation(
	const struct keyset *k); /* any thread; acquire: another one after every commit, from 1 */
void keyset_realm(const struct keyset *k, uint8_t ret[16]); /* zero: none yet; control loop */
uint64_t keyset_count(const struct keyset *k);

/* Committer thread: one transaction, then the sequence is published. A revoked id is revived by
 * nothing that a change says (snapshot of another realm excepted). */
int keyset_replace(struct keyset *k, const uint8_t realm[16], uint64_t seq,
	const struct slice *records, uint32_t n, struct errbuf *e);
int keyset_change(struct keyset *k, uint64_t seq, const struct slice *records, uint32_t n,
	struct errbuf *e); /* -EINVAL: seq does not follow */

int keyset_reader_new(struct keyset *k, struct keyset_reader **ret, struct errbuf *e);
void keyset_reader_free(struct keyset_reader *r);

struct key_verdict {
	uint64_t generation;    /* at which it was made: remembered per connection, valid while
				   keyset_generation() says the same */
	enum key_state state;   /* 0: unknown id or wrong secret */
	char project[64];       /* NUL-terminated */
	usec expires_us;        /* wall; 0: never */
	char require_tags[128]; /* names between commas; NUL-terminated */
};
/* The key's verifier is compared in constant time. 0 or negative (store trouble). */
int keyset_look_up(struct keyset_reader *r, const struct vkey *key, struct key_verdict *ret);
/* All keys, in the order of ids; the record's slices are valid within `each`, which returns 0 to go
 * on. */
int keyset_walk(
	struct keyset_reader *r, int (*each)(const struct key_record *k, void *arg), void *arg);

/* --- caches beside it, written by committer jobs, read at start
 * ------------------------------------------------- */
/* STATE_DIR/policy.cache: revision, applied, packed document, CRC-32C, format number; 0600. */
int policy_cache_write(const char *state_dir, uint64_t revision, usec applied_us,
	struct slice packed, struct errbuf *e);
int policy_cache_read(const char *state_dir, uint64_t *ret_revision, usec *ret_applied_us,
	struct buf *packed, struct errbuf *e); /* -ENOENT */

#endif
