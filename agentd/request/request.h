/* One client HTTP request and everything we do for it until it is settled. The request is a list of
 * steps (request.c); callbacks find their owner, store what happened and resume. It outlives its
 * client until its record is written.
 *
 * front/ gives it a head, body bytes and the client's events; it writes its answer to the client's
 * stream itself and tells front when it is done. All on the worker's thread. */
#ifndef AGENTD_REQUEST_REQUEST_H
#define AGENTD_REQUEST_REQUEST_H

#include "account/committer.h"
#include "account/trace.h"
#include "dialect/openai_answer.h"
#include "policy/keyset.h"
#include "request/body.h"
#include "request/gateway.h"
#include "request/retry.h"
#include "request/rules.h"
#include "route/plan.h"
#include "upstream/attempt.h"

#include <aigw/json_scan.h>
#include <aigw/peer.h>

#define ANSWER_WHOLE_BYTES   (64u << 10) /* a plain answer up to this is sent in one write */
#define REQUESTS_KEPT        256
#define FORWARD_INLINE_BYTES 96 /* forwarded header lines that need no memory of their own */
#define TRACEPARENT_LEN      55 /* of W3C Trace Context */
#define EVENT_MAX_BYTES                                                                            \
	(4u << 20) /* an SSE event above this is relayed without being looked at                   \
		    */

struct refusal_memo {
	uint32_t tag;
	uint32_t second;
	uint32_t count;
};

/* One worker's side. */
struct request_env {
	struct loop *loop;
	struct gateway *gw;
	unsigned worker;
	struct worker_rules *rules; /* in force; NULL: no policy yet */
	struct keyset_reader *keys;
	struct stats_block *stats;
	struct list awaiting; /* requests whose end waits for the disk, in ticket order */
	struct list scrapers; /* requests that wait for the metrics */
	bool scraping;        /* they have been asked for */
	struct list queue;    /* calls that wait for a target */
	struct deferred queue_look;
	struct list live;
	unsigned n_live;
	struct list dead;
	struct list free_requests; /* kept for the next calls, at most REQUESTS_KEPT; each with its
				      attempt's memory */
	unsigned n_free_requests;
	struct deferred reap;
	uint64_t op_prefix; /* random, of this worker's life */
	uint64_t op_count;
	struct h1_head
		head; /* of the message being parsed: used and forgotten within one callback */
	char answer_head[8192]; /* the answer's head until it is sent or copied */
	struct refusal_memo refusals[256];
	struct body_cache bodies;
	struct list upload_waiters;
	unsigned n_upload_waiters;
	struct deadline upload_look;
	void (*emptied)(struct request_env *env); /* the last live request is gone */
	/* Another thread makes the text of /metrics; requests_metrics() follows. */
	void (*ask_metrics)(struct request_env *env);
	void (*wake_queue)(struct request_env *env, unsigned worker); /* another one's */
};

/* The connection's side of identity, kept by front as long as the connection. */
struct caller {
	bool is_unix;
	struct peer_cred cred; /* if is_unix */
	bool groups_known, unit_known;
	uint8_t n_groups;
	char credential[VKEY_TEXT_LEN]; /* the key seen last, remembered for its generation and
					   rules */
	uint64_t generation;            /* of the key set at the verdict; 0: nothing remembered */
	uint64_t rules_serial;
	usec expires_us;
	uint32_t project, key_stat;
	uint64_t require_tags; /* the key's */
	char key_id[VKEY_ID_LEN];
	uint32_t *groups; /* heap, if asked for */
	char *unit;       /* heap, if asked for */
};
void caller_fini(struct caller *c); /* wipes */

enum request_step {
	STEP_RECEIVE,
	STEP_ROUTE,
	STEP_QUEUE, /* waits for a target */
	STEP_ADMIT,
	STEP_ATTEMPT,
	STEP_AGAIN, /* waits for its next try */
	STEP_RELAY,
	STEP_METRICS, /* waits for the text */
	STEP_SETTLE,
	STEP_END
};
enum hold_kind { HOLD_PROJECT, HOLD_IDENTITY, HOLD_PROVIDER, HOLD_KINDS };
enum { ASKS_USAGE = 1, ASKS_NO_USAGE }; /* by x-aigw-usage */
enum relay_mode { RELAY_NONE, RELAY_PLAIN, RELAY_SSE };

struct request {
	struct list node; /* env->live or env->dead */
	struct list await_node;
	struct request_env *env;
	struct stream *client; /* NULL: gone */
	struct caller *caller; /* the connection's; NULL when it is gone */
	void (*finished)(
		struct request *r, bool keep_alive); /* to front: the answer is out (or can't be) */
	void *front;
	struct worker_rules *rules;
	struct attempt *attempt;           /* NULL: none yet */
	struct attempt *attempt_memory;    /* kept over calls */
	struct body body;                  /* bytes NULL: none */
	size_t body_length;                /* announced; 0: none, or chunked */
	struct upload *upload;             /* NULL: no multipart body */
	struct once *once;                 /* NULL: no Idempotency-Key */
	void (*resume)(struct request *r); /* front's: the body may be read on */
	struct jscan_tap *tap;             /* usage of plain answers above ANSWER_WHOLE_BYTES */
	char *forward;      /* request header lines that go upstream: forward_here or heap */
	char *head_text;    /* answer head: env->answer_head, or a copy of ours */
	struct slice whole; /* answer content that relay_end() writes: of held, or of the loop's
			       scratch in this very callback */
	struct buf
		held; /* answer bytes not sent yet: a plain answer, or an event that is not whole */
	struct buf tail; /* the answer's end, held back until the record is durable */
	struct openai_facts facts;
	struct continuation *cont; /* continue.h; NULL: it can't go on elsewhere */
	struct openai_usage usage;
	struct deadline total, again; /* again: until the next try */
	struct deadline alive;        /* a stream's client has got nothing for long */
	usec wrote_us;                /* content went to the client, or its head */
	struct deferred soon;         /* the next try, outside the last one's callback */
	struct plan plan;
	uint64_t require_tags;                           /* the key's, and what a header asks for */
	uint64_t sticky_hash[POLICY_STICKY_HEADERS_MAX]; /* of the headers' values; 0: not there */
	struct trace_try *tries;            /* TRACE_TRIES_MAX; NULL: none has come to nothing */
	struct capacity *holds[HOLD_KINDS]; /* a place in what is limited; NULL: none */
	usec queued_at_us, queued_us;       /* since when it waits for a target; how long it has */
	usec total_at_us;                   /* when `total` ends */
	usec hint_us;   /* what the provider's answer says to wait; 0: nothing */
	usec way_lease; /* this call tries a credential that was held; 0: none */
	usec began_us, wall_us, sent_us, first_us;
	usec own_us;       /* from its head to sent_us, without the queue */
	usec last_sent_us; /* as sent_us, of the last try that was sent */
	usec try_at_us;    /* with awaits_content: when it was sent */
	uint64_t ticket;
	uint64_t answer_length; /* RELAY_PLAIN with has_length */
	uint64_t answer_n;      /* content bytes from the provider so far */
	uint64_t out_n;         /* content bytes to the client */
	uint64_t events, event_bytes, event_min;
	size_t scanned; /* of the event that stands in held */
	uint32_t slot;
	uint32_t project, model, provider, uid_stat, key_stat;
	uint32_t target;         /* of the policy's; with it model and provider */
	uint32_t retry_after_ms; /* of our own refusal; 0: as the fail's row has it */
	uint16_t forward_n, head_text_n;
	uint16_t trailer_n;   /* of held, its end: the answer's trailers; 0: none */
	uint16_t identity;    /* 1 + index of the policy's; 0: none */
	uint16_t status;      /* to the client, as it stands */
	uint16_t head_status; /* in the head that was sent; 0: none */
	uint8_t step, mode, endpoint, http_minor;
	uint8_t credential;                 /* of the provider's */
	uint8_t plan_at, n_tries, attempts; /* attempts: begun; tries: of these, come to nothing */
	uint8_t resent;                     /* of these, over again on a new connection */
	uint8_t fail, outcome;              /* enum fail, enum usage_outcome (0: not ended) */
	uint8_t error_class;                /* of the error in the stream */
	uint8_t asks_usage;                 /* ASKS_; 0: says nothing of it */
	uint8_t op_id[16];
	char id[REQUEST_ID_LEN + 1]; /* op_id as the client sees it */
	char key_id[VKEY_ID_LEN];
	bool head_only : 1, keep_alive : 1, is_api : 1, has_key : 1, has_uid : 1, expect_more : 1,
		discard_body : 1, head_sent : 1, down_chunked : 1, has_length : 1, hide_usage : 1,
		asks_upstream : 1, usage_seen : 1, paused : 1, settled : 1, terminal_seen : 1,
		compressed : 1, upstream_error : 1, client_gone : 1, counted : 1,
		head_text_owned : 1, want_close : 1, models_one : 1, done : 1, known : 1, reset : 1,
		no_body : 1, eager : 1, is_probe : 1, asks_ready : 1, asks_metrics : 1,
		committed : 1 /* content has been seen: no other try */,
		holds_probe : 1 /* of its target's circuit */, judged : 1, sdk_retries : 1,
		asks_tags : 1, asks_once : 1, has_trace : 1, spent : 1 /* no try is left */,
		repeats : 1 /* this try is at the target of the last one */,
		finish_seen : 1 /* the answer says that it is through */,
		error_seen : 1 /* and that it is not */,
		sse_sent : 1 /* the client reads a stream: what goes wrong is told in it */,
		head_early : 1 /* its head was sent before there was content */,
		on_wire : 1 /* this attempt's request has been sent */,
		mid_event : 1 /* what the client has got is not whole */,
		on_target : 1 /* counted as in flight there */, in_queue : 1,
		identity_full : 1 /* refused for its identity's limit, not its project's */,
		awaits_content : 1 /* its latency is yet to be told */,
		tells_usage : 1 /* the answer says what it costs */,
		tells_at_end : 1 /* a stream does so behind its content */,
		has_trailers : 1 /* its head has announced them */;
	/* From here on not zeroed for the next call. */
	char traceparent[TRACEPARENT_LEN];       /* with has_trace: as it goes upstream */
	char forward_here[FORWARD_INLINE_BYTES]; /* `forward` may point here */
};

/* A head was parsed into env->head. Never NULL unless out of memory. If request_wants_body() then
 * body bytes follow, else it runs. */
struct request *request_begin(struct request_env *env, struct caller *caller, struct stream *client,
	void (*finished)(struct request *, bool), void *front);
bool request_wants_body(const struct request *r);
/* Room for body content to be read straight into; 0: hand it over by request_body_bytes(). */
size_t request_body_room(struct request *r, char **ret);
/* p may be the room given. `read_ends`: nothing was read behind these bytes. */
void request_body_bytes(struct request *r, char *p, size_t n, bool read_ends);
void request_body_end(struct request *r); /* the message is whole: run */
/* More of the body has to come. False: not now; r->resume() follows, or the request ends. */
bool request_body_goes_on(struct request *r);
void request_client_drained(struct request *r);
void request_client_gone(struct request *r);
/* The head or body is malformed: answered in OpenAI's shape, then the connection closes. r is the
 * request begun, or NULL. */
void request_refuse_raw(
	struct request_env *env, struct stream *client, enum fail f, const char *why);
void request_env_init(struct request_env *env, struct loop *l, struct gateway *gw, unsigned worker);
void request_env_fini(struct request_env *env);
enum fail request_fail_of_h1(enum h1_error e);

/* The worker's durable watermark moved. */
void requests_durable(struct request_env *env, uint64_t watermark);
/* The metrics' text, or why there is none. */
void requests_metrics(struct request_env *env, struct slice text, int err);
/* Drain is over: ends every live request in-band. */
COLD void requests_end_all(struct request_env *env);

/* --- between the files of request/
 * --------------------------------------------------------------------- */
void request_resume(struct request *r);
COLD void request_fail(struct request *r, enum fail f, const char *fmt, ...)
	PRINTF_LIKE(3, 4);           /* answers if nothing was sent; then settles */
void request_run(struct request *r); /* the head, and what it needs of the body, is there */
void request_drop_forward(struct request *r);
void request_finish(struct request *r); /* the answer's last byte is written, or can't be */
enum fail identify_caller(
	struct request *r, const struct h1_head *h, struct errbuf *why); /* identify.c */
/* Names between commas, as bits. A tag that the policy doesn't know is one that no target carries.
 */
uint64_t receive_tags(const struct policy_doc *d, struct slice list);
enum fail receive_head(
	struct request *r, const struct h1_head *h, struct errbuf *why); /* receive.c */
COLD void route_not_found(struct request *r, struct slice asked);        /* 404 with near names */
void route_step(struct request *r);                                      /* route.c */
uint64_t route_caller(const struct request *r); /* a hash of who asks; 0: not known */
bool route_plan(struct request *r); /* how targets stand now -> r->plan; false: it has failed */
COLD void relay_late(struct request *r); /* it said its end, and the rest has not come */
void relay_forget(struct request *r);    /* relay.c: the answer so far, of which nothing was sent */
void admit_step(struct request *r);      /* admit.c */
void admit_target(struct request *r);    /* the slot says who serves it now, and at what price */
COLD bool admit_refused(struct request *r); /* takes a slot for a short record */
void send_step(struct request *r);          /* send.c */
void measure_begin(struct request *r);      /* measure.c: a try goes to r->target */
void measure_head(struct request *r, const struct h1_head *h);
void measure_content(struct request *r);         /* its first content is there; idempotent */
void measure_end(struct request *r);             /* it is over, however; idempotent */
extern const struct attempt_events relay_events; /* relay.c */
unsigned send_bytes_of(struct attempt *a, struct slice *out); /* send.c */
void relay_end(
	struct request *r); /* settled (and durable, if it has to be): the held end goes out */
COLD void relay_end_in_band(
	struct request *r, enum fail f, const char *why); /* error event, no [DONE] */
void relay_drained(struct request *r);
COLD void relay_error_now(struct request *r);
void settle_step(struct request *r);    /* settle.c */
int64_t settle_part(struct request *r); /* a part of the answer has ended: counted; its cost */
COLD void body_refuse(struct request *r, enum fail f, const char *text); /* receive.c */
void reply_begin(struct request *r,
	unsigned status); /* reply.c: starts head_text with the status line and our own fields */
void reply_who(struct request *r, struct buf *b); /* the same as comments in a stream */
int reply_field(struct request *r, struct slice name, struct slice value);
/* What the record says of cost and tokens, into what is still to come: the head of a plain answer,
 * or before a stream's end mark and into its trailers. */
void reply_usage(struct request *r, struct slot_values *v);
void reply_trailers(struct request *r, struct buf *b); /* announces them in a stream's head */
void reply_own_head(struct request *r);                /* head_text outlives this callback */
void reply_drop_head(struct request *r);               /* it is sent */
COLD void reply_error(struct request *r, enum fail f,
	const char *message); /* makes the answer; relay_end() sends it */
COLD void reply_provider_error(struct request *r, unsigned status,
	struct slice error); /* its own words under that status */
/* The policy's tries are spent: an SDK need not try for itself. */
bool reply_is_worn_out(const struct request *r);
COLD void reply_error_event(struct request *r, enum fail f, const char *message);
COLD void reply_models(struct request *r);
COLD void reply_health(struct request *r);
COLD void reply_metrics(struct request *r, struct slice text, int err);
int client_write(struct request *r, const struct slice *v,
	unsigned n); /* 0, 1: queued, negative: the client is gone */

#endif
