/* One probe: what a provider answers to a GET with one of its credentials, and how long each part
 * of the way took. It bills nothing and says nothing of a model: probe_judge() tells what can be
 * said. Bounded in time by the provider's timeouts, in bytes by PROBE_MAX_BYTES. It owns its
 * attempt and a reference of the rules; connections are never kept. One loop's thread. */
#ifndef AGENTD_PROBE_PROBE_H
#define AGENTD_PROBE_PROBE_H

#include "request/rules.h"
#include "upstream/attempt.h"

#include <aigw/error_class.h>

#define PROBE_MAX_BYTES (64u << 10) /* of an answer; what is longer is judged by its beginning */

struct probe_result {
	enum attempt_failure failure; /* ATTEMPT_OK: it has answered */
	bool undecodable;             /* with success, and it is no JSON */
	uint16_t status;              /* 0: none */
	enum error_class class;       /* none: success */
	enum probe_verdict verdict;
	usec hint_us;                                   /* what it says to wait */
	usec dns_us, connect_us, tls_us, first_byte_us; /* -1: did not come to that, or no such part
							   of the way */
	usec total_us;
	char why[64]; /* of a connection that did not come to be; may be empty */
};

struct probe_ask {
	struct rules *rules; /* a reference is taken */
	uint32_t provider;
	uint32_t credential; /* of the provider's; where it has none: 0 */
	struct pool *pool;   /* of probes alone: a reference is taken */
	usec most_us;        /* in all; 0: as the provider's timeouts have it */
	/* From the loop, never from within probe_start(). The probe is gone after. */
	void (*done)(const struct probe_result *r, void *owner);
	void *owner;
};

struct probe;

/* NULL: no memory. */
struct probe *probe_start(const struct probe_ask *a);
void probe_stop(struct probe *p); /* without `done` */

#endif
