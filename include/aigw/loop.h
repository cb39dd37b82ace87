/* One event loop of one thread: libuv plus what every loop of ours needs: a coarse timer wheel (one
 * uv_timer for all deadlines), work deferred to the end of the present iteration, scratch memory
 * for reads and writes. All functions: on the loop's thread, except loop_init/fini before start and
 * after stop. */
#ifndef AIGW_LOOP_H
#define AIGW_LOOP_H

#include <aigw/base.h>
#include <aigw/list.h>
#include <uv.h>

#define LOOP_SCRATCH_BYTES (64u << 10)

/* A deadline in the coarse wheel: fires once, up to 20 ms late, unless stopped. Embedded in its
 * owner; re-arming only moves it. */
struct deadline {
	struct list node;
	uint64_t at_tick; /* 0: not armed */
	void (*fired)(struct deadline *d);
};

/* Work to be done at the end of this loop iteration, outside any callback's stack. */
struct deferred {
	struct list node;
	void (*run)(struct deferred *d);
};

#define LOOP_WHEEL_SLOTS   512
#define LOOP_WHEEL_TICK_US 10000

struct loop {
	uv_loop_t uv;
	uv_timer_t wheel_timer;
	uv_prepare_t prepare; /* right before the sockets are looked at */
	uv_check_t check;     /* right behind it */
	bool looking;         /* events of sockets are being dispatched */
	uint32_t look;        /* which one it is, or was */
	uint32_t n_events;    /* of sockets, in it so far */
	bool in_event;        /* of a stream; then */
	usec event_now;       /* 0: not read yet */
	struct list wheel[LOOP_WHEEL_SLOTS];
	uint64_t wheel_tick; /* next tick to be looked at */
	uint64_t timer_tick; /* tick that wheel_timer is set for; UINT64_MAX: not running */
	uint32_t armed;      /* deadlines in the wheel */
	struct list deferred;
	char *scratch_in;     /* reads; mapped; valid until the callback returns */
	char *scratch_out;    /* composing writes; valid until the callback returns */
	char *scratch_tls_in; /* ciphertext; allocated with the first TLS stream */
	char *scratch_tls_out;
	void *owner; /* worker, agent, ctld */
};

int loop_init(struct loop *l, void *owner);
void loop_fini(struct loop *l); /* all handles are closed; runs the loop until they are gone */
int loop_run(struct loop *l);   /* until loop_stop() */
void loop_stop(struct loop *l);

/* Within a read's callback: the caller owns scratch_in and what was read into it from now on, and
 * gives another block for it, mapped (mmap) and of LOOP_SCRATCH_BYTES. */
char *loop_swap_scratch(struct loop *l, char *fresh);

/* Monotonic microseconds. To read the clock takes about 30 ns: within an event of a stream it is
 * read once. */
usec loop_now_anew(struct loop *l); /* read in any case; loop_now() says it, too, from here on */
static inline usec loop_now(struct loop *l)
{
	return l->in_event && l->event_now ? l->event_now : loop_now_anew(l);
}

/* The loop looks at its sockets once a turn and then dispatches what was there. An event that comes
 * under a mark made in that same turn was there before: so it can be told that bytes are no answer
 * to what has only just been sent. libuv looks again within one turn if more than LOOP_EVENTS were
 * there: then a mark says nothing, or no longer. */
#define LOOP_EVENTS      1024
#define LOOP_EVENTS_SURE 900 /* some are not sockets', and are not counted */

/* 0: events can't be told apart now. */
static inline uint32_t loop_mark(const struct loop *l)
{
	return l->looking && l->n_events < LOOP_EVENTS_SURE / 2 ? l->look : 0;
}

enum loop_age {
	LOOP_LATER,  /* what comes now may have come after the mark */
	LOOP_BEFORE, /* it was there before */
	LOOP_UNCLEAR
};

static inline enum loop_age loop_age(const struct loop *l, uint32_t mark)
{
	if (mark != l->look || !l->looking)
		return LOOP_LATER;
	return l->n_events < LOOP_EVENTS_SURE ? LOOP_BEFORE : LOOP_UNCLEAR;
}

void deadline_init(struct deadline *d, void (*fired)(struct deadline *));
void deadline_set(struct loop *l, struct deadline *d, usec after_us);
void deadline_stop(struct loop *l, struct deadline *d);
bool deadline_is_armed(const struct deadline *d);

void deferred_init(struct deferred *d, void (*run)(struct deferred *));
void deferred_queue(
	struct loop *l, struct deferred *d); /* once is enough; queued twice runs once */
void deferred_cancel(struct deferred *d);

#endif
