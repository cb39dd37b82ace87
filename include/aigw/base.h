/* What every file may use: fixed scalars, always-on assertions, scope cleanup, banned functions.
 * No state, any thread. */
#ifndef AIGW_BASE_H
#define AIGW_BASE_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef int64_t usec; /* a time or a span in microseconds; which clock is said by the name */

#define USEC_PER_MS ((usec)1000)
#define USEC_PER_S  ((usec)1000000)

#define ARRAY_LEN(a)           (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)              ((a) < (b) ? (a) : (b))
#define MAX(a, b)              ((a) > (b) ? (a) : (b))
#define LIKELY(x)              __builtin_expect(!!(x), 1)
#define UNLIKELY(x)            __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
/* Of what goes wrong or happens once: the compiler keeps the branches that lead there out of the
 * way of the others, so that a call's code stays dense in the cache. */
#define COLD        __attribute__((cold))
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* The struct that embeds *ptr as its member. */
#define container_of(ptr, type, member) ((type *)(void *)(((char *)(ptr)) - offsetof(type, member)))

/* Programming errors only; never for input. Always on; prints file:line and aborts. */
#define ASSERT(cond) (LIKELY(cond) ? (void)0 : assert_fail(#cond, __FILE__, __LINE__))

_Noreturn void assert_fail(const char *what, const char *file, int line);

/* Bytes copied by hand with an explicit length only. */
#ifndef AIGW_ALLOW_BANNED
#undef sprintf /* macros in a fortified build with clang */
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strncpy strncat gets strtok
#endif

#endif
