/* Names to addresses: asked once for many, kept for a while, the last good answer served while a
 * look-up fails. */
#include "fixture.h"

#include <arpa/inet.h>

struct waiter {
	struct resolve_waiter w;
	unsigned done;
	int err;
};

static void on_done(struct resolve_waiter *w, int err)
{
	struct waiter *o = container_of(w, struct waiter, w);

	o->done++;
	o->err = err;
}

static struct waiter waiter_made(void)
{
	return (struct waiter){ .w.done = on_done };
}

static struct resolver *resolver_made(struct world *w, const char *host)
{
	struct resolver *r = malloc(sizeof(*r));

	assert_int_equal(resolver_init(r, &w->loop, slice_str(host), 4321), 0);
	return r;
}

static const char *address_of(
	const struct resolver *r, unsigned i, char text[static INET6_ADDRSTRLEN])
{
	const void *p = r->addrs[i].sa.sa_family == AF_INET ? (const void *)&r->addrs[i].in.sin_addr
							    : &r->addrs[i].in6.sin6_addr;

	assert_int_equal(ntohs(r->addrs[i].in.sin_port), 4321);
	return inet_ntop(r->addrs[i].sa.sa_family, p, text, INET6_ADDRSTRLEN);
}

static void check_addresses(const struct resolver *r, unsigned n, const char *const *want)
{
	char text[INET6_ADDRSTRLEN];

	assert_int_equal(r->n_addrs, n);
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(address_of(r, i, text), want[i]);
}

static void test_addresses_need_no_look_up(void **state)
{
	static const char *const texts[] = { "127.0.0.1", "::1", "2001:db8::7" };
	struct world *w = world_open(NULL, NULL);

	(void)state;
	names_are(EAI_NONAME, 0, NULL);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct resolver *r = resolver_made(w, texts[i]);
		struct waiter o = waiter_made();

		assert_true(r->is_ip);
		assert_true(resolver_get(r, &o.w));
		check_addresses(r, 1, &texts[i]);
		free(r);
	}
	assert_int_equal(names.asked, 0);
	world_close(w);
}

static void test_names_that_are_too_long(void **state)
{
	struct world *w = world_open(NULL, NULL);
	struct resolver r;
	char host[257];

	(void)state;
	memset(host, 'a', sizeof(host));
	assert_int_equal(resolver_init(&r, &w->loop, slice_of(host, 256), 1), -ENAMETOOLONG);
	assert_int_equal(resolver_init(&r, &w->loop, slice_of(host, 255), 65535), 0);
	assert_string_equal(r.port, "65535");
	world_close(w);
}

struct order {
	unsigned n;
	const char *given[12];
	unsigned n_want;
	const char *want[RESOLVE_MAX_ADDRS];
};

/* The families take turns, beginning with the one that getaddrinfo() put first. */
static const struct order orders[] = {
	{ 1, { "10.0.0.1" }, 1, { "10.0.0.1" } },
	{ 4, { "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2" }, 4,
		{ "10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2" } },
	{ 4, { "fd00::1", "fd00::2", "fd00::3", "10.0.0.1" }, 4,
		{ "fd00::1", "10.0.0.1", "fd00::2", "fd00::3" } },
	{ 3, { "10.0.0.3", "10.0.0.2", "10.0.0.1" }, 3, { "10.0.0.3", "10.0.0.2", "10.0.0.1" } },
	{ 10,
		{ "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
			"10.0.0.7", "10.0.0.8", "10.0.0.9", "fd00::1" },
		8,
		{ "10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
			"10.0.0.7" } },
};

static void test_order_of_addresses(void **state)
{
	struct world *w = world_open(NULL, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		struct resolver *r = resolver_made(w, "api.example.test");
		struct waiter o = waiter_made();

		names_are(0, orders[i].n, orders[i].given);
		assert_false(resolver_get(r, &o.w));
		assert_int_equal(o.done, 0);
		RUN_UNTIL(&w->loop, o.done);
		assert_int_equal(o.err, 0);
		check_addresses(r, orders[i].n_want, orders[i].want);
		free(r);
	}
	world_close(w);
}

static void test_one_look_up_for_many(void **state)
{
	static const char *const one[] = { "10.0.0.1" };
	struct world *w = world_open(NULL, NULL);
	struct resolver *r = resolver_made(w, "api.example.test");
	struct waiter o[5];

	(void)state;
	names_are(0, 1, one);
	names.blocks = true;
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		o[i] = waiter_made();
		assert_false(resolver_get(r, &o[i].w));
	}
	resolver_cancel(&o[2].w);
	resolver_cancel(&o[2].w);
	names_release();
	RUN_UNTIL(&w->loop, o[4].done);
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		assert_int_equal(o[i].done, i != 2);
	assert_int_equal(names.asked, 1);
	free(r);
	world_close(w);
}

static void test_answers_are_kept_and_renewed(void **state)
{
	static const char *const old[] = { "10.0.0.1" }, *const new[] = { "10.0.0.2" };
	struct world *w = world_open(NULL, NULL);
	struct resolver *r = resolver_made(w, "api.example.test");
	struct waiter o = waiter_made();

	(void)state;
	names_are(0, 1, old);
	assert_false(resolver_get(r, &o.w));
	RUN_UNTIL(&w->loop, o.done);
	time_skip(RESOLVE_FRESH_US - USEC_PER_S);
	turn(&w->loop);
	assert_true(resolver_get(r, &o.w));
	assert_int_equal(names.asked, 1);
	/* Old: it goes on serving while it is asked anew. */
	names_are(0, 1, new);
	time_skip(2 * USEC_PER_S);
	turn(&w->loop);
	assert_true(resolver_get(r, &o.w));
	assert_true(resolver_get(r, &o.w));
	check_addresses(r, 1, old);
	RUN_UNTIL(&w->loop, !r->looking);
	check_addresses(r, 1, new);
	assert_int_equal(names.asked, 1);
	assert_int_equal(o.done, 1);
	/* A failure takes nothing away, and is not asked again at once. */
	names_are(EAI_AGAIN, 0, NULL);
	time_skip(RESOLVE_FRESH_US + USEC_PER_S);
	turn(&w->loop);
	assert_true(resolver_get(r, &o.w));
	RUN_UNTIL(&w->loop, !r->looking);
	check_addresses(r, 1, new);
	assert_true(resolver_get(r, &o.w));
	assert_int_equal(names.asked, 1);
	time_skip(USEC_PER_S);
	turn(&w->loop);
	assert_true(resolver_get(r, &o.w));
	RUN_UNTIL(&w->loop, !r->looking);
	assert_int_equal(names.asked, 2);
	free(r);
	world_close(w);
}

static void test_names_that_nobody_knows(void **state)
{
	static const char *const one[] = { "10.0.0.1" };
	struct world *w = world_open(NULL, NULL);
	struct resolver *r = resolver_made(w, "no.example.test");
	struct waiter o = waiter_made();

	(void)state;
	names_are(EAI_NONAME, 0, NULL);
	assert_false(resolver_get(r, &o.w));
	RUN_UNTIL(&w->loop, o.done);
	assert_int_equal(o.err, UV_EAI_NONAME);
	assert_int_equal(r->n_addrs, 0);
	/* For a second the answer is: none. Then it is asked again. */
	assert_true(resolver_get(r, &o.w));
	assert_int_equal(r->n_addrs, 0);
	assert_int_equal(names.asked, 1);
	names_are(0, 1, one);
	time_skip(USEC_PER_S + USEC_PER_MS);
	turn(&w->loop);
	o = waiter_made();
	assert_false(resolver_get(r, &o.w));
	RUN_UNTIL(&w->loop, o.done);
	assert_int_equal(o.err, 0);
	check_addresses(r, 1, one);
	free(r);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_need_no_look_up),
		cmocka_unit_test(test_names_that_are_too_long),
		cmocka_unit_test(test_order_of_addresses),
		cmocka_unit_test(test_one_look_up_for_many),
		cmocka_unit_test(test_answers_are_kept_and_renewed),
		cmocka_unit_test(test_names_that_nobody_knows),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
