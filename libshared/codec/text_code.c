/* Codes: base64 (RFC 4648 section 4), hex, base62, UTF-8 (RFC 3629), JSON strings. */
#include <aigw/text.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd"

const char TEXT_BASE62[63] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t text_base64_encode(const void *p, size_t n, char *out)
{
	const unsigned char *in = p;
	char *at = out;

	for (; n >= 3; n -= 3, in += 3) {
		uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];

		*at++ = base64_digits[v >> 18];
		*at++ = base64_digits[v >> 12 & 63];
		*at++ = base64_digits[v >> 6 & 63];
		*at++ = base64_digits[v & 63];
	}
	if (n) {
		uint32_t v = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);

		*at++ = base64_digits[v >> 18];
		*at++ = base64_digits[v >> 12 & 63];
		*at++ = n == 2 ? base64_digits[v >> 6 & 63] : '=';
		*at++ = '=';
	}
	return (size_t)(at - out);
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int text_base64_decode(struct slice s, void *out, size_t cap, size_t *ret_n)
{
	unsigned char *at = out;
	size_t pad = 0, n;

	if (s.n % 4 != 0)
		return -EINVAL;
	while (pad < 2 && pad < s.n && s.p[s.n - 1 - pad] == '=')
		pad++;
	n = s.n / 4 * 3 - pad;
	if (n > cap)
		return -ENOBUFS;
	for (size_t i = 0; i < s.n; i += 4) {
		size_t bytes = i + 4 == s.n ? 3 - pad : 3;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k > bytes ? 0 : base64_value(s.p[i + k]);

			if (d < 0)
				return -EINVAL;
			v = v << 6 | (uint32_t)d;
		}
		/* One text per value: the bits behind the last byte are zero. */
		if ((v & (((uint32_t)1 << (8 * (3 - bytes))) - 1)) != 0)
			return -EINVAL;
		for (size_t k = 0; k < bytes; k++)
			*at++ = (unsigned char)(v >> (16 - 8 * k));
	}
	*ret_n = n;
	return 0;
}

void text_hex(const void *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *in = p;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_unhex(struct slice s, void *out, size_t n)
{
	unsigned char *at = out;

	if (s.n / 2 != n || s.n % 2 != 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int high = hex_value(s.p[2 * i]);
		int low = hex_value(s.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		at[i] = (unsigned char)(high << 4 | low);
	}
	return 0;
}

bool text_is_base62(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return false;
	}
	return s.n > 0;
}

size_t text_utf8_len(struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	/* The second byte's range keeps out overlong forms, surrogates and what lies above
	 * U+10FFFF. */
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (s.n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	switch (p[0]) {
	case 0xe0: low = 0xa0; break;
	case 0xed: high = 0x9f; break;
	case 0xf0: low = 0x90; break;
	case 0xf4: high = 0x8f; break;
	default: break;
	}
	if (s.n < n || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

bool text_is_utf8(struct slice s)
{
	while (s.n) {
		uint64_t word;
		size_t n;

		if (s.n >= 8) {
			memcpy(&word, s.p, 8);
			if ((word & 0x8080808080808080u) == 0) {
				s = slice_skip(s, 8);
				continue;
			}
		}
		n = text_utf8_len(s);
		if (n == 0)
			return false;
		s = slice_skip(s, n);
	}
	return true;
}

int text_utf8_clean(struct buf *b, struct slice s)
{
	while (s.n) {
		size_t n = text_utf8_len(s);

		if (n)
			(void)buf_append(b, s.p, n);
		else
			(void)buf_str(b, UTF8_REPLACEMENT);
		s = slice_skip(s, n ? n : 1);
	}
	return b->err;
}

/* Bytes at the beginning that stand in a JSON string as they are. */
static size_t plain_len(struct slice s)
{
	size_t n = 0;

	while (n < s.n && (unsigned char)s.p[n] >= 0x20 && (unsigned char)s.p[n] < 0x80 &&
		s.p[n] != '"' && s.p[n] != '\\')
		n++;
	return n;
}

static void quote_one(struct buf *b, unsigned char c)
{
	switch (c) {
	case '"': (void)buf_str(b, "\\\""); break;
	case '\\': (void)buf_str(b, "\\\\"); break;
	case '\b': (void)buf_str(b, "\\b"); break;
	case '\f': (void)buf_str(b, "\\f"); break;
	case '\n': (void)buf_str(b, "\\n"); break;
	case '\r': (void)buf_str(b, "\\r"); break;
	case '\t': (void)buf_str(b, "\\t"); break;
	default: (void)buf_printf(b, "\\u%04x", c); break;
	}
}

int text_json_quote(struct buf *b, struct slice s)
{
	(void)buf_char(b, '"');
	while (s.n && !b->err) {
		size_t n = plain_len(s);

		if (n) {
			(void)buf_append(b, s.p, n);
		} else if ((unsigned char)s.p[0] < 0x80) {
			quote_one(b, (unsigned char)s.p[0]);
			n = 1;
		} else {
			n = text_utf8_len(s);
			if (n)
				(void)buf_append(b, s.p, n);
			else
				(void)buf_str(b, UTF8_REPLACEMENT);
			n = n ? n : 1;
		}
		s = slice_skip(s, n);
	}
	(void)buf_char(b, '"');
	return b->err;
}
