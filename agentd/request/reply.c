/* Our own answers, and the heads of all answers: written anew, never copied as a block. */
#include "request/once.h"
#include "request/request.h"

#include <aigw/prom.h>
#include <aigw/text.h>

static struct buf head_buf(struct request *r)
{
	return (struct buf){ .p = r->head_text,
		.n = r->head_text_n,
		.cap = sizeof(r->env->answer_head),
		.max = sizeof(r->env->answer_head) };
}

/* "openai:429>azure-eu": what came to nothing, in order, and who is next. */
static void tries_text(const struct request *r, const struct policy_doc *d, struct buf *b)
{
	const struct policy_model *m = &d->models[r->model];
	size_t from = b->n;

	for (unsigned i = 0; i < r->n_tries; i++) {
		const struct trace_try *t = &r->tries[i];

		(void)buf_slice(b, d->providers[m->targets[t->target].provider].name);
		if (t->failure)
			(void)buf_printf(b, ":%s>", attempt_failure_name(t->failure));
		else
			(void)buf_printf(b, ":%u>", t->status);
	}
	if (r->attempts > r->n_tries)
		(void)buf_slice(b, d->providers[r->provider].name);
	else if (b->n > from)
		b->n--;
}

static void reply_tries(struct request *r, const struct policy_doc *d)
{
	char n[8], text[1024];
	struct buf b = buf_over(text, sizeof(text));

	(void)snprintf(n, sizeof(n), "%u", r->attempts);
	(void)reply_field(r, SLICE("x-aigw-attempts"), slice_str(n));
	tries_text(r, d, &b);
	if (!b.err)
		(void)reply_field(r, SLICE("x-aigw-fallback"), buf_view(&b));
}

/* The names of a policy and what a slot takes hold no line ends. */
void reply_who(struct request *r, struct buf *b)
{
	const struct policy_doc *d = r->rules->rules->policy->doc;
	const struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);
	struct slice id = slot_text(s, SLOT_TEXT_upstream_request_id);

	(void)buf_printf(
		b, ": x-aigw-provider: " SLICE_FMT "\n", SLICE_ARG(d->providers[r->provider].name));
	if (r->attempts > 1) {
		(void)buf_printf(b, ": x-aigw-attempts: %u\n: x-aigw-fallback: ", r->attempts);
		tries_text(r, d, b);
		(void)buf_char(b, '\n');
	}
	if (id.n)
		(void)buf_printf(b, ": x-aigw-upstream-request-id: " SLICE_FMT "\n", SLICE_ARG(id));
	(void)buf_char(b, '\n');
}

static char *put_text(char *p, struct slice s)
{
	memcpy(p, s.p, s.n);
	return p + s.n;
}

static char *put_ms(char *p, usec us)
{
	uint64_t ms = us > 0 ? (uint64_t)(us / USEC_PER_MS) : 0;
	char *end = p + 1;

	for (uint64_t rest = ms; rest >= 10; rest /= 10)
		end++;
	for (p = end; ms >= 10; ms /= 10)
		*--p = (char)('0' + ms % 10);
	*--p = (char)('0' + ms);
	return end;
}

/* As far as it is known now: our own part to hundredths, what waits for others in whole
 * milliseconds. */
static void put_timing(const struct request *r, struct buf *b)
{
	usec now = loop_now(r->env->loop);
	usec queued = r->queued_us + (r->in_queue ? now - r->queued_at_us : 0);
	usec own = r->sent_us ? r->own_us : now - r->began_us - queued;
	unsigned rest = own > 0 ? (unsigned)(own % USEC_PER_MS) / 10 : 0;
	char text[128], *p = put_text(text, SLICE("gw;dur="));

	p = put_ms(p, own);
	*p++ = '.';
	*p++ = (char)('0' + rest / 10);
	*p++ = (char)('0' + rest % 10);
	p = put_text(p, SLICE(", queue;dur="));
	p = put_ms(p, queued);
	p = put_text(p, SLICE(", upstream;dur="));
	p = put_ms(p, r->on_wire ? now - r->last_sent_us : 0);
	(void)buf_append(b, text, (size_t)(p - text));
}

static void reply_debug(struct request *r)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, r->rules->rules->policy->revision);
	(void)reply_field(r, SLICE("x-aigw-revision"), slice_str(text));
	(void)reply_field(r, SLICE("x-aigw-agent"), slice_str(r->env->gw->agent_id));
}

void reply_begin(struct request *r, unsigned status)
{
	struct buf b = buf_over(r->env->answer_head, sizeof(r->env->answer_head));
	const struct policy_doc *d = r->rules ? r->rules->rules->policy->doc : NULL;

	if (r->head_text_owned)
		free(r->head_text);
	r->head_text_owned = false;
	r->status = (uint16_t)status;
	(void)buf_str(&b, "HTTP/1.1 ");
	(void)buf_u64(&b, status);
	(void)buf_char(&b, ' ');
	(void)buf_str(&b, h1_reason(status));
	(void)buf_str(&b, "\r\nx-request-id: ");
	(void)buf_append(&b, r->id, REQUEST_ID_LEN);
	if (r->began_us && !r->is_probe) {
		(void)buf_str(&b, "\r\nserver-timing: ");
		put_timing(r, &b);
	}
	(void)buf_str(&b, "\r\n");
	r->head_text = b.p;
	r->head_text_n = (uint16_t)b.n;
	if (r->has_trace)
		(void)reply_field(
			r, SLICE("traceparent"), slice_of(r->traceparent, TRACEPARENT_LEN));
	if (d && d->debug_headers)
		reply_debug(r);
	if (d && r->counted) {
		(void)reply_field(r, SLICE("x-aigw-model"), d->models[r->model].name);
		if (r->head_early) /* who it will be is not known: reply_who() */
			return;
		(void)reply_field(r, SLICE("x-aigw-provider"), d->providers[r->provider].name);
		if (r->attempts > 1)
			reply_tries(r, d);
	}
}

int reply_field(struct request *r, struct slice name, struct slice value)
{
	struct buf b = head_buf(r);
	int err;

	ASSERT(!r->head_text_owned);
	if (value.n > 1024) /* what comes from a provider is bounded: the field is left out */
		return -EMSGSIZE;
	err = h1_write_field(&b, name, value);
	r->head_text_n = (uint16_t)b.n;
	return err;
}

void reply_drop_head(struct request *r)
{
	if (!r->head_sent)
		return;
	if (r->head_text_owned)
		free(r->head_text);
	r->head_text_owned = false;
	r->head_text = NULL;
	r->head_text_n = 0;
}

void reply_own_head(struct request *r)
{
	char *copy;

	if (r->head_text_owned || !r->head_text || r->head_sent)
		return;
	copy = malloc(r->head_text_n);
	if (!copy) {
		/* Without memory for its head the answer can't be given. */
		r->head_text_n = 0;
		r->head_text = NULL;
		r->reset = r->want_close = true;
		return;
	}
	memcpy(copy, r->head_text, r->head_text_n);
	r->head_text = copy;
	r->head_text_owned = true;
}

static void add_lines(struct request *r, struct slice lines)
{
	struct buf b = head_buf(r);
	char *grown;

	if (!r->head_text_owned) {
		(void)buf_slice(&b, lines);
		r->head_text_n = (uint16_t)b.n;
		return;
	}
	grown = realloc(r->head_text, r->head_text_n + lines.n);
	if (!grown) /* the answer is worth more than what it cost */
		return;
	memcpy(grown + r->head_text_n, lines.p, lines.n);
	r->head_text = grown;
	r->head_text_n = (uint16_t)(r->head_text_n + lines.n);
}

/* "x-aigw-cost-usd", in the policy's currency. */
static void put_currency(const struct request *r, struct buf *b)
{
	struct slice currency = r->rules->rules->policy->doc->currency;

	for (size_t i = 0; i < currency.n; i++)
		(void)buf_char(b, (char)(currency.p[i] | 0x20));
}

static void put_usage(const struct request *r, const struct slot_values *v, struct buf *b)
{
	char name[32], text[128];
	struct buf nb = buf_over(name, sizeof(name)), tb = buf_over(text, sizeof(text));

	if (v->priced) {
		(void)buf_str(&nb, "x-aigw-cost-");
		put_currency(r, &nb);
		text_format_nano(v->cost_nano, 6, text);
		(void)h1_write_field(b, buf_view(&nb), slice_str(text));
	}
	(void)buf_printf(&tb, "in=%" PRId64 ";cached=%" PRId64 ";out=%" PRId64 "%s",
		v->input_tokens, v->cached_input_tokens, v->output_tokens,
		v->estimated ? ";estimated=1" : "");
	(void)h1_write_field(b, SLICE("x-aigw-tokens"), buf_view(&tb));
}

/* Of all its content no more is held than the end mark. */
static void end_stream(struct request *r, struct slot_values *v)
{
	struct buf *b = &r->held;
	char cost[32];
	size_t n;

	if (r->mid_event || r->reset)
		return;
	buf_reset(b);
	(void)buf_str(b, ": aigw");
	if (v->priced) {
		text_format_nano(v->cost_nano, 9, cost);
		(void)buf_str(b, " cost_");
		put_currency(r, b);
		(void)buf_printf(b, "=%s", cost);
	}
	(void)buf_printf(b, " in=%" PRId64 " out=%" PRId64 "%s\n\n", v->input_tokens,
		v->output_tokens, v->estimated ? " estimated=1" : "");
	n = b->n;
	if (r->has_trailers)
		put_usage(r, v, b);
	if (b->err)
		return;
	r->whole = slice_of(b->p, n);
	r->trailer_n = (uint16_t)(b->n - n);
	v->bytes_out += (int64_t)n;
}

void reply_usage(struct request *r, struct slot_values *v)
{
	char lines[256];
	struct buf b = buf_over(lines, sizeof(lines));

	if (r->sse_sent || r->mode == RELAY_SSE) {
		if (r->tells_at_end)
			end_stream(r, v);
	} else if (!r->head_sent && r->head_text) {
		put_usage(r, v, &b);
		add_lines(r, buf_view(&b));
	}
}

void reply_trailers(struct request *r, struct buf *b)
{
	char text[64];
	struct buf names = buf_over(text, sizeof(text));

	if (r->mode != RELAY_SSE && !r->head_early)
		return;
	(void)buf_str(&names, "x-aigw-cost-");
	put_currency(r, &names);
	(void)buf_str(&names, ", x-aigw-tokens");
	(void)h1_write_field(b, SLICE("trailer"), buf_view(&names));
	r->has_trailers = true;
}

static void error_json(struct request *r, struct buf *b, enum fail f, const char *message)
{
	const struct fail_row *row = fail_row(f);

	(void)buf_str(b, "{\"error\":{\"message\":");
	(void)text_json_quote(b, slice_str(message));
	(void)buf_printf(b,
		",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"},\"request_id\":\"%s\"}",
		row->type, row->name, r->id);
}

static void reply_when(struct request *r)
{
	uint32_t ms = r->retry_after_ms ? r->retry_after_ms : 1000;
	char text[16];

	(void)snprintf(text, sizeof(text), "%" PRIu32, ms / 1000 + (ms % 1000 != 0));
	(void)reply_field(r, SLICE("retry-after"), slice_str(text));
	(void)snprintf(text, sizeof(text), "%" PRIu32, ms);
	(void)reply_field(r, SLICE("retry-after-ms"), slice_str(text));
}

/* The first of the model's that has no place: as it was planned, or has turned out a moment later.
 */
static struct slice full_provider(const struct request *r)
{
	const struct policy *p = r->rules->rules->policy;
	const struct policy_model *m = &p->doc->models[r->model];
	uint32_t at = r->plan.n ? r->plan.target[0] : 0;

	for (uint32_t i = m->n_targets; i-- > 0;)
		if (r->plan.state[i] == TARGET_AT_CAPACITY)
			at = i;
	return p->doc->providers[m->targets[at].provider].name;
}

/* Which limit of the policy it was. */
static void reply_limit(struct request *r, enum fail f)
{
	const struct policy_doc *d;
	const char *of = "project", *limit = "concurrency";
	struct slice name = SLICE_EMPTY;
	char text[POLICY_MODEL_NAME_MAX + 32];

	if (f != FAIL_concurrency_limit && f != FAIL_provider_at_capacity && f != FAIL_queue_full &&
		f != FAIL_queue_timeout)
		return; /* it may have come before there were rules */
	d = r->rules->rules->policy->doc;
	if (f == FAIL_concurrency_limit && !r->identity_full) {
		name = d->projects[r->project].name;
	} else if (f == FAIL_concurrency_limit) {
		of = "identity";
	} else if (f == FAIL_provider_at_capacity) {
		of = "provider";
		name = full_provider(r);
	} else {
		of = "model";
		name = d->models[r->model].name;
		limit = "queue";
	}
	(void)snprintf(text, sizeof(text), "%s%s" SLICE_FMT "/%s", of, name.n ? ":" : "",
		SLICE_ARG(name), limit);
	(void)reply_field(r, SLICE("x-aigw-limit"), slice_str(text));
}

/* A policy that tries again leaves nothing to the SDK; one that does not is none of its business.
 * Nor does an idempotency key that has been used. */
bool reply_is_worn_out(const struct request *r)
{
	return once_is_spent(r) ||
	       (r->spent && r->attempts && r->counted &&
		       r->rules->rules->policy->doc->models[r->model].retry.attempts > 1);
}

void reply_error(struct request *r, enum fail f, const char *message)
{
	const struct fail_row *row = fail_row(f);

	if (!message[0])
		message = row->text;
	buf_reset(&r->held);
	error_json(r, &r->held, f, message);
	r->mode = RELAY_PLAIN;
	r->whole = buf_view(&r->held);
	reply_begin(r, row->status);
	(void)reply_field(r, SLICE("content-type"), SLICE("application/json"));
	if (row->retry != FAIL_RETRY_ANY || reply_is_worn_out(r))
		(void)reply_field(r, SLICE("x-should-retry"),
			row->retry == FAIL_RETRY_YES && !reply_is_worn_out(r) ? SLICE("true")
									      : SLICE("false"));
	if (row->retry == FAIL_RETRY_YES && (row->status == 503 || row->status == 429))
		reply_when(r);
	reply_limit(r, f);
	if (f == FAIL_method_not_allowed)
		(void)reply_field(
			r, SLICE("allow"), r->endpoint ? SLICE("POST") : SLICE("GET, HEAD"));
}

void reply_provider_error(struct request *r, unsigned status, struct slice error)
{
	struct buf text;

	/* The words stand in memory that the answer is about to be written to. */
	buf_init(&text, EVENT_MAX_BYTES);
	(void)buf_str(&text, "{\"error\":");
	(void)buf_slice(&text, error);
	(void)buf_char(&text, '}');
	buf_fini(&r->held);
	r->held = text;
	r->held.max = EVENT_MAX_BYTES;
	r->mode = RELAY_PLAIN;
	r->has_length = false;
	r->whole = buf_view(&r->held);
	if (text.err)
		r->reset = r->want_close = true;
	reply_begin(r, status);
	(void)reply_field(r, SLICE("content-type"), SLICE("application/json"));
}

void reply_error_event(struct request *r, enum fail f, const char *message)
{
	buf_reset(&r->tail);
	(void)buf_str(&r->tail, "data: ");
	error_json(r, &r->tail, f, message);
	(void)buf_str(&r->tail, "\n\n");
}

/* --- /v1/models
 * ------------------------------------------------------------------------------------------ */

static void model_json(struct buf *b, const struct policy *p, struct slice name)
{
	(void)buf_str(b, "{\"id\":");
	(void)text_json_quote(b, name);
	(void)buf_printf(b, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"aigw\"}",
		(int64_t)(p->applied_us / USEC_PER_S));
}

static void reply_one_model(struct request *r, const struct policy *p)
{
	struct slice asked = slice_of(r->forward, r->forward_n);
	char name[POLICY_MODEL_NAME_MAX + 1];
	size_t n = 0;
	int model;

	/* %2F and its like: a model's name may hold a slash. */
	for (size_t i = 0; i < asked.n && n < sizeof(name); i++) {
		uint8_t byte;

		if (asked.p[i] == '%' && i + 2 < asked.n &&
			text_unhex(slice_of(asked.p + i + 1, 2), &byte, 1) == 0) {
			name[n++] = (char)byte;
			i += 2;
		} else {
			name[n++] = asked.p[i];
		}
	}
	model = policy_model(p, slice_of(name, MIN(n, (size_t)POLICY_MODEL_NAME_MAX)));
	if (n > POLICY_MODEL_NAME_MAX || model < 0 ||
		!policy_project_may(p, r->project, (uint32_t)model)) {
		route_not_found(r, slice_of(name, MIN(n, (size_t)POLICY_MODEL_NAME_MAX)));
		return;
	}
	model_json(&r->held, p, slice_of(name, n));
}

static void list_models(struct request *r, const struct policy *p)
{
	bool first = true;

	(void)buf_str(&r->held, "{\"object\":\"list\",\"data\":[");
	for (uint32_t i = 0; i < p->doc->n_models; i++) {
		if (!policy_project_may(p, r->project, i))
			continue;
		if (!first)
			(void)buf_char(&r->held, ',');
		first = false;
		model_json(&r->held, p, p->doc->models[i].name);
		for (uint32_t k = 0; k < p->doc->models[i].n_aliases; k++) {
			(void)buf_char(&r->held, ',');
			model_json(&r->held, p, p->doc->models[i].aliases[k]);
		}
	}
	(void)buf_str(&r->held, "]}");
}

static void reply_held(struct request *r, unsigned status, struct slice type)
{
	if (r->held.err) {
		request_fail(r, FAIL_gateway_overloaded, "%s", "");
		return;
	}
	r->outcome = USAGE_OK;
	r->mode = RELAY_PLAIN;
	r->whole = buf_view(&r->held);
	reply_begin(r, status);
	(void)reply_field(r, SLICE("content-type"), type);
	r->step = STEP_SETTLE;
}

static void reply_held_json(struct request *r, unsigned status)
{
	reply_held(r, status, SLICE("application/json"));
}

void reply_models(struct request *r)
{
	const struct policy *p = r->rules->rules->policy;

	buf_reset(&r->held);
	if (r->models_one)
		reply_one_model(r, p);
	else
		list_models(r, p);
	if (!r->outcome)
		reply_held_json(r, 200);
}

/* --- probes
 * ---------------------------------------------------------------------------------------------- */

/* Alive: this loop answers. Ready: a policy is in force, records can be stored, and we are not
 * going away. */
void reply_health(struct request *r)
{
	const char *why = NULL;

	if (r->asks_ready && !r->env->rules)
		why = "no_policy";
	else if (r->asks_ready && atomic_load_explicit(&r->env->gw->draining, memory_order_relaxed))
		why = "draining";
	else if (r->asks_ready && committer_state(r->env->gw->committer) == COMMITTER_FULL)
		why = "spool_full";
	else if (r->asks_ready && committer_state(r->env->gw->committer) == COMMITTER_FAILED)
		why = "store_unavailable";
	buf_reset(&r->held);
	(void)buf_printf(&r->held, "{\"status\":\"%s\"}", why ? why : "ok");
	reply_held_json(r, why ? 503 : 200);
}

void reply_metrics(struct request *r, struct slice text, int err)
{
	buf_reset(&r->held);
	r->held.max = text.n + 1;
	if (!err)
		(void)buf_slice(&r->held, text);
	else
		r->held.err = err;
	reply_held(r, 200, SLICE(PROM_CONTENT_TYPE));
}
