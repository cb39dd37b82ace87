/* Signals as a readable descriptor, so that waiting for bytes and for Ctrl-C is one poll. One
 * thread. */
#ifndef AIGWCTL_INTERRUPT_H
#define AIGWCTL_INTERRUPT_H

#include <aigw/base.h>
#include <poll.h>
#include <signal.h>

struct interrupt {
	int fd; /* -1: could not be made; then signals act as before */
	sigset_t before;
	sigset_t held;
};

/* From here on SIGINT, SIGTERM, SIGHUP and SIGQUIT (SIGCHLD too, if asked) wait in fd. */
int interrupt_hold(struct interrupt *i, bool children);
/* Takes what has come meanwhile, then the old mask. */
void interrupt_release(struct interrupt *i);

/* Waits for fd to be ready, for a signal or for the deadline (monotonic). 0 ready, -EINTR,
 * -ETIMEDOUT, other negative. fd < 0: only for the other two. */
int interrupt_wait(const struct interrupt *i, int fd, short events, usec deadline_us);

/* The next signal that came; 0: none. */
int interrupt_take(struct interrupt *i);

#endif
