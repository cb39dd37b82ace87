/* The API of this host's agent as an application calls it: chat and try. With OPENAI_BASE_URL and
 * OPENAI_API_KEY (as `env` sets them) at that loopback port, else on the unix socket, where the
 * policy may know the caller without a key. One thread. */
#ifndef AIGWCTL_CHAT_H
#define AIGWCTL_CHAT_H

#include "cli.h"
#include "exchange.h"

struct chat_way {
	struct exchange_peer peer;
	char path[256];  /* before "/chat/completions" */
	const char *key; /* borrowed from the environment; NULL: none */
};

/* EXIT_DONE, or an exit code whose sentence has been said; so does chat_call(). */
int chat_way(const struct cli *c, struct chat_way *ret);
/* What is not a 200 is a failure, and the answer's own words are the sentence. */
int chat_call(const struct cli *c, const struct chat_way *w, const char *method, const char *below,
	struct slice body, struct exchange_answer *a);

#endif
