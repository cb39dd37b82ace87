#include <aigw/ring.h>

int ring_init(struct ring *r, uint32_t capacity)
{
	if (capacity == 0 || (capacity & (capacity - 1)) != 0)
		return -EINVAL;
	r->items = calloc(capacity, sizeof(*r->items));
	if (!r->items)
		return -ENOMEM;
	r->mask = capacity - 1;
	atomic_init(&r->head, 0);
	atomic_init(&r->tail, 0);
	return 0;
}

void ring_fini(struct ring *r)
{
	free(r->items);
	r->items = NULL;
}

bool ring_push(struct ring *r, uint32_t v)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);

	if (head - tail > r->mask)
		return false;
	r->items[head & r->mask] = v;
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	return true;
}

uint32_t ring_peek(const struct ring *r, uint32_t *out, uint32_t max)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	uint32_t n = (uint32_t)MIN(head - tail, (uint64_t)max);

	for (uint32_t i = 0; i < n; i++)
		out[i] = r->items[(tail + i) & r->mask];
	return n;
}

void ring_consume(struct ring *r, uint32_t n)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	ASSERT(n <= atomic_load_explicit(&r->head, memory_order_acquire) - tail);
	atomic_store_explicit(&r->tail, tail + n, memory_order_release);
}
