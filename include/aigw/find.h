/* First places in text, by the widest registers that this CPU has. Nothing is read outside of the
 * bytes given. Pure; any thread. */
#ifndef AIGW_FIND_H
#define AIGW_FIND_H

#include <aigw/base.h>

/* The first place from `from` on where a stands and b right behind it; n: none. */
size_t find_pair(const char *p, size_t n, size_t from, char a, char b);
/* The first CR or LF; n: none. */
size_t find_eol(const char *p, size_t n);

/* All ways of doing it that this CPU has, the one in use first; returns how many. For tests. */
struct find_way {
	size_t (*pair)(const char *p, size_t n, size_t from, char a, char b);
	size_t (*eol)(const char *p, size_t n);
};
#define FIND_WAYS 3
unsigned find_ways(const struct find_way *ret[FIND_WAYS]);

#endif
