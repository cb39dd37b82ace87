/* URLs, numbers, amounts, base64, UTF-8: what is read can be written and read again. The first byte
 * chooses. */
#include "fuzz.h"

#include <aigw/json_scan.h>
#include <aigw/text.h>
#include <aigw/url.h>
#include <aigw/vkey.h>

static void url(struct slice s)
{
	struct url u, again;
	struct errbuf why = { "" };
	struct buf b;

	if (url_parse(s, &u, &why)) {
		ASSERT(why.text[0]);
		return;
	}
	ASSERT(u.host.n && u.port && lies_in(u.host, s) && lies_in(u.path, s) &&
		lies_in(u.authority, s));
	ASSERT(u.path.n == 0 || (u.path.p[0] == '/' && u.path.p[u.path.n - 1] != '/'));
	buf_init(&b, 1u << 20);
	(void)buf_str(&b, u.tls ? "https://" : "http://");
	(void)buf_slice(&b, u.authority);
	(void)buf_slice(&b, u.path);
	if (!b.err) {
		ASSERT(url_parse(buf_view(&b), &again, &why) == 0);
		ASSERT(again.tls == u.tls && again.port == u.port && slice_eq(again.host, u.host) &&
			slice_eq(again.path, u.path));
	}
	buf_fini(&b);
}

static void base64(struct slice s)
{
	size_t n = 0, cap = s.n / 4 * 3 + 3;
	char *raw = malloc(cap), *text = malloc(4 * ((cap + 2) / 3) + 1);

	ASSERT(raw && text);
	if (text_base64_decode(s, raw, cap, &n) == 0)
		ASSERT(slice_eq(slice_of(text, text_base64_encode(raw, n, text)), s));
	free(raw);
	free(text);
}

static void numbers(struct slice s)
{
	char out[32];
	int64_t nano, again, day;
	uint64_t u;
	usec d, d2;

	if (text_parse_nano(s, true, &nano) == 0) {
		text_format_nano(nano, 0, out);
		ASSERT(text_parse_nano(slice_str(out), true, &again) == 0 && again == nano);
	}
	if (text_parse_duration(s, &d) == 0) {
		text_format_duration(d, out);
		ASSERT(text_parse_duration(slice_str(out), &d2) == 0 && d2 == d);
	}
	(void)text_parse_u64(s, &u);
	(void)text_parse_i64(s, &again);
	(void)text_parse_size(s, &u);
	(void)text_parse_date(s, &day);
}

static void quoted(struct slice s)
{
	struct buf json, clean, back;

	buf_init(&json, 8u << 20);
	buf_init(&clean, 8u << 20);
	buf_init(&back, 8u << 20);
	if (text_json_quote(&json, s) == 0 && text_utf8_clean(&clean, s) == 0) {
		ASSERT(text_is_utf8(buf_view(&clean)) &&
			text_is_utf8(s) == slice_eq(s, buf_view(&clean)));
		ASSERT(jscan_string(buf_view(&json), &back) == 0 &&
			slice_eq(buf_view(&back), buf_view(&clean)));
	}
	buf_fini(&json);
	buf_fini(&clean);
	buf_fini(&back);
}

static void vkey(struct slice s)
{
	struct vkey k;

	if (vkey_parse(s, &k) == 0)
		ASSERT(s.n == VKEY_TEXT_LEN && vkey_has_prefix(s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(struct slice s) = { url, base64, numbers, quoted, vkey };

	if (size)
		what[data[0] % ARRAY_LEN(what)](slice_of((const char *)data + 1, size - 1));
	return 0;
}
