/* A client's connection, with the request behind it played by the test: what is handed over as a
 * request and when, that pipelined bytes are neither lost nor without bound, which deadline holds
 * in which state, and that an answer gets to its reader. */
#include "played.h"

#define POST(n) "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"

/* --- messages
 * ------------------------------------------------------------------------------------------------------------
 */

#define GET     "GET /g HTTP/1.1\r\nhost: a\r\n\r\n"
#define CHUNKED "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"

/* Whole, in pieces of each length, into room or not: the same requests. */
static void test_requests_however_they_are_cut(void **state)
{
	static const char all[] = GET POST(
		5) "hello" GET CHUNKED "3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n" POST(0) GET;
	static const char want[] = "/g() /x(hello) /g() /c(abcde) /x() /g() ";

	(void)state;
	play.at_once = true;
	for (int room = 0; room < 2; room++) {
		play.into_room = room;
		for (size_t step = 1; step <= sizeof(all); step += step < 40 ? 1 : 97) {
			struct end e;

			client_open(&e);
			buf_reset(&play.seen);
			for (size_t at = 0; at < sizeof(all) - 1; at += step) {
				assert_int_equal(
					end_write(&e, all + at, MIN(step, sizeof(all) - 1 - at)),
					0);
				turn(&play.loop);
			}
			RUN_UNTIL(&play.loop, answers(&e) == 6 || closed(&e));
			assert_string_equal(buf_cstr(&play.seen), want);
			assert_false(closed(&e));
			end_fini(&e);
		}
	}
}

static void test_one_at_a_time(void **state)
{
	struct end e;

	(void)state;
	client_open(&e);
	client_send(&e, GET POST(3) "abc" GET);
	RUN_UNTIL(&play.loop, play.now && play.now->whole);
	turns(3);
	assert_int_equal(play.begun, 1);
	for (unsigned i = 1; i <= 3; i++) {
		RUN_UNTIL(&play.loop, play.now && play.now->whole);
		assert_int_equal(play.begun, i);
		answer(OK, strlen(OK));
		RUN_UNTIL(&play.loop, answers(&e) == i);
	}
	assert_string_equal(buf_cstr(&play.seen), "/g() /x(abc) /g() ");
	end_fini(&e);
}

/* More than the connection keeps comes behind a request that takes its time: it waits in the
 * kernel, and not a byte is lost. */
static void test_flood_behind_a_request(void **state)
{
	const size_t large = (size_t)1 << 20, small = 3000;
	char *body = malloc(large);
	struct end e;
	struct buf all;

	(void)state;
	pattern_fill(body, 0, large);
	client_open(&e);
	buf_init(&all, (size_t)4 << 20);
	(void)buf_str(&all, GET);
	for (size_t i = 0; i < small; i++)
		(void)buf_printf(&all, "GET /%zu HTTP/1.1\r\nhost: a\r\nx: %060d\r\n\r\n", i, 0);
	(void)buf_printf(
		&all, "POST /large HTTP/1.1\r\nhost: a\r\ncontent-length: %zu\r\n\r\n", large);
	(void)buf_append(&all, body, large);
	(void)buf_str(&all, GET);
	(void)end_write(&e, all.p, all.n);
	for (size_t i = 0; i < small + 3; i++) {
		RUN_UNTIL(&play.loop, (play.now && play.now->whole) || closed(&e));
		assert_false(closed(&e));
		if (i % 500 == 0)
			turns(5);
		if (i == small + 1) {
			assert_int_equal(play.now->body.n, large);
			assert_true(pattern_is(play.now->body.p, 0, large));
		}
		answer(OK, strlen(OK));
	}
	RUN_UNTIL(&play.loop, answers(&e) == small + 3);
	assert_int_equal(play.refused, FAIL_none);
	buf_fini(&all);
	free(body);
	end_fini(&e);
}

static void test_expect(void **state)
{
	static const char head[] =
		"POST /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
	struct end e;

	(void)state;
	play.at_once = true;
	client_open(&e);
	client_send(&e, head);
	RUN_UNTIL(&play.loop, e.got_n == 25);
	assert_string_equal(buf_cstr(&e.got), "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(&e, "ab");
	RUN_UNTIL(&play.loop, answers(&e) == 1);
	/* Who does not wait needs no word. */
	client_send(&e, head);
	client_send(&e, "ab");
	RUN_UNTIL(&play.loop, answers(&e) == 2);
	end_fini(&e);
}

/* --- refusals
 * --------------------------------------------------------------------------------------------------------------
 */

static void test_wrong_messages(void **state)
{
	static const struct {
		const char *bytes;
		enum fail fail;
		const char *seen;
	} cases[] = {
		{ "hello\r\n\r\n", FAIL_bad_request, "" },
		{ GET "hello\r\n\r\n", FAIL_bad_request, "/g() " },
		{ CHUNKED "zz\r\n", FAIL_bad_request, "" },
		{ CHUNKED "2\r\nabc\r\n", FAIL_bad_request, "" },
	};

	(void)state;
	play.at_once = true;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (int bytewise = 0; bytewise < 2; bytewise++) {
			struct end e;

			client_open(&e);
			buf_reset(&play.seen);
			play.refused = FAIL_none;
			for (const char *p = cases[i].bytes; bytewise && *p; p++) {
				(void)end_write(&e, p, 1);
				turn(&play.loop);
			}
			if (!bytewise)
				client_send(&e, cases[i].bytes);
			RUN_UNTIL(&play.loop, e.eofs);
			assert_int_equal(play.refused, cases[i].fail);
			assert_string_equal(buf_cstr(&play.seen), cases[i].seen);
			assert_null(play.now); /* a request that was begun has been told */
			assert_non_null(strstr(buf_cstr(&e.got), "HTTP/1.1 400 No\r\n\r\n"));
			end_fini(&e);
		}
	}
}

static void test_head_without_end(void **state)
{
	char line[2048];
	struct end e;

	(void)state;
	(void)snprintf(line, sizeof(line), "x: %02000d\r\n", 0);
	client_open(&e);
	client_send(&e, "GET / HTTP/1.1\r\n");
	for (int i = 0; i < 40 && !play.refused; i++) {
		(void)end_write(&e, line, strlen(line));
		turns(1);
	}
	assert_int_equal(play.refused, FAIL_header_too_large);
	RUN_UNTIL(&play.loop, e.eofs);
	assert_int_equal(play.begun, 0);
	end_fini(&e);
}

static void test_no_memory_for_a_request(void **state)
{
	struct end e;

	(void)state;
	play.refuse_memory = true;
	client_open(&e);
	client_send(&e, GET);
	RUN_UNTIL(&play.loop, e.eofs);
	assert_int_equal(play.refused, FAIL_gateway_overloaded);
	end_fini(&e);
}

static void test_too_many_connections(void **state)
{
	struct end e[22];

	(void)state;
	play.at_once = true;
	for (size_t i = 0; i < ARRAY_LEN(e); i++)
		client_open(&e[i]);
	for (size_t i = 20; i < 22; i++) {
		RUN_UNTIL(&play.loop, e[i].eofs);
		assert_non_null(strstr(buf_cstr(&e[i].got), "HTTP/1.1 503 "));
	}
	client_send(&e[0], GET);
	RUN_UNTIL(&play.loop, answers(&e[0]) == 1);
	for (size_t i = 0; i < ARRAY_LEN(e); i++)
		end_fini(&e[i]);
}

/* --- time
 * -------------------------------------------------------------------------------------------------------------------
 */

static void test_idle_connections_end(void **state)
{
	struct end e[2];

	(void)state;
	play.at_once = true;
	client_open(&e[0]);
	client_open(&e[1]);
	pass(CONN_IDLE_US - USEC_PER_S);
	client_send(&e[1], GET); /* a request: its time begins anew */
	RUN_UNTIL(&play.loop, answers(&e[1]) == 1);
	pass(2 * USEC_PER_S);
	RUN_UNTIL(&play.loop, closed(&e[0]));
	assert_int_equal(e[0].got_n, 0);
	assert_false(closed(&e[1]));
	pass(CONN_IDLE_US);
	RUN_UNTIL(&play.loop, closed(&e[1]));
	end_fini(&e[0]);
	end_fini(&e[1]);
}

/* The whole head within CONN_HEAD_US of its first byte, however steadily it drips. */
static void test_slow_head(void **state)
{
	struct end e;

	(void)state;
	client_open(&e);
	for (int i = 0; i < 9; i++) {
		client_send(&e, i ? "x: y\r\n" : "GET / HTTP/1.1\r\n");
		pass(CONN_HEAD_US / 10);
	}
	assert_int_equal(play.refused, FAIL_none);
	client_send(&e, "x: y\r\n");
	pass(CONN_HEAD_US / 5);
	RUN_UNTIL(&play.loop, e.eofs);
	assert_int_equal(play.refused, FAIL_request_timeout);
	assert_non_null(strstr(buf_cstr(&e.got), "HTTP/1.1 408 "));
	end_fini(&e);
}

/* A body may take its time as long as it comes at some rate; then it may not be silent for long. */
static void test_slow_body(void **state)
{
	static char part[CONN_BODY_MIN_RATE_S * 29];
	size_t sent = 0;
	struct end e;

	(void)state;
	memset(part, '.', sizeof(part) - 1);
	client_open(&e);
	client_send(&e, POST(10000000));
	for (int i = 0; i < 5; i++) {
		RUN_UNTIL(&play.loop, play.now && play.now->body.n == sent);
		pass(CONN_BODY_IDLE_US - USEC_PER_S);
		client_send(&e, part);
		sent += sizeof(part) - 1;
	}
	RUN_UNTIL(&play.loop, play.now->body.n == sent);
	assert_int_equal(play.refused, FAIL_none);
	pass(CONN_BODY_IDLE_US + USEC_PER_S);
	RUN_UNTIL(&play.loop, e.eofs);
	assert_int_equal(play.refused, FAIL_request_timeout);
	assert_null(play.now);
	end_fini(&e);
}

/* While the request has no use for more, nothing is read, and that time is not the client's. */
static void test_held_body(void **state)
{
	struct end e;

	(void)state;
	client_open(&e);
	client_send(&e, POST(6));
	RUN_UNTIL(&play.loop, play.now);
	play.now->holds = true;
	client_send(&e, "abc");
	RUN_UNTIL(&play.loop, play.now->body.n == 3);
	client_send(&e, "def");
	for (int i = 0; i < 5; i++)
		pass(CONN_BODY_IDLE_US);
	assert_int_equal(play.now->body.n, 3);
	assert_int_equal(play.refused, FAIL_none);
	play.now->holds = false;
	play.now->r.resume(&play.now->r);
	RUN_UNTIL(&play.loop, play.now->whole);
	assert_int_equal(play.refused, FAIL_none);
	answer("ok", 2);
	end_fini(&e);
}

/* Each byte of a dribble comes within CONN_BODY_IDLE_US, and yet it ends. */
static void test_dribbled_body(void **state)
{
	struct end e;

	(void)state;
	client_open(&e);
	client_send(&e, POST(1000000));
	RUN_UNTIL(&play.loop, play.now);
	client_send(&e, ".");
	RUN_UNTIL(&play.loop, play.now->body.n == 1);
	pass(CONN_BODY_GRACE_US - USEC_PER_S);
	client_send(&e, ".");
	RUN_UNTIL(&play.loop, play.now->body.n == 2);
	assert_int_equal(play.refused, FAIL_none);
	pass(3 * USEC_PER_S);
	client_send(&e, ".");
	RUN_UNTIL(&play.loop, e.eofs);
	assert_int_equal(play.refused, FAIL_request_timeout);
	assert_null(play.now);
	end_fini(&e);
}

static void test_an_answer_may_take_long(void **state)
{
	struct end e;

	(void)state;
	client_open(&e);
	client_send(&e, GET);
	RUN_UNTIL(&play.loop, play.now);
	pass(10 * CONN_IDLE_US);
	assert_false(closed(&e));
	answer(OK, strlen(OK));
	RUN_UNTIL(&play.loop, answers(&e) == 1);
	end_fini(&e);
}

/* --- the end of connections
 * --------------------------------------------------------------------------------------------------
 */

/* The end comes behind the answer; what the client still sends is read and dropped, so that no RST
 * takes the answer away. */
static void test_lingering(void **state)
{
	char *more = calloc(1, 200000);
	struct end e;

	(void)state;
	play.close = true;
	client_open(&e);
	client_send(&e, GET);
	RUN_UNTIL(&play.loop, play.now);
	(void)end_write(&e, more, 200000);
	turns(3);
	answer(OK, strlen(OK));
	RUN_UNTIL(&play.loop, e.eofs);
	assert_int_equal(answers(&e), 1);
	(void)end_write(&e, more, 200000);
	turns(5);
	assert_int_equal(e.errors, 0);
	assert_int_equal(play.begun, 1); /* nothing of it is a request */
	assert_int_equal(play.set.n_conns, 1);
	pass(CONN_LINGER_US + USEC_PER_S); /* but not for ever */
	RUN_UNTIL(&play.loop, play.set.n_conns == 0);
	free(more);
	end_fini(&e);
}

/* A reader that is slow, not gone, gets the whole of an answer that ends the connection. */
static void test_lingering_for_a_slow_reader(void **state)
{
	const size_t large = (size_t)8 << 20; /* more than the kernel takes */
	char *text = malloc(large);
	struct end e;

	(void)state;
	pattern_fill(text, 0, large);
	play.close = true;
	client_open(&e);
	e.count_only = true;
	stream_read_stop(e.s);
	client_send(&e, GET);
	RUN_UNTIL(&play.loop, play.now);
	answer(text, large);
	for (int i = 0; i < 5; i++)
		pass(CONN_LINGER_US);
	assert_int_equal(play.set.n_conns, 1);
	stream_read_start(e.s);
	RUN_UNTIL(&play.loop, closed(&e));
	assert_int_equal(e.got_n, large);
	assert_true(e.matches);
	assert_int_equal(e.eofs, 1);
	free(text);
	end_fini(&e);
}

/* And one that never reads does not hold its connection for ever. */
static void test_lingering_for_nobody(void **state)
{
	const size_t large = (size_t)8 << 20;
	char *text = calloc(1, large);
	struct end e;

	(void)state;
	play.close = true;
	client_open(&e);
	stream_read_stop(e.s);
	client_send(&e, GET);
	RUN_UNTIL(&play.loop, play.now);
	answer(text, large);
	pass(CONN_IDLE_US + USEC_PER_S);
	pass(CONN_LINGER_US + USEC_PER_S);
	RUN_UNTIL(&play.loop, play.set.n_conns == 0);
	free(text);
	end_fini(&e);
}

static void test_client_gone(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct end e;

		client_open(&e);
		client_send(&e, how == 0 ? POST(5) "ab" : GET);
		RUN_UNTIL(&play.loop,
			play.now && (how == 0 ? play.now->body.n == 2 : play.now->whole));
		if (how == 2)
			stream_reset(e.s);
		else
			stream_close(e.s);
		RUN_UNTIL(&play.loop, !play.now); /* told */
		RUN_UNTIL(&play.loop, play.set.n_conns == 0);
		end_fini(&e);
	}
	assert_int_equal(play.emptied, 3);
}

static void test_drain(void **state)
{
	struct end idle, busy, half;

	(void)state;
	client_open(&idle);
	client_open(&busy);
	client_open(&half);
	client_send(&busy, GET GET);
	client_send(&half, "GET /g HT");
	RUN_UNTIL(&play.loop, play.now);
	turns(3);
	conn_set_drain(&play.set);
	RUN_UNTIL(&play.loop, idle.eofs);
	assert_int_equal(play.set.n_conns, 2);
	answer(OK, strlen(OK));
	RUN_UNTIL(&play.loop, busy.eofs);
	assert_int_equal(answers(&busy), 1); /* what was pipelined behind it is not begun */
	client_send(&half, "TP/1.1\r\nhost: a\r\n\r\n");
	RUN_UNTIL(&play.loop, play.now);
	answer(OK, strlen(OK));
	RUN_UNTIL(&play.loop, half.eofs);
	assert_int_equal(play.emptied, 0);
	end_fini(&idle);
	end_fini(&busy);
	end_fini(&half);
	RUN_UNTIL(&play.loop, play.emptied);
}

/* Back-pressure: the request is told when the client has taken what was queued. */
static void test_drained(void **state)
{
	const size_t large = (size_t)8 << 20;
	char *text = calloc(1, large);
	struct slice v = slice_of(text, large);
	struct end e;

	(void)state;
	client_open(&e);
	e.count_only = true;
	stream_read_stop(e.s);
	client_send(&e, GET);
	RUN_UNTIL(&play.loop, play.now);
	assert_int_equal(stream_write(play.now->r.client, &v, 1), 1);
	turns(3);
	assert_int_equal(play.now->drained, 0);
	stream_read_start(e.s);
	RUN_UNTIL(&play.loop, play.now->drained == 1);
	answer(OK, strlen(OK));
	RUN_UNTIL(&play.loop, e.got_n == large + strlen(OK));
	free(text);
	end_fini(&e);
}

/* --- addresses
 * ------------------------------------------------------------------------------------------------------------------
 */

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		int err;
		const char *sentence;
	} wrong[] = {
		{ "0.0.0.0:2449", -EACCES, "not a loopback address" },
		{ "192.0.2.1:2449", -EACCES, "not a loopback address" },
		{ "[::]:2449", -EACCES, "not a loopback address" },
		{ "[::ffff:192.0.2.1]:2449", -EACCES, "not a loopback address" },
		{ "localhost:2449", -EINVAL, "no IP address" },
		{ "2449", -EINVAL, "no ADDRESS:PORT" },
		{ ":2449", -EINVAL, "no ADDRESS:PORT" },
		{ "127.0.0.1", -EINVAL, "no ADDRESS:PORT" },
		{ "127.0.0.1:", -EINVAL, "no ADDRESS:PORT" },
		{ "127.0.0.1:65536", -EINVAL, "no ADDRESS:PORT" },
		{ "127.0.0.1:x", -EINVAL, "no ADDRESS:PORT" },
		{ "127.0.0.1:80 ", -EINVAL, "no ADDRESS:PORT" },
		{ "[127.0.0.1:80", -EINVAL, "no IP address" },
	};
	static const char *const good[] = { "127.0.0.1:0", "127.3.2.1:0", "[::1]:0" };
	struct errbuf e;
	char taken[64];
	int fd;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		e.text[0] = '\0';
		assert_int_equal(listen_tcp(wrong[i].text, &fd, &e), wrong[i].err);
		assert_non_null(strstr(e.text, wrong[i].sentence));
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(listen_tcp(good[i], &fd, &e), 0);
		(void)close(fd);
	}
	(void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", ntohs(play.addr.sin_port));
	assert_int_equal(listen_tcp(taken, &fd, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, taken));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(test_requests_however_they_are_cut),
		T(test_one_at_a_time),
		T(test_flood_behind_a_request),
		T(test_expect),
		T(test_wrong_messages),
		T(test_head_without_end),
		T(test_no_memory_for_a_request),
		T(test_too_many_connections),
		T(test_idle_connections_end),
		T(test_slow_head),
		T(test_slow_body),
		T(test_held_body),
		T(test_dribbled_body),
		T(test_an_answer_may_take_long),
		T(test_lingering),
		T(test_lingering_for_a_slow_reader),
		T(test_lingering_for_nobody),
		T(test_client_gone),
		T(test_drain),
		T(test_drained),
		T(test_addresses),
#undef T
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
