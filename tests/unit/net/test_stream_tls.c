/* TLS towards providers: nobody but who he says he is, no answer that was cut taken for a whole
 * one, sessions resumed, and the same bytes under back-pressure as over a plain stream. */
#include "wire.h"
#include "tls_peer.h"

#include <aigw/errbuf.h>
#include <aigw/tls.h>

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE ((size_t)6 << 20)

struct world {
	struct loop loop;
	struct deadline hour; /* keeps the loop turning */
	struct tls_client *tls;
	struct tls_peer *peer;
	struct end end;
};

static void nothing(struct deadline *d)
{
	(void)d;
}

static struct world *world_open(const struct tls_peer_config *c)
{
	struct world *w = calloc(1, sizeof(*w));
	struct tls_trust *trust;
	struct errbuf e = { "" };

	w->peer = tls_peer_start(c);
	assert_int_equal(loop_init(&w->loop, w), 0);
	deadline_init(&w->hour, nothing);
	deadline_set(&w->loop, &w->hour, 3600 * USEC_PER_S);
	assert_int_equal(tls_trust_new(tls_peer_ca(), &trust, &e), 0);
	assert_int_equal(tls_client_new(trust, &w->tls, &e), 0);
	tls_trust_unref(trust); /* the client has its own reference */
	return w;
}

static void world_close(struct world *w)
{
	end_fini(&w->end);
	tls_peer_stop(w->peer);
	tls_client_free(w->tls);
	deadline_stop(&w->loop, &w->hour);
	loop_fini(&w->loop);
	free(w);
}

/* A new connection in w->end; true once it is open. */
static bool dial_as(struct world *w, struct end *e, const char *name, bool is_ip)
{
	end_init(e, &w->loop);
	e->s = stream_tls_new(&w->loop, w->tls, name, is_ip, &end_events, e);
	assert_non_null(e->s);
	assert_ptr_equal(stream_tls_owner(e->s), e);
	assert_int_equal(end_write(e, "x", 1), -ENOTCONN);
	assert_int_equal(stream_tls_connect(e->s, (struct sockaddr *)&w->peer->addr), 0);
	RUN_UNTIL(&w->loop, e->opens);
	assert_int_equal(e->opens, 1);
	return e->open_status == 0;
}

static bool dial(struct world *w)
{
	return dial_as(w, &w->end, "localhost", false);
}

/* Little room in the kernel: what is written has to wait. */
static void narrow(struct end *e)
{
	int n = 16384;

	assert_int_equal(setsockopt(stream_fd(e->s), SOL_SOCKET, SO_SNDBUF, &n, sizeof(n)), 0);
}

/* --- servers
 * -------------------------------------------------------------------------------------------------------
 */

static void serve_echo(SSL *ssl, void *arg)
{
	char p[4096];
	int n;

	(void)arg;
	while ((n = SSL_read(ssl, p, sizeof(p))) > 0)
		tls_write_all(ssl, p, (size_t)n);
}

static void serve_bye(SSL *ssl, void *arg)
{
	(void)arg;
	tls_write_all(ssl, "bye", 3);
	(void)SSL_shutdown(ssl);
}

static void serve_cut(SSL *ssl, void *arg)
{
	(void)arg;
	tls_write_all(ssl, "cut", 3);
}

/* --- who it is
 * ------------------------------------------------------------------------------------------------------
 */

static void test_good(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct world *w = world_open(&(struct tls_peer_config){
			.version = versions[i], .tickets = 2, .serve = serve_echo });

		assert_true(dial(w));
		assert_true(w->end.s->open);
		assert_string_equal(stream_error_text(w->end.s), "");
		assert_true(stream_fd(w->end.s) >= 0);
		stream_read_start(w->end.s);
		assert_int_equal(end_write(&w->end, "hello", 5), 0);
		RUN_UNTIL(&w->loop, w->end.got_n == 5);
		assert_string_equal(buf_cstr(&w->end.got), "hello");
		world_close(w);
	}
}

static void test_address_instead_of_a_name(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){ .serve = serve_bye });

	(void)state;
	assert_true(dial_as(w, &w->end, "127.0.0.1", true));
	world_close(w);
}

struct refusal {
	enum certificate certificate;
	const char *name;
	bool is_ip;
	const char *text;
};

static const struct refusal refusals[] = {
	{ CERT_OTHER_NAME, "localhost", false, "hostname mismatch" },
	{ CERT_OTHER_NAME, "127.0.0.1", true, "IP address mismatch" },
	{ CERT_GOOD, "localhost.elsewhere.test", false, "hostname mismatch" },
	{ CERT_GOOD, "127.0.0.2", true, "IP address mismatch" },
	{ CERT_EXPIRED, "localhost", false, "certificate has expired" },
	{ CERT_NOT_YET, "localhost", false, "certificate is not yet valid" },
	{ CERT_FOREIGN, "localhost", false, "unable to get local issuer certificate" },
};

static void test_refused_certificates(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
			const struct refusal *r = &refusals[i];
			struct world *w =
				world_open(&(struct tls_peer_config){ .certificate = r->certificate,
					.version = versions[v],
					.tickets = 2,
					.serve = serve_bye });

			assert_false(dial_as(w, &w->end, r->name, r->is_ip));
			assert_int_equal(w->end.open_status, -EPROTO);
			assert_string_equal(stream_error_text(w->end.s), r->text);
			assert_false(w->end.s->open);
			assert_int_equal(end_write(&w->end, "x", 1), -ENOTCONN);
			for (int t = 0; t < 3; t++)
				turn(&w->loop);
			assert_int_equal(w->end.got_n + w->end.errors + w->end.eofs, 0);
			world_close(w);
		}
	}
}

static void raw_http(int fd, void *arg)
{
	static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\nplain HTTP here, no TLS\r\n";
	char p[4096];

	(void)arg;
	(void)!read(fd, p, sizeof(p));
	(void)!write(fd, text, sizeof(text) - 1);
	(void)!read(fd, p, sizeof(p));
}

static void raw_close(int fd, void *arg)
{
	char p[4096];

	(void)arg;
	(void)!read(fd, p, sizeof(p)); /* so that it is an end, not a reset */
}

/* The handshake is begun and then nothing more: the peer waits until the other side is gone. */
static void raw_silent(int fd, void *arg)
{
	char p[4096];

	(void)arg;
	while (read(fd, p, sizeof(p)) > 0)
		;
}

static void test_no_tls_there(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){ .raw = raw_http });

	(void)state;
	assert_false(dial(w));
	assert_int_equal(w->end.open_status, -EPROTO);
	assert_string_not_equal(stream_error_text(w->end.s), "");
	world_close(w);
}

static void test_closed_in_the_handshake(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){ .raw = raw_close });

	(void)state;
	assert_false(dial(w));
	assert_int_equal(w->end.open_status, -ECONNRESET);
	world_close(w);
}

static void test_old_versions_are_not_spoken(void **state)
{
	struct world *w = world_open(
		&(struct tls_peer_config){ .version = TLS1_1_VERSION, .serve = serve_bye });

	(void)state;
	assert_false(dial(w));
	assert_int_equal(w->end.open_status, -EPROTO);
	world_close(w);
}

static void test_nobody_listens(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){ 0 });
	struct tls_peer *gone = tls_peer_start(&(struct tls_peer_config){ 0 });

	(void)state;
	w->peer->addr = gone->addr;
	tls_peer_stop(gone);
	assert_false(dial(w));
	assert_int_equal(w->end.open_status, -ECONNREFUSED);
	world_close(w);
}

static void test_trust_files(void **state)
{
	struct tls_trust *t = NULL;
	struct errbuf e = { "" };
	FILE *f = fopen(path_of("none.pem"), "w");

	(void)state;
	assert_non_null(f);
	(void)fclose(f);
	assert_int_equal(tls_trust_new("/nowhere/ca.pem", &t, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nowhere/ca.pem"));
	assert_int_equal(tls_trust_new(path_of("none.pem"), &t, &e), -ENOENT);
	assert_null(t);
	assert_int_equal(tls_trust_new(tls_peer_ca(), &t, &e), 0);
	tls_trust_unref(tls_trust_ref(t));
	tls_trust_unref(t);
	tls_trust_unref(NULL);
}

/* --- sessions
 * ---------------------------------------------------------------------------------------------------------
 */

/* One connection up to the echo of a byte, by when tickets have come; true if it was resumed. */
static bool call_resumed(struct world *w)
{
	bool resumed;

	assert_true(dial(w));
	resumed = stream_tls_resumed(w->end.s);
	stream_read_start(w->end.s);
	assert_int_equal(end_write(&w->end, "x", 1), 0);
	RUN_UNTIL(&w->loop, w->end.got_n == 1);
	end_fini(&w->end);
	w->end.s = NULL;
	return resumed;
}

static void test_sessions_are_resumed(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		struct world *w = world_open(&(struct tls_peer_config){
			.version = versions[v], .tickets = 2, .serve = serve_echo });

		assert_false(call_resumed(w));
		for (int i = 0; i < 5; i++)
			assert_true(call_resumed(w));
		world_close(w);
	}
}

/* More tickets than are kept: the newest are. */
static void test_many_tickets(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){
		.version = TLS1_3_VERSION, .tickets = 16, .serve = serve_echo });

	(void)state;
	assert_false(call_resumed(w));
	for (int i = 0; i < 3; i++)
		assert_true(call_resumed(w));
	world_close(w);
}

static void test_no_tickets_no_resumption(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		struct world *w = world_open(
			&(struct tls_peer_config){ .version = versions[v], .serve = serve_echo });

		for (int i = 0; i < 3; i++)
			assert_false(call_resumed(w));
		world_close(w);
	}
}

/* A server with new keys does not know the tickets of the old one: a full handshake, no failure. */
static void test_tickets_that_the_server_forgot(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		struct tls_peer_config c = {
			.version = versions[v], .tickets = 2, .serve = serve_echo
		};
		struct world *w = world_open(&c);

		assert_false(call_resumed(w));
		tls_peer_stop(w->peer);
		w->peer = tls_peer_start(&c);
		assert_false(call_resumed(w));
		assert_true(call_resumed(w));
		world_close(w);
	}
}

/* Several contexts are made at the same moment, one by each worker. */
static void *make_client(void *arg)
{
	struct tls_client *c;
	struct errbuf e;

	if (tls_client_new(arg, &c, &e))
		abort();
	return c;
}

static void test_contexts_of_many_threads(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){
		.version = TLS1_3_VERSION, .tickets = 2, .serve = serve_echo });
	struct tls_client *own = w->tls;
	struct tls_trust *trust;
	struct errbuf e;
	pthread_t threads[8];

	(void)state;
	assert_int_equal(tls_trust_new(tls_peer_ca(), &trust, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_client, trust), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		void *made;

		(void)pthread_join(threads[i], &made);
		w->tls = made;
		assert_false(call_resumed(w)); /* each has sessions of its own */
		assert_true(call_resumed(w));
		tls_client_free(w->tls);
	}
	w->tls = own;
	tls_trust_unref(trust);
	world_close(w);
}

/* --- ends
 * --------------------------------------------------------------------------------------------------------------
 */

static void test_end_with_and_without_notice(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		for (int cut = 0; cut < 2; cut++) {
			struct world *w =
				world_open(&(struct tls_peer_config){ .version = versions[v],
					.tickets = 2,
					.serve = cut ? serve_cut : serve_bye });

			assert_true(dial(w));
			stream_read_start(w->end.s);
			RUN_UNTIL(&w->loop, w->end.eofs + w->end.errors);
			for (int t = 0; t < 3; t++)
				turn(&w->loop);
			assert_string_equal(buf_cstr(&w->end.got), cut ? "cut" : "bye");
			assert_int_equal(w->end.eofs, !cut);
			assert_int_equal(w->end.errors, cut);
			assert_int_equal(w->end.error, cut ? -ECONNRESET : 0);
			world_close(w);
		}
	}
}

static void serve_large(SSL *ssl, void *arg)
{
	const char *how = arg;
	char *p = malloc(LARGE);

	pattern_fill(p, 0, LARGE);
	tls_write_all(ssl, p, LARGE);
	if (*how == 'b')
		(void)SSL_shutdown(ssl);
	free(p);
}

static void stop_reading(struct end *e)
{
	stream_read_stop(e->s);
}

/* Reads are stopped after every piece while the peer sends all it has and ends: what was held back
 * is given first, then the end. */
static void test_end_behind_held_back_bytes(void **state)
{
	(void)state;
	for (int cut = 0; cut < 2; cut++) {
		struct world *w = world_open(&(struct tls_peer_config){
			.tickets = 2, .serve = serve_large, .arg = cut ? "cut" : "bye" });
		unsigned datas = 0;

		assert_true(dial(w));
		w->end.count_only = true;
		w->end.on_data = stop_reading;
		while (w->end.got_n < LARGE) {
			stream_read_start(w->end.s);
			RUN_UNTIL(&w->loop, w->end.datas > datas || w->end.errors + w->end.eofs);
			assert_int_equal(w->end.errors + w->end.eofs, 0);
			assert_int_equal(w->end.datas, datas + 1); /* one, then it is stopped */
			datas++;
			if (datas % 16 == 0)
				for (int t = 0; t < 3; t++)
					turn(&w->loop);
			assert_int_equal(w->end.datas, datas);
		}
		assert_true(w->end.matches);
		assert_int_equal(w->end.eofs + w->end.errors, 0);
		stream_read_start(w->end.s);
		RUN_UNTIL(&w->loop, w->end.eofs + w->end.errors);
		assert_int_equal(w->end.eofs, !cut);
		assert_int_equal(w->end.errors, cut);
		world_close(w);
	}
}

static void close_it(struct end *e)
{
	stream_close(e->s);
}

static void test_closed_inside_events(void **state)
{
	(void)state;
	for (int in_open = 0; in_open < 2; in_open++) {
		struct world *w =
			world_open(&(struct tls_peer_config){ .tickets = 2, .serve = serve_echo });

		end_init(&w->end, &w->loop);
		w->end.s =
			stream_tls_new(&w->loop, w->tls, "localhost", false, &end_events, &w->end);
		w->end.reads_on_open = true;
		w->end.on_open = in_open ? close_it : NULL;
		w->end.on_data = close_it;
		assert_int_equal(
			stream_tls_connect(w->end.s, (struct sockaddr *)&w->peer->addr), 0);
		RUN_UNTIL(&w->loop, w->end.opens);
		if (!in_open)
			assert_int_equal(end_write(&w->end, "hello", 5), 0);
		RUN_UNTIL(&w->loop, w->end.closeds);
		assert_int_equal(w->end.datas, !in_open);
		assert_int_equal(w->end.eofs + w->end.errors + w->end.draineds, 0);
		world_close(w);
	}
}

static void test_closed_in_the_handshake_by_us(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){ .raw = raw_silent });

	(void)state;
	for (int turns = 0; turns < 4; turns++) {
		end_init(&w->end, &w->loop);
		w->end.s =
			stream_tls_new(&w->loop, w->tls, "localhost", false, &end_events, &w->end);
		assert_int_equal(
			stream_tls_connect(w->end.s, (struct sockaddr *)&w->peer->addr), 0);
		for (int t = 0; t < turns; t++)
			turn(&w->loop);
		stream_close(w->end.s);
		RUN_UNTIL(&w->loop, w->end.closeds);
		assert_int_equal(w->end.opens + w->end.errors + w->end.eofs, 0);
		end_fini(&w->end);
		w->end.s = NULL;
	}
	world_close(w);
}

/* --- large writes
 * -----------------------------------------------------------------------------------------------------
 */

/* Both ways at once over connections whose sides read late: LARGE bytes to the peer and the same
 * back. */
static void serve_mirror(SSL *ssl, void *arg)
{
	char *p = malloc(LARGE);
	size_t done = 0;

	(void)arg;
	while (done < LARGE) {
		size_t piece = MIN(LARGE - done, (size_t)300000);

		tls_read_all(ssl, p + done, piece);
		tls_write_all(ssl, p + done, piece);
		done += piece;
	}
	free(p);
	serve_echo(ssl, NULL);
}

static void read_now_and_then(struct world *w, unsigned *pause)
{
	struct end *e = &w->end;

	if (++*pause % 3 == 0)
		stream_read_stop(e->s);
	else
		stream_read_start(e->s);
}

static void check_large(int version, bool held)
{
	struct world *w = world_open(&(struct tls_peer_config){
		.version = version, .tickets = 2, .serve = serve_mirror });
	struct end *e = &w->end;
	char *p = malloc(LARGE);
	unsigned pause = 0, waits = 0;
	size_t sent = 0;

	assert_true(dial(w));
	narrow(e);
	e->count_only = true;
	pattern_fill(p, 0, LARGE);
	while (e->got_n < LARGE) {
		unsigned before = e->draineds;
		struct slice v[3];
		size_t n = MIN(LARGE - sent, (size_t)(held ? 700000 : 90000));
		int r = 0;

		read_now_and_then(w, &pause);
		v[0] = slice_of(p + sent, MIN(n, 10u));
		v[1] = SLICE_EMPTY;
		v[2] = slice_of(p + sent + v[0].n, n - v[0].n);
		if (n)
			r = held ? stream_write_held(e->s, v, 3) : stream_write(e->s, v, 3);
		assert_true(r >= 0);
		sent += n;
		if (!held && r == 1 && sent < LARGE) { /* more behind what waits */
			n = MIN(LARGE - sent, 5000u);
			assert_int_equal(end_write(e, p + sent, n), 1);
			sent += n;
		}
		waits += r == 1;
		while (r == 1 && e->draineds == before) {
			read_now_and_then(w, &pause);
			turn(&w->loop);
		}
		assert_int_equal(e->errors + e->eofs, 0);
		turn(&w->loop);
	}
	assert_int_equal(sent, LARGE);
	assert_true(e->matches);
	assert_true(waits > 0); /* how often depends on how quick the peer is */
	assert_true(e->draineds >= waits);
	/* It is as good as new. */
	stream_read_start(e->s);
	assert_int_equal(end_write(e, "more", 4), 0);
	e->count_only = false;
	RUN_UNTIL(&w->loop, e->got_n == LARGE + 4);
	assert_string_equal(buf_cstr(&e->got), "more");
	free(p);
	world_close(w);
}

static void test_large_both_ways(void **state)
{
	(void)state;
	check_large(TLS1_3_VERSION, false);
	check_large(TLS1_2_VERSION, false);
}

static void test_large_held(void **state)
{
	(void)state;
	check_large(TLS1_3_VERSION, true);
	check_large(TLS1_2_VERSION, true);
}

static void serve_count(SSL *ssl, void *arg)
{
	size_t *count = arg;
	char p[8192];
	int n;

	while ((n = SSL_read(ssl, p, sizeof(p))) > 0) {
		if (!pattern_is(p, *count, (size_t)n))
			abort();
		*count += (size_t)n;
	}
}

/* What was queued leaves before the end. */
static void test_shutdown_behind_queued_bytes(void **state)
{
	size_t count = 0;
	struct world *w =
		world_open(&(struct tls_peer_config){ .serve = serve_count, .arg = &count });
	char *p = malloc(LARGE);
	size_t sent = 0;
	int r;

	(void)state;
	assert_true(dial(w));
	narrow(&w->end);
	stream_read_start(w->end.s);
	do { /* a quick peer may take all at once: until something is queued */
		pattern_fill(p, sent, LARGE);
		r = end_write(&w->end, p, LARGE);
		sent += LARGE;
	} while (r == 0);
	assert_int_equal(r, 1);
	stream_shutdown(w->end.s);
	RUN_UNTIL(&w->loop,
		w->end.eofs + w->end.errors); /* the peer has read all, seen the end and left */
	end_fini(&w->end);
	w->end.s = NULL;
	tls_peer_stop(w->peer);
	assert_int_equal(count, sent);
	w->peer = tls_peer_start(&(struct tls_peer_config){ 0 });
	free(p);
	world_close(w);
}

/* --- two streams share a loop's scratch memory
 * -------------------------------------------------------------------------- */

/* A change of keys and data in one piece. */
static void serve_key_update(SSL *ssl, void *arg)
{
	char p[16];
	int cork = 1;

	(void)arg;
	tls_read_all(ssl, p, 1);
	if (*p == 'k') {
		(void)setsockopt(SSL_get_fd(ssl), IPPROTO_TCP, TCP_CORK, &cork, sizeof(cork));
		if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1)
			abort();
		tls_write_all(ssl, "data", 4);
		cork = 0;
		(void)setsockopt(SSL_get_fd(ssl), IPPROTO_TCP, TCP_CORK, &cork, sizeof(cork));
		tls_read_all(ssl, p, 1);
		if (*p != 'o')
			abort();
		tls_write_all(ssl, "well", 4);
	}
	serve_echo(ssl, NULL);
}

static void write_to_the_other(struct end *e)
{
	struct end *other = e->arg;

	if (e->got_n == 4)
		assert_int_equal(end_write(other, "from inside", 11), 0);
}

static void test_streams_do_not_mix(void **state)
{
	struct world *w = world_open(&(struct tls_peer_config){
		.version = TLS1_3_VERSION, .tickets = 2, .serve = serve_key_update });
	struct tls_peer *second = tls_peer_start(
		&(struct tls_peer_config){ .version = TLS1_3_VERSION, .serve = serve_echo });
	struct sockaddr_in first = w->peer->addr;
	struct end other;

	(void)state;
	w->peer->addr = second->addr;
	assert_true(dial_as(w, &other, "localhost", false));
	w->peer->addr = first;
	assert_true(dial(w));
	w->end.on_data = write_to_the_other;
	w->end.arg = &other;
	stream_read_start(w->end.s);
	stream_read_start(other.s);
	assert_int_equal(end_write(&w->end, "k", 1), 0);
	RUN_UNTIL(&w->loop, w->end.got_n == 4);
	RUN_UNTIL(&w->loop, other.got_n == 11);
	assert_string_equal(buf_cstr(&other.got), "from inside");
	assert_int_equal(end_write(&w->end, "o", 1), 0);
	RUN_UNTIL(&w->loop, w->end.got_n == 8 || w->end.errors);
	assert_string_equal(buf_cstr(&w->end.got), "datawell");
	end_fini(&other);
	end_fini(&w->end);
	w->end.s = NULL;
	tls_peer_stop(second);
	world_close(w);
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
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_address_instead_of_a_name),
		cmocka_unit_test(test_refused_certificates),
		cmocka_unit_test(test_no_tls_there),
		cmocka_unit_test(test_closed_in_the_handshake),
		cmocka_unit_test(test_old_versions_are_not_spoken),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_trust_files),
		cmocka_unit_test(test_sessions_are_resumed),
		cmocka_unit_test(test_many_tickets),
		cmocka_unit_test(test_no_tickets_no_resumption),
		cmocka_unit_test(test_tickets_that_the_server_forgot),
		cmocka_unit_test(test_contexts_of_many_threads),
		cmocka_unit_test(test_end_with_and_without_notice),
		cmocka_unit_test(test_end_behind_held_back_bytes),
		cmocka_unit_test(test_closed_inside_events),
		cmocka_unit_test(test_closed_in_the_handshake_by_us),
		cmocka_unit_test(test_large_both_ways),
		cmocka_unit_test(test_large_held),
		cmocka_unit_test(test_shutdown_behind_queued_bytes),
		cmocka_unit_test(test_streams_do_not_mix),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, tear_down_all));
}
