#include <aigw/find.h>

#include "scan.h"

static size_t pair_plain(const char *p, size_t n, size_t from, char a, char b)
{
	size_t i = from;

#ifdef __SSE2__
	const __m128i first = _mm_set1_epi8(a), second = _mm_set1_epi8(b);

	for (; i + 16 + 1 <= n; i += 16) {
		unsigned hits = (unsigned)_mm_movemask_epi8(
			_mm_and_si128(_mm_cmpeq_epi8(scan_load(p + i), first),
				_mm_cmpeq_epi8(scan_load(p + i + 1), second)));

		if (hits)
			return i + (unsigned)__builtin_ctz(hits);
	}
#endif
	for (; i + 1 < n; i++)
		if (p[i] == a && p[i + 1] == b)
			return i;
	return n;
}

static size_t eol_plain(const char *p, size_t n)
{
	return (size_t)(scan_eol(p, p + n) - p);
}

static const struct find_way plain = { pair_plain, eol_plain };

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdatomic.h>

#define AVX2   __attribute__((target("avx2,bmi")))
#define AVX512 __attribute__((target("avx512f,avx512bw,bmi,bmi2")))

AVX2 static inline __m256i load_avx2(const char *p)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 static size_t pair_avx2(const char *p, size_t n, size_t from, char a, char b)
{
	const __m256i first = _mm256_set1_epi8(a), second = _mm256_set1_epi8(b);
	size_t i = from;

	for (; i + 32 + 1 <= n; i += 32) {
		unsigned hits = (unsigned)_mm256_movemask_epi8(
			_mm256_and_si256(_mm256_cmpeq_epi8(load_avx2(p + i), first),
				_mm256_cmpeq_epi8(load_avx2(p + i + 1), second)));

		if (hits)
			return i + (unsigned)__builtin_ctz(hits);
	}
	return pair_plain(p, n, i, a, b);
}

AVX2 static size_t eol_avx2(const char *p, size_t n)
{
	const __m256i cr = _mm256_set1_epi8('\r'), lf = _mm256_set1_epi8('\n');
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		__m256i v = load_avx2(p + i);
		unsigned hits = (unsigned)_mm256_movemask_epi8(
			_mm256_or_si256(_mm256_cmpeq_epi8(v, cr), _mm256_cmpeq_epi8(v, lf)));

		if (hits)
			return i + (unsigned)__builtin_ctz(hits);
	}
	return i + eol_plain(p + i, n - i);
}

static const struct find_way with_avx2 = { pair_avx2, eol_avx2 };

/* The lowest k bits. */
static inline uint64_t lowest(size_t k)
{
	return k >= 64 ? UINT64_MAX : (UINT64_C(1) << k) - 1;
}

AVX512 static size_t pair_avx512(const char *p, size_t n, size_t from, char a, char b)
{
	const __m512i first = _mm512_set1_epi8(a), second = _mm512_set1_epi8(b);
	size_t i = from;

	for (; i + 1 < n; i += 64) {
		__mmask64 here = lowest(n - 1 - i);
		__m512i v = _mm512_maskz_loadu_epi8(here, (const void *)(p + i));
		__m512i w = _mm512_maskz_loadu_epi8(here, (const void *)(p + i + 1));
		uint64_t hits = _mm512_mask_cmpeq_epi8_mask(
			_mm512_mask_cmpeq_epi8_mask(here, v, first), w, second);

		if (hits)
			return i + (unsigned)__builtin_ctzll(hits);
	}
	return n;
}

AVX512 static size_t eol_avx512(const char *p, size_t n)
{
	const __m512i cr = _mm512_set1_epi8('\r'), lf = _mm512_set1_epi8('\n');

	for (size_t i = 0; i < n; i += 64) {
		__mmask64 here = lowest(n - i);
		__m512i v = _mm512_maskz_loadu_epi8(here, (const void *)(p + i));
		uint64_t hits = _mm512_mask_cmpeq_epi8_mask(here, v, cr) |
				_mm512_mask_cmpeq_epi8_mask(here, v, lf);

		if (hits)
			return i + (unsigned)__builtin_ctzll(hits);
	}
	return n;
}

static const struct find_way with_avx512 = { pair_avx512, eol_avx512 };

unsigned find_ways(const struct find_way *ret[FIND_WAYS])
{
	unsigned n = 0;

	if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2"))
		ret[n++] = &with_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
		ret[n++] = &with_avx2;
	ret[n++] = &plain;
	return n;
}

static const struct find_way *way(void)
{
	static _Atomic(const struct find_way *) best; /* each thread finds the same */
	const struct find_way *w = atomic_load_explicit(&best, memory_order_relaxed);

	if (UNLIKELY(!w)) {
		const struct find_way *all[FIND_WAYS];

		(void)find_ways(all);
		w = all[0];
		atomic_store_explicit(&best, w, memory_order_relaxed);
	}
	return w;
}
#else
unsigned find_ways(const struct find_way *ret[FIND_WAYS])
{
	ret[0] = &plain;
	return 1;
}

static const struct find_way *way(void)
{
	return &plain;
}
#endif

size_t find_pair(const char *p, size_t n, size_t from, char a, char b)
{
	return way()->pair(p, n, from, a, b);
}

size_t find_eol(const char *p, size_t n)
{
	return way()->eol(p, n);
}
