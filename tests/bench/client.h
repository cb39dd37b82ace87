/* One connection of the load generator: sends the shared request, reads one answer, tells what
 * came and when. It does not know about schedules; load.c does. One thread. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "wire.h"

#include <llhttp.h>

enum { LINE_BYTES = 256 };

enum client_state { CLIENT_CLOSED, CLIENT_READY, CLIENT_BUSY };

struct client {
	int fd;
	enum client_state state;
	bool writing;  /* the socket was full: waits for EPOLLOUT too */
	bool complete; /* the answer has ended */
	bool last;     /* the peer closes after this answer */
	bool done;     /* [DONE] was seen */
	uint16_t status;
	uint64_t due_ns, sent_ns;   /* when the call should have begun, and when it did */
	uint64_t byte_ns, event_ns; /* first byte of the answer, first stamped event; 0: not yet */
	uint64_t tail_ns;           /* last event before [DONE], or last read but one */
	uint64_t read_ns;           /* the read that is being parsed */
	size_t sent;
	llhttp_t parser;
	size_t line_len; /* of the SSE line in hand; what is over LINE_BYTES is dropped */
	char line[LINE_BYTES];
};

/* What is told of each content event: its delay since the upstream's stamp. */
typedef void client_event_fn(const struct client *c, uint64_t delay_ns);

struct client_set {
	int epoll_fd;
	struct endpoint to;
	const char *request;
	size_t request_len;
	bool sse;
	client_event_fn *on_event;
};

/* The set is one per process and must be filled before any call below. */
extern struct client_set clients;

/* CLOSED -> READY; 0 or -errno. */
int client_open(struct client *c);

/* READY -> BUSY: writes what the socket takes. 0 or -errno (then close it). */
int client_begin(struct client *c, uint64_t due_ns);

/* After epoll said so: goes on writing / reads once. client_read returns -EPROTO for a malformed
 * answer, -ECONNRESET for an end in the middle, 0 otherwise; complete tells whether it has ended.
 */
int client_write(struct client *c);
int client_read(struct client *c);

/* Any -> CLOSED. */
void client_close(struct client *c);

#endif
