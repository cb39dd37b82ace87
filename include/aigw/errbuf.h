/* The sentence for a human: what is wrong, where, and what to do. Fixed memory, never fails. Any
 * thread. */
#ifndef AIGW_ERRBUF_H
#define AIGW_ERRBUF_H

#include <aigw/base.h>

struct errbuf {
	char text[1024]; /* NUL-terminated; cut with "..." if longer */
};

/* Replaces the text. Returns `code` (0 or negative) so that `return err_set(e, -EINVAL, ...)` reads
 * well. `e` may be NULL. */
int err_set(struct errbuf *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
