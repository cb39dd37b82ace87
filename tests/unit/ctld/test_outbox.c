/* In which order an agent is sent things: keys before answers and secrets before the policy, and a
 * revocation overtakes a policy between two of its parts. */
#include "fixture.h"

#include "agents/outbox.h"
#include <aigw/digest.h>

static struct published *big_policy(uint64_t revision)
{
	struct published *p = calloc(1, sizeof(*p));
	struct policy_file file = { .name = SLICE("policy.yaml") };
	struct buf text, report;

	assert_non_null(p);
	buf_init(&text, 4u << 20);
	buf_init(&report, 64u << 10);
	(void)buf_str(&text,
		"apiVersion: aigw/v1\nproviders:\n  - {name: openai, type: openai}\nmodels:\n");
	for (unsigned i = 0; i < 9000; i++)
		(void)buf_printf(&text,
			"  - {name: model-%u-with-a-rather-long-name-that-fills-the-document, "
			"targets: [{provider: openai, model: m}]}\n",
			i);
	file.text = buf_view(&text);
	if (publish_build(&file, 1, &p->doc, &report) < 0)
		fail_msg("%s", buf_cstr(&report));
	p->refs = 1;
	p->revision = revision;
	memcpy(p->digest, p->doc->digest, 32);
	p->message = strdup("");
	buf_fini(&text);
	buf_fini(&report);
	assert_true(p->doc->packed.n > 3 * WIRE_MAX_PART);
	return p;
}

struct heard {
	struct arena arena;
	struct wire_message m;
};

/* The next frame, decoded; WIRE_none if there is none. */
static enum wire_kind next(struct outbox *o, struct heard *h)
{
	struct buf frame;
	struct slice payload;
	struct errbuf e;
	int r;

	arena_fini(&h->arena);
	arena_init(&h->arena, 4096, 64u << 20);
	h->m.kind = WIRE_none;
	buf_init(&frame, WIRE_MAX_FRAME + 4);
	r = outbox_next(o, &frame);
	assert_true(r >= 0);
	if (r) {
		assert_int_equal(wire_frame(frame.p, frame.n, WIRE_MAX_FRAME), frame.n - 4);
		payload = arena_slice(&h->arena, slice_of(frame.p + 4, frame.n - 4));
		if (wire_decode(payload, WIRE_usage_done, &h->arena, &h->m, &e) < 0)
			fail_msg("%s", e.text);
	}
	buf_fini(&frame);
	return h->m.kind;
}

static void put_change(struct outbox *o, uint64_t seq)
{
	struct slice record = SLICE("a packed key");
	struct wire_message m = { .kind = WIRE_keys_change };

	m.keys_change = (struct wire_keys_change){ .seq = seq, .records = { &record, 1 } };
	assert_int_equal(outbox_put(o, LANE_KEYS, &m), 0);
}

static void put_answer(struct outbox *o, uint64_t high_water)
{
	struct wire_message m = { .kind = WIRE_usage_done, .id = 5 };

	m.usage_done =
		(struct wire_usage_done){ high_water, SLICE("0123456789abcdef0123456789abcdef") };
	assert_int_equal(outbox_put(o, LANE_ORDINARY, &m), 0);
}

static void a_revocation_overtakes_a_policy_between_two_parts(void **state)
{
	struct published *p = big_policy(3);
	size_t total = p->doc->packed.n, got = 0;
	struct heard h = { 0 };
	struct outbox o;

	(void)state;
	outbox_init(&o);
	outbox_policy(&o, p);
	assert_int_equal(next(&o, &h), WIRE_policy_part);
	assert_int_equal(h.m.policy_part.revision, 3);
	assert_int_equal(h.m.policy_part.total, total);
	got += h.m.policy_part.bytes.n;
	put_answer(&o, 7);
	put_change(&o, 12);
	assert_int_equal(next(&o, &h), WIRE_keys_change);
	assert_int_equal(h.m.keys_change.seq, 12);
	assert_int_equal(next(&o, &h), WIRE_usage_done);
	while (got < total) {
		assert_int_equal(next(&o, &h), WIRE_policy_part);
		assert_int_equal(h.m.policy_part.offset, got);
		assert_true(h.m.policy_part.bytes.n <= WIRE_MAX_PART);
		assert_memory_equal(
			h.m.policy_part.bytes.p, p->doc->packed.p + got, h.m.policy_part.bytes.n);
		got += h.m.policy_part.bytes.n;
	}
	assert_int_equal(next(&o, &h), WIRE_none);
	assert_int_equal(p->refs, 1);
	arena_fini(&h.arena);
	outbox_fini(&o);
	published_unref(p);
}

static void a_newer_policy_takes_the_place_of_one_on_its_way(void **state)
{
	struct published *old = big_policy(3), *fresh = big_policy(4);
	struct heard h = { 0 };
	struct outbox o;

	(void)state;
	outbox_init(&o);
	outbox_policy(&o, old);
	assert_int_equal(next(&o, &h), WIRE_policy_part);
	outbox_policy(&o, fresh);
	assert_int_equal(old->refs, 1);
	assert_int_equal(next(&o, &h), WIRE_policy_part);
	assert_int_equal(h.m.policy_part.revision, 4);
	assert_int_equal(h.m.policy_part.offset, 0);
	arena_fini(&h.arena);
	outbox_fini(&o);
	assert_int_equal(fresh->refs, 1);
	published_unref(old);
	published_unref(fresh);
}

static struct key_snapshot *snapshot_of(uint32_t n, uint64_t seq)
{
	struct key_snapshot *k = calloc(1, sizeof(*k));
	struct slice all;
	char record[150];

	assert_non_null(k);
	k->refs = 1;
	k->seq = seq;
	k->n = n;
	k->lengths = calloc(MAX(n, 1u), sizeof(*k->lengths));
	assert_non_null(k->lengths);
	buf_init(&k->bytes, 64u << 20);
	for (uint32_t i = 0; i < n; i++) {
		memset(record, 'a' + (int)(i % 26), sizeof(record));
		k->lengths[i] = 100 + i % 50;
		assert_int_equal(buf_append(&k->bytes, record, k->lengths[i]), 0);
	}
	all = buf_view(&k->bytes);
	digest_sha256(&all, 1, k->digest);
	return k;
}

static void a_snapshot_comes_in_parts_and_changes_follow_it(void **state)
{
	struct key_snapshot *k = snapshot_of(10000, 20);
	struct heard h = { 0 };
	struct buf all;
	struct slice whole;
	uint8_t digest[32];
	struct outbox o;
	uint64_t got = 0;
	unsigned parts = 0;

	(void)state;
	buf_init(&all, 64u << 20);
	outbox_init(&o);
	put_change(&o, 20); /* is part of the snapshot: dropped */
	outbox_snapshot(&o, k);
	put_change(&o, 21);
	put_answer(&o, 1);
	while (got < 10000) {
		assert_int_equal(next(&o, &h), WIRE_keys_part);
		assert_int_equal(h.m.keys_part.seq, 20);
		assert_int_equal(h.m.keys_part.total, 10000);
		assert_int_equal(h.m.keys_part.offset, got);
		for (uint32_t i = 0; i < h.m.keys_part.records.n; i++)
			assert_int_equal(buf_slice(&all, h.m.keys_part.records.v[i]), 0);
		got += h.m.keys_part.records.n;
		parts++;
	}
	assert_true(parts > 3);
	whole = buf_view(&all);
	digest_sha256(&whole, 1, digest);
	assert_memory_equal(digest, k->digest, 32);
	assert_int_equal(next(&o, &h), WIRE_keys_change);
	assert_int_equal(h.m.keys_change.seq, 21);
	assert_int_equal(next(&o, &h), WIRE_usage_done);
	assert_int_equal(next(&o, &h), WIRE_none);
	arena_fini(&h.arena);
	buf_fini(&all);
	outbox_fini(&o);
	key_snapshot_unref(k);
}

static void an_empty_key_set_is_one_part(void **state)
{
	struct key_snapshot *k = snapshot_of(0, 0);
	struct heard h = { 0 };
	struct outbox o;

	(void)state;
	outbox_init(&o);
	outbox_snapshot(&o, k);
	assert_int_equal(next(&o, &h), WIRE_keys_part);
	assert_int_equal(h.m.keys_part.total, 0);
	assert_int_equal(next(&o, &h), WIRE_none);
	arena_fini(&h.arena);
	outbox_fini(&o);
	key_snapshot_unref(k);
}

static void a_slow_agent_fills_its_outbox_to_a_limit(void **state)
{
	struct wire_message m = { .kind = WIRE_secrets_put };
	char *value = calloc(1, 900u << 10);
	struct outbox o;
	unsigned n = 0;

	(void)state;
	assert_non_null(value);
	m.secrets_put =
		(struct wire_secrets_put){ SLICE("openai"), 1, slice_of(value, 900u << 10) };
	outbox_init(&o);
	while (outbox_put(&o, LANE_ORDINARY, &m) == 0)
		n++;
	assert_int_equal(outbox_put(&o, LANE_ORDINARY, &m), -ENOBUFS);
	assert_true(o.queued_bytes <= OUTBOX_MAX_BYTES);
	assert_true(n > 60);
	outbox_fini(&o);
	free(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_revocation_overtakes_a_policy_between_two_parts),
		cmocka_unit_test(a_newer_policy_takes_the_place_of_one_on_its_way),
		cmocka_unit_test(a_snapshot_comes_in_parts_and_changes_follow_it),
		cmocka_unit_test(an_empty_key_set_is_one_part),
		cmocka_unit_test(a_slow_agent_fills_its_outbox_to_a_limit),
	};

	return cmocka_run_group_tests_name("ctld/outbox", tests, NULL, NULL);
}
