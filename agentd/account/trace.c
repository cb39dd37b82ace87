#include "account/trace.h"

/* An entry: the call as struct finished has it, these numbers, the targets, the tries, then two
 * lengths and the names of each target, as far as there is room. */
struct numbers {
	uint16_t call_n;
	uint8_t n_targets, n_tries, served, degraded;
	uint32_t queued_ms;
};

#define NUMBERS_MAX 208

_Static_assert(sizeof(struct numbers) + TRACE_TARGETS_MAX * sizeof(struct trace_target) +
			       TRACE_TRIES_MAX * sizeof(struct trace_try) <=
		       NUMBERS_MAX,
	"numbers leave room for names");

struct writer {
	char bytes[LINE_MAX_BYTES];
	size_t n;
};

static bool put(struct writer *w, const void *p, size_t n)
{
	if (n > sizeof(w->bytes) - w->n)
		return false;
	if (n)
		memcpy(w->bytes + w->n, p, n);
	w->n += n;
	return true;
}

static bool put_names(struct writer *w, struct slice provider, struct slice model)
{
	uint8_t n[2] = { (uint8_t)MIN(provider.n, (size_t)UINT8_MAX),
		(uint8_t)MIN(model.n, (size_t)UINT8_MAX) };

	return sizeof(n) + n[0] + n[1] <= sizeof(w->bytes) - w->n && put(w, n, sizeof(n)) &&
	       put(w, provider.p, n[0]) && put(w, model.p, n[1]);
}

void trace_post(struct line_ring *ring, const struct slot *s, const struct trace *t)
{
	/* Long names of the call itself give way to the numbers. */
	const size_t room = LINE_MAX_BYTES - NUMBERS_MAX;
	struct writer w = { .n = sizeof(struct numbers) };
	struct numbers numbers = { .n_targets = MIN(t->n_targets, TRACE_TARGETS_MAX),
		.n_tries = MIN(t->n_tries, TRACE_TRIES_MAX),
		.served = t->served,
		.degraded = t->degraded,
		.queued_ms = t->queued_ms };
	const struct trace_try *first = t->n_tries ? &t->tries[0] : NULL;
	struct finished_tries tries = { .n = t->n_tries };
	struct finished f;
	size_t n;

	if (first && first->target < numbers.n_targets)
		tries.provider = t->provider[first->target];
	tries.status = first ? first->status : 0;
	tries.failure = first ? first->failure : 0;
	n = finished_fill(&f, s, &tries, room);

	numbers.call_n = (uint16_t)n;
	memcpy(w.bytes, &numbers, sizeof(numbers));
	(void)put(&w, &f, n);
	(void)put(&w, t->targets, numbers.n_targets * sizeof(*t->targets));
	(void)put(&w, t->tries, numbers.n_tries * sizeof(*t->tries));
	for (unsigned i = 0; i < numbers.n_targets; i++)
		if (!put_names(&w, t->provider[i], t->model[i]))
			break;
	line_ring_post(ring, slice_of(w.bytes, w.n));
}

static bool take(struct slice *from, void *p, size_t n)
{
	if (n > from->n)
		return false;
	if (n)
		memcpy(p, from->p, n);
	*from = slice_skip(*from, n);
	return true;
}

static void take_names(struct slice *from, struct slice *provider, struct slice *model)
{
	uint8_t n[2];

	if (!take(from, n, sizeof(n)) || (size_t)n[0] + n[1] > from->n)
		return;
	*provider = slice_of(from->p, n[0]);
	*model = slice_of(from->p + n[0], n[1]);
	*from = slice_skip(*from, (size_t)n[0] + n[1]);
}

bool trace_read(struct slice bytes, struct trace *ret)
{
	struct numbers n;

	memset(ret, 0, sizeof(*ret));
	if (!take(&bytes, &n, sizeof(n)) || n.call_n > bytes.n || n.n_targets > TRACE_TARGETS_MAX ||
		n.n_tries > TRACE_TRIES_MAX ||
		!finished_read(slice_of(bytes.p, n.call_n), &ret->call))
		return false;
	bytes = slice_skip(bytes, n.call_n);
	if (!take(&bytes, ret->targets, n.n_targets * sizeof(*ret->targets)) ||
		!take(&bytes, ret->tries, n.n_tries * sizeof(*ret->tries)))
		return false;
	ret->n_targets = n.n_targets;
	ret->n_tries = n.n_tries;
	ret->served = n.served;
	ret->degraded = n.degraded;
	ret->queued_ms = n.queued_ms;
	for (unsigned i = 0; i < n.n_targets; i++)
		take_names(&bytes, &ret->provider[i], &ret->model[i]);
	return true;
}
