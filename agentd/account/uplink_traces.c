/* Traces of calls that failed or fell back, for the controller to be asked about them. They never
 * stand in the way of what has to arrive: a frame goes out only when all before it has been taken
 * by the kernel, it is small, and between two there is a pause. What the ring overwrites meanwhile
 * is lost and counted. A controller that was restarted has forgotten what it knew and is told anew
 * what the ring still holds; so is, of the last frame, one whose connection broke. */
#include "account/uplink_private.h"

#define PAUSE_US     (100 * USEC_PER_MS)
#define FRAME_TRACES 32
#define FRAME_BYTES  (32u << 10)

struct frame {
	struct buf text;
	uint8_t ids[FRAME_TRACES][16];
	size_t lens[FRAME_TRACES];
	struct slice id[FRAME_TRACES], of[FRAME_TRACES];
	uint32_t n;
};

static void frame_fill(struct uplink *u, struct frame *f)
{
	char entry[LINE_MAX_BYTES];
	uint64_t first;
	size_t n;

	while (f->n < FRAME_TRACES && f->text.n < FRAME_BYTES) {
		size_t from = f->text.n;
		int r = line_ring_read(u->cfg.troubled, u->next_trace, entry, &n, &first);

		if (r == -EOVERFLOW) {
			u->traces_lost += first - u->next_trace;
			u->next_trace = first;
			continue;
		}
		if (r < 0)
			return;
		u->next_trace++;
		if (!u->cfg.trace(slice_of(entry, n), &f->text, f->ids[f->n]) || f->text.err)
			continue;
		f->lens[f->n++] = f->text.n - from;
	}
}

static void frame_send(struct uplink *u, struct frame *f)
{
	struct wire_message m = { .kind = WIRE_traces };
	size_t at = 0;

	for (uint32_t i = 0; i < f->n; at += f->lens[i], i++) {
		f->id[i] = slice_of((const char *)f->ids[i], sizeof(f->ids[i]));
		f->of[i] = slice_of(f->text.p + at, f->lens[i]);
	}
	m.traces = (struct wire_traces){ { f->id, f->n }, { f->of, f->n }, u->traces_lost };
	u->traces_lost = 0;
	uplink_send(u, &m);
}

static bool has_more(const struct uplink *u)
{
	return u->traces_of && u->next_trace < line_ring_next(u->cfg.troubled);
}

static void on_traces(struct deadline *d)
{
	struct uplink *u = container_of(d, struct uplink, traces_by);
	struct frame f = { .n = 0 };

	if (u->phase != PHASE_UP || u->breaking || u->closing || !has_more(u))
		return;
	if (u->stream.s.queued_bytes == 0) {
		buf_init(&f.text, 4 * FRAME_BYTES);
		u->last_frame = u->next_trace;
		frame_fill(u, &f);
		if (f.n || u->traces_lost)
			frame_send(u, &f);
		buf_fini(&f.text);
	}
	if (has_more(u))
		deadline_set(u->cfg.loop, d, PAUSE_US);
}

void uplink_traces_look(struct uplink *u)
{
	if (has_more(u) && !deadline_is_armed(&u->traces_by))
		deadline_set(u->cfg.loop, &u->traces_by, PAUSE_US);
}

void uplink_traces_begin(struct uplink *u, const struct wire_welcome *w)
{
	if (u->traces_of != w->traces && u->cfg.troubled)
		u->next_trace = line_ring_first(u->cfg.troubled);
	u->traces_of = u->cfg.troubled ? w->traces : 0;
	u->last_frame = u->next_trace;
	uplink_traces_look(u);
}

void uplink_traces_end(struct uplink *u)
{
	u->next_trace = u->last_frame; /* nobody has said that it arrived */
	deadline_stop(u->cfg.loop, &u->traces_by);
}

void uplink_traces_init(struct uplink *u)
{
	deadline_init(&u->traces_by, on_traces);
}
