/* Borrowed bytes: pointer and length, no terminator assumed. Whoever hands out a slice says how
 * long it stays valid. Any thread. */
#ifndef AIGW_SLICE_H
#define AIGW_SLICE_H

#include <aigw/base.h>

struct slice {
	const char *p;
	size_t n;
};

#define SLICE(lit) ((struct slice){ "" lit, sizeof(lit) - 1 })
/* For static tables. */
/* clang-format off */
#define SLICE_INIT(lit) { "" lit, sizeof(lit) - 1 }
/* clang-format on */
#define SLICE_EMPTY  ((struct slice){ NULL, 0 })
#define SLICE_FMT    "%.*s"
#define SLICE_ARG(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct slice slice_of(const char *p, size_t n)
{
	return (struct slice){ p, n };
}

static inline struct slice slice_str(const char *s)
{
	return (struct slice){ s, s ? strlen(s) : 0 };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* memcpy for names and the like, in line: two words that may overlap reach up to sixteen bytes. */
static inline void bytes_copy(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;
	uint64_t a, b;
	uint32_t c, d;

	if (n > 16) {
		memcpy(t, f, n);
	} else if (n >= 8) {
		memcpy(&a, f, 8);
		memcpy(&b, f + n - 8, 8);
		memcpy(t, &a, 8);
		memcpy(t + n - 8, &b, 8);
	} else if (n >= 4) {
		memcpy(&c, f, 4);
		memcpy(&d, f + n - 4, 4);
		memcpy(t, &c, 4);
		memcpy(t + n - 4, &d, 4);
	} else if (n) {
		t[0] = f[0];
		t[n / 2] = f[n / 2];
		t[n - 1] = f[n - 1];
	}
}

bool bytes_eq_nocase(const char *a, const char *b, size_t n);

/* ASCII case-insensitive: header names, schemes. */
static inline bool slice_eq_nocase(struct slice a, struct slice b)
{
	return a.n == b.n && bytes_eq_nocase(a.p, b.p, a.n);
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline struct slice slice_skip(struct slice s, size_t n)
{
	n = MIN(n, s.n);
	return n ? (struct slice){ s.p + n, s.n - n } : s; /* no arithmetic on a NULL pointer */
}

/* Takes the first part of a list between commas off it, with the spaces around it. False: none is
 * left; an empty list has none. */
static inline bool slice_take_part(struct slice *list, struct slice *ret)
{
	const char *comma = list->n ? memchr(list->p, ',', list->n) : NULL;

	if (!list->n)
		return false;
	*ret = slice_of(list->p, comma ? (size_t)(comma - list->p) : list->n);
	*list = slice_skip(*list, ret->n + 1);
	return true;
}

/* Where `needle` (not empty) first stands in s, or NULL. */
const char *slice_find(struct slice s, struct slice needle);

/* Without spaces and tabs at both ends. */
static inline struct slice slice_trim(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

#endif
