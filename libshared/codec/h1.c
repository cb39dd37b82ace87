/* Heads and bodies. Every head is looked at twice: in h1_head.c, line by line and byte by byte, and
 * by llhttp here. Only what both accept, and understand in the same way, passes. Bodies with a
 * length are counted here; chunks are llhttp's, with extensions and framing trailers refused. */
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

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
	struct h1 *h = h1_of(parser);
	struct h1_head *head = h->head;
	size_t room = sizeof(h->name) - h->name_n;

	if (h->in_head) {
		if (head->n_fields == H1_MAX_FIELDS)
			return h1_refuse(h, H1_BAD_HEAD_SIZE);
		head->fields[head->n_fields++] = (struct h1_field){ slice_of(at, n), SLICE_EMPTY };
		return 0;
	}
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

	if (h->in_head)
		return 0;
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
	struct h1_field *f;

	if (!h->in_head) {
		if (n > (size_t)(H1_TRAILER_MAX_BYTES - h->trailer_n) ||
			!h1_is_value(slice_of(at, n), h->role == H1_RESPONSE))
			return h1_refuse(h, H1_BAD_CHUNK);
		h->trailer_n = (uint16_t)(h->trailer_n + n);
		return 0;
	}
	if (h->head->n_fields == 0)
		return h1_refuse(h, H1_BAD_FIELD);
	f = &h->head->fields[h->head->n_fields - 1];
	if (f->value.p)
		return h1_refuse(h, H1_BAD_FIELD);
	f->value = slice_trim(slice_of(at, n));
	return 0;
}

/* 1: no body follows, whatever the fields say. */
static int on_headers_complete(llhttp_t *parser)
{
	struct h1 *h = h1_of(parser);
	struct h1_head *head = h->head;
	enum h1_error r = h1_head_fields((enum h1_role)h->role, h->skip_body, h->plain, head);

	if (r)
		return h1_refuse(h, r);
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

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
	struct h1 *h = h1_of(parser);

	if (h->mode != H1_CHUNKED || !h->out)
		return h1_refuse(h, H1_BAD_SYNTAX);
	if (at != h->out + h->out_n)
		memmove(h->out + h->out_n, at, n);
	h->out_n += n;
	return 0;
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

static const llhttp_settings_t h1_settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_field_complete = on_header_field_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_chunk_extension_name = on_extension,
	.on_chunk_extension_value = on_extension,
	.on_chunk_extension_name_complete = on_extension_complete,
	.on_chunk_extension_value_complete = on_extension_complete,
	.on_message_complete = on_message_complete,
};

/* --- the public side
 * ------------------------------------------------------------------------------ */

ssize_t h1_head_end(const char *p, size_t n, size_t *scanned)
{
	if (n == 0)
		return 0;
	/* A method or "HTTP/". Refuses TLS, empty lines and noise before anything is collected. */
	if (p[0] < 'A' || p[0] > 'Z')
		return H1_BAD_SYNTAX;
	while (*scanned < n) {
		size_t at = (size_t)(scan_lf(p + *scanned, p + n) - p);

		*scanned = MIN(at + 1, n);
		if (*scanned > H1_MAX_HEAD_BYTES)
			return H1_BAD_HEAD_SIZE;
		if (at == n)
			break;
		if (at == 0 || p[at - 1] != '\r')
			return H1_BAD_SYNTAX;
		if (at >= 2 && p[at - 2] == '\n')
			return (ssize_t)at + 1;
	}
	return n >= H1_MAX_HEAD_BYTES ? (ssize_t)H1_BAD_HEAD_SIZE : 0;
}

static enum h1_error error_of(const struct h1 *h, llhttp_errno_t e, enum h1_error otherwise)
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

enum h1_error h1_begin(struct h1 *h, enum h1_role role, bool head_request, const char *p, size_t n,
	struct h1_head *head)
{
	llhttp_errno_t e;
	enum h1_error r;

	memset(h, 0, sizeof(*h));
	memset(head, 0, offsetof(struct h1_head, fields));
	if (n > H1_MAX_HEAD_BYTES)
		return h->error = H1_BAD_HEAD_SIZE;
	r = h1_head_lines(role, p, n, head, &h->plain);
	if (r) {
		h->error = (int8_t)r;
		return r;
	}
	llhttp_init(&h->parser, role == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &h1_settings);
	h->role = (uint8_t)role;
	h->skip_body = head_request;
	h->head = head;
	h->in_head = true;
	e = llhttp_execute(&h->parser, p, n);
	h->head = NULL;
	/* At its end llhttp either waits for a body or has paused behind the message. */
	if (e != (h->mode == H1_NO_BODY && h->done ? HPE_PAUSED : HPE_OK) || h->in_head) {
		r = error_of(h, e, H1_BAD_SYNTAX);
		h->error = (int8_t)r;
		return r;
	}
	if (h->mode == H1_LENGTH)
		h->left = head->length;
	return H1_OK;
}

static enum h1_error body_chunked(
	struct h1 *h, char *p, size_t n, size_t *ret_used, size_t *ret_content)
{
	llhttp_errno_t e;

	h->out = p;
	h->out_n = 0;
	e = llhttp_execute(&h->parser, p, n);
	h->out = NULL;
	if (e == HPE_OK) {
		*ret_used = n;
	} else if (e == HPE_PAUSED && h->done) {
		*ret_used = (size_t)(llhttp_get_error_pos(&h->parser) - p);
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
