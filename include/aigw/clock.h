/* Time in microseconds: monotonic for spans and deadlines, boot time for leases, wall only as a
 * label. Tests may replace all of them by a fake that only moves when told. Any thread. */
#ifndef AIGW_CLOCK_H
#define AIGW_CLOCK_H

#include <aigw/base.h>

usec clock_mono_us(void);
usec clock_boot_us(void);
usec clock_wall_us(void); /* since 1970-01-01 UTC */

void clock_fake_set(usec mono_us, usec wall_us); /* tests only; boot = mono */
void clock_fake_advance(usec by_us);
void clock_fake_off(void);

/* "2026-11-23T01:26:51Z" / with microseconds; out must hold 32 bytes. */
void clock_format_utc(usec wall_us, bool with_us, char out[static 32]);

#endif
