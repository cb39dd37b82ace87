/* The connections to one provider: when one is kept, used again, replaced or dropped, and how the
 * pool goes. The provider is the test. */
#include "fixture.h"

/* --- what is kept
 * -----------------------------------------------------------------------------------------------------
 */

static void test_a_connection_is_used_again(void **state)
{
	struct world *w = world_open(PLAIN, NULL);

	(void)state;
	for (int i = 0; i < 5; i++) {
		complete(w, 0);
		check_idle(w, 1, 1);
	}
	assert_int_equal(w->provider.n, 1);
	assert_int_equal(counted(w, STAT_conns_opened), 1);
	assert_memory_equal(w->provider.conns[0].got.p, REQUEST REQUEST, 2 * strlen(REQUEST));
	world_close(w);
}

struct kept_case {
	const char *name, *answer, *content;
	bool kept;
};

static const struct kept_case kept_cases[] = {
	{ "length", ANSWER, "ok", true },
	{ "chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"ok", true },
	{ "no body", "HTTP/1.1 204 No Content\r\n\r\n", "", true },
	{ "an error", "HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\nbad", "bad", true },
	{ "interim answers before",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nlink: x\r\n\r\n" ANSWER, "ok",
		true },
	{ "the provider is going to close",
		"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "ok",
		false },
	{ "HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok", false },
	{ "bytes behind the answer", ANSWER "HTTP/1.1 200 OK\r\n", "ok", false },
};

static void test_which_connections_are_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kept_cases); i++) {
		const struct kept_case *k = &kept_cases[i];
		struct world *w = world_open(PLAIN, NULL);
		struct call *c = call_start(w);

		print_message("%s\n", k->name);
		(void)served(w, 0, strlen(REQUEST));
		answer(w, 0, k->answer);
		RUN_UNTIL(&w->loop, call_over(c));
		assert_int_equal(c->fails, 0);
		assert_int_equal(c->lasts, 1);
		assert_string_equal(buf_cstr(&c->content), k->content);
		check_idle(w, k->kept, k->kept);
		call_free(c);
		world_close(w);
	}
}

static void test_answer_until_the_end(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c = call_start(w);

	(void)state;
	(void)served(w, 0, strlen(REQUEST));
	answer(w, 0, "HTTP/1.1 200 OK\r\n\r\nsome");
	RUN_UNTIL(&w->loop, c->bodies);
	assert_false(call_over(c));
	answer(w, 0, " text");
	stream_shutdown(w->provider.conns[0].s);
	RUN_UNTIL(&w->loop, call_over(c));
	assert_int_equal(c->lasts, 1);
	assert_string_equal(buf_cstr(&c->content), "some text");
	check_idle(w, 0, 0);
	call_free(c);
	world_close(w);
}

/* The last used is the first to be used again; more than POOL_MAX_IDLE are not kept. */
static void test_idle_connections(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c[POOL_MAX_IDLE + 6];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		c[i] = call_start(w);
	RUN_UNTIL(&w->loop, w->provider.n == ARRAY_LEN(c));
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		(void)served(w, i, strlen(REQUEST));
		answer(w, i, ANSWER);
		turn_waiting(&w->loop);
	}
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		RUN_UNTIL(&w->loop, call_over(c[i]));
		assert_int_equal(c[i]->fails, 0);
		call_free(c[i]);
	}
	check_idle(w, POOL_MAX_IDLE, POOL_MAX_IDLE);
	pool_drop_idle(w->pool);
	check_idle(w, 0, 0);
	world_close(w);
}

static void test_last_used_first(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *a = call_start(w), *b;

	(void)state;
	(void)served(w, 0, strlen(REQUEST));
	b = call_start(w);
	(void)served(w, 1, strlen(REQUEST));
	answer(w, 1, ANSWER);
	RUN_UNTIL(&w->loop, call_over(b));
	answer(w, 0, ANSWER);
	RUN_UNTIL(&w->loop, call_over(a));
	check_idle(w, 2, 2);
	complete(w, 0);
	complete(w, 0);
	call_free(a);
	call_free(b);
	world_close(w);
}

static void test_idle_connections_are_watched(void **state)
{
	(void)state;
	for (int how = 0; how < 4; how++) {
		struct world *w = world_open(PLAIN, NULL);
		struct end *e;

		complete(w, 0);
		check_idle(w, 1, 1);
		e = &w->provider.conns[0];
		switch (how) {
		case 0: stream_shutdown(e->s); break;
		case 1: stream_reset(e->s); break;
		case 2: answer(w, 0, "HTTP/1.1 408 Request Timeout\r\n\r\n"); break;
		default: time_skip(POOL_IDLE_US + USEC_PER_S); break;
		}
		RUN_UNTIL(&w->loop, w->pool->n_conns == 0);
		check_idle(w, 0, 0);
		complete(w, 1); /* the next call does not notice */
		assert_int_equal(counted(w, STAT_stale_replaced), 0);
		world_close(w);
	}
}

/* --- stale connections
 * --------------------------------------------------------------------------------------------------
 */

/* The provider closes when the next request's bytes arrive: a fresh connection takes its place,
 * unseen, once. */
static void test_stale_connection_is_replaced_once(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		for (int again = 0; again < 2; again++) {
			struct world *w = world_open(PLAIN, NULL);
			struct call *c;

			complete(w, 0);
			c = call_start(w);
			(void)served(w, 0, 2 * strlen(REQUEST));
			(reset ? stream_reset : stream_close)(w->provider.conns[0].s);
			(void)served(w, 1, strlen(REQUEST));
			assert_int_equal(c->asked_bytes, 2);
			assert_int_equal(c->fails, 0);
			assert_int_equal(counted(w, STAT_stale_replaced), 1);
			if (again) { /* the fresh one is not at fault for lying idle */
				stream_close(w->provider.conns[1].s);
				(void)failed_as(w, c, ATTEMPT_CLOSED_EARLY);
			} else {
				answer(w, 1, ANSWER);
				RUN_UNTIL(&w->loop, call_over(c));
				assert_string_equal(buf_cstr(&c->content), "ok");
			}
			assert_int_equal(w->provider.n, 2);
			assert_int_equal(counted(w, STAT_stale_replaced), 1);
			check_idle(w, !again, !again);
			call_free(c);
			world_close(w);
		}
	}
}

/* Gone before we write: the write itself may fail. */
static void test_stale_connection_found_at_the_write(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c;

	(void)state;
	complete(w, 0);
	stream_reset(w->provider.conns[0].s);
	RUN_UNTIL(&w->loop, w->provider.conns[0].closeds);
	/* The loop has not seen the RST yet, unless it was quicker: either way a fresh connection
	 * serves. */
	c = call_start(w);
	(void)served(w, 1, strlen(REQUEST));
	answer(w, 1, ANSWER);
	RUN_UNTIL(&w->loop, call_over(c));
	assert_int_equal(c->fails, 0);
	call_free(c);
	world_close(w);
}

static void test_one_answer_byte_and_it_is_not_replaced(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c;

	(void)state;
	complete(w, 0);
	c = call_start(w);
	(void)served(w, 0, 2 * strlen(REQUEST));
	answer(w, 0, "H");
	stream_shutdown(w->provider.conns[0].s);
	call_free(failed_as(w, c, ATTEMPT_CLOSED_EARLY));
	assert_int_equal(w->provider.n, 1);
	assert_int_equal(counted(w, STAT_stale_replaced), 0);
	world_close(w);
}

/* Bytes that lay on an idle connection when the loop looked, behind the event that made the call:
 * none of them is its answer. */
static void test_bytes_older_than_the_call(void **state)
{
	static const struct {
		const char *name;
		uint32_t events_at_begin, events_at_data, looks;
		bool looking, replaced, failed, asked;
	} rows[] = {
		{ "of the same look", 1, 2, 0, true, true, false, false },
		{ "of the next one", 1, 2, 1, true, false, false, false },
		{ "perhaps of the same", 1, LOOP_EVENTS_SURE, 0, true, false, true, false },
		{ "many before the call", LOOP_EVENTS_SURE, LOOP_EVENTS_SURE, 0, true, false, false,
			true },
		{ "no event made the call", 0, 1, 0, false, false, false, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world *w = world_open(PLAIN, NULL);
		char bytes[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno";
		struct call *c = call_new(w);

		print_message("%s\n", rows[i].name);
		complete(w, 0);
		w->loop.looking = rows[i].looking;
		w->loop.n_events = rows[i].events_at_begin;
		call_begin(c);
		assert_int_equal(c->a.mark == 0, rows[i].asked);
		w->loop.n_events = rows[i].events_at_data;
		w->loop.look += rows[i].looks;
		w->loop.looking = true;
		attempt_on_data(&c->a, bytes, strlen(bytes));
		w->loop.looking = false;
		assert_int_equal(counted(w, STAT_stale_replaced), rows[i].replaced);
		assert_int_equal(c->fails, rows[i].failed);
		if (rows[i].replaced) {
			(void)served(w, 1, strlen(REQUEST));
			answer(w, 1, ANSWER);
			RUN_UNTIL(&w->loop, call_over(c));
			assert_string_equal(buf_cstr(&c->content), "ok");
		} else if (rows[i].failed) {
			assert_int_equal(c->why, ATTEMPT_MALFORMED);
		} else {
			assert_string_equal(buf_cstr(&c->content), "no");
		}
		call_free(c);
		world_close(w);
	}
}

/* What lay there before nobody looks again: the kernel is asked. */
static void test_bytes_on_an_idle_connection_are_asked_for(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c;

	(void)state;
	complete(w, 0);
	answer(w, 0, ANSWER);
	c = call_start(w);
	(void)served(w, 1, strlen(REQUEST));
	answer(w, 1, ANSWER);
	RUN_UNTIL(&w->loop, call_over(c));
	assert_int_equal(w->provider.conns[0].got.n, strlen(REQUEST));
	call_free(c);
	world_close(w);
}

/* --- the pool's own end
 * ------------------------------------------------------------------------------------------------------
 */

/* A policy goes: idle connections close, calls go on to their end, then the memory goes (a
 * sanitizer watches). */
static void test_pool_let_go_in_a_call(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c;

	(void)state;
	complete(w, 0);
	c = call_start(w);
	(void)served(w, 0, 2 * strlen(REQUEST));
	pool_unref(w->pool);
	w->pool = NULL;
	turns(w, 3);
	answer(w, 0, ANSWER);
	RUN_UNTIL(&w->loop, call_over(c));
	assert_string_equal(buf_cstr(&c->content), "ok");
	RUN_UNTIL(&w->loop, w->provider.conns[0].eofs + w->provider.conns[0].errors); /* not kept */
	call_free(c);
	world_close(w);
}

/* The last reference is an attempt's that waits for a name which nobody knows, or that was aborted
 * meanwhile. */
static void test_pool_let_go_in_a_look_up(void **state)
{
	(void)state;
	for (int aborted = 0; aborted < 2; aborted++) {
		struct world *w = world_open("http://no.example.test", NULL);
		struct call *c[3];

		names_are(EAI_NONAME, 0, NULL);
		names.blocks = true;
		for (size_t i = 0; i < ARRAY_LEN(c); i++)
			c[i] = call_start(w);
		RUN_UNTIL(&w->loop, names.asked);
		pool_unref(w->pool);
		w->pool = NULL;
		for (size_t i = 0; aborted && i < ARRAY_LEN(c); i++) {
			attempt_abort(&c[i]->a);
			c[i]->over = true;
		}
		names_release();
		for (size_t i = 0; i < ARRAY_LEN(c); i++) {
			RUN_UNTIL(&w->loop, call_over(c[i]));
			assert_int_equal(c[i]->fails, !aborted);
			call_free(c[i]);
		}
		turns(w, 5);
		world_close(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_connection_is_used_again),
		cmocka_unit_test(test_which_connections_are_kept),
		cmocka_unit_test(test_answer_until_the_end),
		cmocka_unit_test(test_idle_connections),
		cmocka_unit_test(test_last_used_first),
		cmocka_unit_test(test_idle_connections_are_watched),
		cmocka_unit_test(test_stale_connection_is_replaced_once),
		cmocka_unit_test(test_stale_connection_found_at_the_write),
		cmocka_unit_test(test_one_answer_byte_and_it_is_not_replaced),
		cmocka_unit_test(test_bytes_older_than_the_call),
		cmocka_unit_test(test_bytes_on_an_idle_connection_are_asked_for),
		cmocka_unit_test(test_pool_let_go_in_a_call),
		cmocka_unit_test(test_pool_let_go_in_a_look_up),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
