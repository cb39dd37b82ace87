#include <aigw/sse.h>

#include <aigw/find.h>

/* Invariant: no CR whose LF may still come lies before *scanned, so a line begins there if it is 0
 * or a line end stands before it. */
size_t sse_event_end(const char *p, size_t n, size_t *scanned, bool final)
{
	size_t at = *scanned;

	while (at < n) {
		bool at_eol = p[at] == '\n' || p[at] == '\r';
		size_t eol = at_eol ? at : at + find_eol(p + at, n - at);
		bool empty = at_eol && (at == 0 || p[at - 1] == '\n' || p[at - 1] == '\r');

		if (eol == n) {
			at = n;
			break;
		}
		/* The usual end of an event. */
		if (eol + 1 < n && p[eol] == '\n' && p[eol + 1] == '\n') {
			*scanned = empty ? eol + 1 : eol + 2;
			return *scanned;
		}
		if (p[eol] == '\r' && eol + 1 == n && !final) {
			at = eol;
			break;
		}
		at = eol + 1;
		if (p[eol] == '\r' && at < n && p[at] == '\n')
			at++;
		if (empty) {
			*scanned = at;
			return at;
		}
	}
	*scanned = at;
	return 0;
}

static void parse_line(struct slice line, struct sse_event *ret)
{
	const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
	struct slice name = colon ? slice_of(line.p, (size_t)(colon - line.p)) : line;
	struct slice value = slice_skip(line, name.n + 1);

	if (value.n && value.p[0] == ' ')
		value = slice_skip(value, 1);
	if (slice_eq(name, SLICE("data"))) {
		ret->data = ++ret->data_lines == 1 ? value : SLICE_EMPTY;
	} else if (slice_eq(name, SLICE("event"))) {
		ret->name = value;
	} else if (slice_eq(name, SLICE("error"))) {
		ret->error_field = true;
	}
}

void sse_parse(struct slice raw, struct sse_event *ret)
{
	*ret = (struct sse_event){ 0 };
	/* The byte order mark may open a stream. */
	if (slice_starts(raw, SLICE("\xef\xbb\xbf")))
		raw = slice_skip(raw, 3);
	while (raw.n) {
		size_t n = find_eol(raw.p, raw.n);

		parse_line(slice_of(raw.p, n), ret);
		/* The LF of a CRLF then makes an empty line, which says nothing. */
		raw = slice_skip(raw, n + 1);
	}
}
