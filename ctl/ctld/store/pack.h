/* How a row of the controller's store is laid out: unsigned numbers as 8 bytes big-endian, texts
 * and bytes as a 4-byte big-endian length and the bytes, one member after the other. Members are
 * only ever added at the end; a reader that meets the end of a row gets 0 or empty, so rows of an
 * older build stay readable. Pure; any thread. */
#ifndef CTLD_STORE_PACK_H
#define CTLD_STORE_PACK_H

#include <aigw/buf.h>

void pack_u64(struct buf *b, uint64_t v);
void pack_bytes(struct buf *b, struct slice s);

/* Takes the next member off the front of *row. False (with 0 or empty): the row is damaged. */
bool unpack_u64(struct slice *row, uint64_t *ret);
bool unpack_bytes(struct slice *row, struct slice *ret);

/* Big-endian numbers in keys, so that they sort. */
void be32_put(uint8_t out[static 4], uint32_t v);
void be64_put(uint8_t out[static 8], uint64_t v);
uint32_t be32_get(const void *p);
uint64_t be64_get(const void *p);

#endif
