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
	uv_prepare_t prepare;
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

usec loop_now(struct loop *l); /* monotonic microseconds, read anew each call (about 30 ns) */

void deadline_init(struct deadline *d, void (*fired)(struct deadline *));
void deadline_set(struct loop *l, struct deadline *d, usec after_us);
void deadline_stop(struct loop *l, struct deadline *d);
bool deadline_is_armed(const struct deadline *d);

void deferred_init(struct deferred *d, void (*run)(struct deferred *));
void deferred_queue(
	struct loop *l, struct deferred *d); /* once is enough; queued twice runs once */
void deferred_cancel(struct deferred *d);

#endif
