/* The last things that happened, as lines or small records of bytes: a bounded ring that any thread
 * posts to without waiting or locking, and that readers of any thread follow by number. A producer
 * never waits for a reader: who is too slow is told from where on there is something left. A post
 * costs one atomic addition and the copy. */
#ifndef AGENTD_STATS_LINE_RING_H
#define AGENTD_STATS_LINE_RING_H

#include <aigw/slice.h>

#define LINE_RING_LINES 4096u
#define LINE_MAX_BYTES  504u

struct line_ring;

int line_ring_new(struct line_ring **ret); /* -ENOMEM; memory is touched as it is used */
void line_ring_free(struct line_ring *r);  /* nobody posts or reads any more; NULL is allowed */

/* Any thread. What is longer than LINE_MAX_BYTES is cut. */
void line_ring_post(struct line_ring *r, struct slice line);
uint64_t line_ring_next(const struct line_ring *r);  /* number that the next one will have */
uint64_t line_ring_first(const struct line_ring *r); /* the oldest that may still be there */

/* Any thread. 0; -EAGAIN: not there yet; -EOVERFLOW: gone, *ret_first is the first that is left. */
int line_ring_read(const struct line_ring *r, uint64_t n, char out[static LINE_MAX_BYTES],
	size_t *ret_n, uint64_t *ret_first);

#endif
