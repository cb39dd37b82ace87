/* What a provider says of its limits: how long to wait, in microseconds, at most a year (0: it says
 * nothing), and how much is left. Pure; any
 * thread; allocates nothing. Sources: RFC 9110 10.2.3; OpenAI's and Anthropic's rate limit headers,
 * google.rpc.RetryInfo, recorded errors of OpenAI, Azure OpenAI, Groq and Google, as of 2026-11. */
#ifndef AGENTD_DIALECT_OPENAI_HINT_H
#define AGENTD_DIALECT_OPENAI_HINT_H

#include <aigw/h1.h>

/* As rate limit headers have it: "20ms", "12s", "6m0s", "1h2m3.5s" (OpenAI). */
usec openai_hint_of(struct slice duration);
/* Of an error's head: retry-after-ms, retry-after (seconds or a date), else until the limit that is
 * used up begins anew: x-ratelimit-reset-, a duration, or anthropic-ratelimit-...-reset, a time.
 * `wall_us`: now. */
usec openai_hint_of_head(const struct h1_head *h, usec wall_us);
/* How much of the scarcest limit is left that a head tells of: *ret_left of `all` (at most 65,536);
 * *ret_reset_us: until that one is whole again, 0: not said. False: it tells of none. */
bool openai_limit_left(const struct h1_head *h, usec wall_us, uint32_t all, uint32_t *ret_left,
	usec *ret_reset_us);
/* Of its body: error.details[].retryDelay (Google), else the message's words: "Please try again in
 * 6m0s", "Please retry after 20 seconds". */
usec openai_hint_in(struct slice body);

#endif
