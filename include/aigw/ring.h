/* Ring of 32-bit numbers from one producing thread to one consuming thread; C11 acquire/release, no
 * lock. Capacity is a power of two fixed at init. */
#ifndef AIGW_RING_H
#define AIGW_RING_H

#include <aigw/base.h>
#include <stdatomic.h>

struct ring {
	uint32_t *items;
	uint32_t mask;
	_Alignas(64) _Atomic uint64_t head; /* next to write; producer's */
	_Alignas(64) _Atomic uint64_t tail; /* next to read; consumer's */
};

int ring_init(struct ring *r, uint32_t capacity); /* capacity: power of two */
void ring_fini(struct ring *r);
bool ring_push(struct ring *r, uint32_t v); /* producer; false: full */
/* Consumer: copies up to max numbers to out without consuming; ring_consume() then lets them go. */
uint32_t ring_peek(const struct ring *r, uint32_t *out, uint32_t max);
void ring_consume(struct ring *r, uint32_t n);

#endif
