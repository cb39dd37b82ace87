/* The key set's store: one LMDB file of records by key id and a head that says whose they are and
 * up to which change. It knows nothing of what records mean; keyset.c does. Default flags, so a
 * commit is on the disk when it returns. Threads: one writer at a time (the committer); each reader
 * object belongs to one thread at a time. */
#ifndef AGENTD_POLICY_KEY_CACHE_H
#define AGENTD_POLICY_KEY_CACHE_H

#include <aigw/errbuf.h>
#include <aigw/slice.h>
#include <aigw/vkey.h>

struct key_cache;
struct key_cache_reader;
struct key_cache_txn; /* a writing transaction */

struct key_cache_head {
	uint8_t realm[16];
	uint64_t seq;
	uint64_t count; /* records */
};

int key_cache_open(const char *path, struct key_cache **ret, struct key_cache_head *ret_head,
	struct errbuf *e);
void key_cache_close(struct key_cache *c);

int key_cache_begin(struct key_cache *c, struct key_cache_txn **ret, struct errbuf *e);
/* All three: 0 or negative with a sentence; the transaction has to be aborted then. */
int key_cache_put(
	struct key_cache_txn *t, const char id[VKEY_ID_LEN], struct slice record, struct errbuf *e);
/* Valid until the next put; *ret is SLICE_EMPTY if there is none. -EBADMSG: what is stored is
 * damaged. */
int key_cache_get(
	struct key_cache_txn *t, const char id[VKEY_ID_LEN], struct slice *ret, struct errbuf *e);
/* Deletes every record that `keep` does not want; a damaged one is offered as SLICE_EMPTY. */
int key_cache_sift(struct key_cache_txn *t, bool (*keep)(struct slice record), struct errbuf *e);
/* Writes the head (its count is filled in) and commits. The transaction is gone after, also on
 * failure. */
int key_cache_commit(struct key_cache_txn *t, struct key_cache_head *head, struct errbuf *e);
void key_cache_abort(struct key_cache_txn *t);

int key_cache_reader_new(struct key_cache *c, struct key_cache_reader **ret, struct errbuf *e);
void key_cache_reader_free(struct key_cache_reader *r);
/* Sees the last commit. The record is valid until key_cache_release(), which must follow every
 * look-up that returned 0; *ret is SLICE_EMPTY if there is none. */
int key_cache_look_up(struct key_cache_reader *r, const char id[VKEY_ID_LEN], struct slice *ret);
void key_cache_release(struct key_cache_reader *r);
/* Every record of the last commit, in the order of ids. `each` returns 0 to go on; what else it
 * returns ends the walk and is returned. Damaged ones are left out. */
int key_cache_walk(
	struct key_cache_reader *r, int (*each)(struct slice record, void *arg), void *arg);

#endif
