/*
 * buf: growing byte buffers, and the JSON text that the simulator writes into them. One thread.
 * Running out of memory ends the program with exit code 70: a simulator that cannot answer as
 * scripted must not go on.
 */
#ifndef SIM_BUF_H
#define SIM_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *p;
	size_t len, cap;
};

/* Foreign bytes that belong to somebody else; not NUL-terminated. */
struct span {
	const char *p;
	size_t len;
};

void *mem_get(size_t n); /* zeroed; never NULL */
void *mem_resize(void *p, size_t n);
char *mem_dup(const char *p, size_t n); /* NUL-terminated copy */

void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The text as a JSON string with its quotes; invalid UTF-8 passes through as it is. */
void buf_add_json(struct buf *b, const char *p, size_t n);
/* As buf_add_json, or `null` for a NULL pointer. */
void buf_add_json_or_null(struct buf *b, const char *s);
void buf_free(struct buf *b); /* frees the bytes and leaves an empty buffer */

bool span_is(struct span s, const char *text);

#endif
