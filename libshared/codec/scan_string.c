/* The inside of a JSON string, 64 bytes a step and without a branch on what prompts are full of:
 * escapes. A step makes one bit per byte of each class, then decides on all of them at once:
 *
 *   slash    a backslash                      starts    one that is not itself escaped
 *   behind   the byte behind a start          stop      a quote or a control byte, not escaped
 *   plain    one of \ / f n r t, which may stand behind a backslash, as a quote may
 *
 * What else stands behind a backslash (b, u, or what may not) is looked at apart: wrong is all but
 * b and u, and what is no hexadecimal digit within four bytes behind an escaped 'u'. Where
 * something is wrong, and at the end, the walk hands back the last place that lies between two
 * characters; json_scan.c goes on from there byte by byte and says what it is. */
#include "scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdatomic.h>

/* What each step looks at: a bit for each of its 64 bytes. */
struct classes {
	uint64_t slash, quote, control, plain;
};

/* What a step with other escapes looks at. */
struct others {
	uint64_t u, b, hex;
};

/* By the lower half of a byte: the one in the class that has it. 0xff is in none. */
#define PLAIN                                                                                      \
	(char)0xff, (char)0xff, 'r', (char)0xff, 't', (char)0xff, 'f', (char)0xff, (char)0xff,     \
		(char)0xff, (char)0xff, (char)0xff, '\\', (char)0xff, 'n', '/'
/* 0-9, A-F and a-f by both halves: 1 is column 3; 2 is columns 4 and 6. A byte is one if its
 * halves share a bit. */
#define HEX_LOW  1, 3, 3, 3, 3, 3, 3, 1, 1, 1, 0, 0, 0, 0, 0, 0
#define HEX_HIGH 0, 0, 0, 1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0

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

/* What is wrong among the others. *want_hex: bits of this block that have to be digits, because of
 * a u in the one before; and of the next. */
static inline uint64_t wrong_of(struct others o, uint64_t behind, uint64_t odd, uint64_t *want_hex)
{
	uint64_t u = o.u & behind;
	uint64_t digits = *want_hex | u << 1 | u << 2 | u << 3 | u << 4;

	*want_hex = u >> 63 | u >> 62 | u >> 61 | u >> 60;
	return (odd & ~(o.u | o.b)) | (digits & ~o.hex);
}

/* The walk, for one kind of CPU. */
#define DEFINE_WALK(name, cpu, classes_of, others_of)                                              \
	__attribute__((target(cpu))) static const char *name(                                      \
		const char *p, const char *end, bool *escaped, bool *ret_closed)                   \
	{                                                                                          \
		/* Bit 0: the byte before this block escapes its first one. */                     \
		uint64_t first_escaped = 0;                                                        \
		uint64_t want_hex = 0, passed = 0;                                                 \
                                                                                                   \
		for (; end - p > 64; p += 64) {                                                    \
			struct classes c = classes_of(p);                                          \
			uint64_t starts = starts_of(c.slash, first_escaped);                       \
			uint64_t behind = starts << 1 | first_escaped;                             \
			uint64_t stop = (c.quote | c.control) & ~behind, wrong = 0;                \
			uint64_t odd = behind & ~(c.plain | c.quote), carry = 0;                   \
                                                                                                   \
			if (UNLIKELY(odd | want_hex)) {                                            \
				carry = want_hex;                                                  \
				wrong = wrong_of(others_of(p), behind, odd, &carry);               \
			}                                                                          \
			if (UNLIKELY(stop | wrong)) {                                              \
				uint64_t at = stop & -stop, before = at - 1; /* no stop: all */    \
                                                                                                   \
				if (!at || (wrong & (before | at)) || !(c.quote & at))             \
					break;                                                     \
				*escaped |= (passed | (starts & before)) != 0;                     \
				*ret_closed = true;                                                \
				return p + __builtin_ctzll(at) + 1;                                \
			}                                                                          \
			passed |= starts;                                                          \
			first_escaped = starts >> 63;                                              \
			want_hex = carry;                                                          \
		}                                                                                  \
		*escaped |= passed != 0;                                                           \
		/* Back to before an escape that lies across the block's begin. Of a u with k      \
		 * digits to come, \\u and 4 - k of them have been. */                             \
		if (want_hex)                                                                      \
			return p - (6 - __builtin_popcountll(want_hex));                           \
		return p - first_escaped;                                                          \
	}

/* --- AVX2 */

#define AVX2 "avx2,bmi,bmi2"

struct two {
	__m256i a, b;
};

__attribute__((target(AVX2))) static inline struct two load_avx2(const char *p)
{
	return (struct two){ _mm256_loadu_si256((const __m256i *)(const void *)p),
		_mm256_loadu_si256((const __m256i *)(const void *)(p + 32)) };
}

__attribute__((target(AVX2))) static inline uint64_t bits_avx2(__m256i a, __m256i b)
{
	return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b)
							   << 32;
}

__attribute__((target(AVX2))) static inline uint64_t equal_avx2(struct two v, char c)
{
	const __m256i all = _mm256_set1_epi8(c);

	return bits_avx2(_mm256_cmpeq_epi8(v.a, all), _mm256_cmpeq_epi8(v.b, all));
}

__attribute__((target(AVX2))) static inline __m256i control_avx2(__m256i v)
{
	return _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
}

__attribute__((target(AVX2))) static inline __m256i plain_avx2(__m256i v)
{
	const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(PLAIN));

	return _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, v), v);
}

__attribute__((target(AVX2))) static inline __m256i is_hex_avx2(__m256i v)
{
	const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(HEX_LOW));
	const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi8(HEX_HIGH));
	__m256i half = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));

	return _mm256_cmpgt_epi8(
		_mm256_and_si256(_mm256_shuffle_epi8(low, v), _mm256_shuffle_epi8(high, half)),
		_mm256_setzero_si256());
}

__attribute__((target(AVX2))) static inline struct classes classes_avx2(const char *p)
{
	struct two v = load_avx2(p);

	return (struct classes){
		.slash = equal_avx2(v, '\\'),
		.quote = equal_avx2(v, '"'),
		.control = bits_avx2(control_avx2(v.a), control_avx2(v.b)),
		.plain = bits_avx2(plain_avx2(v.a), plain_avx2(v.b)),
	};
}

__attribute__((target(AVX2))) static inline struct others others_avx2(const char *p)
{
	struct two v = load_avx2(p);

	return (struct others){ equal_avx2(v, 'u'), equal_avx2(v, 'b'),
		bits_avx2(is_hex_avx2(v.a), is_hex_avx2(v.b)) };
}

DEFINE_WALK(walk_avx2, AVX2, classes_avx2, others_avx2)

/* --- AVX-512: one register a step, and comparisons that give the bits at once */

#define AVX512 "avx512f,avx512bw,bmi,bmi2"

__attribute__((target(AVX512))) static inline struct classes classes_avx512(const char *p)
{
	const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(PLAIN));
	__m512i v = _mm512_loadu_si512((const void *)p);
	uint64_t slash = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\\'));

	/* Into a plain register: else the compiler makes the step before, by way of a mask
	 * register, an operand of the comparison, and each step waits for the last one's. */
	__asm__("" : "+r"(slash));
	return (struct classes){
		.slash = slash,
		.quote = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"')),
		.control = _mm512_cmplt_epu8_mask(v, _mm512_set1_epi8(0x20)),
		.plain = _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(table, v), v),
	};
}

__attribute__((target(AVX512))) static inline struct others others_avx512(const char *p)
{
	const __m512i low = _mm512_broadcast_i32x4(_mm_setr_epi8(HEX_LOW));
	const __m512i high = _mm512_broadcast_i32x4(_mm_setr_epi8(HEX_HIGH));
	__m512i v = _mm512_loadu_si512((const void *)p);
	__m512i half = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(0x0f));

	return (struct others){
		.u = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('u')),
		.b = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('b')),
		.hex = _mm512_test_epi8_mask(
			_mm512_shuffle_epi8(low, v), _mm512_shuffle_epi8(high, half)),
	};
}

DEFINE_WALK(walk_avx512, AVX512, classes_avx512, others_avx512)

static const char *walk_none(const char *p, const char *end, bool *escaped, bool *ret_closed)
{
	(void)end, (void)escaped, (void)ret_closed;
	return p;
}

unsigned scan_string_walks(scan_string_walk *ret[SCAN_STRING_WALKS])
{
	unsigned n = 0;
	bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");

	if (avx2 && __builtin_cpu_supports("avx512bw"))
		ret[n++] = walk_avx512;
	if (avx2)
		ret[n++] = walk_avx2;
	ret[n++] = walk_none;
	return n;
}

const char *scan_string_blocks(const char *p, const char *end, bool *escaped, bool *ret_closed)
{
	static _Atomic(scan_string_walk *) walk; /* each thread finds the same */
	scan_string_walk *w = atomic_load_explicit(&walk, memory_order_relaxed);

	if (UNLIKELY(!w)) {
		scan_string_walk *all[SCAN_STRING_WALKS];

		(void)scan_string_walks(all);
		w = all[0];
		atomic_store_explicit(&walk, w, memory_order_relaxed);
	}
	return w(p, end, escaped, ret_closed);
}
#endif
