/* A request's body in memory: where it comes from, how much of it there may be, who keeps what is
 * free. Worker's thread. */
#ifndef AGENTD_REQUEST_BODY_H
#define AGENTD_REQUEST_BODY_H

#include <aigw/loop.h>

struct request;
struct request_env;

/* A request's body: one block, counted against body_memory, released as soon as no attempt may need
 * it. It grows with what has arrived, not with what was announced; one project may hold half of
 * body_memory, and a single body more. Blocks come in powers of two; those of BODY_MAPPED_BYTES and
 * more are mapped, so that short-lived prompts leave no holes in the heap among long-lived streams.
 * Free ones are kept for the next requests, and what a second did not need is given back. */
#define BODY_LEAST_BYTES  1024
#define BODY_MAPPED_BYTES 16384
#define BODY_CLASSES      9  /* 1 KiB .. 256 KiB */
#define BODY_KEEP         64 /* free blocks kept of each class */
#define BODY_TRIM_US      USEC_PER_S

/* A body is read straight to its place where so much of it fits; less comes by way of the loop's
 * memory, which takes more in one read. */
#define BODY_DIRECT_BYTES (16u << 10)
#define BODY_LARGE_BYTES  (64u << 10) /* a block that grows before it is full, for direct reads */

/* A body of so many bytes that came whole in one read keeps the memory that it was read into, and
 * the loop reads into another block: cheaper than to copy it. */
#define BODY_ADOPT_BYTES BODY_MAPPED_BYTES

struct body {
	size_t n, cap; /* cap: of the block */
	char *block, *bytes;
};

struct body_cache {
	char *block[BODY_CLASSES][BODY_KEEP];
	uint8_t n[BODY_CLASSES];
	uint8_t least[BODY_CLASSES]; /* fewest since the last trim: so many were not needed */
	struct deadline trim;
	bool closed; /* keeps nothing more */
};

bool body_room(struct request *r,
	size_t cap); /* at least cap bytes; false: over body_memory or out of memory */
/* How much to take of a body that will be `length` bytes and needs `least` now: all of it at once
 * if a free block is there for it, else least. */
size_t body_step(const struct request *r, size_t least, size_t length);
/* p..n is the whole body and the end of what was read: takes over the loop's memory (see
 * BODY_ADOPT_BYTES). false: nothing has changed, copy it. */
bool body_adopt(struct request *r, char *p, size_t n);
bool body_would_fit(
	const struct request *r, size_t n); /* now, if it came at once: nothing is taken */
void body_free(struct request *r);
void body_cache_init(struct body_cache *c);
void body_cache_fini(struct body_cache *c);
bool body_charge(struct request *r, size_t n); /* memory beside the body, counted as such */
void body_uncharge(struct request *r, size_t n);
bool body_reserve(struct request *r, size_t n); /* for a whole upload */
void body_unreserve(struct request *r);
size_t body_block_size(size_t cap);
void body_cache_close(struct request_env *env); /* the worker stops: no deadline holds its loop */

#endif
