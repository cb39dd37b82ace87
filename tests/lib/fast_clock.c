/* Preloaded into a program: for it $FAST_CLOCK_RATE seconds go by in each. Its clocks run on from
 * where they stood at its start, and it sleeps in epoll_wait(2) for that much less. */
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CLOCKS 16
#define NANO   INT64_C(1000000000)

static int64_t rate = 1, start[CLOCKS];

static int64_t true_ns(clockid_t id)
{
	struct timespec t = { 0, 0 };

	return syscall(SYS_clock_gettime, id, &t) ? -1 : t.tv_sec * NANO + t.tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
	const char *asked = getenv("FAST_CLOCK_RATE");

	for (clockid_t id = 0; id < CLOCKS; id++)
		start[id] = true_ns(id);
	if (asked)
		rate = strtol(asked, NULL, 10);
}

/* How much processor time was used stays as it is. */
static int is_time(clockid_t id)
{
	return id >= 0 && id < CLOCKS && id != CLOCK_PROCESS_CPUTIME_ID &&
	       id != CLOCK_THREAD_CPUTIME_ID;
}

int clock_gettime(clockid_t clock_id, struct timespec *tp)
{
	int64_t ns;

	if (rate == 1 || !is_time(clock_id))
		return (int)syscall(SYS_clock_gettime, clock_id, tp);
	ns = true_ns(clock_id);
	if (ns < 0)
		return -1;
	ns = start[clock_id] + (ns - start[clock_id]) * rate;
	tp->tv_sec = ns / NANO;
	tp->tv_nsec = ns % NANO;
	return 0;
}

int epoll_pwait(
	int epfd, struct epoll_event *events, int maxevents, int timeout, const sigset_t *ss)
{
	if (timeout > 0)
		timeout = (int)((timeout + rate - 1) / rate);
	return (int)syscall(SYS_epoll_pwait, epfd, events, maxevents, timeout, ss, 8);
}

int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
	return epoll_pwait(epfd, events, maxevents, timeout, NULL);
}
