/* The admin API: who may, which route, which handler; all from tbl/admin_api.h. A handler answers
 * at once, or holds the exchange in a wait (struct api_wait) until the agents have answered. Loop's
 * thread. */
#ifndef CTLD_ADMIN_API_H
#define CTLD_ADMIN_API_H

#include "agents/feed.h"
#include <aigw/admin_error.h>
#include <aigw/http_server.h>
#include <aigw/json.h>

#define API_MAX_BODY_BYTES (16u << 20)
#define API_MAX_CONNS      256
#define API_WAIT_US        (10 * USEC_PER_S) /* unless the request says otherwise */
#define API_WAIT_MAX_US    (300 * USEC_PER_S)

struct ctld;

struct api_request {
	struct ctld *ctld;
	struct http_exchange *x;
	char by[64];      /* user name of the peer */
	struct slice arg; /* the {…} of the path as it stands there; valid while the handler runs */
	json_t *body;     /* an object; NULL: the route takes none */
};

/* At path, or on a socket that the service manager opened and keeps (-1: none). */
int api_start(struct ctld *c, const char *path, int activated_fd, struct errbuf *e);
void api_stop(struct ctld *c);

/* Answers; both take the value. */
void api_answer(struct http_exchange *x, unsigned status, json_t *v);
void api_error(struct http_exchange *x, enum admin_error code, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
/* The errors that the store gives: -EIO 503, anything else 500. */
void api_store_error(struct http_exchange *x, int err);

struct key_states {
	int64_t active, revoked; /* those that have expired are neither */
};

/* For store_key_each(): adds one key to a struct key_states. */
int api_count_key(struct slice bytes, void *counts);

struct rollup_query;
struct rollup_result;

/* rollup_query(), timed for the metrics. */
int api_query(struct ctld *c, const struct rollup_query *query, struct rollup_result *ret);
extern const struct bucket_bounds api_query_bounds;

/* An answer that waits for agents. Heap; freed after `compose`, or when the client goes away. */
struct api_wait {
	struct feed_wait wait;
	struct ctld *ctld;
	struct http_exchange *x;
	json_t *answer; /* what is known already; "agents" is added by compose */
	unsigned status;
	const char *(*state)(const struct agent *a, const struct api_wait *w); /* of one agent */
	uint64_t number; /* revision, sequence or version */
	char name[65];   /* of a secret */
};

/* Waits until no connected agent is "pending", or the timeout; 0: answers at once. Takes `answer`.
 */
void api_wait_agents(struct api_request *q, unsigned status, json_t *answer,
	const char *(*state)(const struct agent *a, const struct api_wait *w), uint64_t number,
	const char *name, usec timeout_us);
/* timeout_ms of a body. False: out of range, and answered. */
bool api_timeout(struct api_request *q, usec *ret);

/* Values. */
json_t *api_time(usec wall_us); /* RFC 3339; null for 0 */
json_t *api_hex(const void *p, size_t n);
json_t *api_lines(struct slice lines, bool warnings_only);

/* One handler per row. */
#define API(id, method, path, status, summary, request, response, errors)                          \
	void api_##id(struct api_request *q);
#include <aigw/tbl/admin_api.h>

/* Shared between resources. */
json_t *api_agents_json(struct ctld *c);
json_t *api_providers_json(struct api_request *q); /* NULL: answered */

#endif
