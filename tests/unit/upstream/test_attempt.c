/* One call at a provider: what each failure is called, how long each stage may take, back-pressure,
 * and that nothing comes after an abort. The provider is the test. */
#include "fixture.h"

#include "../net/tls_peer.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- failures
 * ------------------------------------------------------------------------------------------------------------
 */

struct failure_case {
	const char *answer; /* then the connection is closed */
	enum attempt_failure why;
	unsigned heads;
};

static const struct failure_case failure_cases[] = {
	{ "", ATTEMPT_CLOSED_EARLY, 0 },
	{ "HTTP/1.1 200 OK\r\ncontent-le", ATTEMPT_CLOSED_EARLY, 0 },
	{ "HTTP/1.1 100 Continue\r\n\r\n", ATTEMPT_CLOSED_EARLY, 0 },
	{ "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", ATTEMPT_CUT, 1 },
	{ "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", ATTEMPT_CUT, 1 },
	{ "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", ATTEMPT_CUT, 1 },
	{ "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", ATTEMPT_CUT, 1 },
	{ "no HTTP\r\n\r\n", ATTEMPT_MALFORMED, 0 },
	{ "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", ATTEMPT_MALFORMED,
		0 },
	{ "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n", ATTEMPT_MALFORMED,
		1 },
};

static void test_failures_of_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(failure_cases); i++) {
		for (int reset = 0; reset < 2; reset++) {
			const struct failure_case *f = &failure_cases[i];
			struct world *w = world_open(PLAIN, NULL);
			struct call *c = call_start(w);

			(void)served(w, 0, strlen(REQUEST));
			answer(w, 0, f->answer);
			RUN_UNTIL(&w->loop, c->heads == f->heads || call_over(c));
			turns(w, 3); /* so that a RST does not overtake the bytes */
			(reset ? stream_reset : stream_close)(w->provider.conns[0].s);
			(void)failed_as(w, c, f->why);
			assert_int_equal(c->heads, f->heads);
			check_idle(w, 0, 0);
			call_free(c);
			world_close(w);
		}
	}
}

static void test_nobody_listens(void **state)
{
	struct world *w = world_open(PLAIN, NULL);

	(void)state;
	stream_listener_close(&w->provider.listener, NULL);
	turns(w, 2);
	call_free(failed_as(w, call_start(w), ATTEMPT_NO_CONNECTION));
	world_close(w);
}

static void test_no_address(void **state)
{
	struct world *w = world_open("http://no.example.test", NULL);
	struct call *c;

	(void)state;
	names_are(EAI_NONAME, 0, NULL);
	call_free(failed_as(w, call_start(w), ATTEMPT_NO_ADDRESS));
	/* Within a second nothing is asked: it fails at once, from inside the start. */
	c = call_start(w);
	assert_true(call_over(c));
	assert_int_equal(c->why, ATTEMPT_NO_ADDRESS);
	assert_int_equal(names.asked, 1);
	call_free(c);
	world_close(w);
}

/* The first address refuses, the second serves; from then on the second is the first. */
static void test_other_addresses_are_tried(void **state)
{
	static const char *const both[] = { "::1", "127.0.0.1" };
	struct world *w = world_open("http://api.example.test", NULL);

	(void)state;
	names_are(0, 2, both);
	complete(w, 0);
	assert_int_equal(counted(w, STAT_conns_opened), 2);
	pool_drop_idle(w->pool);
	complete(w, 1);
	assert_int_equal(counted(w, STAT_conns_opened), 3);
	world_close(w);
}

/* --- time
 * -----------------------------------------------------------------------------------------------------------------
 */

/* A provider that is silent for so long at each stage; `slack` is what a deadline may be late. */
static void pass(struct world *w, usec us)
{
	time_skip(us);
	turns(w, 3);
}

static void test_time_to_the_first_byte(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c = call_start(w);

	(void)state;
	(void)served(w, 0, strlen(REQUEST));
	pass(w, FIRST_US - USEC_PER_S);
	assert_false(call_over(c));
	/* A head alone is no content: the time goes on. */
	answer(w, 0, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
	RUN_UNTIL(&w->loop, c->heads);
	pass(w, 2 * USEC_PER_S);
	call_free(failed_as(w, c, ATTEMPT_TIMEOUT_FIRST_BYTE));
	check_idle(w, 0, 0);
	world_close(w);
}

static void test_idle_time_between_pieces(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c = call_start(w);

	(void)state;
	(void)served(w, 0, strlen(REQUEST));
	answer(w, 0, "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n.");
	for (unsigned i = 1; i <= 5; i++) {
		RUN_UNTIL(&w->loop, c->bodies == i);
		pass(w, IDLE_US - USEC_PER_S);
		assert_false(call_over(c));
		answer(w, 0, ".");
	}
	RUN_UNTIL(&w->loop, c->bodies == 6);
	pass(w, IDLE_US + USEC_PER_S);
	call_free(failed_as(w, c, ATTEMPT_TIMEOUT_IDLE));
	world_close(w);
}

static void test_time_to_connect(void **state)
{
	struct world *w = world_open("http://api.example.test", NULL);
	struct call *c;

	(void)state;
	/* The look-up takes too long; its late answer finds nobody. */
	names_are(EAI_NONAME, 0, NULL);
	names.blocks = true;
	c = call_start(w);
	RUN_UNTIL(&w->loop, names.asked);
	pass(w, CONNECT_US - USEC_PER_S);
	assert_false(call_over(c));
	pass(w, 2 * USEC_PER_S);
	call_free(failed_as(w, c, ATTEMPT_TIMEOUT_CONNECT));
	names_release();
	RUN_UNTIL(&w->loop, !w->pool->resolver.looking);
	world_close(w);
}

/* A listener at this address that answers nobody: its backlog is full, so the kernel drops
 * handshakes. */
struct deaf {
	int listener, filler[8];
};

static void deaf_open(struct deaf *d, const char *ip, in_port_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = port };

	assert_int_equal(inet_pton(AF_INET, ip, &addr.sin_addr), 1);
	d->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(d->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(d->listener, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(d->filler); i++) {
		d->filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(d->filler[i], (struct sockaddr *)&addr, sizeof(addr));
	}
}

static void deaf_close(struct deaf *d)
{
	for (size_t i = 0; i < ARRAY_LEN(d->filler); i++)
		(void)close(d->filler[i]);
	(void)close(d->listener);
}

static void test_address_that_does_not_answer(void **state)
{
	static const char *const both[] = { "127.0.0.2", "127.0.0.1" };
	struct world *w = world_open("http://api.example.test", NULL);
	struct deaf deaf;
	struct call *c;

	(void)state;
	names_are(0, 2, both);
	deaf_open(&deaf, both[0], w->provider.addr.sin_port);
	c = call_start(w);
	RUN_UNTIL(&w->loop, c->a.state == ATTEMPT_CONNECTING);
	pass(w, CONNECT_US - USEC_PER_S);
	assert_false(call_over(c));
	pass(w, 2 * USEC_PER_S);
	call_free(failed_as(w, c, ATTEMPT_TIMEOUT_CONNECT));
	check_idle(w, 0, 0);
	/* It has cost one call: the next begins with the other address. */
	complete(w, 0);
	deaf_close(&deaf);
	world_close(w);
}

/* --- back-pressure
 * --------------------------------------------------------------------------------------------------------
 */

/* While the owner can't take more, nothing is read and no time runs; then it goes on where it was.
 */
static void test_pause(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c = call_start(w);
	char *large = malloc(1 << 20);
	size_t before;

	(void)state;
	memset(large, 'x', 1 << 20);
	(void)served(w, 0, strlen(REQUEST));
	c->pause_in_body = true;
	answer(w, 0, "HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n");
	(void)end_write(&w->provider.conns[0], large, 1 << 20);
	RUN_UNTIL(&w->loop, c->bodies == 1);
	before = c->content.n;
	pass(w, 5 * IDLE_US);
	assert_false(call_over(c));
	assert_int_equal(c->content.n, before);
	assert_int_equal(c->pauses, 1); /* told that this read is through */
	while (!call_over(c)) {
		unsigned bodies = c->bodies;

		attempt_resume(&c->a);
		assert_int_equal(c->bodies, bodies); /* not from inside */
		RUN_UNTIL(&w->loop, c->bodies > bodies);
		c->pause_in_body = c->content.n < 600000;
	}
	assert_int_equal(c->content.n, 1 << 20);
	check_idle(w, 1, 1);
	complete(w, 0); /* and it is as good as any */
	call_free(c);
	free(large);
	world_close(w);
}

/* Resumed, and the provider says nothing more: now time runs. */
static void test_time_runs_again_after_a_pause(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c = call_start(w);

	(void)state;
	(void)served(w, 0, strlen(REQUEST));
	c->pause_in_body = true;
	answer(w, 0, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n.");
	RUN_UNTIL(&w->loop, c->bodies);
	attempt_resume(&c->a);
	pass(w, IDLE_US + USEC_PER_S);
	call_free(failed_as(w, c, ATTEMPT_TIMEOUT_IDLE));
	world_close(w);
}

/* A request larger than what one write takes together: several pieces, not copied but the first,
 * read late by the provider. */
static void test_large_request(void **state)
{
	const size_t large = (size_t)8 << 20;
	char *body = malloc(large), head[100];

	(void)state;
	pattern_fill(body, 0, large);
	for (int early = 0; early < 2; early++) {
		struct world *w = world_open(PLAIN, NULL);
		struct call *c = call_new(w);
		size_t n = (size_t)snprintf(head, sizeof(head),
			"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %zu\r\n\r\n", large);
		struct end *e;

		c->send[0] = slice_of(head, n);
		c->send[1] = slice_of(body, 1000);
		c->send[2] = slice_of(body + 1000, large - 1000);
		c->n_send = 3;
		call_begin(c);
		e = served(w, 0, 1);
		memset(head, '?', sizeof(head)); /* scratch memory: somebody else's by now */
		stream_read_stop(e->s);
		turns(w, 5);
		if (early) { /* answered before it was all sent: the connection is not at rest */
			answer(w, 0, ANSWER);
			RUN_UNTIL(&w->loop, call_over(c));
			assert_int_equal(c->fails, 0);
			check_idle(w, 0, 0);
		} else {
			assert_int_equal(c->a.state, ATTEMPT_SENDING);
			stream_read_start(e->s);
			(void)served(w, 0, n + large);
			assert_true(pattern_is(e->got.p + n, 0, large));
			assert_memory_equal(e->got.p, "POST / HTTP/1.1\r\nhost: a\r\n", 26);
			answer(w, 0, ANSWER);
			RUN_UNTIL(&w->loop, call_over(c));
			assert_int_equal(c->fails, 0);
			check_idle(w, 1, 1);
		}
		call_free(c);
		world_close(w);
	}
	free(body);
}

/* The pieces of a small request go together, the first of them composed in the very memory that
 * they are put together in. */
static void test_first_piece_in_scratch_memory(void **state)
{
	struct world *w = world_open(PLAIN, NULL);
	struct call *c = call_new(w);

	(void)state;
	memcpy(w->loop.scratch_out, REQUEST, strlen(REQUEST) - 2);
	c->send[0] = slice_of(w->loop.scratch_out, strlen(REQUEST) - 2);
	c->send[1] = SLICE_EMPTY;
	c->send[2] = SLICE("{");
	c->send[3] = SLICE("}");
	c->n_send = 4;
	/* Without a look-up or a connection in between the memory is still ours. */
	call_begin(c);
	RUN_UNTIL(&w->loop, w->provider.n == 1);
	assert_memory_equal(served(w, 0, strlen(REQUEST))->got.p, REQUEST, strlen(REQUEST));
	call_free(c);
	world_close(w);
}

/* --- aborts
 * ----------------------------------------------------------------------------------------------------------------
 */

enum stage { RESOLVING, CONNECTING, WAITING, HALF_A_HEAD, IN_HEAD, IN_BODY, AFTER_BODY, STAGES };

static void abort_at(struct world *w, enum stage at)
{
	static const char *const one[] = { "127.0.0.1" };
	struct call *c;

	names_are(0, 1, one);
	names.blocks = at == RESOLVING;
	c = call_new(w);
	c->abort_in_head = at == IN_HEAD;
	c->abort_in_body = at == IN_BODY;
	call_begin(c);
	if (at == RESOLVING)
		RUN_UNTIL(&w->loop, names.asked);
	while (at == CONNECTING && c->a.state == ATTEMPT_RESOLVING)
		turn(&w->loop); /* one by one, so that it is not passed */
	if (at >= WAITING)
		(void)served(w, 0, strlen(REQUEST));
	if (at == HALF_A_HEAD)
		answer(w, 0, "HTTP/1.1 200 OK\r\ncon");
	if (at >= IN_HEAD)
		answer(w, 0, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n...");
	if (at == AFTER_BODY)
		RUN_UNTIL(&w->loop, c->bodies);
	if (at == IN_HEAD || at == IN_BODY) {
		RUN_UNTIL(&w->loop, call_over(c));
	} else {
		turns(w, at == HALF_A_HEAD ? 3 : 0);
		attempt_abort(&c->a);
		c->over = true;
	}
	assert_int_equal(c->heads, at >= IN_HEAD);
	assert_int_equal(c->fails, 0);
	if (at == RESOLVING)
		names_release();
	RUN_UNTIL(&w->loop, w->pool->n_conns == 0 && !w->pool->resolver.looking);
	turns(w, 3);
	if (at >= WAITING) /* the provider sees it */
		RUN_UNTIL(&w->loop, w->provider.conns[0].eofs + w->provider.conns[0].errors);
	call_free(c);
}

static void test_aborts(void **state)
{
	(void)state;
	for (enum stage at = RESOLVING; at < STAGES; at++) {
		struct world *w = world_open("http://api.example.test", NULL);

		abort_at(w, at);
		world_close(w);
	}
}

/* --- TLS
 * ---------------------------------------------------------------------------------------------------------------------
 */

static void serve_two(SSL *ssl, void *arg)
{
	char p[sizeof(REQUEST) - 1];
	_Atomic unsigned *served_n = arg;

	for (int i = 0; i < 2; i++) {
		tls_read_all(ssl, p, sizeof(p));
		tls_write_all(ssl, ANSWER, strlen(ANSWER));
		++*served_n;
	}
}

static void test_tls(void **state)
{
	static const char *const here[] = { "127.0.0.1" };
	_Atomic unsigned n = 0;
	struct tls_peer *peer = tls_peer_start(
		&(struct tls_peer_config){ .tickets = 2, .serve = serve_two, .arg = &n });
	struct tls_trust *trust;
	struct world *w = world_open(NULL, NULL);
	struct errbuf e;

	(void)state;
	names_are(0, 1, here);
	assert_int_equal(tls_trust_new(tls_peer_ca(), &trust, &e), 0);
	w->provider.addr.sin_port = peer->addr.sin_port;
	w->pool = world_pool(w, "https://localhost", trust);
	tls_trust_unref(trust);
	for (unsigned i = 1; i <= 6; i++) {
		struct call *c = call_start(w);

		RUN_UNTIL(&w->loop, call_over(c));
		assert_int_equal(c->fails, 0);
		assert_string_equal(buf_cstr(&c->content), "ok");
		call_free(c);
		if (i % 2 == 0) /* the server closes after two: dropped while idle */
			RUN_UNTIL(&w->loop, w->pool->n_conns == 0);
	}
	assert_int_equal(n, 6);
	assert_int_equal(counted(w, STAT_conns_opened), 3);
	assert_int_equal(counted(w, STAT_tls_resumed), 2);
	assert_int_equal(counted(w, STAT_stale_replaced), 0);
	world_close(w);
	tls_peer_stop(peer);
}

/* No other address is tried, since the others are the same one's: and nothing of the request
 * leaves. */
static void test_tls_refused(void **state)
{
	static const char *const here[] = { "127.0.0.1", "127.0.0.1" };
	_Atomic unsigned n = 0;
	struct tls_peer *peer = tls_peer_start(&(struct tls_peer_config){
		.certificate = CERT_OTHER_NAME, .serve = serve_two, .arg = &n });
	struct tls_trust *trust;
	struct world *w = world_open(NULL, NULL);
	struct errbuf e;
	struct call *c;

	(void)state;
	names_are(0, 2, here);
	assert_int_equal(tls_trust_new(tls_peer_ca(), &trust, &e), 0);
	w->provider.addr.sin_port = peer->addr.sin_port;
	w->pool = world_pool(w, "https://localhost", trust);
	tls_trust_unref(trust);
	c = failed_as(w, call_start(w), ATTEMPT_TLS);
	assert_int_equal(c->asked_bytes, 0);
	assert_int_equal(counted(w, STAT_conns_opened), 1);
	call_free(c);
	world_close(w);
	tls_peer_stop(peer);
}

static void test_https_needs_a_trust_store(void **state)
{
	struct world *w = world_open(NULL, NULL);
	struct pool_config c = { .loop = &w->loop,
		.stats = stats_worker(w->stats, 0),
		.base_url = SLICE("https://a.test") };
	struct errbuf e;
	struct pool *p = NULL;

	(void)state;
	assert_int_equal(url_parse(c.base_url, &c.url, &e), 0);
	assert_int_equal(pool_new(&c, &p), -ENOENT);
	assert_null(p);
	world_close(w);
}

static void test_names_of_failures(void **state)
{
	(void)state;
	for (int f = ATTEMPT_OK; f <= ATTEMPT_MEMORY; f++)
		assert_non_null(attempt_failure_name((enum attempt_failure)f));
}

static int tear_down_all(void **state)
{
	(void)state;
	tls_peer_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_of_answers),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_no_address),
		cmocka_unit_test(test_other_addresses_are_tried),
		cmocka_unit_test(test_time_to_the_first_byte),
		cmocka_unit_test(test_idle_time_between_pieces),
		cmocka_unit_test(test_time_to_connect),
		cmocka_unit_test(test_address_that_does_not_answer),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_time_runs_again_after_a_pause),
		cmocka_unit_test(test_large_request),
		cmocka_unit_test(test_first_piece_in_scratch_memory),
		cmocka_unit_test(test_aborts),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_refused),
		cmocka_unit_test(test_https_needs_a_trust_store),
		cmocka_unit_test(test_names_of_failures),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, tear_down_all));
}
