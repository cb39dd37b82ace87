/* What all workers share, and the control loop with them. The agent makes it before the first
 * worker starts and frees it behind the last. */
#ifndef AGENTD_REQUEST_GATEWAY_H
#define AGENTD_REQUEST_GATEWAY_H

#include "stats/stats.h"

#include <aigw/base.h>

#include <stdatomic.h>

#define GATEWAY_WORKERS_MAX 64

/* Gauges and switches as atomics, stores by their own rules. */
struct gateway {
	struct inflight *inflight;
	struct committer *committer;
	struct spool *spool;
	struct idempotency *idempotency;
	struct keyset *keyset;
	struct stats *stats;
	struct health *health;
	struct capacities *capacities;
	struct line_ring *calls;             /* struct finished of the last ones; NULL: not kept */
	struct line_ring *traces, *troubled; /* struct trace; with calls or not at all */
	_Atomic uint64_t body_bytes;         /* request bodies in memory */
	_Atomic uint64_t max_body, body_memory;
	_Atomic uint32_t connections, max_connections;    /* of clients */
	_Atomic uint64_t project_bytes[STAT_MAX_OBJECTS]; /* of body_bytes, by the project's slot */
	_Atomic uint64_t upload_bytes; /* reserved for uploads that are held whole; beside them */
	_Atomic uint64_t project_uploads[STAT_MAX_OBJECTS];
	_Atomic uint32_t queued[GATEWAY_WORKERS_MAX]; /* calls that wait in each worker */
	const char *agent_id;                         /* the agent owns it */
	unsigned n_workers;
	_Atomic bool strict;
	_Atomic bool draining; /* by a signal or by the control socket */
};

#endif
