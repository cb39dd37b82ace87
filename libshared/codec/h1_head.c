/* A head's own look, without llhttp: every byte, every line, and what the fields say together (RFC
 * 9112). */
#include <aigw/text.h>

#include "h1_head.h"
#include "scan.h"

#define STATUS_SWITCHING_PROTOCOLS 101
#define STATUS_NO_CONTENT          204
#define STATUS_NOT_MODIFIED        304

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

/* Lines end with CRLF, none goes on in the next one, and the only empty one is the last.
 * *ret_plain: all else is printable ASCII or a tab, so nobody needs to look at the values' bytes
 * again. */
static enum h1_error check_lines(const char *p, size_t n, struct slice *ret_first, bool *ret_plain)
{
	const char *end = p + n, *begin = p, *at = p;

	*ret_first = SLICE_EMPTY;
	*ret_plain = true;
	for (;;) {
		at = scan_unprintable(at, end);
		if (at == end || *at == '\n')
			return H1_BAD_SYNTAX;
		if (*at != '\r' || end - at < 2 || at[1] != '\n') {
			*ret_plain = *ret_plain && *at == '\t';
			at++;
			continue;
		}
		if (begin == p)
			*ret_first = slice_of(p, (size_t)(at - p));
		else if (*begin == ' ' || *begin == '\t')
			return H1_BAD_FIELD;
		if (at == begin)
			return begin > p && at + 2 == end ? H1_OK : H1_BAD_SYNTAX;
		begin = at += 2;
	}
}

enum h1_error h1_head_lines(
	enum h1_role role, const char *p, size_t n, struct h1_head *head, bool *ret_plain)
{
	struct slice line;
	enum h1_error r = check_lines(p, n, &line, ret_plain);

	if (r)
		return r;
	return role == H1_REQUEST ? parse_request_line(line, head) : parse_status_line(line, head);
}

/* --- fields -------------------------------------------------------------------------------------
 */

bool h1_is_framing_twin(struct slice name)
{
	char plain[H1_TRAILER_NAME_BYTES];

	/* The length of either, and a '_' at all. */
	if ((name.n != 14 && name.n != 17) || !memchr(name.p, '_', name.n))
		return false;
	for (size_t i = 0; i < name.n; i++)
		plain[i] = name.p[i] == '_' ? '-' : name.p[i];
	name.p = plain;
	return slice_eq_nocase(name, SLICE("content-length")) ||
	       slice_eq_nocase(name, SLICE("transfer-encoding"));
}

/* One field's own form, and what it says about the connection. */
static enum h1_error check_field(enum h1_role role, bool plain, struct h1_head *head,
	const struct h1_field *f, bool *closes, bool *keeps)
{
	if (!h1_is_token(f->name) || h1_is_framing_twin(f->name) ||
		(!plain && !h1_is_value(f->value, role == H1_RESPONSE)))
		return H1_BAD_FIELD;
	switch (f->name.n) {
	case 6:
		if (role == H1_REQUEST && slice_eq_nocase(f->name, SLICE("expect")) &&
			slice_eq_nocase(f->value, SLICE("100-continue")))
			head->expect_continue = head->minor > 0;
		break;
	case 7:
		if (role == H1_REQUEST && slice_eq_nocase(f->name, SLICE("upgrade")))
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
static void frame_response(struct h1_head *head, bool head_request)
{
	bool never = head->status < 200 || head->status == STATUS_NO_CONTENT;

	if (never || head->status == STATUS_NOT_MODIFIED || head_request) {
		/* Such a server may send the body that must not be: no second message from it. */
		if (never && (head->chunked || head->length > 0))
			head->keep_alive = false;
		return;
	}
	head->until_close = !head->chunked && !head->has_length;
	head->keep_alive = head->keep_alive && !head->until_close;
	head->has_body = head->chunked || head->until_close || head->length > 0;
}

enum h1_error h1_head_fields(enum h1_role role, bool head_request, bool plain, struct h1_head *head)
{
	bool closes = false, keeps = false;
	enum h1_error r = H1_OK;

	for (unsigned i = 0; i < head->n_fields && r == H1_OK; i++)
		r = check_field(role, plain, head, &head->fields[i], &closes, &keeps);
	if (r)
		return r;
	if (head->chunked && (head->has_length || head->minor == 0))
		return H1_BAD_FRAMING;
	head->keep_alive = !closes && (head->minor > 0 || keeps);
	if (role == H1_REQUEST) {
		head->has_body = head->chunked || head->length > 0;
		return check_host(head);
	}
	if (head->status == STATUS_SWITCHING_PROTOCOLS)
		return H1_BAD_UPGRADE;
	frame_response(head, head_request);
	return H1_OK;
}
