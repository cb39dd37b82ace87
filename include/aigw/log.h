/* The log's sink: one logfmt line per event on stderr. Programs call it, libraries never.
 * Line: `ts=… prog=aigw-agentd level=info area=uplink event=uplink.connected key=value …`. No
 * prompts, no keys, no secrets. Any thread; a line is one write(2). Equal events of one area above
 * 10 a second are counted and reported as `repeated=N` with the next one. Where stderr is the
 * journal, an event goes to it with fields of its own instead: MESSAGE_ID of tbl/log_events.h,
 * AIGW_EVENT, AIGW_AREA, and each key as AIGW_KEY. */
#ifndef AIGW_LOG_H
#define AIGW_LOG_H

#include <aigw/slice.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_init(const char *program, enum log_level level);
int log_level_parse(struct slice s, enum log_level *ret); /* error|warning|info|debug; -EINVAL */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
const char *log_level_name(enum log_level level);
/* Before any other thread is there: every line of level info and above also goes to `tap`, without
 * its newline, whatever the level of the log is. On the thread of whoever logs; must not wait. */
void log_set_tap(void (*tap)(struct slice line));

/* `fmt` prints key=value pairs; values that may hold spaces go through LOGQ ("%s" with
 * log_quote()). */
void log_event(enum log_level level, const char *area, const char *event, const char *fmt, ...)
	PRINTF_LIKE(4, 5) COLD;

/* Of each call, at level info whatever the level is: without the limit on repetition, and not for
 * the tap. Only where somebody asked for it. */
void log_event_each(const char *area, const char *event, const char *fmt, ...)
	PRINTF_LIKE(3, 4) COLD;

/* A value made safe for logfmt (quoted and escaped where needed); per-thread ring of 8 buffers of
 * 512 bytes. */
const char *log_quote(struct slice s);

#endif
