/* What was decided about a call: each target with its reason, each try that came to nothing, what
 * followed. Kept in bounded rings for who asks afterwards: one of the calls that had a choice or
 * came to trouble, one of the latter alone, so that good traffic does not push them out. A call to
 * a lone target that went well leaves none: struct finished says all there is.
 *
 * Posted by the slot's worker when the call is settled; read by any thread. Numbers that name
 * things of route/ and request/ are theirs: enum plan_why, enum target_state, enum attempt_failure.
 */
#ifndef AGENTD_ACCOUNT_TRACE_H
#define AGENTD_ACCOUNT_TRACE_H

#include "account/finished.h"

#define TRACE_TARGETS_MAX 16
#define TRACE_TRIES_MAX   10
#define TRACE_NONE        255

struct trace_target {
	uint8_t why, state; /* when it was planned */
};

enum trace_next {
	TRACE_GIVEN_UP,
	TRACE_FALLBACK,
	TRACE_AGAIN,
	TRACE_OTHER_CREDENTIAL,
	TRACE_CONTINUED /* from the text delivered */
};

/* A try at a provider that came to nothing. */
struct trace_try {
	uint32_t at_ms;   /* since the call began */
	uint32_t wait_ms; /* until the next one */
	uint16_t status;  /* 0: none came */
	uint8_t target;   /* of the model's */
	uint8_t failure;  /* 0: by status */
	uint8_t class;    /* enum error_class */
	uint8_t next;     /* enum trace_next */
};

struct trace {
	struct finished call;
	uint8_t n_targets, n_tries;
	uint8_t served;     /* the target that was called last; TRACE_NONE: none */
	uint8_t degraded;   /* all were out */
	uint32_t queued_ms; /* it has waited for a target */
	struct trace_target targets[TRACE_TARGETS_MAX];
	struct trace_try tries[TRACE_TRIES_MAX];
	struct slice provider[TRACE_TARGETS_MAX],
		model[TRACE_TARGETS_MAX]; /* empty: no room was left */
};

/* Of `t`, all but `call`, which the slot has. */
void trace_post(struct line_ring *ring, const struct slot *s, const struct trace *t);
/* What line_ring_read() gave. False: it is none. Slices point into bytes. */
bool trace_read(struct slice bytes, struct trace *ret);

#endif
