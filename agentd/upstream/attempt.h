/* One try at one target: a connection (pooled or new), head and body out, the answer in, three
 * timeouts. An object of its own: the request points to its current attempt and never waits for an
 * old one to close.
 *
 *   idle -> resolving -> connecting -> sending -> waiting -> answering -> done
 *              |             |            |          |           |
 *              +-------------+------------+----------+-----------+--> failed
 *
 * A re-used connection that ends before its first answer byte, or on which bytes lay already, is
 * replaced once by a fresh one, unseen (the state goes back to resolving). Worker's thread. It
 * knows bytes, not dialects. */
#ifndef AGENTD_UPSTREAM_ATTEMPT_H
#define AGENTD_UPSTREAM_ATTEMPT_H

#include "upstream/pool.h"

#include <aigw/http_call.h>

enum attempt_state {
	ATTEMPT_IDLE,
	ATTEMPT_RESOLVING,
	ATTEMPT_CONNECTING,
	ATTEMPT_SENDING,
	ATTEMPT_WAITING,
	ATTEMPT_ANSWERING,
	ATTEMPT_DONE,
	ATTEMPT_FAILED
};

enum attempt_failure {
	ATTEMPT_OK,
	ATTEMPT_NO_ADDRESS,
	ATTEMPT_NO_CONNECTION,
	ATTEMPT_TLS,
	ATTEMPT_PROXY /* refused the tunnel */,
	ATTEMPT_TIMEOUT_CONNECT,
	ATTEMPT_TIMEOUT_FIRST_BYTE,
	ATTEMPT_TIMEOUT_IDLE,
	ATTEMPT_CLOSED_EARLY /* before the answer's head */,
	ATTEMPT_CUT /* in the answer */,
	ATTEMPT_MALFORMED,
	ATTEMPT_MEMORY
};
const char *attempt_failure_name(enum attempt_failure f);

struct attempt_events {
	/* The bytes to be sent, in order, at most ATTEMPT_MAX_SLICES; valid until the answer's head
	 * has come. Called right before the first byte leaves (again after a replaced connection).
	 */
	unsigned (*bytes)(struct attempt *a, struct slice *out);
	bool (*head)(struct attempt *a,
		const struct h1_head *h); /* false: owner has aborted the attempt */
	bool (*body)(struct attempt *a, char *p, size_t n, bool last); /* false: the same */
	/* All content of one read was given: a chance to act on it as a whole. Not called after an
	 * abort or the end. */
	void (*paused)(struct attempt *a);
	/* Streaming: all that was given is with the kernel; more may be given. */
	void (*sent)(struct attempt *a);
	void (*failed)(
		struct attempt *a, enum attempt_failure f); /* the connection is gone already */
};

#define ATTEMPT_MAX_SLICES 8

struct attempt_timeouts {
	usec connect_us, first_byte_us, idle_us;
};

struct attempt {
	const struct attempt_events *ev;
	void *owner;       /* request */
	struct pool *pool; /* a reference */
	struct upstream_conn *conn;
	struct resolve_waiter waiter;
	struct deadline deadline; /* connect, first byte or idle, by state */
	struct attempt_timeouts timeouts;
	struct http_call call;
	char why[64]; /* of a connection that did not come to be: the TLS library's or the proxy's
			 word */
	/* Of a new connection: when its name had addresses, TCP or the tunnel was there, it was
	 * open for the call; 0: not. */
	usec resolved_us, connected_us, opened_us;
	char *head_copy; /* the first piece, while it is being written from memory */
	uint32_t mark; /* what lay on a connection that was used before is older; 0: it was asked */
	uint8_t state;
	uint8_t tried;      /* addresses tried */
	bool answer_seen;   /* at least one answer byte */
	bool content_seen;  /* at least one byte of content: `idle` counts from here on */
	bool holds_content; /* the owner says when: attempt_content() */
	bool fresh;         /* the owner wants no connection that was used before */
	bool replaced;      /* a stale connection, by a fresh one: once */
	bool streaming;     /* `bytes` gives a beginning only: attempt_send() follows */
	bool in_feed;       /* http_call_feed is on the stack: finish() waits for its return */
};

/* Takes a reference to the pool, given back at the end. `ev` and the memory of `a` are the caller's
 * and stay until it is over. */
void attempt_init(struct attempt *a, struct pool *p, const struct attempt_events *ev, void *owner,
	struct attempt_timeouts t);
/* `bytes` and `failed` may come before it returns (an idle connection is at hand; no address
 * answers), the other events from the loop only. */
void attempt_start(struct attempt *a);
/* Instead of it: what `bytes` gives is a beginning, on a connection of its own (an idle one that is
 * stale could not be replaced). After `sent` the rest goes out piece by piece: 0: more may be
 * given; 1: `sent` follows; negative: it is over. While nothing is given the owner judges how long
 * that may take. A server that stops reading is still listened to: it may say why. */
void attempt_start_stream(struct attempt *a);
int attempt_send(struct attempt *a, const struct slice *v, unsigned n, bool last);
/* Ends it without further events; the connection is closed unless the answer had ended. Idempotent.
 */
void attempt_abort(struct attempt *a);
void attempt_content(
	struct attempt *a);            /* the first content has come: `idle` counts from here on */
void attempt_pause(struct attempt *a); /* back-pressure */
void attempt_resume(struct attempt *a);
bool attempt_is_over(const struct attempt *a);

/* From pool.c. */
void attempt_on_open(struct attempt *a, int status);
void attempt_on_data(struct attempt *a, char *p, size_t n);
void attempt_on_drained(struct attempt *a);
void attempt_on_eof(struct attempt *a);
void attempt_on_error(struct attempt *a, int err);

#endif
