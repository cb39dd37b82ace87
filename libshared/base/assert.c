#include <aigw/base.h>

#include <unistd.h>

_Noreturn void assert_fail(const char *what, const char *file, int line)
{
	char text[512];
	int n = snprintf(
		text, sizeof(text), "aigw: assertion failed at %s:%d: %s\n", file, line, what);

	if (n > 0)
		(void)!write(STDERR_FILENO, text, MIN((size_t)n, sizeof(text) - 1));
	abort();
}
