/* What h1.c's results are called, and fields out of and into heads. */
#include <aigw/h1.h>

const struct h1_field *h1_find(const struct h1_head *head, struct slice name)
{
	char first = name.n ? (char)(name.p[0] | 0x20) : 0;

	for (unsigned i = 0; i < head->n_fields; i++) {
		const struct h1_field *f = &head->fields[i];

		if (f->name.n == name.n && (f->name.p[0] | 0x20) == first &&
			bytes_eq_nocase(f->name.p, name.p, name.n))
			return f;
	}
	return NULL;
}

unsigned h1_count(const struct h1_head *head, struct slice name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < head->n_fields; i++)
		n += slice_eq_nocase(head->fields[i].name, name);
	return n;
}

const char *h1_error_text(enum h1_error e)
{
	switch (e) {
	case H1_OK: return "no error";
	case H1_BAD_SYNTAX: return "not a valid HTTP/1.1 message";
	case H1_BAD_HEAD_SIZE: return "the head is larger than 64 KiB or has more than 100 fields";
	case H1_BAD_HOST: return "exactly one valid Host field is needed";
	case H1_BAD_FRAMING: return "ambiguous or unsupported Content-Length or Transfer-Encoding";
	case H1_BAD_TARGET: return "the request target must be a path";
	case H1_BAD_CHUNK:
		return "a chunk is malformed or carries an extension or a framing trailer";
	case H1_BAD_VERSION: return "only HTTP/1.0 and HTTP/1.1 are spoken here";
	case H1_BAD_UPGRADE: return "CONNECT and Upgrade are not supported";
	case H1_BAD_FIELD: return "a field is folded, ambiguous, or has bytes that are not allowed";
	}
	return "unknown error";
}

unsigned h1_error_status(enum h1_error e)
{
	switch ((int)e) {
	case H1_BAD_HEAD_SIZE: return 431;
	case H1_BAD_VERSION: return 505;
	case H1_BAD_UPGRADE: return 426;
	default: return 400;
	}
}

const char *h1_reason(unsigned status)
{
	static const struct {
		uint16_t status;
		const char *reason;
	} reasons[] = {
		{ 100, "Continue" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 424, "Failed Dependency" },
		{ 425, "Too Early" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 451, "Unavailable For Legal Reasons" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
		{ 529, "Overloaded" },
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "";
}

/* Of what is known to be fit for it. */
static int put_field(struct buf *b, struct slice name, struct slice value)
{
	char *at;
	int r = buf_reserve(b, name.n + value.n + 4);

	if (r < 0)
		return r;
	/* There is room for all of it. */
	at = b->p + b->n;
	bytes_copy(at, name.p, name.n);
	at += name.n;
	memcpy(at, ": ", 2);
	at += 2;
	bytes_copy(at, value.p, value.n);
	at += value.n;
	memcpy(at, "\r\n", 2);
	b->n += name.n + value.n + 4;
	return 0;
}

int h1_write_field(struct buf *b, struct slice name, struct slice value)
{
	if (!h1_is_token(name) || !h1_is_value(value, true))
		return -EINVAL;
	return put_field(b, name, value);
}

int h1_write_parsed_field(struct buf *b, struct slice name, const struct h1_field *from)
{
	return put_field(b, name, from->value);
}
