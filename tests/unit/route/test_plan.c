/* Plans: which targets, in which order, and why not the others; 10^5 random models never give a
 * call to one that may not have it: not at first, not after failures, not by other rules. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "route/plan.h"

static struct policy_target targets[POLICY_TARGETS_MAX];
static struct target_now now[POLICY_TARGETS_MAX];
static struct policy_model model;
static struct plan plan;

/* As a request that needs nothing. */
static void make(uint64_t seed)
{
	const struct plan_ask ask = { .seed = seed };

	plan_make(&model, now, &ask, &plan);
}

static int begin(void **state)
{
	(void)state;
	model = (struct policy_model){ .targets = targets, .n_targets = 3 };
	for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++) {
		targets[i] = (struct policy_target){ .priority = 1,
			.weight = 100,
			.capabilities = CAPABILITIES_ALL,
			.max_ejected = 100 };
		now[i] = (struct target_now){ .hash = (i + 1) * UINT64_C(0x123456789abcdef1),
			.numbers.left = HEALTH_LEFT_ALL };
	}
	return 0;
}

static void check(const char *order)
{
	char got[POLICY_TARGETS_MAX + 1] = "";

	make(7);
	for (unsigned i = 0; i < plan.n; i++)
		got[i] = (char)('a' + plan.target[i]);
	assert_string_equal(got, order);
}

static void a_lone_target(void **state)
{
	(void)state;
	model.n_targets = 1;
	check("a");
	assert_int_equal(plan.why[0], PLAN_ONLY);
}

static void orders(void **state)
{
	(void)state;
	model.strategy = STRATEGY_priority;
	check("abc");
	assert_int_equal(plan.why[1], PLAN_ORDER);
	targets[0].priority = 2;
	check("bca");
	assert_int_equal(plan.why[2], PLAN_ORDER);
	assert_int_equal(plan.why[0], PLAN_ALONE);
	now[1] = (struct target_now){ .state = TARGET_DRAINED, .recover_us = 5 };
	check("ca");
	assert_int_equal(plan.why[2], PLAN_ALONE);
	now[1] = (struct target_now){ .state = TARGET_OK };
	model.strategy = STRATEGY_cheapest;
	now[0].price = 1;
	now[1].price = INT64_MAX; /* has none */
	now[2].price = 5;
	check("cba"); /* the first tier first, however cheap the second */
	assert_int_equal(plan.why[2], PLAN_CHEAPEST);
}

static void skips(void **state)
{
	(void)state;
	model.strategy = STRATEGY_priority;
	targets[0].weight = 0;
	now[1] = (struct target_now){ .state = TARGET_OPEN, .recover_us = 5 };
	check("c");
	assert_int_equal(plan.why[0], PLAN_WEIGHT_0);
	assert_int_equal(plan.why[1], PLAN_OUT);
	now[1].recover_us = 0; /* due: whoever takes the probe */
	check("bc");
	now[1].state = TARGET_PROBING;
	now[2].state = TARGET_RATE_LIMITED;
	now[1].recover_us = 900;
	now[2].recover_us = 800;
	check("");
	assert_int_equal(plan.recover_us, 800);
	assert_false(plan.degraded);
	model.try_best = true;
	check("c");
	assert_true(plan.degraded);
	assert_int_equal(plan.why[2], PLAN_BEST);
	now[1] = now[2] =
		(struct target_now){ .state = TARGET_NO_CREDENTIAL, .recover_us = TARGET_NEVER };
	check(""); /* nothing can be tried; weight 0 not even now */
	now[1] = now[2] = (struct target_now){ .state = TARGET_DRAINED, .recover_us = 70 };
	check(""); /* an operator's word is the last one */
	assert_int_equal(plan.recover_us, 70);
	now[1] = (struct target_now){ .state = TARGET_AT_CAPACITY, .recover_us = 70 };
	now[2] = now[1];
	check(""); /* it has no place to give */
	now[2] = (struct target_now){ .state = TARGET_OPEN, .recover_us = 90 };
	check("c");
	assert_int_equal(plan.recover_us, 70);
}

static void shares_are_the_weights(void **state)
{
	unsigned first[3] = { 0 };

	(void)state;
	targets[0].weight = 700;
	targets[1].weight = 200;
	for (uint64_t seed = 1; seed <= 100000; seed++) {
		make(seed * UINT64_C(0x9e3779b97f4a7c15));
		assert_int_equal(plan.n, 3);
		first[plan.target[0]]++;
	}
	/* Of a thousand, within four deviations of a binomial. */
	assert_in_range(first[0], 69400, 70600);
	assert_in_range(first[1], 19490, 20510);
	assert_in_range(first[2], 9620, 10380);
}

/* How many of 10,000 calls each of the three gets first. */
static void shares(unsigned first[static 3])
{
	memset(first, 0, 3 * sizeof(*first));
	for (uint64_t seed = 1; seed <= 10000; seed++) {
		make(seed * UINT64_C(0x9e3779b97f4a7c15));
		first[plan.target[0]]++;
	}
}

static void fastest(void **state)
{
	unsigned first[3];

	(void)state;
	model.strategy = STRATEGY_fastest;
	shares(first); /* nothing is known yet */
	assert_in_range(first[0], 3100, 3570);
	assert_int_equal(plan.why[0], PLAN_FASTEST);
	now[0].numbers.latency_us = now[1].numbers.latency_us = 100000;
	shares(first);
	assert_in_range(first[2], 3100, 3570); /* a new one counts as the best */
	now[2].numbers.latency_us = 1000000;
	shares(first); /* ten times slower: a hundredth of one's share */
	assert_in_range(first[2], 20, 85);
	assert_in_range(first[0], 4770, 5180);
	now[2].numbers.latency_age_us = 6 * PLAN_AGE_HALF_US;
	shares(first); /* without calls its lag is forgotten: it is tried again */
	assert_in_range(first[2], 2500, 3200);
	now[2].numbers.latency_age_us = INT64_MAX;
	shares(first); /* and never better than the best */
	assert_in_range(first[2], 3100, 3570);
	now[0].numbers.latency_us = now[1].numbers.latency_us = 1; /* no number overflows */
	now[2].numbers = (struct health_numbers){ .latency_us = INT64_MAX / 2 };
	shares(first);
	assert_int_equal(first[2], 0);
}

static void least_busy(void **state)
{
	unsigned first[3];

	(void)state;
	model.strategy = STRATEGY_least_busy;
	targets[0].weight = 200;
	now[0].numbers.in_flight = 7;
	now[1].numbers.in_flight = 4;
	now[2].numbers.in_flight = 5;
	check("abc"); /* 3.5, 4 and 5 per hundred */
	assert_int_equal(plan.why[0], PLAN_LEAST_BUSY);
	now[0].numbers.in_flight = 9;
	check("bac");
	now[0].numbers.in_flight = now[1].numbers.in_flight = now[2].numbers.in_flight = 0;
	shares(first); /* all are idle: by weight */
	assert_in_range(first[0], 4800, 5200);
	targets[1].priority = 2;
	now[0].numbers.in_flight = 1000;
	now[2].numbers.in_flight = UINT32_MAX;
	check("acb");
}

static void headroom(void **state)
{
	unsigned first[3];

	(void)state;
	model.strategy = STRATEGY_headroom;
	now[0].numbers.left = 100;
	now[1].numbers.left = 700;
	now[2].numbers.left = 0;
	check("bac"); /* none is left out: the provider's 429 says more than our number */
	assert_int_equal(plan.why[0], PLAN_HEADROOM);
	now[0].numbers.left = HEALTH_LEFT_ALL; /* forgotten after its reset */
	check("abc");
	now[1].numbers.left = HEALTH_LEFT_ALL;
	shares(first);
	assert_in_range(first[0], 4800, 5200);
	assert_int_equal(first[2], 0);
}

/* Of four whose circuits are open, those back soonest stay in use. */
static void not_all_are_ejected(void **state)
{
	(void)state;
	model = (struct policy_model){ .targets = targets,
		.n_targets = 5,
		.keeps_some = true,
		.strategy = STRATEGY_priority };
	for (uint32_t i = 0; i < 4; i++)
		now[i] = (struct target_now){ .state = TARGET_OPEN, .recover_us = 40 - 10 * i };
	now[1].state = TARGET_PROBING;
	check("e");
	targets[4].max_ejected = 59; /* of five: two; the smallest counts */
	check("cde");
	assert_int_equal(plan.kept, 1u << 2 | 1u << 3);
	assert_int_equal(plan.why[2], PLAN_KEPT);
	assert_true(plan_keeps(&plan, 2, TARGET_OPEN));
	assert_false(plan_keeps(&plan, 2, TARGET_RATE_LIMITED));
	assert_false(plan_keeps(&plan, 0, TARGET_OPEN));
	targets[4].max_ejected = 0; /* one at least */
	check("bcde");
	targets[4].priority = 2; /* in its own priority it is alone */
	check("e");
	targets[0].max_ejected = 0;
	now[2] = (struct target_now){ .state = TARGET_RATE_LIMITED, .recover_us = 1 };
	check("bde");                              /* a limit is no circuit */
	targets[1].weight = targets[3].weight = 0; /* nor is one that gets nothing */
	check("e");
}

/* One that goes takes only its own callers away. */
static void stickiness_survives_a_loss(void **state)
{
	unsigned moved = 0;

	(void)state;
	model.sticky = STICKY_key;
	for (uint64_t seed = 1; seed <= 10000; seed++) {
		uint8_t before;

		now[2].state = TARGET_OK;
		make(seed);
		assert_int_equal(plan.why[0], PLAN_STICKY);
		before = plan.target[0];
		now[2].state = TARGET_OPEN;
		now[2].recover_us = 1;
		make(seed);
		if (before != 2)
			assert_int_equal(plan.target[0], before);
		else
			moved++;
		now[2].recover_us = 0;
	}
	assert_in_range(moved, 3100, 3570);
}

static uint64_t random_state = 1;

static uint32_t chance(uint32_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33) % n;
}

static bool is_eligible(uint32_t i, const struct plan_ask *ask)
{
	return targets[i].weight > 0 && !(ask->tags & ~targets[i].tags) &&
	       !(ask->needs & ~targets[i].capabilities);
}

static bool fits(uint32_t i, const struct plan_ask *ask)
{
	int64_t window = targets[i].context_window, most = targets[i].max_output;

	return (!window || ask->input_tokens + ask->output_tokens <= window) &&
	       (!most || ask->output_tokens <= most);
}

static bool is_well(uint32_t i)
{
	return now[i].state == TARGET_OK ||
	       (!now[i].recover_us &&
		       (now[i].state == TARGET_OPEN || now[i].state == TARGET_NO_CREDENTIAL ||
			       now[i].state == TARGET_PROVIDER_QUOTA));
}

static void random_state_of(uint32_t i, enum target_state s)
{
	now[i].state = s;
	now[i].recover_us = s == TARGET_OK ? 0 : (usec)chance(3);
}

static void random_rules(void)
{
	model.strategy = (enum policy_strategy)chance(6);
	model.sticky = (enum policy_sticky)chance(5);
	model.keeps_some = chance(2);
	model.try_best = chance(2);
	for (uint32_t i = 0; i < model.n_targets; i++) {
		targets[i].priority = 1 + chance(3);
		targets[i].weight = chance(3) ? chance(1000) : 0;
		targets[i].tags = chance(8);
		targets[i].capabilities = chance(2) ? CAPABILITIES_ALL : chance(8);
		targets[i].context_window = chance(3);
		targets[i].max_output = chance(3);
		targets[i].max_ejected = chance(2) ? 100 : chance(100);
	}
}

static void random_targets(void)
{
	random_rules();
	for (uint32_t i = 0; i < model.n_targets; i++) {
		random_state_of(
			i, chance(2) ? TARGET_OK : (enum target_state)chance(TARGET_STATE_COUNT));
		now[i].price = chance(5);
		now[i].numbers =
			(struct health_numbers){ chance(3), (usec)chance(3) * chance(1u << 30),
				(usec)chance(1u << 30) * chance(4), chance(HEALTH_LEFT_ALL + 1) };
	}
}

/* No more are left out of a priority than may be, and none is kept that need not be. */
static void check_ejected(const struct plan_ask *ask, bool fitting)
{
	for (uint32_t p = 1; p <= 3 && model.keeps_some; p++) {
		uint32_t n = 0, out = 0, kept = 0, share = 100;

		for (uint32_t i = 0; i < model.n_targets; i++) {
			bool open = !is_well(i) &&
				    (now[i].state == TARGET_OPEN || now[i].state == TARGET_PROBING);

			if (targets[i].priority != p || !is_eligible(i, ask) ||
				(fitting && !fits(i, ask)))
				continue;
			n++;
			share = MIN(share, targets[i].max_ejected);
			kept += plan.kept >> i & 1;
			out += open && !(plan.kept >> i & 1);
		}
		assert_true(out <= MAX(n * share / 100, 1u));
		assert_true(!kept || out == MAX(n * share / 100, 1u));
	}
}

static void check_plan(const struct plan_ask *ask)
{
	unsigned able = 0, seen = 0, fitting = 0;

	for (uint32_t i = 0; i < model.n_targets; i++)
		fitting += is_eligible(i, ask) && fits(i, ask);
	for (uint32_t i = 0; i < model.n_targets; i++)
		able += is_eligible(i, ask) && (!fitting || fits(i, ask)) && is_well(i);
	plan_make(&model, now, ask, &plan);
	able += (unsigned)__builtin_popcount(plan.kept);
	check_ejected(ask, fitting > 0);
	assert_true(plan.n == able || (plan.n == 1 && !able && plan.degraded && model.try_best));
	for (unsigned i = 0; i < plan.n; i++) {
		uint8_t t = plan.target[i];

		assert_false(seen & 1u << t);
		seen |= 1u << t;
		assert_true(is_eligible(t, ask));
		assert_true(plan.degraded || is_well(t) || plan_keeps(&plan, t, now[t].state));
		assert_true(!fitting || fits(t, ask));
		assert_true(plan.why[t] < PLAN_WEIGHT_0);
		assert_int_not_equal(now[t].state, TARGET_DRAINED); /* not even the last */
		assert_int_not_equal(now[t].state, TARGET_AT_CAPACITY);
		if (i > 0)
			assert_true(targets[plan.target[i - 1]].priority <= targets[t].priority);
	}
	for (uint32_t i = 0; i < model.n_targets; i++)
		if (!(seen & 1u << i))
			assert_true(plan.why[i] >= PLAN_WEIGHT_0);
}

/* --- all calls of a request, whatever happens meanwhile -------------------------------- */

static unsigned calls, followed, repeated, planned_anew;

static bool is_free(uint8_t t)
{
	return now[t].state != TARGET_DRAINED && now[t].state != TARGET_AT_CAPACITY;
}

/* From there on the first that may be called by now, as send.c looks for it. -1: none. */
static int take(int at)
{
	for (; at >= 0 && at < plan.n; at++) {
		uint8_t t = plan.target[at];

		if (is_free(t) && (plan.degraded || plan_may_follow(&plan, t, now[t].state,
							    now[t].recover_us)))
			return at;
	}
	return -1;
}

/* After a failure, as retry.c: the next of the plan, or one that has been tried. -1: it is over. */
static int find_next(int failed)
{
	usec best = TARGET_NEVER;
	int ret = -1;

	for (int at = failed + (int)chance(2); at < plan.n; at++) { /* other credentials, or none */
		uint8_t t = plan.target[at];

		if (plan_may_follow(&plan, t, now[t].state, now[t].recover_us)) {
			assert_true(is_free(t));
			followed++;
			return at;
		}
	}
	for (int at = 0; at < plan.n; at++) {
		uint8_t t = plan.target[at];
		usec us = plan_again_us(&plan, t, now[t].state, now[t].recover_us);

		assert_true(us == TARGET_NEVER || now[t].state != TARGET_DRAINED);
		if (us < best) {
			best = us;
			ret = at;
		}
	}
	if (ret >= 0 && chance(2)) /* it has waited */
		random_state_of(plan.target[ret], TARGET_OK);
	repeated += ret >= 0;
	return ret;
}

/* What it comes to, and what others' calls do meanwhile; an operator, too. */
static void call(uint8_t t, const struct plan_ask *ask)
{
	assert_true(is_eligible(t, ask));
	assert_true(is_free(t));
	calls++;
	random_state_of(t, (enum target_state)chance(TARGET_STATE_COUNT));
	t = (uint8_t)chance(model.n_targets);
	random_state_of(t, (enum target_state)chance(TARGET_STATE_COUNT));
}

/* All of them fail. Returns where the next try would go. */
static int call_on(const struct plan_ask *ask, int at, unsigned tries)
{
	for (; tries > 0 && at >= 0; tries--) {
		at = take(at);
		if (at < 0) { /* all have fallen since */
			plan_make(&model, now, ask, &plan);
			at = take(0);
			planned_anew += at >= 0;
		}
		if (at < 0)
			break;
		call(plan.target[at], ask);
		at = find_next(at);
	}
	return at;
}

/* Other rules come between two tries: that call goes on by its own, and a new one by these. */
static void check_calls(const struct plan_ask *ask)
{
	struct policy_target targets_before[POLICY_TARGETS_MAX];
	struct policy_model model_before = model;
	int at = call_on(ask, plan.n ? 0 : -1, 1 + chance(4));
	struct plan plan_before = plan;

	memcpy(targets_before, targets, sizeof(targets));
	random_rules();
	check_plan(ask);
	(void)call_on(ask, plan.n ? 0 : -1, 4);
	memcpy(targets, targets_before, sizeof(targets));
	model = model_before;
	plan = plan_before;
	(void)call_on(ask, at, 4);
}

static void random_models(void **state)
{
	(void)state;
	calls = followed = repeated = planned_anew = 0;
	for (int round = 0; round < 100000; round++) {
		struct plan_ask ask = { .seed = (uint64_t)round * UINT64_C(0x9e3779b97f4a7c15),
			.tags = chance(2) ? chance(8) : 0,
			.needs = chance(2) ? chance(8) : 0,
			.input_tokens = chance(3),
			.output_tokens = chance(3) };

		model = (struct policy_model){ .targets = targets,
			.n_targets = 1 + chance(POLICY_TARGETS_MAX) };
		random_targets();
		check_plan(&ask);
		check_calls(&ask);
	}
	/* It has been where it was to go. */
	assert_in_range(calls, 100000, UINT32_MAX);
	assert_in_range(followed, 20000, UINT32_MAX);
	assert_in_range(repeated, 20000, UINT32_MAX);
	assert_in_range(planned_anew, 2000, UINT32_MAX);
}

/* What is said about a draw is what many draws show. */
static void odds_are_what_many_draws_show(void **state)
{
	static const uint32_t weights[] = { 300, 100, 100, 7, 50 };
	static const enum policy_strategy drawn[] = { STRATEGY_weighted, STRATEGY_fastest,
		STRATEGY_least_busy, STRATEGY_headroom };
	uint16_t odds[POLICY_TARGETS_MAX];
	unsigned first[POLICY_TARGETS_MAX];

	(void)state;
	model.n_targets = 5;
	for (uint32_t i = 0; i < 5; i++)
		targets[i].weight = weights[i];
	targets[3].priority = targets[4].priority = 2;
	now[1].numbers = (struct health_numbers){ .left = HEALTH_LEFT_ALL, .latency_us = 2000000 };
	now[0].numbers.latency_us = now[2].numbers.latency_us = 1000000;
	now[2].numbers.in_flight = 1; /* least_busy: not in the draw */
	now[4].numbers.left = HEALTH_LEFT_ALL / 2;
	for (size_t s = 0; s < ARRAY_LEN(drawn); s++) {
		model.strategy = drawn[s];
		make(7);
		assert_true(plan_odds(&model, now, &plan, odds));
		memset(first, 0, sizeof(first));
		for (uint64_t round = 0; round < 20000; round++) {
			make(round * UINT64_C(0x9e3779b97f4a7c15));
			first[plan.target[0]]++;
			for (unsigned i = 1; i < plan.n; i++)
				if (targets[plan.target[i]].priority !=
					targets[plan.target[i - 1]].priority)
					first[plan.target[i]]++;
		}
		for (uint32_t i = 0; i < 5; i++) {
			bool always = first[i] == 20000, never = first[i] == 0;

			if (odds[i] == PLAN_NO_DRAW)
				assert_true(always || never);
			else
				assert_in_range(first[i], odds[i] * 20 - MIN(odds[i] * 20, 400),
					odds[i] * 20 + 400);
		}
	}
	model.strategy = STRATEGY_weighted;
	make(7);
	(void)plan_odds(&model, now, &plan, odds);
	assert_int_equal(odds[0], 600);
	assert_int_equal(odds[3], 123); /* 7 of 57 */
	now[0].state = TARGET_DRAINED;
	make(7);
	(void)plan_odds(&model, now, &plan, odds);
	assert_int_equal(odds[0], PLAN_NO_DRAW);
	assert_int_equal(odds[1], 500);
}

static void no_draw_no_odds(void **state)
{
	uint16_t odds[POLICY_TARGETS_MAX];

	(void)state;
	for (int s = 0; s < 2; s++) {
		model.strategy = s ? STRATEGY_cheapest : STRATEGY_priority;
		make(7);
		assert_false(plan_odds(&model, now, &plan, odds));
	}
	model.strategy = STRATEGY_weighted;
	for (uint32_t i = 0; i < 3; i++)
		targets[i].priority = i;
	make(7);
	assert_false(plan_odds(&model, now, &plan, odds));
	model.n_targets = 1;
	make(7);
	assert_false(plan_odds(&model, now, &plan, odds));
	assert_int_equal(odds[0], PLAN_NO_DRAW);
}

/* Why each is left out, the first reason that holds. */
static void what_a_request_needs(void **state)
{
	struct plan_ask ask = { .tags = 2,
		.needs = CAPABILITY_BIT(vision),
		.input_tokens = 900,
		.output_tokens = 101 };

	(void)state;
	model.n_targets = 5;
	for (uint32_t i = 0; i < 5; i++)
		targets[i].tags = i == 0 ? 1 : 3;
	targets[1].capabilities = ~CAPABILITY_BIT(vision);
	targets[2].context_window = 1000;
	targets[3].max_output = 100;
	plan_make(&model, now, &ask, &plan);
	assert_int_equal(plan.n, 1);
	assert_int_equal(plan.target[0], 4);
	assert_int_equal(plan.why[0], PLAN_TAGS);
	assert_int_equal(plan.why[1], PLAN_LACKS);
	assert_int_equal(plan.why[2], PLAN_TOO_SMALL);
	assert_int_equal(plan.why[3], PLAN_TOO_SMALL);
	/* One that would fit is out: no reason to send it where it can't fit. */
	now[4] = (struct target_now){ .state = TARGET_OPEN, .recover_us = 7 };
	plan_make(&model, now, &ask, &plan);
	assert_int_equal(plan.n, 0);
	assert_int_equal(plan.recover_us, 7);
	/* None would: the provider may say so. */
	targets[4].weight = 0;
	plan_make(&model, now, &ask, &plan);
	assert_int_equal(plan.n, 2);
	ask.tags = POLICY_TAG_UNKNOWN;
	plan_make(&model, now, &ask, &plan);
	assert_int_equal(plan.n, 0);
	assert_int_equal(plan.why[3], PLAN_TAGS);
}

static void reasons_have_names(void **state)
{
	(void)state;
	assert_string_equal(plan_why_name(PLAN_ONLY), "only");
	assert_string_equal(plan_why_name(PLAN_OUT), "out");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_lone_target, begin),
		cmocka_unit_test_setup(orders, begin),
		cmocka_unit_test_setup(skips, begin),
		cmocka_unit_test_setup(shares_are_the_weights, begin),
		cmocka_unit_test_setup(fastest, begin),
		cmocka_unit_test_setup(least_busy, begin),
		cmocka_unit_test_setup(headroom, begin),
		cmocka_unit_test_setup(not_all_are_ejected, begin),
		cmocka_unit_test_setup(stickiness_survives_a_loss, begin),
		cmocka_unit_test_setup(odds_are_what_many_draws_show, begin),
		cmocka_unit_test_setup(no_draw_no_odds, begin),
		cmocka_unit_test_setup(what_a_request_needs, begin),
		cmocka_unit_test_setup(random_models, begin),
		cmocka_unit_test(reasons_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
