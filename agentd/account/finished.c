#include "account/finished.h"

static const enum slot_text sources[FINISHED_TEXTS] = {
	[FINISHED_project] = SLOT_TEXT_project,
	[FINISHED_model] = SLOT_TEXT_model,
	[FINISHED_provider] = SLOT_TEXT_provider,
	[FINISHED_key] = SLOT_TEXT_key_id,
	[FINISHED_fail] = SLOT_TEXT_fail,
};

_Static_assert(sizeof(struct finished) <= LINE_MAX_BYTES, "it fits an entry of the ring");

size_t finished_fill(
	struct finished *f, const struct slot *s, const struct finished_tries *tries, size_t max)
{
	struct slice id = slot_text(s, SLOT_TEXT_op_id);
	size_t n = 0, room = max - offsetof(struct finished, text);

	f->start_us = s->v.start_us;
	f->duration_us = s->v.duration_us;
	f->first_byte_us = s->v.first_byte_us;
	f->input_tokens = s->v.input_tokens;
	f->cached_input_tokens = s->v.cached_input_tokens;
	f->output_tokens = s->v.output_tokens;
	f->cost_nano = s->v.cost_nano;
	f->uid = s->v.uid;
	f->status = (uint16_t)s->v.status;
	f->outcome = (uint8_t)s->v.outcome;
	f->priced = s->v.priced;
	f->stream = s->v.stream;
	f->estimated = s->v.estimated;
	f->tries = tries ? tries->n : 0;
	f->first_failure = tries ? tries->failure : 0;
	f->first_status = tries ? tries->status : 0;
	if (id.n == sizeof(f->op_id))
		memcpy(f->op_id, id.p, sizeof(f->op_id));
	else
		memset(f->op_id, 0, sizeof(f->op_id));
	for (int i = 0; i < FINISHED_TEXTS; i++) {
		struct slice t = SLICE_EMPTY;

		if (i != FINISHED_failed)
			t = slot_text(s, sources[i]);
		else if (tries)
			t = tries->provider;
		t.n = MIN(t.n, room - n);
		if (t.n)
			memcpy(f->text + n, t.p, t.n);
		f->text_n[i] = (uint8_t)t.n;
		n += t.n;
	}
	return offsetof(struct finished, text) + n;
}

void finished_post(struct line_ring *ring, const struct slot *s, const struct finished_tries *tries)
{
	struct finished f;

	line_ring_post(ring, slice_of((const char *)&f, finished_fill(&f, s, tries, sizeof(f))));
}

bool finished_read(struct slice bytes, struct finished *ret)
{
	size_t n = offsetof(struct finished, text);

	if (bytes.n < n || bytes.n > sizeof(*ret))
		return false;
	memcpy(ret, bytes.p, bytes.n);
	for (int i = 0; i < FINISHED_TEXTS; i++)
		n += ret->text_n[i];
	return n == bytes.n;
}

struct slice finished_text(const struct finished *f, enum finished_text which)
{
	size_t at = 0;

	for (int i = 0; i < (int)which; i++)
		at += f->text_n[i];
	return slice_of(f->text + at, f->text_n[which]);
}

int64_t finished_end_us(const struct finished *f)
{
	return f->start_us + f->duration_us;
}
