/* The admin API of the controller, as the verbs use it: one call, its answer as a JSON object, its
 * refusal as a sentence and an exit code. One thread. */
#ifndef AIGWCTL_CLIENT_H
#define AIGWCTL_CLIENT_H

#include "cli.h"

#include <aigw/buf.h>
#include <aigw/json.h>

struct client_call {
	const char *method;
	const char *target; /* escaped: client_path() */
	struct slice body;
	bool waits; /* the controller itself waits up to --timeout for agents: a little longer here
		     */
	bool quiet_errors; /* say nothing about a controller that can't be reached (version) */
};

/* EXIT_DONE and the answer's object (*ret, new reference), or an exit code whose sentence has been
 * said. A policy that is not valid gives EXIT_POLICY and *ret too, its findings said. */
int client_call(const struct cli *c, const struct client_call *call, json_t **ret);
int client_get(const struct cli *c, const char *target, json_t **ret);
/* Takes the reference to body. */
int client_send(const struct cli *c, const char *method, const char *target, json_t *body,
	bool waits, json_t **ret);

/* "/api/v1/keys/" + name escaped + rest. */
const char *client_path(struct buf *b, const char *before, const char *name, const char *rest);
int64_t client_timeout_ms(const struct cli *c);

/* Agents of an answer's "agents" whose state is none of `good` (words separated by '|'): their
 * number, and a sentence "web-01 (pending), gpu-03 (offline)" in list. */
unsigned client_agents_missing(const json_t *answer, const char *good, struct buf *list);

struct secret;
/* PUT /api/v1/secrets/NAME; the value is wiped from every buffer of ours. As client_call. */
int client_put_secret(const struct cli *c, const char *name, const struct secret *s, json_t **ret);

/* HTTP status of the admin API -> exit code. */
int client_exit_code(unsigned status);

#endif
