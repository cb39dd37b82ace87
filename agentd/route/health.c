#include "route/health.h"

#include <aigw/hash.h>

#include <stdatomic.h>

/* circuit: 2 bits of state, 14 of failures, 48 of milliseconds. */
enum { CLOSED, OPEN, PROBING };
#define FAILURES_MAX 16383u
#define FAILURE      (UINT64_C(1) << 48) /* one of them */
#define TIME_MASK    ((UINT64_C(1) << 48) - 1)

struct place {
	_Atomic uint64_t circuit;
	_Atomic uint64_t hold; /* microseconds << 3 | enum target_state; 0: none */
	_Atomic uint64_t trips;
	_Atomic uint64_t drained; /* microseconds: its end; 0: it is not */
	_Atomic uint64_t window;  /* ms of its begin << 32 | results << 16 | of these, failures */
	_Atomic uint64_t row;     /* whose failures: ROW_MIXED, caller */
	_Atomic uint64_t ok;      /* the last success: seconds << 32 | caller */
	_Atomic uint64_t
		latency;        /* microseconds << 32 | milliseconds of the last sample; 0: none */
	_Atomic uint64_t asked; /* microseconds: the first call since then; 0: all have answered */
	_Atomic uint64_t left;  /* milliseconds of its end << 16 | thousandths; 0: not known */
	/* The last active probe: milliseconds it took << 32 | status << 16 | verdict << 8 | reason;
	 * when, in microseconds, 0: none; good ones << 32 | others. */
	_Atomic uint64_t probe_result, probe_at, probe_counts;
};

#define ROW_MIXED (UINT64_C(1) << 32)

struct name {
	UT_hash_handle hh;
	struct name *older;
	uint32_t place;
	char text[]; /* provider, newline, model */
};

struct health {
	struct place places[HEALTH_PLACES];
	struct name *names, *last;
	uint32_t n; /* places in use, 0 included */
	unsigned n_workers;
	/* By worker and place: each worker writes its own part alone. Pages come with their use. */
	_Atomic uint32_t *in_flight;
};

const char *target_state_name(enum target_state s)
{
	static const char *const names[] = {
		[TARGET_OK] = "ok",
		[TARGET_OPEN] = "open",
		[TARGET_PROBING] = "probing",
		[TARGET_RATE_LIMITED] = "rate_limited",
		[TARGET_NO_CREDENTIAL] = "no_credential",
		[TARGET_PROVIDER_QUOTA] = "provider_quota",
		[TARGET_DRAINED] = "drained",
		[TARGET_AT_CAPACITY] = "at_capacity",
	};

	return names[s];
}

int health_new(unsigned n_workers, struct health **ret)
{
	struct health *h = calloc(1, sizeof(*h));

	if (h)
		h->in_flight = calloc((size_t)n_workers * HEALTH_PLACES, sizeof(*h->in_flight));
	if (!h || !h->in_flight) {
		free(h);
		return -ENOMEM;
	}
	h->n_workers = n_workers;
	h->n = 1;
	*ret = h;
	return 0;
}

void health_free(struct health *h)
{
	struct name *name;

	if (!h)
		return;
	HASH_CLEAR(hh, h->names);
	while ((name = h->last) != NULL) {
		h->last = name->older;
		free(name);
	}
	free(h->in_flight);
	free(h);
}

uint32_t health_place(struct health *h, struct slice provider, struct slice model)
{
	size_t n = provider.n + 1 + model.n;
	struct name *found = NULL, *fresh = malloc(sizeof(*fresh) + n);
	bool out_of_memory = false;

	if (!fresh)
		return 0;
	memcpy(fresh->text, provider.p, provider.n);
	fresh->text[provider.n] = '\n';
	if (model.n)
		memcpy(fresh->text + provider.n + 1, model.p, model.n);
	HASH_FIND(hh, h->names, fresh->text, n, found);
	if (!found && h->n < HEALTH_PLACES) {
		fresh->place = h->n;
		HASH_ADD_KEYPTR(hh, h->names, fresh->text, n, fresh);
		if (!out_of_memory) {
			fresh->older = h->last;
			h->last = fresh;
			return h->n++;
		}
	}
	free(fresh);
	return found ? found->place : 0;
}

/* --- the circuit's word --------------------------------------------------------------- */

static uint64_t word(unsigned state, unsigned failures, usec until_us)
{
	uint64_t n = failures < FAILURES_MAX ? failures : FAILURES_MAX;

	return (uint64_t)state << 62 | n * FAILURE |
	       ((uint64_t)(until_us / USEC_PER_MS) & TIME_MASK);
}

static unsigned state_of(uint64_t w)
{
	return (unsigned)(w >> 62);
}

static unsigned failures_of(uint64_t w)
{
	return (unsigned)(w >> 48) & FAILURES_MAX;
}

static usec until_of(uint64_t w)
{
	return (usec)(w & TIME_MASK) * USEC_PER_MS;
}

static struct place *place_of(struct health *h, uint32_t place)
{
	return place && place < HEALTH_PLACES ? &h->places[place] : NULL;
}

/* A refused credential, an empty account: not by time alone. */
static bool ends_by_try(uint64_t hold)
{
	return (hold & 7) == TARGET_NO_CREDENTIAL || (hold & 7) == TARGET_PROVIDER_QUOTA;
}

enum target_state health_state(
	const struct health *h, uint32_t place, usec now, usec *ret_recover_us)
{
	const struct place *p = &h->places[place < HEALTH_PLACES ? place : 0];
	uint64_t w = atomic_load_explicit(&p->circuit, memory_order_relaxed);
	uint64_t hold = atomic_load_explicit(&p->hold, memory_order_relaxed);

	*ret_recover_us = 0;
	if (hold && (usec)(hold >> 3) > now) {
		*ret_recover_us = (usec)(hold >> 3) - now;
		return (enum target_state)(hold & 7);
	}
	if (state_of(w) == CLOSED)
		return ends_by_try(hold) ? (enum target_state)(hold & 7) : TARGET_OK;
	*ret_recover_us = MAX(until_of(w) - now, (usec)0);
	/* A probe whose lease has run out is nobody's. */
	return state_of(w) == PROBING && *ret_recover_us ? TARGET_PROBING : TARGET_OPEN;
}

/* Of a credential, and of the target with it. */
static enum target_state way_state(const struct health *h, const struct health_ways *w, uint32_t i,
	usec now, usec *ret_recover_us)
{
	enum target_state s = health_state(h, w->credentials[i], now, ret_recover_us), pair;
	usec recover;

	if (!w->pairs || *ret_recover_us > 0)
		return s;
	pair = health_state(h, w->pairs[i], now, &recover);
	if (pair == TARGET_OK)
		return s;
	*ret_recover_us = recover;
	return pair;
}

static enum target_state stand_of_ways(const struct health *h, const struct health_ways *w,
	uint32_t first, usec now, usec *ret_recover_us, uint32_t *ret_way)
{
	enum target_state best = TARGET_NO_CREDENTIAL, s;
	usec soonest = TARGET_NEVER, recover;
	usec drained = (usec)atomic_load_explicit(
		&h->places[w->drain < HEALTH_PLACES ? w->drain : 0].drained, memory_order_relaxed);

	*ret_way = 0;
	if (drained > now) {
		*ret_recover_us = drained - now;
		return TARGET_DRAINED;
	}
	for (uint32_t k = 0; k < w->n; k++) {
		uint32_t i = (first + k) % w->n;

		if (!(w->usable >> i & 1))
			continue;
		s = way_state(h, w, i, now, &recover);
		if (s == TARGET_OK) {
			*ret_way = i;
			return health_state(h, w->target, now, ret_recover_us);
		}
		if (recover < soonest) {
			soonest = recover;
			best = s;
			*ret_way = i;
		}
		if (k == 0 && w->tries && recover == 0)
			break;
	}
	if (!w->n)
		return health_state(h, w->target, now, ret_recover_us);
	*ret_recover_us = soonest;
	if (soonest > 0)
		return best;
	s = health_state(h, w->target, now, ret_recover_us);
	return s == TARGET_OK ? best : s;
}

enum target_state health_stand(const struct health *h, const struct health_ways *w, uint32_t first,
	usec now, usec *ret_recover_us, uint32_t *ret_way)
{
	enum target_state s = stand_of_ways(h, w, first, now, ret_recover_us, ret_way);

	if (!w->calls || !target_is_callable(s, *ret_recover_us) ||
		capacity_used(w->calls) < w->concurrency)
		return s;
	*ret_recover_us = CAPACITY_AGAIN_US;
	return TARGET_AT_CAPACITY;
}

bool health_take_probe(struct health *h, uint32_t place, usec now, usec lease_us)
{
	struct place *p = place_of(h, place);
	uint64_t w = p ? atomic_load_explicit(&p->circuit, memory_order_relaxed) : 0;

	return p && state_of(w) != CLOSED && until_of(w) <= now &&
	       atomic_compare_exchange_strong_explicit(&p->circuit, &w,
		       word(PROBING, failures_of(w), now + lease_us), memory_order_relaxed,
		       memory_order_relaxed);
}

void health_give_back(struct health *h, uint32_t place, usec now)
{
	struct place *p = place_of(h, place);
	uint64_t w = p ? atomic_load_explicit(&p->circuit, memory_order_relaxed) : 0;

	if (p && state_of(w) == PROBING)
		(void)atomic_compare_exchange_strong_explicit(&p->circuit, &w,
			word(OPEN, failures_of(w), now), memory_order_relaxed,
			memory_order_relaxed);
}

/* Where a hold of this way may stand. */
#define WAY_PLACES 3
static void places_of_way(const struct health_ways *w, uint32_t way, uint32_t ret[WAY_PLACES])
{
	ret[0] = way < w->n ? w->credentials[way] : 0;
	ret[1] = way < w->n && w->pairs ? w->pairs[way] : 0;
	ret[2] = w->target;
}

/* Of what has been taken: what is another's by now stays. until_us 0: free. */
static void end_lease(
	struct health *h, const struct health_ways *w, uint32_t way, usec lease, usec until_us)
{
	uint32_t at[WAY_PLACES];

	places_of_way(w, way, at);
	for (unsigned i = 0; lease && i < WAY_PLACES; i++) {
		struct place *p = place_of(h, at[i]);
		uint64_t hold = p ? atomic_load_explicit(&p->hold, memory_order_relaxed) : 0;

		if (hold && hold >> 3 == (uint64_t)lease)
			(void)atomic_compare_exchange_strong_explicit(&p->hold, &hold,
				until_us ? (uint64_t)until_us << 3 | (hold & 7) : 0,
				memory_order_relaxed, memory_order_relaxed);
	}
}

bool health_take_way(struct health *h, const struct health_ways *w, uint32_t way, usec now,
	usec lease_us, usec *ret_lease)
{
	uint32_t at[WAY_PLACES];
	usec lease = now + MAX(lease_us, (usec)1);

	*ret_lease = 0;
	places_of_way(w, way, at);
	for (unsigned i = 0; i < WAY_PLACES; i++) {
		struct place *p = place_of(h, at[i]);
		uint64_t hold = p ? atomic_load_explicit(&p->hold, memory_order_relaxed) : 0;

		if (!ends_by_try(hold))
			continue;
		if ((usec)(hold >> 3) > now ||
			!atomic_compare_exchange_strong_explicit(&p->hold, &hold,
				(uint64_t)lease << 3 | (hold & 7), memory_order_relaxed,
				memory_order_relaxed)) {
			health_way_back(h, w, way, now, *ret_lease);
			*ret_lease = 0;
			return false;
		}
		*ret_lease = lease;
	}
	return true;
}

void health_way_ok(struct health *h, const struct health_ways *w, uint32_t way, usec lease)
{
	end_lease(h, w, way, lease, 0);
}

void health_way_back(
	struct health *h, const struct health_ways *w, uint32_t way, usec now, usec lease)
{
	end_lease(h, w, way, lease, now);
}

bool health_ok(struct health *h, uint32_t place, bool probe)
{
	struct place *p = place_of(h, place);
	uint64_t w;

	if (!p)
		return false;
	w = atomic_load_explicit(&p->circuit, memory_order_relaxed);
	/* The usual call: nothing to write. One that was sent before it opened proves nothing. */
	while (w && (state_of(w) == CLOSED || probe)) {
		if (atomic_compare_exchange_weak_explicit(
			    &p->circuit, &w, 0, memory_order_relaxed, memory_order_relaxed))
			return state_of(w) != CLOSED;
	}
	return false;
}

static uint32_t millis(usec t)
{
	return (uint32_t)(t / USEC_PER_MS);
}

/* Milliseconds since; 0 if another worker's clock was read later than ours. */
static uint32_t since(uint64_t then, usec now)
{
	uint32_t d = millis(now) - (uint32_t)then;

	return d > UINT32_MAX - 60000 ? 0 : d;
}

/* The window with this result. */
static uint64_t count(struct place *p, usec now, bool failed)
{
	uint64_t w = atomic_load_explicit(&p->window, memory_order_relaxed), to;

	do {
		uint64_t n = (w >> 16 & 0xffff) + 1, k = (w & 0xffff) + failed;

		to = w >> 32 << 32;
		if (since(w >> 32, now) >= HEALTH_WINDOW_US / USEC_PER_MS) {
			to = (uint64_t)millis(now) << 32;
			n = 1;
			k = failed;
		}
		if (n > 0xffff) {
			n /= 2;
			k /= 2;
		}
		to |= n << 16 | k;
	} while (!atomic_compare_exchange_weak_explicit(
		&p->window, &w, to, memory_order_relaxed, memory_order_relaxed));
	return to;
}

/* Whether the row is this caller's alone, while others fare well. */
static bool is_callers_own(struct place *p, bool first, usec now, uint32_t caller)
{
	uint64_t ok = atomic_load_explicit(&p->ok, memory_order_relaxed);
	uint64_t row = first ? caller : atomic_load_explicit(&p->row, memory_order_relaxed);

	if ((uint32_t)row != caller)
		row |= ROW_MIXED;
	atomic_store_explicit(&p->row, row, memory_order_relaxed);
	return !(row & ROW_MIXED) && ok && (uint32_t)ok != caller &&
	       now - (usec)(ok >> 32) * USEC_PER_S < HEALTH_OTHERS_US;
}

bool health_failed(struct health *h, uint32_t place, usec now, const struct health_failure *f)
{
	struct place *p = place_of(h, place);
	uint64_t w, to, results;
	bool half, own;

	if (!p)
		return false;
	w = atomic_load_explicit(&p->circuit, memory_order_relaxed);
	if (state_of(w) != CLOSED && !(f->probe && state_of(w) == PROBING))
		return false;
	results = f->min_samples ? count(p, now, true) : 0;
	half = f->min_samples && (results >> 16 & 0xffff) >= f->min_samples &&
	       (results & 0xffff) * 2 >= (results >> 16 & 0xffff);
	own = is_callers_own(p, failures_of(w) == 0, now, f->caller);
	do {
		unsigned n = failures_of(w) + 1;
		bool opens = half || n >= f->open_after;

		if (state_of(w) != CLOSED && !(f->probe && state_of(w) == PROBING))
			return false;
		if (state_of(w) == PROBING || (opens && !own))
			to = word(OPEN, n, now + f->open_us);
		else
			to = word(CLOSED, opens ? 1 : n, 0);
	} while (!atomic_compare_exchange_weak_explicit(
		&p->circuit, &w, to, memory_order_relaxed, memory_order_relaxed));
	if (state_of(w) != CLOSED || state_of(to) != OPEN)
		return false;
	atomic_store_explicit(&p->window, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->trips, 1, memory_order_relaxed);
	return true;
}

void health_count_ok(struct health *h, uint32_t place, usec now)
{
	struct place *p = place_of(h, place);

	if (p)
		(void)count(p, now, false);
}

bool health_wants_ok(const struct health *h, uint32_t place, usec now)
{
	const struct place *p = &h->places[place < HEALTH_PLACES ? place : 0];

	return atomic_load_explicit(&p->ok, memory_order_relaxed) >> 32 !=
	       (uint64_t)(now / USEC_PER_S);
}

void health_note_ok(struct health *h, uint32_t place, usec now, uint32_t caller)
{
	struct place *p = place_of(h, place);

	if (p)
		atomic_store_explicit(
			&p->ok, (uint64_t)(now / USEC_PER_S) << 32 | caller, memory_order_relaxed);
}

bool health_hold(struct health *h, uint32_t place, enum target_state why, usec now, usec us)
{
	struct place *p = place_of(h, place);
	uint64_t to = (uint64_t)(now + MIN(us, HEALTH_HOLD_US)) << 3 | (uint64_t)why;
	uint64_t hold;

	if (!p)
		return false;
	hold = atomic_load_explicit(&p->hold, memory_order_relaxed);
	do {
		if (hold >> 3 >= to >> 3)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&p->hold, &hold, to, memory_order_relaxed, memory_order_relaxed));
	return (usec)(hold >> 3) <= now;
}

void health_release(struct health *h, uint32_t place)
{
	struct place *p = place_of(h, place);

	if (p)
		atomic_store_explicit(&p->hold, 0, memory_order_relaxed);
}

bool health_release_of(struct health *h, uint32_t place, enum target_state why)
{
	struct place *p = place_of(h, place);
	uint64_t hold = p ? atomic_load_explicit(&p->hold, memory_order_relaxed) : 0;

	return hold && (hold & 7) == why &&
	       atomic_compare_exchange_strong_explicit(
		       &p->hold, &hold, 0, memory_order_relaxed, memory_order_relaxed);
}

void health_keep_open(struct health *h, uint32_t place, usec now, usec us)
{
	struct place *p = place_of(h, place);
	uint64_t w = p ? atomic_load_explicit(&p->circuit, memory_order_relaxed) : 0;

	while (state_of(w) == OPEN && until_of(w) < now + us) {
		if (atomic_compare_exchange_weak_explicit(&p->circuit, &w,
			    word(OPEN, failures_of(w), now + us), memory_order_relaxed,
			    memory_order_relaxed))
			return;
	}
}

bool health_make_due(struct health *h, uint32_t place, usec now)
{
	struct place *p = place_of(h, place);
	uint64_t w = p ? atomic_load_explicit(&p->circuit, memory_order_relaxed) : 0;
	uint64_t hold = p ? atomic_load_explicit(&p->hold, memory_order_relaxed) : 0;
	bool done = false;

	if (state_of(w) == OPEN && until_of(w) > now)
		done = atomic_compare_exchange_strong_explicit(&p->circuit, &w,
			word(OPEN, failures_of(w), now), memory_order_relaxed,
			memory_order_relaxed);
	if (ends_by_try(hold) && (usec)(hold >> 3) > now)
		done |= atomic_compare_exchange_strong_explicit(&p->hold, &hold,
			(uint64_t)now << 3 | (hold & 7), memory_order_relaxed,
			memory_order_relaxed);
	return done;
}

void health_drain(struct health *h, uint32_t place, usec until_us)
{
	struct place *p = place_of(h, place);

	if (p)
		atomic_store_explicit(&p->drained, (uint64_t)until_us, memory_order_relaxed);
}

uint64_t health_trips(const struct health *h, uint32_t place)
{
	return atomic_load_explicit(
		&h->places[place < HEALTH_PLACES ? place : 0].trips, memory_order_relaxed);
}

/* --- active probes -------------------------------------------------------------------- */

const char *probe_verdict_name(enum probe_verdict v)
{
	static const char *const names[] = {
		[PROBE_GOOD] = "good",
		[PROBE_FAILED] = "failed",
		[PROBE_REFUSED] = "refused",
		[PROBE_EMPTY] = "empty",
		[PROBE_CANNOT_TELL] = "cannot_tell",
	};

	return names[v];
}

void health_probed(struct health *h, uint32_t place, const struct health_probe *p)
{
	struct place *at = place_of(h, place);
	uint64_t n;

	if (!at)
		return;
	n = atomic_load_explicit(&at->probe_counts, memory_order_relaxed);
	atomic_store_explicit(&at->probe_counts,
		(uint64_t)((uint32_t)(n >> 32) + p->good) << 32 | ((uint32_t)n + p->others),
		memory_order_relaxed);
	atomic_store_explicit(&at->probe_result,
		(uint64_t)(MIN(p->took_us, 3600 * USEC_PER_S) / USEC_PER_MS) << 32 |
			(uint64_t)p->status << 16 | (uint64_t)p->verdict << 8 | p->reason,
		memory_order_relaxed);
	atomic_store_explicit(&at->probe_at, (uint64_t)p->at_us, memory_order_relaxed);
}

bool health_last_probe(const struct health *h, uint32_t place, struct health_probe *ret)
{
	const struct place *p = &h->places[place < HEALTH_PLACES ? place : 0];
	uint64_t result = atomic_load_explicit(&p->probe_result, memory_order_relaxed);
	uint64_t counts = atomic_load_explicit(&p->probe_counts, memory_order_relaxed);

	*ret = (struct health_probe){
		.at_us = (usec)atomic_load_explicit(&p->probe_at, memory_order_relaxed),
		.took_us = (usec)(result >> 32) * USEC_PER_MS,
		.status = (uint16_t)(result >> 16),
		.verdict = (enum probe_verdict)(result >> 8 & 0xff),
		.reason = (uint8_t)result,
		.good = (uint32_t)(counts >> 32),
		.others = (uint32_t)counts,
	};
	return ret->at_us != 0;
}

/* --- numbers -------------------------------------------------------------------------- */

/* v halved for every `half` of t; between two halvings by a parabola with the curve's slope at its
 * beginning. */
static uint64_t halved(uint64_t v, uint64_t t, uint64_t half)
{
	uint64_t times = t / half, x;

	if (times >= 32)
		return 0;
	x = (t % half << 16) / half; /* and its parts: of 65536 */
	return (v >> times) * (65536 - ((45426 * x - (12658 * x * x >> 16)) >> 16)) >> 16;
}

struct health_numbers health_read(const struct health *h, uint32_t place, usec now)
{
	const struct place *p = &h->places[place < HEALTH_PLACES ? place : 0];
	uint64_t latency = atomic_load_explicit(&p->latency, memory_order_relaxed);
	uint64_t asked = atomic_load_explicit(&p->asked, memory_order_relaxed);
	uint64_t left = atomic_load_explicit(&p->left, memory_order_relaxed);
	struct health_numbers n = { .left = HEALTH_LEFT_ALL };

	for (unsigned i = 0; i < h->n_workers && p != h->places; i++)
		n.in_flight += atomic_load_explicit(
			&h->in_flight[(size_t)i * HEALTH_PLACES + (size_t)(p - h->places)],
			memory_order_relaxed);
	if (latency) {
		n.latency_us = (usec)(latency >> 32);
		n.latency_age_us = (usec)since(latency, now) * USEC_PER_MS;
	}
	if (asked && now - (usec)asked > n.latency_us && latency) {
		n.latency_us = now - (usec)asked;
		n.latency_age_us = 0;
	}
	if ((usec)(left >> 16) * USEC_PER_MS > now)
		n.left = (uint32_t)left & 0xffff;
	return n;
}

void health_in_flight(struct health *h, unsigned worker, uint32_t place, int change)
{
	_Atomic uint32_t *n;

	if (!place_of(h, place))
		return;
	n = &h->in_flight[(size_t)worker * HEALTH_PLACES + place];
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (uint32_t)change,
		memory_order_relaxed);
}

void health_asked(struct health *h, uint32_t place, usec now)
{
	struct place *p = place_of(h, place);

	if (p && !atomic_load_explicit(&p->asked, memory_order_relaxed))
		atomic_store_explicit(&p->asked, (uint64_t)now, memory_order_relaxed);
}

/* As far from the sample as the time since the last one leaves of it. */
static uint64_t averaged(uint64_t before, usec now, uint64_t us)
{
	uint64_t old = before >> 32;
	uint64_t age = since(before, now);
	uint64_t half = HEALTH_LATENCY_HALF_US / USEC_PER_MS;

	if (!before)
		return us;
	return old > us ? us + halved(old - us, age, half) : us - halved(us - old, age, half);
}

void health_latency(struct health *h, uint32_t place, usec now, usec us, bool answered)
{
	struct place *p = place_of(h, place);
	uint64_t sample = (uint64_t)MAX(MIN(us, (usec)UINT32_MAX), (usec)1), w, to;

	if (!p)
		return;
	atomic_store_explicit(&p->asked, 0, memory_order_relaxed);
	w = atomic_load_explicit(&p->latency, memory_order_relaxed);
	do {
		if (!answered && (!w || w >> 32 >= sample))
			return;
		to = averaged(w, now, sample) << 32 | millis(now);
	} while (!atomic_compare_exchange_weak_explicit(
		&p->latency, &w, to, memory_order_relaxed, memory_order_relaxed));
}

void health_left(struct health *h, uint32_t place, usec now, uint32_t left, usec reset_us)
{
	struct place *p = place_of(h, place);
	usec until = now + (reset_us ? MIN(reset_us, HEALTH_HOLD_US) : HEALTH_LEFT_US);

	if (p)
		atomic_store_explicit(&p->left,
			(uint64_t)((until + USEC_PER_MS - 1) / USEC_PER_MS) << 16 |
				MIN(left, (uint32_t)HEALTH_LEFT_ALL),
			memory_order_relaxed);
}
