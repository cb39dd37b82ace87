/* The sentence for a human: what is wrong, where, and what to do. Fixed memory, never fails. Any
 * thread. */
#ifndef AIGW_ERRBUF_H
#define AIGW_ERRBUF_H

#include <aigw/base.h>

struct errbuf {
	char text[1024]; /* NUL-terminated; cut with "..." if longer */
};

/* Replaces the text. `e` may be NULL. */
void err_write(struct errbuf *e, const char *fmt, ...) PRINTF_LIKE(2, 3) COLD;

/* The same as an expression that is `code` (0 or negative), so that `return err_set(e, -EINVAL,
 * ...)` reads well. A macro, so that compilers and analyzers see the code. */
#define err_set(e, code, ...)                                                                      \
	__extension__({                                                                            \
		int err_set_code_ = (code);                                                        \
		err_write((e), __VA_ARGS__);                                                       \
		err_set_code_;                                                                     \
	})

#endif
