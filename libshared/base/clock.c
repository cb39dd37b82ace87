#include <aigw/clock.h>

#include <stdatomic.h>
#include <time.h>

static atomic_bool fake_on;
static _Atomic usec fake_mono_us;
static _Atomic usec fake_wall_us;

static usec clock_read(clockid_t id)
{
	struct timespec ts;

	ASSERT(clock_gettime(id, &ts) == 0);
	return (usec)ts.tv_sec * USEC_PER_S + ts.tv_nsec / 1000;
}

static bool clock_is_fake(void)
{
	return UNLIKELY(atomic_load_explicit(&fake_on, memory_order_acquire));
}

usec clock_mono_us(void)
{
	return clock_is_fake() ? atomic_load(&fake_mono_us) : clock_read(CLOCK_MONOTONIC);
}

usec clock_boot_us(void)
{
	return clock_is_fake() ? atomic_load(&fake_mono_us) : clock_read(CLOCK_BOOTTIME);
}

usec clock_wall_us(void)
{
	return clock_is_fake() ? atomic_load(&fake_wall_us) : clock_read(CLOCK_REALTIME);
}

void clock_fake_set(usec mono_us, usec wall_us)
{
	atomic_store(&fake_mono_us, mono_us);
	atomic_store(&fake_wall_us, wall_us);
	atomic_store_explicit(&fake_on, true, memory_order_release);
}

void clock_fake_advance(usec by_us)
{
	atomic_fetch_add(&fake_mono_us, by_us);
	atomic_fetch_add(&fake_wall_us, by_us);
}

void clock_fake_off(void)
{
	atomic_store_explicit(&fake_on, false, memory_order_release);
}

void clock_format_utc(usec wall_us, bool with_us, char out[static 32])
{
	usec us = wall_us % USEC_PER_S;
	time_t s = (time_t)(wall_us / USEC_PER_S);
	struct tm tm;
	size_t n;

	if (us < 0) {
		us += USEC_PER_S;
		s--;
	}
	/* A year that needs more than four digits has no ISO 8601 text of this form. */
	if (!gmtime_r(&s, &tm) || tm.tm_year + 1900 > 9999 || tm.tm_year + 1900 < 0) {
		(void)snprintf(out, 32, "%s",
			wall_us < 0 ? "0000-01-01T00:00:00Z" : "9999-12-31T23:59:59Z");
		return;
	}
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	if (with_us)
		n += (size_t)snprintf(out + n, 32 - n, ".%06d", (int)us);
	(void)snprintf(out + n, 32 - n, "Z");
}
