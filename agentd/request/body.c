#include "request/request.h"
#include "request/upload.h"

#include <sys/mman.h>

/* Whose share it is; 0: nobody's, there is none. */
static uint32_t share_of(const struct request *r)
{
	return r->rules ? r->rules->rules->policy->project_stat[r->project] : 0;
}

static void memory_give(struct request *r, size_t n)
{
	struct gateway *gw = r->env->gw;
	uint32_t share = share_of(r);

	atomic_fetch_sub_explicit(&gw->body_bytes, n, memory_order_relaxed);
	if (share)
		atomic_fetch_sub_explicit(&gw->project_bytes[share], n, memory_order_relaxed);
}

/* So that one project can't take the place of all others: half for all its bodies, unless this is
 * the only one. */
static bool memory_take(struct request *r, size_t n)
{
	struct gateway *gw = r->env->gw;
	uint64_t limit = atomic_load_explicit(&gw->body_memory, memory_order_relaxed);
	uint64_t all = atomic_fetch_add_explicit(&gw->body_bytes, n, memory_order_relaxed) + n;
	uint32_t share = share_of(r);
	uint64_t his = 0;

	if (share)
		his = atomic_fetch_add_explicit(
			      &gw->project_bytes[share], n, memory_order_relaxed) +
		      n;
	all += atomic_load_explicit(&gw->upload_bytes, memory_order_relaxed);
	if (all <= limit && (his <= limit / 2 || his - n <= r->body.cap))
		return true;
	memory_give(r, n);
	return false;
}

bool body_charge(struct request *r, size_t n)
{
	return memory_take(r, n);
}

void body_uncharge(struct request *r, size_t n)
{
	if (n)
		memory_give(r, n);
}

/* Uploads that have to be held whole have half of the memory, one project half of that, unless it
 * has no other: they come and go, and nobody's prompts wait for them. */
bool body_reserve(struct request *r, size_t n)
{
	struct gateway *gw = r->env->gw;
	struct upload *u = r->upload;
	uint64_t limit = atomic_load_explicit(&gw->body_memory, memory_order_relaxed) / 2;
	uint32_t share = share_of(r);
	_Atomic uint64_t *mine = &gw->project_uploads[share];
	uint64_t all = atomic_fetch_add_explicit(&gw->upload_bytes, n, memory_order_relaxed) + n;
	uint64_t his = atomic_fetch_add_explicit(mine, n, memory_order_relaxed) + n;

	u->reserved = n;
	u->has_room = true;
	if (all <= limit && (his <= limit / 2 || his == n))
		return true;
	body_unreserve(r);
	return false;
}

void body_unreserve(struct request *r)
{
	struct gateway *gw = r->env->gw;
	struct upload *u = r->upload;

	if (!u->has_room)
		return;
	ASSERT(!r->body.bytes || !u->covered);
	atomic_fetch_sub_explicit(&gw->upload_bytes, u->reserved, memory_order_relaxed);
	atomic_fetch_sub_explicit(
		&gw->project_uploads[share_of(r)], u->reserved, memory_order_relaxed);
	u->reserved = u->covered = 0;
	u->has_room = false;
}

size_t body_block_size(size_t cap)
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

static bool is_kept(const struct body_cache *cache, size_t size)
{
	int c = class_of(size);

	return c >= 0 && cache->n[c];
}

/* Mapped blocks grow by moving pages, not bytes, unless a free one is there: new pages cost more
 * than a copy. */
static char *block_grow(struct request *r, size_t size)
{
	void *p;

	if (r->body.cap < BODY_MAPPED_BYTES || is_kept(&r->env->bodies, size)) {
		p = block_take(&r->env->bodies, size);
		if (p) {
			memcpy(p, r->body.bytes, r->body.n);
			block_give(r->env, r->body.block, r->body.cap);
		}
		return p;
	}
	p = mremap(r->body.block, r->body.cap, size, MREMAP_MAYMOVE);
	return p == MAP_FAILED ? NULL : p;
}

bool body_room(struct request *r, size_t cap)
{
	size_t size = body_block_size(cap), more = size - r->body.cap;
	bool covered = r->upload && r->upload->has_room; /* by its reservation */
	char *p;

	if (!covered && !memory_take(r, more))
		return false;
	p = r->body.bytes ? block_grow(r, size) : block_take(&r->env->bodies, size);
	if (!p) {
		if (!covered)
			memory_give(r, more);
		return false;
	}
	if (covered)
		r->upload->covered += more;
	r->body.block = r->body.bytes = p;
	r->body.cap = size;
	return true;
}

size_t body_step(const struct request *r, size_t least, size_t length)
{
	return is_kept(&r->env->bodies, body_block_size(length)) ? length : MIN(least, length);
}

bool body_adopt(struct request *r, char *p, size_t n)
{
	struct loop *l = r->env->loop;
	size_t more = LOOP_SCRATCH_BYTES - r->body.cap;
	char *fresh;

	if (n < BODY_ADOPT_BYTES || r->body.cap > LOOP_SCRATCH_BYTES || p < l->scratch_in ||
		p + n > l->scratch_in + LOOP_SCRATCH_BYTES || !memory_take(r, more))
		return false;
	fresh = block_take(&r->env->bodies, LOOP_SCRATCH_BYTES);
	if (!fresh) {
		memory_give(r, more);
		return false;
	}
	if (r->body.block)
		block_give(r->env, r->body.block, r->body.cap);
	r->body = (struct body){ n, LOOP_SCRATCH_BYTES, loop_swap_scratch(l, fresh), p };
	return true;
}

bool body_would_fit(const struct request *r, size_t n)
{
	const struct gateway *gw = r->env->gw;

	return atomic_load_explicit(&gw->body_bytes, memory_order_relaxed) + n <=
	       atomic_load_explicit(&gw->body_memory, memory_order_relaxed);
}

void body_free(struct request *r)
{
	if (!r->body.bytes)
		return;
	memory_give(r, r->body.cap - (r->upload ? r->upload->covered : 0));
	block_give(r->env, r->body.block, r->body.cap);
	r->body = (struct body){ 0, 0, NULL, NULL };
	if (r->upload)
		body_unreserve(r);
}

void body_cache_fini(struct body_cache *cache)
{
	for (int c = 0; c < BODY_CLASSES; c++)
		while (cache->n[c])
			block_free(cache->block[c][--cache->n[c]], (size_t)BODY_LEAST_BYTES << c);
}
