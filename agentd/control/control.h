/* The agent's local admin face: HTTP and JSON on control.sock, served by the control loop. It shows
 * the tree of the stats mount, the metrics, the calls in flight, the finished ones as they finish,
 * and events; it can drain, resume and set the log level, of the agent or of targets. There is no
 * way to change policy here. The peer's credentials decide, whatever the socket's mode lets in:
 * root, the agent's own user, and members of the group aigw-admin.
 *
 * Everything that a client could make large is bounded: connections, followers, request bodies, and
 * what is queued for a follower who does not read (the rings go on, and he is told what he lost).
 */
#ifndef AGENTD_CONTROL_CONTROL_H
#define AGENTD_CONTROL_CONTROL_H

#include "account/inflight.h"
#include "statfs/stat_tree.h"
#include "stats/line_ring.h"

#include <aigw/drain.h>
#include <aigw/admin_error.h>
#include <aigw/json.h>
#include <aigw/loop.h>

#define CONTROL_MAX_CONNS      64u
#define CONTROL_MAX_FOLLOWERS  16u
#define CONTROL_MAX_BODY_BYTES 4096u
#define CONTROL_QUEUE_BYTES    (64u << 10) /* of one follower */
#define CONTROL_IDLE_US        (60 * USEC_PER_S)
#define CONTROL_LOOK_US                                                                            \
	(20 * USEC_PER_MS) /* how often the rings are looked at, if somebody follows */
#define CONTROL_FILE_BYTES ((size_t)16 << 20) /* of one rendered file or list */
#define CONTROL_GROUP      "aigw-admin"

/* What is asked of `explain route`; slices are valid within the call. */
struct control_route {
	struct slice project, endpoint; /* endpoint empty: chat */
	struct slice tags;              /* as the header x-aigw-require-tags has them */
	struct slice key, uid;          /* who calls: a key's id, or a user; empty: nobody known */
	struct slice header;            /* NAME=VALUE; empty: none */
	struct slice body;              /* as an application would send it */
	int64_t input_tokens;           /* 0: by the body's length */
};

/* What is asked of `provider test`; slices are valid within the call. */
struct control_test {
	struct slice provider;
	struct slice credential; /* empty: each of them */
	usec most_us;            /* for each probe */
};

struct control_config {
	struct loop *loop;
	const char *path;
	int fd; /* a socket that the service manager opened, taken also on failure; -1: at path */
	struct stat_tree *tree;
	struct inflight *inflight;
	struct line_ring *calls;             /* struct finished */
	struct line_ring *traces, *troubled; /* struct trace */
	struct line_ring *events;            /* lines of the log */
	/* Control loop. False: it can't be changed any more, the agent is on its way out. */
	bool (*drain)(bool on, void *owner);
	/* Of targets. May complete d's name. 0, -ENOENT, -ENOSPC, with a sentence. */
	int (*set_drain)(struct drain *d, bool on, bool *ret_changed, uint32_t by, struct errbuf *e,
		void *owner);
	const struct drains *(*drains)(void *owner); /* until the next call */
	/* Control loop. A new reference; NULL: an error. */
	json_t *(*route)(const struct control_route *q, void *owner, enum admin_error *code,
		struct errbuf *why);
	/* Control loop. Its handle, and `done` with a new reference from the loop; NULL: an error
	 * and no `done`. test_stop: neither. */
	void *(*test)(const struct control_test *q, void (*done)(json_t *v, void *arg), void *arg,
		void *owner, enum admin_error *code, struct errbuf *why);
	void (*test_stop)(void *handle);
	void *owner;
};

struct control;

int control_start(const struct control_config *c, struct control **ret, struct errbuf *e);
/* Ends followers' answers, closes connections. NULL is allowed. The loop has to turn once more. */
void control_close(struct control *c);

/* An entry of `troubled` as GET /v1/requests/ID tells it, and the call's id. False: it is none.
 * Needs no socket. */
bool control_trace_text(struct slice entry, struct buf *json, uint8_t op_id[static 16]);

#endif
