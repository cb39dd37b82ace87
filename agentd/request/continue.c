#include "request/continue.h"
#include "request/meter.h"

#include <aigw/json_scan.h>
#include <aigw/sse.h>
#include <aigw/text.h>

static const struct policy_doc *doc_of(const struct request *r)
{
	return r->rules->rules->policy->doc;
}

/* --- whether -------------------------------------------------------------------------- */

static bool is_priced(struct request *r, uint32_t target)
{
	return worker_rules_price(r->rules, target, r->wall_us) != NULL;
}

/* A part without a price beside one that has one would make the sum a wrong one. */
bool continue_at(struct request *r, uint8_t i)
{
	const struct policy_doc *d = doc_of(r);
	const struct policy_target *t = &d->models[r->model].targets[i];

	return d->providers[t->provider].prefill != PREFILL_none &&
	       (t->capabilities & CAPABILITY_BIT(prefill)) &&
	       is_priced(r, (uint32_t)(t - d->targets)) == r->cont->is_priced;
}

void continue_begin(struct request *r)
{
	struct continuation *c;

	if (r->cont || !doc_of(r)->models[r->model].continue_cut || r->mode != RELAY_SSE ||
		r->endpoint != ENDPOINT_chat || !r->body.bytes || r->spent ||
		!openai_may_continue(slice_of(r->body.bytes, r->body.n)))
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	buf_init(&c->text, CONTINUE_TEXT_MAX);
	buf_init(&c->id_text, 4096);
	buf_init(&c->out, 2 * EVENT_MAX_BYTES);
	buf_init(&c->echo, CONTINUE_TEXT_MAX);
	buf_init(&c->body, SIZE_MAX);
	c->done_seen = true;
	c->is_priced = is_priced(r, r->target);
	c->echo_at = SIZE_MAX;
	r->cont = c;
}

static void drop_body(struct request *r)
{
	buf_fini(&r->cont->body);
	body_uncharge(r, r->cont->charged);
	r->cont->charged = 0;
}

void continue_free(struct request *r)
{
	struct continuation *c = r->cont;

	if (!c)
		return;
	drop_body(r);
	buf_fini(&c->text);
	buf_fini(&c->id_text);
	buf_fini(&c->out);
	buf_fini(&c->echo);
	free(c);
	r->cont = NULL;
}

/* What has been delivered can't be gone on with: nothing is kept for it. */
void continue_spoil(struct request *r)
{
	struct continuation *c = r->cont;

	c->is_spoiled = true;
	buf_fini(&c->text);
	if (r->attempt->state != ATTEMPT_SENDING)
		relay_drop_prompt(r);
}

bool continue_may(const struct request *r)
{
	const struct continuation *c = r->cont;

	return c && !c->is_spoiled && c->text.n && r->body.bytes && !r->terminal_seen &&
	       !r->finish_seen && !r->error_seen && !r->mid_event &&
	       !openai_ends_torn(buf_view(&c->text));
}

/* --- money ---------------------------------------------------------------------------- */

static void usage_add(struct openai_usage *sum, const struct openai_usage *u)
{
	sum->input += u->input;
	sum->cached_input += u->cached_input;
	sum->cache_write += u->cache_write;
	sum->output += u->output;
	sum->reasoning += u->reasoning;
	sum->audio_in += u->audio_in;
	sum->audio_out += u->audio_out;
	sum->audio_ms += u->audio_ms;
}

bool continue_is_unserved(const struct request *r)
{
	return r->cont && r->cont->parts && !r->committed && !r->usage_seen &&
	       !(r->client_gone && r->on_wire && !r->upstream_error);
}

void continue_sum(const struct request *r, struct openai_usage *u)
{
	if (r->cont)
		usage_add(u, &r->cont->done);
}

void continue_part(struct request *r)
{
	struct continuation *c = r->cont;
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);
	int64_t nano;

	if (!r->usage_seen)
		meter_estimate(r);
	nano = settle_part(r);
	c->done_seen &= r->usage_seen;
	usage_add(&c->done, &r->usage);
	if (__builtin_add_overflow(c->done_nano, nano, &c->done_nano))
		c->done_nano = INT64_MAX;
	c->parts++;
	/* A crash from here on books what this part has cost, and the next one's by its own price.
	 */
	s->before_input = c->done.input;
	s->before_output = c->done.output;
	s->before_nano = c->done_nano;
	continue_rest(r);
}

void continue_rest(struct request *r)
{
	struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);

	if (!continue_is_on(r)) { /* nobody has: as if it were yet to be sent */
		slot_set_state(s, SLOT_ADMITTED);
		return;
	}
	s->v.input_tokens = r->cont->done.input;
	s->v.output_tokens = r->cont->done.output;
	s->v.audio_input_tokens = r->cont->done.audio_in;
}

/* --- the request ---------------------------------------------------------------------- */

bool continue_ask(struct request *r)
{
	struct continuation *c = r->cont;
	enum policy_prefill way = doc_of(r)->providers[r->provider].prefill;
	struct slice body = slice_of(r->body.bytes, r->body.n);
	size_t need = body.n + c->text.n + 256;
	const char *name;
	size_t at;

	drop_body(r);
	buf_reset(&c->echo);
	if (!body_charge(r, need))
		return false;
	c->charged = need;
	buf_init(&c->body, need);
	if (openai_prefill(body, way, buf_view(&c->text), c->done.output, &c->body) ||
		openai_scan(buf_view(&c->body), &c->facts, &at, &name) != FAIL_none)
		return false;
	buf_reset(&c->out);
	(void)buf_char(&c->out, '"');
	(void)buf_slice(&c->out, buf_view(&c->text));
	(void)buf_char(&c->out, '"');
	if (c->out.err || jscan_string(buf_view(&c->out), &c->echo))
		return false;
	buf_reset(&c->out);
	c->echo_at = 0;
	return true;
}

/* --- events --------------------------------------------------------------------------- */

static struct slice keep_id(struct continuation *c, struct slice id)
{
	size_t at = c->id_text.n;

	return buf_slice(&c->id_text, id) ? SLICE_EMPTY : slice_of(c->id_text.p + at, id.n);
}

static void note_ids(struct continuation *c, const struct openai_ids *ids)
{
	/* Its memory must not move any more. */
	if (buf_reserve(&c->id_text, ids->id.n + ids->created.n + ids->model.n + 1) < 0)
		return;
	c->ids.id = keep_id(c, ids->id);
	c->ids.created = keep_id(c, ids->created);
	c->ids.model = keep_id(c, ids->model);
	c->has_ids = true;
}

static void note_text(struct request *r, struct slice text)
{
	if (text.n && !r->cont->is_spoiled && buf_slice(&r->cont->text, text))
		continue_spoil(r);
}

/* Another target may do better; an answer that the caller's words have brought about is one. */
static bool is_curable(struct request *r, struct slice error)
{
	enum error_class c = relay_class_in_band(r, error);

	r->error_class = (uint8_t)c;
	return c != CLASS_caller_fault && c != CLASS_context_length && continue_may(r) &&
	       retry_has_tries(r);
}

/* Of a text that goes on, what is new: an answer may begin with the text that it was given. All of
 * it and nothing else is a repetition; until that is known nothing of it goes out. `b` gets what
 * was held when it turns out to be none. */
static struct slice strip_echo(struct continuation *c, struct slice text, struct buf *b)
{
	struct buf plain, quoted;
	struct slice rest = text, told;

	if (c->echo_at == SIZE_MAX || !text.n)
		return text;
	buf_init(&plain, EVENT_MAX_BYTES);
	buf_init(&quoted, EVENT_MAX_BYTES);
	told = slice_of(text.p - 1, text.n + 2); /* with its quotes */
	if (jscan_string(told, &plain) == 0) {
		size_t left = c->echo.n - c->echo_at, n = MIN(left, plain.n);

		if (memcmp(c->echo.p + c->echo_at, plain.p, n) == 0) {
			c->echo_at += n;
			rest = SLICE_EMPTY;
			if (n == left) { /* all of it: what stands behind is new */
				c->echo_at = SIZE_MAX;
				if (plain.n > n && text_json_quote(&quoted,
							   slice_of(plain.p + n, plain.n - n)) == 0)
					(void)buf_append(b, quoted.p + 1, quoted.n - 2);
				rest = buf_view(b);
			}
			goto out;
		}
	}
	/* It was none: what was held is the answer's own. */
	if (c->echo_at) {
		(void)text_json_quote(&quoted, slice_of(c->echo.p, c->echo_at));
		(void)buf_append(b, quoted.p + 1, quoted.n - 2);
		(void)buf_slice(b, text);
		rest = buf_view(b);
	}
	c->echo_at = SIZE_MAX;
out:
	buf_fini(&plain);
	buf_fini(&quoted);
	return rest;
}

static void usage_text(const struct request *r, struct buf *b)
{
	struct openai_usage u = r->usage;

	continue_sum(r, &u);
	(void)buf_printf(b,
		"{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64
		",\"total_tokens\":%" PRId64,
		u.input, u.output, u.input + u.output);
	(void)buf_printf(b,
		",\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64
		"},\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64 "}}",
		u.cached_input, u.reasoning);
}

/* The answer is about to do something else, and what was held was no repetition. */
static struct slice give_held(struct continuation *c, struct buf *b)
{
	struct buf quoted;

	buf_init(&quoted, EVENT_MAX_BYTES);
	if (c->echo_at && c->echo_at != SIZE_MAX &&
		text_json_quote(&quoted, slice_of(c->echo.p, c->echo_at)) == 0)
		(void)buf_append(b, quoted.p + 1, quoted.n - 2);
	c->echo_at = SIZE_MAX;
	buf_fini(&quoted);
	return buf_view(b);
}

/* Text of its own event: what was held when the answer ends has no place in the ending one. */
static void write_text(struct continuation *c, struct slice text)
{
	char plain[] = "{\"id\":0,\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":0,"
		       "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},"
		       "\"finish_reason\":null}]}";

	(void)openai_delta_write(
		slice_of(plain, sizeof(plain) - 1), &c->ids, text, SLICE_EMPTY, &c->out);
}

static void write_anew(struct request *r, struct slice data, const struct openai_delta *d)
{
	struct continuation *c = r->cont;
	struct buf text, usage;
	char numbers[320];
	struct slice new;

	buf_init(&text, 2 * EVENT_MAX_BYTES);
	usage = buf_over(numbers, sizeof(numbers));
	if (d->has_usage)
		usage_text(r, &usage);
	new = strip_echo(c, d->text, &text);
	if ((d->is_other || d->is_end) && c->echo_at != SIZE_MAX) {
		struct slice held = give_held(c, &text);

		if (held.n) {
			write_text(c, held);
			note_text(r, held);
		}
		new = SLICE_EMPTY;
	}
	if (text.err)
		c->out.err = text.err;
	/* A role alone, or nothing but what is held, is no event. */
	if (new.n || d->is_other || d->is_end || d->has_usage)
		(void)openai_delta_write(data, &c->ids, new, buf_view(&usage), &c->out);
	note_text(r, new);
	buf_fini(&text);
}

enum continue_what continue_event(struct request *r, struct slice raw)
{
	struct continuation *c = r->cont;
	struct openai_delta d;
	struct sse_event e;

	if (c->is_spoiled && !c->parts)
		return CONTINUE_RELAY;
	sse_parse(raw, &e);
	if (e.data_lines != 1 || openai_delta_read(e.data, &d)) {
		if (c->parts) /* it can't be written anew */
			return CONTINUE_MALFORMED;
		continue_spoil(r);
		return CONTINUE_RELAY;
	}
	if (d.error.n && !d.text.n && is_curable(r, d.error))
		return CONTINUE_ELSEWHERE;
	if (!c->has_ids)
		note_ids(c, &d.ids);
	if (c->parts)
		write_anew(r, e.data, &d);
	else
		note_text(r, d.text);
	if (d.is_other && !c->is_spoiled)
		continue_spoil(r);
	return c->out.err ? CONTINUE_MALFORMED : CONTINUE_RELAY;
}

void continue_verbatim(struct request *r, struct slice raw)
{
	(void)buf_slice(&r->cont->out, raw);
}
