#include "request/request.h"

#include <sys/mman.h>

static bool memory_take(struct gateway *gw, size_t n)
{
	uint64_t all = atomic_fetch_add_explicit(&gw->body_bytes, n, memory_order_relaxed) + n;

	if (all <= atomic_load_explicit(&gw->body_memory, memory_order_relaxed))
		return true;
	atomic_fetch_sub_explicit(&gw->body_bytes, n, memory_order_relaxed);
	return false;
}

static void memory_give(struct gateway *gw, size_t n)
{
	atomic_fetch_sub_explicit(&gw->body_bytes, n, memory_order_relaxed);
}

static size_t block_size(size_t cap)
{
	size_t size = BODY_LEAST_BYTES;

	while (size < cap)
		size *= 2;
	return size;
}

static int class_of(size_t size)
{
	int c = 0;

	while (c < BODY_CLASSES && ((size_t)BODY_LEAST_BYTES << c) != size)
		c++;
	return c < BODY_CLASSES ? c : -1;
}

static void block_free(char *p, size_t size)
{
	if (size < BODY_MAPPED_BYTES)
		free(p);
	else
		(void)munmap(p, size);
}

static char *block_take(struct body_cache *cache, size_t size)
{
	int c = class_of(size);
	void *p;

	if (c >= 0 && cache->n[c]) {
		p = cache->block[c][--cache->n[c]];
		cache->least[c] = MIN(cache->least[c], cache->n[c]);
		return p;
	}
	if (size < BODY_MAPPED_BYTES)
		return malloc(size);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void block_give(struct request_env *env, char *p, size_t size)
{
	struct body_cache *cache = &env->bodies;
	int c = class_of(size);

	if (c < 0 || cache->closed || cache->n[c] == BODY_KEEP) {
		block_free(p, size);
		return;
	}
	cache->block[c][cache->n[c]++] = p;
	if (!deadline_is_armed(&cache->trim))
		deadline_set(env->loop, &cache->trim, BODY_TRIM_US);
}

static void on_trim(struct deadline *d)
{
	struct request_env *env = container_of(d, struct request_env, bodies.trim);
	struct body_cache *cache = &env->bodies;
	unsigned left = 0;

	for (int c = 0; c < BODY_CLASSES; c++) {
		for (; cache->least[c]; cache->least[c]--)
			block_free(cache->block[c][--cache->n[c]], (size_t)BODY_LEAST_BYTES << c);
		cache->least[c] = cache->n[c];
		left += cache->n[c];
	}
	if (left)
		deadline_set(env->loop, d, BODY_TRIM_US);
}

void body_cache_init(struct body_cache *cache)
{
	deadline_init(&cache->trim, on_trim);
}

void body_cache_close(struct request_env *env)
{
	env->bodies.closed = true;
	deadline_stop(env->loop, &env->bodies.trim);
}

bool body_room(struct request *r, size_t cap)
{
	struct request_env *env = r->env;
	size_t size = block_size(cap);
	char *p;

	if (!memory_take(env->gw, size))
		return false;
	p = block_take(&env->bodies, size);
	if (!p) {
		memory_give(env->gw, size);
		return false;
	}
	if (r->body.bytes) {
		memcpy(p, r->body.bytes, r->body.n);
		block_give(env, r->body.bytes, r->body.cap);
		memory_give(env->gw, r->body.cap);
	}
	r->body.bytes = p;
	r->body.cap = size;
	return true;
}

void body_free(struct request *r)
{
	if (!r->body.bytes)
		return;
	memory_give(r->env->gw, r->body.cap);
	block_give(r->env, r->body.bytes, r->body.cap);
	r->body = (struct body){ 0, 0, NULL };
}

void body_cache_fini(struct body_cache *cache)
{
	for (int c = 0; c < BODY_CLASSES; c++)
		while (cache->n[c])
			block_free(cache->block[c][--cache->n[c]], (size_t)BODY_LEAST_BYTES << c);
}
