/* The spool: dense, chained, in groups; full before the disk is; never trusted after a failed sync.
 */
#include "fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct spool *open_spool(const char *dir, uint64_t map_bytes)
{
	struct spool *s = NULL;
	struct errbuf e = { "" };

	if (spool_open(dir, map_bytes, &s, &e) != 0)
		fail_msg("%s", e.text);
	return s;
}

static void append(struct spool *s, uint64_t from, unsigned n)
{
	struct errbuf e = { "" };

	if (fixture_append(s, from, n, &e) != 0)
		fail_msg("%s", e.text);
}

static void expect_range(struct spool *s, uint64_t first, uint64_t last)
{
	struct spool_gauges g;

	spool_read_gauges(s, &g);
	assert_int_equal(g.first_seq, first);
	assert_int_equal(g.last_seq, last);
	assert_int_equal(g.records, last + 1 - first);
}

static void expect_ops(struct spool *s, uint64_t seq, uint64_t first_op, unsigned n)
{
	struct fixture_ops ops;

	fixture_read_all(s, seq, &ops);
	assert_int_equal(ops.n, n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(ops.v[i], first_op + i);
	fixture_ops_fini(&ops);
}

static void records_come_back_in_order(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	struct spool_gauges g;

	expect_range(s, 1, 0);
	expect_ops(s, 1, 0, 0);
	assert_int_equal(spool_next_group(s), 1);
	append(s, 100, 3);
	append(s, 103, 300);
	assert_int_equal(spool_next_group(s), 3);
	expect_range(s, 1, 303);
	expect_ops(s, 1, 100, 303);
	expect_ops(s, 200, 299, 104);
	expect_ops(s, 304, 0, 0);
	spool_read_gauges(s, &g);
	assert_int_equal(g.oldest_wall_us, 1763862000000100 + 250000);
	assert_int_equal(g.map_bytes, FIXTURE_MAP_BYTES);
	assert_false(g.full || g.failed);
	spool_close(s);
}

static void a_reading_keeps_its_bounds(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	uint8_t prev[32], hash[32];
	uint32_t lens[10];
	struct errbuf e;
	struct buf b;
	unsigned n;

	append(s, 1, 10);
	buf_init(&b, 1u << 20);
	assert_int_equal(spool_read(s, 1, 4, 1u << 20, &b, lens, &n, prev, hash, &e), 0);
	assert_int_equal(n, 4);
	assert_int_equal(b.n, lens[0] + lens[1] + lens[2] + lens[3]);
	buf_reset(&b);
	assert_int_equal(
		spool_read(s, 1, 10, lens[0] + lens[1] + lens[2] - 1, &b, lens, &n, prev, hash, &e),
		0);
	assert_int_equal(n, 2);
	assert_int_equal(spool_read(s, 12, 1, 1000, &b, lens, &n, prev, hash, &e), -ERANGE);
	assert_int_equal(spool_read(s, 0, 1, 1000, &b, lens, &n, prev, hash, &e), -ERANGE);
	assert_non_null(strstr(e.text, "holds records 1 to 10"));
	buf_fini(&b);
	spool_close(s);
}

static void acknowledged_records_go_with_the_next_append(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);

	append(s, 1, 10);
	assert_false(spool_drop_wanted(s));
	spool_acknowledge(s, 7);
	spool_acknowledge(s, 3); /* late: says nothing new */
	expect_range(s, 1, 10);
	assert_true(spool_drop_wanted(s));
	append(s, 11, 1);
	assert_false(spool_drop_wanted(s));
	expect_range(s, 8, 11);
	expect_ops(s, 8, 8, 4);
	spool_close(s);
}

static void acknowledged_records_go_alone_too(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	struct spool_gauges g;
	struct errbuf e;

	append(s, 1, 10);
	spool_acknowledge(s, 1000000); /* no further than what is there */
	assert_int_equal(spool_drop(s, &e), 0);
	assert_int_equal(spool_drop(s, &e), 0);
	expect_range(s, 11, 10);
	spool_read_gauges(s, &g);
	assert_int_equal(g.oldest_wall_us, 0);
	append(s, 11, 2);
	expect_range(s, 11, 12);
	expect_ops(s, 11, 11, 2);
	spool_close(s);
}

/* Sequence, group, chain and store id go on over restarts, also when nothing is left in the spool.
 */
static void a_reopened_spool_goes_on(void **state)
{
	static const uint64_t acknowledged[] = { 0, 5, 12 };
	uint8_t id[16], again[16];
	uint64_t last = 0, group = 1;
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);

	spool_store_id(s, id);
	spool_close(s);
	for (size_t i = 0; i < ARRAY_LEN(acknowledged); i++) {
		uint8_t before[32], after[32], hash[32];
		uint32_t lens[1];
		struct errbuf e;
		struct buf b;
		unsigned n;

		buf_init(&b, 0);
		s = open_spool(*state, FIXTURE_MAP_BYTES);
		spool_store_id(s, again);
		assert_memory_equal(id, again, 16);
		assert_int_equal(spool_next_group(s), group);
		append(s, last + 1, 4);
		group++;
		last += 4;
		spool_acknowledge(s, acknowledged[i]);
		assert_int_equal(spool_drop(s, &e), 0);
		assert_int_equal(spool_read(s, last + 1, 0, 0, &b, lens, &n, before, hash, &e), 0);
		spool_close(s);

		s = open_spool(*state, FIXTURE_MAP_BYTES);
		expect_range(s, acknowledged[i] + 1, last);
		expect_ops(s, acknowledged[i] + 1, acknowledged[i] + 1,
			(unsigned)(last - acknowledged[i]));
		assert_int_equal(spool_read(s, last + 1, 0, 0, &b, lens, &n, after, hash, &e), 0);
		assert_memory_equal(before, after, 32);
		spool_close(s);
	}
}

static void collect(const uint8_t op_id[16], void *arg)
{
	struct fixture_ops *o = arg;

	assert_true(o->n < o->cap);
	o->v[o->n++] = fixture_op_number(slice_of((const char *)op_id, 16));
}

static void the_last_group_is_found(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	uint64_t room[16];
	struct fixture_ops o = { room, 0, 16 };
	struct errbuf e;

	assert_int_equal(spool_last_group(s, collect, &o, &e), 0);
	assert_int_equal(o.n, 0);
	append(s, 1, 5);
	append(s, 6, 3);
	assert_int_equal(spool_last_group(s, collect, &o, &e), 0);
	assert_int_equal(o.n, 3);
	assert_int_equal(o.v[0], 8);
	assert_int_equal(o.v[2], 6);
	spool_close(s);

	s = open_spool(*state, FIXTURE_MAP_BYTES);
	spool_acknowledge(s, 7);
	assert_int_equal(spool_drop(s, &e), 0);
	o.n = 0;
	assert_int_equal(spool_last_group(s, collect, &o, &e), 0);
	assert_int_equal(o.n, 1);
	spool_acknowledge(s, 8);
	assert_int_equal(spool_drop(s, &e), 0);
	o.n = 0;
	assert_int_equal(spool_last_group(s, collect, &o, &e), 0);
	assert_int_equal(o.n, 0);
	spool_close(s);
}

static void a_second_agent_is_refused(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES), *t = NULL;
	struct errbuf e;

	assert_int_equal(spool_open(*state, FIXTURE_MAP_BYTES, &t, &e), -EBUSY);
	assert_non_null(strstr(e.text, "/spool.mdb is held by another agent"));
	spool_close(s);
	spool_close(open_spool(*state, FIXTURE_MAP_BYTES));
}

static char *file_load(const char *path, size_t *ret_n)
{
	struct stat st;
	char *p;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	p = malloc((size_t)st.st_size);
	assert_non_null(p);
	assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
	assert_int_equal(close(fd), 0);
	*ret_n = (size_t)st.st_size;
	return p;
}

static void file_store(const char *path, const char *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	assert_int_equal(close(fd), 0);
}

/* Changes one byte behind every place where `mark` stands in the file. */
static void patch(const char *dir, const char *mark, size_t behind, char to)
{
	size_t n, found = 0, len = strlen(mark);
	char path[512], *p, *at;

	(void)snprintf(path, sizeof(path), "%s/spool.mdb", dir);
	p = file_load(path, &n);
	for (at = p; (at = memmem(at, n - (size_t)(at - p), mark, len)); at += len, found++)
		at[behind] = to;
	assert_true(found > 0);
	file_store(path, p, n);
	free(p);
}

static void other_files_are_refused(void **state)
{
	static const struct {
		const char *mark;
		size_t behind;
		char to;
		int want;
		const char *sentence;
	} cases[] = {
		{ "aigwspol", 11, SPOOL_FORMAT + 1, -EPROTONOSUPPORT, "has format 2" },
		{ "aigwspol", 11, SPOOL_FORMAT, 0, "" },
		{ "aigwspol", 3, 'x', -EBADMSG, "is not a spool" },
		{ "aigxspol", 3, 'w', 0, "" },
		{ "search", 0, 'S', -EBADMSG, "is damaged" },
	};
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);

	append(s, 1, 1);
	spool_close(s);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };

		patch(*state, cases[i].mark, cases[i].behind, cases[i].to);
		assert_int_equal(spool_open(*state, FIXTURE_MAP_BYTES, &s, &e), cases[i].want);
		assert_non_null(strstr(e.text, cases[i].sentence));
		if (cases[i].want == 0)
			spool_close(s);
	}
}

static void rubbish_is_refused(void **state)
{
	char path[512], rubbish[8192];
	struct spool *s;
	struct errbuf e;
	int fd;

	memset(rubbish, 'r', sizeof(rubbish));
	(void)snprintf(path, sizeof(path), "%s/spool.mdb", (char *)*state);
	fd = creat(path, 0600);
	assert_int_equal(write(fd, rubbish, sizeof(rubbish)), sizeof(rubbish));
	assert_int_equal(close(fd), 0);
	assert_int_equal(spool_open(*state, FIXTURE_MAP_BYTES, &s, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "can't be opened"));
}

/* Full is said at 80 %; appends go on above it, since calls are in flight then, but leave room in
 * which drops succeed. */
static void a_full_spool_can_always_drop(void **state)
{
	static const uint64_t sizes[] = { SPOOL_MIN_MAP_BYTES, 3u << 20 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct spool *s = open_spool(*state, sizes[i]);
		struct spool_gauges g;
		struct errbuf e = { "" };
		uint64_t n = 0, full_at = 0;
		char path[512];

		while (fixture_append(s, n + 1, 50, &e) == 0) {
			n += 50;
			spool_read_gauges(s, &g);
			assert_true(g.full == (g.used_bytes * 100 >= g.map_bytes * 80));
			if (g.full && full_at == 0)
				full_at = n;
		}
		assert_non_null(strstr(e.text, "is full"));
		assert_true(full_at > 0 && full_at < n);
		assert_int_equal(fixture_append(s, n + 1, 50, &e), -ENOSPC);
		spool_read_gauges(s, &g);
		assert_true(g.full);
		assert_false(g.failed);
		expect_range(s, 1, n);

		/* In small steps, each a transaction that needs pages before it gives some back. */
		for (uint64_t hw = 1; hw < n; hw += 7) {
			spool_acknowledge(s, hw);
			assert_int_equal(spool_drop(s, &e), 0);
		}
		spool_read_gauges(s, &g);
		assert_false(g.full);
		append(s, n + 1, 50);
		expect_ops(s, n + 1, n + 1, 50);
		spool_close(s);
		(void)snprintf(path, sizeof(path), "%s/spool.mdb", (char *)*state);
		assert_int_equal(unlink(path), 0);
	}
}

/* Freed pages are used again: far more goes through than fits. */
static void room_is_used_again(void **state)
{
	struct spool *s = open_spool(*state, SPOOL_MIN_MAP_BYTES);
	struct spool_gauges g;

	for (uint64_t n = 0; n < 20000; n += 200) {
		append(s, n + 1, 200);
		spool_acknowledge(s, n + 150);
	}
	spool_read_gauges(s, &g);
	assert_false(g.full);
	expect_ops(s, g.first_seq, g.first_seq, (unsigned)g.records);
	spool_close(s);
}

/* One drop takes at most 1,024 records; the rest follows. */
static void a_long_backlog_goes_in_pieces(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	struct errbuf e;

	append(s, 1, 2500);
	spool_acknowledge(s, 2400);
	append(s, 2501, 1);
	expect_range(s, 1025, 2501);
	assert_true(spool_drop_wanted(s));
	assert_int_equal(spool_drop(s, &e), 0);
	expect_range(s, 2049, 2501);
	assert_int_equal(spool_drop(s, &e), 0);
	expect_range(s, 2401, 2501);
	assert_false(spool_drop_wanted(s));
	spool_close(s);
}

/* After a failed sync nobody knows what the disk holds: never tried again with this handle; what
 * was there is read on. */
static void a_failed_sync_poisons_the_handle(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	struct spool_gauges g;
	struct errbuf e;
	unsigned syncs;

	append(s, 1, 10);
	atomic_store(&fixture_sync_fails, true);
	assert_int_equal(fixture_append(s, 11, 5, &e), -EIO);
	assert_non_null(strstr(e.text, "until the agent is restarted"));
	atomic_store(&fixture_sync_fails, false);
	syncs = fixture_syncs;
	assert_int_equal(fixture_append(s, 11, 5, &e), -EIO);
	spool_acknowledge(s, 3);
	assert_int_equal(spool_drop(s, &e), -EIO);
	assert_int_equal(fixture_syncs, syncs);
	spool_read_gauges(s, &g);
	assert_true(g.failed);
	expect_range(s, 1, 10);
	expect_ops(s, 1, 1, 10);
	spool_close(s);

	s = open_spool(*state, FIXTURE_MAP_BYTES);
	expect_range(s, 1, 10);
	append(s, 11, 5);
	expect_ops(s, 1, 1, 15);
	spool_close(s);
}

static void the_disk_room_is_set_aside(void **state)
{
	struct spool *s = open_spool(*state, FIXTURE_MAP_BYTES);
	struct stat st;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/spool.mdb", (char *)*state);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size < (off_t)FIXTURE_MAP_BYTES);
	assert_true(st.st_blocks * 512 >= (off_t)FIXTURE_MAP_BYTES);
	assert_int_equal(st.st_mode & 0777, 0600);
	spool_close(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_dir, fixture_dir_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_come_back_in_order),
		TEST(a_reading_keeps_its_bounds),
		TEST(acknowledged_records_go_with_the_next_append),
		TEST(acknowledged_records_go_alone_too),
		TEST(a_reopened_spool_goes_on),
		TEST(the_last_group_is_found),
		TEST(a_second_agent_is_refused),
		TEST(other_files_are_refused),
		TEST(rubbish_is_refused),
		TEST(a_full_spool_can_always_drop),
		TEST(room_is_used_again),
		TEST(a_long_backlog_goes_in_pieces),
		TEST(a_failed_sync_poisons_the_handle),
		TEST(the_disk_room_is_set_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
