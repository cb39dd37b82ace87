/* Usage records and key records: decoded, encoded, decoded again they say the same. The first byte
 * chooses; the checksum of a usage record is put right, or nothing would come past it. */
#include "fuzz.h"

#include <aigw/crc.h>
#include <aigw/json_scan.h>
#include <aigw/usage.h>
#include <aigw/vkey.h>

static void usage(struct slice s)
{
	struct usage_record r, again;
	struct errbuf why = { "" };
	struct buf x, y, json;

	if (usage_decode(s, &r, &why)) {
		ASSERT(why.text[0]);
		return;
	}
	buf_init(&x, 1u << 20);
	buf_init(&y, 1u << 20);
	buf_init(&json, 1u << 20);
	ASSERT(usage_to_json(&r, &json) == 0 &&
		jscan_object(buf_view(&json), NULL, NULL, NULL) == 0);
	if (usage_encode(&r, &x) == 0) {
		ASSERT(usage_decode(buf_view(&x), &again, &why) == 0 &&
			usage_encode(&again, &y) == 0);
		ASSERT(slice_eq(buf_view(&x), buf_view(&y)));
	}
	buf_fini(&x);
	buf_fini(&y);
	buf_fini(&json);
}

static void key(struct slice s)
{
	struct key_record k, again;
	struct buf x, y;

	if (key_record_unpack(s, &k))
		return;
	ASSERT(lies_in(k.name, s) && lies_in(k.project, s));
	buf_init(&x, 1u << 20);
	buf_init(&y, 1u << 20);
	if (key_record_pack(&k, &x) == 0) {
		ASSERT(key_record_unpack(buf_view(&x), &again) == 0 &&
			key_record_pack(&again, &y) == 0);
		ASSERT(slice_eq(buf_view(&x), buf_view(&y)));
	}
	buf_fini(&x);
	buf_fini(&y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s;
	struct buf b;
	uint32_t crc;

	if (size < 1)
		return 0;
	s = slice_of((const char *)data + 1, size - 1);
	if (data[0] & 1) {
		key(s);
		return 0;
	}
	usage(s);
	crc = __builtin_bswap32(crc32c(0, s.p, s.n));
	buf_init(&b, 1u << 20);
	(void)buf_slice(&b, s);
	(void)buf_append(&b, &crc, sizeof(crc));
	if (!b.err)
		usage(buf_view(&b));
	buf_fini(&b);
	return 0;
}
