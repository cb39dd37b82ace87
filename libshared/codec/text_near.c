/* "Did you mean": optimal string alignment distance (insertion, deletion, replacement, swap of two
 * neighbours). */
#include <aigw/text.h>

#define NEAR_MAX_BYTES        256
#define NEAR_PREFIX_MIN_BYTES 3

static char fold(char c, bool nocase)
{
	return nocase && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static unsigned distance(struct slice a, struct slice b, unsigned max, bool nocase)
{
	uint16_t rows[3][NEAR_MAX_BYTES + 1]; /* two before, before, current; by turns */
	size_t gap = a.n > b.n ? a.n - b.n : b.n - a.n;

	if (gap > max)
		return max + 1;
	if (a.n > NEAR_MAX_BYTES || b.n > NEAR_MAX_BYTES)
		return slice_eq(a, b) ? 0 : max + 1;
	for (size_t j = 0; j <= b.n; j++)
		rows[0][j] = (uint16_t)j;
	for (size_t i = 1; i <= a.n; i++) {
		uint16_t *row = rows[i % 3];
		const uint16_t *prev = rows[(i + 2) % 3], *prev2 = rows[(i + 1) % 3];
		char ca = fold(a.p[i - 1], nocase);
		unsigned best = row[0] = (uint16_t)i;

		for (size_t j = 1; j <= b.n; j++) {
			char cb = fold(b.p[j - 1], nocase);
			unsigned d = prev[j - 1] + (ca != cb);

			d = MIN(d, prev[j] + 1u);
			d = MIN(d, row[j - 1] + 1u);
			if (i > 1 && j > 1 && ca == fold(b.p[j - 2], nocase) &&
				fold(a.p[i - 2], nocase) == cb)
				d = MIN(d, prev2[j - 2] + 1u);
			row[j] = (uint16_t)d;
			best = MIN(best, d);
		}
		/* A swap reaches back two rows, and then costs one more than what stands there. */
		if (best > max + 1)
			return max + 1;
	}
	return MIN((unsigned)rows[a.n % 3][b.n], max + 1);
}

unsigned text_distance(struct slice a, struct slice b, unsigned max)
{
	return distance(a, b, max, false);
}

/* How far a word may be off; always less than the word, or anything would match. */
static unsigned near_limit(size_t n)
{
	if (n <= 1)
		return 0;
	return n <= 4 ? 1 : n <= 8 ? 2 : 3;
}

struct slice text_near(struct slice word, const struct slice *names, size_t n)
{
	unsigned best = near_limit(word.n) + 1;
	struct slice found = SLICE_EMPTY;

	if (word.n == 0)
		return SLICE_EMPTY;
	for (size_t i = 0; i < n && best > 0; i++) {
		unsigned d = distance(word, names[i], best - 1, true);

		if (d < best) {
			best = d;
			found = names[i];
		}
	}
	if (found.p || word.n < NEAR_PREFIX_MIN_BYTES)
		return found;
	for (size_t i = 0; i < n; i++) {
		if (names[i].n > word.n && slice_eq_nocase(slice_of(names[i].p, word.n), word) &&
			(!found.p || names[i].n < found.n))
			found = names[i];
	}
	return found;
}
