/* A walk over the text with a stack of the open containers' ends instead of recursion. The top
 * level is walked apart from what lies below it, since only its members are reported. The functions
 * take the place where they begin and return the one behind, or NULL: what is wrong stands at
 * s->wrong. */
#include <aigw/json_scan.h>

#include "scan.h"

struct scan {
	const char *begin;
	const char *end;
	const char *wrong;
	bool escaped; /* the last string held a backslash */
};

COLD static const char *fail(struct scan *s, const char *p)
{
	s->wrong = p;
	return NULL;
}

static inline const char *skip_space(const struct scan *s, const char *p)
{
	while (p < s->end && (unsigned char)*p <= ' ' &&
		(*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

static inline bool is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

static bool is_hex(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* What may follow a backslash, but for the 'u' of four digits. */
static const bool plain_escape[256] = {
	['"'] = 1, ['\\'] = 1, ['/'] = 1, ['b'] = 1, ['f'] = 1, ['n'] = 1, ['r'] = 1, ['t'] = 1
};

/* Behind the backslash. */
static const char *skip_escape(struct scan *s, const char *p)
{
	s->escaped = true;
	if (UNLIKELY(p == s->end))
		return fail(s, p);
	if (LIKELY(plain_escape[(unsigned char)*p]))
		return p + 1;
	if (*p++ != 'u')
		return fail(s, p - 1);
	for (unsigned i = 0; i < 4; i++, p++) {
		if (p == s->end || !is_hex(*p))
			return fail(s, p);
	}
	return p;
}

/* A bit for each of up to sixteen bytes that ends a string, escapes, or must not be in one. */
static inline unsigned string_mask(const struct scan *s, const char *p)
{
#ifdef __SSE2__
	if (LIKELY(s->end - p >= 16))
		return scan_string_mask(scan_load(p));
	if (LIKELY(s->end - s->begin >= 16))
		return scan_string_mask(scan_load(s->end - 16)) >> (16 - (s->end - p));
#endif
	unsigned mask = 0;

	for (unsigned i = 0; i < 16 && p + i < s->end; i++)
		mask |= (unsigned)(p[i] == '"' || p[i] == '\\' || (unsigned char)p[i] < 0x20) << i;
	return mask;
}

/* The first such byte, or the end. */
static const char *string_special(const struct scan *s, const char *p)
{
	while (p < s->end) {
		unsigned mask = string_mask(s, p);

		if (mask)
			return p + __builtin_ctz(mask);
		p += MIN((ptrdiff_t)16, s->end - p);
	}
	return p;
}

#ifdef __x86_64__
/* Inside a string: 64 bytes at a time, and all that means something among them. Stops behind the
 * closing quote (*ret_closed), or where no more bytes are left. */
static const char *skip_blocks(struct scan *s, const char *p, bool *ret_closed)
{
	p = scan_string_blocks(p, s->end, &s->escaped, ret_closed);
	if (LIKELY(*ret_closed))
		return p;
	while (s->end - p > 64) { /* so that there is a byte behind each backslash */
		uint64_t mask = scan_string_mask64(p);
		const char *from = p; /* the mask's lowest bit */

		while (mask) {
			unsigned i = (unsigned)__builtin_ctzll(mask), n = 2;
			const char *at = from + i;

			if (UNLIKELY(*at != '\\')) {
				s->escaped |= from != p;
				*ret_closed = *at == '"';
				return *ret_closed ? at + 1 : fail(s, at);
			}
			if (UNLIKELY(!plain_escape[(unsigned char)at[1]])) {
				if (!skip_escape(s, at + 1))
					return NULL;
				n = 6;
			}
			from = at + n;
			mask = mask >> i >> n;
		}
		s->escaped |= from != p;
		p = MAX(p + 64, from);
	}
	return p;
}
#endif

/* Inside a string that is longer, or holds escapes. */
static const char *skip_long_string(struct scan *s, const char *p)
{
#ifdef __x86_64__
	bool closed = false;

	p = skip_blocks(s, p, &closed);
	if (!p || closed)
		return p;
#endif
	for (;;) {
		p = string_special(s, p);
		if (p == s->end)
			return fail(s, p);
		if (*p == '"')
			return p + 1;
		if (*p != '\\')
			return fail(s, p);
		p = skip_escape(s, p + 1);
		if (!p)
			return NULL;
	}
}

/* At the opening quote. Keys and many values are shorter than 32 bytes. */
static inline const char *skip_string(struct scan *s, const char *p)
{
	unsigned mask = string_mask(s, ++p);

	s->escaped = false;
	if (!mask && s->end - p > 16) {
		p += 16;
		mask = string_mask(s, p);
	}
	if (LIKELY(mask)) {
		p += __builtin_ctz(mask);
		if (LIKELY(*p == '"'))
			return p + 1;
	}
	return skip_long_string(s, p);
}

static inline const char *skip_digits(const struct scan *s, const char *p)
{
	while (p < s->end && is_digit(*p))
		p++;
	return p;
}

/* At least one digit. */
static inline const char *need_digits(struct scan *s, const char *p)
{
	const char *behind = skip_digits(s, p);

	return LIKELY(behind > p) ? behind : fail(s, p);
}

/* What may follow a number's whole part. */
static const char *skip_fraction(struct scan *s, const char *p)
{
	if (*p == '.')
		p = need_digits(s, p + 1);
	if (p && p < s->end && (*p | 0x20) == 'e') {
		p++;
		if (p < s->end && (*p == '+' || *p == '-'))
			p++;
		p = need_digits(s, p);
	}
	return p;
}

static inline const char *skip_number(struct scan *s, const char *p)
{
	const char *whole = p += *p == '-';

	p = skip_digits(s, p);
	/* No digit, or more behind a leading zero, which then ends the number. */
	if (UNLIKELY(p == whole))
		return fail(s, p);
	if (UNLIKELY(*whole == '0'))
		p = whole + 1;
	if (LIKELY(p < s->end && *p == ','))
		return p;
	return p == s->end || (*p != '.' && (*p | 0x20) != 'e') ? p : skip_fraction(s, p);
}

static inline const char *skip_literal(struct scan *s, const char *p, struct slice word)
{
	if (LIKELY((size_t)(s->end - p) >= word.n && memcmp(p, word.p, word.n) == 0))
		return p + word.n;
	while (p < s->end && *p == *word.p) {
		p++;
		word.p++;
	}
	return fail(s, p);
}

/* A value that holds no others. */
static inline const char *skip_scalar(struct scan *s, const char *p)
{
	if (*p == '"')
		return skip_string(s, p);
	if (LIKELY(*p <= '9'))
		return skip_number(s, p);
	switch (*p) {
	case 't': return skip_literal(s, p, SLICE("true"));
	case 'f': return skip_literal(s, p, SLICE("false"));
	case 'n': return skip_literal(s, p, SLICE("null"));
	default: return fail(s, p);
	}
}

/* Key, colon, and the space before the value. *ret_end: the key's closing quote. */
static inline const char *skip_key(struct scan *s, const char *p, const char **ret_end)
{
	if (UNLIKELY(p == s->end || *p != '"'))
		return fail(s, p);
	p = skip_string(s, p);
	if (UNLIKELY(!p))
		return NULL;
	*ret_end = p - 1;
	/* The usual ones at once: no space around the colon. */
	if (LIKELY(s->end - p >= 2 && *p == ':' && (unsigned char)p[1] > ' '))
		return p + 1;
	p = skip_space(s, p);
	if (UNLIKELY(p == s->end || *p != ':'))
		return fail(s, p);
	return skip_space(s, p + 1);
}

/* Mostly the next key's quote. */
static inline const char *behind_comma(const struct scan *s, const char *p)
{
	p++;
	return LIKELY(p < s->end && *p == '"') ? p : skip_space(s, p);
}

static inline bool is_opener(char c)
{
	return (c | 0x20) == '{'; /* or '[' */
}

static inline char closer_of(char opener)
{
	return (char)(opener ^ 6); /* of both kinds */
}
_Static_assert(('{' ^ 6) == '}' && ('[' ^ 6) == ']' && ('[' | 0x20) == '{', "brackets in ASCII");

/* At the bracket or brace of a container that is a value, so many deep. */
static const char *skip_container(struct scan *s, const char *p, unsigned outer)
{
	char closers[JSCAN_DEPTH_MAX], close = 0;
	const char *key_end;
	unsigned depth = 0;

	ASSERT(is_opener(*p));
	for (;;) {
		if (close == '}') {
			p = skip_key(s, p, &key_end);
			if (UNLIKELY(!p))
				return NULL;
		}
		if (UNLIKELY(p == s->end))
			return fail(s, p);
		if (is_opener(*p)) {
			if (UNLIKELY(depth == JSCAN_DEPTH_MAX - outer))
				return fail(s, p);
			closers[depth++] = close = closer_of(*p);
			p = skip_space(s, p + 1);
			if (p == s->end || *p != close)
				continue;
		} else {
			p = skip_scalar(s, p);
			if (UNLIKELY(!p))
				return NULL;
			if (LIKELY(p < s->end && *p == ',')) {
				p = behind_comma(s, p);
				continue;
			}
			p = skip_space(s, p);
		}
		/* Here an empty container ends, and whatever ends with this value. */
		while (p < s->end && *p == close) {
			p++;
			if (--depth == 0)
				return p;
			close = closers[depth - 1];
			p = skip_space(s, p);
		}
		if (UNLIKELY(p == s->end || *p != ','))
			return fail(s, p);
		p = behind_comma(s, p);
	}
}

/* What does not begin a value is a number that skip_scalar() refuses. */
static inline enum jscan_kind kind_of(char first)
{
	static const uint8_t kinds[256] = {
		['{'] = JSCAN_OBJECT + 1,
		['['] = JSCAN_ARRAY + 1,
		['"'] = JSCAN_STRING + 1,
		['t'] = JSCAN_TRUE + 1,
		['f'] = JSCAN_FALSE + 1,
		['n'] = JSCAN_NULL + 1,
	};
	uint8_t kind = kinds[(unsigned char)first];

	return kind ? (enum jscan_kind)(kind - 1) : JSCAN_NUMBER;
}

/* One member or element. The place behind, and in *ret what fn returned; or NULL. */
static const char *walk_one(
	struct scan *s, const char *p, bool object, jscan_member_fn *fn, void *arg, int *ret)
{
	struct jscan_member m = { .key = SLICE_EMPTY };
	const char *from = p, *key_end = NULL;

	if (object) {
		p = skip_key(s, p, &key_end);
		if (!p)
			return NULL;
		m.key_escaped = s->escaped;
		m.key = slice_of(from + 1, (size_t)(key_end - from - 1));
	}
	if (p == s->end)
		return fail(s, p);
	from = p;
	m.kind = kind_of(*p);
	p = m.kind <= JSCAN_ARRAY ? skip_container(s, p, 1) : skip_scalar(s, p);
	if (!p)
		return NULL;
	m.value = slice_of(from, (size_t)(p - from));
	m.value_escaped = m.kind == JSCAN_STRING && s->escaped;
	*ret = fn ? fn(arg, &m) : 0;
	return p;
}

static int walk_top(struct scan *s, bool object, jscan_member_fn *fn, void *arg)
{
	const char *p = skip_space(s, s->begin);
	char close = object ? '}' : ']';
	int r;

	s->wrong = p;
	if (p == s->end || *p != (object ? '{' : '['))
		return -EINVAL;
	p = skip_space(s, p + 1);
	if (p == s->end || *p != close) {
		for (;;) {
			p = walk_one(s, p, object, fn, arg, &r);
			if (!p)
				return -EINVAL;
			p = skip_space(s, p);
			s->wrong = p;
			if (r)
				return r;
			if (p == s->end || (*p != ',' && *p != close))
				return -EINVAL;
			if (*p == close)
				break;
			p = behind_comma(s, p);
		}
	}
	p = skip_space(s, p + 1);
	s->wrong = p;
	return p == s->end ? 0 : -EINVAL;
}

static int walk(struct slice text, bool object, jscan_member_fn *fn, void *arg, size_t *ret_offset)
{
	struct scan s = { .begin = text.p, .end = text.n ? text.p + text.n : text.p };
	int r = walk_top(&s, object, fn, arg);

	if (r == -EINVAL && ret_offset)
		*ret_offset = s.wrong ? (size_t)(s.wrong - text.p) : 0;
	return r;
}

int jscan_object(struct slice text, jscan_member_fn *fn, void *arg, size_t *ret_offset)
{
	return walk(text, true, fn, arg, ret_offset);
}

int jscan_array(struct slice text, jscan_member_fn *fn, void *arg, size_t *ret_offset)
{
	return walk(text, false, fn, arg, ret_offset);
}

/* Behind a value at that depth: at the next key, or behind the text (*ret_end). */
static const char *deep_next(struct scan *s, const char *p, unsigned *depth, bool *ret_end)
{
	p = skip_space(s, p);
	while (p < s->end && *p == '}') {
		p = skip_space(s, p + 1);
		if ((*ret_end = (*depth)-- == 0))
			return p == s->end ? p : fail(s, p);
	}
	if (UNLIKELY(p == s->end || *p != ','))
		return fail(s, p);
	return behind_comma(s, p);
}

/* At a member's value: the place behind, or behind the brace of what is entered. */
static const char *deep_value(struct scan *s, const char *p, unsigned *depth,
	struct jscan_member *m, jscan_deep_fn *fn, void *arg, int *ret)
{
	const char *from = p;

	m->kind = kind_of(*p);
	m->value = slice_of(p, 0);
	if (m->kind == JSCAN_OBJECT) {
		*ret = fn(arg, *depth, m);
		if (*ret == JSCAN_ENTER) {
			ASSERT(*depth < JSCAN_ENTER_MAX);
			++*depth;
			return skip_space(s, p + 1);
		}
		return skip_container(s, p, *depth + 1);
	}
	p = m->kind == JSCAN_ARRAY ? skip_container(s, p, *depth + 1) : skip_scalar(s, p);
	if (!p)
		return NULL;
	m->value.n = (size_t)(p - from);
	m->value_escaped = m->kind == JSCAN_STRING && s->escaped;
	*ret = fn(arg, *depth, m);
	return p;
}

static int walk_deep(struct scan *s, jscan_deep_fn *fn, void *arg)
{
	const char *p = skip_space(s, s->begin), *from, *key_end;
	unsigned depth = 0;
	bool ended = false;

	s->wrong = p;
	if (p == s->end || *p != '{')
		return -EINVAL;
	p = skip_space(s, p + 1);
	if (p < s->end && *p == '}')
		p = deep_next(s, p, &depth, &ended);
	while (p && !ended) {
		struct jscan_member m;
		int r = 0;

		from = p;
		p = skip_key(s, p, &key_end);
		if (!p)
			break;
		m.key = slice_of(from + 1, (size_t)(key_end - from - 1));
		m.key_escaped = s->escaped;
		m.value_escaped = false;
		if (p == s->end) {
			p = fail(s, p);
			break;
		}
		p = deep_value(s, p, &depth, &m, fn, arg, &r);
		if (p && r == JSCAN_ENTER && (p == s->end || *p != '}'))
			continue;
		if (p && r && r != JSCAN_ENTER)
			return r;
		if (p)
			p = deep_next(s, p, &depth, &ended);
	}
	return p ? 0 : -EINVAL;
}

int jscan_deep(struct slice text, jscan_deep_fn *fn, void *arg, size_t *ret_offset)
{
	struct scan s = { .begin = text.p, .end = text.n ? text.p + text.n : text.p };
	int r = walk_deep(&s, fn, arg);

	if (r == -EINVAL && ret_offset)
		*ret_offset = s.wrong ? (size_t)(s.wrong - text.p) : 0;
	return r;
}

struct find {
	struct slice name;
	struct jscan_member *ret;
};

static int find_member(void *arg, const struct jscan_member *m)
{
	struct find *f = arg;

	if (!jscan_key_is(m, f->name))
		return 0;
	*f->ret = *m;
	return 1;
}

int jscan_find(struct slice object, struct slice name, struct jscan_member *ret)
{
	struct find f = { name, ret };
	int r = jscan_object(object, find_member, &f, NULL);

	return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}
