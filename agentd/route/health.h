/* How targets stand: what every worker learns from its calls, and what routing asks before each. A
 * target (a provider and its name of a model) has a place for the life of the process, so that a
 * new policy forgets nothing; credentials have places, too, and so has a target with each of
 * several credentials, since limits are theirs.
 *
 * A place is a few words that any thread changes by compare-and-swap: no lock, no owner, no timer.
 *
 *   circuit   closed --N failures in a row--> open --after a while, by one call--> probing
 *                ^                              ^                                    |
 *                |               (or half of the last ones failed)                    |
 *                +------------ it went well ----|------------------------------------+
 *                                               +-- it failed; or was given back: open, due at once
 *   A probe holds a lease: one that never reports (a lost worker, a reload) is taken over when it
 *   has run out, so there is no state without a way out.
 *   hold      until when nothing is sent, and why: the hint of a 429, a refused credential, an
 *             empty account. The last two end by a try: when the time is over one call may, by a
 *             lease as above, and the others may when it went well.
 *
 * An active probe (prober.h) says something of what it has seen fail only: of that it closes
 * circuits and ends holds.
 *
 * What one caller's calls come to says more of these than of the target: a row of failures of one
 * caller alone opens nothing while another one has had success there within HEALTH_OTHERS_US. By
 * approximation: of each second's successes the first one's caller is known.
 *
 *   drained   until when an operator wants nothing sent, of each model's target its own.
 *
 * Beside these stand numbers that strategies ask for: calls in flight, the time to first content
 * and what is left of the provider's limit. Relaxed atomics too; a race costs a number its last
 * bit, not its sense.
 *
 * Times are monotonic microseconds, and given: nothing here reads a clock. */
#ifndef AGENTD_ROUTE_HEALTH_H
#define AGENTD_ROUTE_HEALTH_H

#include "route/capacity.h"

#define HEALTH_PLACES  16384                    /* place 0 is for those beyond: always well */
#define HEALTH_HOLD_US (24 * 3600 * USEC_PER_S) /* no hint holds longer */
#define HEALTH_WINDOW_US                                                                           \
	(10 * USEC_PER_S) /* in which results are counted for a share; then from none again */
#define HEALTH_OTHERS_US (30 * USEC_PER_S)
#define HEALTH_AUTH_US   (30 * USEC_PER_S)   /* a refused credential, until it is tried again */
#define HEALTH_QUOTA_US  (1800 * USEC_PER_S) /* an empty account */

enum target_state {
	TARGET_OK,
	TARGET_OPEN,
	TARGET_PROBING, /* another call is trying it */
	TARGET_RATE_LIMITED,
	TARGET_NO_CREDENTIAL,
	TARGET_PROVIDER_QUOTA,
	TARGET_DRAINED,     /* by an operator: gets no call, by whatever way */
	TARGET_AT_CAPACITY, /* well, but its provider has as many calls as the policy allows */
	TARGET_STATE_COUNT
};
const char *target_state_name(enum target_state s);

struct health;

int health_new(unsigned n_workers, struct health **ret);
void health_free(struct health *h);
/* Made if new. One thread at a time. */
uint32_t health_place(struct health *h, struct slice provider, struct slice model);

/* All below: any thread. */

/* *ret_recover_us: until it may be tried again; 0: now. TARGET_OPEN with 0 is due: whoever takes
 * the probe may call. So are TARGET_NO_CREDENTIAL and TARGET_PROVIDER_QUOTA: whoever takes the way.
 */
enum target_state health_state(
	const struct health *h, uint32_t place, usec now, usec *ret_recover_us);
#define TARGET_NEVER INT64_MAX /* recover_us: not by waiting */
static inline bool target_is_callable(enum target_state s, usec recover_us)
{
	return s == TARGET_OK ||
	       (recover_us == 0 && (s == TARGET_OPEN || s == TARGET_NO_CREDENTIAL ||
					   s == TARGET_PROVIDER_QUOTA));
}

/* What a call to a target hangs on: the target, and one of its provider's credentials. */
struct health_ways {
	uint32_t target;             /* places */
	const uint32_t *credentials; /* n; 0: none is sent */
	const uint32_t *pairs; /* of the target with each credential: limits are theirs. NULL: with
				  one credential they are the target's */
	uint32_t n;
	uint32_t usable;              /* bits: the secret is there */
	uint32_t drain;               /* the place of an operator's word */
	const struct capacity *calls; /* of its provider; NULL: no limit */
	uint32_t concurrency;
	bool tries; /* the first that is asked is taken when it is due, too, though others stand
		       well: so that it gets its try */
};
/* *ret_way: the credential to be used, the first from `first` on that stands well. Where none does,
 * the one that is back soonest, and what holds it holds the target. */
enum target_state health_stand(const struct health *h, const struct health_ways *w, uint32_t first,
	usec now, usec *ret_recover_us, uint32_t *ret_way);
/* True: this call is the probe, and reports by health_ok, health_failed or health_give_back. */
bool health_take_probe(struct health *h, uint32_t place, usec now, usec lease_us);
/* Where the way is due: false: another call tries it. Else *ret_lease says what this one has taken,
 * 0: nothing was due; it reports by health_way_ok or health_way_back, before a new health_hold. */
bool health_take_way(struct health *h, const struct health_ways *w, uint32_t way, usec now,
	usec lease_us, usec *ret_lease);
void health_way_ok(struct health *h, const struct health_ways *w, uint32_t way, usec lease);
void health_way_back(
	struct health *h, const struct health_ways *w, uint32_t way, usec now, usec lease);
void health_give_back(struct health *h, uint32_t place, usec now);
/* `probe`: by the call that holds it. True: the circuit has closed by this. */
bool health_ok(struct health *h, uint32_t place, bool probe);
struct health_failure {
	bool probe;
	uint32_t caller;      /* a hash of who called */
	uint32_t open_after;  /* in a row */
	uint32_t min_samples; /* with at least so many results, half of them; 0: off */
	usec open_us;
};
/* True: it has opened by this. */
bool health_failed(struct health *h, uint32_t place, usec now, const struct health_failure *f);
/* A success of a provider with min_samples. */
void health_count_ok(struct health *h, uint32_t place, usec now);
/* Whose success it was. Asked first: health_wants_ok(), true once a second. */
bool health_wants_ok(const struct health *h, uint32_t place, usec now);
void health_note_ok(struct health *h, uint32_t place, usec now, uint32_t caller);
/* The later end counts. True: it was free before. */
bool health_hold(struct health *h, uint32_t place, enum target_state why, usec now, usec us);
void health_release(struct health *h, uint32_t place); /* of a hold */
/* Of one with that reason. True: there was one. */
bool health_release_of(struct health *h, uint32_t place, enum target_state why);
/* An open circuit stays so for at least `us`. */
void health_keep_open(struct health *h, uint32_t place, usec now, usec us);
/* An open circuit, a refused credential, an empty account may be tried now. True: one was not yet
 * to be. */
bool health_make_due(struct health *h, uint32_t place, usec now);
/* Until when it gets no calls; 0: it does. */
void health_drain(struct health *h, uint32_t place, usec until_us);
/* Times the circuit has opened since the start. */
uint64_t health_trips(const struct health *h, uint32_t place);

/* --- active probes -------------------------------------------------------------------- */

/* What one came to. */
enum probe_verdict {
	PROBE_GOOD,
	PROBE_FAILED,     /* as a call that fails for a moment */
	PROBE_REFUSED,    /* the credential is */
	PROBE_EMPTY,      /* the account is */
	PROBE_CANNOT_TELL /* it answers; whether calls are served shows with calls only */
};

const char *probe_verdict_name(enum probe_verdict v);

/* The last one's result, and how many there were. To be shown. */
struct health_probe {
	usec at_us;      /* monotonic */
	usec took_us;    /* at most an hour is told */
	uint16_t status; /* of the answer; 0: none */
	enum probe_verdict verdict;
	uint8_t reason; /* of no or no good answer: enum provider_error + 1; 0: the status tells */
	uint32_t good, others;
};
/* Its counts are added up here: 1 and 0, or 0 and 1. One thread. */
void health_probed(struct health *h, uint32_t place, const struct health_probe *p);
/* False: none yet. */
bool health_last_probe(const struct health *h, uint32_t place, struct health_probe *ret);

/* --- numbers ----------------------------------------------------------------------------- */

#define HEALTH_LATENCY_HALF_US (2 * USEC_PER_S)  /* a sample's weight halves in that time */
#define HEALTH_LEFT_US         (60 * USEC_PER_S) /* of a limit that doesn't tell its reset */
#define HEALTH_LEFT_ALL        1000              /* nothing of the limit is used */

struct health_numbers {
	uint32_t in_flight;
	/* To the first content: moving average, and since when it has stood so. 0: not known. Calls
	 * that have waited longer than it, without any answer, count with the time they wait. */
	usec latency_us, latency_age_us;
	uint32_t left; /* of HEALTH_LEFT_ALL, by the last answer's headers; unknown: all */
};
struct health_numbers health_read(const struct health *h, uint32_t place, usec now);
/* By that worker alone: no line of memory goes from one to the other for it. */
void health_in_flight(struct health *h, unsigned worker, uint32_t place, int change);
/* A call whose latency will be told has been sent. */
void health_asked(struct health *h, uint32_t place, usec now);
/* It has answered, or come to nothing, after `us`. `answered` false: it would have taken longer
 * still, so it counts only if it is worse than what is known; the first number is an answer's. */
void health_latency(struct health *h, uint32_t place, usec now, usec us, bool answered);
void health_left(struct health *h, uint32_t place, usec now, uint32_t left, usec reset_us);

#endif
