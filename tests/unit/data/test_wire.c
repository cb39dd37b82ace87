/* Frames between agent and controller: every message there and back, every cut, every hostile form.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/wire.h>

static struct arena arena;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 4096, 8u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

/* A value per type and member number. */
static struct slice list_items[3] = { { "x", 1 }, { "", 0 }, { "third", 5 } };

static void fill_u64(uint64_t *v, int n)
{
	*v = n % 2 ? UINT64_MAX - (uint64_t)n : (uint64_t)n;
}

static void fill_str(struct slice *v, int n)
{
	*v = n % 3 ? slice_of("gr\xc3\xbc\xc3\x9f"
			      "e",
			     7)
		   : slice_of("", 0);
}

static void fill_bin(struct slice *v, int n)
{
	*v = slice_of("\xff\0\x80 bytes", (size_t)(n % 9));
}

static void fill_bins(struct wire_bins *v, int n)
{
	*v = (struct wire_bins){ list_items, (uint32_t)(n % 4) };
}

#define fill_strs fill_bins

static void same_u64(const uint64_t *a, const uint64_t *b)
{
	assert_true(*a == *b);
}

static void same_str(const struct slice *a, const struct slice *b)
{
	assert_true(slice_eq(*a, *b));
}

#define same_bin same_str

static void same_bins(const struct wire_bins *a, const struct wire_bins *b)
{
	assert_int_equal(a->n, b->n);
	for (uint32_t i = 0; i < a->n; i++)
		assert_true(slice_eq(a->v[i], b->v[i]));
}

#define same_strs same_bins

#define WIRE_MESSAGE(name, method, form)                                                           \
	static void fill_##name(struct wire_##name *m)                                             \
	{                                                                                          \
		int n = 0;
#define WIRE_FIELD(message, type, name) fill_##type(&m->name, ++n);
#define WIRE_END(message)               }
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END

#define WIRE_MESSAGE(name, method, form)                                                           \
	static void same_##name(const struct wire_##name *a, const struct wire_##name *b)          \
	{
#define WIRE_FIELD(message, type, name) same_##type(&a->name, &b->name);
#define WIRE_END(message)               }
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END

enum form { FORM_NOTE, FORM_CALL, FORM_RESULT };

static enum form form_of(enum wire_kind kind)
{
	switch ((int)kind) {
#define WIRE_MESSAGE(name, method, form)                                                           \
	case WIRE_##name:                                                                          \
		return FORM_##form;
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END
	default: fail_msg("no such kind"); return FORM_NOTE;
	}
}

static void fill(struct wire_message *m, enum wire_kind kind)
{
	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->id = form_of(kind) == FORM_NOTE ? 0 : 0xfedcba98;
	switch ((int)kind) {
#define WIRE_MESSAGE(name, method, form)                                                           \
	case WIRE_##name:                                                                          \
		fill_##name(&m->name);                                                             \
		break;
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END
	}
}

static void check_same(const struct wire_message *a, const struct wire_message *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->id, b->id);
	switch ((int)a->kind) {
#define WIRE_MESSAGE(name, method, form)                                                           \
	case WIRE_##name:                                                                          \
		same_##name(&a->name, &b->name);                                                   \
		break;
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END
	}
}

static void every_message_there_and_back(void **state)
{
	(void)state;
	for (int kind = WIRE_none + 1; kind < WIRE_error; kind++) {
		bool result = form_of((enum wire_kind)kind) == FORM_RESULT;
		enum wire_kind expect = result ? (enum wire_kind)kind : WIRE_none;
		struct wire_message m, again;
		struct errbuf e = { "" };
		struct slice payload;
		struct buf b;

		buf_init(&b, WIRE_MAX_FRAME);
		fill(&m, (enum wire_kind)kind);
		assert_int_equal(wire_encode(&m, &b), 0);
		assert_int_equal(wire_frame(b.p, b.n, WIRE_MAX_FRAME), b.n - 4);
		payload = slice_of(b.p + 4, b.n - 4);
		assert_int_equal(wire_decode(payload, expect, &arena, &again, &e), 0);
		check_same(&m, &again);
		if (result)
			assert_int_equal(again.of, kind - 1);
		/* Cut at any byte: the frame is not whole yet, and its payload is refused. */
		for (size_t n = 0; n < b.n; n++)
			assert_int_equal(wire_frame(b.p, n, WIRE_MAX_FRAME), 0);
		for (size_t n = 0; n < payload.n; n++)
			assert_int_equal(
				wire_decode(slice_of(payload.p, n), expect, &arena, &again, &e),
				-EBADMSG);
		buf_fini(&b);
	}
}

/* Whatever a bit makes of a frame, it is read or refused, never more. */
static void flipped_bits_do_no_harm(void **state)
{
	(void)state;
	for (int kind = WIRE_none + 1; kind < WIRE_error; kind++) {
		struct wire_message m, again;
		struct errbuf e;
		struct buf b;

		buf_init(&b, WIRE_MAX_FRAME);
		fill(&m, (enum wire_kind)kind);
		assert_int_equal(wire_encode(&m, &b), 0);
		for (size_t bit = 32; bit < b.n * 8; bit++) {
			int r;

			b.p[bit / 8] = (char)(b.p[bit / 8] ^ 1 << bit % 8);
			r = wire_decode(
				slice_of(b.p + 4, b.n - 4), WIRE_welcome, &arena, &again, &e);
			assert_true(r == 0 || r == -EBADMSG || r == -ENOSYS);
			b.p[bit / 8] = (char)(b.p[bit / 8] ^ 1 << bit % 8);
		}
		buf_fini(&b);
	}
}

static void answers(void **state)
{
	struct wire_message m = { .kind = WIRE_error, .id = 7 }, again;
	struct errbuf e;
	struct slice payload;
	struct buf b;

	(void)state;
	buf_init(&b, WIRE_MAX_FRAME);
	m.error.code = SLICE("gap");
	m.error.message = SLICE("Record 12 is missing.");
	assert_int_equal(wire_encode(&m, &b), 0);
	payload = slice_of(b.p + 4, b.n - 4);
	assert_int_equal(wire_decode(payload, WIRE_usage_done, &arena, &again, &e), 0);
	assert_int_equal(again.kind, WIRE_error);
	assert_int_equal(again.of, WIRE_usage_batch);
	assert_int_equal(again.id, 7);
	assert_true(slice_eq(again.error.code, m.error.code));
	assert_true(slice_eq(again.error.message, m.error.message));
	/* Nobody asked. */
	assert_int_equal(wire_decode(payload, WIRE_none, &arena, &again, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "nobody waits"));
	assert_int_equal(wire_decode(payload, WIRE_hello, &arena, &again, &e), -EBADMSG);
	buf_fini(&b);
}

#define BYTES(lit)                                                                                 \
	{                                                                                          \
		lit, sizeof(lit) - 1                                                               \
	}

static void hostile_frames(void **state)
{
	static const struct {
		struct slice payload;
		int want;
		const char *sentence;
	} cases[] = {
		{ BYTES(""), -EBADMSG, "cut off" },
		{ BYTES("\xdd\x0f\xff\xff\xff"), -EBADMSG,
			"announces 268435455 objects in 0 bytes" },
		{ BYTES("\xdd\xff\xff\xff\xff"), -EBADMSG, "announces 4294967295" },
		{ BYTES("\xdf\xff\xff\xff\xff"), -EBADMSG, "announces 8589934590" },
		{ BYTES("\xdc\xff\xff\xc0"), -EBADMSG, "announces 65535 objects in 1 bytes" },
		{ BYTES("\x93\x02\xa8keys.ack\xdf\x0f\xff\xff\xff"), -EBADMSG, "announces" },
		{ BYTES("\xc6\xff\xff\xff\xff"), -EBADMSG, "cut off" },
		{ BYTES("\xdb\x7f\xff\xff\xff"), -EBADMSG, "cut off" },
		{ BYTES("\xc9\xff\xff\xff\xff\x01"), -EBADMSG, "cut off" },
		{ BYTES("\xc1"), -EBADMSG, "broken" },
		{ BYTES("\x93\x02\xa8keys.ack"), -EBADMSG, "cut off" },
		{ BYTES("\x93\x02\xa8keys.ack\x80\x00"), -EBADMSG, "1 bytes too many" },
		{ BYTES("\x80"), -EBADMSG, "not a request" },
		{ BYTES("\x90"), -EBADMSG, "not a request" },
		{ BYTES("\xc0"), -EBADMSG, "not a request" },
		{ BYTES("\x93\x03\xa8keys.ack\x80"), -EBADMSG, "not a request" },
		{ BYTES("\x94\x02\xa8keys.ack\x80\x80"), -EBADMSG, "not a request" },
		{ BYTES("\x93\x00\xa5hello\x80"), -EBADMSG, "not a request" },
		{ BYTES("\x93\xff\xa8keys.ack\x80"), -EBADMSG, "not a request" },
		{ BYTES("\x94\x00\xa1x\xa5hello\x80"), -EBADMSG, "id is not a number" },
		{ BYTES("\x94\x00\xcf\0\0\0\1\0\0\0\0\xa5hello\x80"), -EBADMSG,
			"id is not a number" },
		{ BYTES("\x93\x02\x07\x80"), -EBADMSG, "method is not a text" },
		{ BYTES("\x93\x02\xa1\xff\x80"), -EBADMSG, "method is not a text" },
		{ BYTES("\x93\x02\xa8keys.ack\x90"), -EBADMSG,
			"keys_ack: its members are not a map" },
		{ BYTES("\x93\x02\xa8keys.ack\x81\xa3seq\xff"), -EBADMSG,
			"keys_ack: seq has a wrong type" },
		{ BYTES("\x93\x02\xa8keys.ack\x81\xa3seq\xa1x"), -EBADMSG, "keys_ack: seq has" },
		{ BYTES("\x93\x02\xa8keys.ack\x82\xa3seq\1\xa3seq\2"), -EBADMSG,
			"seq stands twice" },
		{ BYTES("\x93\x02\xa8keys.ack\x81\x01\x01"), -EBADMSG, "name is not a text" },
		{ BYTES("\x93\x02\xabkeys.change\x81\xa7records\x91\xa1x"), -EBADMSG,
			"records has" },
		{ BYTES("\x93\x02\xabkeys.change\x81\xa7records\xc4\0"), -EBADMSG, "records has" },
		{ BYTES("\x93\x02\xabsecrets.put\x81\xa4name\xa1\xff"), -EBADMSG, "name has" },
		{ BYTES("\x94\x01\x07\x01\xc0"), -EBADMSG, "members are not a map" },
		/* A peer of another version: unknown members and notifications are skipped. */
		{ BYTES("\x93\x02\xa8keys.ack\x80"), 0, NULL },
		{ BYTES("\x93\x02\xa8keys.ack\x82\xa3seq\5\xa3new\x91\x81\xa1k\xd4\1\2"), 0, NULL },
		{ BYTES("\x93\x02\xa8no.thing\xc0"), 0, NULL },
		{ BYTES("\x94\x00\x09\xa8no.thing\xc0"), -ENOSYS, "'no.thing' is not known here" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct wire_message m;
		struct errbuf e = { "" };
		int r = wire_decode(cases[i].payload, WIRE_welcome, &arena, &m, &e);

		if (r != cases[i].want || (cases[i].sentence && !strstr(e.text, cases[i].sentence)))
			fail_msg("case %zu: %d '%s', want '%s'", i, r, e.text, cases[i].sentence);
		if (r == -ENOSYS)
			assert_int_equal(m.id, 9);
	}
}

static void newer_notification_is_unknown(void **state)
{
	struct wire_message m;

	(void)state;
	assert_int_equal(
		wire_decode(SLICE("\x93\x02\xa8no.thing\xc0"), WIRE_none, &arena, &m, NULL), 0);
	assert_int_equal(m.kind, WIRE_unknown);
	assert_int_equal(
		wire_decode(SLICE("\x93\x02\xa8keys.ack\x80"), WIRE_none, &arena, &m, NULL), 0);
	assert_int_equal(m.kind, WIRE_keys_ack);
	assert_int_equal(m.keys_ack.seq, 0);
}

static void depth_and_number_of_objects(void **state)
{
	struct buf b;
	struct errbuf e;

	(void)state;
	buf_init(&b, WIRE_MAX_FRAME + 16);
	for (int i = 0; i < 16; i++)
		buf_char(&b, '\x91');
	buf_char(&b, '\xc0');
	assert_int_equal(wire_check(buf_view(&b), &e), 0);
	buf_reset(&b);
	for (int i = 0; i < 17; i++)
		buf_char(&b, '\x91');
	buf_char(&b, '\xc0');
	assert_int_equal(wire_check(buf_view(&b), &e), -EBADMSG);
	assert_non_null(strstr(e.text, "nested deeper than 16"));

	buf_reset(&b); /* 1 + 65535 objects, then one more */
	buf_append(&b, "\xdd\0\0\xff\xff", 5);
	for (int i = 0; i < 65535; i++)
		buf_char(&b, '\xc0');
	assert_int_equal(wire_check(buf_view(&b), &e), 0);
	buf_char(&b, '\xc0');
	memcpy(b.p, "\xdd\0\1\0\0", 5);
	assert_int_equal(wire_check(buf_view(&b), &e), -EBADMSG);
	assert_non_null(strstr(e.text, "more than 65536 objects"));

	buf_reset(&b); /* a text as long as the frame may be, and one byte more */
	buf_append(&b, "\xdb\0\x0f\xff\xfb", 5);
	while (b.n < WIRE_MAX_FRAME)
		buf_char(&b, 'x');
	assert_int_equal(wire_check(buf_view(&b), &e), 0);
	buf_char(&b, 'x');
	memcpy(b.p, "\xdb\0\x0f\xff\xfc", 5);
	assert_int_equal(wire_check(buf_view(&b), &e), -EBADMSG);
	assert_non_null(strstr(e.text, "larger than"));
	buf_fini(&b);
}

static void frame_lengths(void **state)
{
	static const struct {
		struct slice bytes;
		size_t max;
		ssize_t want;
	} cases[] = {
		{ BYTES(""), 100, 0 }, { BYTES("\0\0\0"), 100, 0 }, { BYTES("\0\0\0\3ab"), 100, 0 },
		{ BYTES("\0\0\0\3abc"), 100, 3 }, { BYTES("\0\0\0\3abcdef"), 100, 3 },
		{ BYTES("\0\0\0\0"), 100, -EMSGSIZE }, { BYTES("\0\0\0\x64"), 100, 0 },
		{ BYTES("\0\0\0\x65"), 100, -EMSGSIZE },
		{ BYTES("\xff\xff\xff\xff"), WIRE_MAX_FRAME, -EMSGSIZE },
		{ BYTES("GET "), WIRE_MAX_FRAME, -EMSGSIZE }, /* someone speaks HTTP to us */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(wire_frame(cases[i].bytes.p, cases[i].bytes.n, cases[i].max),
			cases[i].want);
}

static void too_large_to_send(void **state)
{
	static char large[WIRE_MAX_FRAME];
	struct slice *many = calloc(65536, sizeof(*many));
	struct wire_message m = { .kind = WIRE_policy_part };
	struct buf b;

	(void)state;
	assert_non_null(many);
	buf_init(&b, 4u << 20);
	buf_str(&b, "before");
	m.policy_part.bytes = slice_of(large, sizeof(large));
	assert_int_equal(wire_encode(&m, &b), -EMSGSIZE);
	assert_int_equal(b.n, 6);
	m.policy_part.bytes = slice_of(large, WIRE_MAX_PART);
	assert_int_equal(wire_encode(&m, &b), 0);

	buf_reset(&b); /* more objects than the receiver takes */
	m = (struct wire_message){ .kind = WIRE_keys_change };
	m.keys_change.records = (struct wire_bins){ many, 65001 };
	assert_int_equal(wire_encode(&m, &b), -EMSGSIZE);
	m.keys_change.records.n = 65000;
	assert_int_equal(wire_encode(&m, &b), 0);
	assert_int_equal(wire_check(slice_of(b.p + 4, b.n - 4), NULL), 0);

	buf_fini(&b);
	buf_init(&b, 100);
	assert_int_equal(wire_encode(&m, &b), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
	free(many);
}

static void arena_limit_is_an_error(void **state)
{
	struct wire_message m, again;
	struct arena small;
	struct errbuf e;
	struct buf b;

	(void)state;
	buf_init(&b, WIRE_MAX_FRAME);
	fill(&m, WIRE_keys_change);
	m.keys_change.records = (struct wire_bins){ list_items, 3 };
	assert_int_equal(wire_encode(&m, &b), 0);
	arena_init(&small, 64, 0);
	assert_int_equal(
		wire_decode(slice_of(b.p + 4, b.n - 4), WIRE_none, &small, &again, &e), -ENOMEM);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_message_there_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(flipped_bits_do_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(answers, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(newer_notification_is_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(depth_and_number_of_objects, setup, teardown),
		cmocka_unit_test_setup_teardown(frame_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(too_large_to_send, setup, teardown),
		cmocka_unit_test_setup_teardown(arena_limit_is_an_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
