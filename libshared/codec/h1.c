/* Heads and bodies. Every byte of a head is looked at in h1_head.c. What says where the message
 * ends (the first line, Content-Length or Transfer-Encoding, the empty line) is read by llhttp as
 * well, and only what both understand in the same way passes. Of the other fields llhttp would say
 * no more than that their names are tokens and their values are text in one line, which is known by
 * then. Bodies with a length are counted here, and chunks that are plain and here whole; all that
 * is rarer in a chunked body is llhttp's, with extensions and framing trailers refused. */
#include "h1_head.h"
#include "scan.h"

static struct h1 *h1_of(llhttp_t *parser)
{
	return container_of(parser, struct h1, parser);
}

/* For callbacks: remembers what is wrong and makes llhttp stop. */
static int h1_refuse(struct h1 *h, enum h1_error error)
{
	if (h->error == H1_OK)
		h->error = (int8_t)error;
	return -1;
}

/* --- llhttp's callbacks
 * --------------------------------------------------------------------------- */

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
	struct h1 *h = h1_of(parser);

	if (at != h->head->target.p || n != h->head->target.n)
		return h1_refuse(h, H1_BAD_SYNTAX);
	return 0;
}

/* Fields that llhttp tells of stand in trailers. */
static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
	struct h1 *h = h1_of(parser);
	size_t room = sizeof(h->name) - h->name_n;

	if (n > (size_t)(H1_TRAILER_MAX_BYTES - h->trailer_n))
		return h1_refuse(h, H1_BAD_CHUNK);
	h->trailer_n = (uint16_t)(h->trailer_n + n);
	n = MIN(n, room);
	memcpy(h->name + h->name_n, at, n);
	h->name_n = (uint8_t)(h->name_n + n);
	return 0;
}

/* A trailer's field must not say anything about messages, hosts or connections. */
static int on_header_field_complete(llhttp_t *parser)
{
	static const struct slice framing[] = {
		{ "content-length", 14 },
		{ "transfer-encoding", 17 },
		{ "host", 4 },
		{ "connection", 10 },
		{ "keep-alive", 10 },
		{ "upgrade", 7 },
		{ "trailer", 7 },
		{ "te", 2 },
		{ "expect", 6 },
		{ "content-encoding", 16 },
		{ "content-type", 12 },
		{ "content-range", 13 },
		{ "authorization", 13 },
	};
	struct h1 *h = h1_of(parser);
	struct slice name = slice_of(h->name, h->name_n);

	if (!h1_is_token(name) || h1_is_framing_twin(name))
		return h1_refuse(h, H1_BAD_CHUNK);
	for (size_t i = 0; i < ARRAY_LEN(framing); i++) {
		if (slice_eq_nocase(name, framing[i]))
			return h1_refuse(h, H1_BAD_CHUNK);
	}
	h->name_n = 0;
	return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
	struct h1 *h = h1_of(parser);

	if (n > (size_t)(H1_TRAILER_MAX_BYTES - h->trailer_n) ||
		!h1_is_value(slice_of(at, n), h->role == H1_RESPONSE))
		return h1_refuse(h, H1_BAD_CHUNK);
	h->trailer_n = (uint16_t)(h->trailer_n + n);
	return 0;
}

/* 1: no body follows, whatever the fields say. */
static int on_headers_complete(llhttp_t *parser)
{
	struct h1 *h = h1_of(parser);
	struct h1_head *head = h->head;

	/* Both must have read the same framing. */
	if (head->chunked != !!(parser->flags & F_CHUNKED) ||
		head->has_length != !!(parser->flags & F_CONTENT_LENGTH) ||
		(head->has_length && head->length != parser->content_length))
		return h1_refuse(h, H1_BAD_FRAMING);
	if (!head->has_body)
		h->mode = H1_NO_BODY;
	else if (head->chunked)
		h->mode = H1_CHUNKED;
	else
		h->mode = head->until_close ? H1_UNTIL_CLOSE : H1_LENGTH;
	h->in_head = false;
	return h->mode == H1_NO_BODY ? 1 : 0;
}

static void gather(struct h1 *h, const char *at, size_t n)
{
	if (at != h->out + h->out_n)
		memmove(h->out + h->out_n, at, n);
	h->out_n += n;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
	struct h1 *h = h1_of(parser);

	if (h->mode != H1_CHUNKED || !h->out)
		return h1_refuse(h, H1_BAD_SYNTAX);
	gather(h, at, n);
	return 0;
}

/* Stops llhttp where the next chunk may be counted without it. */
static int on_chunk_complete(llhttp_t *parser)
{
	if (parser->flags & F_TRAILING)
		return 0;
	h1_of(parser)->at_chunk = true;
	return HPE_PAUSED;
}

static int on_extension(llhttp_t *parser, const char *at, size_t n)
{
	(void)at;
	(void)n;
	return h1_refuse(h1_of(parser), H1_BAD_CHUNK);
}

static int on_extension_complete(llhttp_t *parser)
{
	return h1_refuse(h1_of(parser), H1_BAD_CHUNK);
}

/* Stops llhttp exactly at the message's end. */
static int on_message_complete(llhttp_t *parser)
{
	h1_of(parser)->done = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t head_settings = {
	.on_url = on_url,
	.on_headers_complete = on_headers_complete,
	.on_message_complete = on_message_complete,
};

static const llhttp_settings_t chunk_settings = {
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_field_complete = on_header_field_complete,
	.on_body = on_body,
	.on_chunk_extension_name = on_extension,
	.on_chunk_extension_value = on_extension,
	.on_chunk_extension_name_complete = on_extension_complete,
	.on_chunk_extension_value_complete = on_extension_complete,
	.on_chunk_complete = on_chunk_complete,
	.on_message_complete = on_message_complete,
};

/* --- the public side
 * ------------------------------------------------------------------------------ */

#ifdef __SSE2__
/* From *at on, 64 bytes at a time, as long as there are so many in front of `n`: the end of the
 * head, 0, or H1_BAD_SYNTAX. */
static ssize_t head_end_blocks(const char *p, size_t n, size_t *at)
{
	for (; n - *at >= 64; *at += 64) {
		uint64_t cr, lf = scan_byte_mask64(p + *at, '\n'), bare, last, i;

		if (!lf)
			continue;
		cr = scan_byte_mask64(p + *at, '\r');
		bare = lf & ~(cr << 1 | (*at >= 1 && p[*at - 1] == '\r'));
		last = lf & (lf << 2 | (uint64_t)(*at >= 1 && p[*at - 1] == '\n') << 1 |
				    (*at >= 2 && p[*at - 2] == '\n'));
		if (!(bare | last))
			continue;
		i = (uint64_t)__builtin_ctzll(bare | last);
		return bare >> i & 1 ? (ssize_t)H1_BAD_SYNTAX : (ssize_t)(*at + i + 1);
	}
	return 0;
}
#endif

ssize_t h1_head_end(const char *p, size_t n, size_t *scanned)
{
	size_t most = MIN(n, (size_t)H1_MAX_HEAD_BYTES), at = *scanned;

	if (n == 0)
		return 0;
	/* A method or "HTTP/". Refuses TLS, empty lines and noise before anything is collected. */
	if (p[0] < 'A' || p[0] > 'Z')
		return H1_BAD_SYNTAX;
	*scanned = MAX(at, most);
#ifdef __SSE2__
	if (at < most) {
		ssize_t end = head_end_blocks(p, most, &at);

		if (end)
			return end;
	}
#endif
	while (at < most) {
		at = (size_t)(scan_lf(p + at, p + most) - p);
		if (at == most)
			break;
		if (p[at - 1] != '\r')
			return H1_BAD_SYNTAX;
		if (p[at - 2] == '\n')
			return (ssize_t)at + 1;
		at++;
	}
	return n >= H1_MAX_HEAD_BYTES ? (ssize_t)H1_BAD_HEAD_SIZE : 0;
}

COLD static enum h1_error error_of(const struct h1 *h, llhttp_errno_t e, enum h1_error otherwise)
{
	if (h->error)
		return h->error;
	switch ((int)e) {
	case HPE_INVALID_VERSION: return H1_BAD_VERSION;
	case HPE_UNEXPECTED_CONTENT_LENGTH:
	case HPE_INVALID_CONTENT_LENGTH:
	case HPE_INVALID_TRANSFER_ENCODING: return H1_BAD_FRAMING;
	case HPE_INVALID_HEADER_TOKEN: return h->mode == H1_CHUNKED ? otherwise : H1_BAD_FIELD;
	default: return otherwise;
	}
}

/* What frames the message, through llhttp. */
static llhttp_errno_t run_head(struct h1 *h, const struct h1_frame *f, const char *end)
{
	llhttp_errno_t e = llhttp_execute(&h->parser, f->first.p, f->first.n);

	if (e == HPE_OK && f->framing.n)
		e = llhttp_execute(&h->parser, f->framing.p, f->framing.n);
	return e == HPE_OK ? llhttp_execute(&h->parser, end - 2, 2) : e;
}

enum h1_error h1_begin(struct h1 *h, enum h1_role role, bool head_request, const char *p, size_t n,
	struct h1_head *head)
{
	struct h1_frame frame;
	llhttp_errno_t e;
	enum h1_error r = H1_BAD_HEAD_SIZE;

	memset(&h->parser + 1, 0, sizeof(*h) - sizeof(h->parser));
	memset(head, 0, offsetof(struct h1_head, fields));
	if (n <= H1_MAX_HEAD_BYTES)
		r = h1_head_read(role, head_request, p, n, head, &frame);
	if (r)
		return h->error = (int8_t)r;
	llhttp_init(&h->parser, role == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &head_settings);
	h->role = (uint8_t)role;
	h->head = head;
	h->in_head = true;
	e = run_head(h, &frame, p + n);
	h->head = NULL;
	/* At its end llhttp either waits for a body or has paused behind the message. */
	if (e != (h->mode == H1_NO_BODY && h->done ? HPE_PAUSED : HPE_OK) || h->in_head) {
		r = error_of(h, e, H1_BAD_SYNTAX);
		h->error = (int8_t)r;
		return r;
	}
	h->parser.settings = (void *)(uintptr_t)&chunk_settings;
	if (h->mode == H1_LENGTH)
		h->left = head->length;
	h->at_chunk = h->mode == H1_CHUNKED;
	return H1_OK;
}

/* Value + 1 of a hexadecimal digit; 0: it is none. */
static const uint8_t hex_digits[256] = {
	['0'] = 1,
	['1'] = 2,
	['2'] = 3,
	['3'] = 4,
	['4'] = 5,
	['5'] = 6,
	['6'] = 7,
	['7'] = 8,
	['8'] = 9,
	['9'] = 10,
	['a'] = 11,
	['b'] = 12,
	['c'] = 13,
	['d'] = 14,
	['e'] = 15,
	['f'] = 16,
	['A'] = 11,
	['B'] = 12,
	['C'] = 13,
	['D'] = 14,
	['E'] = 15,
	['F'] = 16,
};

/* Between two chunks llhttp remembers nothing, so one that is here whole, with a size of up to
 * eight digits and nothing else about it (RFC 9112 7.1), is counted without it. Returns the bytes
 * used. */
static size_t take_plain_chunks(struct h1 *h, const char *p, size_t n)
{
	size_t at = 0;

	for (;;) {
		size_t i = at, end = MIN(n, at + 8), size = 0;
		unsigned digit;

		for (; i < end && (digit = hex_digits[(unsigned char)p[i]]) != 0; i++)
			size = size << 4 | (digit - 1);
		if (!size || n - i < size + 4 || p[i] != '\r' || p[i + 1] != '\n' ||
			p[i + 2 + size] != '\r' || p[i + 3 + size] != '\n')
			return at;
		gather(h, p + i + 2, size);
		at = i + size + 4;
	}
}

static enum h1_error body_chunked(
	struct h1 *h, char *p, size_t n, size_t *ret_used, size_t *ret_content)
{
	llhttp_errno_t e = HPE_OK;
	size_t used = 0;

	h->out = p;
	h->out_n = 0;
	while (used < n && e == HPE_OK) {
		if (h->at_chunk)
			used += take_plain_chunks(h, p + used, n - used);
		if (used == n)
			break;
		h->at_chunk = false;
		e = llhttp_execute(&h->parser, p + used, n - used);
		if (e == HPE_OK)
			used = n;
		else if (e == HPE_PAUSED)
			used = (size_t)(llhttp_get_error_pos(&h->parser) - p);
		if (h->at_chunk && e == HPE_PAUSED) {
			llhttp_resume(&h->parser);
			e = HPE_OK;
		}
	}
	h->out = NULL;
	if (e == HPE_OK || (e == HPE_PAUSED && h->done)) {
		*ret_used = used;
	} else {
		enum h1_error r = error_of(h, e, H1_BAD_CHUNK);

		h->error = (int8_t)r;
		return r;
	}
	*ret_content = h->out_n;
	return H1_OK;
}

enum h1_error h1_body(struct h1 *h, char *p, size_t n, size_t *ret_used, size_t *ret_content)
{
	*ret_used = *ret_content = 0;
	if (h->error)
		return h->error;
	if (h->done || n == 0)
		return H1_OK;
	if (h->mode == H1_CHUNKED)
		return body_chunked(h, p, n, ret_used, ret_content);
	/* The bytes already are where they belong. */
	if (h->mode == H1_LENGTH) {
		n = (size_t)MIN((uint64_t)n, h->left);
		h->left -= n;
		h->done = h->left == 0;
	}
	*ret_used = *ret_content = n;
	return H1_OK;
}

enum h1_error h1_eof(struct h1 *h)
{
	if (h->error)
		return h->error;
	if (h->mode == H1_UNTIL_CLOSE)
		h->done = true;
	return h->done ? H1_OK : H1_BAD_SYNTAX;
}
