/* The server of admin sockets: whole requests in, whole answers out, in order, whatever a client
 * sends, does not read or leaves behind. */
#include "wire.h"

#include <aigw/errbuf.h>
#include <aigw/http_server.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define IDLE_US   (20 * USEC_PER_S)
#define MAX_BODY  200000
#define MAX_CONNS 8

struct world {
	struct loop loop;
	struct http_server *server;
	struct deadline hour; /* keeps the loop turning */
	struct http_exchange *waiting[MAX_CONNS];
	unsigned n_waiting, requests, gone;
	bool later; /* answers when told to */
	struct end clients[MAX_CONNS + 2];
	unsigned n_clients;
};

static char socket_name[32]; /* of the present world */

static void nothing(struct deadline *d)
{
	(void)d;
}

/* Answers with what it understood. */
static void answer(struct http_exchange *x)
{
	struct slice body = http_body(x), field = http_field(x, SLICE("x-field")),
		     value = SLICE_EMPTY;
	bool has = http_query_get(x, SLICE("q"), &value);
	struct buf b;

	buf_init(&b, (size_t)1 << 20);
	(void)buf_printf(&b, "%.*s %.*s q=%s%.*s x=%.*s body=%zu:", SLICE_ARG(http_method(x)),
		SLICE_ARG(http_path(x)), has ? "+" : "-", SLICE_ARG(value), SLICE_ARG(field),
		body.n);
	(void)buf_append(&b, body.p, MIN(body.n, 20u));
	http_answer(x, 200, "text/plain", buf_view(&b));
	buf_fini(&b);
}

static void on_request(struct http_exchange *x, void *owner)
{
	struct world *w = owner;

	w->requests++;
	if (!w->later) {
		answer(x);
		return;
	}
	http_set_user(x, &w->waiting[w->n_waiting]);
	w->waiting[w->n_waiting++] = x;
}

static void on_gone(struct http_exchange *x, void *owner)
{
	struct world *w = owner;

	assert_ptr_equal(http_user(x), &w->waiting[w->n_waiting - 1]);
	w->gone++;
	w->n_waiting--;
}

static struct world *world_open(bool tells_gone)
{
	const struct http_server_config c = { .max_body_bytes = MAX_BODY,
		.max_conns = MAX_CONNS,
		.idle_us = IDLE_US,
		.request = on_request,
		.gone = tells_gone ? on_gone : NULL };
	struct world *w = calloc(1, sizeof(*w));
	struct errbuf e = { "" };
	static unsigned worlds;

	/* A socket of its own: one that failed does not spoil the next. */
	(void)snprintf(socket_name, sizeof(socket_name), "admin%u", worlds++);
	assert_int_equal(loop_init(&w->loop, w), 0);
	deadline_init(&w->hour, nothing);
	deadline_set(&w->loop, &w->hour, 3600 * USEC_PER_S);
	assert_int_equal(http_server_listen_unix(
				 &w->loop, path_of(socket_name), 0600, &c, w, &w->server, &e),
		0);
	return w;
}

static void world_close(struct world *w)
{
	for (unsigned i = 0; i < w->n_clients; i++)
		end_fini(&w->clients[i]);
	if (w->server)
		http_server_close(w->server);
	deadline_stop(&w->loop, &w->hour);
	loop_fini(&w->loop);
	free(w);
}

static struct end *client_open(struct world *w)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct end *e = &w->clients[w->n_clients++];

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path_of(socket_name));
	end_init(e, &w->loop);
	e->reads_on_open = true;
	stream_plain_init(&e->plain, &w->loop, true, &end_events);
	e->s = &e->plain.s;
	assert_int_equal(stream_connect(&e->plain, (struct sockaddr *)&addr), 0);
	RUN_UNTIL(&w->loop, e->opens);
	assert_int_equal(e->open_status, 0);
	return e;
}

static void client_send(struct end *e, const char *text)
{
	assert_true(end_write(e, text, strlen(text)) >= 0);
}

/* The answer so far ends with this. */
static bool got_ends(struct end *e, const char *text)
{
	size_t n = strlen(text);

	return e->got.n >= n && memcmp(e->got.p + e->got.n - n, text, n) == 0;
}

static unsigned count_of(struct end *e, const char *text)
{
	unsigned n = 0;

	for (const char *p = buf_cstr(&e->got); (p = strstr(p, text)) != NULL; p++)
		n++;
	return n;
}

static bool closed(const struct end *e)
{
	return e->eofs || e->errors;
}

/* --- what is understood
 * --------------------------------------------------------------------------------------------- */

struct request_case {
	const char *name, *bytes, *answer;
};

static const struct request_case requests[] = {
	{ "a path", "GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a/b q=- x= body=0:" },
	{ "a query", "GET /a?p=1&q=x%20y%2Bz+w&r HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a q=+x y+z w x= body=0:" },
	{ "a query member without a value", "GET /a?q HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a q=+ x= body=0:" },
	{ "the first of two", "GET /a?q=1&q=2 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a q=+1 x= body=0:" },
	{ "half an escape", "GET /a?q=%4 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a q=- x= body=0:" },
	{ "no escape", "GET /a?q=%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a q=- x= body=0:" },
	{ "an escape of two", "GET /a?%71=1 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a q=- x= body=0:" },
	{ "a field", "GET /a HTTP/1.1\r\nHost: a\r\nX-FIELD:  some value \r\n\r\n",
		"GET /a q=- x=some value body=0:" },
	{ "a body", "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"PUT /a q=- x= body=5:hello" },
	{ "a chunked body",
		"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		"chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
		"POST /a q=- x= body=5:hello" },
	{ "an empty body", "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"POST /a q=- x= body=0:" },
	{ "DELETE", "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /a q=- x= body=0:" },
};

/* Each whole and byte by byte, all on one connection. */
static void test_requests(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		const struct request_case *r = &requests[i];

		for (int bytewise = 0; bytewise < 2; bytewise++) {
			buf_reset(&e->got);
			for (const char *p = r->bytes; bytewise && p[1]; p++) {
				assert_int_equal(end_write(e, p, 1), 0);
				turn(&w->loop);
			}
			client_send(e, bytewise ? r->bytes + strlen(r->bytes) - 1 : r->bytes);
			RUN_UNTIL(&w->loop, got_ends(e, r->answer) || closed(e));
			assert_false(closed(e));
			assert_memory_equal(e->got.p, "HTTP/1.1 200 OK\r\n", 17);
			assert_non_null(strstr(buf_cstr(&e->got), "content-type: text/plain\r\n"));
			assert_null(strstr(buf_cstr(&e->got), "connection: close"));
		}
	}
	world_close(w);
}

static void test_head_has_no_body(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);

	(void)state;
	client_send(e, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, got_ends(e, "\r\n\r\n"));
	assert_non_null(strstr(buf_cstr(&e->got), "content-length: 22\r\n"));
	client_send(e, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, got_ends(e, "body=0:"));
	assert_null(strstr(buf_cstr(&e->got), "HEAD /a"));
	world_close(w);
}

static void test_ends_of_connections(void **state)
{
	static const struct request_case cases[] = {
		{ "connection: close",
			"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b "
			"HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /a q=- x= body=0:" },
		{ "HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n", "GET /a q=- x= body=0:" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world *w = world_open(true);
		struct end *e = client_open(w);

		client_send(e, cases[i].bytes);
		RUN_UNTIL(&w->loop, closed(e));
		assert_true(got_ends(e, cases[i].answer));
		assert_non_null(strstr(buf_cstr(&e->got), "connection: close\r\n"));
		assert_int_equal(w->requests, 1);
		world_close(w);
	}
}

static void test_expect(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);

	(void)state;
	client_send(e,
		"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	RUN_UNTIL(&w->loop, got_ends(e, "HTTP/1.1 100 Continue\r\n\r\n"));
	client_send(e, "ok");
	RUN_UNTIL(&w->loop, got_ends(e, "body=2:ok"));
	/* It did not wait: nothing to be said. */
	buf_reset(&e->got);
	client_send(e, "PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
		       "2\r\n\r\nok");
	RUN_UNTIL(&w->loop, got_ends(e, "body=2:ok"));
	assert_null(strstr(buf_cstr(&e->got), "100 Continue"));
	world_close(w);
}

static void test_peer(void **state)
{
	struct world *w = world_open(true);
	struct http_peer p;

	(void)state;
	w->later = true;
	client_send(client_open(w), "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, w->n_waiting);
	p = http_peer_of(w->waiting[0]);
	assert_true(p.known);
	assert_int_equal(p.uid, getuid());
	assert_int_equal(p.gid, getgid());
	assert_int_equal(p.pid, getpid());
	answer(w->waiting[0]);
	world_close(w);
}

/* --- what is refused
 * -------------------------------------------------------------------------------------------------
 */

static const struct request_case refused[] = {
	{ "no HTTP", "hello\r\n\r\n", "400" },
	{ "no Host", "GET /a HTTP/1.1\r\n\r\n", "400" },
	{ "CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "426" },
	{ "too many fields", NULL, "431" },
	{ "a body too large, said before",
		"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 200001\r\n\r\n", "413" },
	{ "a chunk that is none",
		"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "400" },
};

/* On a new connection, and on one that has answered a request of four letters (what is left of it
 * must not be looked at). */
static void test_refused(void **state)
{
	char many[4096] = "GET /a HTTP/1.1\r\nHost: a\r\n";

	(void)state;
	for (int i = 0, n = (int)strlen(many); i < 100; i++)
		n += snprintf(
			many + n, sizeof(many) - (size_t)n, i == 99 ? "x: y\r\n\r\n" : "x: y\r\n");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		for (int used = 0; used < 2; used++) {
			struct world *w = world_open(true);
			struct end *e = client_open(w);
			char status[32];

			if (used) {
				client_send(e, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: "
					       "5\r\n\r\nhello");
				RUN_UNTIL(&w->loop, got_ends(e, "body=5:hello"));
				buf_reset(&e->got);
			}
			client_send(e, refused[i].bytes ? refused[i].bytes : many);
			RUN_UNTIL(&w->loop, closed(e));
			(void)snprintf(status, sizeof(status), "HTTP/1.1 %s ", refused[i].answer);
			assert_memory_equal(buf_cstr(&e->got), status, strlen(status));
			assert_non_null(strstr(buf_cstr(&e->got), "connection: close\r\n"));
			assert_non_null(strstr(buf_cstr(&e->got), "{\"error\":{\"message\":\""));
			assert_int_equal(w->requests, used);
			world_close(w);
		}
	}
}

/* The body outgrows its first memory before it turns out to be wrong. */
static void test_refused_behind_a_long_body(void **state)
{
	static const char *const ends[] = { "zz\r\n",
		"30d41\r\n" }; /* no size; 200,001 bytes more */
	static const char *const statuses[] = { "HTTP/1.1 400 ", "HTTP/1.1 413 " };
	char *chunk = malloc(60000);

	(void)state;
	memset(chunk, 'x', 60000);
	for (size_t i = 0; i < 2; i++) {
		struct world *w = world_open(true);
		struct end *e = client_open(w);

		client_send(e, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
		for (int k = 0; k < 2; k++) {
			client_send(e, "ea60\r\n");
			assert_true(end_write(e, chunk, 60000) >= 0);
			client_send(e, "\r\n");
			for (int t = 0; t < 5; t++)
				turn(&w->loop);
		}
		client_send(e, ends[i]);
		for (int k = 0; k < 4 && !closed(e); k++) {
			(void)end_write(e, chunk, 60000);
			for (int t = 0; t < 5; t++)
				turn(&w->loop);
		}
		RUN_UNTIL(&w->loop, closed(e));
		assert_memory_equal(buf_cstr(&e->got), statuses[i], strlen(statuses[i]));
		assert_int_equal(w->requests, 0);
		world_close(w);
	}
	free(chunk);
}

static void test_limit_of_connections(void **state)
{
	struct world *w = world_open(true);
	struct end *last;

	(void)state;
	for (int i = 0; i < MAX_CONNS; i++)
		(void)client_open(w);
	last = client_open(w);
	RUN_UNTIL(&w->loop, closed(last));
	assert_int_equal(last->got_n, 0);
	/* The others are served, and one that goes makes room. */
	client_send(&w->clients[0], "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, got_ends(&w->clients[0], "body=0:"));
	end_fini(&w->clients[1]);
	end_init(&w->clients[1], &w->loop);
	for (int i = 0; i < 5; i++)
		turn(&w->loop);
	last = client_open(w);
	client_send(last, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, got_ends(last, "body=0:"));
	world_close(w);
}

/* --- many at once
 * -----------------------------------------------------------------------------------------------------
 */

static void test_thousands_pipelined(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);
	struct buf all;
	char want[64];
	const char *p;

	(void)state;
	buf_init(&all, (size_t)1 << 20);
	for (int i = 0; i < 5000; i++)
		(void)buf_printf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
	(void)end_write(e, all.p, all.n);
	RUN_UNTIL(&w->loop, w->requests == 5000 && got_ends(e, "GET /4999 q=- x= body=0:"));
	p = buf_cstr(&e->got);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(want, sizeof(want), "GET /%d q=", i);
		p = strstr(p, want);
		assert_non_null(p);
	}
	buf_fini(&all);
	world_close(w);
}

/* The handler takes its time while the client goes on sending more than the server keeps. */
static void test_flood_behind_an_unanswered_request(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);
	struct buf all;

	(void)state;
	w->later = true;
	buf_init(&all, (size_t)1 << 22);
	for (int i = 0; i < 200; i++)
		(void)buf_printf(&all,
			"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n%05000d", i,
			i);
	(void)end_write(e, all.p, all.n);
	for (unsigned i = 1; i <= 200; i++) {
		RUN_UNTIL(&w->loop, w->n_waiting);
		for (int t = 0; t < 5; t++)
			turn(&w->loop);
		w->n_waiting = 0;
		answer(w->waiting[0]);
		assert_int_equal(w->requests <= i + 1, true);
	}
	RUN_UNTIL(&w->loop, count_of(e, "HTTP/1.1 200") == 200);
	assert_int_equal(w->requests, 200);
	assert_non_null(strstr(buf_cstr(&e->got), "POST /199 q=- x= body=5000:"));
	buf_fini(&all);
	world_close(w);
}

/* A client that sends and never reads is not served for ever: its answers don't pile up. */
static void test_client_that_does_not_read(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);
	struct buf all;
	unsigned served;

	(void)state;
	stream_read_stop(e->s);
	buf_init(&all, (size_t)8 << 20);
	for (int i = 0; i < 100000; i++)
		(void)buf_printf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
	(void)end_write(e, all.p, all.n);
	for (int t = 0; t < 200; t++)
		turn(&w->loop);
	/* What fits the kernel's buffers and a piece of ours (an answer has about 100 bytes), far
	 * from all. */
	assert_true(w->requests < 20000);
	served = w->requests;
	for (int t = 0; t < 20; t++)
		turn(&w->loop);
	assert_int_equal(w->requests, served);
	e->count_only = true;
	stream_read_start(e->s);
	RUN_UNTIL(&w->loop, w->requests == 100000);
	buf_fini(&all);
	world_close(w);
}

/* --- who goes away
 * ----------------------------------------------------------------------------------------------------
 */

static void test_client_gone_before_the_answer(void **state)
{
	(void)state;
	for (int tells = 0; tells < 2; tells++) {
		struct world *w = world_open(tells);
		struct end *e = client_open(w);

		w->later = true;
		client_send(e, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
		RUN_UNTIL(&w->loop, w->n_waiting);
		end_fini(e);
		end_init(e, &w->loop);
		if (tells) {
			RUN_UNTIL(&w->loop, w->gone); /* the exchange is not ours any more */
			assert_int_equal(w->n_waiting, 0);
		} else {
			for (int t = 0; t < 5; t++)
				turn(&w->loop);
			answer(w->waiting[0]); /* goes nowhere */
		}
		/* The place is free again. */
		w->later = false;
		e = client_open(w);
		client_send(e, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
		RUN_UNTIL(&w->loop, got_ends(e, "body=0:"));
		world_close(w);
	}
}

static void test_idle_connections_end(void **state)
{
	static const char *const begun[] = { "", "GET /a HT",
		"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel" };
	struct world *w = world_open(true);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(begun); i++) {
		struct end *e = client_open(w);

		client_send(e, begun[i]);
		for (int t = 0; t < 5; t++)
			turn(&w->loop);
		time_skip(IDLE_US - USEC_PER_S);
		for (int t = 0; t < 5; t++)
			turn(&w->loop);
		assert_false(closed(e));
		time_skip(2 * USEC_PER_S);
		RUN_UNTIL(&w->loop, closed(e));
		assert_int_equal(e->got_n, 0);
	}
	world_close(w);
}

/* The handler may take longer than a client may idle. */
static void test_slow_handler_is_not_idle(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);

	(void)state;
	w->later = true;
	client_send(e, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, w->n_waiting);
	time_skip(3 * IDLE_US);
	for (int t = 0; t < 5; t++)
		turn(&w->loop);
	assert_false(closed(e));
	answer(w->waiting[0]);
	RUN_UNTIL(&w->loop, got_ends(e, "body=0:"));
	/* From the answer on it idles again. */
	time_skip(IDLE_US + USEC_PER_S);
	RUN_UNTIL(&w->loop, closed(e));
	world_close(w);
}

/* Who waits for an answer that nobody will give is told to let go. */
static void test_closing_with_an_unanswered_request(void **state)
{
	struct world *w = world_open(true);
	struct end *e = client_open(w);

	(void)state;
	w->later = true;
	client_send(e, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(&w->loop, w->n_waiting);
	http_server_close(w->server);
	w->server = NULL;
	RUN_UNTIL(&w->loop, closed(e));
	assert_int_equal(w->gone, 1);
	assert_int_equal(access(path_of(socket_name), F_OK), -1);
	world_close(w);
}

/* --- the socket
 * -------------------------------------------------------------------------------------------------------
 */

static void test_socket_file(void **state)
{
	const struct http_server_config c = {
		.max_body_bytes = 1, .max_conns = 1, .idle_us = IDLE_US, .request = on_request
	};
	struct world *w = world_open(true);
	struct http_server *second;
	struct errbuf e;
	struct stat st;

	(void)state;
	assert_int_equal(stat(path_of(socket_name), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(
		http_server_listen_unix(&w->loop, path_of(socket_name), 0600, &c, w, &second, &e),
		-EADDRINUSE);
	assert_non_null(strstr(e.text, "another process listens"));
	world_close(w);
	assert_int_equal(stat(path_of(socket_name), &st), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_head_has_no_body),
		cmocka_unit_test(test_ends_of_connections),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_peer),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_behind_a_long_body),
		cmocka_unit_test(test_limit_of_connections),
		cmocka_unit_test(test_thousands_pipelined),
		cmocka_unit_test(test_flood_behind_an_unanswered_request),
		cmocka_unit_test(test_client_that_does_not_read),
		cmocka_unit_test(test_client_gone_before_the_answer),
		cmocka_unit_test(test_idle_connections_end),
		cmocka_unit_test(test_slow_handler_is_not_idle),
		cmocka_unit_test(test_closing_with_an_unanswered_request),
		cmocka_unit_test(test_socket_file),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
