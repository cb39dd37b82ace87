/*
 * call: one request being answered, from its being whole to the last byte or the fault. A step
 * table over phases; call_run may be called at any time and does what is due.
 *
 * - WAIT: slow-MS, nothing is sent before due_us
 * - PLAIN: a body with a Content-Length, in one write or in pieces (chunk-split)
 * - STREAM: events as they fall due (stream.c)
 * - DRAIN: the connection has everything; ends with `outcome` when the socket has taken it
 * - HANG: nothing more is sent; ends when the peer goes
 *
 * WAIT goes to any other phase, PLAIN and STREAM to DRAIN, STREAM to HANG. Owned by its connection.
 */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include "ask.h"
#include "gzip.h"
#include "say.h"
#include "script.h"

struct conn;
struct dialect;

enum call_state { CALL_RUNNING, CALL_DONE, CALL_CLOSE, CALL_RESET };

enum phase { PHASE_WAIT, PHASE_PLAIN, PHASE_STREAM, PHASE_DRAIN, PHASE_HANG };

enum stage { STAGE_OPEN, STAGE_PIECES, STAGE_CLOSE, STAGE_END };

struct call {
	struct conn *conn;
	uint64_t seq, begun_us, created_s;
	uint64_t due_us; /* of the timer: end of WAIT, or the next event */
	char request_id[40];
	char *client_id; /* x-client-request-id, or NULL */
	char *model;     /* as asked, or NULL */
	struct behaviour b;
	struct say say;
	const struct dialect *dialect;
	enum op op;
	enum phase phase, after_wait;
	enum call_state outcome; /* of DRAIN */
	int status, head_status; /* of the answer; of the head that was sent, 0: none */
	bool stream, include_usage, base64;
	bool quiet;    /* control end points: neither counted nor logged */
	bool recorded; /* answered from the corpus */
	int64_t n, input_tokens, output_tokens;
	const char *fault; /* for the log: what the script made of it, or NULL */

	const char *content_type;
	struct buf headers;        /* further header lines */
	struct buf body;           /* PLAIN: the answer; STREAM: event bytes that wait to be cut */
	size_t body_off, body_end; /* PLAIN: bytes up to body_end are sent */
	struct gzip gz;
	uint64_t cuts; /* random state of chunk-split */

	enum stage stage;
	bool all_queued; /* STREAM, cut: no more events will join the queue; ends as `queue_end`
			    says */
	int queue_end;
	uint32_t at;     /* STREAM: next piece, over all choices */
	uint32_t chunks; /* content chunks given to the connection */
	uint32_t events; /* sequence_number of responses */
	bool waited, usage_sent;
};

/* The request of the connection is whole or refused: logs it and decides the answer. Never NULL. */
struct call *call_begin(struct conn *c);
enum call_state call_run(struct call *call);
/* Logs the end and frees. Not CALL_DONE: the answer is not complete. */
void call_end(struct call *call, enum call_state how);
void call_log_drop(struct conn *c);

/* reply.c, for those who make answers. */
void call_plain(struct call *call, int status, const char *content_type);
void call_error(
	struct call *call, int status, const char *message, const char *param, const char *code);
/* {"error":{...}} in OpenAI's shape; NULL for the usual text, type and code of the status. */
void error_add(
	struct buf *out, int status, const char *message, const char *param, const char *code);
/* Answer head with everything but the body; length < 0: chunked. */
void call_head_add(struct call *call, struct buf *out, int64_t length);

/* stream.c */
enum call_state stream_run(struct call *call);
enum call_state plain_run(struct call *call);

#endif
