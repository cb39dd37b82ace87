/* The usage record: what was written is read again, what was damaged is noticed, what a newer
 * writer added is skipped. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/crc.h>
#include <aigw/json.h>
#include <aigw/usage.h>
#include <msgpack.h>

#define OP_ID "\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10"

/* Every field set to something of its own. */
static struct usage_record full(void)
{
	static char texts[64][128];
	struct usage_record r = { 0 };

#define USAGE_INT(tag, name, unit, doc) r.name = INT64_C(1000000007) * tag;
#define USAGE_STR(tag, name, max, doc)                                                             \
	memset(texts[tag], 'a' + tag % 26, max);                                                   \
	r.name = slice_of(texts[tag], max);
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
	return r;
}

static void check_same(const struct usage_record *a, const struct usage_record *b)
{
#define USAGE_INT(tag, name, unit, doc) assert_true(a->name == b->name);
#define USAGE_STR(tag, name, max, doc)  assert_true(slice_eq(a->name, b->name));
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
}

static void check_round_trip(const struct usage_record *r)
{
	struct usage_record again;
	struct errbuf e;
	struct buf b;

	buf_init(&b, 8192);
	buf_str(&b, "before");
	assert_int_equal(usage_encode(r, &b), 0);
	assert_true(b.n - 6 <= USAGE_RECORD_MAX_BYTES);
	assert_int_equal(usage_decode(slice_of(b.p + 6, b.n - 6), &again, &e), 0);
	check_same(r, &again);
	buf_fini(&b);
}

/* The record's bytes are msgpack-c's, whatever wrote them: every length that a number or text may
 * take. */
static void check_bytes(int64_t number, size_t text_n)
{
	static const char text[128] = "text";
	struct usage_record r = { .start_us = number, .model = slice_of(text, text_n) };
	msgpack_sbuffer expected;
	msgpack_packer pk;
	struct buf b;

	msgpack_sbuffer_init(&expected);
	msgpack_packer_init(&pk, &expected, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, (number != 0) + (text_n != 0));
	if (number) {
		msgpack_pack_int(&pk, 3);
		msgpack_pack_int64(&pk, number);
	}
	if (text_n) {
		msgpack_pack_int(&pk, 12);
		msgpack_pack_str(&pk, text_n);
		msgpack_pack_str_body(&pk, text, text_n);
	}
	buf_init(&b, 8192);
	assert_int_equal(usage_encode(&r, &b), 0);
	assert_int_equal(b.n, 1 + expected.size + 4);
	assert_memory_equal(b.p + 1, expected.data, expected.size);
	buf_fini(&b);
	msgpack_sbuffer_destroy(&expected);
}

static void is_msgpack(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int64_t near = -1; near <= 1; near++) {
			check_bytes((int64_t)((UINT64_C(1) << bit) + (uint64_t)near), 4);
			check_bytes((int64_t)(0 - (UINT64_C(1) << bit) + (uint64_t)near), 4);
		}
	}
	for (size_t n = 0; n <= 127; n++)
		check_bytes(1, n);
}

static void round_trips(void **state)
{
	struct usage_record r = full();

	(void)state;
	check_round_trip(&r);
#define USAGE_INT(tag, name, unit, doc)                                                            \
	r.name = INT64_MIN;                                                                        \
	check_round_trip(&r);                                                                      \
	r.name = INT64_MAX;                                                                        \
	check_round_trip(&r);                                                                      \
	r.name = -1;                                                                               \
	check_round_trip(&r);                                                                      \
	r.name = 0;
#define USAGE_STR(tag, name, max, doc)                                                             \
	r.name = SLICE_EMPTY;                                                                      \
	check_round_trip(&r);
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
	/* Now all is zero or empty: version, empty map, checksum. */
	{
		struct buf b;

		buf_init(&b, 64);
		assert_int_equal(usage_encode(&r, &b), 0);
		assert_int_equal(b.n, 6);
		assert_memory_equal(b.p, "\x01\x80", 2);
		buf_fini(&b);
	}
}

static void too_long_or_no_room(void **state)
{
	struct usage_record r = full();
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(usage_encode(&r, &b), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
	buf_init(&b, 4096);
	r.model = slice_of("................................................................"
			   "................................................................",
		128);
	assert_int_equal(usage_encode(&r, &b), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct usage_record r = full(), again;
	struct errbuf e;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(usage_encode(&r, &b), 0);
	for (size_t bit = 0; bit < b.n * 8; bit++) {
		b.p[bit / 8] = (char)(b.p[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(usage_decode(buf_view(&b), &again, &e), -EBADMSG);
		b.p[bit / 8] = (char)(b.p[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(usage_decode(slice_of(b.p, n), &again, &e), -EBADMSG);
	buf_fini(&b);
}

/* Given: version and map; the checksum is put behind. */
static int decode_by_hand(struct slice bytes, struct usage_record *ret, struct errbuf *e)
{
	uint32_t crc = crc32c(0, bytes.p, bytes.n);
	char *copy = malloc(bytes.n + 4);
	int r;

	assert_non_null(copy);
	memcpy(copy, bytes.p, bytes.n);
	for (int i = 0; i < 4; i++)
		copy[bytes.n + (size_t)i] = (char)(crc >> (24 - 8 * i));
	r = usage_decode(slice_of(copy, bytes.n + 4), ret, e);
	free(copy);
	return r;
}

#define BYTES(lit)                                                                                 \
	{                                                                                          \
		lit, sizeof(lit) - 1                                                               \
	}

static void foreign_records(void **state)
{
	static const struct {
		struct slice bytes;
		int want;
		const char *sentence;
	} cases[] = {
		{ BYTES("\x01\x80"), 0, NULL },
		{ BYTES("\x01\x81\x15\x2a"), 0, NULL },
		{ BYTES("\x01\x82\x15\x2a\xcd\x03\xe8\xa3new"), 0, NULL }, /* tag 1000 */
		{ BYTES("\x01\x82\x15\x2a\x3f\x92\x01\xc3"), 0, NULL },    /* tag 63, a list */
		{ BYTES("\x02\x80"), -EBADMSG, "version 2 is not known" },
		{ BYTES("\x01\x82\x15\x01\x15\x02"), -EBADMSG, "input_tokens stands twice" },
		{ BYTES("\x01\x81\x15\xa1x"), -EBADMSG, "input_tokens has a wrong type" },
		{ BYTES("\x01\x81\x15\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), -EBADMSG,
			"input_tokens" },
		{ BYTES("\x01\x81\x06\x05"), -EBADMSG, "customer has a wrong type" },
		{ BYTES("\x01\x81\x01\xc4\x03"
			"abc"),
			-EBADMSG, "op_id has a wrong type or length" },
		{ BYTES("\x01\x81\x08\xb1"
			"key_0123456789ABC"),
			-EBADMSG, "key_id" },
		{ BYTES("\x01\x81\xa1x\x01"), -EBADMSG, "a tag is not a number" },
		{ BYTES("\x01\x81\xff\x01"), -EBADMSG, "a tag is not a number" },
		{ BYTES("\x01\x91\x01"), -EBADMSG, "not a map" },
		{ BYTES("\x01\xdd\x0f\xff\xff\xff"), -EBADMSG, "announces" },
		{ BYTES("\x01\xdf\x0f\xff\xff\xff"), -EBADMSG, "announces" },
		{ BYTES("\x01\x81\x3f\x91\x91\x91\x91\x01"), -EBADMSG, "nested deeper" },
		{ BYTES("\x01\x80\x80"), -EBADMSG, "1 bytes too many" },
		{ BYTES("\x01\x81\x15"), -EBADMSG, "announces 2 objects in 1 bytes" },
	};
	struct usage_record r;
	struct errbuf e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(decode_by_hand(cases[i].bytes, &r, &e), cases[i].want);
		if (cases[i].sentence && !strstr(e.text, cases[i].sentence))
			fail_msg("want '%s' in '%s'", cases[i].sentence, e.text);
		if (cases[i].want == 0)
			assert_int_equal(r.input_tokens, cases[i].bytes.n > 2 ? 42 : 0);
	}
	{
		char large[USAGE_RECORD_MAX_BYTES + 1] = { 1 };

		assert_int_equal(usage_decode(slice_of(large, sizeof(large)), &r, &e), -EBADMSG);
	}
}

static json_t *json_of(const struct usage_record *r)
{
	struct errbuf e = { "" };
	struct buf b;
	json_t *v;

	buf_init(&b, 65536);
	assert_int_equal(usage_to_json(r, &b), 0);
	v = json_parse(buf_view(&b), &e);
	if (!v)
		fail_msg("%s in %s", e.text, buf_cstr(&b));
	buf_fini(&b);
	return v;
}

static void json_for_people(void **state)
{
	struct usage_record r = {
		.op_id = slice_of(OP_ID, 16),
		.start_us = 1795397211000042,
		.uid = 1,
		.project = SLICE("se\"arch"),
		.endpoint = ENDPOINT_chat,
		.stream = 1,
		.status = 200,
		.outcome = USAGE_CLIENT_GONE,
		.priced = 1,
		.cost_nano = 799000,
		.charge_nano = -1,
		.input_tokens = 12,
		.upstream_request_id = SLICE("\xff"),
		.dialect = 1,
	};
	json_t *v = json_of(&r);

	(void)state;
	assert_string_equal(json_get_str(v, "request_id", ""), "req_014d2pf2dbsqqzxq5tk1v58cgg");
	assert_string_equal(json_get_str(v, "start_time", ""), "2026-11-23T01:26:51.000042Z");
	assert_string_equal(json_get_str(v, "project", ""), "se\"arch");
	assert_string_equal(json_get_str(v, "kind", ""), "call");
	assert_string_equal(json_get_str(v, "endpoint", ""), "chat");
	assert_string_equal(json_get_str(v, "outcome", ""), "client_gone");
	assert_string_equal(json_get_str(v, "dialect", ""), "openai");
	assert_string_equal(json_get_str(v, "cost", ""), "0.000799000");
	assert_string_equal(json_get_str(v, "charge", ""), "-0.000000001");
	assert_string_equal(json_get_str(v, "reserved", ""), "0.000000000");
	assert_string_equal(json_get_str(v, "upstream_request_id", ""), "\xef\xbf\xbd");
	assert_true(json_is_true(json_object_get(v, "stream")));
	assert_true(json_is_false(json_object_get(v, "estimated")));
	assert_int_equal(json_integer_value(json_object_get(v, "uid")), 0);
	assert_int_equal(json_get_int(v, "input_tokens", -1), 12);
	json_decref(v);

	/* No caller's uid, no price: null, which is not 0. */
	r = (struct usage_record){ .outcome = 99, .endpoint = -1 };
	v = json_of(&r);
	assert_true(json_is_null(json_object_get(v, "uid")));
	assert_true(json_is_null(json_object_get(v, "cost")));
	assert_true(json_is_null(json_object_get(v, "charge")));
	assert_true(json_is_null(json_object_get(v, "request_id")));
	assert_string_equal(json_get_str(v, "reserved", ""), "0.000000000");
	assert_string_equal(json_get_str(v, "outcome", ""), "other");
	assert_string_equal(json_get_str(v, "endpoint", ""), "other");
	json_decref(v);
}

static void request_ids(void **state)
{
	static const struct {
		const char *text;
		int want;
	} cases[] = {
		{ "req_014d2pf2dbsqqzxq5tk1v58cgg", 0 },
		{ "req_014D2PF2DBSQQZXQ5TK1V58CGG", 0 },
		{ "req_ol4d2pf2dbsqqzxq5tkiv58cgg", 0 }, /* o for 0, l and i for 1 */
		{ "req_014d2pf2dbsqqzxq5tk1v58cg", -EINVAL },
		{ "req_014d2pf2dbsqqzxq5tk1v58cggg", -EINVAL },
		{ "req_814d2pf2dbsqqzxq5tk1v58cgg", -EINVAL }, /* more than 128 bits */
		{ "req_014d2pf2dbsqqzxq5tk1v58cgu", -EINVAL }, /* no u in this alphabet */
		{ "xyz_014d2pf2dbsqqzxq5tk1v58cgg", -EINVAL },
		{ "", -EINVAL },
	};
	char text[REQUEST_ID_LEN + 1];
	uint8_t id[16];

	(void)state;
	request_id_format((const uint8_t *)OP_ID, text);
	assert_string_equal(text, cases[0].text);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		memset(id, 0, sizeof(id));
		assert_int_equal(request_id_parse(slice_str(cases[i].text), id), cases[i].want);
		if (cases[i].want == 0)
			assert_memory_equal(id, OP_ID, 16);
	}
	for (int bit = 0; bit < 128; bit++) {
		uint8_t one[16] = { 0 };

		one[bit / 8] = (uint8_t)(1 << bit % 8);
		request_id_format(one, text);
		assert_int_equal(strlen(text), REQUEST_ID_LEN);
		assert_int_equal(request_id_parse(slice_str(text), id), 0);
		assert_memory_equal(id, one, 16);
	}
}

/* SHA-256(32 zero bytes ‖ "one"), then SHA-256(that ‖ "two"): worked out with Python's hashlib. */
static void chain(void **state)
{
	static const uint8_t want[2][32] = { {
						     0x4e,
						     0x23,
						     0x3b,
						     0xa6,
						     0xac,
						     0x70,
						     0x32,
						     0xd3,
						     0x89,
						     0x4e,
						     0xce,
						     0xa5,
						     0x97,
						     0x4f,
						     0xd9,
						     0x61,
						     0x76,
						     0xe5,
						     0x64,
						     0xb0,
						     0x24,
						     0xaf,
						     0x45,
						     0x74,
						     0x7e,
						     0xb4,
						     0x63,
						     0x57,
						     0xaf,
						     0x8d,
						     0x24,
						     0x01,
					     },
		{
			0xb9,
			0xf0,
			0xcc,
			0x52,
			0x7d,
			0x38,
			0xea,
			0x48,
			0xd8,
			0x3c,
			0x4c,
			0x43,
			0x81,
			0x21,
			0x18,
			0x1a,
			0xb0,
			0x1d,
			0x99,
			0xe8,
			0x34,
			0x15,
			0x30,
			0x6b,
			0xe2,
			0xac,
			0x88,
			0x79,
			0x2c,
			0x40,
			0xa8,
			0xf3,
		} };
	uint8_t hash[32] = { 0 };

	(void)state;
	usage_chain_next(hash, SLICE("one"));
	assert_memory_equal(hash, want[0], 32);
	usage_chain_next(hash, SLICE("two"));
	assert_memory_equal(hash, want[1], 32);
	usage_chain_next(hash, SLICE_EMPTY);
	assert_memory_not_equal(hash, want[1], 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(is_msgpack),
		cmocka_unit_test(too_long_or_no_room),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(foreign_records),
		cmocka_unit_test(json_for_people),
		cmocka_unit_test(request_ids),
		cmocka_unit_test(chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
