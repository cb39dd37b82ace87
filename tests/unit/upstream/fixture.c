#include "fixture.h"

#include <arpa/inet.h>

struct names names;

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* --- names: stands before the C library's
 * ----------------------------------------------------------------------------- */

static struct addrinfo *info_made(const char *address, const char *service)
{
	struct addrinfo *i = calloc(1, sizeof(*i) + sizeof(struct sockaddr_in6));
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(i + 1);
	struct sockaddr_in *v4 = (struct sockaddr_in *)(i + 1);

	i->ai_addr = (struct sockaddr *)(i + 1);
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)atoi(service));
		i->ai_addrlen = sizeof(*v4);
	} else {
		must(inet_pton(AF_INET6, address, &v6->sin6_addr) == 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)atoi(service));
		i->ai_addrlen = sizeof(*v6);
	}
	i->ai_family = i->ai_addr->sa_family;
	i->ai_socktype = SOCK_STREAM;
	return i;
}

int getaddrinfo(
	const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	struct addrinfo **at = ret;

	(void)node;
	(void)hints;
	*ret = NULL;
	names.asked++;
	if (names.blocks)
		(void)sem_wait(&names.released);
	if (names.error)
		return names.error;
	for (unsigned i = 0; i < names.n; i++) {
		*at = info_made(names.address[i], service);
		at = &(*at)->ai_next;
	}
	return 0;
}

void freeaddrinfo(struct addrinfo *i)
{
	while (i) {
		struct addrinfo *next = i->ai_next;

		free(i);
		i = next;
	}
}

void names_are(int error, unsigned n, const char *const *address)
{
	names.error = error;
	names.n = n;
	names.blocks = false;
	names.asked = 0;
	for (unsigned i = 0; i < n; i++)
		names.address[i] = address[i];
	(void)sem_init(&names.released, 0, 0);
}

void names_release(void)
{
	names.blocks = false;
	(void)sem_post(&names.released);
}

/* --- the provider
 * -------------------------------------------------------------------------------------------------------
 */

static void on_connection(struct stream_listener *listener)
{
	struct provider *p = container_of(listener, struct provider, listener);
	struct end *e = &p->conns[p->n];

	assert_true(p->n < MAX_CONNS);
	end_init(e, p->loop);
	stream_plain_init(&e->plain, p->loop, false, &end_events);
	e->s = &e->plain.s;
	assert_int_equal(stream_accept(&e->plain, listener), 0);
	stream_read_start(e->s);
	p->n++;
}

static void provider_open(struct provider *p, struct loop *l)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(p->addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	p->loop = l;
	must(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	must(getsockname(fd, (struct sockaddr *)&p->addr, &n) == 0);
	must(stream_listen(&p->listener, l, fd, 128, on_connection) == 0);
}

static void nothing(struct deadline *d)
{
	(void)d;
}

struct world *world_open(const char *scheme_and_host, struct tls_trust *trust)
{
	struct world *w = calloc(1, sizeof(*w));

	must(loop_init(&w->loop, w) == 0 && stats_new(1, &w->stats) == 0);
	deadline_init(&w->hour, nothing);
	deadline_set(&w->loop, &w->hour, 3600 * USEC_PER_S);
	provider_open(&w->provider, &w->loop);
	if (scheme_and_host)
		w->pool = world_pool(w, scheme_and_host, trust);
	return w;
}

struct pool *world_pool(struct world *w, const char *scheme_and_host, struct tls_trust *trust)
{
	struct pool_config c = {
		.loop = &w->loop, .stats = stats_worker(w->stats, 0), .trust = trust
	};
	char text[512];
	struct errbuf e;
	struct pool *p;

	c.stat_slot = stats_slot(w->stats, STAT_PROVIDER, SLICE("provider"));
	(void)snprintf(
		text, sizeof(text), "%s:%u/v1", scheme_and_host, ntohs(w->provider.addr.sin_port));
	c.base_url = slice_str(text);
	assert_int_equal(url_parse(c.base_url, &c.url, &e), 0);
	assert_int_equal(pool_new(&c, &p), 0);
	return p;
}

void world_close(struct world *w)
{
	pool_unref(w->pool);
	for (unsigned i = 0; i < w->provider.n; i++)
		end_fini(&w->provider.conns[i]);
	stream_listener_close(&w->provider.listener, NULL);
	deadline_stop(&w->loop, &w->hour);
	loop_fini(&w->loop);
	stats_free(w->stats);
	free(w);
}

int64_t counted(struct world *w, enum stat_counter c)
{
	return stats_sum(
		w->stats, STAT_PROVIDER, stats_slot(w->stats, STAT_PROVIDER, SLICE("provider")), c);
}

void turns(struct world *w, int n)
{
	for (int i = 0; i < n; i++)
		turn_waiting(&w->loop);
}

/* --- calls
 * --------------------------------------------------------------------------------------------------------------
 */

static struct call *event(struct attempt *a)
{
	struct call *c = a->owner;

	assert_false(c->over);
	return c;
}

static unsigned on_bytes(struct attempt *a, struct slice *out)
{
	struct call *c = event(a);

	c->asked_bytes++;
	memcpy(out, c->send, c->n_send * sizeof(*out));
	return c->n_send;
}

static void abort_it(struct call *c)
{
	attempt_abort(&c->a);
	attempt_abort(&c->a); /* twice is once */
	assert_true(attempt_is_over(&c->a));
	c->over = true;
}

static bool on_head(struct attempt *a, const struct h1_head *h)
{
	struct call *c = event(a);

	assert_false(c->in_start);
	assert_int_equal(c->heads, 0);
	c->heads++;
	c->status = h->status;
	if (c->abort_in_head)
		abort_it(c);
	return !c->over;
}

static bool on_body(struct attempt *a, char *p, size_t n, bool last)
{
	struct call *c = event(a);

	assert_int_equal(c->heads, 1);
	assert_int_equal(buf_append(&c->content, p, n), 0);
	c->bodies++;
	c->lasts += last;
	if (last) {
		assert_true(attempt_is_over(a));
		c->over = true;
		return true;
	}
	if (c->pause_in_body)
		attempt_pause(a);
	if (c->abort_in_body)
		abort_it(c);
	return !c->over;
}

static void on_paused(struct attempt *a)
{
	event(a)->pauses++;
}

static void on_failed(struct attempt *a, enum attempt_failure f)
{
	struct call *c = event(a);

	assert_true(attempt_is_over(a));
	assert_null(a->conn);
	c->fails++;
	c->why = f;
	c->over = true;
}

static const struct attempt_events call_events = {
	.bytes = on_bytes,
	.head = on_head,
	.body = on_body,
	.paused = on_paused,
	.failed = on_failed,
};

struct call *call_new(struct world *w)
{
	const struct attempt_timeouts t = { CONNECT_US, FIRST_US, IDLE_US };
	struct call *c = calloc(1, sizeof(*c));

	c->w = w;
	c->send[0] = SLICE(REQUEST);
	c->n_send = 1;
	buf_init(&c->content, (size_t)1 << 26);
	attempt_init(&c->a, w->pool, &call_events, c, t);
	return c;
}

void call_begin(struct call *c)
{
	c->in_start = true;
	attempt_start(&c->a);
	c->in_start = false;
}

struct call *call_start(struct world *w)
{
	struct call *c = call_new(w);

	call_begin(c);
	return c;
}

void call_free(struct call *c)
{
	attempt_abort(&c->a);
	buf_fini(&c->content);
	free(c);
}

bool call_over(const struct call *c)
{
	return c->over;
}

struct end *served(struct world *w, unsigned i, size_t got_n)
{
	struct provider *p = &w->provider;

	RUN_UNTIL(&w->loop, p->n > i && p->conns[i].got_n >= got_n);
	return &p->conns[i];
}

void answer(struct world *w, unsigned i, const char *text)
{
	assert_true(end_write(&w->provider.conns[i], text, strlen(text)) >= 0);
}

void complete(struct world *w, unsigned i)
{
	struct call *c = call_start(w);
	size_t before = i < w->provider.n ? w->provider.conns[i].got_n : 0;

	(void)served(w, i, before + strlen(REQUEST));
	answer(w, i, ANSWER);
	RUN_UNTIL(&w->loop, call_over(c));
	assert_int_equal(c->fails, 0);
	assert_string_equal(buf_cstr(&c->content), "ok");
	call_free(c);
}

struct call *failed_as(struct world *w, struct call *c, enum attempt_failure why)
{
	RUN_UNTIL(&w->loop, call_over(c));
	assert_int_equal(c->fails, 1);
	assert_string_equal(attempt_failure_name(c->why), attempt_failure_name(why));
	return c;
}

void check_idle(struct world *w, unsigned idle, unsigned conns)
{
	turns(w, 3);
	assert_int_equal(w->pool->n_idle, idle);
	assert_int_equal(w->pool->n_conns, conns);
	assert_int_equal(counted(w, STAT_conns_idle), idle);
	assert_int_equal(counted(w, STAT_conns_open), conns);
}
