/* A head's own look, without llhttp: every byte, every line, and what the fields say together (RFC
 * 9112). One pass; since a head ends with an empty line, or else is refused first, no search for a
 * line's end can leave it. */
#include <aigw/text.h>

#include "h1_head.h"
#include "scan.h"

#define STATUS_SWITCHING_PROTOCOLS 101
#define STATUS_NO_CONTENT          204
#define STATUS_NOT_MODIFIED        304

/* What the fields say together, as they come. */
struct said {
	const struct h1_field *host;
	unsigned hosts;
	bool closes, keeps;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Letters, digits and the unreserved marks. */
static bool is_name_byte(char c)
{
	char letter = (char)(c | 0x20);

	return (letter >= 'a' && letter <= 'z') || is_digit(c) || c == '.' || c == '-' ||
	       c == '_' || c == '~';
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

			if (!is_digit(s.p[i]) && !(c >= 'a' && c <= 'f') && s.p[i] != ':' &&
				s.p[i] != '.')
				return false;
		}
		if (n < 3)
			return false;
		i = n + 1;
	} else {
		while (i < s.n && s.p[i] != ':') {
			if (!is_name_byte(s.p[i]))
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
	struct slice part;

	while (slice_take_part(&list, &part))
		if (slice_eq_nocase(slice_trim(part), needle))
			return true;
	return false;
}

/* --- the first line
 * ------------------------------------------------------------------------------- */

/* The CR at the end of the line that p stands in; NULL: a CR or LF stands alone. *plain becomes
 * false if the line holds more than printable ASCII and tabs. */
static inline const char *line_end(const char *p, const char *end, bool *plain)
{
	for (;; p++) {
		p = scan_unprintable(p, end);
		if (*p == '\r')
			return p[1] == '\n' ? p : NULL;
		if (*p == '\n')
			return NULL;
		*plain = *plain && *p == '\t';
	}
}

/* First byte of p..end that ends a target, divides it, or must not be in one. */
static inline const char *scan_target(const char *p, const char *end)
{
#ifdef __SSE2__
	for (; end - p >= 16; p += 16) {
		__m128i v = scan_load(p), hit = _mm_cmplt_epi8(v, _mm_set1_epi8('!'));
		unsigned mask;

		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8('#')));
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8('?')));
		mask = (unsigned)_mm_movemask_epi8(hit);
		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p<end && * p> ' ' && *p != 0x7f && *p != '#' && *p != '?')
		p++;
	return p;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static enum h1_error parse_version(const char *p, size_t n, struct h1_head *head)
{
	if (n != 8 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1'))
		return H1_BAD_VERSION;
	head->minor = (uint8_t)(p[7] - '0');
	return H1_OK;
}

/* The target from p on, up to the space or the line's end. *clean: it holds nothing that no target
 * holds. */
static const char *parse_target(
	const char *p, const char *line, const char *end, struct h1_head *head, bool *clean)
{
	const char *begin = p, *query = NULL;

	*clean = true;
	for (;; p++) {
		p = scan_target(p, end); /* not past the CR */
		if (p == line || *p == ' ')
			break;
		if (*p != '?')
			*clean = false;
		else if (!query)
			query = p;
	}
	head->target = slice_of(begin, (size_t)(p - begin));
	head->path = slice_of(begin, (size_t)((query ? query : p) - begin));
	if (query)
		head->query = slice_of(query + 1, (size_t)(p - query - 1));
	return p;
}

/* method SP request-target SP HTTP-version, with single spaces. */
static enum h1_error parse_request_line(
	const char *p, const char *line, const char *end, struct h1_head *head)
{
	const char *at = h1_scan_token(p, end);
	enum h1_error r;
	bool clean;

	if (at == p || *at != ' ')
		return H1_BAD_SYNTAX;
	head->method = slice_of(p, (size_t)(at - p));
	at = parse_target(at + 1, line, end, head, &clean);
	if (at == line) /* HTTP/0.9 */
		return H1_BAD_VERSION;
	if (head->target.n == 0 || at[1] == ' ')
		return H1_BAD_SYNTAX;
	r = parse_version(at + 1, (size_t)(line - at - 1), head);
	if (r)
		return r;
	if (!clean)
		return H1_BAD_TARGET;
	if (slice_eq(head->method, SLICE("CONNECT")))
		return H1_BAD_UPGRADE;
	if (head->target.p[0] != '/' &&
		(!slice_eq(head->target, SLICE("*")) || !slice_eq(head->method, SLICE("OPTIONS"))))
		return H1_BAD_TARGET;
	return H1_OK;
}

/* HTTP-version SP status-code [ SP reason ]. */
static enum h1_error parse_status_line(
	const char *p, const char *line, bool plain, struct h1_head *head)
{
	size_t n = (size_t)(line - p);
	enum h1_error r = parse_version(p, MIN(n, (size_t)8), head);

	if (r)
		return r;
	if (n < 12 || p[8] != ' ' || p[9] < '1' || p[9] > '5' || !is_digit(p[10]) ||
		!is_digit(p[11]) || (n > 12 && p[12] != ' '))
		return H1_BAD_SYNTAX;
	if (!plain && !h1_is_value(slice_of(p + 12, n - 12), true))
		return H1_BAD_SYNTAX;
	head->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
	return H1_OK;
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

/* What one field says about the message and the connection. */
static enum h1_error take_field(
	enum h1_role role, const struct h1_field *f, struct h1_head *head, struct said *said)
{
	switch (f->name.n) {
	case 4:
		if (h1_name_is(f->name, "host")) {
			said->host = f;
			said->hosts++;
		}
		break;
	case 6:
		if (role == H1_REQUEST && h1_name_is(f->name, "expect") &&
			slice_eq_nocase(f->value, SLICE("100-continue")))
			head->expect_continue = head->minor > 0;
		break;
	case 7:
		if (role == H1_REQUEST && h1_name_is(f->name, "upgrade"))
			return H1_BAD_UPGRADE;
		break;
	case 10:
		if (h1_name_is(f->name, "connection")) {
			said->closes |= list_has(f->value, SLICE("close"));
			said->keeps |= list_has(f->value, SLICE("keep-alive"));
		}
		break;
	case 14:
		if (h1_name_is(f->name, "content-length")) {
			if (head->has_length || text_parse_u64(f->value, &head->length) < 0)
				return H1_BAD_FRAMING;
			head->has_length = true;
		} else if (h1_is_framing_twin(f->name)) {
			return H1_BAD_FIELD;
		}
		break;
	case 17:
		if (h1_name_is(f->name, "transfer-encoding")) {
			if (head->chunked || !slice_eq_nocase(f->value, SLICE("chunked")))
				return H1_BAD_FRAMING;
			head->chunked = true;
		} else if (h1_is_framing_twin(f->name)) {
			return H1_BAD_FIELD;
		}
		break;
	default: break;
	}
	return H1_OK;
}

/* The field whose line begins at p; *ret: where the next line does. */
static inline enum h1_error read_field(
	enum h1_role role, const char *p, const char *end, struct h1_field *f, const char **ret)
{
	const char *colon = h1_scan_token(p, end), *value, *line;
	bool plain = true;

	if (colon == p || *colon != ':') /* also: goes on with the line before */
		return H1_BAD_FIELD;
	line = line_end(colon + 1, end, &plain);
	if (!line)
		return H1_BAD_SYNTAX;
	*ret = line + 2;
	value = colon + 1;
	while (*value == ' ' || *value == '\t')
		value++;
	while (line > value && (line[-1] == ' ' || line[-1] == '\t'))
		line--;
	f->name = slice_of(p, (size_t)(colon - p));
	f->value = slice_of(value, (size_t)(line - value));
	return plain || h1_is_value(f->value, role == H1_RESPONSE) ? H1_OK : H1_BAD_FIELD;
}

static enum h1_error read_fields(enum h1_role role, const char *p, const char *end,
	struct h1_head *head, struct said *said, struct slice *ret_framing)
{
	while (*p != '\r') {
		struct h1_field *f = &head->fields[head->n_fields];
		bool framed = head->has_length || head->chunked;
		const char *next;
		enum h1_error r;

		if (head->n_fields == H1_MAX_FIELDS)
			return H1_BAD_HEAD_SIZE;
		r = read_field(role, p, end, f, &next);
		if (r == H1_OK)
			r = take_field(role, f, head, said);
		if (r)
			return r;
		if (!framed && (head->has_length || head->chunked))
			*ret_framing = slice_of(p, (size_t)(next - p));
		head->n_fields++;
		p = next;
	}
	/* The only empty line is the last. */
	return p + 2 == end ? H1_OK : H1_BAD_SYNTAX;
}

static enum h1_error check_host(const struct h1_head *head, const struct said *said)
{
	if (!said->hosts)
		return head->minor == 0 ? H1_OK : H1_BAD_HOST;
	return said->hosts == 1 && is_host(said->host->value) ? H1_OK : H1_BAD_HOST;
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

enum h1_error h1_head_read(enum h1_role role, bool head_request, const char *p, size_t n,
	struct h1_head *head, struct h1_frame *ret)
{
	struct said said = { .host = NULL };
	const char *end = p + n, *line;
	bool plain = true;
	enum h1_error r;

	if (n < 4 || memcmp(end - 4, "\r\n\r\n", 4) != 0)
		return H1_BAD_SYNTAX;
	line = line_end(p, end, &plain);
	if (!line)
		return H1_BAD_SYNTAX;
	ret->first = slice_of(p, (size_t)(line + 2 - p));
	ret->framing = SLICE_EMPTY;
	r = role == H1_REQUEST ? parse_request_line(p, line, end, head)
			       : parse_status_line(p, line, plain, head);
	if (r == H1_OK)
		r = read_fields(role, line + 2, end, head, &said, &ret->framing);
	if (r)
		return r;
	if (head->chunked && (head->has_length || head->minor == 0))
		return H1_BAD_FRAMING;
	head->keep_alive = !said.closes && (head->minor > 0 || said.keeps);
	if (role == H1_REQUEST) {
		head->has_body = head->chunked || head->length > 0;
		return check_host(head, &said);
	}
	if (head->status == STATUS_SWITCHING_PROTOCOLS)
		return H1_BAD_UPGRADE;
	frame_response(head, head_request);
	return H1_OK;
}
