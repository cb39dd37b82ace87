/* Two ends of a connection in one loop, each a stream of ours whose events are written down. */
#ifndef TEST_NET_WIRE_H
#define TEST_NET_WIRE_H

#include "fixture.h"

#include <aigw/buf.h>
#include <aigw/stream.h>

struct end {
	struct stream_plain plain; /* unless s is another */
	struct stream *s;
	struct loop *loop;
	struct buf got;
	size_t got_n;             /* counted; kept in `got` unless count_only */
	bool count_only, matches; /* matches: got is the pattern so far */
	unsigned opens, datas, draineds, eofs, errors, closeds;
	int open_status, error;
	bool reads_on_open;
	bool in_call; /* a function of the stream is on the stack: no event may come */
	char *room;   /* what `into` offers */
	size_t room_n;
	void (*on_data)(struct end *e);
	void (*on_open)(struct end *e);
	void *arg;
};

void end_init(struct end *e, struct loop *l);
void end_fini(struct end *e); /* closes, if need be, and turns until it is closed */
/* The events of an end; the end of a stream is its owner (plain: the container, TLS:
 * stream_tls_owner). */
extern const struct stream_events end_events;

int end_write(struct end *e, const char *p, size_t n);

/* A listener on loopback or a unix socket that puts what it accepts into ends. */
struct accepting {
	struct loop *loop;
	bool is_unix;
	struct stream_listener listener;
	struct sockaddr_storage addr;
	struct end *next; /* is accepted into, then NULL again */
};

void accepting_start(struct accepting *a, struct loop *l, bool is_unix);
void accepting_stop(struct accepting *a);

/* Both ends open; client and server are initialised. */
void connect_ends(struct accepting *a, struct end *client, struct end *server);

#endif
