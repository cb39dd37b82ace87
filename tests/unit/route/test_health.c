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
	assert_int_equal(health_new(&health), 0);
	place = health_place(health, SLICE("openai"), SLICE("gpt-4o-mini"));
	return 0;
}

static int end(void **state)
{
	(void)state;
	health_free(health);
	return 0;
}

static bool fails(usec now, bool probe)
{
	return health_failed(health, place, probe, now, OPEN_AFTER, OPEN_US);
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

static void holds_end_by_themselves(void **state)
{
	(void)state;
	assert_true(health_hold(health, place, TARGET_RATE_LIMITED, T0, 2 * USEC_PER_S));
	assert_false(health_hold(health, place, TARGET_RATE_LIMITED, T0, USEC_PER_S)); /* shorter */
	stands(TARGET_RATE_LIMITED, T0, 2 * USEC_PER_S);
	assert_false(health_hold(health, place, TARGET_PROVIDER_QUOTA, T0, 3 * USEC_PER_S));
	stands(TARGET_PROVIDER_QUOTA, T0, 3 * USEC_PER_S);
	stands(TARGET_OK, T0 + 3 * USEC_PER_S, 0);
	assert_true(
		health_hold(health, place, TARGET_NO_CREDENTIAL, T0 + 3 * USEC_PER_S, INT64_MAX));
	stands(TARGET_NO_CREDENTIAL, T0 + 3 * USEC_PER_S, HEALTH_HOLD_US);
	health_release(health, place);
	stands(TARGET_OK, T0, 0);
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
	health_in_flight(health, place, 1);
	health_in_flight(health, place, 1);
	health_in_flight(health, place, -1);
	assert_int_equal(numbers(T0).in_flight, 1);
	health_in_flight(health, 0, 1); /* beyond: nobody's */
	assert_int_equal(health_read(health, 0, T0).in_flight, 0);
}

static uint64_t random_state;

static uint32_t chance(uint32_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33) % n;
}

/* A schedule of forty events with up to four probes that may be lost. After it, whatever it did:
 * the target can be tried within one lease, and one good probe makes it well. */
static void schedule(uint64_t seed)
{
	usec now = T0, recover;
	uint64_t trips;
	int probes = 0, opened = 0;

	random_state = seed;
	place = health_place(health, SLICE("p"), seed % 2 ? SLICE("a") : SLICE("b"));
	trips = health_trips(health, place);
	for (int i = 0; i < 40; i++) {
		bool probe = probes > 0 && chance(2);

		switch (chance(6)) {
		case 0: now += (usec)chance(1000) * USEC_PER_MS; break;
		case 1: now += (usec)chance(700) * USEC_PER_S; break;
		case 2:
			opened += fails(now, probe);
			probes -= probe;
			break;
		case 3:
			(void)health_ok(health, place, probe);
			probes -= probe;
			break;
		case 4: probes += health_take_probe(health, place, now, LEASE_US); break;
		default:
			if (probe && chance(2))
				health_give_back(health, place, now);
			probes -= probe; /* or lost */
			break;
		}
		(void)health_state(health, place, now, &recover);
		assert_in_range(recover, 0, LEASE_US);
	}
	assert_int_equal(health_trips(health, place) - trips, opened); /* each was told once */
	now += LEASE_US;
	if (health_state(health, place, now, &recover) != TARGET_OK) {
		assert_int_equal(recover, 0);
		assert_true(health_take_probe(health, place, now, LEASE_US));
		assert_true(health_ok(health, place, true));
	}
	stands(TARGET_OK, now, 0);
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
		cmocka_unit_test_setup_teardown(holds_end_by_themselves, begin, end),
		cmocka_unit_test_setup_teardown(latency_follows, begin, end),
		cmocka_unit_test_setup_teardown(waiting_is_latency, begin, end),
		cmocka_unit_test_setup_teardown(limits_are_forgotten, begin, end),
		cmocka_unit_test_setup_teardown(calls_in_flight, begin, end),
		cmocka_unit_test_setup_teardown(no_state_without_a_way_out, begin, end),
		cmocka_unit_test(states_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
