/* Growable bytes with a maximum. An append that fails sets `err` and leaves the content; later
 * appends fail too, so a writer may check once at the end. One owner, any thread. */
#ifndef AIGW_BUF_H
#define AIGW_BUF_H

#include <aigw/slice.h>
#include <stdarg.h>

struct buf {
	char *p;
	size_t n;
	size_t cap;
	size_t max; /* bytes; 0: no content may be added */
	int err;    /* 0, -ENOMEM or -ENOBUFS (over max); sticky until buf_reset */
};

void buf_init(struct buf *b, size_t max_bytes);
/* Over n > 0 bytes of somebody else, which are never freed nor moved: what does not fit is -ENOBUFS
 * (buf_printf and buf_cstr need a byte for their NUL). It may be forgotten without buf_fini. */
static inline struct buf buf_over(void *bytes, size_t n)
{
	return (struct buf){ .p = (char *)bytes, .cap = n, .max = n };
}
/* Memory of one's own may grow to one byte more than max, so that only of others' cap is max. */
static inline bool buf_is_borrowed(const struct buf *b)
{
	return b->p && b->cap == b->max;
}
void buf_fini(struct buf *b);  /* frees; the buf is empty and usable again */
void buf_reset(struct buf *b); /* n = 0, err = 0; keeps the memory */

/* Out of line: what does not fit as it is. */
COLD int buf_reserve_slow(struct buf *b, size_t more);
COLD int buf_append_slow(struct buf *b, const void *p, size_t n);

/* Do `more` bytes fit without a look at the memory? */
static inline bool buf_has_room(const struct buf *b, size_t more)
{
	size_t end;

	return !b->err && !__builtin_add_overflow(b->n, more, &end) && end <= b->cap &&
	       end <= b->max;
}

/* Room for `more` bytes behind n. */
static inline int buf_reserve(struct buf *b, size_t more)
{
	return LIKELY(buf_has_room(b, more)) ? 0 : buf_reserve_slow(b, more);
}

static inline int buf_append(struct buf *b, const void *p, size_t n)
{
	if (UNLIKELY(!buf_has_room(b, n)))
		return buf_append_slow(b, p, n);
	if (n) /* NULL is no address for memcpy */
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

static inline int buf_slice(struct buf *b, struct slice s)
{
	return buf_append(b, s.p, s.n);
}

/* The length of a literal is known to the compiler. */
static inline int buf_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

static inline int buf_char(struct buf *b, char c)
{
	return buf_append(b, &c, 1);
}

int buf_u64(struct buf *b, uint64_t v); /* decimal, locale-free */
int buf_i64(struct buf *b, int64_t v);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
void buf_drop(struct buf *b, size_t n); /* removes the first n bytes */
/* NUL-terminated view (the NUL is not counted); "" on failure, or if err is set. */
const char *buf_cstr(struct buf *b);

static inline struct slice buf_view(const struct buf *b)
{
	return (struct slice){ b->p, b->n };
}

#endif
