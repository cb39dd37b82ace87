/* Answers that go on: JSON lines of finished calls and of events. A follower is a place in each
 * ring; what is new goes out at every look, as long as the client takes it. Who does not read has
 * CONTROL_QUEUE_BYTES queued and stands still; when the ring has gone over his place he gets
 * {"lost":N} and what is left. Without follow=1 the answer ends where the rings ended when it was
 * asked for. */
#include "control/private.h"

#include <aigw/text.h>
#include <fnmatch.h>

#define TAIL_DEFAULT   10u
#define LINES_PER_LOOK 4096u /* of one follower: the loop has others to serve */

enum { RING_EVENTS, RING_CALLS, RINGS };

struct follower {
	struct list node;
	struct http_exchange *x;
	const struct line_ring *ring[RINGS]; /* NULL: not followed */
	uint64_t at[RINGS];
	uint64_t end[RINGS]; /* UINT64_MAX: for ever */
	uint64_t lost;       /* not told yet */
	usec since_us;
	bool is_tail;
	char kind[64]; /* pattern of shell; "": any */
};

/* A line of a ring, read but not written yet. */
struct ahead {
	bool there;
	usec t;
	size_t n;
	char bytes[LINE_MAX_BYTES];
};

static void follower_drop(struct control *c, struct follower *f)
{
	list_remove(&f->node);
	c->n_followers--;
	free(f);
}

/* --- what is new ---------------------------------------------------------------------- */

static usec time_of(int ring, struct slice bytes)
{
	struct finished call;

	if (ring == RING_EVENTS)
		return event_time(bytes);
	return finished_read(bytes, &call) ? finished_end_us(&call) : 0;
}

/* The follower's next line of that ring; behind what was overwritten. */
static void look_ahead(struct follower *f, int ring, struct ahead *a)
{
	uint64_t first;
	int r = -EAGAIN;

	while (f->ring[ring] && f->at[ring] < f->end[ring]) {
		r = line_ring_read(f->ring[ring], f->at[ring], a->bytes, &a->n, &first);
		if (r != -EOVERFLOW)
			break;
		first = MIN(first, f->end[ring]);
		f->lost += first - f->at[ring];
		f->at[ring] = first;
	}
	a->there = r == 0 && f->at[ring] < f->end[ring];
	if (a->there)
		a->t = time_of(ring, slice_of(a->bytes, a->n));
}

static bool is_wanted(const struct follower *f, int ring, const struct ahead *a)
{
	char kind[64] = "call.done";
	struct slice k;

	if (a->t == 0 || a->t < f->since_us)
		return false;
	if (!f->kind[0])
		return true;
	if (ring == RING_EVENTS) {
		k = event_kind(slice_of(a->bytes, a->n));
		(void)snprintf(kind, sizeof(kind), SLICE_FMT, SLICE_ARG(k));
	}
	return fnmatch(f->kind, kind, 0) == 0;
}

static void put_line(json_t *v, struct buf *b)
{
	if (v && json_write(v, b, false) == 0)
		(void)buf_char(b, '\n');
	json_decref(v);
}

static void put_lost(struct follower *f, struct buf *b)
{
	if (f->lost)
		put_line(json_pack("{s:I}", "lost", (json_int_t)f->lost), b);
	f->lost = 0;
}

static void put_ahead(const struct follower *f, int ring, const struct ahead *a, struct buf *b)
{
	struct slice bytes = slice_of(a->bytes, a->n);
	struct finished call;

	if (ring == RING_EVENTS)
		put_line(show_event(bytes), b);
	else if (finished_read(bytes, &call))
		put_line(show_finished(&call, f->is_tail ? NULL : "call.done"), b);
}

/* False: the answer is over, and f is gone. */
static bool follower_look(struct control *c, struct follower *f)
{
	size_t room =
		CONTROL_QUEUE_BYTES - MIN(http_stream_backlog(f->x), (size_t)CONTROL_QUEUE_BYTES);
	struct http_exchange *x = f->x;
	struct ahead ahead[RINGS];
	bool more = true;
	struct buf b;
	int err;

	buf_init(&b, 2 * (size_t)CONTROL_QUEUE_BYTES);
	for (unsigned n = 0; more && b.n < room && n < LINES_PER_LOOK; n++) {
		int next = -1;

		for (int ring = 0; ring < RINGS; ring++) {
			look_ahead(f, ring, &ahead[ring]);
			if (ahead[ring].there && (next < 0 || ahead[ring].t < ahead[next].t))
				next = ring;
		}
		more = next >= 0;
		put_lost(f, &b);
		if (!more)
			break;
		if (is_wanted(f, next, &ahead[next]))
			put_ahead(f, next, &ahead[next], &b);
		f->at[next]++;
	}
	err = http_stream_write(x, buf_view(&b));
	buf_fini(&b);
	if (!err && (more || f->end[RING_CALLS] == UINT64_MAX))
		return true;
	follower_drop(c, f);
	http_set_user(x, NULL);
	http_stream_end(x);
	return false;
}

void follow_look(struct control *c)
{
	struct list *it, *tmp;

	list_each(it, tmp, &c->followers)(void)
		follower_look(c, list_entry(it, struct follower, node));
}

void follow_gone(struct control *c, struct http_exchange *x)
{
	struct follower *f = http_user(x);

	if (f)
		follower_drop(c, f);
}

/* What they have not read is theirs to lose; the end is a proper one. */
void follow_end_all(struct control *c)
{
	struct list *it, *tmp;

	follow_look(c);
	list_each(it, tmp, &c->followers)
	{
		struct follower *f = list_entry(it, struct follower, node);
		struct http_exchange *x = f->x;

		follower_drop(c, f);
		http_set_user(x, NULL);
		http_stream_end(x);
	}
}

/* --- what is asked for ---------------------------------------------------------------- */

static struct follower *follower_new(struct control *c, struct http_exchange *x)
{
	struct follower *f = NULL;
	struct slice follow;

	if (c->n_followers >= CONTROL_MAX_FOLLOWERS) {
		control_error(x, ADMIN_ERROR_too_many_followers,
			"%u are following already, which is as many as may; end one of them",
			c->n_followers);
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		control_error(x, ADMIN_ERROR_internal, "out of memory");
		return NULL;
	}
	list_init(&f->node);
	f->x = x;
	f->end[RING_CALLS] = line_ring_next(c->cfg.calls);
	f->end[RING_EVENTS] = line_ring_next(c->cfg.events);
	if (http_query_get(x, SLICE("follow"), &follow) && !slice_eq(follow, SLICE("0")))
		f->end[RING_CALLS] = f->end[RING_EVENTS] = UINT64_MAX;
	return f;
}

static void begin(struct control *c, struct follower *f)
{
	if (http_stream_begin(f->x, 200, "application/jsonl") < 0) {
		http_stream_end(f->x);
		free(f);
		return;
	}
	list_push_back(&c->followers, &f->node);
	c->n_followers++;
	http_set_user(f->x, f);
	if (follower_look(c, f))
		control_look_soon(c);
}

void follow_tail(struct control *c, struct http_exchange *x)
{
	uint64_t n = TAIL_DEFAULT, next = line_ring_next(c->cfg.calls),
		 first = line_ring_first(c->cfg.calls);
	struct slice given;
	struct follower *f;

	if (http_query_get(x, SLICE("n"), &given) &&
		(text_parse_u64(given, &n) < 0 || n > LINE_RING_LINES)) {
		control_error(x, ADMIN_ERROR_usage, "n is a number from 0 to %u", LINE_RING_LINES);
		return;
	}
	f = follower_new(c, x);
	if (!f)
		return;
	f->is_tail = true;
	f->ring[RING_CALLS] = c->cfg.calls;
	f->at[RING_CALLS] = MAX(first, next > n ? next - n : 0);
	begin(c, f);
}

/* Seconds since 1970 with up to six decimals. */
static bool parse_since(struct slice s, usec *ret)
{
	const char *dot = s.n ? memchr(s.p, '.', s.n) : NULL;
	struct slice whole = dot ? slice_of(s.p, (size_t)(dot - s.p)) : s;
	struct slice part = dot ? slice_skip(s, whole.n + 1) : SLICE_EMPTY;
	uint64_t v, us = 0;

	if (text_parse_u64(whole, &v) < 0 || v > UINT32_MAX * 2ull || part.n > 6 ||
		(dot && text_parse_u64(part, &us) < 0))
		return false;
	for (size_t i = part.n; i < 6; i++)
		us *= 10;
	*ret = (usec)(v * USEC_PER_S + us);
	return true;
}

void follow_events(struct control *c, struct http_exchange *x)
{
	struct slice since, kind;
	bool has_since = http_query_get(x, SLICE("since"), &since);
	bool has_kind = http_query_get(x, SLICE("kind"), &kind);
	struct follower *f;
	usec from = 0;

	if (has_since && !parse_since(since, &from)) {
		control_error(x, ADMIN_ERROR_usage,
			"since is a time in seconds since 1970, like 1790064732.5");
		return;
	}
	if (has_kind &&
		(kind.n == 0 || kind.n >= sizeof(f->kind) || memchr(kind.p, '\0', kind.n))) {
		control_error(x, ADMIN_ERROR_usage,
			"kind is a pattern like call.* or agent.*, at most %zu bytes",
			sizeof(f->kind) - 1);
		return;
	}
	f = follower_new(c, x);
	if (!f)
		return;
	f->since_us = from;
	if (has_kind)
		memcpy(f->kind, kind.p, kind.n);
	f->ring[RING_CALLS] = c->cfg.calls;
	f->ring[RING_EVENTS] = c->cfg.events;
	/* Who follows without a time wants what comes; who does not, what there is. */
	for (int ring = 0; ring < RINGS; ring++)
		f->at[ring] = f->end[ring] == UINT64_MAX && !has_since
				      ? line_ring_next(f->ring[ring])
				      : line_ring_first(f->ring[ring]);
	begin(c, f);
}
