/* The provider's head: what of it goes on, and what an error's answer comes to. */
#include "dialect/openai_hint.h"
#include "request/continue.h"
#include "request/upload.h"

#include <aigw/clock.h>
#include <aigw/log.h>

static const struct slice relayed[] = {
	SLICE_INIT("content-type"),
	SLICE_INIT("content-encoding"),
	SLICE_INIT("retry-after"),
	SLICE_INIT("retry-after-ms"),
	SLICE_INIT("x-should-retry"),
};
#define RELAYED_SHOULD_RETRY (ARRAY_LEN(relayed) - 1)

/* The first that is there counts. */
static const struct slice request_ids[] = {
	SLICE_INIT("x-request-id"),
	SLICE_INIT("request-id"),
	SLICE_INIT("apim-request-id"),
};

static int index_of(const struct slice *names, size_t n, struct slice name)
{
	for (size_t i = 0; i < n; i++)
		if (names[i].n == name.n && slice_eq_nocase(names[i], name))
			return (int)i;
	return -1;
}

/* The provider's head, of which little goes on: one pass over its fields. */
static void compose_head(struct request *r, const struct h1_head *h)
{
	struct slice id = SLICE_EMPTY;
	int id_rank = (int)ARRAY_LEN(request_ids), at;
	unsigned seen = 0;
	bool worn_out = h->status >= 400 && reply_is_worn_out(r);

	reply_begin(r, h->status);
	if (worn_out) {
		seen = 1u << RELAYED_SHOULD_RETRY; /* ours, in place of the provider's */
		(void)reply_field(r, SLICE("x-should-retry"), SLICE("false"));
	}
	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct h1_field *f = &h->fields[i];

		at = index_of(relayed, ARRAY_LEN(relayed), f->name);
		if (at >= 0 && !(seen & 1u << at)) {
			seen |= 1u << at;
			(void)reply_field(r, relayed[at], f->value);
			continue;
		}
		at = index_of(request_ids, ARRAY_LEN(request_ids), f->name);
		if (at >= 0 && at < id_rank) {
			id_rank = at;
			id = f->value;
		}
	}
	if (id.n && reply_field(r, SLICE("x-aigw-upstream-request-id"), id) == 0)
		slot_set_text(inflight_slot(r->env->gw->inflight, r->slot),
			SLOT_TEXT_upstream_request_id, id);
}

void relay_drop_prompt(struct request *r)
{
	body_free(r);
	request_drop_forward(r);
}

static bool is_type(const struct h1_field *type, struct slice want)
{
	return type && type->value.n >= want.n &&
	       slice_eq_nocase(slice_of(type->value.p, want.n), want);
}

void relay_count_error(struct request *r, enum provider_error e)
{
	stats_error(r->env->stats, r->rules->rules->policy->provider_stat[r->provider], e,
		clock_wall_us());
}

_Static_assert(ERROR_memory == ATTEMPT_MEMORY - 1 && ERROR_no_address == ATTEMPT_NO_ADDRESS - 1 &&
		       ERROR_proxy == ATTEMPT_PROXY - 1 && ERROR_cut == ATTEMPT_CUT - 1,
	"provider_errors.h begins as enum attempt_failure does");

static bool refuse_redirect(struct request *r, const struct h1_head *h)
{
	if (h->status < 300 || h->status >= 400)
		return false;
	r->upstream_error = true;
	relay_count_error(r, ERROR_redirect);
	if (!retry_follows(r, CLASS_unsupported_operation, ATTEMPT_OK, h->status))
		request_fail(r, FAIL_upstream_error,
			"The provider answered with a redirect (%u), which is not followed. "
			"Correct its base_url.",
			h->status);
	return true;
}

/* An answer that nobody asked for: JSON to a call for a stream, or a stream to one that is none. */
static bool refuse_kind(
	struct request *r, const struct h1_head *h, const struct h1_field *type, bool is_stream)
{
	bool text = r->endpoint == ENDPOINT_chat || r->endpoint == ENDPOINT_completions ||
		    r->endpoint == ENDPOINT_responses;
	bool wrong = r->facts.stream ? !is_stream && is_type(type, SLICE("application/json"))
				     : is_stream;

	if (r->head_sent) /* the client waits for nothing else */
		wrong = !is_stream || r->compressed;
	if (!text || h->status >= 300 || (!h->has_body && !r->head_sent) || !wrong)
		return false;
	r->upstream_error = true;
	relay_count_error(r, ERROR_wrong_kind);
	if (!retry_follows(r, CLASS_transient, ATTEMPT_OK, h->status))
		request_fail(r, FAIL_upstream_protocol,
			r->facts.stream
				? "A stream was asked for, and the provider's answer is none."
				: "The provider answered with a stream that was not asked for.");
	return true;
}

/* What the provider's `errors` say of it: by its words, then by its status. */
static enum error_class class_by_policy(
	const struct policy_provider *p, unsigned status, struct slice error)
{
	struct slice words[OPENAI_ERROR_WORDS + 1];
	char digits[12];

	if (!p->n_errors)
		return CLASS_none;
	openai_error_words(error, words);
	(void)snprintf(digits, sizeof(digits), "%u", status);
	words[OPENAI_ERROR_WORDS] = slice_str(digits);
	for (size_t w = 0; w < ARRAY_LEN(words); w++)
		for (uint32_t i = 0; words[w].n && i < p->n_errors; i++)
			if (slice_eq_nocase(p->errors[i].code, words[w]))
				return p->errors[i].class;
	return CLASS_none;
}

enum error_class relay_class(const struct policy_provider *p, unsigned status, struct slice body)
{
	enum error_class c = class_by_policy(p, status, body);

	return c == CLASS_none ? openai_class_of(status, body) : c;
}

static const struct policy_provider *provider_of(const struct request *r)
{
	return &r->rules->rules->policy->doc->providers[r->provider];
}

enum error_class relay_class_of(const struct request *r, unsigned status, struct slice body)
{
	return relay_class(provider_of(r), status, body);
}

enum error_class relay_class_in_band(const struct request *r, struct slice error)
{
	enum error_class c = class_by_policy(provider_of(r), 200, error);

	return c == CLASS_none ? openai_class_in_band(error) : c;
}

/* A refusal of the gateway's own credential is nobody else's business: its text stays here. */
bool relay_refuse_shown(struct request *r, enum error_class c)
{
	if (c == CLASS_provider_auth) {
		request_fail(r, FAIL_upstream_auth_failed, "%s", "");
		return true;
	}
	if (c == CLASS_provider_quota) {
		request_fail(r, FAIL_upstream_quota, "%s", "");
		return true;
	}
	return false;
}

/* An error's answer, as much of it as was held. True: it goes no further. */
bool relay_judge(struct request *r, struct slice body)
{
	enum error_class c;

	if (r->judged || !r->upstream_error)
		return false;
	r->judged = true;
	if (!r->hint_us && !r->compressed)
		r->hint_us = openai_hint_in(body);
	c = relay_class_of(r, r->status, r->compressed ? SLICE_EMPTY : body);
	return retry_follows(r, c, ATTEMPT_OK, r->status) || relay_refuse_shown(r, c);
}

static void note_error(struct request *r, const struct h1_head *h)
{
	enum provider_error e = h->status < 500 ? ERROR_refused : ERROR_failed;

	if (h->status == 401 || h->status == 403)
		e = ERROR_auth;
	else if (h->status == 429)
		e = ERROR_rate_limited;
	relay_count_error(r, e);
	r->hint_us = openai_hint_of_head(h, r->wall_us + loop_now(r->env->loop) - r->began_us);
}

bool relay_on_head(struct attempt *a, const struct h1_head *h)
{
	struct request *r = a->owner;
	const struct h1_field *coding = h1_find(h, SLICE("content-encoding"));
	const struct h1_field *type = h1_find(h, SLICE("content-type"));
	bool is_stream = is_type(type, SLICE("text/event-stream"));

	measure_head(r, h);
	/* No further attempt needs the body; a held stream does not hold its prompt. */
	if (r->spent && a->state != ATTEMPT_SENDING)
		relay_drop_prompt(r);
	r->compressed = coding && !slice_eq_nocase(coding->value, SLICE("identity"));
	if (refuse_redirect(r, h) || refuse_kind(r, h, type, is_stream))
		return false;
	r->upstream_error = h->status >= 400;
	if (r->upstream_error)
		note_error(r, h);
	r->mode = !r->compressed && h->status < 300 && is_stream ? RELAY_SSE : RELAY_PLAIN;
	r->eager = (r->compressed && is_stream) || r->endpoint == ENDPOINT_speech;
	if (r->upload && !r->upload->whole)
		r->want_close = true; /* answered before it was all there */
	r->no_body = !h->has_body && (h->status == 204 || h->status == 304);
	if (r->mode == RELAY_PLAIN && h->has_length) {
		r->has_length = true;
		r->answer_length = h->length;
	}
	if (r->mode == RELAY_PLAIN)
		a->holds_content = false; /* its first byte is what there is to wait for */
	compose_head(r, h);
	if (r->paused) /* by what came before this attempt */
		attempt_pause(a);
	return true;
}

void relay_forget(struct request *r)
{
	buf_fini(&r->held);
	buf_fini(&r->tail);
	if (r->tap) {
		jscan_tap_fini(r->tap);
		free(r->tap);
		r->tap = NULL;
	}
	if (r->head_text_owned)
		free(r->head_text);
	r->head_text_owned = false;
	r->head_text = NULL;
	r->head_text_n = 0;
	r->whole = SLICE_EMPTY;
	memset(&r->usage, 0, sizeof(r->usage));
	if (!continue_is_on(r))
		r->first_us = 0;
	r->answer_length = r->answer_n = 0;
	if (!r->head_sent) /* comments may have gone out behind it */
		r->out_n = 0;
	r->events = r->event_bytes = r->event_min = 0;
	r->scanned = 0;
	r->mode = RELAY_NONE;
	r->has_length = r->usage_seen = r->terminal_seen = r->finish_seen = r->error_seen =
		r->compressed = r->upstream_error = r->eager = r->no_body = false;
}
