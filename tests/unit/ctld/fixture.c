#include "fixture.h"

#include <ftw.h>
#include <unistd.h>

#define DAY_US ((usec)1795392000 * USEC_PER_S) /* 2026-11-23 */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

void fixture_open(struct fixture *f, uint64_t map_bytes)
{
	struct errbuf e;

	memcpy(f->dir, "/tmp/aigw-test-XXXXXX", sizeof("/tmp/aigw-test-XXXXXX"));
	assert_non_null(mkdtemp(f->dir));
	arena_init(&f->arena, 64u << 10, 256u << 20);
	if (store_open(f->dir, map_bytes, &f->store, &e) < 0)
		fail_msg("%s", e.text);
}

void fixture_reopen(struct fixture *f)
{
	struct errbuf e;

	store_close(f->store);
	if (store_open(f->dir, STORE_MAP_BYTES, &f->store, &e) < 0)
		fail_msg("%s", e.text);
}

void fixture_close(struct fixture *f)
{
	store_close(f->store);
	arena_fini(&f->arena);
	(void)nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct usage_record record_nth(uint64_t n)
{
	static const char *const names[] = { "acme", "globex", "initech" };
	static const char *const models[] = { "fast", "smart", "" };
	static const char *const keys[] = { "key_000000000001", "" };
	static uint8_t op_id[16];

	memcpy(op_id, &n, sizeof(n));
	return (struct usage_record){
		.op_id = slice_of((const char *)op_id, 16),
		.start_us = DAY_US + (usec)(n % 97) * 601 * USEC_PER_S,
		.duration_us = (usec)(n % 13) * 70 * USEC_PER_S,
		.customer = slice_str(names[n % 3]),
		.project = slice_str(names[n % 2]),
		.key_id = slice_str(keys[n % 2]),
		.uid = n % 5 ? 0 : 1001,
		.model = slice_str(models[n % 3]),
		.provider = slice_str(n % 3 == 2 ? "" : "openai"),
		.endpoint = 1 + (int64_t)(n % 3),
		.outcome = 1 + (int64_t)(n % 7),
		.input_tokens = (int64_t)(n * 37 % 5000),
		.cached_input_tokens = (int64_t)(n % 11),
		.output_tokens = (int64_t)(n * 101 % 900),
		.reasoning_tokens = (int64_t)(n % 7),
		.priced = n % 4 != 0,
		.cost_nano = (int64_t)(n * 7919 % 1000003),
		.charge_nano = (int64_t)(n * 104729 % 1000033),
		.estimated = n % 9 == 0,
	};
}

struct slice record_bytes(struct fixture *f, const struct usage_record *u)
{
	struct buf b;
	struct slice s;

	buf_init(&b, 4096);
	assert_int_equal(usage_encode(u, &b), 0);
	s = arena_slice(&f->arena, buf_view(&b));
	buf_fini(&b);
	assert_non_null(s.p);
	return s;
}

struct ingest_batch batch_next(struct fixture *f, struct agent_side *a, uint32_t n, uint64_t salt)
{
	struct ingest_batch b = { .agent = SLICE("web-01"), .received_us = DAY_US };
	struct slice *v = arena_alloc(&f->arena, n * sizeof(*v));

	assert_non_null(v);
	b.usage = (struct wire_usage_batch){
		.store_id = arena_slice(&f->arena, slice_of((const char *)a->store_id, 16)),
		.first_seq = a->seq + 1,
		.prev_hash = arena_slice(&f->arena, slice_of((const char *)a->chain, 32)),
		.records = { v, n },
	};
	for (uint32_t i = 0; i < n; i++) {
		struct usage_record u = record_nth(++a->seq + salt);

		v[i] = record_bytes(f, &u);
		usage_chain_next(a->chain, v[i]);
	}
	b.usage.hash = arena_slice(&f->arena, slice_of((const char *)a->chain, 32));
	return b;
}

enum ingest_verdict batch_book(struct fixture *f, struct ingest_batch *b)
{
	ingest_book(f->store, &b, 1);
	return b->verdict;
}

static int count_one(const struct ledger_record *r, void *arg)
{
	(void)r;
	++*(uint64_t *)arg;
	return 0;
}

static int count_all(struct store_txn *t, void *arg)
{
	return ledger_record_each(t, 0, 0, count_one, arg);
}

uint64_t count_records(struct fixture *f)
{
	uint64_t n = 0;

	assert_int_equal(store_read(f->store, count_all, &n), 0);
	return n;
}
