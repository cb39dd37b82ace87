/* A record: version byte, msgpack map {tag: value}, CRC-32C of all before it (big-endian). The
 * operation id is bin, every other text str; zero and empty values are left out. */
#include <endian.h>

#include <aigw/crc.h>

#include "mp.h"
#include "usage_rows.h"

#define USAGE_VERSION     1
#define USAGE_CRC_BYTES   4
#define USAGE_TAG_OP_ID   1
#define USAGE_OP_ID_BYTES 16
/* A newer writer may nest and may have more fields; not without end. */
#define USAGE_MAX_DEPTH 4
#define USAGE_MAX_ITEMS 512

const struct usage_row usage_rows[USAGE_ROWS] = {
#define USAGE_INT(tag, name, unit, doc)                                                            \
	{ #name, unit, offsetof(struct usage_record, name), 0, tag },
#define USAGE_STR(tag, name, max, doc)                                                             \
	{ #name, NULL, offsetof(struct usage_record, name), max, tag },
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
};

/* Tags are never used twice (an enum constant per tag would be defined twice), and fit the bit set
 * of the decoder. */
#define USAGE_INT(tag, name, unit, doc) USAGE_TAG_##tag = 1,
#define USAGE_STR(tag, name, max, doc)  USAGE_TAG_##tag = 1,
enum {
#include <aigw/tbl/usage_fields.h>
};
#undef USAGE_INT
#undef USAGE_STR
#define USAGE_INT(tag, name, unit, doc) _Static_assert(tag > 0 && tag < 64, "tag of " #name);
#define USAGE_STR(tag, name, max, doc)  _Static_assert(tag > 0 && tag < 64, "tag of " #name);
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR

/* The largest record: the version, a map of up to 65,535, every field at its longest, the checksum.
 */
#define USAGE_MAP_BYTES                 3
#define USAGE_INT(tag, name, unit, doc) +1 + 9
#define USAGE_STR(tag, name, max, doc)  +1 + 2 + (max)
enum {
	USAGE_FULL_BYTES = 1 + USAGE_MAP_BYTES + USAGE_CRC_BYTES
#include <aigw/tbl/usage_fields.h>
};
#undef USAGE_INT
#undef USAGE_STR
_Static_assert(USAGE_FULL_BYTES <= USAGE_RECORD_MAX_BYTES, "a full usage record fits");
_Static_assert(USAGE_ROWS <= UINT16_MAX, "a map of 16 bits");
#define USAGE_INT(tag, name, unit, doc)
#define USAGE_STR(tag, name, max, doc) _Static_assert((max) <= UINT8_MAX, "length of " #name);
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR

static uint8_t *put_be(uint8_t *at, uint64_t v, unsigned n)
{
	for (unsigned i = n; i-- > 0; v >>= 8)
		at[i] = (uint8_t)v;
	return at + n;
}

static uint8_t *put_negative(uint8_t *at, int64_t v)
{
	if (v >= -32)
		return put_be(at, (uint64_t)v, 1);
	*at++ = v >= INT8_MIN ? 0xd0 : v >= INT16_MIN ? 0xd1 : v >= INT32_MIN ? 0xd2 : 0xd3;
	return put_be(at, (uint64_t)v, 1u << (at[-1] - 0xd0));
}

/* As short as msgpack allows. Up to eight bytes behind what is returned are written, too. */
static inline uint8_t *put_int(uint8_t *at, int64_t v)
{
	unsigned log2; /* of the number's bytes */
	uint64_t be;

	if (LIKELY((uint64_t)v < 128)) {
		*at = (uint8_t)v;
		return at + 1;
	}
	if (UNLIKELY(v < 0))
		return put_negative(at, v);
	log2 = (v > UINT8_MAX) + (v > UINT16_MAX) + (v > UINT32_MAX);
	be = htobe64((uint64_t)v << (64 - (8u << log2)));
	*at = (uint8_t)(0xcc + log2);
	memcpy(at + 1, &be, sizeof(be));
	return at + 1 + (1u << log2);
}

static inline uint8_t *put_text(uint8_t *at, uint8_t tag, struct slice s)
{
	if (tag == USAGE_TAG_OP_ID || s.n >= 32) {
		*at++ = tag == USAGE_TAG_OP_ID ? 0xc4 : 0xd9;
		*at++ = (uint8_t)s.n;
	} else {
		*at++ = (uint8_t)(0xa0 | s.n);
	}
	bytes_copy(at, s.p, s.n);
	return at + s.n;
}

/* The fields that are set, each behind its tag. NULL: a text is too long. */
static uint8_t *put_fields(uint8_t *at, const struct usage_record *r, size_t *ret_n)
{
	size_t n = 0;

#define USAGE_INT(tag, name, unit, doc)                                                            \
	if (r->name) {                                                                             \
		*at++ = tag;                                                                       \
		at = put_int(at, r->name);                                                         \
		n++;                                                                               \
	}
#define USAGE_STR(tag, name, max, doc)                                                             \
	if (r->name.n) {                                                                           \
		if (r->name.n > (max))                                                             \
			return NULL;                                                               \
		*at++ = tag;                                                                       \
		at = put_text(at, tag, r->name);                                                   \
		n++;                                                                               \
	}
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
	*ret_n = n;
	return at;
}

int usage_encode(const struct usage_record *r, struct buf *b)
{
	uint8_t bytes[USAGE_FULL_BYTES + sizeof(uint64_t)], *begin = bytes, *end;
	size_t n;

	end = put_fields(bytes + 1 + USAGE_MAP_BYTES, r, &n);
	if (!end)
		return -ENOBUFS;
	/* The map's head stands right before the fields. */
	if (n < 16) {
		begin += USAGE_MAP_BYTES - 1;
		begin[1] = (uint8_t)(0x80 | n);
	} else {
		begin[1] = 0xde;
		put_be(begin + 2, n, 2);
	}
	begin[0] = USAGE_VERSION;
	end = put_be(end, crc32c(0, begin, (size_t)(end - begin)), USAGE_CRC_BYTES);
	return buf_append(b, begin, (size_t)(end - begin));
}

static const struct usage_row *usage_row_by_tag(uint64_t tag)
{
	if (tag > 0 && tag <= USAGE_ROWS && usage_rows[tag - 1].tag == tag)
		return &usage_rows[tag - 1];
	for (size_t i = 0; i < USAGE_ROWS; i++) {
		if (usage_rows[i].tag == tag)
			return &usage_rows[i];
	}
	return NULL;
}

static bool usage_take_value(
	const struct usage_row *row, const msgpack_object *o, struct usage_record *ret)
{
	char *at = (char *)ret + row->offset;
	struct slice s;
	int64_t v;

	if (row->unit) {
		if (!mp_is_i64(o, &v))
			return false;
		memcpy(at, &v, sizeof(v));
		return true;
	}
	if (row->tag == USAGE_TAG_OP_ID ? !mp_is_bin(o, &s) || s.n != USAGE_OP_ID_BYTES
					: !mp_is_str(o, &s) || s.n > row->max)
		return false;
	memcpy(at, &s, sizeof(s));
	return true;
}

static int usage_decode_map(const msgpack_object *o, struct usage_record *ret, struct errbuf *e)
{
	struct usage_record r = { 0 };
	uint64_t seen = 0;

	if (o->type != MSGPACK_OBJECT_MAP)
		return err_set(e, -EBADMSG, "usage record: not a map");
	for (uint32_t i = 0; i < o->via.map.size; i++) {
		const msgpack_object_kv *kv = &o->via.map.ptr[i];
		const struct usage_row *row;
		uint64_t tag;

		if (!mp_is_u64(&kv->key, &tag))
			return err_set(e, -EBADMSG, "usage record: a tag is not a number");
		row = usage_row_by_tag(tag);
		if (!row)
			continue; /* of a newer writer; whoever stores the record keeps its bytes */
		if (seen & UINT64_C(1) << tag)
			return err_set(e, -EBADMSG, "usage record: %s stands twice", row->name);
		seen |= UINT64_C(1) << tag;
		if (!usage_take_value(row, &kv->val, &r))
			return err_set(e, -EBADMSG, "usage record: %s has a wrong type or length",
				row->name);
	}
	*ret = r;
	return 0;
}

int usage_decode(struct slice bytes, struct usage_record *ret, struct errbuf *e)
{
	struct slice map;
	msgpack_unpacked u;
	uint32_t crc = 0;
	int r;

	if (bytes.n < 2 + USAGE_CRC_BYTES || bytes.n > USAGE_RECORD_MAX_BYTES)
		return err_set(
			e, -EBADMSG, "usage record: %zu bytes is no record's length", bytes.n);
	for (size_t i = bytes.n - USAGE_CRC_BYTES; i < bytes.n; i++)
		crc = crc << 8 | (unsigned char)bytes.p[i];
	if (crc != crc32c(0, bytes.p, bytes.n - USAGE_CRC_BYTES))
		return err_set(e, -EBADMSG, "usage record: the checksum does not match");
	if (bytes.p[0] != USAGE_VERSION)
		return err_set(e, -EBADMSG, "usage record: version %u is not known here",
			(unsigned char)bytes.p[0]);
	map = slice_of(bytes.p + 1, bytes.n - 1 - USAGE_CRC_BYTES);
	r = mp_read(map, USAGE_MAX_DEPTH, USAGE_MAX_ITEMS, &u, e);
	if (r < 0)
		return r;
	r = usage_decode_map(&u.data, ret, e);
	msgpack_unpacked_destroy(&u);
	return r;
}
