/* Usage from answers, and our estimate where the provider reports none. No I/O. */
#include "request/continue.h"
#include "request/meter.h"
#include "request/upload.h"

#include <aigw/sse.h>

/* A token is about four bytes of text. Audio is taken for 128 kbit/s, and ten tokens a second, as
 * OpenAI counts it: what the file is can't be known without reading it. */
#define AUDIO_BYTES_PER_MS 16
#define AUDIO_MS_PER_TOKEN 100

void meter_input(const struct request *r, struct openai_usage *ret)
{
	const struct slot *s = inflight_slot(r->env->gw->inflight, r->slot);
	const struct upload *u = r->upload;
	bool is_audio =
		r->endpoint == ENDPOINT_transcriptions || r->endpoint == ENDPOINT_translations;
	uint64_t bytes;

	if (continue_is_on(r)) {
		ret->input = (int64_t)(r->cont->body.n + 3) / 4;
	} else if (!u) {
		ret->input = (s->v.bytes_in + 3) / 4;
	} else if (is_audio) {
		bytes = MAX(u->mp.at, u->length);
		ret->audio_ms = (int64_t)(bytes / AUDIO_BYTES_PER_MS);
		ret->input = ret->audio_in = ret->audio_ms / AUDIO_MS_PER_TOKEN;
	} else {
		bytes = u->file_bytes;
		if (u->mp.is_file && u->mp.from > u->mp.to) /* of the one that is on its way */
			bytes += u->mp.at - u->mp.from;
		ret->input = (int64_t)(u->mp.at - MIN(u->mp.at, bytes) + 3) / 4;
	}
}

/* The envelope of a stream's events is what its smallest one weighs. Sound and pictures are no
 * text: what they are worth only the provider knows, or a price per call. */
void meter_estimate(struct request *r)
{
	uint64_t text = 0;

	memset(&r->usage, 0, sizeof(r->usage));
	if (!r->on_wire || r->upstream_error || r->outcome == USAGE_FAILED ||
		r->outcome == USAGE_REFUSED)
		return;
	meter_input(r, &r->usage);
	if (r->endpoint == ENDPOINT_embeddings || r->endpoint == ENDPOINT_moderations ||
		r->endpoint >= ENDPOINT_speech)
		return;
	if (r->mode == RELAY_SSE) {
		text = r->event_bytes - r->events * r->event_min;
		r->usage.output = (int64_t)MAX(r->events, text / 4);
	} else {
		r->usage.output = (int64_t)(r->answer_n + 3) / 4;
	}
}

/* The data of an event that stands on several lines, joined as the standard says (WHATWG
 * HTML 9.2.6). Rare: it may take memory. */
static int join_data(struct slice raw, struct buf *out)
{
	while (raw.n) {
		size_t n = 0;
		struct slice line;

		while (n < raw.n && raw.p[n] != '\n' && raw.p[n] != '\r')
			n++;
		line = slice_of(raw.p, n);
		raw = slice_skip(raw, n + 1);
		if (!slice_starts(line, SLICE("data:")))
			continue;
		line = slice_skip(line, line.n > 5 && line.p[5] == ' ' ? 6 : 5);
		if (out->n)
			(void)buf_char(out, '\n');
		(void)buf_slice(out, line);
	}
	return out->err;
}

static bool peek_event(struct slice raw, struct openai_usage *ret, bool *ret_hide)
{
	struct sse_event e;
	struct buf joined;
	bool found;

	sse_parse(raw, &e);
	if (e.data_lines <= 1)
		return openai_peek(e.data, ret, ret_hide);
	buf_init(&joined, EVENT_MAX_BYTES);
	found = join_data(raw, &joined) == 0 && openai_peek(buf_view(&joined), ret, ret_hide);
	buf_fini(&joined);
	return found;
}

/* One whole event. The running numbers stand in the slot: a crash books them. */
void meter_event(struct request *r, struct slice raw, bool has_usage, bool *ret_hide)
{
	struct openai_usage u;
	struct slot *s;

	*ret_hide = false;
	meter_count(r, raw.n);
	if (!has_usage)
		return;
	if (!peek_event(raw, &u, ret_hide)) {
		*ret_hide = false;
		return;
	}
	*ret_hide = *ret_hide && r->hide_usage;
	r->usage = u;
	r->usage_seen = true;
	if (r->cont)
		continue_sum(r, &u);
	s = inflight_slot(r->env->gw->inflight, r->slot);
	s->v.input_tokens = u.input;
	s->v.output_tokens = u.output;
	s->v.audio_input_tokens = u.audio_in;
	s->v.audio_ms = u.audio_ms;
	s->v.estimated = 0;
}

void meter_plain(struct request *r, struct slice whole)
{
	/* Of the loop's scratch memory or of r->held: ours to write. */
	if (!r->compressed && whole.n)
		r->usage_seen = openai_peek_whole((char *)(uintptr_t)whole.p, whole.n, &r->usage);
}

void meter_tap(struct request *r)
{
	if (r->tap && r->tap->value[0].n && !r->compressed)
		r->usage_seen = openai_usage_parse(buf_view(&r->tap->value[0]), &r->usage);
}
