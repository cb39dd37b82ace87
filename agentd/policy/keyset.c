/* What the stored keys mean. A revoked id stays in the store as a tombstone: within one realm (one
 * controller store) no change and no snapshot, however old, makes it valid again. Only another
 * realm's snapshot begins anew. */
#include "policy/keyset.h"
#include "policy/key_cache.h"

#include <aigw/policy_doc.h>
#include <aigw/secret.h>

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

struct keyset {
	struct key_cache *cache;
	/* Guards head between the committer, who changes it, and the control loop, who reports it;
	 * not on any data path. */
	pthread_mutex_t lock;
	struct key_cache_head head;
	_Atomic uint64_t seq, count, generation;
};

struct keyset_reader {
	const struct keyset *keyset;
	struct key_cache_reader *cache;
};

int keyset_open(const char *state_dir, struct keyset **ret, struct errbuf *e)
{
	char path[PATH_MAX];
	struct keyset *k = calloc(1, sizeof(*k));
	int n, r;

	if (!k)
		return err_set(e, -ENOMEM, "no memory for the key set");
	n = snprintf(path, sizeof(path), "%s/keys.mdb", state_dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		r = err_set(e, -ENAMETOOLONG, "state_dir is too long");
	else
		r = key_cache_open(path, &k->cache, &k->head, e);
	if (r < 0) {
		free(k);
		return r;
	}
	(void)pthread_mutex_init(&k->lock, NULL);
	atomic_init(&k->seq, k->head.seq);
	atomic_init(&k->count, k->head.count);
	atomic_init(&k->generation, 1);
	*ret = k;
	return 0;
}

void keyset_close(struct keyset *k)
{
	if (!k)
		return;
	key_cache_close(k->cache);
	(void)pthread_mutex_destroy(&k->lock);
	free(k);
}

uint64_t keyset_seq(const struct keyset *k)
{
	return atomic_load_explicit(&k->seq, memory_order_acquire);
}

uint64_t keyset_generation(const struct keyset *k)
{
	return atomic_load_explicit(&k->generation, memory_order_acquire);
}

uint64_t keyset_count(const struct keyset *k)
{
	return atomic_load_explicit(&k->count, memory_order_acquire);
}

void keyset_realm(const struct keyset *k, uint8_t ret[16])
{
	struct keyset *shared = (struct keyset *)k; /* a lock is no change */

	(void)pthread_mutex_lock(&shared->lock);
	memcpy(ret, k->head.realm, 16);
	(void)pthread_mutex_unlock(&shared->lock);
}

/* --- committer ------------------------------------------------------------------------ */

static bool record_is_revoked(struct slice record)
{
	struct key_record k;

	return record.p && key_record_unpack(record, &k) == 0 && k.state == KEY_REVOKED;
}

static bool record_is_dropped(struct slice record)
{
	(void)record;
	return false;
}

static int store_record(struct key_cache_txn *t, struct slice record, struct errbuf *e)
{
	struct key_record k;
	struct slice there;
	int r;

	if (key_record_unpack(record, &k) < 0)
		return err_set(e, -EBADMSG, "a key's record from the controller is not valid");
	if (k.project.n > POLICY_NAME_MAX)
		return err_set(e, -EBADMSG,
			"key " SLICE_FMT ": the name of its project is too long", VKEY_ID_LEN,
			k.id);
	if (k.state != KEY_REVOKED) {
		r = key_cache_get(t, k.id, &there, e);
		/* What is damaged might have been a tombstone, and nobody can say so any more: the
		 * record of the controller is the truth then. */
		if (r < 0 && r != -EBADMSG)
			return r;
		if (r == 0 && record_is_revoked(there))
			return 0;
	}
	return key_cache_put(t, k.id, record, e);
}

/* Stores the records, commits, publishes. The transaction is gone after. */
static int store_all(struct keyset *k, struct key_cache_txn *t, struct key_cache_head head,
	const struct slice *records, uint32_t n, struct errbuf *e)
{
	int r;

	for (uint32_t i = 0; i < n; i++) {
		r = store_record(t, records[i], e);
		if (r < 0) {
			key_cache_abort(t);
			return r;
		}
	}
	r = key_cache_commit(t, &head, e);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&k->lock);
	k->head = head;
	(void)pthread_mutex_unlock(&k->lock);
	atomic_store_explicit(&k->count, head.count, memory_order_release);
	atomic_store_explicit(&k->seq, head.seq, memory_order_release);
	(void)atomic_fetch_add_explicit(&k->generation, 1, memory_order_release);
	return 0;
}

int keyset_replace(struct keyset *k, const uint8_t realm[16], uint64_t seq,
	const struct slice *records, uint32_t n, struct errbuf *e)
{
	bool same = memcmp(realm, k->head.realm, 16) == 0;
	struct key_cache_head head = { .seq = seq };
	struct key_cache_txn *t;
	int r = key_cache_begin(k->cache, &t, e);

	if (r < 0)
		return r;
	memcpy(head.realm, realm, 16);
	r = key_cache_sift(t, same ? record_is_revoked : record_is_dropped, e);
	if (r < 0) {
		key_cache_abort(t);
		return r;
	}
	return store_all(k, t, head, records, n, e);
}

int keyset_change(
	struct keyset *k, uint64_t seq, const struct slice *records, uint32_t n, struct errbuf *e)
{
	struct key_cache_head head = k->head;
	struct key_cache_txn *t;
	int r;

	if (seq == 0 || seq - 1 != head.seq)
		return err_set(e, -EINVAL,
			"change %" PRIu64 " of the keys does not follow %" PRIu64, seq, head.seq);
	r = key_cache_begin(k->cache, &t, e);
	if (r < 0)
		return r;
	head.seq = seq;
	return store_all(k, t, head, records, n, e);
}

/* --- workers -------------------------------------------------------------------------- */

int keyset_reader_new(struct keyset *k, struct keyset_reader **ret, struct errbuf *e)
{
	struct keyset_reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(e, -ENOMEM, "no memory for a reader of the key set");
	r->keyset = k;
	rc = key_cache_reader_new(k->cache, &r->cache, e);
	if (rc < 0) {
		free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void keyset_reader_free(struct keyset_reader *r)
{
	if (!r)
		return;
	key_cache_reader_free(r->cache);
	free(r);
}

static int judge(struct slice bytes, const struct vkey *key, struct key_verdict *v)
{
	struct key_record k;

	if (!bytes.p)
		return 0;
	if (key_record_unpack(bytes, &k) < 0 || k.project.n >= sizeof(v->project) ||
		k.require_tags.n >= sizeof(v->require_tags))
		return -EBADMSG;
	if (!secret_eq(slice_of((const char *)k.verifier, sizeof(k.verifier)),
		    slice_of((const char *)key->verifier, sizeof(key->verifier))))
		return 0;
	v->state = k.state;
	v->expires_us = k.expires_us;
	if (k.project.n)
		memcpy(v->project, k.project.p, k.project.n);
	if (k.require_tags.n)
		memcpy(v->require_tags, k.require_tags.p, k.require_tags.n);
	return 0;
}

int keyset_look_up(struct keyset_reader *r, const struct vkey *key, struct key_verdict *ret)
{
	/* Read before the look-up: a commit in between makes the verdict look older than it is,
	 * never newer. */
	struct key_verdict v = { .generation = keyset_generation(r->keyset) };
	struct slice bytes;
	int rc = key_cache_look_up(r->cache, key->id, &bytes);

	if (rc < 0)
		return rc;
	rc = judge(bytes, key, &v);
	key_cache_release(r->cache);
	if (rc == 0)
		*ret = v;
	return rc;
}

struct walk {
	int (*each)(const struct key_record *k, void *arg);
	void *arg;
};

static int on_walk(struct slice bytes, void *arg)
{
	const struct walk *w = arg;
	struct key_record k;

	return key_record_unpack(bytes, &k) ? 0 : w->each(&k, w->arg);
}

int keyset_walk(
	struct keyset_reader *r, int (*each)(const struct key_record *k, void *arg), void *arg)
{
	struct walk w = { each, arg };

	return key_cache_walk(r->cache, on_walk, &w);
}
