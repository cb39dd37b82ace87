/* Sentences that begin with "FILE:LINE:COLUMN: ", and foreign text made safe to print in them.
 * Private to libshared/data; pure, any thread. */
#ifndef AIGW_DATA_PLACE_H
#define AIGW_DATA_PLACE_H

#include <aigw/errbuf.h>
#include <aigw/slice.h>

/* Sets the sentence with its place in front; returns -EINVAL. */
int place_error(struct errbuf *e, const char *name, uint32_t line, uint32_t column, const char *fmt,
	...) PRINTF_LIKE(5, 6);

/* Control bytes become '?': a policy file must not drive the terminal of whoever reads the message.
 */
void place_clean(char *p, size_t n);

/* Foreign text in a sentence: at most so many bytes of it, cut at a character. "'" PLACE_FMT "'",
 * PLACE_ARG(s) */
#define PLACE_TEXT_MAX 80
#define PLACE_FMT      "%.*s"
#define PLACE_ARG(s)   place_len(s), (s).p ? (s).p : ""
int place_len(struct slice s);

#endif
