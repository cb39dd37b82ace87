/* What tokens cost: exact integer arithmetic. Pure; any thread. */
#ifndef AIGW_PRICE_H
#define AIGW_PRICE_H

#include <aigw/base.h>

enum price_component {
	PRICE_input,
	PRICE_cached_input,
	PRICE_cache_write,
	PRICE_output,
	PRICE_reasoning,
	PRICE_audio_in,
	PRICE_audio_out,
	PRICE_per_request,
	PRICE_per_minute,
	PRICE_COUNT
};

struct price {
	/* 10^-9 currency units per million tokens; per_request: per request; per_minute: per minute
	 * of audio. */
	int64_t nano[PRICE_COUNT];
	/* A missing component falls back: cached_input, cache_write, audio_in -> input; reasoning,
	 * audio_out -> output; per_request, per_minute -> 0. */
	bool has[PRICE_COUNT];
	int64_t version; /* stable id of this row: day of effect and CRC of its content */
};

struct price_usage {
	int64_t input, cached_input, cache_write, output, reasoning, audio_in,
		audio_out; /* totals include their parts */
	int64_t audio_ms;  /* audio that is paid by its length */
};

/* Cost in nano units. Each component: multiply first, divide once, half away from zero, 128-bit.
 * Subsets are taken out of their totals before (never below 0). -ERANGE if the sum leaves int64. */
int price_cost(const struct price *p, const struct price_usage *u, int64_t *ret_nano);

#endif
