#include "place.h"

#include <stdarg.h>

int place_error(
	struct errbuf *e, const char *name, uint32_t line, uint32_t column, const char *fmt, ...)
{
	struct errbuf sentence;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(sentence.text, sizeof(sentence.text), fmt, ap);
	va_end(ap);
	place_clean(sentence.text, strlen(sentence.text));
	return err_set(
		e, -EINVAL, "%s:%" PRIu32 ":%" PRIu32 ": %s", name, line, column, sentence.text);
}

void place_clean(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = '?';
	}
}

int place_len(struct slice s)
{
	size_t n = MIN(s.n, (size_t)PLACE_TEXT_MAX);

	while (n && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return (int)n;
}
