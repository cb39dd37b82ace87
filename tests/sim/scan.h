/*
 * scan: a forward reader over JSON text that builds nothing. It takes what strict readers refuse
 * (integers of any size, any float, duplicate members, lone surrogates), because the simulator has
 * to judge requests and must never be the one that normalises them. Strings are given raw, as they
 * stand between their quotes. After the first error `bad` is set and everything yields nothing.
 */
#ifndef SIM_SCAN_H
#define SIM_SCAN_H

#include "buf.h"

#define SCAN_DEPTH 512

struct scan {
	const char *p, *end;
	int depth;
	bool bad;
};

struct scan scan_of(struct span text);
char scan_peek(struct scan *s); /* first byte of the next value, 0 at the end */
/* Raw text of the next value, whatever it is. */
struct span scan_value(struct scan *s);
/* Members one after another: `first` is true before the first call. False at the closing brace,
 * which is consumed. */
bool scan_member(struct scan *s, bool *first, struct span *ret_key);
bool scan_element(struct scan *s, bool *first);
bool scan_at_end(struct scan *s); /* only white space is left, and nothing was wrong */

/* Of a raw value: the inside of a string (false if it is none), a truth value, an integer
 * (`otherwise` if it is none). */
bool raw_string(struct span raw, struct span *ret_inside);
bool raw_true(struct span raw);
int64_t raw_int(struct span raw, int64_t otherwise);
/* Bytes of UTF-8 that the inside of a string has once its escapes are resolved. */
size_t raw_text_bytes(struct span inside);
/* The same text with its escapes resolved, appended; a lone surrogate becomes '?'. */
void raw_text_add(struct buf *b, struct span inside);

#endif
