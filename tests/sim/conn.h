/*
 * conn: one client connection: bytes in and out over plain sockets or TLS, one request at a time in
 * the order of arrival. conn_advance runs the cycle
 *
 *   parse bytes --whole request--> call_begin --> call_run --done--> next request
 *
 * where a running call waits for the timer, for room in the socket, or for the peer's going.
 *
 * While a call runs, further bytes are kept (pipelining) up to a bound, then reading pauses. The
 * FIN of the peer during a call counts as its going: gateways cancel with close(2), whose first
 * sign is a FIN.
 */
#ifndef SIM_CONN_H
#define SIM_CONN_H

#include "request.h"
#include "sim.h"

struct call;

struct conn {
	struct sim *sim;
	struct conn *prev, *next;
	uv_poll_t poll;
	int fd, events;
	uint64_t id;
	SSL *ssl;
	struct request req;
	struct buf in, out;
	size_t in_off, out_off;
	struct timer timer;
	struct call *call;
	uint64_t answered;
	bool gone;          /* FIN, reset, or an error in reading or writing */
	bool tls_wants_out; /* the TLS layer has to write before it can read */
	bool tls_ready;
	bool close_on_next;
	bool more_to_read; /* reading stopped with bytes left in the socket or the TLS layer */
};

/* Takes the descriptor, also when it fails. */
void conn_start(struct sim *sim, int fd, bool tls);
void conn_close_all(struct sim *sim);

/* For the call that is being answered. Bytes that do not fit into the socket are kept. */
void conn_send(struct conn *c, const void *p, size_t n);
bool conn_blocked(const struct conn *c); /* kept bytes wait for room */
void conn_wake_at(struct conn *c, uint64_t due_us);
void conn_on_timer(struct timer *t);

#endif
