/* Deadlines of the coarse wheel and deferred work: never early, never twice, never lost, whatever
 * is set and stopped from where and however long the loop slept. */
#include "fixture.h"

#define MS USEC_PER_MS

struct timer {
	struct deadline d;
	struct loop *loop;
	unsigned fired;
	usec fired_us;
	usec again_us; /* > 0: set anew from its own callback */
	struct timer *to_stop, *to_set;
	usec to_set_us;
	unsigned *order, place;
};

/* What deadlines count from: read once a turn. The clock goes on between two lines of a test, by as
 * much as a busy machine takes it away for. */
static usec turn_now(const struct loop *l)
{
	return (usec)uv_now(&l->uv) * MS;
}

static struct timer *timer_of(struct deadline *d)
{
	return container_of(d, struct timer, d);
}

static void on_fired(struct deadline *d)
{
	struct timer *t = timer_of(d);

	assert_false(deadline_is_armed(d));
	t->fired++;
	t->fired_us = turn_now(t->loop);
	if (t->order)
		t->place = ++*t->order;
	if (t->again_us)
		deadline_set(t->loop, d, t->again_us);
	if (t->to_stop)
		deadline_stop(t->loop, &t->to_stop->d);
	if (t->to_set)
		deadline_set(t->loop, &t->to_set->d, t->to_set_us);
}

static struct timer timer_made(struct loop *l)
{
	struct timer t = { .loop = l };

	deadline_init(&t.d, on_fired);
	return t;
}

static void timers_init(struct loop *l, struct timer *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		t[i] = timer_made(l);
		list_init(&t[i].d.node); /* it was copied */
	}
}

/* Time passes in small steps, as it does for a loop that is awake. */
static void pass(struct loop *l, usec us)
{
	for (; us > 0; us -= 10 * MS) {
		time_skip(MIN(us, 10 * MS));
		turn(l);
	}
}

static int set_up(void **state)
{
	struct loop *l = malloc(sizeof(*l));

	if (loop_init(l, NULL))
		return -1;
	turn(l);
	*state = l;
	return 0;
}

static int tear_down(void **state)
{
	loop_fini(*state);
	free(*state);
	return 0;
}

static void test_fires_once_and_never_early(void **state)
{
	static const usec spans[] = { 0, 1, MS, 9999, 10 * MS, 15 * MS, 999 * MS, 5119 * MS,
		5120 * MS, 5121 * MS, 12345 * MS, 60000 * MS };
	struct loop *l = *state;

	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		struct timer t;
		usec set_us;

		timers_init(l, &t, 1);
		turn(l);
		set_us = turn_now(l);
		deadline_set(l, &t.d, spans[i]);
		assert_true(deadline_is_armed(&t.d));
		assert_int_equal(t.fired, 0); /* not from inside the call */
		pass(l, spans[i] + 30 * MS);
		assert_int_equal(t.fired, 1);
		/* The loop's clock is in whole milliseconds. */
		assert_true(t.fired_us >= set_us + spans[i] - MS);
		pass(l, 100 * MS);
		assert_int_equal(t.fired, 1);
	}
}

static void test_fires_in_order(void **state)
{
	struct loop *l = *state;
	struct timer t[50];
	unsigned order = 0;

	timers_init(l, t, ARRAY_LEN(t));
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		t[i].order = &order;
		/* Set in another order than they are due, 20 ms apart. */
		deadline_set(l, &t[i].d, (usec)((i * 17) % ARRAY_LEN(t)) * 20 * MS);
	}
	pass(l, 1100 * MS);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(t[i].place, (i * 17) % ARRAY_LEN(t) + 1);
}

static void test_setting_again_moves(void **state)
{
	struct loop *l = *state;
	struct timer t[2];

	timers_init(l, t, 2);
	deadline_set(l, &t[0].d, 50 * MS);
	deadline_set(l, &t[0].d, 9000 * MS); /* later, in another turn of the wheel */
	deadline_set(l, &t[1].d, 9000 * MS);
	deadline_set(l, &t[1].d, 50 * MS); /* nearer */
	pass(l, 80 * MS);
	assert_int_equal(t[0].fired, 0);
	assert_int_equal(t[1].fired, 1);
	pass(l, 9000 * MS);
	assert_int_equal(t[0].fired, 1);
	assert_int_equal(t[1].fired, 1);
}

static void test_stop(void **state)
{
	struct loop *l = *state;
	struct timer t;

	timers_init(l, &t, 1);
	deadline_stop(l, &t.d); /* never set */
	deadline_set(l, &t.d, 20 * MS);
	deadline_stop(l, &t.d);
	deadline_stop(l, &t.d);
	assert_false(deadline_is_armed(&t.d));
	/* Nothing that is stopped keeps a loop alive. */
	assert_int_equal(uv_run(&l->uv, UV_RUN_NOWAIT), 0);
	pass(l, 60 * MS);
	assert_int_equal(t.fired, 0);
	deadline_set(l, &t.d, 20 * MS);
	pass(l, 60 * MS);
	assert_int_equal(t.fired, 1);
	assert_int_equal(uv_run(&l->uv, UV_RUN_NOWAIT), 0);
}

static void test_set_again_in_its_own_callback(void **state)
{
	static const usec spans[] = { 1, 10 * MS, 40 * MS, 5120 * MS };
	struct loop *l = *state;

	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		struct timer t;

		timers_init(l, &t, 1);
		t.again_us = spans[i];
		deadline_set(l, &t.d, spans[i]);
		for (unsigned n = 1; n <= 4; n++) {
			pass(l, spans[i] + 30 * MS);
			assert_true(t.fired >= n);
		}
		/* One span or more lies between two: it can't have fired more often than time
		 * allows. */
		assert_true((usec)t.fired <= 4 * (spans[i] + 40 * MS) / MAX(spans[i], 10 * MS));
		deadline_stop(l, &t.d);
	}
}

/* Both are due in the same slot: whichever comes first stops the other. */
static void test_stopped_inside_a_callback_of_the_same_slot(void **state)
{
	struct loop *l = *state;
	struct timer t[3];

	timers_init(l, t, 3);
	t[0].to_stop = &t[1];
	t[2].to_stop = &t[1];
	for (size_t i = 0; i < 3; i++)
		deadline_set(l, &t[i].d, 20 * MS);
	pass(l, 60 * MS);
	assert_int_equal(t[0].fired, 1);
	assert_int_equal(t[1].fired, 0);
	assert_int_equal(t[2].fired, 1);
}

/* After a stall both are due in one go, in different slots. */
static void test_stopped_inside_a_callback_of_an_earlier_slot(void **state)
{
	struct loop *l = *state;
	struct timer t[2];

	timers_init(l, t, 2);
	t[0].to_stop = &t[1];
	deadline_set(l, &t[0].d, 20 * MS);
	deadline_set(l, &t[1].d, 90 * MS);
	time_skip(USEC_PER_S);
	turn(l);
	turn(l);
	assert_int_equal(t[0].fired, 1);
	assert_int_equal(t[1].fired, 0);
	assert_false(deadline_is_armed(&t[1].d));
}

/* A callback moves one of its own slot away, and one from far into the next slot. */
static void test_moved_inside_a_callback(void **state)
{
	struct loop *l = *state;
	struct timer t[4];

	timers_init(l, t, 4);
	t[0].to_set = &t[1];
	t[0].to_set_us = 200 * MS;
	t[2].to_set = &t[3];
	t[2].to_set_us = 0;
	deadline_set(l, &t[0].d, 20 * MS);
	deadline_set(l, &t[1].d, 20 * MS);
	deadline_set(l, &t[2].d, 20 * MS);
	deadline_set(l, &t[3].d, 8000 * MS);
	pass(l, 60 * MS);
	assert_int_equal(t[0].fired, 1);
	assert_int_equal(t[1].fired, 0);
	assert_int_equal(t[2].fired, 1);
	assert_int_equal(t[3].fired, 1);
	pass(l, 200 * MS);
	assert_int_equal(t[1].fired, 1);
	assert_int_equal(t[3].fired, 1);
}

static void test_all_are_found_after_a_long_stall(void **state)
{
	struct loop *l = *state;
	struct timer t[400];
	struct timer later;

	timers_init(l, t, ARRAY_LEN(t));
	timers_init(l, &later, 1);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		deadline_set(l, &t[i].d, (usec)i * 73 * MS); /* up to 29 s: several turns */
	deadline_set(l, &later.d, 61 * USEC_PER_S);
	time_skip(60 * USEC_PER_S);
	turn(l);
	turn(l);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(t[i].fired, 1);
	assert_int_equal(later.fired, 0);
	pass(l, 1100 * MS);
	assert_int_equal(later.fired, 1);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(t[i].fired, 1);
}

/* The wheel stands still while nothing is set or only what is far away: a near deadline set then is
 * neither early nor late. */
static void test_near_deadline_on_a_wheel_that_stood_still(void **state)
{
	struct loop *l = *state;
	struct timer far, near;

	timers_init(l, &near, 1);
	timers_init(l, &far, 1);
	time_skip(100 * USEC_PER_S); /* nothing set */
	turn(l);
	deadline_set(l, &near.d, 100 * MS);
	pass(l, 90 * MS);
	assert_int_equal(near.fired, 0);
	pass(l, 40 * MS);
	assert_int_equal(near.fired, 1);
	deadline_set(l, &far.d, 600 * USEC_PER_S);
	pass(l, 3 * USEC_PER_S);
	time_skip(300 * USEC_PER_S);
	turn(l);
	deadline_set(l, &near.d, 100 * MS);
	pass(l, 90 * MS);
	assert_int_equal(near.fired, 1);
	pass(l, 40 * MS);
	assert_int_equal(near.fired, 2);
	assert_int_equal(far.fired, 0);
	pass(l, 298 * USEC_PER_S);
	assert_int_equal(far.fired, 1);
}

/* Against a model: a list of due times. */
static void test_random_walk(void **state)
{
	struct loop *l = *state;
	struct timer t[64];
	usec due_us[ARRAY_LEN(t)] = { 0 };
	unsigned want[ARRAY_LEN(t)] = { 0 };
	uint32_t seed = 20260711;

	timers_init(l, t, ARRAY_LEN(t));
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i, what;

		seed = seed * 1664525 + 1013904223;
		i = (seed >> 8) % ARRAY_LEN(t);
		what = (seed >> 20) % 16;
		if (what < 9) {
			usec after = (usec)(seed >> 4) % (what < 6 ? 300 * MS : 16 * USEC_PER_S);

			deadline_set(l, &t[i].d, after);
			due_us[i] = turn_now(l) + after;
		} else if (what == 9) {
			deadline_stop(l, &t[i].d);
			due_us[i] = 0;
		} else {
			time_skip((usec)(seed >> 6) %
				  (what == 15 && seed % 8 == 0 ? 20 * USEC_PER_S : 60 * MS));
			turn(l);
		}
		for (i = 0; i < ARRAY_LEN(t); i++) {
			if (due_us[i] && t[i].fired == want[i] + 1) {
				assert_true(t[i].fired_us >= due_us[i] - MS);
				due_us[i] = 0;
				want[i]++;
			}
			assert_int_equal(t[i].fired, want[i]);
			assert_int_equal(deadline_is_armed(&t[i].d), due_us[i] != 0);
			/* Up to 20 ms late, and up to two turns of the loop more. */
			assert_true(!due_us[i] || what <= 9 || due_us[i] + 25 * MS >= turn_now(l));
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		deadline_stop(l, &t[i].d);
	assert_int_equal(l->armed, 0);
}

/* --- deferred work: done at the end of a turn; a loop without handles has no turns, so an hour's
 * deadline stands by ------ */

struct job {
	struct deferred d;
	struct loop *loop;
	unsigned ran, again;
	struct job *to_cancel;
	bool stops;
};

static void on_run(struct deferred *d)
{
	struct job *j = container_of(d, struct job, d);

	j->ran++;
	if (j->again && j->again--)
		deferred_queue(j->loop, d);
	if (j->to_cancel)
		deferred_cancel(&j->to_cancel->d);
	if (j->stops)
		loop_stop(j->loop);
}

static void jobs_init(struct loop *l, struct job *j, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		j[i] = (struct job){ .loop = l };
		deferred_init(&j[i].d, on_run);
	}
}

static void test_deferred_runs_once_and_not_at_once(void **state)
{
	struct loop *l = *state;
	struct timer hour;
	struct job j[3];

	timers_init(l, &hour, 1);
	deadline_set(l, &hour.d, 3600 * USEC_PER_S);
	jobs_init(l, j, 3);
	deferred_queue(l, &j[0].d);
	deferred_queue(l, &j[0].d);
	deferred_queue(l, &j[1].d);
	deferred_cancel(&j[1].d);
	j[2].again = 2;
	deferred_queue(l, &j[2].d);
	assert_int_equal(j[0].ran, 0);
	turn(l);
	turn(l);
	assert_int_equal(j[0].ran, 1);
	assert_int_equal(j[1].ran, 0);
	assert_int_equal(j[2].ran, 3);
	deferred_queue(l, &j[0].d);
	turn(l);
	assert_int_equal(j[0].ran, 2);
	deadline_stop(l, &hour.d);
}

static void test_deferred_cancelled_by_another(void **state)
{
	struct loop *l = *state;
	struct timer hour;
	struct job j[2];

	timers_init(l, &hour, 1);
	deadline_set(l, &hour.d, 3600 * USEC_PER_S);
	jobs_init(l, j, 2);
	j[0].to_cancel = &j[1];
	deferred_queue(l, &j[0].d);
	deferred_queue(l, &j[1].d);
	turn(l);
	assert_int_equal(j[0].ran, 1);
	assert_int_equal(j[1].ran, 0);
	deadline_stop(l, &hour.d);
}

static void test_loop_stop(void **state)
{
	struct loop *l = *state;
	struct timer t;
	struct job j;

	timers_init(l, &t, 1);
	jobs_init(l, &j, 1);
	j.stops = true;
	deadline_set(l, &t.d, 3600 * USEC_PER_S); /* something that keeps it running */
	deferred_queue(l, &j.d);
	(void)loop_run(l);
	assert_int_equal(j.ran, 1);
	assert_int_equal(t.fired, 0);
	deadline_stop(l, &t.d);
}

static void test_marks(void **state)
{
	struct loop *l = *state;
	struct timer hour;
	uint32_t mark;

	timers_init(l, &hour, 1);
	deadline_set(l, &hour.d, 3600 * USEC_PER_S); /* without anything to do it does not look */
	assert_int_equal(loop_mark(l), 0);           /* nothing is being dispatched */
	l->looking = true;
	l->look = 7;
	mark = loop_mark(l);
	assert_int_equal(loop_age(l, mark), LOOP_BEFORE);
	l->n_events = LOOP_EVENTS_SURE;
	assert_int_equal(loop_mark(l), 0);
	assert_int_equal(loop_age(l, mark), LOOP_UNCLEAR);
	turn(l);
	assert_false(l->looking);
	assert_int_equal(l->n_events, 0);
	assert_int_equal(l->look, 8);
	assert_int_equal(loop_age(l, mark), LOOP_LATER);
	l->look = UINT32_MAX;
	turn(l);
	assert_int_equal(l->look, 1); /* 0 is no mark */
	deadline_stop(l, &hour.d);
}

/* Within an event of a stream, time stands still. */
static void test_now(void **state)
{
	struct loop *l = *state;
	usec now = loop_now(l), later;

	time_skip(MS);
	assert_true(loop_now(l) >= now + MS); /* the clock itself goes on, too */
	l->in_event = true;
	l->event_now = 0;
	now = loop_now(l);
	time_skip(MS);
	assert_int_equal(loop_now(l), now);
	later = loop_now_anew(l);
	assert_true(later >= now + MS);
	assert_int_equal(loop_now(l), later);
	l->in_event = false;
	time_skip(MS);
	assert_true(loop_now(l) >= later + MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(test_fires_once_and_never_early),
		T(test_fires_in_order),
		T(test_setting_again_moves),
		T(test_stop),
		T(test_set_again_in_its_own_callback),
		T(test_stopped_inside_a_callback_of_the_same_slot),
		T(test_stopped_inside_a_callback_of_an_earlier_slot),
		T(test_moved_inside_a_callback),
		T(test_all_are_found_after_a_long_stall),
		T(test_near_deadline_on_a_wheel_that_stood_still),
		T(test_random_walk),
		T(test_deferred_runs_once_and_not_at_once),
		T(test_deferred_cancelled_by_another),
		T(test_loop_stop),
		T(test_marks),
		T(test_now),
#undef T
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
