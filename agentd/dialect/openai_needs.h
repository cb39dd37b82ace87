/* What a request needs of whoever serves it: asked only where the policy makes a difference by it.
 * A walk of its own over a body that openai_scan() took; builds and allocates nothing. Pure; any
 * thread. Sources: OpenAI API reference (chat, responses) as of 2026-11. */
#ifndef AGENTD_DIALECT_OPENAI_NEEDS_H
#define AGENTD_DIALECT_OPENAI_NEEDS_H

#include <aigw/capability.h>
#include <aigw/slice.h>

struct openai_needs {
	uint32_t features;      /* bits of enum capability, endpoints apart */
	struct slice cache_key; /* raw string value: prompt_cache_key, else metadata.user_id; empty:
				   none */
};

void openai_needs(struct slice body, struct openai_needs *ret);

#endif
