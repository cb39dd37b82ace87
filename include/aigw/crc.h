/* Checksums. CRC-32C (Castagnoli, RFC 3720 B.4) guards stored records; CRC-32 (IEEE 802.3) ends a
 * virtual key. Hardware CRC-32C where the CPU has SSE4.2, checked at run time. Pure; any thread. */
#ifndef AIGW_CRC_H
#define AIGW_CRC_H

#include <aigw/base.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n); /* start with 0 */
uint32_t crc32_ieee(const void *p, size_t n);

#endif
