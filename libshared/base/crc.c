/* Reflected CRCs. The tables go by half bytes: 64 bytes each, in cache at once, fast enough for
 * what is left to them (virtual keys, and CPUs without SSE4.2). */
#include <aigw/crc.h>

static const uint32_t castagnoli[16] = {
	0x00000000,
	0x105ec76f,
	0x20bd8ede,
	0x30e349b1,
	0x417b1dbc,
	0x5125dad3,
	0x61c69362,
	0x7198540d,
	0x82f63b78,
	0x92a8fc17,
	0xa24bb5a6,
	0xb21572c9,
	0xc38d26c4,
	0xd3d3e1ab,
	0xe330a81a,
	0xf36e6f75,
};

static const uint32_t ieee[16] = {
	0x00000000,
	0x1db71064,
	0x3b6e20c8,
	0x26d930ac,
	0x76dc4190,
	0x6b6b51f4,
	0x4db26158,
	0x5005713c,
	0xedb88320,
	0xf00f9344,
	0xd6d6a3e8,
	0xcb61b38c,
	0x9b64c2b0,
	0x86d3d2d4,
	0xa00ae278,
	0xbdbdf21c,
};

static uint32_t crc_table(const uint32_t table[16], uint32_t crc, const unsigned char *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(
	uint32_t crc, const unsigned char *p, size_t n)
{
	uint64_t wide = crc, word[4];

	for (; n >= 32; p += 32, n -= 32) {
		memcpy(word, p, 32);
		wide = __builtin_ia32_crc32di(wide, word[0]);
		wide = __builtin_ia32_crc32di(wide, word[1]);
		wide = __builtin_ia32_crc32di(wide, word[2]);
		wide = __builtin_ia32_crc32di(wide, word[3]);
	}
	for (; n >= 8; p += 8, n -= 8) {
		memcpy(word, p, 8);
		wide = __builtin_ia32_crc32di(wide, word[0]);
	}
	crc = (uint32_t)wide;
	if (n >= 4) {
		uint32_t half;

		memcpy(&half, p, 4);
		crc = __builtin_ia32_crc32si(crc, half);
		p += 4;
		n -= 4;
	}
	for (; n; p++, n--)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc32c_sse42(~crc, p, n);
#endif
	return ~crc_table(castagnoli, ~crc, p, n);
}

uint32_t crc32_ieee(const void *p, size_t n)
{
	return ~crc_table(ieee, ~(uint32_t)0, p, n);
}
