#include "timer.h"
#include "buf.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH 1024 /* timers served before sockets get their turn */

static uint64_t clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t time_now_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

uint64_t time_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

static void place(struct timers *ts, struct timer *t, size_t i)
{
	ts->heap[i] = t;
	t->slot = i + 1;
}

static void sift_up(struct timers *ts, struct timer *t, size_t i)
{
	while (i && ts->heap[(i - 1) / 2]->due_us > t->due_us) {
		place(ts, ts->heap[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	place(ts, t, i);
}

static void sift_down(struct timers *ts, struct timer *t, size_t i)
{
	for (size_t kid; (kid = 2 * i + 1) < ts->len; i = kid) {
		if (kid + 1 < ts->len && ts->heap[kid + 1]->due_us < ts->heap[kid]->due_us)
			kid++;
		if (ts->heap[kid]->due_us >= t->due_us)
			break;
		place(ts, ts->heap[kid], i);
	}
	place(ts, t, i);
}

static void arm(struct timers *ts)
{
	uint64_t due = ts->len ? ts->heap[0]->due_us : 0;
	struct itimerspec when = { .it_value = { .tv_sec = (time_t)(due / 1000000),
					   .tv_nsec = (long)(due % 1000000) * 1000 } };

	if (ts->serving || due == ts->armed_us)
		return;
	ts->armed_us = due;
	(void)timerfd_settime(ts->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void timer_unset(struct timers *ts, struct timer *t)
{
	struct timer *last;
	size_t i;

	if (!t->slot)
		return;
	i = t->slot - 1;
	t->slot = 0;
	last = ts->heap[--ts->len];
	if (last != t) {
		place(ts, last, i);
		sift_up(ts, last, i);
		sift_down(ts, last, last->slot - 1);
	}
	arm(ts);
}

void timer_set(struct timers *ts, struct timer *t, uint64_t due_us)
{
	if (t->slot && t->due_us == due_us)
		return;
	timer_unset(ts, t);
	if (ts->len == ts->cap) {
		ts->cap = ts->cap ? ts->cap * 2 : 256;
		ts->heap = mem_resize(ts->heap, ts->cap * sizeof(struct timer *));
	}
	t->due_us = due_us;
	sift_up(ts, t, ts->len++);
	arm(ts);
}

static void on_due(uv_poll_t *poll, int status, int events)
{
	struct timers *ts = poll->data;
	uint64_t now = time_now_us(), count;

	(void)status;
	(void)events;
	if (read(ts->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	ts->armed_us = 0;
	ts->serving = true;
	for (int i = 0; i < BATCH && ts->len && ts->heap[0]->due_us <= now; i++) {
		struct timer *t = ts->heap[0];

		timer_unset(ts, t);
		ts->fn(t);
	}
	ts->serving = false;
	arm(ts);
}

int timers_start(struct timers *ts, uv_loop_t *loop, timer_fn fn)
{
	int rc;

	*ts = (struct timers){ .fn = fn };
	ts->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (ts->fd < 0)
		return -errno;
	ts->poll.data = ts;
	rc = uv_poll_init(loop, &ts->poll, ts->fd);
	return rc ? rc : uv_poll_start(&ts->poll, UV_READABLE, on_due);
}

void timers_close(struct timers *ts)
{
	uv_close((uv_handle_t *)&ts->poll, NULL);
	close(ts->fd);
	free(ts->heap);
	ts->heap = NULL;
	ts->len = ts->cap = 0;
}
