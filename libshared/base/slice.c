/* Bytes compared and searched a word at a time. Nothing is read outside of a slice. */
#include <aigw/slice.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define EACH_BYTE(b) (UINT64_MAX / 255 * (b))

/* Are two words equal but for the case of ASCII letters? */
static bool word_eq_nocase(uint64_t a, uint64_t b)
{
	uint64_t differ = a ^ b, low, letters;

	if (LIKELY(!differ))
		return true;
	if (differ & ~EACH_BYTE(0x20))
		return false;
	/* The top bit of each byte that is a letter of either case. */
	low = (a | EACH_BYTE(0x20)) & EACH_BYTE(0x7f);
	letters = (low + EACH_BYTE(0x80 - 'a')) & ~(low + EACH_BYTE(0x7f - 'z')) & ~a;
	return (differ << 2 & ~letters & EACH_BYTE(0x80)) == 0;
}

static uint64_t load_word(const char *p, size_t n)
{
	uint64_t word = 0;

	memcpy(&word, p, n);
	return word;
}

bool bytes_eq_nocase(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	if (n >= 8) {
		for (; n - i > 8; i += 8) {
			if (!word_eq_nocase(load_word(a + i, 8), load_word(b + i, 8)))
				return false;
		}
		i = n - 8; /* some bytes a second time */
		return word_eq_nocase(load_word(a + i, 8), load_word(b + i, 8));
	}
	if (n >= 4)
		return word_eq_nocase(load_word(a, 4), load_word(b, 4)) &&
		       word_eq_nocase(load_word(a + n - 4, 4), load_word(b + n - 4, 4));
	for (; i < n; i++) {
		if (!word_eq_nocase((unsigned char)a[i], (unsigned char)b[i]))
			return false;
	}
	return true;
}

#ifdef __SSE2__
/* Two bytes of the needle and where they stand in it. */
struct pair {
	__m128i first, second;
	size_t first_at, second_at;
};

/* Of the sixteen places from p on: 0xff where both bytes stand. */
static inline __m128i pair_hits(const struct pair *w, const char *p)
{
	const void *here = p + w->first_at, *there = p + w->second_at;

	return _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)here), w->first),
		_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)there), w->second));
}

static const char *find_among(const char *p, unsigned mask, struct slice needle)
{
	for (; mask; mask &= mask - 1) {
		const char *at = p + __builtin_ctz(mask);

		if (memcmp(at, needle.p, needle.n) == 0)
			return at;
	}
	return NULL;
}

/* As far as whole steps go; *p is left where none begins any more. */
static const char *find_by_blocks(const char **p, const char *last, struct slice needle)
{
	/* Two bytes that meet seldom: the first and last of a word in quotes would meet often. */
	const size_t one = needle.n > 2, two = needle.n / 2;
	const struct pair w = { _mm_set1_epi8(needle.p[one]), _mm_set1_epi8(needle.p[two]), one,
		two };

	for (; last - *p >= 15; *p += 16) {
		const char *at;

		while (last - *p >= 63 &&
			!_mm_movemask_epi8(_mm_or_si128(
				_mm_or_si128(pair_hits(&w, *p), pair_hits(&w, *p + 16)),
				_mm_or_si128(pair_hits(&w, *p + 32), pair_hits(&w, *p + 48)))))
			*p += 64;
		if (last - *p < 15)
			break;
		at = find_among(*p, (unsigned)_mm_movemask_epi8(pair_hits(&w, *p)), needle);
		if (at)
			return at;
	}
	return NULL;
}
#endif

const char *slice_find(struct slice s, struct slice needle)
{
	const char *p = s.p, *last;

	ASSERT(needle.n > 0);
	if (s.n < needle.n)
		return NULL;
	last = s.p + (s.n - needle.n); /* the last place where it may stand */
#ifdef __SSE2__
	const char *at = find_by_blocks(&p, last, needle);

	if (at)
		return at;
#endif
	for (; p <= last; p++) {
		if (*p == needle.p[0] && memcmp(p, needle.p, needle.n) == 0)
			return p;
	}
	return NULL;
}
