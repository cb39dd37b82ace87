/* HTTP/1.1: the same bytes, whole and one by one, are the same message. The first byte chooses the
 * role. */
#include "fuzz.h"

#include <aigw/h1.h>

static struct h1_head head, again;

static ssize_t head_end(const char *p, size_t n)
{
	size_t scanned = 0, scanned_bytes = 0;
	ssize_t whole = h1_head_end(p, n, &scanned), bytes = 0;

	for (size_t i = 1; i <= n && bytes == 0; i++)
		bytes = h1_head_end(p, i, &scanned_bytes);
	if (whole > 0 || bytes > 0)
		ASSERT(whole == bytes && (size_t)whole <= n);
	else
		ASSERT((whole < 0) == (bytes < 0));
	return whole;
}

static void check_fields(struct slice text)
{
	ASSERT(head.n_fields <= H1_MAX_FIELDS);
	for (unsigned i = 0; i < head.n_fields; i++) {
		struct buf b;

		ASSERT(lies_in(head.fields[i].name, text) && lies_in(head.fields[i].value, text));
		ASSERT(h1_is_token(head.fields[i].name));
		/* What was taken in can be passed on. */
		buf_init(&b, 1u << 20);
		ASSERT(h1_write_field(&b, head.fields[i].name, head.fields[i].value) == 0);
		buf_fini(&b);
	}
	ASSERT(!(head.chunked && head.has_length));
}

/* Feeds `n` bytes in pieces; content into `out`. 0, or negative: what is wrong. */
static int body(struct h1 *h, const char *p, size_t n, size_t piece, struct buf *out)
{
	char *copy = malloc(n ? n : 1);
	size_t at = 0;
	int r = 0;

	ASSERT(copy);
	if (n)
		memcpy(copy, p, n);
	while (at < n && !h->done && r == 0) {
		size_t give = MIN(piece, n - at), used, content;

		r = h1_body(h, copy + at, give, &used, &content);
		ASSERT(used <= give && content <= used);
		ASSERT(r || h->done || used == give);
		(void)buf_append(out, copy + at, content);
		at += used;
	}
	free(copy);
	return r;
}

static void check_body(enum h1_role role, const char *p, size_t head_n, size_t n)
{
	struct h1 a, b;
	struct buf whole, bytes;
	int ra, rb;

	if (h1_begin(&a, role, false, p, head_n, &head) != H1_OK)
		return;
	check_fields(slice_of(p, head_n));
	ASSERT(h1_begin(&b, role, false, p, head_n, &again) == H1_OK);
	buf_init(&whole, 1u << 20);
	buf_init(&bytes, 1u << 20);
	ra = body(&a, p + head_n, n - head_n, SIZE_MAX, &whole);
	rb = body(&b, p + head_n, n - head_n, 1, &bytes);
	ASSERT((ra == 0) == (rb == 0));
	if (ra == 0) {
		ASSERT(a.done == b.done && slice_eq(buf_view(&whole), buf_view(&bytes)));
		ASSERT(h1_eof(&a) == h1_eof(&b));
	}
	buf_fini(&whole);
	buf_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum h1_role role = size && data[0] & 1 ? H1_RESPONSE : H1_REQUEST;
	const char *p = (const char *)data + 1;
	ssize_t n;

	if (size < 2)
		return 0;
	n = head_end(p, size - 1);
	if (n > 0)
		check_body(role, p, (size_t)n, size - 1);
	return 0;
}
