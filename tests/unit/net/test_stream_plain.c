/* Streams over TCP and unix sockets: bytes arrive as they were sent, in order and once; what the
 * kernel does not take waits and `drained` says when it is gone; after a close no event comes but
 * `closed`. Every case runs over both transports. */
#include "wire.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE ((size_t)6 << 20) /* more than the kernel buffers */

struct pair {
	struct loop loop;
	struct accepting listener;
	struct end client, server;
	char *large;
};

static struct pair *pair_open(bool is_unix)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_int_equal(loop_init(&p->loop, p), 0);
	accepting_start(&p->listener, &p->loop, is_unix);
	end_init(&p->client, &p->loop);
	end_init(&p->server, &p->loop);
	connect_ends(&p->listener, &p->client, &p->server);
	p->large = malloc(LARGE);
	pattern_fill(p->large, 0, LARGE);
	return p;
}

static void pair_close(struct pair *p)
{
	end_fini(&p->client);
	end_fini(&p->server);
	accepting_stop(&p->listener);
	loop_fini(&p->loop);
	free(p->large);
	free(p);
}

static void check_both_ways(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	assert_int_equal(end_write(&p->client, "hello", 5), 0);
	assert_int_equal(end_write(&p->server, "welcome", 7), 0);
	turn(&p->loop);
	assert_int_equal(p->client.datas + p->server.datas, 0); /* nobody reads yet */
	stream_read_start(p->client.s);
	stream_read_start(p->client.s);
	stream_read_start(p->server.s);
	assert_int_equal(p->client.datas + p->server.datas, 0); /* events come from the loop only */
	RUN_UNTIL(&p->loop, p->client.got_n == 7 && p->server.got_n == 5);
	assert_string_equal(buf_cstr(&p->client.got), "welcome");
	assert_string_equal(buf_cstr(&p->server.got), "hello");
	assert_int_equal(p->client.draineds, 0); /* nothing had to wait */
	pair_close(p);
}

static void check_many_slices(bool is_unix)
{
	struct pair *p = pair_open(is_unix);
	struct slice v[16];
	size_t at = 0;

	p->server.count_only = true;
	stream_read_start(p->server.s);
	for (size_t i = 0; i < 16; i++) { /* every third is empty */
		v[i] = slice_of(i % 3 ? p->large + at : NULL, i % 3 ? i * 1000 : 0);
		at += v[i].n;
	}
	assert_int_equal(stream_write(p->client.s, v, 16), 0);
	RUN_UNTIL(&p->loop, p->server.got_n == at);
	assert_true(p->server.matches);
	assert_int_equal(stream_write(p->client.s, v, 0), 0);
	assert_int_equal(stream_write(p->client.s, v, 1), 0); /* one empty slice */
	pair_close(p);
}

/* What is queued keeps its order, with writes before and behind it; `drained` comes once, when all
 * is written. */
static void check_back_pressure(bool is_unix)
{
	struct pair *p = pair_open(is_unix);
	size_t sent = 0, piece = 100000;
	int r = 0;

	p->server.count_only = true;
	while (r == 0) {
		r = end_write(&p->client, p->large + sent % (LARGE / 2), 0);
		assert_int_equal(r, 0);
		piece = MIN(piece, LARGE - sent);
		r = end_write(&p->client, p->large + sent, piece);
		sent += piece;
	}
	assert_int_equal(r, 1);
	assert_true(p->client.s->queued_bytes > 0);
	assert_int_equal(end_write(&p->client, p->large + sent, 11), 1); /* small ones wait too */
	sent += 11;
	turn(&p->loop);
	assert_int_equal(p->client.draineds, 0);
	stream_read_start(p->server.s);
	RUN_UNTIL(&p->loop, p->server.got_n == sent);
	RUN_UNTIL(&p->loop, p->client.draineds);
	turn(&p->loop);
	assert_int_equal(p->client.draineds, 1);
	assert_true(p->server.matches);
	assert_int_equal(p->client.s->queued_bytes, 0);
	assert_int_equal(p->client.s->queued_writes, 0);
	pair_close(p);
}

/* A held write is not copied, any other is: the caller's memory is changed behind the call. */
static void check_held(bool is_unix)
{
	for (int held = 0; held < 2; held++) {
		struct pair *p = pair_open(is_unix);
		struct slice v[3] = { { p->large, 1000 }, { p->large + 1000, LARGE - 2000 },
			{ p->large + LARGE - 1000, 1000 } };
		int r = held ? stream_write_held(p->client.s, v, 3)
			     : stream_write(p->client.s, v, 3);

		assert_int_equal(r, 1);
		p->large[LARGE - 1] ^= 1;
		stream_read_start(p->server.s);
		RUN_UNTIL(&p->loop, p->client.draineds);
		RUN_UNTIL(&p->loop, p->server.got_n == LARGE);
		assert_true(pattern_is(p->server.got.p, 0, LARGE - 1));
		assert_int_equal(
			p->server.got.p[LARGE - 1], pattern_at(LARGE - 1) ^ (held ? 1 : 0));
		pair_close(p);
	}
}

static void stop_reading(struct end *e)
{
	stream_read_stop(e->s);
}

static void check_reading_stops(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	p->server.count_only = true;
	p->server.on_data = stop_reading;
	stream_read_start(p->server.s);
	assert_int_equal(end_write(&p->client, p->large, LARGE), 1);
	RUN_UNTIL(&p->loop, p->server.datas == 1);
	for (int i = 0; i < 5; i++)
		turn(&p->loop);
	assert_int_equal(p->server.datas, 1);
	assert_true(p->server.got_n <= LOOP_SCRATCH_BYTES);
	p->server.on_data = NULL;
	stream_read_start(p->server.s);
	RUN_UNTIL(&p->loop, p->server.got_n == LARGE);
	assert_true(p->server.matches);
	pair_close(p);
}

/* Paused with bytes to come and their end behind them: both are there when reading goes on, though
 * the socket tells of neither again. */
static void check_ends_while_paused(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	p->server.count_only = true;
	p->server.on_data = stop_reading;
	stream_read_start(p->server.s);
	assert_int_equal(end_write(&p->client, p->large, 1000), 0);
	RUN_UNTIL(&p->loop, p->server.datas == 1);
	assert_int_equal(end_write(&p->client, p->large + 1000, 1000), 0);
	stream_shutdown(p->client.s);
	for (int i = 0; i < 5; i++)
		turn(&p->loop);
	assert_int_equal(p->server.got_n, 1000);
	p->server.on_data = NULL;
	stream_read_start(p->server.s);
	RUN_UNTIL(&p->loop, p->server.eofs);
	assert_int_equal(p->server.got_n, 2000);
	assert_true(p->server.matches);
	pair_close(p);
}

/* Broken off while paused: the error waits as well, in a socket that libuv has given up. */
static void check_reset_while_paused(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	assert_int_equal(end_write(&p->client, "x", 1), 0);
	turn(&p->loop);
	stream_reset(p->client.s);
	RUN_UNTIL(&p->loop, p->client.closeds);
	p->client.s = NULL;
	for (int i = 0; i < 5; i++)
		turn(&p->loop);
	assert_int_equal(p->server.datas + p->server.eofs + p->server.errors, 0);
	stream_read_start(p->server.s);
	RUN_UNTIL(&p->loop, p->server.eofs + p->server.errors);
	assert_int_equal(p->server.error, is_unix ? 0 : -ECONNRESET);
	pair_close(p);
}

static void check_into(bool is_unix)
{
	struct pair *p = pair_open(is_unix);
	char room[100];

	p->server.room = room;
	p->server.room_n = sizeof(room);
	stream_read_start(p->server.s);
	assert_int_equal(end_write(&p->client, p->large, 1000), 0);
	RUN_UNTIL(&p->loop, p->server.got_n == 1000);
	assert_true(p->server.matches);
	assert_true(p->server.datas >= 10);
	assert_true(pattern_is(room, 900, 100)); /* read straight into it */
	p->server.room_n = 0;                    /* no room: scratch memory */
	assert_int_equal(end_write(&p->client, p->large + 1000, 1000), 0);
	RUN_UNTIL(&p->loop, p->server.got_n == 2000);
	assert_true(p->server.matches);
	pair_close(p);
}

/* The end comes behind everything that was queued, and once. */
static void check_eof(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	p->server.count_only = true;
	assert_int_equal(end_write(&p->client, p->large, LARGE), 1);
	stream_shutdown(p->client.s);
	stream_read_start(p->server.s);
	RUN_UNTIL(&p->loop, p->server.eofs);
	assert_int_equal(p->server.got_n, LARGE);
	assert_true(p->server.matches);
	stream_read_start(p->server.s); /* nothing more to be had */
	for (int i = 0; i < 3; i++)
		turn(&p->loop);
	assert_int_equal(p->server.eofs, 1);
	assert_int_equal(p->server.errors, 0);
	/* The other direction is still open. */
	stream_read_start(p->client.s);
	assert_int_equal(end_write(&p->server, "ok", 2), 0);
	RUN_UNTIL(&p->loop, p->client.got_n == 2);
	pair_close(p);
}

static void close_it(struct end *e)
{
	stream_close(e->s);
}

static void check_close_ends_all_events(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	p->server.on_data = close_it; /* in the midst of what there is to read */
	stream_read_start(p->server.s);
	assert_int_equal(end_write(&p->client, p->large, LARGE), 1);
	RUN_UNTIL(&p->loop, p->server.closeds);
	assert_int_equal(p->server.datas, 1);
	assert_int_equal(p->server.eofs + p->server.errors + p->server.draineds, 0);
	p->server.s = NULL;
	/* The writer learns of it by one error. */
	RUN_UNTIL(&p->loop, p->client.errors);
	assert_true(p->client.error == -EPIPE || p->client.error == -ECONNRESET);
	assert_int_equal(p->client.draineds, 0);
	pair_close(p);
}

static void check_close_with_queued_bytes(bool is_unix)
{
	struct pair *p = pair_open(is_unix);
	struct slice v = slice_of(p->large, LARGE);

	p->server.count_only = true;
	assert_int_equal(stream_write_held(p->client.s, &v, 1), 1);
	stream_close(p->client.s);
	assert_int_equal(end_write(&p->client, "x", 1), -ENOTCONN);
	stream_read_start(p->client.s); /* without effect */
	stream_shutdown(p->client.s);
	RUN_UNTIL(&p->loop, p->client.closeds);
	assert_int_equal(p->client.errors + p->client.draineds + p->client.eofs, 0);
	p->client.s = NULL;
	stream_read_start(p->server.s);
	RUN_UNTIL(&p->loop, p->server.eofs + p->server.errors);
	assert_true(p->server.got_n < LARGE);
	pair_close(p);
}

static void check_reset(bool is_unix)
{
	struct pair *p = pair_open(is_unix);

	stream_read_start(p->server.s);
	stream_reset(p->client.s);
	RUN_UNTIL(&p->loop, p->client.closeds);
	p->client.s = NULL;
	RUN_UNTIL(&p->loop, p->server.eofs + p->server.errors);
	/* A unix socket has no RST: its peer sees an end. */
	assert_int_equal(p->server.error, is_unix ? 0 : -ECONNRESET);
	assert_int_equal(p->server.eofs, is_unix ? 1 : 0);
	pair_close(p);
}

static void check_write_to_the_gone(bool is_unix)
{
	struct pair *p = pair_open(is_unix);
	int r = 0;

	stream_reset(p->server.s);
	RUN_UNTIL(&p->loop, p->server.closeds);
	p->server.s = NULL;
	for (int i = 0; i < 1000 && r == 0; i++)
		r = end_write(&p->client, "x", 1);
	assert_true(r == -EPIPE || r == -ECONNRESET);
	assert_int_equal(p->client.errors, 0); /* said once: by the return value */
	pair_close(p);
}

static void check_nobody_listens(bool is_unix)
{
	struct loop l;
	struct end e;
	struct accepting a;

	assert_int_equal(loop_init(&l, NULL), 0);
	accepting_start(&a, &l, is_unix);
	accepting_stop(&a);
	end_init(&e, &l);
	stream_plain_init(&e.plain, &l, is_unix, &end_events);
	e.s = &e.plain.s;
	assert_int_equal(end_write(&e, "x", 1), -ENOTCONN);
	assert_int_equal(stream_connect(&e.plain, (struct sockaddr *)&a.addr), 0);
	assert_int_equal(e.opens, 0);
	RUN_UNTIL(&l, e.opens);
	assert_int_equal(e.open_status, is_unix ? -ENOENT : -ECONNREFUSED);
	assert_false(e.s->open);
	end_fini(&e);
	loop_fini(&l);
}

/* Closed before the connect has ended: no `open` comes. */
static void check_close_while_connecting(bool is_unix)
{
	struct loop l;
	struct end client, server;
	struct accepting a;

	assert_int_equal(loop_init(&l, NULL), 0);
	accepting_start(&a, &l, is_unix);
	end_init(&client, &l);
	end_init(&server, &l);
	a.next = &server;
	stream_plain_init(&client.plain, &l, is_unix, &end_events);
	client.s = &client.plain.s;
	assert_int_equal(stream_connect(&client.plain, (struct sockaddr *)&a.addr), 0);
	stream_close(client.s);
	RUN_UNTIL(&l, client.closeds);
	assert_int_equal(client.opens, 0);
	end_fini(&client);
	end_fini(&server);
	accepting_stop(&a);
	loop_fini(&l);
}

/* Without descriptors a connection waits, and the loop does not spin over it. */
static void check_no_descriptors(bool is_unix)
{
	struct pair *p = pair_open(is_unix);
	struct rlimit old, none;
	struct end client, server;
	unsigned turns = 0;

	end_init(&client, &p->loop);
	end_init(&server, &p->loop);
	p->listener.next = &server;
	stream_plain_init(&client.plain, &p->loop, is_unix, &end_events);
	client.s = &client.plain.s;
	assert_int_equal(stream_connect(&client.plain, (struct sockaddr *)&p->listener.addr), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ 0, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	RUN_UNTIL(&p->loop, client.opens);
	while (!deadline_is_armed(&p->listener.listener.retry))
		turn(&p->loop);
	while (deadline_is_armed(&p->listener.listener.retry) && turns < 1000) {
		(void)uv_run(&p->loop.uv, UV_RUN_ONCE);
		turns++;
	}
	assert_true(turns < 50);
	assert_int_equal(server.opens, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	RUN_UNTIL(&p->loop, server.opens);
	end_fini(&client);
	end_fini(&server);
	pair_close(p);
}

#define BOTH(name)                                                                                 \
	static void test_##name##_tcp(void **state)                                                \
	{                                                                                          \
		(void)state;                                                                       \
		check_##name(false);                                                               \
	}                                                                                          \
	static void test_##name##_unix(void **state)                                               \
	{                                                                                          \
		(void)state;                                                                       \
		check_##name(true);                                                                \
	}
#define CASES(X)                                                                                   \
	X(both_ways)                                                                               \
	X(many_slices)                                                                             \
	X(back_pressure)                                                                           \
	X(held)                                                                                    \
	X(reading_stops)                                                                           \
	X(ends_while_paused)                                                                       \
	X(reset_while_paused)                                                                      \
	X(into)                                                                                    \
	X(eof)                                                                                     \
	X(close_ends_all_events)                                                                   \
	X(close_with_queued_bytes)                                                                 \
	X(reset)                                                                                   \
	X(write_to_the_gone)                                                                       \
	X(nobody_listens)                                                                          \
	X(close_while_connecting)                                                                  \
	X(no_descriptors)

CASES(BOTH)

int main(void)
{
#define ROW(name) cmocka_unit_test(test_##name##_tcp), cmocka_unit_test(test_##name##_unix),
	const struct CMUnitTest tests[] = { CASES(ROW) };
#undef ROW

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
