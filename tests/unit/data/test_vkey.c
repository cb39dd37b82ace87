/* Virtual keys: `sk-aigw-<12 public>-<40 secret><6 checksum>`, and the record that is stored of
 * one. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/text.h>
#include <aigw/vkey.h>

/* Worked out apart from the code, with Python's zlib and hashlib. */
#define KNOWN_KEY      "sk-aigw-0123456789AB-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN4OkYvX"
#define KNOWN_VERIFIER "9e170b470244177e1ebaf1238b5bf9f149a7747d1d9dc2b89f5eff61118cf73a"

static void form_of_a_known_key(void **state)
{
	uint8_t want[32];
	struct vkey k;

	(void)state;
	assert_int_equal(vkey_parse(SLICE(KNOWN_KEY), &k), 0);
	assert_memory_equal(k.id, "key_0123456789AB", VKEY_ID_LEN);
	assert_int_equal(text_unhex(SLICE(KNOWN_VERIFIER), want, sizeof(want)), 0);
	assert_memory_equal(k.verifier, want, sizeof(want));
}

static void created_keys_parse_and_differ(void **state)
{
	char text[VKEY_TEXT_LEN + 1], before[VKEY_TEXT_LEN + 1] = "";
	struct vkey made, parsed;

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(vkey_create(text, &made), 0);
		assert_int_equal(strlen(text), VKEY_TEXT_LEN);
		assert_true(vkey_has_prefix(slice_str(text)));
		assert_int_equal(vkey_parse(slice_str(text), &parsed), 0);
		assert_memory_equal(&made, &parsed, sizeof(made));
		assert_string_not_equal(text, before);
		memcpy(before, text, sizeof(text));
	}
}

static void one_wrong_bit_is_noticed(void **state)
{
	char text[VKEY_TEXT_LEN + 1];
	struct vkey k;

	(void)state;
	for (int bit = 0; bit < VKEY_TEXT_LEN * 8; bit++) {
		int r;

		memcpy(text, KNOWN_KEY, sizeof(text));
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		r = vkey_parse(slice_of(text, VKEY_TEXT_LEN), &k);
		assert_true(r == -EINVAL || r == -EBADMSG);
		/* Still base62, so of the form: then it is a typo. */
		if (bit / 8 >= 21)
			assert_int_equal(r,
				text_is_base62(slice_of(&text[bit / 8], 1)) ? -EBADMSG : -EINVAL);
	}
}

static void other_forms(void **state)
{
	static const struct {
		const char *text;
		int want;
		bool prefix;
	} cases[] = {
		{ "", -EINVAL, false },
		{ "sk-aigw", -EINVAL, false },
		{ "sk-aigw-", -EINVAL, true },
		{ "sk-proj-0123456789AB", -EINVAL, false },
		{ "SK-AIGW-0123456789AB", -EINVAL, false },
		{ "sk-aigw-0123456789AB-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN00000", -EINVAL,
			true },
		{ "sk-aigw-0123456789AB-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN0000000", -EINVAL,
			true },
		{ "sk-aigw-0123456789AB-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN000000", -EBADMSG,
			true },
		{ "sk-aigw-0123456789ABxabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN000000", -EINVAL,
			true },
		{ "sk-aigw-0123456789A_-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN000000", -EINVAL,
			true },
		/* Two neighbours changed places: the commonest typo. */
		{ "sk-aigw-1023456789AB-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN4OkYvX", -EBADMSG,
			true },
	};
	struct vkey k;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(vkey_parse(slice_str(cases[i].text), &k), cases[i].want);
		assert_int_equal(vkey_has_prefix(slice_str(cases[i].text)), cases[i].prefix);
	}
}

static struct key_record sample(void)
{
	struct key_record k = { .state = KEY_REVOKED,
		.project = SLICE("search"),
		.name = SLICE("ci \xc3\xa4"),
		.created_us = 1700000000000000,
		.expires_us = 1800000000000000,
		.revoked_us = 1750000000000000,
		.require_tags = SLICE("eu,baa") };

	memcpy(k.id, "key_0123456789AB", VKEY_ID_LEN);
	memset(k.verifier, 0xa5, sizeof(k.verifier));
	return k;
}

static void record_round_trip(void **state)
{
	struct key_record k = sample(), again;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(key_record_pack(&k, &b), 0);
	assert_int_equal(key_record_unpack(buf_view(&b), &again), 0);
	assert_memory_equal(again.id, k.id, sizeof(k.id));
	assert_memory_equal(again.verifier, k.verifier, sizeof(k.verifier));
	assert_int_equal(again.state, k.state);
	assert_true(slice_eq(again.project, k.project));
	assert_true(slice_eq(again.name, k.name));
	assert_true(slice_eq(again.require_tags, k.require_tags));
	assert_int_equal(b.p[0], 2); /* who knows only version 1 refuses it */
	assert_int_equal(again.created_us, k.created_us);
	assert_int_equal(again.expires_us, k.expires_us);
	assert_int_equal(again.revoked_us, k.revoked_us);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(key_record_unpack(slice_of(b.p, n), &again), -EBADMSG);
	buf_char(&b, '\0');
	assert_int_equal(key_record_unpack(buf_view(&b), &again), -EBADMSG);
	buf_reset(&b);
	b.max = 40;
	assert_int_equal(key_record_pack(&k, &b), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

#define BYTES(lit)                                                                                 \
	{                                                                                          \
		lit, sizeof(lit) - 1                                                               \
	}
#define HEAD "\x01"
#define ID   "\x01\xb0key_0123456789AB"
#define VERIFIER                                                                                   \
	"\x02\xc4\x20"                                                                             \
	"0123456789abcdef0123456789abcdef"
#define STATE   "\x03\x01"
#define PROJECT "\x04\xa1p"

static void records_by_hand(void **state)
{
	static const struct {
		struct slice bytes;
		int want;
	} cases[] = {
		{ BYTES(HEAD "\x84" ID VERIFIER STATE PROJECT), 0 },
		/* A tag of a newer writer, with a nested value, is skipped. */
		{ BYTES(HEAD "\x85" ID VERIFIER STATE PROJECT "\x63\x92\x01\x02"), 0 },
		/* The version that may restrict, and the next, which may do so in ways not known.
		 */
		{ BYTES("\x02\x85" ID VERIFIER STATE PROJECT "\x09\xa2"
			"eu"),
			0 },
		{ BYTES("\x03\x84" ID VERIFIER STATE PROJECT), -EBADMSG },
		{ BYTES(HEAD "\x83" ID VERIFIER STATE), -EBADMSG },               /* no project */
		{ BYTES(HEAD "\x85" ID VERIFIER STATE PROJECT STATE), -EBADMSG }, /* twice */
		{ BYTES(HEAD "\x84" ID VERIFIER "\x03\x04" PROJECT), -EBADMSG },  /* state */
		{ BYTES(HEAD "\x84"
			     "\x01\xb0kez_0123456789AB" VERIFIER STATE PROJECT),
			-EBADMSG },
		{ BYTES(HEAD "\x84"
			     "\x01\xb0key_0123456789A-" VERIFIER STATE PROJECT),
			-EBADMSG },
		{ BYTES(HEAD "\x84" ID VERIFIER STATE "\x04\xa1\xff"), -EBADMSG }, /* not UTF-8 */
		{ BYTES(HEAD "\xdd\x0f\xff\xff\xff"), -EBADMSG },
		{ BYTES(HEAD "\xdf\x0f\xff\xff\xff"), -EBADMSG },
		{ BYTES(HEAD "\x90"), -EBADMSG },
	};
	struct key_record k;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(key_record_unpack(cases[i].bytes, &k), cases[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(form_of_a_known_key),
		cmocka_unit_test(created_keys_parse_and_differ),
		cmocka_unit_test(one_wrong_bit_is_noticed),
		cmocka_unit_test(other_forms),
		cmocka_unit_test(record_round_trip),
		cmocka_unit_test(records_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
