/* The request is a list: one table, one loop. Steps decide; callbacks only store and resume.
 *
 *   receive -> route -> admit -> attempt -> relay -> settle -> end
 *      |         |        |       ^ |         |
 *      |         |        |       | +- again <+    a try that came to nothing, and another follows
 *      |       queue      |         |         |      no target can take it now, and it may wait
 *      +---------+--------+---------+---------+--> (fail) settle -> end      a failed request is
 * settled too
 *
 * receive: head and body, and who is asking (before the body takes memory); route: what is asked
 * and the plan of targets; admit: a slot in the in-flight file; attempt: the call at a provider;
 * relay: the answer, held until its first content; again: a pause before the next try; settle: the
 * record. */
#include "request/continue.h"
#include "request/once.h"
#include "request/queue.h"
#include "request/relay.h"
#include "request/upload.h"

#include <aigw/clock.h>
#include <aigw/log.h>

typedef void step_fn(struct request *r);

static void step_wait(struct request *r)
{
	(void)r; /* events of the connection or the attempt go on */
}

static const struct {
	const char *name;
	step_fn *run;
} steps[] = {
	[STEP_RECEIVE] = { "receive", step_wait },
	[STEP_ROUTE] = { "route", route_step },
	[STEP_QUEUE] = { "queue", step_wait },
	[STEP_ADMIT] = { "admit", admit_step },
	[STEP_ATTEMPT] = { "attempt", send_step },
	[STEP_AGAIN] = { "again", step_wait },
	[STEP_RELAY] = { "relay", step_wait },
	[STEP_METRICS] = { "metrics", step_wait },
	[STEP_SETTLE] = { "settle", settle_step },
	[STEP_END] = { "end", step_wait },
};

/* Runs steps until one waits: a step that is through moves r->step on. */
void request_resume(struct request *r)
{
	uint8_t at;

	do {
		at = r->step;
		steps[at].run(r);
	} while (r->step != at);
}

static void make_op_id(struct request *r)
{
	struct request_env *env = r->env;
	uint64_t ms = (uint64_t)r->wall_us / 1000, n = ++env->op_count;

	/* 48 bits of time, 48 of this worker's life (random), 32 of its count. */
	for (int i = 0; i < 6; i++)
		r->op_id[i] = (uint8_t)(ms >> (40 - 8 * i));
	for (int i = 0; i < 6; i++)
		r->op_id[6 + i] = (uint8_t)(env->op_prefix >> (40 - 8 * i));
	for (int i = 0; i < 4; i++)
		r->op_id[12 + i] = (uint8_t)(n >> (24 - 8 * i));
	request_id_format(r->op_id, r->id);
}

static void on_total(struct deadline *d)
{
	struct request *r = container_of(d, struct request, total);

	if (r->attempt)
		attempt_abort(r->attempt);
	request_fail(r, FAIL_upstream_timeout,
		"The provider's answer took longer than the total time allowed.");
}

static void request_free(struct request *r)
{
	free(r->attempt_memory);
	free(r);
}

static void request_recycle(struct request_env *env, struct request *r)
{
	if (env->n_free_requests == REQUESTS_KEPT) {
		request_free(r);
		return;
	}
	env->n_free_requests++;
	list_push_front(&env->free_requests, &r->node);
}

/* Zeroed up to traceparent, but for the attempt's memory. */
static struct request *request_new(struct request_env *env)
{
	struct attempt *memory;
	struct request *r;

	if (list_is_empty(&env->free_requests)) {
		r = calloc(1, sizeof(*r));
		if (r)
			r->attempt_memory = malloc(sizeof(*r->attempt_memory));
		if (r && r->attempt_memory)
			return r;
		free(r);
		return NULL;
	}
	r = list_entry(env->free_requests.next, struct request, node);
	list_remove(&r->node);
	env->n_free_requests--;
	memory = r->attempt_memory;
	memset(r, 0, offsetof(struct request, traceparent));
	r->attempt_memory = memory;
	return r;
}

void request_drop_forward(struct request *r)
{
	if (r->forward != r->forward_here)
		free(r->forward);
	r->forward = NULL;
	r->forward_n = 0;
}

static void reap(struct deferred *d)
{
	struct request_env *env = container_of(d, struct request_env, reap);

	while (!list_is_empty(&env->dead)) {
		struct request *r = list_entry(env->dead.next, struct request, node);

		list_remove(&r->node);
		env->n_live--;
		request_recycle(env, r);
	}
	if (!env->n_live && env->emptied)
		env->emptied(env);
}

void request_env_init(struct request_env *env, struct loop *l, struct gateway *gw, unsigned worker)
{
	env->loop = l;
	env->gw = gw;
	env->worker = worker;
	list_init(&env->awaiting);
	list_init(&env->scrapers);
	list_init(&env->upload_waiters);
	queue_init(env);
	deadline_init(&env->upload_look, upload_look);
	list_init(&env->live);
	list_init(&env->dead);
	list_init(&env->free_requests);
	deferred_init(&env->reap, reap);
	body_cache_init(&env->bodies);
}

void request_env_fini(struct request_env *env)
{
	reap(&env->reap);
	deadline_stop(env->loop, &env->bodies.trim);
	deadline_stop(env->loop, &env->upload_look);
	worker_rules_unref(env->rules);
	env->rules = NULL;
	keyset_reader_free(env->keys);
	body_cache_fini(&env->bodies);
	while (!list_is_empty(&env->free_requests)) {
		struct request *r = list_entry(env->free_requests.next, struct request, node);

		list_remove(&r->node);
		request_free(r);
	}
}

struct request *request_begin(struct request_env *env, struct caller *caller, struct stream *client,
	void (*finished)(struct request *, bool), void *front)
{
	struct request *r = request_new(env);
	struct errbuf why = { "" };
	enum fail f;

	if (!r)
		return NULL;
	r->env = env;
	r->caller = caller;
	r->client = client;
	r->finished = finished;
	r->front = front;
	r->slot = SLOT_NONE;
	r->began_us = loop_now(env->loop);
	r->wall_us = clock_wall_us();
	r->http_minor = env->head.minor;
	r->keep_alive = env->head.keep_alive;
	r->head_only = slice_eq(env->head.method, SLICE("HEAD"));
	buf_init(&r->held, EVENT_MAX_BYTES);
	buf_init(&r->tail, EVENT_MAX_BYTES);
	list_init(&r->await_node);
	deadline_init(&r->total, on_total);
	retry_init(r);
	wait_init(r);
	list_push_back(&env->live, &r->node);
	env->n_live++;
	make_op_id(r);
	f = receive_head(r, &env->head, &why);
	if (f != FAIL_none) {
		/* The body is read and thrown away, so that the connection can go on. */
		r->discard_body = true;
		r->fail = f;
		r->head_text = strdup(why.text); /* kept over the body, which may never end */
		r->head_text_owned = true;
		if (f == FAIL_request_too_large || f == FAIL_gateway_overloaded ||
			f == FAIL_upgrade_required || env->head.expect_continue ||
			env->head.length > ANSWER_WHOLE_BYTES || env->head.chunked) {
			r->want_close = true; /* not worth reading */
			r->expect_more = false;
		}
	}
	return r;
}

bool request_wants_body(const struct request *r)
{
	return r->expect_more;
}

void request_body_end(struct request *r)
{
	r->expect_more = false;
	if (r->outcome)
		return; /* refused in its midst: what still comes is thrown away, the answer is on
			   its way */
	if (r->discard_body) {
		char *why = r->head_text;

		r->head_text = NULL;
		r->head_text_owned = false;
		request_fail(r, r->fail, "%s", why ? why : "");
		free(why);
		return;
	}
	if (r->upload && !upload_ends(r))
		return;
	if (r->discard_body) { /* it ended as none may */
		request_body_end(r);
		return;
	}
	request_run(r);
}

void request_run(struct request *r)
{
	r->step = STEP_ROUTE;
	request_resume(r);
}

bool request_body_goes_on(struct request *r)
{
	return !r->upload || r->discard_body || upload_goes_on(r);
}

void request_fail(struct request *r, enum fail f, const char *fmt, ...)
{
	char message[1024] = "";
	va_list ap;

	if (r->outcome)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	r->fail = f;
	if (r->upload && !r->upload->whole)
		r->want_close = true; /* nobody reads the rest */
	if (r->attempt)
		attempt_abort(r->attempt);
	if (r->client_gone) {
		r->outcome = USAGE_CLIENT_GONE;
	} else if (r->head_sent) {
		relay_end_in_band(r, f, message[0] ? message : fail_row(f)->text);
		r->outcome = r->committed || continue_is_on(r) ? USAGE_CUT : USAGE_FAILED;
	} else {
		r->outcome = r->sent_us || r->attempt ? USAGE_FAILED : USAGE_REFUSED;
		reply_error(r, f, message[0] ? message : fail_row(f)->text);
	}
	r->step = STEP_SETTLE;
	request_resume(r);
}

/* The connection is free for its next request; what is left of this one goes at the end of the
 * loop's turn. */
void request_finish(struct request *r)
{
	void (*finished)(struct request *, bool) = r->finished;

	if (r->done)
		return;
	r->done = true;
	r->step = STEP_END;
	deadline_stop(r->env->loop, &r->total);
	retry_stop(r);
	wait_stop(r);
	list_remove(&r->await_node);
	if (r->attempt)
		attempt_abort(r->attempt);
	body_free(r);
	free(r->tries);
	r->tries = NULL;
	once_free(r);
	upload_free(r);
	request_drop_forward(r);
	relay_forget(r);
	continue_free(r);
	worker_rules_unref(r->rules);
	r->rules = NULL;
	list_remove(&r->node);
	list_push_back(&r->env->dead, &r->node);
	deferred_queue(r->env->loop, &r->env->reap);
	r->finished = NULL;
	if (r->client && finished)
		finished(r, r->keep_alive && !r->want_close);
	r->client = NULL;
}

void request_client_gone(struct request *r)
{
	r->client = NULL;
	r->caller = NULL;
	r->finished = NULL;
	if (r->done)
		return;
	r->client_gone = true;
	if (r->settled) {
		/* The record says what happened; the end that waited for it has nobody to go to. */
		request_finish(r);
		return;
	}
	if (r->attempt)
		attempt_abort(r->attempt);
	if (r->outcome)
		return;
	r->outcome = USAGE_CLIENT_GONE;
	r->step = STEP_SETTLE;
	request_resume(r);
}

void request_client_drained(struct request *r)
{
	if (!r->done)
		relay_drained(r);
}

/* The disk has failed: the record stays in its slot until the next start books it. The end of an
 * answer is the proof of its record, so it is not given. */
static void end_unbilled(struct request *r)
{
	if (r->client && r->head_sent)
		relay_end_in_band(
			r, FAIL_store_unavailable, fail_row(FAIL_store_unavailable)->text);
	else if (r->client)
		reply_error(r, FAIL_store_unavailable, "");
}

void requests_durable(struct request_env *env, uint64_t watermark)
{
	while (!list_is_empty(&env->awaiting)) {
		struct request *r = list_entry(env->awaiting.next, struct request, await_node);

		bool durable = r->ticket <= watermark;

		if (!durable && committer_state(env->gw->committer) != COMMITTER_FAILED) {
			committer_await(env->gw->committer, env->worker, r->ticket);
			return;
		}
		list_remove(&r->await_node);
		if (!durable)
			end_unbilled(r);
		relay_end(r);
	}
}

void requests_metrics(struct request_env *env, struct slice text, int err)
{
	env->scraping = false;
	while (!list_is_empty(&env->scrapers)) {
		struct request *r = list_entry(env->scrapers.next, struct request, await_node);

		list_remove(&r->await_node);
		reply_metrics(r, text, err);
		request_resume(r);
	}
}

void requests_end_all(struct request_env *env)
{
	struct list *it, *tmp;

	list_each(it, tmp, &env->live)
	{
		struct request *r = list_entry(it, struct request, node);

		if (!r->settled)
			request_fail(r, FAIL_draining,
				"The gateway is shutting down; the answer ends here.");
	}
}

enum fail request_fail_of_h1(enum h1_error e)
{
	switch (e) {
	case H1_BAD_HEAD_SIZE: return FAIL_header_too_large;
	case H1_BAD_UPGRADE: return FAIL_upgrade_required;
	case H1_BAD_VERSION: return FAIL_http_version;
	case H1_OK:
	case H1_BAD_SYNTAX:
	case H1_BAD_HOST:
	case H1_BAD_FRAMING:
	case H1_BAD_TARGET:
	case H1_BAD_CHUNK:
	case H1_BAD_FIELD: break;
	}
	return FAIL_bad_request;
}

void request_refuse_raw(
	struct request_env *env, struct stream *client, enum fail f, const char *why)
{
	struct request r = { .env = env,
		.client = client,
		.wall_us = clock_wall_us(),
		.want_close = true,
		.http_minor = 1 };

	buf_init(&r.held, 4096);
	make_op_id(&r);
	stats_add(env->stats, STAT_GLOBAL, 0, STAT_requests, 1);
	stats_add(env->stats, STAT_GLOBAL, 0, STAT_client_errors, 1);
	reply_error(&r, f, why);
	relay_error_now(&r);
	buf_fini(&r.held);
}
