/* SHA-256 over pieces of memory; can't fail and allocates nothing, so it may stand in the middle of
 * bookings. Needs libcrypto. Pure; any thread. */
#ifndef AIGW_DIGEST_H
#define AIGW_DIGEST_H

#include <aigw/slice.h>

#define DIGEST_BYTES 32

void digest_sha256(const struct slice *pieces, size_t n, uint8_t out[static DIGEST_BYTES]);

#endif
