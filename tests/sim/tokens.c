#include "tokens.h"

#include <string.h>

static const char words[][12] = { " amber", " basin", " cedar", " delta", " ember", " fable",
	" grain", " harbor", " inlet", " jasper", " kernel", " lantern", " meadow", " nickel",
	" orchard", " pebble", " quarry", " river", " summit", " timber", " umbra", " valley",
	" willow", " xenon", " yarrow", " zephyr", " anchor", " beacon", " canyon", " drift",
	" echo", " forge", " glade", " hollow", " ivory", " juniper", " knoll", " ledger",
	" mosaic", " nectar", " onyx", " prairie", " quartz", " ripple", " saffron", " tundra",
	" upland", " velvet", " walnut", " xylem", " yonder", " zenith", " atlas", " bronze",
	" copper", " dune", " estuary", " flint", " granite", " heron", " island", " jetty",
	" kestrel", " lagoon" };

uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

uint64_t hash_bytes(uint64_t seed, const char *p, size_t n)
{
	uint64_t h = hash_mix(seed ^ n), w = 0;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	w = 0;
	if (n)
		memcpy(&w, p, n);
	return hash_mix(h ^ w);
}

int64_t tokens_of_bytes(size_t bytes)
{
	return (int64_t)((bytes + 3) / 4);
}

int64_t tokens_default(uint64_t seed)
{
	return 5 + (int64_t)(hash_mix(seed) % 32);
}

struct span token_word(uint64_t seed, uint32_t k)
{
	const char *w = words[hash_mix(seed + k) % (sizeof(words) / sizeof(words[0]))];

	return k ? (struct span){ w, strlen(w) } : (struct span){ w + 1, strlen(w) - 1 };
}
