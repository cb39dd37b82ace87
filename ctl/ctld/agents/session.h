/* One agent's connection: frames in and out, hello within 10 s, what the kernel says about the
 * peer. It decides nothing: messages go to agents.c, which also says what goes out. Frames are at
 * most 64 KiB before hello, 1 MiB after; a broken one ends the connection. Loop's thread. */
#ifndef CTLD_AGENTS_SESSION_H
#define CTLD_AGENTS_SESSION_H

#include "agents/outbox.h"
#include <aigw/peer.h>
#include <aigw/stream.h>

#define SESSION_HELLO_US (10 * USEC_PER_S)

struct agents;
struct agent;

struct session {
	struct stream_plain stream;
	struct list node; /* of agents->sessions */
	struct agents *agents;
	struct agent *agent; /* NULL before hello was accepted */
	struct peer_cred peer;
	struct deadline hello_by;
	struct buf in;
	struct outbox out;
	struct deferred flush;
	bool heard_hello;
	bool leaving; /* closed as soon as all is written */
	bool cut;     /* its outbox is full: closed at the end of this turn */
};

/* Takes a connection that the listener has; NULL if that failed. */
struct session *session_accept(struct agents *all, struct stream_listener *listener);
/* All: it is written soon, never from inside the call; a full outbox ends the connection, neither
 * from inside the call. */
void session_send(struct session *s, enum outbox_lane lane, const struct wire_message *m);
void session_send_policy(struct session *s, struct published *p);
void session_send_snapshot(struct session *s, struct key_snapshot *k);
void session_refuse(struct session *s, uint32_t id, const char *code,
	const char *message);          /* answers a CALL with an error */
void session_go_on(struct session *s); /* hello was accepted: frames behind it are read */
void session_leave(struct session *s); /* closes when everything is written */
void session_close(struct session *s); /* now */

#endif
