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
void buf_fini(struct buf *b);  /* frees; the buf is empty and usable again */
void buf_reset(struct buf *b); /* n = 0, err = 0; keeps the memory */

int buf_reserve(struct buf *b, size_t more); /* room for `more` bytes behind n */
int buf_append(struct buf *b, const void *p, size_t n);
int buf_slice(struct buf *b, struct slice s);
int buf_str(struct buf *b, const char *s);
int buf_char(struct buf *b, char c);
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
