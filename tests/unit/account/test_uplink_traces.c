/* Traces on their way to the controller: in small frames, none twice but after a break, never
 * awaited, and told how many were lost. */
#include "fake_ctld.h"
#include "fixture.h"

#include "account/uplink.h"

#define MEMORY 7 /* of the controller */

struct desk {
	struct loop loop;
	struct mailbox mailbox;
	struct inflight *inflight;
	struct spool *spool;
	struct committer *committer;
	struct line_ring *ring;
	struct uplink *uplink;
	struct fake_ctld ctld;
	uint64_t posted;
	bool closed;
};

static void on_hello(struct wire_hello *h, void *owner)
{
	(void)owner;
	h->version = SLICE("0.1.0");
}

static void on_status(struct wire_agent_status *s, void *owner)
{
	(void)owner;
	s->inflight = 3;
}

static void on_state(enum uplink_state st, const char *why, void *owner)
{
	(void)st;
	(void)why;
	(void)owner;
}

static void on_wake(unsigned worker, void *owner)
{
	(void)worker;
	(void)owner;
}

static void on_closed(void *owner)
{
	((struct desk *)owner)->closed = true;
}

/* An entry is its number; 13 is none. */
static bool on_trace(struct slice entry, struct buf *json, uint8_t op_id[static 16])
{
	uint64_t n;

	assert_int_equal(entry.n, sizeof(n));
	memcpy(&n, entry.p, sizeof(n));
	memset(op_id, 0, 16);
	memcpy(op_id, &n, sizeof(n));
	return n != 13 && buf_printf(json, "{\"n\":%" PRIu64 "}", n) == 0;
}

static void post(struct desk *d, unsigned n)
{
	while (n--) {
		d->posted++;
		line_ring_post(d->ring, slice_of((const char *)&d->posted, sizeof(d->posted)));
	}
}

static void desk_open(struct desk *d, const char *dir, unsigned records)
{
	struct errbuf e = { "" };
	char controller[128];

	memset(d, 0, sizeof(*d));
	if (inflight_open(dir, 64, &d->inflight, &e) != 0 ||
		spool_open(dir, FIXTURE_MAP_BYTES, &d->spool, &e) != 0)
		fail_msg("%s", e.text);
	if (records)
		assert_int_equal(fixture_append(d->spool, 1, records, &e), 0);
	assert_int_equal(loop_init(&d->loop, d), 0);
	assert_int_equal(mailbox_init(&d->mailbox, &d->loop), 0);
	assert_int_equal(line_ring_new(&d->ring), 0);
	fake_ctld_init(&d->ctld, &d->loop, dir);
	fake_ctld_listen(&d->ctld);
	struct committer_config cfg = { .inflight = d->inflight,
		.spool = d->spool,
		.n_workers = 1,
		.strict = true,
		.wake = on_wake };
	assert_int_equal(committer_start(&cfg, &d->committer, &e), 0);
	(void)snprintf(controller, sizeof(controller), "unix:%s", d->ctld.path);
	struct uplink_config c = { .loop = &d->loop,
		.mailbox = &d->mailbox,
		.committer = d->committer,
		.spool = d->spool,
		.controller = controller,
		.agent_id = "db7",
		.owner = d,
		.hello = on_hello,
		.status = on_status,
		.troubled = d->ring,
		.trace = on_trace,
		.state = on_state };
	if (uplink_start(&c, &d->uplink, &e) != 0)
		fail_msg("%s", e.text);
}

static bool desk_is_closed(void *arg)
{
	return ((struct desk *)arg)->closed;
}

static void desk_close(struct desk *d)
{
	uplink_close(d->uplink, on_closed);
	fake_turn(&d->loop, -1, desk_is_closed, d);
	committer_stop(d->committer);
	mailbox_close(&d->mailbox);
	loop_fini(&d->loop);
	fake_ctld_fini(&d->ctld);
	spool_close(d->spool);
	inflight_close(d->inflight);
	line_ring_free(d->ring);
}

static void greet(struct desk *d, uint64_t memory)
{
	static const uint8_t no_chain[32];
	struct wire_message m;

	fake_accept(&d->ctld);
	fake_expect(&d->ctld, WIRE_hello, &m);
	struct wire_message w = { .kind = WIRE_welcome, .id = m.id };
	w.welcome.wire_version = WIRE_VERSION;
	w.welcome.chain = slice_of((const char *)no_chain, 32);
	w.welcome.traces = memory;
	fake_send(&d->ctld, &w);
}

static uint64_t number(const struct wire_message *m, uint32_t i)
{
	uint64_t n;

	assert_int_equal(m->traces.ids.v[i].n, 16);
	memcpy(&n, m->traces.ids.v[i].p, sizeof(n));
	return n;
}

static void expect_traces(struct desk *d, uint64_t first, uint32_t n, uint64_t lost)
{
	struct wire_message m;
	char last[32];

	fake_expect(&d->ctld, WIRE_traces, &m);
	assert_int_equal(m.traces.ids.n, n);
	assert_int_equal(m.traces.texts.n, n);
	assert_int_equal(number(&m, 0), first);
	(void)snprintf(last, sizeof(last), "{\"n\":%" PRIu64 "}", number(&m, n - 1));
	assert_true(slice_eq(m.traces.texts.v[n - 1], slice_str(last)));
	assert_int_equal(m.traces.lost, lost);
}

static void they_go_out_in_small_frames(void **state)
{
	struct desk d;

	desk_open(&d, *state, 0);
	post(&d, 40);
	greet(&d, MEMORY);
	expect_traces(&d, 1, 32, 0); /* 13 is none */
	expect_traces(&d, 34, 7, 0);
	assert_true(fake_is_quiet(&d.ctld));
	post(&d, 2);
	uplink_committed(d.uplink, 0); /* each of them has a record */
	expect_traces(&d, 41, 2, 0);
	assert_true(fake_is_quiet(&d.ctld));
	desk_close(&d);
}

static void usage_goes_before_them(void **state)
{
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 3);
	post(&d, 5);
	greet(&d, MEMORY);
	fake_expect(&d.ctld, WIRE_usage_batch, &m);
	assert_int_equal(m.usage_batch.records.n, 3);
	expect_traces(&d, 1, 5, 0); /* no answer to the batch is waited for */
	desk_close(&d);
}

static void who_takes_none_is_told_none(void **state)
{
	struct desk d;

	desk_open(&d, *state, 0);
	post(&d, 5);
	greet(&d, 0);
	post(&d, 5);
	uplink_committed(d.uplink, 0);
	assert_true(fake_is_quiet(&d.ctld));
	desk_close(&d);
}

static void a_new_connection_goes_on_at_the_last_frame(void **state)
{
	struct desk d;

	desk_open(&d, *state, 0);
	post(&d, 3);
	greet(&d, MEMORY);
	expect_traces(&d, 1, 3, 0);
	post(&d, 2);
	uplink_committed(d.uplink, 0);
	expect_traces(&d, 4, 2, 0);
	fake_hang_up(&d.ctld);
	post(&d, 1);
	greet(&d, MEMORY);
	expect_traces(&d, 4, 3, 0);
	assert_true(fake_is_quiet(&d.ctld));
	desk_close(&d);
}

static void a_controller_that_has_forgotten_is_told_anew(void **state)
{
	struct desk d;

	desk_open(&d, *state, 0);
	post(&d, 3);
	greet(&d, MEMORY);
	expect_traces(&d, 1, 3, 0);
	post(&d, 2);
	uplink_committed(d.uplink, 0);
	expect_traces(&d, 4, 2, 0);
	fake_hang_up(&d.ctld);
	greet(&d, MEMORY + 1);
	expect_traces(&d, 1, 5, 0);
	desk_close(&d);
}

static void what_was_overwritten_is_counted(void **state)
{
	struct desk d;

	desk_open(&d, *state, 0);
	post(&d, 1);
	greet(&d, MEMORY);
	expect_traces(&d, 1, 1, 0);
	post(&d, LINE_RING_LINES + 100);
	uplink_committed(d.uplink, 0);
	expect_traces(&d, 102, 32, 100);
	expect_traces(&d, 134, 32, 0);
	desk_close(&d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_dir, fixture_dir_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(they_go_out_in_small_frames),
		TEST(usage_goes_before_them),
		TEST(who_takes_none_is_told_none),
		TEST(a_new_connection_goes_on_at_the_last_frame),
		TEST(a_controller_that_has_forgotten_is_told_anew),
		TEST(what_was_overwritten_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
