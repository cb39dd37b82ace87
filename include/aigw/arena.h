/* Memory of one request or one document, freed whole. Hard limit; zeroed memory; alignment 16
 * unless said. One owner, one thread at a time. */
#ifndef AIGW_ARENA_H
#define AIGW_ARENA_H

#include <aigw/slice.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *head;
	size_t used_bytes;  /* of all chunks */
	size_t limit_bytes; /* of all chunks */
	size_t chunk_bytes; /* size of the next ordinary chunk, header included */
};

/* Allocates nothing yet. */
void arena_init(struct arena *a, size_t chunk_bytes, size_t limit_bytes);
void arena_fini(struct arena *a);             /* frees all; usable again */
void *arena_alloc(struct arena *a, size_t n); /* NULL: out of memory or over the limit */
char *arena_bytes(struct arena *a, const void *p, size_t n); /* copy, unaligned, NUL behind it */
struct slice arena_slice(struct arena *a, struct slice s);   /* copy; {NULL,0} on failure */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
