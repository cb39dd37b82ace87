#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void memory_out(void)
{
	fputs("aigw-sim: out of memory\n", stderr);
	exit(70);
}

void *mem_get(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		memory_out();
	return p;
}

void *mem_resize(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (!p)
		memory_out();
	return p;
}

char *mem_dup(const char *p, size_t n)
{
	char *copy = mem_get(n + 1);

	memcpy(copy, p, n);
	return copy;
}

void buf_reserve(struct buf *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 256;

	if (more > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
		memory_out();
	if (b->len + more <= b->cap)
		return;
	while (cap < b->len + more)
		cap *= 2;
	b->p = mem_resize(b->p, cap);
	b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	buf_reserve(b, n);
	memcpy(b->p + b->len, p, n);
	b->len += n;
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	buf_reserve(b, 256);
	va_start(ap, fmt);
	n = vsnprintf(b->p + b->len, b->cap - b->len, fmt, ap);
	va_end(ap);
	if (n < 0)
		memory_out();
	if ((size_t)n >= b->cap - b->len) {
		buf_reserve(b, (size_t)n + 1);
		va_start(ap, fmt);
		n = vsnprintf(b->p + b->len, b->cap - b->len, fmt, ap);
		va_end(ap);
	}
	b->len += (size_t)n;
}

void buf_add_json(struct buf *b, const char *p, size_t n)
{
	size_t from = 0;

	buf_reserve(b, n + 2);
	buf_add(b, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)p[i];

		if (ch >= 0x20 && ch != '"' && ch != '\\')
			continue;
		buf_add(b, p + from, i - from);
		from = i + 1;
		if (ch == '"' || ch == '\\')
			buf_addf(b, "\\%c", ch);
		else if (ch == '\n')
			buf_add(b, "\\n", 2);
		else
			buf_addf(b, "\\u%04x", ch);
	}
	buf_add(b, p + from, n - from);
	buf_add(b, "\"", 1);
}

void buf_add_json_or_null(struct buf *b, const char *s)
{
	if (s)
		buf_add_json(b, s, strlen(s));
	else
		buf_add(b, "null", 4);
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && !memcmp(s.p, text, s.len);
}
