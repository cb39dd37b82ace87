/* What a scanned key or value says: escapes decoded, integers read. */
#include <aigw/json_scan.h>
#include <aigw/text.h>

#include "scan.h"

/* The 16-bit unit of four hex digits. */
static bool take_unit(struct slice *s, uint32_t *ret)
{
	unsigned char bytes[2];

	if (s->n < 4 || text_unhex(slice_of(s->p, 4), bytes, 2) < 0)
		return false;
	*ret = (uint32_t)bytes[0] << 8 | bytes[1];
	*s = slice_skip(*s, 4);
	return true;
}

static size_t put_utf8(uint32_t c, char out[static 4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* Takes one escape, behind its backslash, as UTF-8. 0: not valid, or a surrogate without its other
 * half. */
static size_t take_escape(struct slice *s, char out[static 4])
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *at;
	uint32_t c, low;

	if (s->n == 0)
		return 0;
	if (*s->p != 'u') {
		at = memchr(names, *s->p, sizeof(names) - 1);
		if (!at)
			return 0;
		out[0] = bytes[at - names];
		*s = slice_skip(*s, 1);
		return 1;
	}
	*s = slice_skip(*s, 1);
	if (!take_unit(s, &c) || (c >= 0xdc00 && c < 0xe000))
		return 0;
	if (c >= 0xd800 && c < 0xdc00) {
		if (s->n < 2 || s->p[0] != '\\' || s->p[1] != 'u')
			return 0;
		*s = slice_skip(*s, 2);
		if (!take_unit(s, &low) || low < 0xdc00 || low >= 0xe000)
			return 0;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	return put_utf8(c, out);
}

bool jscan_escaped_key_is(const struct jscan_member *m, struct slice name)
{
	struct slice key = m->key;

	while (key.n) {
		char out[4] = { key.p[0] };
		size_t n = 1;
		bool escape = key.p[0] == '\\';

		key = slice_skip(key, 1);
		if (escape)
			n = take_escape(&key, out);
		if (n == 0 || !slice_starts(name, slice_of(out, n)))
			return false;
		name = slice_skip(name, n);
	}
	return name.n == 0;
}

/* Digits only, and so few that they fit. */
static inline bool small_int(struct slice text, int64_t *ret)
{
	int64_t v = 0;

	if (text.n - 1 >= 18)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		unsigned digit = (unsigned char)text.p[i] - (unsigned)'0';

		if (digit > 9)
			return false;
		v = v * 10 + (int64_t)digit;
	}
	*ret = v;
	return true;
}

int jscan_int(const struct jscan_member *m, int64_t *ret)
{
	struct slice text = m->value;
	const char *dot;

	if (m->kind != JSCAN_NUMBER)
		return -EINVAL;
	if (LIKELY(small_int(text, ret)))
		return 0;
	dot = memchr(text.p, '.', text.n);
	if (dot) {
		for (const char *p = dot + 1; p < text.p + text.n; p++) {
			if (*p != '0')
				return -EINVAL;
		}
		text.n = (size_t)(dot - text.p);
	}
	return text_parse_i64(text, ret) < 0 ? -EINVAL : 0;
}

static int decode_string(struct slice text, struct buf *b)
{
	while (text.n) {
		size_t n = (size_t)(scan_string_special(text.p, text.p + text.n) - text.p);
		char out[4];

		(void)buf_append(b, text.p, n);
		text = slice_skip(text, n);
		if (text.n == 0)
			break;
		if (text.p[0] != '\\')
			return -EINVAL;
		text = slice_skip(text, 1);
		n = take_escape(&text, out);
		if (n == 0)
			return -EINVAL;
		(void)buf_append(b, out, n);
	}
	return b->err;
}

int jscan_string(struct slice raw, struct buf *b)
{
	size_t before = b->n;
	int r;

	if (raw.n < 2 || raw.p[0] != '"' || raw.p[raw.n - 1] != '"')
		return -EINVAL;
	r = decode_string(slice_of(raw.p + 1, raw.n - 2), b);
	if (r < 0)
		b->n = before;
	return r;
}
