/* Spans of time as one writes them: "24h", "2026-11-01", "last-month". Days are days of UTC, as in
 * the ledger. Pure. */
#ifndef AIGWCTL_PERIOD_H
#define AIGWCTL_PERIOD_H

#include <aigw/base.h>
#include <aigw/errbuf.h>

/* today yesterday week month last-month; weeks begin on Monday. *ret_until is 0 where the period
 * goes on. */
int period_named(const char *name, usec now_us, usec *ret_since, usec *ret_until, struct errbuf *e);
/* --since and --until: now; 24h, 7d (ago); 2026-11-01; 2026-11-01T08:00:00Z; a named period (its
 * beginning). */
int period_moment(const char *text, usec now_us, usec *ret_us, struct errbuf *e);

#endif
