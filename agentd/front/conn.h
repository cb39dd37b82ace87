/* One client connection: HTTP/1.1 in the server role, one request at a time, keep-alive,
 * pipelining, deadlines. It turns bytes into a head and body bytes for request/, and owns nothing
 * of the answer. Its memory is there only while the client is.
 *
 *   idle -> head -> body -> answering -> idle ...        any -> lingering -> closed
 *
 * Worker's thread. */
#ifndef AGENTD_FRONT_CONN_H
#define AGENTD_FRONT_CONN_H

#include "request/request.h"

#include <aigw/stream.h>

#define CONN_IDLE_US      (75 * USEC_PER_S) /* kept alive without a request */
#define CONN_HEAD_US      (10 * USEC_PER_S) /* from a head's first byte to its last */
#define CONN_BODY_IDLE_US (30 * USEC_PER_S) /* between two reads of a body */
/* After this time a body has to have come at this rate on the average since: who dribbles does not
 * hold memory for ever. */
#define CONN_BODY_GRACE_US   (30 * USEC_PER_S)
#define CONN_BODY_MIN_RATE_S 16384u /* bytes per second */
#define CONN_LINGER_US                                                                             \
	(2 * USEC_PER_S) /* reading what a refused client still sends, so that it gets the answer  \
			  */
#define CONN_KEPT_MAX                                                                              \
	H1_MAX_HEAD_BYTES /* a head that is not whole, or what is pipelined: with more, reading    \
			     stops */

struct conn_set { /* one worker's connections */
	struct request_env *env;
	struct list conns;
	unsigned n_conns;
	bool closing; /* drain: idle ones are closed, no new ones */
	void (*emptied)(struct conn_set *s);
};

void conn_set_init(struct conn_set *s, struct request_env *env);
void conn_accept(struct conn_set *s, struct stream_listener *listener, bool is_unix);
void conn_set_drain(struct conn_set *s);     /* closes idle ones; others close after their answer */
void conn_set_close_all(struct conn_set *s); /* now */

#endif
