/* How targets stand: each edge of the drawing in health.h, and that no schedule of results, lost
 * probes and pauses leads into a state without a way out. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "route/health.h"

#define OPEN_AFTER 3
#define OPEN_US    (20 * USEC_PER_S)
#define LEASE_US   (600 * USEC_PER_S)
#define T0         (1000 * USEC_PER_S)

static struct health *health;
static uint32_t place;

static int begin(void **state)
{
	(void)state;
	assert_int_equal(health_new(2, &health), 0);
	place = health_place(health, SLICE("openai"), SLICE("gpt-4o-mini"));
	return 0;
}

static int end(void **state)
{
	(void)state;
	health_free(health);
	return 0;
}

static bool fails_of(usec now, bool probe, uint32_t caller, uint32_t min_samples)
{
	const struct health_failure f = { probe, caller, OPEN_AFTER, min_samples, OPEN_US };

	return health_failed(health, place, now, &f);
}

static bool fails(usec now, bool probe)
{
	return fails_of(now, probe, 1, 0);
}

static void stands(enum target_state want, usec now, usec want_recover)
{
	usec recover;

	assert_int_equal(health_state(health, place, now, &recover), want);
	assert_int_equal(recover, want_recover);
}

static void places_are_for_ever(void **state)
{
	(void)state;
	assert_int_equal(health_place(health, SLICE("openai"), SLICE("gpt-4o-mini")), place);
	assert_int_not_equal(health_place(health, SLICE("openai"), SLICE("gpt-4o")), place);
	assert_int_not_equal(health_place(health, SLICE("openai"), SLICE_EMPTY), place);
	/* Neither half of a name runs into the other. */
	assert_int_not_equal(health_place(health, SLICE("openaig"), SLICE("pt-4o-mini")), place);
	for (int i = 0; i < HEALTH_PLACES; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "m%d", i);
		place = health_place(health, SLICE("x"), slice_str(name));
	}
	assert_int_equal(place, 0); /* beyond: always well */
	for (int i = 0; i < 100; i++)
		assert_false(fails(T0, false));
	stands(TARGET_OK, T0, 0);
}

static void failures_in_a_row_open_it(void **state)
{
	(void)state;
	assert_false(fails(T0, false));
	assert_false(fails(T0, false));
	assert_false(health_ok(health, place, false)); /* the row is broken */
	assert_false(fails(T0, false));
	assert_false(fails(T0, false));
	stands(TARGET_OK, T0, 0);
	assert_true(fails(T0, false));
	stands(TARGET_OPEN, T0, OPEN_US);
	assert_int_equal(health_trips(health, place), 1);
	assert_false(fails(T0, false));                /* the same storm's */
	assert_false(health_ok(health, place, false)); /* was sent before it opened */
	stands(TARGET_OPEN, T0 + OPEN_US - USEC_PER_MS, USEC_PER_MS);
	assert_false(health_take_probe(health, place, T0 + OPEN_US - USEC_PER_MS, LEASE_US));
	stands(TARGET_OPEN, T0 + OPEN_US, 0);
}

static void one_call_tries_it(void **state)
{
	usec due = T0 + OPEN_US;

	(void)state;
	for (int i = 0; i < OPEN_AFTER; i++)
		(void)fails(T0, false);
	assert_true(health_take_probe(health, place, due, LEASE_US));
	assert_false(health_take_probe(health, place, due, LEASE_US));
	stands(TARGET_PROBING, due, LEASE_US);
	assert_false(fails(due, false)); /* not the probe's */
	stands(TARGET_PROBING, due, LEASE_US);
	assert_false(fails(due, true)); /* open again, which is no new trip */
	stands(TARGET_OPEN, due, OPEN_US);
	due += OPEN_US;
	assert_true(health_take_probe(health, place, due, LEASE_US));
	health_give_back(health, place, due);
	stands(TARGET_OPEN, due, 0);
	assert_true(health_take_probe(health, place, due, LEASE_US));
	assert_true(health_ok(health, place, true));
	stands(TARGET_OK, due, 0);
	assert_int_equal(health_trips(health, place), 1);
}

static void a_lost_probe_is_taken_over(void **state)
{
	usec due = T0 + OPEN_US;

	(void)state;
	for (int i = 0; i < OPEN_AFTER; i++)
		(void)fails(T0, false);
	assert_true(health_take_probe(health, place, due, LEASE_US));
	stands(TARGET_OPEN, due + LEASE_US, 0);
	assert_true(health_take_probe(health, place, due + LEASE_US, LEASE_US));
	assert_false(health_take_probe(health, place, due + LEASE_US, LEASE_US));
}

static void holds_end(void **state)
{
	(void)state;
	assert_true(health_hold(health, place, TARGET_RATE_LIMITED, T0, 2 * USEC_PER_S));
	assert_false(health_hold(health, place, TARGET_RATE_LIMITED, T0, USEC_PER_S)); /* shorter */
	stands(TARGET_RATE_LIMITED, T0, 2 * USEC_PER_S);
	stands(TARGET_OK, T0 + 2 * USEC_PER_S, 0);
	assert_false(health_hold(health, place, TARGET_PROVIDER_QUOTA, T0, 3 * USEC_PER_S));
	stands(TARGET_PROVIDER_QUOTA, T0, 3 * USEC_PER_S);
	stands(TARGET_PROVIDER_QUOTA, T0 + 3 * USEC_PER_S, 0); /* may be tried */
	assert_true(
		health_hold(health, place, TARGET_NO_CREDENTIAL, T0 + 3 * USEC_PER_S, INT64_MAX));
	stands(TARGET_NO_CREDENTIAL, T0 + 3 * USEC_PER_S, HEALTH_HOLD_US);
	health_release(health, place);
	stands(TARGET_OK, T0, 0);
}

static void ok_of(usec now, uint32_t caller)
{
	(void)health_ok(health, place, false);
	health_count_ok(health, place, now);
	if (health_wants_ok(health, place, now))
		health_note_ok(health, place, now, caller);
}

static void half_of_enough_open_it(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) { /* no two in a row */
		assert_false(fails_of(T0, false, 1, 10));
		ok_of(T0, 1);
	}
	assert_false(fails_of(T0, false, 1, 10)); /* 5 of 9 */
	ok_of(T0, 1);
	assert_true(fails_of(T0, false, 1, 10)); /* 6 of 11 */
	assert_true(health_take_probe(health, place, T0 + OPEN_US, LEASE_US));
	(void)health_ok(health, place, true);
	assert_false(fails_of(T0 + OPEN_US, false, 1, 10)); /* it began anew */
	(void)health_ok(health, place, false);
	for (int i = 0; i < 1000; i++) { /* less than half */
		ok_of(T0 + OPEN_US, 1);
		ok_of(T0 + OPEN_US, 1);
		assert_false(fails_of(T0 + OPEN_US, false, 1, 10));
	}
	/* Of the next window only its own results count. */
	for (int i = 0; i < 9; i++) {
		(void)health_ok(health, place, false);
		assert_false(fails_of(T0 + OPEN_US + HEALTH_WINDOW_US, false, 1, 10));
	}
	(void)health_ok(health, place, false);
	assert_true(fails_of(T0 + OPEN_US + HEALTH_WINDOW_US, false, 1, 10));
}

static void one_callers_failures_are_its_own(void **state)
{
	(void)state;
	ok_of(T0, 2);
	for (int i = 0; i < 100; i++)
		assert_false(fails_of(T0 + (usec)i, false, 1, 10));
	assert_false(fails_of(T0 + 200, false, 3, 0)); /* another one's, too: a row of their own */
	assert_true(fails_of(T0 + 300, false, 1, 0));
	health_give_back(health, place, T0);
	assert_true(health_take_probe(health, place, T0 + 2 * OPEN_US, LEASE_US));
	(void)health_ok(health, place, true);
	/* The other one's success is too long ago, or there was none but its own. */
	for (int i = 0; i < OPEN_AFTER - 1; i++)
		assert_false(fails_of(T0 + HEALTH_OTHERS_US, false, 1, 0));
	assert_true(fails_of(T0 + HEALTH_OTHERS_US, false, 1, 0));
	assert_true(health_take_probe(health, place, T0 + 90 * USEC_PER_S, LEASE_US));
	(void)health_ok(health, place, true);
	ok_of(T0 + 90 * USEC_PER_S, 1);
	for (int i = 0; i < OPEN_AFTER - 1; i++)
		assert_false(fails_of(T0 + 91 * USEC_PER_S, false, 1, 0));
	assert_true(fails_of(T0 + 91 * USEC_PER_S, false, 1, 0));
}

/* A refused credential is tried by one call at a time, which says what others may do. */
static void one_call_tries_a_held_credential(void **state)
{
	uint32_t keys[2] = { health_place(health, SLICE("openai"), SLICE("\na")),
		health_place(health, SLICE("openai"), SLICE("\nb")) };
	uint32_t pairs[2] = { health_place(health, SLICE("openai"), SLICE("gpt-4o-mini\na")),
		health_place(health, SLICE("openai"), SLICE("gpt-4o-mini\nb")) };
	struct health_ways w = { .target = place, .credentials = keys, .n = 1, .usable = 3 };
	const usec due = T0 + 30 * USEC_PER_S;
	usec recover, mine, other;
	uint32_t way;

	(void)state;
	assert_true(health_hold(health, keys[0], TARGET_NO_CREDENTIAL, T0, 30 * USEC_PER_S));
	assert_false(health_take_way(health, &w, 0, T0, LEASE_US, &mine));
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_NO_CREDENTIAL);
	assert_true(target_is_callable(TARGET_NO_CREDENTIAL, recover));
	assert_true(health_take_way(health, &w, 0, due, LEASE_US, &mine));
	assert_true(mine > 0);
	assert_false(health_take_way(health, &w, 0, due, LEASE_US, &other));
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_NO_CREDENTIAL);
	assert_int_equal(recover, LEASE_US);
	/* Refused again. */
	health_way_back(health, &w, 0, due, mine);
	assert_true(health_hold(health, keys[0], TARGET_NO_CREDENTIAL, due, 30 * USEC_PER_S));
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_NO_CREDENTIAL);
	assert_int_equal(recover, 30 * USEC_PER_S);
	/* A call that never comes back is taken over; what it says later touches nothing. */
	assert_true(health_take_way(health, &w, 0, due + 30 * USEC_PER_S, LEASE_US, &mine));
	assert_true(
		health_take_way(health, &w, 0, due + 30 * USEC_PER_S + LEASE_US, LEASE_US, &other));
	health_way_ok(health, &w, 0, mine);
	assert_int_equal(
		health_stand(health, &w, 0, due + 40 * USEC_PER_S + LEASE_US, &recover, &way),
		TARGET_NO_CREDENTIAL);
	health_way_ok(health, &w, 0, other);
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_OK);
	/* Of two, the other one serves; in its turn the held one gets its try. */
	w.n = 2;
	w.pairs = pairs;
	assert_true(health_hold(health, keys[0], TARGET_PROVIDER_QUOTA, T0, 30 * USEC_PER_S));
	assert_true(health_hold(health, pairs[0], TARGET_NO_CREDENTIAL, T0, USEC_PER_S));
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_OK);
	assert_int_equal(way, 1);
	w.tries = true;
	assert_int_equal(health_stand(health, &w, 1, due, &recover, &way), TARGET_OK);
	assert_true(target_is_callable(health_stand(health, &w, 0, due, &recover, &way), recover));
	assert_int_equal(way, 0);
	assert_true(health_take_way(health, &w, 0, due, LEASE_US, &mine));
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_OK);
	assert_int_equal(way, 1);
	health_way_ok(health, &w, 0, mine);
	assert_int_equal(health_stand(health, &w, 0, due, &recover, &way), TARGET_OK);
	assert_int_equal(way, 0);
	/* A limit ends by time alone, and a closed circuit is no matter of credentials. */
	assert_true(health_hold(health, pairs[0], TARGET_RATE_LIMITED, due, USEC_PER_S));
	assert_int_equal(health_stand(health, &w, 0, due + USEC_PER_S, &recover, &way), TARGET_OK);
	assert_int_equal(way, 0);
}

/* Of a circuit or a hold: what an active probe, or somebody by hand, may say. */
static void active_probes_say_what_they_saw(void **state)
{
	uint32_t key_place = health_place(health, SLICE("openai"), SLICE("\na"));
	usec recover;

	(void)state;
	health_keep_open(health, place, T0, LEASE_US);
	stands(TARGET_OK, T0, 0); /* it opens nothing */
	for (int i = 0; i < OPEN_AFTER; i++)
		(void)fails(T0, false);
	health_keep_open(health, place, T0, OPEN_US / 2);
	stands(TARGET_OPEN, T0, OPEN_US);
	health_keep_open(health, place, T0, 2 * OPEN_US);
	stands(TARGET_OPEN, T0, 2 * OPEN_US);
	assert_true(health_make_due(health, place, T0 + USEC_PER_S));
	assert_false(health_make_due(health, place, T0 + USEC_PER_S));
	stands(TARGET_OPEN, T0 + USEC_PER_S, 0);
	assert_true(health_take_probe(health, place, T0 + USEC_PER_S, LEASE_US));
	assert_false(health_make_due(health, place, T0 + USEC_PER_S)); /* a call is at it */
	(void)health_hold(health, key_place, TARGET_NO_CREDENTIAL, T0, OPEN_US);
	assert_false(health_release_of(health, key_place, TARGET_PROVIDER_QUOTA));
	assert_true(health_make_due(health, key_place, T0));
	assert_int_equal(health_state(health, key_place, T0, &recover), TARGET_NO_CREDENTIAL);
	assert_int_equal(recover, 0);
	assert_true(health_release_of(health, key_place, TARGET_NO_CREDENTIAL));
	assert_int_equal(health_state(health, key_place, T0, &recover), TARGET_OK);
	(void)health_hold(health, key_place, TARGET_RATE_LIMITED, T0, OPEN_US);
	assert_false(health_make_due(health, key_place, T0)); /* the provider has said when */
}

static void an_operators_word_comes_first(void **state)
{
	uint32_t drain = health_place(health, SLICE("openai"), SLICE("gpt-4o-mini\n\nm")), way;
	uint32_t credential = health_place(health, SLICE("openai"), SLICE("\nkey"));
	struct health_ways w = {
		.target = place, .credentials = &credential, .n = 1, .usable = 1, .drain = drain
	};
	usec recover;

	(void)state;
	health_drain(health, drain, T0 + 5 * USEC_PER_S);
	assert_int_equal(health_stand(health, &w, 0, T0, &recover, &way), TARGET_DRAINED);
	assert_int_equal(recover, 5 * USEC_PER_S);
	for (int i = 0; i < OPEN_AFTER; i++)
		(void)fails(T0, false);
	assert_int_equal(health_stand(health, &w, 0, T0, &recover, &way), TARGET_DRAINED);
	assert_int_equal(
		health_stand(health, &w, 0, T0 + 5 * USEC_PER_S, &recover, &way), TARGET_OPEN);
	health_drain(health, drain, T0 + 90 * USEC_PER_S);
	assert_int_equal(health_stand(health, &w, 0, T0 + OPEN_US, &recover, &way), TARGET_DRAINED);
	health_drain(health, drain, 0);
	assert_int_equal(health_stand(health, &w, 0, T0 + OPEN_US, &recover, &way), TARGET_OPEN);
	assert_int_equal(recover, 0);
}

static struct health_numbers numbers(usec now)
{
	return health_read(health, place, now);
}

/* Half of a new truth after a half-life, 97 hundredths after five of them. */
static void latency_follows(void **state)
{
	usec now = T0;

	(void)state;
	assert_int_equal(numbers(now).latency_us, 0);
	health_latency(
		health, place, now, 5000, false); /* of nothing known, no answer tells nothing */
	assert_int_equal(numbers(now).latency_us, 0);
	health_latency(health, place, now, 100000, true);
	assert_int_equal(numbers(now).latency_us, 100000);
	health_latency(health, place, now + HEALTH_LATENCY_HALF_US, 1000000, true);
	assert_int_equal(numbers(now).latency_us, 550000);
	for (int i = 0; i < 200; i++, now += 50 * USEC_PER_MS)
		health_latency(health, place, now, 100000, true);
	assert_in_range(numbers(now).latency_us, 100000, 120000);
	for (int i = 0; i < 100; i++, now += 50 * USEC_PER_MS)
		health_latency(health, place, now, 1000000, true); /* ten times slower, for 5 s */
	assert_in_range(numbers(now).latency_us, 800000, 1000000);
	assert_int_equal(numbers(now + 7 * USEC_PER_S).latency_age_us, 7050 * USEC_PER_MS);
	health_latency(health, place, now, 500, false); /* it would have taken longer */
	assert_in_range(numbers(now).latency_us, 800000, 1000000);
	health_latency(health, place, now + 10 * USEC_PER_S, 5 * USEC_PER_S, false);
	assert_in_range(numbers(now).latency_us, 4 * USEC_PER_S, 5 * USEC_PER_S);
}

/* Nobody has to have an answer for it to be known as slow. */
static void waiting_is_latency(void **state)
{
	(void)state;
	health_asked(health, place, T0);
	assert_int_equal(numbers(T0 + USEC_PER_S).latency_us, 0); /* it may be its way */
	health_latency(health, place, T0 + 100000, 100000, true);
	health_asked(health, place, T0 + 200000);
	health_asked(health, place, T0 + 900000); /* the first counts */
	assert_int_equal(numbers(T0 + 250000).latency_us, 100000);
	assert_int_equal(numbers(T0 + 3200000).latency_us, 3 * USEC_PER_S);
	assert_int_equal(numbers(T0 + 3200000).latency_age_us, 0);
	health_latency(health, place, T0 + 3300000, 100000, true);
	assert_int_equal(numbers(T0 + 9 * USEC_PER_S).latency_us, 100000);
}

static void limits_are_forgotten(void **state)
{
	(void)state;
	assert_int_equal(numbers(T0).left, HEALTH_LEFT_ALL);
	health_left(health, place, T0, 300, 2 * USEC_PER_S);
	assert_int_equal(numbers(T0 + 1900 * USEC_PER_MS).left, 300);
	assert_int_equal(numbers(T0 + 2000 * USEC_PER_MS).left, HEALTH_LEFT_ALL);
	health_left(health, place, T0, 0, 0);
	assert_int_equal(numbers(T0 + HEALTH_LEFT_US - USEC_PER_S).left, 0);
	assert_int_equal(numbers(T0 + HEALTH_LEFT_US).left, HEALTH_LEFT_ALL);
	health_left(health, place, T0, 5, INT64_MAX); /* no longer than a hint holds */
	assert_int_equal(numbers(T0 + HEALTH_HOLD_US).left, HEALTH_LEFT_ALL);
}

static void calls_in_flight(void **state)
{
	(void)state;
	health_in_flight(health, 0, place, 1);
	health_in_flight(health, 0, place, 1);
	health_in_flight(health, 1, place, 1);
	assert_int_equal(numbers(T0).in_flight, 3); /* of all workers */
	health_in_flight(health, 0, place, -1);
	health_in_flight(health, 1, place, -1);
	assert_int_equal(numbers(T0).in_flight, 1);
	health_in_flight(health, 0, 0, 1); /* beyond: nobody's */
	assert_int_equal(health_read(health, 0, T0).in_flight, 0);
}

static uint64_t random_state;

static uint32_t chance(uint32_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33) % n;
}

#define SKEW_US (50 * USEC_PER_MS)

struct schedule {
	usec now;
	struct slice model;
	uint32_t min_samples;
	int probes[2], opened;
	usec lease[2]; /* of a way that a worker's call tries */
	bool saw_failure, saw_refusal;
};

static uint32_t key;
static struct health_ways ways(void)
{
	return (struct health_ways){ .target = place, .credentials = &key, .n = 1, .usable = 1 };
}

/* What an active probe comes to, by the rules of probe.h: of what it has seen fail. */
static void active_probe(struct schedule *s)
{
	switch (chance(4)) {
	case 0:
		s->saw_failure = true;
		s->opened += fails_of(s->now, false, 77, 0);
		health_keep_open(health, place, s->now, 2 * OPEN_US);
		return;
	case 1:
		s->saw_refusal = true;
		(void)health_hold(health, key, TARGET_NO_CREDENTIAL, s->now, 2 * OPEN_US);
		return;
	case 2: /* an administrator's, by hand */
		(void)health_make_due(health, place, s->now);
		(void)health_make_due(health, key, s->now);
		return;
	default:
		if (s->saw_failure)
			(void)health_ok(health, place, true);
		if (s->saw_refusal)
			(void)health_release_of(health, key, TARGET_NO_CREDENTIAL);
		s->saw_failure = s->saw_refusal = false;
	}
}

/* One worker's call with the credential. */
static void credential_event(struct schedule *s, unsigned w, usec now)
{
	struct health_ways way = ways();

	if (!s->lease[w]) {
		(void)health_take_way(health, &way, 0, now, LEASE_US, &s->lease[w]);
		if (chance(3) == 0)
			(void)health_hold(health, key,
				chance(2) ? TARGET_NO_CREDENTIAL : TARGET_PROVIDER_QUOTA, now,
				OPEN_US);
		return;
	}
	switch (chance(4)) {
	case 0: health_way_ok(health, &way, 0, s->lease[w]); break;
	case 1:
		health_way_back(health, &way, 0, now, s->lease[w]);
		(void)health_hold(health, key, TARGET_NO_CREDENTIAL, now, OPEN_US);
		break;
	case 2: health_way_back(health, &way, 0, now, s->lease[w]); break;
	default: break; /* lost */
	}
	s->lease[w] = 0;
}

/* One event at one of two workers, whose clocks were read at different times. */
static void event(struct schedule *s)
{
	unsigned w = chance(2);
	usec now = s->now - (w ? (usec)chance(SKEW_US) : 0);
	bool probe = s->probes[w] > 0 && chance(2);

	switch (chance(10)) {
	case 0: s->now += (usec)chance(1000) * USEC_PER_MS; return;
	case 1: s->now += (usec)chance(700) * USEC_PER_S; return;
	case 2:
	case 3: /* failed, or timed out */
		s->opened += fails_of(now, probe, chance(3), s->min_samples);
		break;
	case 4:
		(void)health_ok(health, place, probe);
		ok_of(now, chance(3));
		break;
	case 5: s->probes[w] += health_take_probe(health, place, now, LEASE_US); return;
	case 6: /* a client left, or its worker's calls are lost */
		if (probe && chance(2))
			health_give_back(health, place, now);
		break;
	case 7: active_probe(s); return;
	case 8: credential_event(s, w, now); return;
	default: /* a new policy: the same place, and what is on its way is still */
		assert_int_equal(health_place(health, SLICE("p"), s->model), place);
		return;
	}
	s->probes[w] -= probe;
}

/* A schedule of sixty events with probes that may be lost. After it, whatever it did: the target
 * can be tried within one lease, and one good call makes it and its credential well. */
static void schedule(uint64_t seed)
{
	struct schedule s = { .now = T0, .model = seed % 2 ? SLICE("a") : SLICE("b") };
	struct health_ways way;
	uint64_t trips;
	usec recover, lease;
	uint32_t which;

	random_state = seed;
	key = health_place(health, SLICE("p"), seed % 2 ? SLICE("\na") : SLICE("\nb"));
	s.min_samples = chance(2) ? 1 + chance(8) : 0;
	place = health_place(health, SLICE("p"), s.model);
	trips = health_trips(health, place);
	way = ways();
	for (int i = 0; i < 60; i++) {
		event(&s);
		(void)health_stand(health, &way, 0, s.now, &recover, &which);
		assert_in_range(recover, 0, LEASE_US);
	}
	assert_int_equal(health_trips(health, place) - trips, s.opened); /* each was told once */
	s.now += LEASE_US;
	if (health_state(health, place, s.now, &recover) != TARGET_OK) {
		assert_int_equal(recover, 0);
		assert_true(health_take_probe(health, place, s.now, LEASE_US));
		assert_true(health_ok(health, place, true));
	}
	assert_true(target_is_callable(
		health_stand(health, &way, 0, s.now, &recover, &which), recover));
	assert_true(health_take_way(health, &way, 0, s.now, LEASE_US, &lease));
	health_way_ok(health, &way, 0, lease);
	stands(TARGET_OK, s.now, 0);
	assert_int_equal(health_stand(health, &way, 0, s.now, &recover, &which), TARGET_OK);
	(void)health_ok(health, place, false);
}

static void no_state_without_a_way_out(void **state)
{
	uint64_t trips;

	(void)state;
	for (uint64_t seed = 1; seed <= 100000; seed++)
		schedule(seed);
	trips = health_trips(health, health_place(health, SLICE("p"), SLICE("a")));
	assert_true(trips > 1000); /* they do open */
}

static void states_have_names(void **state)
{
	(void)state;
	assert_string_equal(target_state_name(TARGET_OK), "ok");
	assert_string_equal(target_state_name(TARGET_PROVIDER_QUOTA), "provider_quota");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(places_are_for_ever, begin, end),
		cmocka_unit_test_setup_teardown(failures_in_a_row_open_it, begin, end),
		cmocka_unit_test_setup_teardown(one_call_tries_it, begin, end),
		cmocka_unit_test_setup_teardown(a_lost_probe_is_taken_over, begin, end),
		cmocka_unit_test_setup_teardown(holds_end, begin, end),
		cmocka_unit_test_setup_teardown(one_call_tries_a_held_credential, begin, end),
		cmocka_unit_test_setup_teardown(active_probes_say_what_they_saw, begin, end),
		cmocka_unit_test_setup_teardown(an_operators_word_comes_first, begin, end),
		cmocka_unit_test_setup_teardown(half_of_enough_open_it, begin, end),
		cmocka_unit_test_setup_teardown(one_callers_failures_are_its_own, begin, end),
		cmocka_unit_test_setup_teardown(latency_follows, begin, end),
		cmocka_unit_test_setup_teardown(waiting_is_latency, begin, end),
		cmocka_unit_test_setup_teardown(limits_are_forgotten, begin, end),
		cmocka_unit_test_setup_teardown(calls_in_flight, begin, end),
		cmocka_unit_test_setup_teardown(no_state_without_a_way_out, begin, end),
		cmocka_unit_test(states_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
