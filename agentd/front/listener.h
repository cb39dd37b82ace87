/* The accepting sockets. The agent opens each once; every worker listens on its own dup() of the
 * same descriptors, so that whoever is idle accepts. Open: control loop; the rest: worker's thread.
 */
#ifndef AGENTD_FRONT_LISTENER_H
#define AGENTD_FRONT_LISTENER_H

#include "front/conn.h"

#define LISTEN_BACKLOG 4096

/* "127.0.0.1:2449", "[::1]:2449": loopback only, anything else is refused with a sentence. Port 0:
 * chosen by the kernel. */
int listen_tcp(const char *address, int *ret_fd, struct errbuf *e);
int listen_check(const char *address, struct errbuf *e); /* the address alone */

struct listener {
	struct stream_listener socket;
	struct conn_set *set;
	bool is_unix;
};

int listener_start(struct listener *l, struct loop *loop, int fd /* dup'ed */, bool is_unix,
	struct conn_set *set);
void listener_close(struct listener *l); /* idempotent */

#endif
