#include <aigw/price.h>

__extension__ typedef __int128 price_wide;

#define TOKENS_PER_PRICE 1000000

#define MS_PER_MINUTE 60000

/* Half away from zero. */
static price_wide price_divide(price_wide v, int64_t by)
{
	const price_wide half = by / 2;

	return v < 0 ? (v - half) / by : (v + half) / by;
}

static price_wide price_component(const struct price *p, enum price_component c, int64_t tokens)
{
	int64_t v;

	if (!p->has[c] || tokens == 0)
		return 0;
	/* Nearly all fit 64 bits, half a divisor added, and a constant divides those without a
	 * division. */
	if (LIKELY(!__builtin_mul_overflow(tokens, p->nano[c], &v) && v >= 0 &&
		    v <= INT64_MAX - TOKENS_PER_PRICE))
		return (v + TOKENS_PER_PRICE / 2) / TOKENS_PER_PRICE;
	return price_divide((price_wide)tokens * p->nano[c], TOKENS_PER_PRICE);
}

/* The cost of a part at its own price, taken out of *left. A part without one stays in the total
 * and is paid as such. */
static price_wide price_part(
	const struct price *p, enum price_component c, int64_t tokens, int64_t *left)
{
	if (!p->has[c] || tokens <= 0)
		return 0;
	*left = tokens < *left ? *left - tokens : 0;
	return price_component(p, c, tokens);
}

int price_cost(const struct price *p, const struct price_usage *u, int64_t *ret_nano)
{
	int64_t input = MAX(u->input, 0), output = MAX(u->output, 0);
	price_wide sum = p->has[PRICE_per_request] ? p->nano[PRICE_per_request] : 0;

	sum += price_part(p, PRICE_cached_input, u->cached_input, &input);
	sum += price_part(p, PRICE_cache_write, u->cache_write, &input);
	sum += price_part(p, PRICE_audio_in, u->audio_in, &input);
	sum += price_part(p, PRICE_reasoning, u->reasoning, &output);
	sum += price_part(p, PRICE_audio_out, u->audio_out, &output);
	sum += price_component(p, PRICE_input, input);
	sum += price_component(p, PRICE_output, output);
	if (UNLIKELY(p->has[PRICE_per_minute]))
		sum += price_divide(
			(price_wide)MAX(u->audio_ms, 0) * p->nano[PRICE_per_minute], MS_PER_MINUTE);
	if (sum > INT64_MAX || sum < INT64_MIN)
		return -ERANGE;
	*ret_nano = (int64_t)sum;
	return 0;
}
