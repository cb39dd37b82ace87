#include "interrupt.h"

#include <aigw/clock.h>
#include <sys/signalfd.h>
#include <unistd.h>

int interrupt_hold(struct interrupt *i, bool children)
{
	(void)sigemptyset(&i->held);
	(void)sigaddset(&i->held, SIGINT);
	(void)sigaddset(&i->held, SIGTERM);
	(void)sigaddset(&i->held, SIGHUP);
	(void)sigaddset(&i->held, SIGQUIT);
	if (children)
		(void)sigaddset(&i->held, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &i->held, &i->before) < 0)
		return -errno;
	i->fd = signalfd(-1, &i->held, SFD_CLOEXEC | SFD_NONBLOCK);
	if (i->fd < 0) {
		int err = -errno;

		(void)sigprocmask(SIG_SETMASK, &i->before, NULL);
		return err;
	}
	return 0;
}

int interrupt_take(struct interrupt *i)
{
	struct signalfd_siginfo si;

	return read(i->fd, &si, sizeof(si)) == (ssize_t)sizeof(si) ? (int)si.ssi_signo : 0;
}

void interrupt_release(struct interrupt *i)
{
	if (i->fd < 0)
		return;
	while (interrupt_take(i))
		;
	(void)close(i->fd);
	i->fd = -1;
	(void)sigprocmask(SIG_SETMASK, &i->before, NULL);
}

int interrupt_wait(const struct interrupt *i, int fd, short events, usec deadline_us)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = i->fd, .events = POLLIN },
			{ .fd = fd, .events = events } };
		usec left = deadline_us - clock_mono_us();
		int n;

		if (left <= 0)
			return -ETIMEDOUT;
		left = (left + 999) / 1000;
		n = poll(p, 2, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		if (p[0].revents)
			return -EINTR;
		if (p[1].revents)
			return 0;
	}
}
