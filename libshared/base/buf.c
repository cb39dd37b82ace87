#include <aigw/buf.h>

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){ .max = max_bytes };
}

void buf_fini(struct buf *b)
{
	if (!buf_is_borrowed(b))
		free(b->p);
	*b = (struct buf){ .max = b->max };
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->err = 0;
}

/* Memory for `want` bytes. One byte above max may be held: the NUL of buf_cstr(). */
__attribute__((noinline)) /* else LTO warns of a realloc that is_borrowed forbids */
static int
buf_grow(struct buf *b, size_t want)
{
	size_t cap = MAX(b->cap, (size_t)BUF_FIRST_BYTES);
	size_t most =
		b->max < SIZE_MAX ? b->max + 1 : SIZE_MAX; /* never max: see buf_is_borrowed */
	char *p;

	if (want <= b->cap)
		return 0;
	if (buf_is_borrowed(b))
		return b->err = -ENOBUFS;
	while (cap < want)
		cap = cap > SIZE_MAX / 2 ? want : cap * 2;
	if (cap >= b->max)
		cap = most;
	p = realloc(b->p, cap);
	if (!p)
		return b->err = -ENOMEM;
	b->p = p;
	b->cap = cap;
	return 0;
}

int buf_reserve_slow(struct buf *b, size_t more)
{
	if (b->err)
		return b->err;
	if (b->n > b->max || more > b->max - b->n)
		return b->err = -ENOBUFS;
	return buf_grow(b, b->n + more);
}

int buf_append_slow(struct buf *b, const void *p, size_t n)
{
	int r = buf_reserve_slow(b, n);

	if (r < 0)
		return r;
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

int buf_u64(struct buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return buf_append(b, text + at, sizeof(text) - at);
}

int buf_i64(struct buf *b, int64_t v)
{
	char text[21];
	size_t at = sizeof(text);
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		text[--at] = (char)('0' + u % 10);
		u /= 10;
	} while (u);
	if (v < 0)
		text[--at] = '-';
	return buf_append(b, text + at, sizeof(text) - at);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return r;
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	size_t room = b->cap - b->n;
	int n, r;

	if (b->err)
		return b->err;
	va_copy(again, ap);
	n = vsnprintf(b->p ? b->p + b->n : NULL, room, fmt, ap);
	if (n < 0) {
		r = b->err = -EINVAL;
		goto out;
	}
	r = buf_reserve(b, (size_t)n);
	if (r < 0 || n == 0)
		goto out;
	if ((size_t)n >= room) {
		r = buf_grow(b, b->n + (size_t)n + 1);
		if (r < 0)
			goto out;
		(void)vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
	}
	b->n += (size_t)n;
out:
	va_end(again);
	return r;
}

void buf_drop(struct buf *b, size_t n)
{
	ASSERT(n <= b->n);
	if (n && n < b->n)
		memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

const char *buf_cstr(struct buf *b)
{
	if (b->err || buf_grow(b, b->n + 1) < 0)
		return "";
	b->p[b->n] = '\0';
	return b->p;
}
