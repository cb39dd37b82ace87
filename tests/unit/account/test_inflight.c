/* The in-flight file: what a killed process leaves, and what its readers see. */
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

static struct inflight *open_file(const char *dir, uint32_t n)
{
	struct inflight *f = NULL;
	struct errbuf e = { "" };

	if (inflight_open(dir, n, &f, &e) != 0)
		fail_msg("%s", e.text);
	return f;
}

static void path_of(const char *dir, char path[static 512])
{
	(void)snprintf(path, 512, "%s/inflight", dir);
}

static void slots_go_last_freed_first(void **state)
{
	struct inflight *f = open_file(*state, 8);
	uint32_t a = inflight_take(f), b = inflight_take(f), c = inflight_take(f);

	assert_int_equal(a, 0);
	assert_int_equal(b, 1);
	assert_int_equal(c, 2);
	assert_int_equal(inflight_used(f), 3);
	inflight_free(f, a);
	inflight_free(f, c);
	assert_int_equal(inflight_take(f), c);
	assert_int_equal(inflight_take(f), a);
	assert_int_equal(inflight_take(f), 3);
	inflight_close(f);
}

static void no_slot_beyond_the_last(void **state)
{
	struct inflight *f = open_file(*state, 3);

	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(inflight_take(f), i);
	assert_int_equal(inflight_take(f), SLOT_NONE);
	inflight_free(f, 1);
	assert_int_equal(inflight_take(f), 1);
	assert_int_equal(inflight_take(f), SLOT_NONE);
	inflight_close(f);
}

static void a_taken_slot_is_zeroed(void **state)
{
	struct inflight *f = open_file(*state, 2);
	uint32_t i = inflight_take(f);
	struct slot *s = inflight_slot(f, i);
	static const struct slot_values zero;

	fixture_fill_slot(s, 7);
	slot_set_state(s, SLOT_SETTLED);
	inflight_free(f, i);
	assert_int_equal(inflight_take(f), i);
	assert_int_equal(atomic_load(&s->state), SLOT_FREE);
	assert_memory_equal(&s->v, &zero, sizeof(zero));
	assert_int_equal(s->text_used, 0);
	assert_int_equal(slot_text(s, SLOT_TEXT_customer).n, 0);
	inflight_close(f);
}

static void only_used_slots_cost_memory(void **state)
{
	struct inflight *f = open_file(*state, 32768);
	struct stat st;
	char path[512];

	path_of(*state, path);
	for (uint32_t i = 0; i < 8; i++)
		fixture_fill_slot(inflight_slot(f, inflight_take(f)), i);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 4096 + 32768 * 1024);
	assert_true(st.st_blocks * 512 <= 64 * 1024);
	assert_int_equal(inflight_touched(f), 8);
	inflight_close(f);
}

/* A text is cut to its field's maximum and to what is left of the slot, between characters. */
static void texts_are_cut_with_a_flag(void **state)
{
	static const struct {
		const char *name;
		unsigned filled; /* bytes in use before */
		enum slot_text field;
		const char *given, *want;
		bool truncated;
	} cases[] = {
		{ "fits", 0, SLOT_TEXT_fail, "upstream_timeout", "upstream_timeout", false },
		{ "its maximum", 0, SLOT_TEXT_key_id, "key_0123456789ab", "key_0123456789ab",
			false },
		{ "over its maximum", 0, SLOT_TEXT_key_id, "key_0123456789abcdef",
			"key_0123456789ab", true },
		{ "between characters", 0, SLOT_TEXT_key_id, "0123456789abcd\xe2\x82\xac",
			"0123456789abcd", true },
		{ "what is left", 630, SLOT_TEXT_unit, "backup.service", "backup.ser", true },
		{ "nothing is left", 640, SLOT_TEXT_unit, "backup.service", "", true },
		{ "half a character is left", 637, SLOT_TEXT_unit, "ab\xc3\xa4", "ab", true },
		{ "not UTF-8", 638, SLOT_TEXT_unit, "\x80\x80\x80\x80\x80", "\x80\x80", true },
		{ "empty", 640, SLOT_TEXT_unit, "", "", false },
	};
	struct inflight *f = open_file(*state, 1);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t n = inflight_take(f);
		struct slot *s = inflight_slot(f, n);
		struct slice got;

		s->text_used = (uint16_t)cases[i].filled;
		slot_set_text(s, cases[i].field, slice_str(cases[i].given));
		got = slot_text(s, cases[i].field);
		if (!slice_eq(got, slice_str(cases[i].want)) ||
			s->v.truncated != cases[i].truncated)
			fail_msg("%s: \"" SLICE_FMT "\"", cases[i].name, SLICE_ARG(got));
		assert_true(s->text_used <= SLOT_TEXT_BYTES);
		inflight_free(f, n);
	}
	inflight_close(f);
}

static void a_slot_becomes_a_record(void **state)
{
	struct inflight *f = open_file(*state, 1);
	struct slot *s = inflight_slot(f, inflight_take(f));
	struct usage_record r;

	fixture_fill_slot(s, 77);
	slot_record(s, &r);
	assert_int_equal(fixture_op_number(r.op_id), 77);
	assert_true(slice_eq(r.project, SLICE("search")));
	assert_true(slice_eq(r.model, SLICE("small")));
	assert_int_equal(r.provider.n, 0);
	assert_int_equal(r.input_tokens, 1000);
	assert_int_equal(r.reserved_nano, 99999999);
	inflight_close(f);
}

/* Any flipped bit of what is booked is seen. */
static void the_checksum_covers_values_and_texts(void **state)
{
	struct inflight *f = open_file(*state, 1);
	struct slot *s = inflight_slot(f, inflight_take(f));
	unsigned char *flips[] = { (unsigned char *)&s->v,
		(unsigned char *)&s->v + sizeof(s->v) - 1, &s->text_len[0],
		&s->text_len[SLOT_TEXT_COUNT - 1], &s->text_at[0][0],
		&s->text_at[SLOT_TEXT_COUNT - 1][1], (unsigned char *)&s->text[0],
		(unsigned char *)&s->text[20], (unsigned char *)&s->crc };

	fixture_fill_slot(s, 1);
	slot_set_state(s, SLOT_SENT);
	assert_false(slot_is_intact(s));
	slot_set_state(s, SLOT_SETTLED);
	assert_true(slot_is_intact(s));
	for (size_t i = 0; i < ARRAY_LEN(flips); i++) {
		*flips[i] ^= 0x10;
		assert_false(slot_is_intact(s));
		*flips[i] ^= 0x10;
	}
	s->text_used = UINT16_MAX;
	assert_false(slot_is_intact(s));
	inflight_close(f);
}

static void a_damaged_text_is_empty(void **state)
{
	struct inflight *f = open_file(*state, 1);
	struct slot *s = inflight_slot(f, inflight_take(f));

	fixture_fill_slot(s, 1);
	s->text_at[SLOT_TEXT_model][1] = 0xff;
	s->text_len[SLOT_TEXT_customer] = 200;
	assert_int_equal(slot_text(s, SLOT_TEXT_model).n, 0);
	assert_int_equal(slot_text(s, SLOT_TEXT_customer).n, 0);
	inflight_close(f);
}

static void a_second_agent_is_refused(void **state)
{
	struct inflight *f = open_file(*state, 4), *g = NULL;
	struct errbuf e;

	assert_int_equal(inflight_open(*state, 4, &g, &e), -EBUSY);
	assert_null(g);
	assert_non_null(strstr(e.text, "/inflight is held by another agent"));
	assert_non_null(strstr(e.text, "runtime_dir"));
	inflight_close(f);
	inflight_close(open_file(*state, 4));
}

/* A killed process does not close its file; the mapping's content is the same. */
static void taken_slots_outlive_the_process(void **state)
{
	struct inflight *f = open_file(*state, 8);

	for (uint32_t i = 0; i < 5; i++)
		fixture_fill_slot(inflight_slot(f, inflight_take(f)), 100 + i);
	slot_set_state(inflight_slot(f, 1), SLOT_ADMITTED);
	slot_set_state(inflight_slot(f, 3), SLOT_SETTLED);
	inflight_close(f);

	f = open_file(*state, 8);
	assert_int_equal(inflight_used(f), 2);
	assert_int_equal(atomic_load(&inflight_slot(f, 1)->state), SLOT_ADMITTED);
	assert_true(slot_is_intact(inflight_slot(f, 3)));
	/* Those that were never admitted are free again; no slot is handed out twice. */
	assert_int_equal(inflight_take(f), 0);
	assert_int_equal(inflight_take(f), 2);
	assert_int_equal(inflight_take(f), 4);
	assert_int_equal(inflight_take(f), 5);
	inflight_free(f, 3);
	assert_int_equal(inflight_take(f), 3);
	inflight_close(f);
}

static void another_size_waits_until_the_file_is_empty(void **state)
{
	static const struct {
		uint32_t before, asked;
		bool used;
		uint32_t want;
	} cases[] = {
		{ 8, 4, true, 8 },
		{ 8, 16, true, 16 },
		{ 8, 4, false, 4 },
		{ 8, 16, false, 16 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct inflight *f = open_file(*state, cases[i].before);
		uint32_t last = 0, used = 0;

		assert_int_equal(inflight_count(f), cases[i].before);
		for (uint32_t n = 0; n < cases[i].before; n++)
			last = inflight_take(f);
		fixture_fill_slot(inflight_slot(f, last), 5);
		if (cases[i].used)
			slot_set_state(inflight_slot(f, last), SLOT_SENT);
		inflight_close(f);

		f = open_file(*state, cases[i].asked);
		assert_int_equal(inflight_count(f), cases[i].want);
		assert_int_equal(inflight_used(f), cases[i].used);
		while (inflight_take(f) != SLOT_NONE)
			used++;
		assert_int_equal(used, cases[i].want - cases[i].used);
		if (cases[i].used)
			inflight_free(f, last);
		inflight_close(f);
	}
}

static void write_at(const char *dir, off_t at, uint32_t value)
{
	char path[512];
	int fd;

	path_of(dir, path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, sizeof(value), at), sizeof(value));
	assert_int_equal(close(fd), 0);
}

/* Head: magic (8), format (4), layout (4), count (4), touched (4). */
static void foreign_heads_are_refused(void **state)
{
	static const struct {
		off_t at;
		uint32_t value;
		int want;
		const char *sentence;
	} cases[] = {
		{ 0, 12345, -EBADMSG, "not an in-flight file" },
		{ 8, INFLIGHT_FORMAT + 1, -EPROTONOSUPPORT, "has format 3" },
		{ 12, 12345, -EPROTONOSUPPORT, "holds 1 calls of another version" },
		{ 16, 0, -EBADMSG, "damaged" },
		{ 16, 1000, -EBADMSG, "damaged" },
		{ 20, 9, -EBADMSG, "damaged" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct inflight *f = open_file(*state, 8);
		struct errbuf e = { "" };
		char path[512];

		slot_set_state(inflight_slot(f, inflight_take(f)), SLOT_SENT);
		inflight_close(f);
		write_at(*state, cases[i].at, cases[i].value);
		assert_int_equal(inflight_open(*state, 8, &f, &e), cases[i].want);
		assert_non_null(strstr(e.text, cases[i].sentence));
		path_of(*state, path);
		assert_int_equal(unlink(path), 0);
	}
}

static void an_empty_file_of_another_version_is_made_anew(void **state)
{
	inflight_close(open_file(*state, 8));
	write_at(*state, 12, 12345);
	inflight_close(open_file(*state, 8));
}

/* A kill before the head was whole. */
static void a_file_without_a_head_is_made_anew(void **state)
{
	char path[512];

	path_of(*state, path);
	assert_int_equal(close(creat(path, 0600)), 0);
	assert_int_equal(truncate(path, 100000), 0);
	inflight_close(open_file(*state, 8));
}

/* --- threads
 * --------------------------------------------------------------------------------------- */

#define CROWD  4
#define ROUNDS 20000

struct crowd {
	struct inflight *f;
	_Atomic uint32_t holder[16];
	_Atomic uint32_t twice;
};

static void *crowd_run(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t n = inflight_take(c->f);

		if (n == SLOT_NONE)
			continue;
		if (atomic_exchange(&c->holder[n], 1) != 0)
			atomic_fetch_add(&c->twice, 1);
		atomic_store(&c->holder[n], 0);
		inflight_free(c->f, n);
	}
	return NULL;
}

static void a_slot_has_one_holder(void **state)
{
	struct crowd c = { .f = open_file(*state, 3) };
	pthread_t t[CROWD];

	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&t[i], NULL, crowd_run, &c), 0);
	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(c.twice, 0);
	assert_int_equal(inflight_used(c.f), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(inflight_take(c.f) < 3);
	assert_int_equal(inflight_take(c.f), SLOT_NONE);
	inflight_close(c.f);
}

struct writer {
	struct inflight *f;
	_Atomic bool stop;
};

/* Calls come and go in one slot, each with texts of its own letter only. */
static void *writer_run(void *arg)
{
	struct writer *w = arg;

	for (unsigned n = 0; !atomic_load(&w->stop); n++) {
		uint32_t i = inflight_take(w->f);
		struct slot *s = inflight_slot(w->f, i);
		char text[60];

		memset(text, 'a' + (int)(n % 26), sizeof(text));
		slot_set_text(s, SLOT_TEXT_customer, slice_of(text, sizeof(text)));
		slot_set_text(s, SLOT_TEXT_project, slice_of(text, sizeof(text)));
		slot_set_state(s, SLOT_ADMITTED);
		slot_set_text(s, SLOT_TEXT_provider, slice_of(text, sizeof(text)));
		inflight_free(w->f, i);
	}
	return NULL;
}

static void expect_one_letter(const struct slot *s, enum slot_text field, char letter)
{
	struct slice t = slot_text(s, field);

	for (size_t i = 0; i < t.n; i++)
		assert_int_equal(t.p[i], letter);
}

static void a_peek_is_never_torn(void **state)
{
	struct writer w = { .f = open_file(*state, 1) };
	struct slot *copy = aligned_alloc(64, sizeof(*copy));
	pthread_t t;
	unsigned seen = 0;

	assert_non_null(copy);
	assert_int_equal(pthread_create(&t, NULL, writer_run, &w), 0);
	while (seen < 2000) { /* the writer never stops: it comes to that */
		char letter;

		if (!slot_peek(inflight_slot(w.f, 0), copy)) {
			(void)sched_yield();
			continue;
		}
		seen++;
		assert_int_equal(slot_text(copy, SLOT_TEXT_customer).n, 60);
		letter = slot_text(copy, SLOT_TEXT_customer).p[0];
		expect_one_letter(copy, SLOT_TEXT_customer, letter);
		expect_one_letter(copy, SLOT_TEXT_project, letter);
		expect_one_letter(copy, SLOT_TEXT_provider, letter);
	}
	atomic_store(&w.stop, true);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_false(slot_peek(inflight_slot(w.f, 0), copy));
	free(copy);
	inflight_close(w.f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_dir, fixture_dir_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(slots_go_last_freed_first),
		TEST(no_slot_beyond_the_last),
		TEST(a_taken_slot_is_zeroed),
		TEST(only_used_slots_cost_memory),
		TEST(texts_are_cut_with_a_flag),
		TEST(a_slot_becomes_a_record),
		TEST(the_checksum_covers_values_and_texts),
		TEST(a_damaged_text_is_empty),
		TEST(a_second_agent_is_refused),
		TEST(taken_slots_outlive_the_process),
		TEST(another_size_waits_until_the_file_is_empty),
		TEST(foreign_heads_are_refused),
		TEST(an_empty_file_of_another_version_is_made_anew),
		TEST(a_file_without_a_head_is_made_anew),
		TEST(a_slot_has_one_holder),
		TEST(a_peek_is_never_torn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
