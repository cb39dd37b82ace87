#include "call.h"
#include "answer.h"
#include "calllog.h"
#include "conn.h"
#include "control.h"
#include "corpus.h"
#include "record.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the log ---- */

static void log_id_add(struct buf *line, const struct conn *conn, const char *client_id)
{
	buf_addf(line, ",\"conn\":%llu,\"client_request_id\":", (unsigned long long)conn->id);
	buf_add_json_or_null(line, client_id);
}

void call_log_drop(struct conn *conn)
{
	struct buf *line;

	conn->sim->stats.dropped_on_next++;
	if (!calllog_wanted(&conn->sim->log))
		return;
	line = calllog_begin(&conn->sim->log, "drop");
	log_id_add(line, conn, request_header(&conn->req, "x-client-request-id"));
	calllog_commit(&conn->sim->log, line);
}

static void log_end(struct call *c, bool complete)
{
	struct buf *line = calllog_begin(&c->conn->sim->log, "end");

	buf_addf(line, ",\"seq\":%llu,\"request_id\":\"%s\"", (unsigned long long)c->seq,
		c->request_id);
	log_id_add(line, c->conn, c->client_id);
	buf_addf(line, ",\"status\":%d,\"stream\":%s,\"input_tokens\":%lld,\"output_tokens\":%lld",
		c->head_status, c->stream ? "true" : "false", (long long)c->input_tokens,
		(long long)c->output_tokens);
	buf_addf(line,
		",\"usage_sent\":%s,\"chunks\":%u,\"complete\":%s,\"client_gone\":%s,\"fault\":",
		c->usage_sent && complete ? "true" : "false", c->chunks,
		complete ? "true" : "false", c->conn->gone ? "true" : "false");
	buf_add_json_or_null(line, c->fault);
	buf_addf(line, ",\"took_us\":%llu", (unsigned long long)(time_now_us() - c->begun_us));
	calllog_commit(&c->conn->sim->log, line);
}

/* ---- begin ---- */

static enum op op_of(const char *url, size_t n)
{
	static const struct {
		const char *path;
		enum op op;
	} ops[] = {
		{ "/chat/completions", OP_CHAT },
		{ "/completions", OP_COMPLETIONS },
		{ "/embeddings", OP_EMBEDDINGS },
		{ "/responses", OP_RESPONSES },
		{ "/moderations", OP_MODERATIONS },
		{ "/models", OP_MODELS },
	};
	struct span path = { url, n };

	if (n >= 3 && !memcmp(url, "/v1", 3))
		path = (struct span){ url + 3, n - 3 };
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (span_is(path, ops[i].path))
			return ops[i].op;
	return path.len > 8 && !memcmp(path.p, "/models/", 8) ? OP_MODELS : OP_NONE;
}

static bool key_allowed(const struct conn *conn)
{
	const char *want = conn->sim->opts.require_key, *given;

	if (!want)
		return true;
	given = record_credential(&conn->req);
	return given && !strcmp(given, want);
}

/* Faults that need no content. True if one of them decides the answer. */
static bool fault_answer(struct call *c)
{
	struct behaviour *b = &c->b;

	if (b->fail >= 0) {
		if (b->retry_after >= 0)
			buf_addf(&c->headers, "retry-after: %lld\r\n", (long long)b->retry_after);
		if (b->retry_after_ms >= 0)
			buf_addf(&c->headers, "retry-after-ms: %lld\r\n",
				(long long)b->retry_after_ms);
		call_error(c, (int)b->fail, NULL, NULL, b->code[0] ? b->code : NULL);
		c->fault = "fail";
		return true;
	}
	if (b->fail_close || b->fail_reset) {
		c->phase = PHASE_DRAIN;
		c->outcome = b->fail_reset ? CALL_RESET : CALL_CLOSE;
		c->fault = b->fail_reset ? "fail-reset" : "fail-close";
		return true;
	}
	if (b->fail_hang) {
		c->phase = PHASE_HANG;
		c->fault = "fail-hang";
		return true;
	}
	return false;
}

static void body_faults(struct call *c)
{
	if (c->b.fail_badjson && c->body.len > 1) {
		c->body.len /= 2;
		c->body_end = c->body.len;
		c->fault = "fail-badjson";
	}
	if (c->b.fail_midbody || c->b.head_only) {
		c->body_end = c->b.head_only ? 0 : c->body.len / 2;
		c->fault = c->b.head_only ? "head-only" : "fail-midbody";
	}
}

static void generate(struct call *c, const struct ask *a)
{
	const char *why = say_make(&c->say, a, &c->b, c->seq);

	if (!why && c->b.no_prefill && a->prefill.len)
		why = "This model does not support assistant message prefill.";
	if (why) {
		call_error(c, 400, why, NULL, NULL);
		return;
	}
	if (c->op == OP_RESPONSES)
		c->n = 1;
	c->output_tokens =
		(int64_t)c->say.pieces * c->n + (c->b.reasoning > 0 ? c->b.reasoning : 0);
	c->dialect = c->op == OP_CHAT        ? &dialect_chat
		     : c->op == OP_RESPONSES ? &dialect_responses
					     : &dialect_completions;
	if (c->b.swap_framing) {
		c->stream = !c->stream;
		c->fault = "swap-framing";
	}
	if (!c->stream) {
		c->dialect->plain(c, &c->body);
		call_plain(c, 200, "application/json");
		body_faults(c);
		return;
	}
	if (c->b.fail_midbody)
		c->b.cut_after = (int64_t)c->say.pieces * c->n / 2;
	if (c->b.fail_badjson)
		c->b.bad_chunk = 0;
	c->status = 200;
	c->content_type = "text/event-stream; charset=utf-8";
	c->phase = PHASE_STREAM;
}

static void answer_make(struct call *c, const struct ask *a)
{
	if (fault_answer(c))
		return;
	switch (c->op) {
	case OP_EMBEDDINGS: embeddings_add(c, a, &c->body); break;
	case OP_MODERATIONS: moderations_add(c, a, &c->body); break;
	case OP_CHAT:
	case OP_COMPLETIONS:
	case OP_RESPONSES: generate(c, a); return;
	case OP_MODELS:
	case OP_NONE: return;
	}
	call_plain(c, 200, "application/json");
	body_faults(c);
}

static void wait_first(struct call *c)
{
	if (c->b.slow < 0)
		return;
	c->after_wait = c->phase;
	c->phase = PHASE_WAIT;
	c->due_us = time_now_us() + (uint64_t)c->b.slow * 1000;
}

/* Faults as for a model of that name. */
#define MODELS_AS "models"

static void models_answer(struct call *c, struct span path)
{
	const char *id = memmem(path.p, path.len, "/models/", 8);
	const char *why = script_pick(c->conn->sim->script, MODELS_AS, (struct span){ 0 }, &c->b);

	if (why) {
		memset(&c->b, 0, sizeof(c->b));
		call_error(c, 400, why, NULL, "sim_script");
		return;
	}
	if (c->b.header[0])
		buf_addf(&c->headers, "%s\r\n", c->b.header);
	if (!fault_answer(c)) {
		if (id)
			model_add(id + 8, path.len - (size_t)(id + 8 - path.p), &c->body);
		else
			models_add(c, &c->body);
		call_plain(c, 200, "application/json");
		body_faults(c);
	}
	wait_first(c);
}

static void ask_take(struct call *c, const struct ask *a)
{
	c->model = mem_dup(a->model, strlen(a->model));
	c->stream =
		a->stream && (c->op == OP_CHAT || c->op == OP_COMPLETIONS || c->op == OP_RESPONSES);
	c->include_usage = a->include_usage;
	c->n = a->n;
	c->input_tokens = a->input_tokens;
	c->cuts = hash_bytes(c->conn->sim->opts.cut_seed ^ a->seed, c->model, strlen(c->model));
}

/* A billable request: from its body to an answer. Exchanges may record requests that lack what we
 * ask for, so the corpus comes before `wrong`, which is why the body is refused, or NULL. */
static void ask_answer(
	struct call *c, struct ask *a, struct span path, const char *wrong, const char *param)
{
	struct sim *sim = c->conn->sim;
	const struct request *req = &c->conn->req;
	const char *why;

	if (sim->corpus && c->model &&
		corpus_answer(sim->corpus, c, path, (struct span){ req->body.p, req->body.len }))
		return;
	if (wrong) {
		call_error(c, 400, wrong, param, NULL);
		return;
	}
	why = script_pick(sim->script, c->model, a->sim, &c->b);
	if (why) {
		memset(&c->b, 0, sizeof(c->b));
		call_error(c, 400, why, NULL, "sim_script");
		return;
	}
	if (c->b.header[0])
		buf_addf(&c->headers, "%s\r\n", c->b.header);
	answer_make(c, a);
	wait_first(c);
}

static void call_decide(struct call *c, struct span path)
{
	struct conn *conn = c->conn;
	const char *method = request_method(&conn->req);
	bool post = !strcmp(method, "POST");
	bool get = !strcmp(method, "GET") || !strcmp(method, "HEAD");
	const char *param = NULL, *why = NULL;
	struct ask a = { 0 };

	c->op = op_of(path.p, path.len);
	if (post && c->op != OP_NONE && c->op != OP_MODELS)
		why = ask_read(
			&a, c->op, (struct span){ conn->req.body.p, conn->req.body.len }, &param);
	if (a.model)
		ask_take(c, &a);
	record_recv(c);
	if (!key_allowed(conn))
		call_error(c, 401, NULL, NULL, NULL);
	else if (c->op == OP_NONE)
		call_error(c, 404, "Invalid URL", NULL, "unknown_url");
	else if (c->op == OP_MODELS ? !get : !post)
		call_error(c, 405, NULL, NULL, NULL);
	else if (c->op == OP_MODELS)
		models_answer(c, path);
	else
		ask_answer(c, &a, path, why, param);
	ask_fini(&a);
}

struct call *call_begin(struct conn *conn)
{
	struct call *c = mem_get(sizeof(*c));
	struct sim *sim = conn->sim;
	const char *id = request_header(&conn->req, "x-client-request-id");
	struct span path = { conn->req.url.p, conn->req.url.len };
	const char *query = path.len ? memchr(path.p, '?', path.len) : NULL;

	c->conn = conn;
	c->begun_us = time_now_us();
	c->created_s = time_wall_us() / 1000000;
	if (query)
		path.len = (size_t)(query - path.p);
	if (!conn->req.refuse && path.len > 3 && !memcmp(path.p, "/__", 3)) {
		c->quiet = true;
		control_answer(c, path, query ? query + 1 : NULL);
		return c;
	}
	sim->stats.requests++;
	sim->stats.requests_reused += conn->answered > 0;
	sim->stats.calls_active++;
	c->seq = ++sim->seq;
	snprintf(c->request_id, sizeof(c->request_id), "simreq_%08x%08llx", sim->boot,
		(unsigned long long)c->seq);
	if (id)
		c->client_id = mem_dup(id, strlen(id));
	if (conn->req.refuse) {
		sim->stats.refused++;
		c->fault = "refused";
		call_error(c, conn->req.refuse, NULL, NULL, NULL);
		return c;
	}
	call_decide(c, path);
	buf_free(&conn->req.body);
	if (c->stream) {
		sim->stats.streams++;
		if (++sim->stats.streams_active > sim->stats.streams_active_max)
			sim->stats.streams_active_max = sim->stats.streams_active;
	}
	return c;
}

/* ---- run and end ---- */

enum call_state call_run(struct call *c)
{
	switch (c->phase) {
	case PHASE_WAIT:
		if (time_now_us() < c->due_us) {
			conn_wake_at(c->conn, c->due_us);
			return CALL_RUNNING;
		}
		c->due_us = 0;
		c->phase = c->after_wait;
		return call_run(c);
	case PHASE_PLAIN: return plain_run(c);
	case PHASE_STREAM: return stream_run(c);
	case PHASE_DRAIN: return conn_blocked(c->conn) ? CALL_RUNNING : c->outcome;
	case PHASE_HANG: return CALL_RUNNING;
	}
	return CALL_CLOSE;
}

void call_end(struct call *c, enum call_state how)
{
	struct sim_stats *st = &c->conn->sim->stats;
	bool complete = how == CALL_DONE;

	if (!c->quiet) {
		st->calls_active--;
		st->streams_active -= c->stream;
		st->completed += complete;
		st->client_gone += c->conn->gone;
		st->faults += c->fault != NULL;
		if (calllog_wanted(&c->conn->sim->log))
			log_end(c, complete);
	}
	say_fini(&c->say);
	buf_free(&c->headers);
	buf_free(&c->body);
	free(c->client_id);
	free(c->model);
	free(c);
}
