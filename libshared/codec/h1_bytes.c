/* The bytes that names and values of fields may hold. Sixteen at a time where they are the usual
 * ones; one by one only where not. */
#include "h1_head.h"
#include "scan.h"

static bool is_token_byte(unsigned char c)
{
	static const bool others[128] = { ['!'] = 1,
		['#'] = 1,
		['$'] = 1,
		['%'] = 1,
		['&'] = 1,
		['\''] = 1,
		['*'] = 1,
		['+'] = 1,
		['-'] = 1,
		['.'] = 1,
		['^'] = 1,
		['_'] = 1,
		['`'] = 1,
		['|'] = 1,
		['~'] = 1 };

	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
	       (c < 128 && others[c]);
}

static bool are_token_bytes(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!is_token_byte((unsigned char)p[i]))
			return false;
	}
	return true;
}

static bool are_value_bytes(const char *p, size_t n, bool obs_text)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f || (c >= 0x80 && !obs_text))
			return false;
	}
	return true;
}

#ifdef __SSE2__
/* A bit for each byte that is no letter, digit, '-' or '_'; the other bytes of a token are rare. */
static inline unsigned unusual_mask(__m128i v)
{
	__m128i letter = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
	__m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
	__m128i yes;

	letter = _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(25)), letter);
	digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);
	yes = _mm_or_si128(
		_mm_cmpeq_epi8(v, _mm_set1_epi8('-')), _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
	yes = _mm_or_si128(yes, _mm_or_si128(letter, digit));
	return (unsigned)_mm_movemask_epi8(yes) ^ 0xffff;
}

static inline bool is_plain_name(__m128i v)
{
	return !unusual_mask(v);
}
#endif

const char *h1_scan_token(const char *p, const char *end)
{
#ifdef __SSE2__
	while (end - p >= 16) {
		unsigned mask = unusual_mask(scan_load(p));

		p += mask ? __builtin_ctz(mask) : 16;
		if (mask && LIKELY(!is_token_byte((unsigned char)*p)))
			return p;
		p += mask != 0;
	}
#endif
	while (is_token_byte((unsigned char)*p))
		p++;
	(void)end;
	return p;
}

bool h1_is_token(struct slice s)
{
	if (UNLIKELY(s.n == 0))
		return false;
#ifdef __SSE2__
	const char *p = s.p, *end = s.p + s.n;

	for (; end - p > 16; p += 16) {
		if (!is_plain_name(scan_load(p)) && !are_token_bytes(p, 16))
			return false;
	}
	s = slice_of(p, (size_t)(end - p));
	if (LIKELY(is_plain_name(scan_load_short(s.p, s.n))))
		return true;
#endif
	return are_token_bytes(s.p, s.n);
}

bool h1_is_value(struct slice s, bool obs_text)
{
	if (UNLIKELY(s.n == 0))
		return true;
#ifdef __SSE2__
	const char *p = s.p, *end = s.p + s.n;

	for (; end - p > 16; p += 16) {
		if (scan_unprintable_mask(scan_load(p)) && !are_value_bytes(p, 16, obs_text))
			return false;
	}
	s = slice_of(p, (size_t)(end - p));
	if (LIKELY(!scan_unprintable_mask(scan_load_short(s.p, s.n))))
		return true;
#endif
	return are_value_bytes(s.p, s.n, obs_text);
}
