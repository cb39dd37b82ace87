/* The uplink against a controller made by hand: what is said, in which order, and what happens when
 * it answers badly. */
#include "fake_ctld.h"
#include "fixture.h"

#include <unistd.h>

#include "account/uplink.h"
#include "account/uplink_private.h"

#define MAX_EVENTS 64

struct event {
	char kind; /* p policy, s snapshot, c change, x secret */
	uint64_t number;
	uint32_t n;
	size_t bytes;
	char text[64]; /* first bytes */
};

struct desk {
	const char *dir;
	struct loop loop;
	struct mailbox mailbox;
	struct inflight *inflight;
	struct spool *spool;
	struct committer *committer;
	struct uplink *uplink;
	struct fake_ctld ctld;
	uint64_t keys_seq;
	struct event events[MAX_EVENTS];
	unsigned n_events;
	enum uplink_state state;
	char why[256];
	bool closed;
};

static void on_hello(struct wire_hello *h, void *owner)
{
	struct desk *d = owner;

	h->version = SLICE("0.1.0");
	h->host = SLICE("db7");
	h->revision = 4;
	h->keys_seq = d->keys_seq;
}

static void on_status(struct wire_agent_status *s, void *owner)
{
	(void)owner;
	s->inflight = 3;
	s->durability = SLICE("strict");
}

static struct event *event_add(struct desk *d, char kind, uint64_t number)
{
	struct event *e = &d->events[d->n_events++];

	assert_true(d->n_events <= MAX_EVENTS);
	*e = (struct event){ .kind = kind, .number = number };
	return e;
}

static void event_text(struct event *e, struct slice s)
{
	memcpy(e->text, s.p, MIN(s.n, sizeof(e->text) - 1));
}

static void on_policy(uint64_t revision, struct slice packed, void *owner)
{
	struct event *e = event_add(owner, 'p', revision);

	e->bytes = packed.n;
	event_text(e, packed);
}

static void on_keys(bool snapshot, struct slice realm, uint64_t seq, const struct slice *records,
	uint32_t n, void *owner)
{
	struct event *e = event_add(owner, snapshot ? 's' : 'c', seq);

	assert_int_equal(realm.n, snapshot ? 16 : 0);
	e->n = n;
	for (uint32_t i = 0; i < n; i++)
		e->bytes += records[i].n;
	if (n)
		event_text(e, records[n - 1]);
}

static void on_secret(struct slice name, uint64_t version, struct slice bytes, void *owner)
{
	struct event *e = event_add(owner, 'x', version);

	assert_true(slice_eq(name, SLICE("openai")));
	event_text(e, bytes);
}

static void on_state(enum uplink_state st, const char *why, void *owner)
{
	struct desk *d = owner;

	d->state = st;
	(void)snprintf(d->why, sizeof(d->why), "%s", why);
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

static void desk_open(struct desk *d, const char *dir, unsigned records)
{
	struct errbuf e = { "" };

	memset(d, 0, sizeof(*d));
	d->dir = dir;
	d->state = (enum uplink_state) - 1;
	if (inflight_open(dir, 64, &d->inflight, &e) != 0 ||
		spool_open(dir, FIXTURE_MAP_BYTES, &d->spool, &e) != 0)
		fail_msg("%s", e.text);
	if (records)
		assert_int_equal(fixture_append(d->spool, 1, records, &e), 0);
	assert_int_equal(loop_init(&d->loop, d), 0);
	assert_int_equal(mailbox_init(&d->mailbox, &d->loop), 0);
	fake_ctld_init(&d->ctld, &d->loop, dir);
	struct committer_config cfg = { .inflight = d->inflight,
		.spool = d->spool,
		.n_workers = 1,
		.strict = true,
		.wake = on_wake };
	assert_int_equal(committer_start(&cfg, &d->committer, &e), 0);
}

static int desk_start_to(struct desk *d, const char *controller, struct errbuf *e)
{
	struct uplink_config cfg = { .loop = &d->loop,
		.mailbox = &d->mailbox,
		.committer = d->committer,
		.spool = d->spool,
		.controller = controller,
		.agent_id = "db7",
		.owner = d,
		.hello = on_hello,
		.status = on_status,
		.policy = on_policy,
		.keys = on_keys,
		.secret = on_secret,
		.state = on_state };

	return uplink_start(&cfg, &d->uplink, e);
}

static void desk_start(struct desk *d)
{
	char controller[128];
	struct errbuf e = { "" };

	fake_ctld_listen(&d->ctld);
	(void)snprintf(controller, sizeof(controller), "unix:%s", d->ctld.path);
	if (desk_start_to(d, controller, &e) != 0)
		fail_msg("%s", e.text);
}

static bool desk_is_closed(void *arg)
{
	return ((struct desk *)arg)->closed;
}

static void desk_close(struct desk *d)
{
	if (d->uplink) {
		uplink_close(d->uplink, on_closed);
		assert_false(d->closed); /* not from inside the call */
		fake_turn(&d->loop, -1, desk_is_closed, d);
	}
	committer_stop(d->committer);
	mailbox_close(&d->mailbox);
	loop_fini(&d->loop);
	fake_ctld_fini(&d->ctld);
	spool_close(d->spool);
	inflight_close(d->inflight);
}

/* --- what the controller says
 * ---------------------------------------------------------------------- */

static void greet(struct desk *d, uint64_t high_water, const uint8_t chain[32])
{
	struct wire_message m;

	fake_accept(&d->ctld);
	fake_expect(&d->ctld, WIRE_hello, &m);
	struct wire_message w = { .kind = WIRE_welcome, .id = m.id };
	w.welcome.wire_version = WIRE_VERSION;
	w.welcome.high_water = high_water;
	w.welcome.chain = slice_of((const char *)chain, 32);
	fake_send(&d->ctld, &w);
}

static const uint8_t no_chain[32];

static void expect_batch(struct desk *d, uint64_t first, uint32_t n, struct wire_message *ret)
{
	fake_expect(&d->ctld, WIRE_usage_batch, ret);
	assert_int_equal(ret->usage_batch.first_seq, first);
	assert_int_equal(ret->usage_batch.records.n, n);
}

static void answer(struct desk *d, const struct wire_message *batch)
{
	struct wire_message m = { .kind = WIRE_usage_done, .id = batch->id };

	m.usage_done.high_water = batch->usage_batch.first_seq + batch->usage_batch.records.n - 1;
	m.usage_done.chain = batch->usage_batch.hash;
	fake_send(&d->ctld, &m);
}

static void refuse(struct desk *d, uint32_t id, const char *code)
{
	struct wire_message m = { .kind = WIRE_error, .id = id };

	m.error = (struct wire_error){ slice_str(code), SLICE("because of the test") };
	fake_send(&d->ctld, &m);
}

struct wanted {
	struct desk *d;
	unsigned events;
	enum uplink_state state;
	const char *why;
	uint64_t first_seq;
};

static bool has_events(void *arg)
{
	struct wanted *w = arg;

	return w->d->n_events >= w->events;
}

static void expect_event(struct desk *d, unsigned i, char kind, uint64_t number)
{
	fake_turn(&d->loop, -1, has_events, &(struct wanted){ .d = d, .events = i + 1 });
	assert_int_equal(d->events[i].kind, kind);
	assert_int_equal(d->events[i].number, number);
}

static bool has_state(void *arg)
{
	struct wanted *w = arg;

	return w->d->state == w->state &&
	       (*w->why ? strstr(w->d->why, w->why) != NULL : !*w->d->why);
}

static void expect_state(struct desk *d, enum uplink_state state, const char *why)
{
	fake_turn(&d->loop, -1, has_state, &(struct wanted){ .d = d, .state = state, .why = why });
	assert_int_equal(uplink_state(d->uplink), state);
}

/* The committer drops a second after its last append; here there never was one. */
static bool has_first(void *arg)
{
	struct wanted *w = arg;
	struct spool_gauges g;

	spool_read_gauges(w->d->spool, &g);
	return g.first_seq == w->first_seq;
}

static void expect_first(struct desk *d, uint64_t seq)
{
	fake_turn(&d->loop, -1, has_first, &(struct wanted){ .d = d, .first_seq = seq });
}

/* --- usage
 * ----------------------------------------------------------------------------------------- */

static void hello_and_records_reach_the_controller(void **state)
{
	struct wire_message m;
	struct desk d;
	uint8_t id[16], chain[32] = { 0 };

	desk_open(&d, *state, 3);
	desk_start(&d);
	spool_store_id(d.spool, id);
	fake_accept(&d.ctld);
	fake_expect(&d.ctld, WIRE_hello, &m);
	assert_int_equal(m.hello.wire_version, WIRE_VERSION);
	assert_true(slice_eq(m.hello.agent_id, SLICE("db7")));
	assert_true(slice_eq(m.hello.store_id, slice_of((char *)id, 16)));
	assert_int_equal(m.hello.revision, 4);
	struct wire_message w = { .kind = WIRE_welcome, .id = m.id };
	w.welcome.chain = slice_of((const char *)no_chain, 32);
	fake_send(&d.ctld, &w);

	fake_expect(&d.ctld, WIRE_agent_status, &m);
	assert_int_equal(m.agent_status.spool_records, 3);
	assert_int_equal(m.agent_status.spool_oldest_us, 1763862000000001 + 250000);
	assert_int_equal(m.agent_status.inflight, 3);
	assert_true(m.agent_status.wall_us > 0);
	assert_int_equal(d.state, UPLINK_CONNECTED);

	expect_batch(&d, 1, 3, &m);
	assert_memory_equal(m.usage_batch.prev_hash.p, chain, 32);
	for (uint32_t i = 0; i < 3; i++)
		usage_chain_next(chain, m.usage_batch.records.v[i]);
	assert_memory_equal(m.usage_batch.hash.p, chain, 32);
	expect_first(&d, 1);
	answer(&d, &m);
	expect_first(&d, 4);
	assert_true(fake_is_quiet(&d.ctld));
	desk_close(&d);
}

static void a_commit_is_sent_at_once(void **state)
{
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 0);
	desk_start(&d);
	greet(&d, 0, no_chain);
	expect_state(&d, UPLINK_CONNECTED, "");
	assert_true(fake_is_quiet(&d.ctld));
	for (uint64_t i = 1; i <= 3; i++) {
		uint32_t slot = inflight_take(d.inflight);
		struct slot *s = inflight_slot(d.inflight, slot);

		fixture_fill_slot(s, i);
		slot_set_state(s, SLOT_SETTLED);
		uint64_t t = committer_submit(d.committer, 0, slot);
		while (committer_durable(d.committer, 0) < t)
			(void)uv_run(&d.loop.uv, UV_RUN_NOWAIT);
		uplink_committed(d.uplink, i);
		expect_batch(&d, i, 1, &m);
		answer(&d, &m);
	}
	desk_close(&d);
}

static void at_most_four_batches_of_500_are_on_their_way(void **state)
{
	struct wire_message m, first;
	struct buf hash;
	struct desk d;

	desk_open(&d, *state, 3000);
	desk_start(&d);
	greet(&d, 0, no_chain);
	expect_batch(&d, 1, 500, &first);
	buf_init(&hash, 32);
	assert_int_equal(buf_slice(&hash, first.usage_batch.hash), 0);
	for (uint64_t seq = 501; seq < 2000; seq += 500)
		expect_batch(&d, seq, 500, &m);
	assert_true(fake_is_quiet(&d.ctld));
	first.usage_batch.hash = buf_view(&hash);
	answer(&d, &first);
	expect_batch(&d, 2001, 500, &m);
	assert_true(fake_is_quiet(&d.ctld));
	buf_fini(&hash);
	desk_close(&d);
}

static void a_batch_fits_a_frame(void **state)
{
	struct desk d;
	struct slot *slot = aligned_alloc(64, sizeof(*slot));
	struct slice records[500];
	struct usage_record r;
	struct wire_message m;
	char text[127];
	struct errbuf e;
	uint64_t first;
	struct buf b;

	assert_non_null(slot);
	memset(text, 'x', sizeof(text));
	memset(slot, 0, sizeof(*slot));
	fixture_fill_slot(slot, 1);
	slot_record(slot, &r);
	r.model_asked = r.upstream_model = slice_of(text, 127);
	r.unit = r.upstream_request_id = slice_of(text, 64);
	r.provider = slice_of(text, 63);
	buf_init(&b, USAGE_RECORD_MAX_BYTES);
	for (int64_t *v = &r.audio_input_tokens; v <= &r.audio_output_tokens; v++)
		*v = INT64_MAX;
	r.reserved_nano = r.bytes_in = r.bytes_out = r.overhead_us = r.cached_input_tokens =
		INT64_MAX;
	while (usage_encode(&r, &b) != 0)
		fail();
	for (unsigned i = 0; i < 500; i++)
		records[i] = buf_view(&b);

	desk_open(&d, *state, 0);
	committer_stop(d.committer);
	d.committer = NULL;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(spool_append(d.spool, records, 500, &first, &e), 0);
	struct committer_config cfg = { .inflight = d.inflight,
		.spool = d.spool,
		.n_workers = 1,
		.strict = true,
		.wake = on_wake };
	assert_int_equal(committer_start(&cfg, &d.committer, &e), 0);
	desk_start(&d);
	greet(&d, 0, no_chain);
	for (uint64_t seq = 1; seq <= 2000; seq += m.usage_batch.records.n) {
		fake_expect(&d.ctld, WIRE_usage_batch, &m);
		assert_int_equal(m.usage_batch.first_seq, seq);
		assert_true(m.usage_batch.records.n * b.n <= UPLINK_BATCH_BYTES);
		answer(&d, &m);
	}
	buf_fini(&b);
	free(slot);
	desk_close(&d);
}

/* The chain hash after record seq, by the fake controller's own reckoning. */
static void chain_at(struct desk *d, uint64_t seq, uint8_t ret[32])
{
	uint8_t hash[32];
	uint32_t lens[1];
	struct errbuf e;
	struct buf b;
	unsigned n;

	buf_init(&b, 0);
	assert_int_equal(spool_read(d->spool, seq + 1, 0, 0, &b, lens, &n, ret, hash, &e), 0);
}

static void a_new_connection_goes_on_at_the_high_water_mark(void **state)
{
	struct wire_message m;
	uint8_t chain[32];
	struct desk d;

	desk_open(&d, *state, 10);
	chain_at(&d, 7, chain);
	desk_start(&d);
	greet(&d, 0, no_chain);
	expect_batch(&d, 1, 10, &m);
	fake_hang_up(&d.ctld); /* it had booked 7 of them */
	expect_state(&d, UPLINK_RETRYING, "closed the connection");
	greet(&d, 7, chain);
	expect_batch(&d, 8, 3, &m);
	expect_first(&d, 8);
	answer(&d, &m);
	expect_first(&d, 11);
	assert_int_equal(d.state, UPLINK_CONNECTED);
	desk_close(&d);
}

static void the_controllers_trouble_begins_the_connection_anew(void **state)
{
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 5);
	desk_start(&d);
	greet(&d, 0, no_chain);
	expect_batch(&d, 1, 5, &m);
	refuse(&d, m.id, "store_unavailable");
	fake_expect_eof(&d.ctld);
	expect_state(
		&d, UPLINK_RETRYING, "usage is refused (store_unavailable): because of the test");
	greet(&d, 0, no_chain);
	expect_batch(&d, 1, 5, &m);
	answer(&d, &m);
	expect_first(&d, 6);
	desk_close(&d);
}

/* Policy and keys go on coming to a host whose store is quarantined. */
static void a_quarantined_store_keeps_the_connection(void **state)
{
	static const char *const codes[] = { "fork", "gap", "quarantined" };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct wire_message m, change = { .kind = WIRE_keys_change };
		struct slice record = SLICE("key");
		struct desk d;
		char path[128];

		desk_open(&d, *state, 5);
		desk_start(&d);
		greet(&d, 0, no_chain);
		expect_batch(&d, 1, 5, &m);
		refuse(&d, m.id, codes[i]);
		expect_state(&d, UPLINK_CONNECTED, codes[i]);
		uplink_committed(d.uplink, 5);
		assert_true(fake_is_quiet(&d.ctld));
		change.keys_change = (struct wire_keys_change){ 1, { &record, 1 } };
		fake_send(&d.ctld, &change);
		expect_event(&d, 0, 'c', 1);
		expect_first(&d, 1);
		memcpy(path, d.ctld.path, sizeof(d.ctld.path));
		desk_close(&d);
		assert_int_equal(unlink(path), 0);
		(void)snprintf(path, sizeof(path), "%s/spool.mdb", (char *)*state);
		assert_int_equal(unlink(path), 0);
	}
}

/* A restored disk: the controller sees the fork by what is sent; here nothing is dropped. */
static void a_rolled_back_store_drops_nothing(void **state)
{
	struct wire_message m;
	uint8_t other[32] = { 1 };
	struct desk d;

	desk_open(&d, *state, 5);
	desk_start(&d);
	greet(&d, 3, other);
	expect_state(&d, UPLINK_CONNECTED, "rolled back or copied: its records differ");
	expect_batch(&d, 4, 2, &m);
	answer(&d, &m);
	fake_hang_up(&d.ctld);

	greet(&d, 1000, other);
	expect_state(&d, UPLINK_CONNECTED, "has booked records that it does not hold");
	assert_true(fake_is_quiet(&d.ctld));
	expect_first(&d, 1);
	desk_close(&d);
}

static void answers_to_other_questions_end_the_connection(void **state)
{
	static const struct {
		const char *name;
		uint32_t id_off;
		int64_t high_water_off;
		bool other_chain;
	} cases[] = {
		{ "another batch", 1, 0, false },
		{ "less than was sent", 0, -1, false },
		{ "more than was sent", 0, 1, false },
		{ "other records", 0, 0, true },
	};
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 5);
	desk_start(&d);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct wire_message a = { .kind = WIRE_usage_done };

		greet(&d, 0, no_chain);
		expect_batch(&d, 1, 5, &m);
		a.id = m.id + cases[i].id_off;
		a.usage_done.high_water = (uint64_t)(5 + cases[i].high_water_off);
		a.usage_done.chain = cases[i].other_chain ? slice_of((const char *)no_chain, 32)
							  : m.usage_batch.hash;
		fake_send(&d.ctld, &a);
		fake_expect_eof(&d.ctld);
	}
	expect_first(&d, 1);
	desk_close(&d);
}

/* --- policy and keys
 * ------------------------------------------------------------------------------- */

static void policy_part(
	struct desk *d, uint64_t revision, struct slice all, uint64_t total, size_t from, size_t to)
{
	struct wire_message m = { .kind = WIRE_policy_part };
	uint8_t digest[DIGEST_BYTES];

	digest_sha256(&all, 1, digest);
	m.policy_part = (struct wire_policy_part){ revision, slice_of((char *)digest, DIGEST_BYTES),
		total, from, slice_of(all.p + from, to - from) };
	fake_send(&d->ctld, &m);
}

static void key_change(struct desk *d, uint64_t seq, const char *text)
{
	struct wire_message m = { .kind = WIRE_keys_change };
	struct slice record = slice_str(text);

	m.keys_change = (struct wire_keys_change){ seq, { &record, 1 } };
	fake_send(&d->ctld, &m);
}

static void a_policy_comes_in_parts(void **state)
{
	struct desk d;
	size_t n = 1000000;
	char *p = malloc(n);
	struct slice all = slice_of(p, n);
	struct wire_message m;

	assert_non_null(p);
	memset(p, 'P', n);
	desk_open(&d, *state, 0);
	d.keys_seq = 6;
	desk_start(&d);
	greet(&d, 0, no_chain);
	policy_part(&d, 7, all, n, 0, 200000);
	policy_part(&d, 8, all, n, 0, 250000); /* a newer one takes its place */
	policy_part(&d, 8, all, n, 250000, 500000);
	key_change(&d, 7, "revoked");
	expect_event(&d, 0, 'c', 7); /* in the midst of it */
	assert_string_equal(d.events[0].text, "revoked");
	policy_part(&d, 8, all, n, 500000, 750000);
	policy_part(&d, 8, all, n, 750000, 1000000);
	expect_event(&d, 1, 'p', 8);
	assert_int_equal(d.events[1].bytes, n);
	uplink_policy_result(d.uplink, 8, false, "lacks feature x/1");
	fake_expect(&d.ctld, WIRE_policy_result, &m);
	assert_int_equal(m.policy_result.revision, 8);
	assert_int_equal(m.policy_result.ok, 0);
	assert_true(slice_eq(m.policy_result.reason, SLICE("lacks feature x/1")));
	uplink_keys_ack(d.uplink, 7);
	fake_expect(&d.ctld, WIRE_keys_ack, &m);
	assert_int_equal(m.keys_ack.seq, 7);
	free(p);
	desk_close(&d);
}

static void snapshot_part(struct desk *d, uint64_t seq, const char *digest_of, uint64_t total,
	uint64_t offset, struct slice *records, uint32_t n)
{
	struct wire_message m = { .kind = WIRE_keys_part };
	struct slice all = slice_str(digest_of);
	uint8_t digest[DIGEST_BYTES], realm[16] = { 5 };

	digest_sha256(&all, 1, digest);
	m.keys_part = (struct wire_keys_part){ slice_of((char *)realm, 16), seq, total, offset,
		{ records, n }, slice_of((char *)digest, DIGEST_BYTES) };
	fake_send(&d->ctld, &m);
}

static void a_key_set_comes_in_parts(void **state)
{
	struct slice keys[] = { SLICE("one"), SLICE("two"), SLICE("three") };
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 0);
	desk_start(&d);
	greet(&d, 0, no_chain);
	snapshot_part(&d, 40, "onetwothree", 3, 0, keys, 2);
	snapshot_part(&d, 40, "onetwothree", 3, 2, keys + 2, 1);
	expect_event(&d, 0, 's', 40);
	assert_int_equal(d.events[0].n, 3);
	assert_int_equal(d.events[0].bytes, 11);
	assert_string_equal(d.events[0].text, "three");

	key_change(&d, 40, "in the snapshot");
	key_change(&d, 41, "follows");
	expect_event(&d, 1, 'c', 41);
	key_change(&d, 43, "a gap");
	fake_expect(&d.ctld, WIRE_keys_resync, &m);
	assert_int_equal(m.keys_resync.seq, 41);
	key_change(&d, 44, "asked already");
	assert_true(fake_is_quiet(&d.ctld));
	snapshot_part(&d, 44, "", 0, 0, NULL, 0); /* all keys are gone */
	expect_event(&d, 2, 's', 44);
	assert_int_equal(d.events[2].n, 0);
	key_change(&d, 45, "follows");
	expect_event(&d, 3, 'c', 45);
	assert_int_equal(d.n_events, 4);
	desk_close(&d);
}

/* The controller may put keys ahead of its welcome. */
static void keys_may_come_before_the_welcome(void **state)
{
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 1);
	d.keys_seq = 8;
	desk_start(&d);
	fake_accept(&d.ctld);
	fake_expect(&d.ctld, WIRE_hello, &m);
	assert_int_equal(m.hello.keys_seq, 8);
	key_change(&d, 9, "revoked");
	expect_event(&d, 0, 'c', 9);
	struct wire_message w = { .kind = WIRE_welcome, .id = m.id };
	w.welcome.chain = slice_of((const char *)no_chain, 32);
	fake_send(&d.ctld, &w);
	expect_batch(&d, 1, 1, &m);
	desk_close(&d);
}

static void secrets_are_handed_on(void **state)
{
	struct wire_message m = { .kind = WIRE_secrets_put };
	struct desk d;

	desk_open(&d, *state, 0);
	desk_start(&d);
	greet(&d, 0, no_chain);
	m.secrets_put = (struct wire_secrets_put){ SLICE("openai"), 3, SLICE("the credential") };
	fake_send(&d.ctld, &m);
	expect_event(&d, 0, 'x', 3);
	assert_string_equal(d.events[0].text, "the credential");
	uplink_secret_ack(d.uplink, SLICE("openai"), 3, "cache");
	fake_expect(&d.ctld, WIRE_secrets_ack, &m);
	assert_int_equal(m.secrets_ack.version, 3);
	assert_true(slice_eq(m.secrets_ack.source, SLICE("cache")));
	desk_close(&d);
}

/* --- a controller gone wrong
 * ----------------------------------------------------------------------- */

static void bad_policy_digest(struct desk *d)
{
	struct wire_message m = { .kind = WIRE_policy_part };

	m.policy_part = (struct wire_policy_part){ 9, slice_of((const char *)no_chain, 32), 3, 0,
		SLICE("abc") };
	fake_send(&d->ctld, &m);
}

static void policy_too_large(struct desk *d)
{
	policy_part(d, 9, SLICE("abc"), UPLINK_MAX_POLICY_BYTES + 1, 0, 3);
}

static void policy_over_its_total(struct desk *d)
{
	policy_part(d, 9, SLICE("abc"), 2, 0, 3);
}

static void policy_with_a_hole(struct desk *d)
{
	policy_part(d, 9, SLICE("abcdef"), 6, 0, 3);
	policy_part(d, 9, SLICE("abcdef"), 6, 4, 6);
}

static void policy_that_changes(struct desk *d)
{
	policy_part(d, 9, SLICE("abcdef"), 6, 0, 3);
	policy_part(d, 10, SLICE("abcdef"), 6, 3, 6);
}

static void policy_without_bytes(struct desk *d)
{
	policy_part(d, 9, SLICE("abcdef"), 6, 0, 0);
}

static void bad_keys_digest(struct desk *d)
{
	struct slice key = SLICE("one");

	snapshot_part(d, 9, "two", 1, 0, &key, 1);
}

static void too_many_keys(struct desk *d)
{
	struct slice key = SLICE("one");

	snapshot_part(d, 9, "one", UPLINK_MAX_KEYS + 1, 0, &key, 1);
}

static void more_keys_than_said(struct desk *d)
{
	struct slice keys[] = { SLICE("one"), SLICE("two") };

	snapshot_part(d, 9, "onetwo", 1, 0, keys, 2);
}

static void a_key_too_long(struct desk *d)
{
	char text[UPLINK_MAX_KEY_BYTES + 1];
	struct slice key = slice_of(text, sizeof(text));

	memset(text, 'k', sizeof(text));
	snapshot_part(d, 9, "k", 1, 0, &key, 1);
}

static void keys_with_a_hole(struct desk *d)
{
	struct slice key = SLICE("one");

	snapshot_part(d, 9, "oneone", 3, 0, &key, 1);
	snapshot_part(d, 9, "oneone", 3, 2, &key, 1);
}

static void an_endless_empty_part(struct desk *d)
{
	snapshot_part(d, 9, "one", 1, 0, NULL, 0);
}

static void rubbish(struct desk *d)
{
	fake_send_bytes(&d->ctld, "\0\0\0\5hello", 9);
}

static void a_frame_too_long(struct desk *d)
{
	fake_send_bytes(&d->ctld, "\0\x10\0\1", 4);
}

static void an_answer_to_nothing(struct desk *d)
{
	refuse(d, 99, "refused");
}

static void an_agents_message(struct desk *d)
{
	struct wire_message m = { .kind = WIRE_keys_ack };

	fake_send(&d->ctld, &m);
}

static void nonsense_ends_the_connection(void **state)
{
	static const struct {
		void (*send)(struct desk *d);
		const char *why;
	} cases[] = {
		{ bad_policy_digest, "another digest" },
		{ policy_too_large, "don't fit together" },
		{ policy_over_its_total, "don't fit together" },
		{ policy_with_a_hole, "don't fit together" },
		{ policy_that_changes, "don't fit together" },
		{ policy_without_bytes, "don't fit together" },
		{ bad_keys_digest, "another digest" },
		{ too_many_keys, "don't fit together" },
		{ more_keys_than_said, "don't fit together" },
		{ a_key_too_long, "don't fit together" },
		{ keys_with_a_hole, "don't fit together" },
		{ an_endless_empty_part, "don't fit together" },
		{ rubbish, "broken frame" },
		{ a_frame_too_long, "over the limit" },
		{ an_answer_to_nothing, "nobody waits for" },
		{ an_agents_message, "only agents send" },
	};
	struct desk d;

	desk_open(&d, *state, 0);
	desk_start(&d);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		greet(&d, 0, no_chain);
		expect_state(&d, UPLINK_CONNECTED, "");
		cases[i].send(&d);
		fake_expect_eof(&d.ctld);
		expect_state(&d, UPLINK_RETRYING, cases[i].why);
		assert_int_equal(d.n_events, 0);
		d.uplink->attempts = 0; /* the pauses are not what this is about */
	}
	desk_close(&d);
}

static void unknown_messages_are_skipped(void **state)
{
	/* [2, "new.thing", {}] and [0, 7, "new.call", {}] */
	static const char note[] = "\0\0\0\x0d\x93\2\xa9new.thing\x80",
			  call[] = "\0\0\0\x0d\x94\0\7\xa8new.call\x80";
	struct desk d;

	desk_open(&d, *state, 0);
	desk_start(&d);
	greet(&d, 0, no_chain);
	fake_send_bytes(&d.ctld, note, sizeof(note) - 1);
	fake_send_bytes(&d.ctld, call, sizeof(call) - 1);
	key_change(&d, 1, "after both");
	expect_event(&d, 0, 'c', 1);
	assert_int_equal(d.state, UPLINK_CONNECTED);
	desk_close(&d);
}

static void a_refused_hello_is_tried_again(void **state)
{
	struct wire_message m;
	struct desk d;

	desk_open(&d, *state, 1);
	desk_start(&d);
	fake_accept(&d.ctld);
	fake_expect(&d.ctld, WIRE_hello, &m);
	refuse(&d, m.id, "duplicate_agent");
	fake_expect_eof(&d.ctld);
	expect_state(&d, UPLINK_RETRYING, "refused (duplicate_agent): because of the test");
	greet(&d, 0, no_chain);
	expect_batch(&d, 1, 1, &m);
	desk_close(&d);
}

static void a_controller_may_come_later(void **state)
{
	struct wire_message m;
	char controller[128];
	struct errbuf e;
	struct desk d;

	desk_open(&d, *state, 1);
	(void)snprintf(controller, sizeof(controller), "unix:%s", d.ctld.path);
	assert_int_equal(desk_start_to(&d, controller, &e), 0);
	expect_state(&d, UPLINK_RETRYING, "No such file");
	fake_ctld_listen(&d.ctld);
	greet(&d, 0, no_chain);
	expect_batch(&d, 1, 1, &m);
	assert_int_equal(d.state, UPLINK_CONNECTED);
	desk_close(&d);
}

/* --- life
 * ------------------------------------------------------------------------------------------ */

static void off_is_off(void **state)
{
	struct errbuf e;
	struct desk d;

	desk_open(&d, *state, 1);
	assert_int_equal(desk_start_to(&d, "off", &e), 0);
	assert_int_equal(uplink_state(d.uplink), UPLINK_OFF);
	uplink_committed(d.uplink, 1);
	uplink_status_now(d.uplink);
	uplink_keys_ack(d.uplink, 1);
	assert_int_equal(d.loop.armed, 0);
	desk_close(&d);
}

static void wrong_addresses_are_refused(void **state)
{
	static const char *const wrong[] = { "", "unix:", "tcp:127.0.0.1:1", "/run/ctld.sock",
		"unix:/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/"
		"0123456789/0123456789"
		"/0123456789/0123456789" };
	struct errbuf e;
	struct desk d;

	desk_open(&d, *state, 0);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_true(desk_start_to(&d, wrong[i], &e) < 0);
		assert_null(d.uplink);
		assert_non_null(strstr(e.text, "controller: "));
	}
	desk_close(&d);
}

/* At any moment: connecting, greeting, with a reading or batches on their way, in a pause. */
static void it_closes_at_any_moment(void **state)
{
	for (unsigned turns = 0; turns < 40; turns++) {
		struct desk d;
		char path[128];

		desk_open(&d, *state, 0);
		desk_start(&d);
		if (turns >= 20) {
			greet(&d, 0, no_chain);
			expect_state(&d, UPLINK_CONNECTED, "");
		}
		for (unsigned i = 0; i < turns % 20; i++)
			(void)uv_run(&d.loop.uv, UV_RUN_NOWAIT);
		if (turns % 3 == 2)
			uplink_break(d.uplink, "the test");
		memcpy(path, d.ctld.path, sizeof(d.ctld.path));
		desk_close(&d);
		assert_int_equal(unlink(path), 0);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_dir, fixture_dir_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hello_and_records_reach_the_controller),
		TEST(a_commit_is_sent_at_once),
		TEST(at_most_four_batches_of_500_are_on_their_way),
		TEST(a_batch_fits_a_frame),
		TEST(a_new_connection_goes_on_at_the_high_water_mark),
		TEST(the_controllers_trouble_begins_the_connection_anew),
		TEST(a_quarantined_store_keeps_the_connection),
		TEST(a_rolled_back_store_drops_nothing),
		TEST(answers_to_other_questions_end_the_connection),
		TEST(a_policy_comes_in_parts),
		TEST(a_key_set_comes_in_parts),
		TEST(keys_may_come_before_the_welcome),
		TEST(secrets_are_handed_on),
		TEST(nonsense_ends_the_connection),
		TEST(unknown_messages_are_skipped),
		TEST(a_refused_hello_is_tried_again),
		TEST(a_controller_may_come_later),
		TEST(off_is_off),
		TEST(wrong_addresses_are_refused),
		TEST(it_closes_at_any_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
