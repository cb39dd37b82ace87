/* Text that is not JSON: numbers without locale, base64, base62, hex, durations, sizes, amounts of
 * money, near names. Pure functions; any thread. All parsers take the whole slice: trailing bytes
 * are an error. */
#ifndef AIGW_TEXT_H
#define AIGW_TEXT_H

#include <aigw/buf.h>

int text_parse_u64(struct slice s, uint64_t *ret); /* decimal digits only; -EINVAL, -ERANGE */
int text_parse_i64(struct slice s, int64_t *ret);
/* "5us" "200ms" "2s" "10m" "24h" "7d"; the unit is needed. */
int text_parse_duration(struct slice s, usec *ret);
int text_parse_size(struct slice s, uint64_t *ret); /* "512", "64KiB" "32MiB" "1GiB" (bytes) */
/* "2026-01-01" -> days since 1970-01-01 UTC. */
int text_parse_date(struct slice s, int64_t *ret_day);

/* Decimal text with at most nine decimals -> 10^-9 units, exact; "0.15" -> 150000000. A tenth
 * decimal, an exponent or a sign (unless allow_negative) is -EINVAL; over int64 is -ERANGE. Never a
 * double. */
int text_parse_nano(struct slice s, bool allow_negative, int64_t *ret_nano);
/* "0.000799", exact, at least decimals_min of them; 9: all nine. */
void text_format_nano(int64_t nano, unsigned decimals_min, char out[static 32]);
/* Largest unit that keeps it exact: "90s", "1500ms". */
void text_format_duration(usec d, char out[static 32]);

/* Standard alphabet, padded. out: 4*((n+2)/3) bytes; returns the length. */
size_t text_base64_encode(const void *p, size_t n, char *out);
int text_base64_decode(struct slice s, void *out, size_t cap, size_t *ret_n);
void text_hex(const void *p, size_t n, char *out);   /* 2n lower-case digits, no NUL */
int text_unhex(struct slice s, void *out, size_t n); /* exactly n bytes */
extern const char TEXT_BASE62[63];                   /* 0-9A-Za-z */
bool text_is_base62(struct slice s);                 /* not empty */

/* Edit distance with transpositions, capped at `max`+1. */
unsigned text_distance(struct slice a, struct slice b, unsigned max);
/* The nearest of n names within a sensible distance (1 for short, 2-3 for longer words; case
 * doesn't count), else the shortest that the word begins, or SLICE_EMPTY. */
struct slice text_near(struct slice word, const struct slice *names, size_t n);

bool text_is_utf8(struct slice s);
/* Bytes of the character it begins with; 0: none, or not valid. */
size_t text_utf8_len(struct slice s);
int text_utf8_clean(struct buf *b, struct slice s); /* each invalid byte becomes U+FFFD */
/* JSON string with quotes, escaped (control bytes, quote, backslash); invalid UTF-8
 * becomes U+FFFD. */
int text_json_quote(struct buf *b, struct slice s);

#endif
