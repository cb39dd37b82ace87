#include <aigw/errbuf.h>

#include <stdarg.h>

void err_write(struct errbuf *e, const char *fmt, ...)
{
	static const char cut[] = "...";
	va_list ap;
	int n;

	if (!e)
		return;
	va_start(ap, fmt);
	n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	if (n < 0)
		(void)snprintf(e->text, sizeof(e->text), "unknown error");
	else if ((size_t)n >= sizeof(e->text))
		memcpy(e->text + sizeof(e->text) - sizeof(cut), cut, sizeof(cut));
}
