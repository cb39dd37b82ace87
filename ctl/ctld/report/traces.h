/* What agents tell about calls that failed or fell back, so that somebody who has only a request's
 * id need not know on which host it ran. In memory and bounded: by bytes, of all and of one agent,
 * and by age; the oldest go first. A restart forgets them, and the agents tell anew what they still
 * know (account/uplink_traces.c): nothing is written for what is seldom asked for. The text is an
 * agent's word about its own calls and is not looked into here. Loop's thread. */
#ifndef CTLD_REPORT_TRACES_H
#define CTLD_REPORT_TRACES_H

#include <aigw/base.h>
#include <aigw/slice.h>

#define TRACES_MAX_BYTES   ((size_t)32 << 20)
#define TRACES_AGENT_BYTES ((size_t)4 << 20)
#define TRACES_AGE_US      (24 * 3600 * USEC_PER_S)
#define TRACES_MAX_TEXT    ((size_t)8 << 10) /* of one */

struct traces;

struct traces_limits {
	size_t bytes, agent_bytes; /* texts and what keeps them */
	usec age_us;
};

struct traces_counts {
	uint64_t kept, lost; /* since the start; lost: before or when they came */
	size_t n, bytes;     /* now */
};

struct traces_found {
	const char *agent, *host; /* valid until the next traces_put() or traces_prune() */
	struct slice text;
};

int traces_new(const struct traces_limits *limits, struct traces **ret); /* -ENOMEM */
void traces_free(struct traces *t);                                      /* NULL is allowed */

/* 0: kept, or known already (the first who told of a call is believed). -EMSGSIZE, -ENOMEM: it is
 * lost, and counted. */
int traces_put(struct traces *t, const uint8_t op_id[static 16], const char *agent,
	const char *host, struct slice text, usec now_us);
void traces_note_lost(struct traces *t, uint64_t n);
bool traces_find(
	struct traces *t, const uint8_t op_id[static 16], usec now_us, struct traces_found *ret);
void traces_prune(struct traces *t, usec now_us); /* those that are too old */
struct traces_counts traces_counts(const struct traces *t);

#endif
