/*
 * timer: one heap of due times over a single timerfd, in microseconds. Thousands of paced streams
 * cost one entry of 8 bytes each and one kernel timer in all. Loop thread only.
 */
#ifndef SIM_TIMER_H
#define SIM_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct timer {
	uint64_t due_us; /* of time_now_us */
	size_t slot;     /* 1 + place in the heap; 0: not set */
};

typedef void (*timer_fn)(struct timer *t);

struct timers {
	uv_poll_t poll;
	int fd;
	struct timer **heap;
	size_t len, cap;
	uint64_t armed_us;
	bool serving; /* due timers are being called: arm once, afterwards */
	timer_fn fn;
};

uint64_t time_now_us(void);  /* CLOCK_MONOTONIC */
uint64_t time_wall_us(void); /* CLOCK_REALTIME */

int timers_start(struct timers *ts, uv_loop_t *loop, timer_fn fn); /* 0 or -errno */
void timers_close(struct timers *ts);
void timer_set(
	struct timers *ts, struct timer *t, uint64_t due_us); /* moves it if it is set already */
void timer_unset(struct timers *ts, struct timer *t);

#endif
