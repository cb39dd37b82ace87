/* The control socket between its files: who may and which endpoint (control.c), answers that go on
 * (follow.c), sums of the last calls (top.c), drains of targets (targets.c), probes by hand
 * (test.c), objects as JSON (show.c). Only for these files; control loop. */
#ifndef AGENTD_CONTROL_PRIVATE_H
#define AGENTD_CONTROL_PRIVATE_H

#include "account/finished.h"
#include "control/control.h"

#include <aigw/admin_error.h>
#include <aigw/http_server.h>
#include <aigw/json.h>
#include <aigw/peer.h>

struct control {
	struct control_config cfg;
	struct http_server *server;
	struct deadline look; /* at the rings, and every WATCH_EVERY_US at the counters */
	usec ticked_us;
	struct list tests; /* that wait for an answer */
	struct list followers;
	unsigned n_followers;
	bool has_admins;
	uint32_t admin_gid, own_uid;
};

/* Answers; takes the value. */
void control_answer(struct http_exchange *x, unsigned status, json_t *v);
void control_error(struct http_exchange *x, enum admin_error code, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* --- show.c --- */
const char *show_state(const struct slot *s); /* admitted, waiting, streaming, … settled */
json_t *show_inflight(struct inflight *f);
json_t *show_finished(const struct finished *f, const char *event); /* event: NULL or its name */
/* A line of the log, as the events ring keeps it. NULL: it is none. */
json_t *show_event(struct slice line);
usec event_time(struct slice line); /* wall; 0: it has none */
struct slice event_kind(struct slice line);

/* --- explain.c --- */
bool explain_takes(struct slice path);
void explain_route(struct control *c, struct http_exchange *x);
void explain_request(struct control *c, struct http_exchange *x);

/* --- top.c --- */
void top_show(struct control *c, struct http_exchange *x);

/* --- targets.c --- */
void targets_drain(struct control *c, struct http_exchange *x);
void targets_resume(struct control *c, struct http_exchange *x);
void targets_drained(struct control *c, struct http_exchange *x);

/* --- test.c --- */
void test_provider(struct control *c, struct http_exchange *x);
bool test_gone(struct control *c, const struct http_exchange *x); /* true: it was one of these */
void test_end_all(struct control *c);

/* --- follow.c --- */
void follow_tail(struct control *c, struct http_exchange *x);
void follow_events(struct control *c, struct http_exchange *x);
void follow_look(struct control *c);                          /* what is new goes out */
void follow_gone(struct control *c, struct http_exchange *x); /* its client has left */
void follow_end_all(struct control *c);
void control_look_soon(struct control *c); /* control.c: while somebody follows */

#endif
