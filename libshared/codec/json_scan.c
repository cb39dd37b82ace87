/* A walk over the text with a bit per open container instead of recursion. The top level is walked
 * apart from what lies below it, since only its members are reported. */
#include <aigw/json_scan.h>

#include "scan.h"

struct scan {
	const char *p;
	const char *end;
	uint64_t is_object[JSCAN_DEPTH_MAX / 64]; /* bit by depth: object, not array */
	unsigned depth;                           /* open containers */
	bool escaped;                             /* the last string held a backslash */
};

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Behind the backslash. */
static bool skip_escape(struct scan *s)
{
	if (s->p == s->end)
		return false;
	switch (*s->p) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't': s->p++; return true;
	case 'u':
		s->p++;
		for (unsigned i = 0; i < 4; i++, s->p++) {
			if (s->p == s->end || !is_hex(*s->p))
				return false;
		}
		return true;
	default: return false;
	}
}

/* At the opening quote. */
static bool skip_string(struct scan *s)
{
	s->escaped = false;
	s->p++;
	for (;;) {
		s->p = scan_string_special(s->p, s->end);
		if (s->p == s->end)
			return false;
		if (*s->p == '"') {
			s->p++;
			return true;
		}
		if (*s->p != '\\')
			return false;
		s->escaped = true;
		s->p++;
		if (!skip_escape(s))
			return false;
	}
}

static bool skip_digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && is_digit(*s->p))
		s->p++;
	return s->p > from;
}

static bool skip_number(struct scan *s)
{
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!skip_digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!skip_digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!skip_digits(s))
			return false;
	}
	return true;
}

static bool skip_literal(struct scan *s, struct slice word)
{
	for (size_t i = 0; i < word.n; i++, s->p++) {
		if (s->p == s->end || *s->p != word.p[i])
			return false;
	}
	return true;
}

/* A value that holds no others. */
static bool skip_scalar(struct scan *s)
{
	switch (*s->p) {
	case '"': return skip_string(s);
	case 't': return skip_literal(s, SLICE("true"));
	case 'f': return skip_literal(s, SLICE("false"));
	case 'n': return skip_literal(s, SLICE("null"));
	default: return skip_number(s);
	}
}

static bool open_container(struct scan *s, bool object)
{
	uint64_t bit = (uint64_t)1 << s->depth % 64;
	uint64_t *word;

	if (s->depth == JSCAN_DEPTH_MAX)
		return false;
	word = &s->is_object[s->depth / 64];
	*word = object ? *word | bit : *word & ~bit;
	s->depth++;
	s->p++;
	skip_space(s);
	return true;
}

static bool in_object(const struct scan *s)
{
	return s->is_object[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1;
}

/* Key, colon, and the space before the value. */
static bool skip_key(struct scan *s)
{
	skip_space(s);
	if (s->p == s->end || *s->p != '"' || !skip_string(s))
		return false;
	skip_space(s);
	if (s->p == s->end || *s->p != ':')
		return false;
	s->p++;
	skip_space(s);
	return true;
}

/* Behind a value: closes what ends here, down to depth `base`, and goes to the next value.
 * *ret_more: there is one. */
static bool next_value(struct scan *s, unsigned base, bool *ret_more)
{
	while (s->depth > base) {
		bool object = in_object(s);

		skip_space(s);
		if (s->p == s->end)
			return false;
		if (*s->p == ',') {
			s->p++;
			*ret_more = true;
			if (object)
				return skip_key(s);
			skip_space(s);
			return true;
		}
		if (*s->p != (object ? '}' : ']'))
			return false;
		s->p++;
		s->depth--;
	}
	*ret_more = false;
	return true;
}

/* Any value at s->p, with all that is in it. */
static bool skip_value(struct scan *s)
{
	unsigned base = s->depth;
	bool more = true;

	while (more) {
		bool object;

		if (s->p == s->end)
			return false;
		object = *s->p == '{';
		if (!object && *s->p != '[') {
			if (!skip_scalar(s))
				return false;
		} else {
			if (!open_container(s, object))
				return false;
			if (s->p < s->end && *s->p == (object ? '}' : ']')) {
				s->p++;
				s->depth--;
			} else {
				if (object && !skip_key(s))
					return false;
				continue;
			}
		}
		if (!next_value(s, base, &more))
			return false;
	}
	return true;
}

static enum jscan_kind kind_of(char first)
{
	switch (first) {
	case '{': return JSCAN_OBJECT;
	case '[': return JSCAN_ARRAY;
	case '"': return JSCAN_STRING;
	case 't': return JSCAN_TRUE;
	case 'f': return JSCAN_FALSE;
	case 'n': return JSCAN_NULL;
	default: return JSCAN_NUMBER;
	}
}

/* One member or element. -EINVAL, or what fn returned. */
static int walk_one(struct scan *s, bool object, jscan_member_fn *fn, void *arg)
{
	struct jscan_member m = { .key = SLICE_EMPTY };
	const char *from;

	skip_space(s);
	if (object) {
		from = s->p;
		if (!skip_key(s))
			return -EINVAL;
		m.key_escaped = s->escaped;
		m.key.p = from + 1;
		/* The key ends at the last quote before the colon. */
		for (from = s->p - 1; *from != '"'; from--)
			;
		m.key.n = (size_t)(from - m.key.p);
	}
	if (s->p == s->end)
		return -EINVAL;
	from = s->p;
	m.kind = kind_of(*from);
	if (!skip_value(s))
		return -EINVAL;
	m.value = slice_of(from, (size_t)(s->p - from));
	m.value_escaped = m.kind == JSCAN_STRING && s->escaped;
	return fn ? fn(arg, &m) : 0;
}

static int walk_top(struct scan *s, bool object, jscan_member_fn *fn, void *arg)
{
	char close = object ? '}' : ']';
	int r;

	skip_space(s);
	if (s->p == s->end || *s->p != (object ? '{' : '['))
		return -EINVAL;
	(void)open_container(s, object);
	if (s->p < s->end && *s->p == close) {
		s->p++;
	} else {
		for (;;) {
			r = walk_one(s, object, fn, arg);
			if (r)
				return r;
			skip_space(s);
			if (s->p == s->end || (*s->p != ',' && *s->p != close))
				return -EINVAL;
			if (*s->p++ == close)
				break;
		}
	}
	skip_space(s);
	return s->p == s->end ? 0 : -EINVAL;
}

static int walk(struct slice text, bool object, jscan_member_fn *fn, void *arg, size_t *ret_offset)
{
	struct scan s = { .p = text.p, .end = text.n ? text.p + text.n : text.p };
	int r = walk_top(&s, object, fn, arg);

	if (r == -EINVAL && ret_offset)
		*ret_offset = s.p ? (size_t)(s.p - text.p) : 0;
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
