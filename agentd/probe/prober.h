/* Active probes: what the policy's `health: {probe: ...}` asks for, one per agent and credential,
 * each with its own time; and probes by hand, which `provider test` asks for. It owns the probes on
 * their way, their pools and the timer. What comes of them goes into the words of how targets stand
 * (health.h), by the table of error classes:
 *
 *   good      takes back what a probe has seen fail, and nothing else: most providers list models
 *             to a key whose account is empty, some to any, and a model may fail alone. Then open
 *             circuits of the provider's targets close, and its credential is no longer held.
 *   failed    counts as a failed call of a caller of its own; an open circuit stays so until after
 *             the next probe, so that no call has to pay for what is known
 *   refused,  hold the credential, as of a call
 *   empty
 *   cannot    what it answers (404, a key that may not list, a limit) says nothing of calls
 *   tell
 *
 * The first of a provider's credentials that this host has speaks for the targets, each for itself.
 * What calls have seen fail is asked about within a second, and while something is out it is asked
 * as often as a circuit would be tried. Drains change nothing: an operator wants to know whether
 * the provider is back.
 *
 * A probe by hand counts no failure; a good one lets one call try at once what is held or open.
 *
 * Control loop. Without a provider that is probed nothing is allocated and no timer runs. */
#ifndef AGENTD_PROBE_PROBER_H
#define AGENTD_PROBE_PROBER_H

#include "probe/probe.h"

#define PROBER_RUNNING_MAX 16 /* probes on their way at once, those by hand apart */
#define PROBER_TESTS_MAX   8
#define PROBER_LOOK_US     USEC_PER_S

struct prober {
	struct loop *loop;
	struct stats_block *stats; /* of the control loop */
	struct health *health;
	struct rules *rules; /* a reference while something is probed, else NULL */
	struct probed *providers;
	struct probe_slot *slots;
	uint32_t n_providers, n_slots, n_running;
	struct deadline look;
	usec looked_us; /* when it was last */
	struct list tests;
	unsigned n_tests;
	uint64_t chance;
};

void prober_init(
	struct prober *o, struct loop *loop, struct stats_block *stats, struct health *health);
/* What is in force from now on. Without memory nothing is probed, and the log says so. */
void prober_take(struct prober *o, struct rules *rules);
/* Ends all; those who wait for a test get no word. */
void prober_close(struct prober *o);

struct prober_row {
	uint32_t credential; /* of the provider's */
	bool missing;        /* this host has no such secret: nothing was sent */
	bool due;            /* something was held or open, and may be tried now */
	struct probe_result result;
};
struct prober_test;
struct prober_ask {
	struct rules *rules; /* a reference is taken */
	uint32_t provider;
	uint32_t credentials; /* bits; of a provider without one: 1 */
	usec most_us;         /* of each; 0: as the provider's timeouts have it */
	/* From the loop. `rows` and the test are gone after. */
	void (*done)(const struct rules *rules, uint32_t provider, const struct prober_row *rows,
		uint32_t n, void *owner);
	void *owner;
};
/* -EBUSY: as many run as may; -ENOMEM. */
int prober_test(struct prober *o, const struct prober_ask *a, struct prober_test **ret);
void prober_test_stop(struct prober_test *t); /* without `done` */

#endif
