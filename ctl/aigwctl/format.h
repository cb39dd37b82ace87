/* Numbers for eyes: thousands, short counts, shares, exact money, ages. Pure; no floats, no locale.
 */
#ifndef AIGWCTL_FORMAT_H
#define AIGWCTL_FORMAT_H

#include <aigw/buf.h>

int format_count(struct buf *b, int64_t n); /* 412,802 */
int format_short(
	struct buf *b, int64_t n); /* 41,802 up to 99,999, then 812k, 812.4M, 1.1G; rounded */
/* 4.1ms, 1.25s, 12.3s; `-` below 0. */
int format_latency(struct buf *b, int64_t us);
int format_percent(
	struct buf *b, int64_t part, int64_t whole); /* 39.1%, rounded; "-" for a whole of 0 */
int format_bytes(struct buf *b, int64_t n);          /* 41 B, 12.3 MiB */
/* "$148.10": the decimal text, exact, with at least `decimals` (2 to 9) decimals, thousands;
 * currency USD is "$", others stand in front as they are. -EINVAL: not such a text. */
int format_money(struct buf *b, const char *nano_text, unsigned decimals, const char *currency);
unsigned format_money_decimals(const char *nano_text); /* decimals needed to be exact, at least 2 */

int format_span(struct buf *b, usec d);                    /* 4s, 12m, 3h, 90d: the largest unit */
int format_when(struct buf *b, usec then_us, usec now_us); /* "4s ago", "in 90d", "now" */

/* "2026-11-23T01:26:51Z", fractions of a second allowed. */
int format_parse_utc(const char *text, usec *ret_us);

#endif
