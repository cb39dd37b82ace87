/* Chunks in a list; the head is the one being filled. A large piece gets a chunk of its own behind
 * the head, so that the head's free space is not lost. */
#include <aigw/arena.h>

#include <stdarg.h>

#define ARENA_ALIGN 16

struct arena_chunk {
	struct arena_chunk *next;
	size_t used;
	size_t size; /* of data */
	_Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *a, size_t chunk_bytes, size_t limit_bytes)
{
	ASSERT(chunk_bytes > sizeof(struct arena_chunk));
	*a = (struct arena){ .chunk_bytes = chunk_bytes, .limit_bytes = limit_bytes };
}

void arena_fini(struct arena *a)
{
	struct arena_chunk *c = a->head;

	while (c) {
		struct arena_chunk *next = c->next;

		free(c);
		c = next;
	}
	a->head = NULL;
	a->used_bytes = 0;
}

static struct arena_chunk *arena_chunk_new(struct arena *a, size_t total)
{
	struct arena_chunk *c;

	if (a->used_bytes > a->limit_bytes || total > a->limit_bytes - a->used_bytes)
		return NULL;
	c = malloc(total);
	if (!c)
		return NULL;
	a->used_bytes += total;
	*c = (struct arena_chunk){ .size = total - sizeof(*c) };
	return c;
}

static char *arena_take(struct arena *a, size_t n, size_t align)
{
	struct arena_chunk *c = a->head;
	size_t room = a->chunk_bytes - sizeof(*c);
	size_t at = 0;

	if (c) {
		at = (c->used + align - 1) & ~(align - 1);
		if (at <= c->size && n <= c->size - at)
			goto found;
	}
	if (n > SIZE_MAX - sizeof(*c))
		return NULL;
	at = 0;
	if (c && n > room / 4) {
		c = arena_chunk_new(a, sizeof(*c) + n);
		if (!c)
			return NULL;
		c->next = a->head->next;
		a->head->next = c;
	} else {
		c = arena_chunk_new(a, sizeof(*c) + MAX(n, room));
		if (!c)
			return NULL;
		c->next = a->head;
		a->head = c;
	}
found:
	c->used = at + n;
	return c->data + at;
}

void *arena_alloc(struct arena *a, size_t n)
{
	char *p = arena_take(a, n, ARENA_ALIGN);

	if (p)
		memset(p, 0, n);
	return p;
}

char *arena_bytes(struct arena *a, const void *p, size_t n)
{
	char *copy = n < SIZE_MAX ? arena_take(a, n + 1, 1) : NULL;

	if (!copy)
		return NULL;
	if (n)
		memcpy(copy, p, n);
	copy[n] = '\0';
	return copy;
}

struct slice arena_slice(struct arena *a, struct slice s)
{
	char *copy = arena_bytes(a, s.p, s.n);

	return copy ? slice_of(copy, s.n) : SLICE_EMPTY;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	char *p = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n >= 0)
		p = arena_take(a, (size_t)n + 1, 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
