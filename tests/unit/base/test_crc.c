/* Known checksums, and the two implementations of one of them against each other. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/crc.h>

static void test_known(void **state)
{
	/* RFC 3720, B.4, and the usual check value. */
	unsigned char zeros[32] = { 0 }, ones[32], rising[32], falling[32];

	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		ones[i] = 0xff;
		rising[i] = (unsigned char)i;
		falling[i] = (unsigned char)(31 - i);
	}
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(crc32c(0, rising, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, falling, 32), 0x113fdb5c);
	assert_int_equal(crc32c(0, NULL, 0), 0);
	assert_int_equal(crc32_ieee("123456789", 9), 0xcbf43926);
	assert_int_equal(crc32_ieee("The quick brown fox jumps over the lazy dog", 43), 0x414fa339);
	assert_int_equal(crc32_ieee(NULL, 0), 0);
}

/* Bit by bit, by the definition. */
static uint32_t crc32c_slow(const unsigned char *p, size_t n)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static void test_any_length_and_cut(void **state)
{
	unsigned char bytes[100];

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 37 + 11);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		uint32_t whole = crc32c_slow(bytes, n);

		for (size_t cut = 0; cut <= n; cut++)
			assert_int_equal(
				crc32c(crc32c(0, bytes, cut), bytes + cut, n - cut), whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_any_length_and_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
