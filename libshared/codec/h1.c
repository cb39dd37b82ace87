/* Heads and bodies. Every head is looked at twice: here, line by line and byte by byte, and by
 * llhttp. Only what both accept, and understand in the same way, passes. Bodies with a length are
 * counted here; chunks are llhttp's, with extensions and framing trailers refused. */
#include <aigw/h1.h>
#include <aigw/text.h>

#define STATUS_SWITCHING_PROTOCOLS 101
#define STATUS_NO_CONTENT          204
#define STATUS_NOT_MODIFIED        304

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

/* --- bytes ---------------------------------------------------------------------------------- */

bool h1_is_token(struct slice s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
			continue;
		if (!memchr(others, c, sizeof(others) - 1))
			return false;
	}
	return s.n > 0;
}

bool h1_is_value(struct slice s, bool obs_text)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f || (c >= 0x80 && !obs_text))
			return false;
	}
	return true;
}

/* uri-host [ ":" port ], without the reserved characters that no host name needs. */
static bool is_host(struct slice s)
{
	size_t i = 0;
	uint64_t port;

	if (s.n && s.p[0] == '[') {
		const char *end = memchr(s.p, ']', s.n);
		size_t n = end ? (size_t)(end - s.p) : 0;

		for (i = 1; i < n; i++) {
			char c = (char)(s.p[i] | 0x20);

			if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(c >= 'a' && c <= 'f') &&
				s.p[i] != ':' && s.p[i] != '.')
				return false;
		}
		if (n < 3)
			return false;
		i = n + 1;
	} else {
		while (i < s.n && s.p[i] != ':') {
			if (!text_is_base62(slice_of(s.p + i, 1)) && !memchr(".-_~", s.p[i], 4))
				return false;
			i++;
		}
		if (i == 0)
			return false;
	}
	if (i == s.n)
		return true;
	return s.p[i] == ':' && text_parse_u64(slice_skip(s, i + 1), &port) == 0 &&
	       port <= UINT16_MAX;
}

/* Is `needle` one of the comma-separated elements? */
static bool list_has(struct slice list, struct slice needle)
{
	while (list.n) {
		const char *comma = memchr(list.p, ',', list.n);
		size_t n = comma ? (size_t)(comma - list.p) : list.n;

		if (slice_eq_nocase(slice_trim(slice_of(list.p, n)), needle))
			return true;
		list = slice_skip(list, n + 1);
	}
	return false;
}

/* --- the first line, and the shape of the others
 * -------------------------------------------------- */

/* "HTTP/1.0" or "HTTP/1.1". */
static enum h1_error parse_version(struct slice s, struct h1_head *head)
{
	if (s.n != 8 || memcmp(s.p, "HTTP/1.", 7) != 0 || (s.p[7] != '0' && s.p[7] != '1'))
		return H1_BAD_VERSION;
	head->minor = (uint8_t)(s.p[7] - '0');
	return H1_OK;
}

static enum h1_error parse_target(struct h1_head *head)
{
	struct slice t = head->target;
	const char *query;

	for (size_t i = 0; i < t.n; i++) {
		unsigned char c = (unsigned char)t.p[i];

		if (c <= ' ' || c >= 0x7f || c == '#')
			return H1_BAD_TARGET;
	}
	if (slice_eq(head->method, SLICE("CONNECT")))
		return H1_BAD_UPGRADE;
	if (t.n == 0 || t.p[0] != '/') {
		if (!slice_eq(t, SLICE("*")) || !slice_eq(head->method, SLICE("OPTIONS")))
			return H1_BAD_TARGET;
	}
	query = memchr(t.p, '?', t.n);
	head->path = query ? slice_of(t.p, (size_t)(query - t.p)) : t;
	head->query = query ? slice_skip(t, head->path.n + 1) : SLICE_EMPTY;
	return H1_OK;
}

/* method SP request-target SP HTTP-version, with single spaces. */
static enum h1_error parse_request_line(struct slice line, struct h1_head *head)
{
	const char *space = memchr(line.p, ' ', line.n);
	struct slice rest;
	enum h1_error r;

	if (!space)
		return H1_BAD_SYNTAX;
	head->method = slice_of(line.p, (size_t)(space - line.p));
	if (!h1_is_token(head->method))
		return H1_BAD_SYNTAX;
	rest = slice_skip(line, head->method.n + 1);
	space = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
	if (!space) /* HTTP/0.9 */
		return H1_BAD_VERSION;
	head->target = slice_of(rest.p, (size_t)(space - rest.p));
	rest = slice_skip(rest, head->target.n + 1);
	if (head->target.n == 0 || (rest.n && rest.p[0] == ' '))
		return H1_BAD_SYNTAX;
	r = parse_version(rest, head);
	return r ? r : parse_target(head);
}

/* HTTP-version SP status-code [ SP reason ]. */
static enum h1_error parse_status_line(struct slice line, struct h1_head *head)
{
	enum h1_error r = parse_version(slice_of(line.p, MIN(line.n, (size_t)8)), head);
	uint64_t status;

	if (r)
		return r;
	if (line.n < 12 || line.p[8] != ' ' || text_parse_u64(slice_of(line.p + 9, 3), &status) < 0)
		return H1_BAD_SYNTAX;
	if (status < 100 || (line.n > 12 && line.p[12] != ' ') ||
		!h1_is_value(slice_skip(line, 12), true))
		return H1_BAD_SYNTAX;
	head->status = (uint16_t)status;
	return H1_OK;
}

/* Lines end with CRLF, none goes on in the next one, and the only empty one is the last. */
static enum h1_error check_lines(const char *p, size_t n, struct slice *ret_first)
{
	size_t begin = 0;

	*ret_first = SLICE_EMPTY;
	while (begin < n) {
		const char *lf = memchr(p + begin, '\n', n - begin);
		size_t end = lf ? (size_t)(lf - p) : n;

		if (!lf || end == begin || p[end - 1] != '\r')
			return H1_BAD_SYNTAX;
		if (begin == 0)
			*ret_first = slice_of(p, end - 1);
		else if (p[begin] == ' ' || p[begin] == '\t')
			return H1_BAD_FIELD;
		if (end == begin + 1)
			return begin > 0 && end + 1 == n ? H1_OK : H1_BAD_SYNTAX;
		begin = end + 1;
	}
	return H1_BAD_SYNTAX;
}

/* --- fields -------------------------------------------------------------------------------------
 */

/* Some servers read '_' as '-': to them this is a second Content-Length or Transfer-Encoding. */
static bool is_twin_of_framing(struct slice name)
{
	char plain[H1_TRAILER_NAME_BYTES];

	if (name.n > sizeof(plain) || !memchr(name.p, '_', name.n))
		return false;
	for (size_t i = 0; i < name.n; i++)
		plain[i] = name.p[i] == '_' ? '-' : name.p[i];
	name.p = plain;
	return slice_eq_nocase(name, SLICE("content-length")) ||
	       slice_eq_nocase(name, SLICE("transfer-encoding"));
}

/* One field's own form, and what it says about the connection. */
static enum h1_error check_field(struct h1 *h, const struct h1_field *f, bool *closes, bool *keeps)
{
	struct h1_head *head = h->head;

	if (!h1_is_token(f->name) || is_twin_of_framing(f->name) ||
		!h1_is_value(f->value, h->role == H1_RESPONSE))
		return H1_BAD_FIELD;
	switch (f->name.n) {
	case 6:
		if (h->role == H1_REQUEST && slice_eq_nocase(f->name, SLICE("expect")) &&
			slice_eq_nocase(f->value, SLICE("100-continue")))
			head->expect_continue = head->minor > 0;
		break;
	case 7:
		if (h->role == H1_REQUEST && slice_eq_nocase(f->name, SLICE("upgrade")))
			return H1_BAD_UPGRADE;
		break;
	case 10:
		if (slice_eq_nocase(f->name, SLICE("connection"))) {
			*closes |= list_has(f->value, SLICE("close"));
			*keeps |= list_has(f->value, SLICE("keep-alive"));
		}
		break;
	case 14:
		if (slice_eq_nocase(f->name, SLICE("content-length"))) {
			if (head->has_length || text_parse_u64(f->value, &head->length) < 0)
				return H1_BAD_FRAMING;
			head->has_length = true;
		}
		break;
	case 17:
		if (slice_eq_nocase(f->name, SLICE("transfer-encoding"))) {
			if (head->chunked || !slice_eq_nocase(f->value, SLICE("chunked")))
				return H1_BAD_FRAMING;
			head->chunked = true;
		}
		break;
	default: break;
	}
	return H1_OK;
}

static enum h1_error check_host(const struct h1_head *head)
{
	const struct h1_field *host = h1_find(head, SLICE("host"));

	if (!host)
		return head->minor == 0 ? H1_OK : H1_BAD_HOST;
	return h1_count(head, SLICE("host")) == 1 && is_host(host->value) ? H1_OK : H1_BAD_HOST;
}

/* RFC 9112 6.3: how long the body is. */
static void frame_response(struct h1 *h)
{
	struct h1_head *head = h->head;
	bool never = head->status < 200 || head->status == STATUS_NO_CONTENT;

	if (never || head->status == STATUS_NOT_MODIFIED || h->skip_body) {
		/* Such a server may send the body that must not be: no second message from it. */
		if (never && (head->chunked || head->length > 0))
			head->keep_alive = false;
		return;
	}
	head->until_close = !head->chunked && !head->has_length;
	head->keep_alive = head->keep_alive && !head->until_close;
	head->has_body = head->chunked || head->until_close || head->length > 0;
}

static enum h1_error check_fields(struct h1 *h)
{
	struct h1_head *head = h->head;
	bool closes = false, keeps = false;
	enum h1_error r = H1_OK;

	for (unsigned i = 0; i < head->n_fields && r == H1_OK; i++)
		r = check_field(h, &head->fields[i], &closes, &keeps);
	if (r)
		return r;
	if (head->chunked && (head->has_length || head->minor == 0))
		return H1_BAD_FRAMING;
	/* Both parsers must have read the same framing. */
	if (head->chunked != !!(h->parser.flags & F_CHUNKED) ||
		head->has_length != !!(h->parser.flags & F_CONTENT_LENGTH) ||
		(head->has_length && head->length != h->parser.content_length))
		return H1_BAD_FRAMING;
	head->keep_alive = !closes && (head->minor > 0 || keeps);
	if (h->role == H1_REQUEST) {
		head->has_body = head->chunked || head->length > 0;
		return check_host(head);
	}
	if (head->status == STATUS_SWITCHING_PROTOCOLS)
		return H1_BAD_UPGRADE;
	frame_response(h);
	return H1_OK;
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
	if (!h1_is_token(name) || is_twin_of_framing(name))
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
	enum h1_error r = check_fields(h);

	if (r)
		return h1_refuse(h, r);
	if (!h->head->has_body)
		h->mode = H1_NO_BODY;
	else if (h->head->chunked)
		h->mode = H1_CHUNKED;
	else
		h->mode = h->head->until_close ? H1_UNTIL_CLOSE : H1_LENGTH;
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
		const char *lf = memchr(p + *scanned, '\n', n - *scanned);
		size_t at = lf ? (size_t)(lf - p) : n;

		*scanned = lf ? at + 1 : n;
		if (*scanned > H1_MAX_HEAD_BYTES)
			return H1_BAD_HEAD_SIZE;
		if (!lf)
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
	struct slice line;
	llhttp_errno_t e;
	enum h1_error r;

	memset(h, 0, sizeof(*h));
	memset(head, 0, offsetof(struct h1_head, fields));
	if (n > H1_MAX_HEAD_BYTES)
		return h->error = H1_BAD_HEAD_SIZE;
	r = check_lines(p, n, &line);
	if (r == H1_OK)
		r = role == H1_REQUEST ? parse_request_line(line, head)
				       : parse_status_line(line, head);
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
