/* The inside of a JSON string, 64 bytes a step and without a branch on what prompts are full of:
 * escapes. A step makes one bit per byte of each class, then decides on all of them at once:
 *
 *   slash    a backslash                      starts    one that is not itself escaped
 *   escaped  the byte behind a start          stop      a quote or a control byte, not escaped
 *   allowed  may stand behind a backslash     hex       a hexadecimal digit
 *
 * Wrong is: escaped but not allowed; not hex within four bytes behind an escaped 'u'. Where
 * something is wrong, and at the end, the walk hands back the last place that lies between two
 * characters; json_scan.c goes on from there byte by byte and says what it is. */
#include "scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdatomic.h>

#define TARGET __attribute__((target("avx2,bmi,bmi2")))

struct block {
	__m256i lo, hi;
};

TARGET static inline uint64_t bits(__m256i lo, __m256i hi)
{
	return (uint32_t)_mm256_movemask_epi8(lo) | (uint64_t)(uint32_t)_mm256_movemask_epi8(hi)
							    << 32;
}

TARGET static inline uint64_t bits_equal(struct block b, char c)
{
	const __m256i v = _mm256_set1_epi8(c);

	return bits(_mm256_cmpeq_epi8(b.lo, v), _mm256_cmpeq_epi8(b.hi, v));
}

/* Quote or control byte, as scan_string_mask() does it. */
TARGET static inline __m256i is_stop(__m256i v)
{
	__m256i folded = _mm256_xor_si256(v, _mm256_set1_epi8((char)(0x02 ^ 0x80)));

	return _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(0x21 ^ 0x80)), folded);
}

/* The halves of a byte look up the classes that they may belong to; it is in those of both. A byte
 * of 0x80 and above finds none. */
TARGET static inline __m256i is_in_class(__m256i v, __m256i low_half, __m256i high_half)
{
	__m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
	__m256i both = _mm256_and_si256(
		_mm256_shuffle_epi8(low_half, v), _mm256_shuffle_epi8(high_half, high));

	return _mm256_cmpgt_epi8(both, _mm256_setzero_si256());
}

/* "\/bfnrtu: 1 is column 2, 2 is column 5, 4 is column 6, 8 is column 7 */
TARGET static inline uint64_t bits_allowed(struct block b)
{
	const __m256i low = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 0, 1 | 4 | 8, 0, 8, 8, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1));
	const __m256i high = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0));

	return bits(is_in_class(b.lo, low, high), is_in_class(b.hi, low, high));
}

/* 0-9: 1 is column 3; A-F, a-f: 2 is columns 4 and 6 */
TARGET static inline uint64_t bits_hex(struct block b)
{
	const __m256i low = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(1, 3, 3, 3, 3, 3, 3, 1, 1, 1, 0, 0, 0, 0, 0, 0));
	const __m256i high = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 0, 0, 1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0));

	return bits(is_in_class(b.lo, low, high), is_in_class(b.hi, low, high));
}

/* Backslashes that are not escaped by the one before: in a run each second one. */
static inline uint64_t starts_of(uint64_t slash, uint64_t first_escaped)
{
	uint64_t left = slash & ~first_escaped, starts = 0;

	if (LIKELY(!(left & left << 1)))
		return left;
	while (left) {
		uint64_t one = left & -left;

		starts |= one;
		left &= ~(one | one << 1);
	}
	return starts;
}

TARGET static const char *walk_avx2(const char *p, const char *end, bool *escaped, bool *ret_closed)
{
	uint64_t first_escaped = 0; /* bit 0: the byte before this block escapes its first one */
	uint64_t want_hex = 0; /* bits of this block that have to be digits, from an earlier u */

	for (; end - p > 64; p += 64) {
		struct block b = { _mm256_loadu_si256((const __m256i *)(const void *)p),
			_mm256_loadu_si256((const __m256i *)(const void *)(p + 32)) };
		uint64_t starts = starts_of(bits_equal(b, '\\'), first_escaped);
		uint64_t behind = starts << 1 | first_escaped;
		uint64_t u = bits_equal(b, 'u') & behind, carry = 0;
		uint64_t stop = bits(is_stop(b.lo), is_stop(b.hi)) & ~behind;
		uint64_t wrong = behind & ~bits_allowed(b);

		if (UNLIKELY(u | want_hex)) {
			wrong |= (want_hex | u << 1 | u << 2 | u << 3 | u << 4) & ~bits_hex(b);
			carry = u >> 63 | u >> 62 | u >> 61 | u >> 60;
		}
		if (UNLIKELY(stop | wrong)) {
			uint64_t at = stop & -stop, before = at - 1; /* no stop: all */

			if (!at || (wrong & (before | at)) || p[__builtin_ctzll(at)] != '"')
				break;
			*escaped |= (starts & before) != 0;
			*ret_closed = true;
			return p + __builtin_ctzll(at) + 1;
		}
		*escaped |= starts != 0;
		first_escaped = starts >> 63;
		want_hex = carry;
	}
	/* Back to before an escape that lies across the block's begin. */
	if (want_hex) /* k digits are to come: \u and 4 - k of them have been */
		return p - (6 - __builtin_popcountll(want_hex));
	return p - first_escaped;
}

static const char *walk_none(const char *p, const char *end, bool *escaped, bool *ret_closed)
{
	(void)end, (void)escaped, (void)ret_closed;
	return p;
}

const char *scan_string_blocks(const char *p, const char *end, bool *escaped, bool *ret_closed)
{
	typedef const char *walk_fn(const char *, const char *, bool *, bool *);
	static _Atomic(walk_fn *) walk; /* what this CPU can do; each thread finds the same */
	walk_fn *w = atomic_load_explicit(&walk, memory_order_relaxed);

	if (UNLIKELY(!w)) {
		w = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? walk_avx2
										     : walk_none;
		atomic_store_explicit(&walk, w, memory_order_relaxed);
	}
	return w(p, end, escaped, ret_closed);
}
#endif
