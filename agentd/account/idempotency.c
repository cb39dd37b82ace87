/* File: one page of head, then the entries. An entry counts when its checksum fits and its time is
 * not 0; the time is written last and taken away first, so that a kill leaves no half of one. The
 * call of an entry runs if it was claimed in this life of the table: what a killed process leaves
 * has ended. */
#include "account/idempotency.h"

#include "account/held_file.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <aigw/crc.h>

#define HEAD_BYTES 4096
#define HEAD_MAGIC UINT64_C(0x31796e6564697761) /* "awideny1", little-endian */
#define FORMAT     1
#define LOCKS      256
#define SPINS      64
#define FILE_BYTES (HEAD_BYTES + (size_t)IDEMPOTENCY_KEYS * sizeof(struct entry))
#define BUCKETS    (IDEMPOTENCY_KEYS / IDEMPOTENCY_WAYS)

struct head {
	uint64_t magic;
	uint32_t format;
	uint32_t count;
	uint32_t life; /* counts the processes that have had the file */
};

struct entry {
	struct idempotency_key key;
	uint8_t op_id[16];
	uint32_t crc;          /* of key and op_id */
	uint32_t life;         /* in which its call runs; 0: it has ended */
	_Atomic int64_t at_us; /* when it began, or ended; 0: free */
};
_Static_assert(sizeof(struct entry) == 64, "an entry is a cache line");

struct idempotency {
	int fd;
	struct head *head;
	struct entry *entries;
	_Atomic bool locks[LOCKS]; /* of buckets, by their number; not in the file: a kill frees
				      them */
};

static int file_map(struct idempotency *t, const char *path, struct errbuf *e)
{
	char *p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);

	if (p == MAP_FAILED)
		return err_set(e, -errno, "%s: can't be mapped: %s", path, strerror(errno));
	t->head = (struct head *)p;
	t->entries = (struct entry *)(p + HEAD_BYTES);
	return 0;
}

/* 1: nothing of use, to be made anew. */
static int file_look(const struct idempotency *t, const char *path, struct errbuf *e)
{
	struct head h = { 0 };
	struct stat st;
	ssize_t n = pread(t->fd, &h, sizeof(h), 0);

	if (n < 0 || fstat(t->fd, &st) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (h.magic != HEAD_MAGIC && (h.magic != 0 || (n > 0 && n < (ssize_t)sizeof(h))))
		return err_set(
			e, -EBADMSG, "%s is no table of idempotency keys; move it away.", path);
	return h.magic != HEAD_MAGIC || h.format != FORMAT || h.count != IDEMPOTENCY_KEYS ||
	       st.st_size != (off_t)FILE_BYTES;
}

static int file_settle(struct idempotency *t, const char *path, struct errbuf *e)
{
	int r = file_look(t, path, e);

	if (r < 0)
		return r;
	if (r && (ftruncate(t->fd, 0) < 0 || ftruncate(t->fd, (off_t)FILE_BYTES) < 0))
		return err_set(e, -errno, "%s: can't be made %zu bytes long: %s", path, FILE_BYTES,
			strerror(errno));
	r = file_map(t, path, e);
	if (r < 0)
		return r;
	t->head->format = FORMAT;
	t->head->count = IDEMPOTENCY_KEYS;
	if (!++t->head->life)
		t->head->life = 1;
	t->head->magic = HEAD_MAGIC;
	return 0;
}

int idempotency_open(const char *runtime_dir, struct idempotency **ret, struct errbuf *e)
{
	char path[HELD_FILE_PATH_MAX];
	struct idempotency *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	r = held_file_open(runtime_dir, "idempotency", "runtime_dir", path, &t->fd, e);
	if (r == 0)
		r = file_settle(t, path, e);
	if (r < 0) {
		idempotency_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

void idempotency_close(struct idempotency *t)
{
	if (!t)
		return;
	if (t->head)
		(void)munmap(t->head, FILE_BYTES);
	if (t->fd >= 0)
		(void)close(t->fd);
	free(t);
}

/* --- entries
 * -------------------------------------------------------------------------------------- */

static uint32_t bucket_of(const struct idempotency_key *key)
{
	uint32_t n;

	memcpy(&n, key->hash, sizeof(n));
	return n % BUCKETS;
}

/* Its owner may have been interrupted: then it gets the processor. */
static void bucket_lock(struct idempotency *t, uint32_t bucket)
{
	_Atomic bool *lock = &t->locks[bucket % LOCKS];

	for (unsigned spins = 1; atomic_exchange_explicit(lock, true, memory_order_acquire);
		spins++)
		if (spins % SPINS == 0)
			(void)sched_yield();
}

static void bucket_unlock(struct idempotency *t, uint32_t bucket)
{
	atomic_store_explicit(&t->locks[bucket % LOCKS], false, memory_order_release);
}

static uint32_t entry_crc(const struct entry *n)
{
	return crc32c(0, n, sizeof(n->key) + sizeof(n->op_id));
}

static bool entry_runs(const struct idempotency *t, const struct entry *n)
{
	return n->life == t->head->life;
}

/* How long ago it ended; negative: it holds nothing any more. */
static usec entry_age(const struct idempotency *t, const struct entry *n, usec now)
{
	usec at = atomic_load_explicit(&n->at_us, memory_order_relaxed);
	usec age = MAX(now - at, (usec)0); /* the clock may have been set back */

	if (!at || n->crc != entry_crc(n))
		return -1;
	return entry_runs(t, n) ? 0 : age < IDEMPOTENCY_KEEP_US ? age : -1;
}

static void entry_write(struct idempotency *t, struct entry *n, const struct idempotency_key *key,
	const uint8_t op_id[static 16], usec now)
{
	atomic_store_explicit(&n->at_us, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	n->key = *key;
	memcpy(n->op_id, op_id, sizeof(n->op_id));
	n->crc = entry_crc(n);
	n->life = t->head->life;
	atomic_store_explicit(&n->at_us, now, memory_order_release);
}

static enum idempotency_verdict claim(struct idempotency *t, struct entry *first,
	const struct idempotency_key *key, const uint8_t op_id[static 16], usec now,
	struct entry **ret, struct idempotency_earlier *ret_earlier)
{
	struct entry *place = NULL;
	usec oldest = IDEMPOTENCY_YOUNG_US - 1;

	for (struct entry *n = first; n < first + IDEMPOTENCY_WAYS; n++) {
		usec age = entry_age(t, n, now);

		if (age >= 0 && memcmp(n->key.hash, key->hash, sizeof(key->hash)) == 0) {
			memcpy(ret_earlier->op_id, n->op_id, sizeof(n->op_id));
			ret_earlier->runs = entry_runs(t, n);
			return n->key.body_hash == key->body_hash && n->key.body_n == key->body_n
				       ? IDEMPOTENCY_REPEATED
				       : IDEMPOTENCY_DIFFERS;
		}
		age = age < 0 ? INT64_MAX : age;
		if (age > oldest) {
			place = n;
			oldest = age;
		}
	}
	if (!place)
		return IDEMPOTENCY_FULL;
	entry_write(t, place, key, op_id, now);
	*ret = place;
	return IDEMPOTENCY_FIRST;
}

enum idempotency_verdict idempotency_claim(struct idempotency *t, const struct idempotency_key *key,
	const uint8_t op_id[static 16], usec now, uint32_t *ret_place,
	struct idempotency_earlier *ret_earlier)
{
	uint32_t bucket = bucket_of(key);
	struct entry *place = NULL;
	enum idempotency_verdict v;

	bucket_lock(t, bucket);
	v = claim(t, &t->entries[(size_t)bucket * IDEMPOTENCY_WAYS], key, op_id, now, &place,
		ret_earlier);
	bucket_unlock(t, bucket);
	*ret_place = place ? (uint32_t)(place - t->entries) : IDEMPOTENCY_NONE;
	return v;
}

void idempotency_end(struct idempotency *t, uint32_t place, usec now, bool forget)
{
	struct entry *n = &t->entries[place];
	uint32_t bucket = place / IDEMPOTENCY_WAYS;

	ASSERT(place < IDEMPOTENCY_KEYS);
	bucket_lock(t, bucket);
	atomic_store_explicit(&n->at_us, forget ? 0 : now, memory_order_release);
	n->life = 0;
	bucket_unlock(t, bucket);
}
