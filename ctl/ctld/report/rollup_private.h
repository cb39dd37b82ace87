/* The bytes of a rollup row, shared by rollup.c (writing) and rollup_query.c (reading, rebuilding).
 * Pure. */
#ifndef CTLD_REPORT_ROLLUP_PRIVATE_H
#define CTLD_REPORT_ROLLUP_PRIVATE_H

#include "report/rollup.h"

#define ROLLUP_KEY_MAX    432
#define ROLLUP_SUMS_BYTES (SUM_COUNT * 16)

size_t rollup_key_pack(const struct rollup_key *key, uint8_t out[static ROLLUP_KEY_MAX]);
bool rollup_key_unpack(struct slice bytes, struct rollup_key *ret); /* texts point into bytes */
void rollup_sums_pack(const struct rollup_sums *s, uint8_t out[static ROLLUP_SUMS_BYTES]);
bool rollup_sums_unpack(struct slice bytes, struct rollup_sums *ret);
void rollup_sums_add(struct rollup_sums *to, const struct rollup_sums *more);

#endif
