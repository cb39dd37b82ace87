/* An entry's `version` says whose it is: 2n+1 while line n is being written, 2n+2 when it is whole.
 * A writer takes an entry that is whole only; if one of the round before is still at it (its thread
 * was stopped for 4,096 lines), the newer line is given up, and readers see it as lost. So an entry
 * has one writer at a time, and a reader who finds the same version before and after has a whole
 * line. Words are plain atomics, so that this is no data race by the letter either. */
#include "stats/line_ring.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define ENTRY_WORDS (LINE_MAX_BYTES / 8)
/* A line that is so far behind and not there was given up. */
#define STALLED (LINE_RING_LINES / 16)

#define PREFETCH_BYTES 320 /* of a usual line */

struct entry {
	_Atomic uint64_t version;
	_Atomic uint32_t n;
	_Atomic uint64_t words[ENTRY_WORDS];
};

struct line_ring {
	_Alignas(64) _Atomic uint64_t next;
	_Alignas(64) struct entry entries[LINE_RING_LINES];
};

int line_ring_new(struct line_ring **ret)
{
	/* Mapped, so zero as a ring without lines has to be, and no page there before its first
	 * line. */
	void *p = mmap(NULL, sizeof(struct line_ring), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	*ret = p;
	return 0;
}

void line_ring_free(struct line_ring *r)
{
	if (r)
		(void)munmap(r, sizeof(*r));
}

void line_ring_post(struct line_ring *r, struct slice line)
{
	uint64_t at = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
	struct entry *e = &r->entries[at % LINE_RING_LINES];
	uint64_t version = atomic_load_explicit(&e->version, memory_order_relaxed);
	size_t n = MIN(line.n, (size_t)LINE_MAX_BYTES);

	if (version & 1 || !atomic_compare_exchange_strong_explicit(&e->version, &version,
				   2 * at + 1, memory_order_acquire, memory_order_relaxed))
		return;
	atomic_thread_fence(memory_order_release); /* the odd version is seen before the words */
	for (size_t i = 0; i < n; i += 8) {
		uint64_t word = 0;

		memcpy(&word, line.p + i, MIN(n - i, (size_t)8));
		atomic_store_explicit(&e->words[i / 8], word, memory_order_relaxed);
	}
	atomic_store_explicit(&e->n, (uint32_t)n, memory_order_relaxed);
	atomic_store_explicit(&e->version, 2 * at + 2, memory_order_release);
	/* The ring is larger than a cache: the next line's place is on its way until it is needed.
	 */
	e = &r->entries[(at + 1) % LINE_RING_LINES];
	for (size_t i = 0; i < PREFETCH_BYTES; i += 64)
		__builtin_prefetch((const char *)e + i, 1);
}

uint64_t line_ring_next(const struct line_ring *r)
{
	return atomic_load_explicit(&r->next, memory_order_acquire);
}

uint64_t line_ring_first(const struct line_ring *r)
{
	uint64_t next = line_ring_next(r);

	return next > LINE_RING_LINES ? next - LINE_RING_LINES : 0;
}

int line_ring_read(const struct line_ring *r, uint64_t n, char out[static LINE_MAX_BYTES],
	size_t *ret_n, uint64_t *ret_first)
{
	const struct entry *e = &r->entries[n % LINE_RING_LINES];
	uint64_t version = atomic_load_explicit(&e->version, memory_order_acquire);
	uint64_t next = line_ring_next(r);
	size_t bytes;

	if (version == 2 * n + 2) {
		bytes = MIN(atomic_load_explicit(&e->n, memory_order_relaxed), LINE_MAX_BYTES);
		for (size_t i = 0; i < bytes; i += 8) {
			uint64_t word =
				atomic_load_explicit(&e->words[i / 8], memory_order_relaxed);

			memcpy(out + i, &word, MIN(bytes - i, (size_t)8));
		}
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&e->version, memory_order_relaxed) == version) {
			*ret_n = bytes;
			return 0;
		}
		next = line_ring_next(r);
	}
	if (n >= next || (version < 2 * n + 2 && next - n < STALLED))
		return -EAGAIN;
	*ret_first = MAX(n + 1, next > LINE_RING_LINES ? next - LINE_RING_LINES : 0);
	return -EOVERFLOW;
}
