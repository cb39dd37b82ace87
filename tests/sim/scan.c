#include "scan.h"

#include <string.h>

struct scan scan_of(struct span text)
{
	return (struct scan){ .p = text.p, .end = text.p + text.len };
}

static void space_skip(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

char scan_peek(struct scan *s)
{
	space_skip(s);
	return s->p < s->end && !s->bad ? *s->p : 0;
}

static bool byte_take(struct scan *s, char want)
{
	if (scan_peek(s) != want || !want) {
		s->bad = true;
		return false;
	}
	s->p++;
	return true;
}

/* From after the opening quote to after the closing one. */
static void string_skip(struct scan *s)
{
	while (s->p < s->end) {
		const char *q = memchr(s->p, '"', (size_t)(s->end - s->p));
		size_t slashes = 0;

		if (!q)
			break;
		while (q - slashes > s->p && q[-1 - (ptrdiff_t)slashes] == '\\')
			slashes++;
		s->p = q + 1;
		if (slashes % 2 == 0)
			return;
	}
	s->bad = true;
}

static void word_skip(struct scan *s)
{
	static const char *const words[] = { "true", "false", "null" };
	const char *from = s->p;

	for (size_t i = 0; i < 3; i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(s->end - s->p) >= n && !memcmp(s->p, words[i], n)) {
			s->p += n;
			return;
		}
	}
	while (s->p < s->end && (strchr("+-.eE", *s->p) || (*s->p >= '0' && *s->p <= '9')) && *s->p)
		s->p++;
	if (s->p == from || !((*from >= '0' && *from <= '9') || *from == '-'))
		s->bad = true;
}

static void value_skip(struct scan *s)
{
	char ch = scan_peek(s);
	bool first = true;
	struct span key;

	if (ch == '"') {
		s->p++;
		string_skip(s);
	} else if (ch == '{') {
		while (scan_member(s, &first, &key))
			value_skip(s);
	} else if (ch == '[') {
		while (scan_element(s, &first))
			value_skip(s);
	} else if (ch) {
		word_skip(s);
	} else {
		s->bad = true;
	}
}

struct span scan_value(struct scan *s)
{
	struct span raw = { 0 };

	(void)scan_peek(s);
	raw.p = s->p;
	value_skip(s);
	if (!s->bad)
		raw.len = (size_t)(s->p - raw.p);
	return raw;
}

/* The bracket, comma or end that stands before the next thing of a list. */
static bool list_next(struct scan *s, bool *first, char open, char close)
{
	if (*first) {
		if (!byte_take(s, open) || ++s->depth > SCAN_DEPTH) {
			s->bad = true;
			return false;
		}
	}
	if (scan_peek(s) == close) {
		s->p++;
		s->depth--;
		return false;
	}
	if (!*first && !byte_take(s, ','))
		return false;
	*first = false;
	return !s->bad;
}

bool scan_member(struct scan *s, bool *first, struct span *ret_key)
{
	if (!list_next(s, first, '{', '}') || !byte_take(s, '"'))
		return false;
	ret_key->p = s->p;
	string_skip(s);
	if (s->bad)
		return false;
	ret_key->len = (size_t)(s->p - ret_key->p) - 1;
	return byte_take(s, ':');
}

bool scan_element(struct scan *s, bool *first)
{
	return list_next(s, first, '[', ']');
}

bool scan_at_end(struct scan *s)
{
	return !scan_peek(s) && !s->bad && s->p == s->end;
}

bool raw_string(struct span raw, struct span *ret_inside)
{
	if (raw.len < 2 || raw.p[0] != '"')
		return false;
	*ret_inside = (struct span){ raw.p + 1, raw.len - 2 };
	return true;
}

bool raw_true(struct span raw)
{
	return span_is(raw, "true");
}

int64_t raw_int(struct span raw, int64_t otherwise)
{
	int64_t n = 0;
	size_t i = raw.len && raw.p[0] == '-' ? 1 : 0;

	if (raw.len == i || raw.len > 18)
		return otherwise;
	for (size_t k = i; k < raw.len; k++) {
		if (raw.p[k] < '0' || raw.p[k] > '9')
			return otherwise;
		n = n * 10 + (raw.p[k] - '0');
	}
	return i ? -n : n;
}

static int hex_unit(const char *p, const char *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = p[i] >= '0' && p[i] <= '9'   ? p[i] - '0'
			: p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10
			: p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 10
						     : -1;

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Resolves the escape at *p (which stands on the backslash) into at most 4 bytes. */
static size_t escape_take(const char **p, const char *end, char out[4])
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *hit;
	int u, low;

	if (end - *p < 2) {
		*p = end;
		return 0;
	}
	if ((*p)[1] != 'u') {
		hit = strchr(from, (*p)[1]);
		out[0] = hit && *hit ? to[hit - from] : (*p)[1];
		*p += 2;
		return 1;
	}
	u = hex_unit(*p + 2, end);
	*p += u < 0 ? 2 : 6;
	if (u >= 0xd800 && u < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
		low = hex_unit(*p + 2, end);
		if (low >= 0xdc00 && low < 0xe000) {
			u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
			*p += 6;
		}
	}
	if (u < 0 || (u >= 0xd800 && u < 0xe000)) {
		out[0] = '?';
		return 1;
	}
	if (u < 0x80) {
		out[0] = (char)u;
		return 1;
	}
	if (u < 0x800) {
		out[0] = (char)(0xc0 | u >> 6);
		out[1] = (char)(0x80 | (u & 63));
		return 2;
	}
	if (u < 0x10000) {
		out[0] = (char)(0xe0 | u >> 12);
		out[1] = (char)(0x80 | (u >> 6 & 63));
		out[2] = (char)(0x80 | (u & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | u >> 18);
	out[1] = (char)(0x80 | (u >> 12 & 63));
	out[2] = (char)(0x80 | (u >> 6 & 63));
	out[3] = (char)(0x80 | (u & 63));
	return 4;
}

size_t raw_text_bytes(struct span inside)
{
	const char *p = inside.p, *end = p + inside.len, *slash;
	size_t n = 0;
	char tmp[4];

	while (p < end) {
		slash = memchr(p, '\\', (size_t)(end - p));
		if (!slash)
			return n + (size_t)(end - p);
		n += (size_t)(slash - p);
		p = slash;
		n += escape_take(&p, end, tmp);
	}
	return n;
}

void raw_text_add(struct buf *b, struct span inside)
{
	const char *p = inside.p, *end = p + inside.len, *slash;
	char tmp[4];

	while (p < end) {
		slash = memchr(p, '\\', (size_t)(end - p));
		if (!slash) {
			buf_add(b, p, (size_t)(end - p));
			return;
		}
		buf_add(b, p, (size_t)(slash - p));
		p = slash;
		buf_add(b, tmp, escape_take(&p, end, tmp));
	}
}
