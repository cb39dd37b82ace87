#include "fixture.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t skipped_us;
static char folder[64];

/* Stands before the C library's own, for libuv too. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	int64_t ns = ts->tv_nsec + atomic_load(&skipped_us) % USEC_PER_S * 1000;

	ts->tv_sec += atomic_load(&skipped_us) / USEC_PER_S + ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return r;
}

void time_skip(usec us)
{
	atomic_fetch_add(&skipped_us, us);
}

void turn(struct loop *l)
{
	(void)uv_run(&l->uv, UV_RUN_NOWAIT);
}

void turn_waiting(struct loop *l)
{
	struct pollfd at = { .fd = uv_backend_fd(&l->uv), .events = POLLIN };

	turn(l);
	(void)poll(&at, 1, list_is_empty(&l->deferred) ? 2 : 0);
	turn(l);
}

const char *path_of(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

void fixture_begin(void)
{
	(void)alarm(120);
	(void)signal(SIGPIPE, SIG_IGN);              /* as in every program of ours */
	cmocka_set_test_filter(getenv("TEST_ONLY")); /* a name with wildcards, for debugging */
	(void)snprintf(folder, sizeof(folder), "/tmp/aigw-net-XXXXXX");
	if (!mkdtemp(folder))
		abort();
}

int fixture_end(int failed)
{
	DIR *d = opendir(folder);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		if (e->d_name[0] != '.')
			(void)unlink(path_of(e->d_name));
	if (d)
		(void)closedir(d);
	(void)rmdir(folder);
	return failed;
}

char pattern_at(size_t at)
{
	return (char)((at * 2654435761u) >> 13);
}

void pattern_fill(char *p, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern_at(at + i);
}

bool pattern_is(const char *p, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != pattern_at(at + i))
			return false;
	return true;
}
