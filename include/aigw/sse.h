/* Server-sent events (WHATWG HTML, "Server-sent events", 9.2): finds whole events in a byte stream
 * that may be cut anywhere. Line ends LF, CR, CRLF, mixed. Events keep their raw bytes: relaying
 * them changes nothing. Pure; allocates nothing. */
#ifndef AIGW_SSE_H
#define AIGW_SSE_H

#include <aigw/slice.h>

/* Length of the first whole event at p: all bytes up to and including the empty line that ends it
 * (an event may be comments only). 0: not whole yet. A CR that is the last byte available does not
 * yet end a line unless `final`.
 * `*scanned` remembers progress when called again with more bytes behind the same p; start each
 * event with 0. */
size_t sse_event_end(const char *p, size_t n, size_t *scanned, bool final);

struct sse_event {
	struct slice name; /* value of the last `event:` line; empty if none */
	struct slice data; /* if all data stands on one line: that value, in place. Else empty and
			      data_lines > 1 */
	unsigned data_lines;
	bool error_field; /* a line with the non-standard field name `error` */
};

/* Looks into one whole event. */
void sse_parse(struct slice raw, struct sse_event *ret);

#endif
