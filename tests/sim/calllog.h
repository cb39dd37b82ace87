/*
 * calllog: the record of every call, the oracle of the crash tests. Each event is one JSON line,
 * written with one write(2) to the O_APPEND file of --log (if any) and kept in memory for
 * GET /__calls (the last --calls lines).
 *
 * - recv: head and body of a request are whole, nothing has been answered yet.
 * - end: the last byte of the answer was given to the kernel (`complete` true), or the call ended
 *   otherwise: `client_gone` (the peer closed or reset first) or `fault` (we did what the script
 *   says). Bytes in the kernel's buffer count as sent.
 * - drop: close-on-next closed a connection on which bytes of a further request had come; with its
 *   id where the head told it.
 *
 * `n` numbers the lines, `seq` the requests; both from 1 at every start.
 */
#ifndef SIM_CALLLOG_H
#define SIM_CALLLOG_H

#include "buf.h"

#include <sys/types.h>

struct calllog {
	int fd; /* -1: no file */
	uint64_t n;
	char **ring;
	size_t keep;
};

/* 0 or -errno. `path` may be NULL; keep 0 keeps no lines. */
int calllog_open(struct calllog *l, const char *path, size_t keep);
void calllog_close(struct calllog *l);
bool calllog_wanted(const struct calllog *l);

/* Begins a line: {"n":..,"event":"..","time_us":..  The caller adds members, each with a comma
 * before it, and gives it back. */
struct buf *calllog_begin(struct calllog *l, const char *event);
void calllog_commit(struct calllog *l, struct buf *line);

/* Lines with n > since that are still kept, as a JSON array. */
void calllog_show(const struct calllog *l, uint64_t since, struct buf *out);
void calllog_clear(struct calllog *l);

#endif
