#include "fixture.h"

#include <ftw.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

_Atomic bool fixture_sync_fails;
_Atomic bool fixture_sync_hangs;
_Atomic unsigned fixture_syncs;

int fdatasync(int fd)
{
	atomic_fetch_add(&fixture_syncs, 1);
	while (atomic_load(&fixture_sync_hangs))
		(void)sched_yield();
	if (atomic_load(&fixture_sync_fails)) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

int fixture_dir(void **state)
{
	const char *base = getenv("TMPDIR");
	char *path = malloc(256);

	if (!path)
		return -1;
	(void)snprintf(path, 256, "%s/aigw-account.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(path)) {
		free(path);
		return -1;
	}
	*state = path;
	return 0;
}

static int entry_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

int fixture_dir_gone(void **state)
{
	int r = nftw(*state, entry_remove, 8, FTW_DEPTH | FTW_PHYS);

	free(*state);
	return r;
}

void fixture_op_id(uint64_t n, uint8_t ret[static 16])
{
	memset(ret, 0xa5, 16);
	memcpy(ret, &n, sizeof(n));
}

uint64_t fixture_op_number(struct slice op_id)
{
	uint64_t n;

	assert_int_equal(op_id.n, 16);
	memcpy(&n, op_id.p, sizeof(n));
	return n;
}

void fixture_fill_slot(struct slot *s, uint64_t n)
{
	uint8_t op_id[16];

	fixture_op_id(n, op_id);
	slot_set_text(s, SLOT_TEXT_op_id, slice_of((const char *)op_id, 16));
	slot_set_text(s, SLOT_TEXT_customer, SLICE("acme"));
	slot_set_text(s, SLOT_TEXT_project, SLICE("search"));
	slot_set_text(s, SLOT_TEXT_model, SLICE("small"));
	s->v.start_us = 1763862000000000 + (int64_t)n;
	s->v.duration_us = 250000;
	s->v.status = 200;
	s->v.outcome = USAGE_OK;
	s->v.attempts = 1;
	s->v.input_tokens = 1000;
	s->v.output_tokens = 50;
	s->v.usage_seen = 1;
	s->v.priced = 1;
	s->v.cost_nano = 12345678;
	s->v.charge_nano = 12345678;
	s->v.reserved_nano = 99999999;
	s->rate_input = 3000000; /* per million: 1,000 tokens are 3,000 */
	s->rate_output = 15000000;
	s->rate_request = 7;
}

int fixture_append(struct spool *s, uint64_t from, unsigned n, struct errbuf *e)
{
	struct slice *records = calloc(n, sizeof(*records));
	uint64_t before, first;
	struct spool_gauges g;
	struct buf b;
	int r;

	assert_non_null(records);
	buf_init(&b, (size_t)n * USAGE_RECORD_MAX_BYTES);
	assert_int_equal(buf_reserve(&b, (size_t)n * USAGE_RECORD_MAX_BYTES), 0);
	for (unsigned i = 0; i < n; i++) {
		struct slot *slot = aligned_alloc(64, sizeof(*slot));
		struct usage_record record;
		size_t at = b.n;

		assert_non_null(slot);
		memset(slot, 0, sizeof(*slot));
		fixture_fill_slot(slot, from + i);
		slot_record(slot, &record);
		record.group_no = (int64_t)spool_next_group(s);
		assert_int_equal(usage_encode(&record, &b), 0);
		records[i] = slice_of(b.p + at, b.n - at);
		free(slot);
	}
	spool_read_gauges(s, &g);
	before = g.last_seq;
	r = spool_append(s, records, n, &first, e);
	if (r == 0)
		assert_int_equal(first, before + 1);
	buf_fini(&b);
	free(records);
	return r;
}

static void ops_add(struct fixture_ops *o, uint64_t n)
{
	if (o->n == o->cap) {
		o->cap = o->cap ? o->cap * 2 : 64;
		o->v = realloc(o->v, o->cap * sizeof(*o->v));
		assert_non_null(o->v);
	}
	o->v[o->n++] = n;
}

void fixture_ops_fini(struct fixture_ops *o)
{
	free(o->v);
	*o = (struct fixture_ops){ 0 };
}

void fixture_read_all(struct spool *s, uint64_t seq, struct fixture_ops *ret)
{
	uint8_t prev[32], hash[32], chain[32];
	uint32_t lens[100];
	struct errbuf e;
	unsigned n = 1;
	struct buf b;
	bool begun = false;

	*ret = (struct fixture_ops){ 0 };
	buf_init(&b, 1u << 20);
	while (n > 0) {
		size_t at = 0;

		buf_reset(&b);
		e.text[0] = '\0';
		if (spool_read(s, seq, 100, 1u << 20, &b, lens, &n, prev, hash, &e) != 0)
			fail_msg("record %" PRIu64 ": %s", seq, e.text);
		if (begun)
			assert_memory_equal(prev, chain, 32);
		memcpy(chain, prev, 32);
		for (unsigned i = 0; i < n; i++) {
			struct slice bytes = slice_of(b.p + at, lens[i]);
			struct usage_record record;

			assert_int_equal(usage_decode(bytes, &record, &e), 0);
			usage_chain_next(chain, bytes);
			ops_add(ret, fixture_op_number(record.op_id));
			at += lens[i];
		}
		assert_memory_equal(chain, hash, 32);
		begun = true;
		seq += n;
	}
	buf_fini(&b);
}
