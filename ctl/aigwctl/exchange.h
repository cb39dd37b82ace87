/* One HTTP/1.1 request and its answer on a connection of its own, unix socket or loopback TCP,
 * waiting at most until a deadline. One thread. */
#ifndef AIGWCTL_EXCHANGE_H
#define AIGWCTL_EXCHANGE_H

#include "interrupt.h"

#include <aigw/buf.h>
#include <aigw/errbuf.h>
#include <sys/socket.h>

struct exchange_peer {
	struct sockaddr_storage addr;
	socklen_t len;
	char text[128]; /* "unix:/run/…" or "127.0.0.1:2449", for messages */
};

int exchange_unix(const char *path, struct exchange_peer *ret, struct errbuf *e);
void exchange_loopback(uint16_t port, struct exchange_peer *ret);

struct exchange_field {
	struct slice name, value;
};

struct exchange_request {
	const struct exchange_peer *peer;
	const char *method;
	const char *target; /* escaped by the caller */
	struct slice body;  /* JSON; empty: none */
	const struct exchange_field
		*fields; /* besides host, content-length, content-type, connection */
	unsigned n_fields;
	usec deadline_us; /* monotonic */
	const struct interrupt *interrupt;
};

struct exchange_answer {
	unsigned status;
	struct buf body;
	/* Of an answer with status 200: takes each piece as it comes instead of `body`; false: no
	 * more is wanted, and exchange_run() gives -ECANCELED. NULL: the body is kept. */
	bool (*piece)(struct slice bytes, void *owner);
	void *owner;
	char content_type[64];
	char request_id[64]; /* of x-request-id; empty: none */
};

#define EXCHANGE_MAX_ANSWER (64u << 20)

void exchange_answer_init(struct exchange_answer *a);
void exchange_answer_fini(struct exchange_answer *a); /* wipes: an answer may hold a new key */

/* 0: a whole answer, of whatever status. -EINTR (signal), -ETIMEDOUT, -EACCES (socket not
 * permitted), -ECONNREFUSED (nobody there), -ECONNRESET (connection lost before the answer was
 * whole), -EPROTO (not HTTP), -ENOMEM, -ENOBUFS; with a sentence. */
int exchange_run(const struct exchange_request *rq, struct exchange_answer *a, struct errbuf *e);

/* Bytes of a path segment or query value, everything but letters, digits and -._~ escaped. */
int exchange_escape(struct buf *b, struct slice s);

#endif
