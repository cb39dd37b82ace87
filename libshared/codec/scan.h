/* Sixteen bytes and more at a time to the next byte that means something. Nothing is read outside
 * of the bytes given. Private to codec; pure. */
#ifndef AIGW_CODEC_SCAN_H
#define AIGW_CODEC_SCAN_H

#include <aigw/slice.h>

#ifdef __SSE2__
#include <emmintrin.h>

static inline __m128i scan_load(const char *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* A bit per byte: quote, backslash or control byte. Without bit 1 the quote is below the space,
 * and nothing else changes sides. */
static inline unsigned scan_string_mask(__m128i v)
{
	/* Compared with signs, so that bit 7 is turned as well. */
	__m128i folded = _mm_xor_si128(v, _mm_set1_epi8((char)(0x02 ^ 0x80)));
	__m128i low = _mm_cmplt_epi8(folded, _mm_set1_epi8((char)(0x21 ^ 0x80)));

	return (unsigned)_mm_movemask_epi8(
		_mm_or_si128(low, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
}

/* The same of 64 bytes. */
static inline uint64_t scan_string_mask64(const char *p)
{
	return scan_string_mask(scan_load(p)) |
	       (uint64_t)scan_string_mask(scan_load(p + 16)) << 16 |
	       (uint64_t)scan_string_mask(scan_load(p + 32)) << 32 |
	       (uint64_t)scan_string_mask(scan_load(p + 48)) << 48;
}

/* A bit for each of 64 bytes that is c. */
static inline uint64_t scan_byte_mask64(const char *p, char c)
{
	const __m128i v = _mm_set1_epi8(c);
	uint64_t mask = 0;

	for (unsigned i = 0; i < 64; i += 16)
		mask |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(scan_load(p + i), v))
			<< i;
	return mask;
}

static inline unsigned scan_eol_mask(__m128i v)
{
	return (unsigned)_mm_movemask_epi8(_mm_or_si128(
		_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'))));
}

/* Bytes that are no printable ASCII. */
static inline unsigned scan_unprintable_mask(__m128i v)
{
	return (unsigned)_mm_movemask_epi8(_mm_or_si128(
		_mm_cmplt_epi8(v, _mm_set1_epi8(0x20)), _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f))));
}

/* 1 to 16 bytes, some of them more than once. */
static inline __m128i scan_load_short(const char *p, size_t n)
{
	uint64_t a = 0, b = 0;

	if (n >= 8) {
		memcpy(&a, p, 8);
		memcpy(&b, p + n - 8, 8);
	} else if (n >= 4) {
		uint32_t first, last;

		memcpy(&first, p, 4);
		memcpy(&last, p + n - 4, 4);
		a = b = (uint64_t)last << 32 | first;
	} else {
		a = (unsigned char)p[0] | (unsigned)(unsigned char)p[n / 2] << 8;
		a |= (uint64_t)(unsigned char)p[n - 1] << 16 | (uint64_t)(unsigned char)p[n - 1]
								       << 24;
		a = b = a << 32 | a;
	}
	return _mm_set_epi64x((long long)b, (long long)a);
}
#endif

#ifdef __x86_64__
/* scan_string.c: from inside a string, at the begin of a character, over as many whole characters
 * as can be walked 64 bytes at a time on this CPU. *ret_closed: the place behind the closing quote;
 * else an earlier place between two characters, p itself perhaps, with all before it right.
 * *escaped is set if an escape was passed. */
typedef const char *scan_string_walk(
	const char *p, const char *end, bool *escaped, bool *ret_closed);
const char *scan_string_blocks(const char *p, const char *end, bool *escaped, bool *ret_closed);
/* All ways of doing it that this CPU has, the one in use first; returns how many. For tests. */
#define SCAN_STRING_WALKS 3
unsigned scan_string_walks(scan_string_walk *ret[SCAN_STRING_WALKS]);
#endif

/* First quote, backslash or control byte (below 0x20) in p..end, or end. */
static inline const char *scan_string_special(const char *p, const char *end)
{
#ifdef __SSE2__
	for (; end - p >= 16; p += 16) {
		unsigned mask = scan_string_mask(scan_load(p));

		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
		p++;
	return p;
}

/* First LF in p..end, or end. */
static inline const char *scan_lf(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i lf = _mm_set1_epi8('\n');

	for (; end - p >= 16; p += 16) {
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(scan_load(p), lf));

		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p != '\n')
		p++;
	return p;
}

/* First byte in p..end that is no printable ASCII, or end. */
static inline const char *scan_unprintable(const char *p, const char *end)
{
#ifdef __SSE2__
	for (; end - p >= 16; p += 16) {
		unsigned mask = scan_unprintable_mask(scan_load(p));

		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p >= 0x20 && *p < 0x7f)
		p++;
	return p;
}

/* First CR or LF in p..end, or end. */
static inline const char *scan_eol(const char *p, const char *end)
{
#ifdef __SSE2__
	const char *begin = p;

	/* No text has many bytes below 0x0e that are neither. */
	for (; end - p >= 64; p += 64) {
		__m128i least = _mm_min_epu8(_mm_min_epu8(scan_load(p), scan_load(p + 16)),
			_mm_min_epu8(scan_load(p + 32), scan_load(p + 48)));

		if (_mm_movemask_epi8(
			    _mm_cmpeq_epi8(_mm_min_epu8(least, _mm_set1_epi8('\r')), least)))
			break;
	}
	for (; end - p >= 16; p += 16) {
		unsigned mask = scan_eol_mask(scan_load(p));

		if (mask)
			return p + __builtin_ctz(mask);
	}
	if (p < end && end - begin >= 16) {
		/* The last sixteen: those before p are known to be none. */
		unsigned mask = scan_eol_mask(scan_load(end - 16));

		return mask ? end - 16 + __builtin_ctz(mask) : end;
	}
#endif
	while (p < end && *p != '\r' && *p != '\n')
		p++;
	return p;
}

#endif
