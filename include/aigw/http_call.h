/* HTTP/1.1 client role: reads one answer off a stream's bytes. It owns no socket: the owner feeds
 * it what the stream delivers, so that pools and TLS stay outside. One owner, one thread. */
#ifndef AIGW_HTTP_CALL_H
#define AIGW_HTTP_CALL_H

#include <aigw/buf.h>
#include <aigw/h1.h>

enum http_call_state { HTTP_CALL_HEAD, HTTP_CALL_BODY, HTTP_CALL_DONE, HTTP_CALL_BROKEN };

struct http_call {
	struct h1 h1;
	struct buf head; /* bytes of a head that is not whole yet; usually never used */
	size_t scanned;
	enum http_call_state state;
	enum h1_error error; /* if BROKEN */
	uint8_t interim;     /* 1xx answers seen (at most 8) */
	bool head_request;
	bool keep_alive; /* the connection may be used again (valid when DONE) */
	bool excess;     /* bytes came behind the answer: never re-use */
};

struct http_call_events {
	/* The final head; slices valid until return. false: stop here (the owner closes). */
	bool (*head)(struct http_call *c, const struct h1_head *h, void *owner);
	/* Body content of this read in one piece, in place; n may be 0 with `last`. false: stop. */
	bool (*body)(struct http_call *c, char *p, size_t n, bool last, void *owner);
};

void http_call_init(struct http_call *c, bool head_request);
void http_call_fini(struct http_call *c);
/* Feeds bytes; returns the state after. An answer without body gives body(n = 0, last = true). */
enum http_call_state http_call_feed(
	struct http_call *c, char *p, size_t n, const struct http_call_events *ev, void *owner);
enum http_call_state http_call_eof(
	struct http_call *c, const struct http_call_events *ev, void *owner);

#endif
