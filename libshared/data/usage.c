/* A record: version byte, msgpack map {tag: value}, CRC-32C of all before it (big-endian). The
 * operation id is bin, every other text str; zero and empty values are left out. */
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

static bool usage_row_is_set(const struct usage_record *r, const struct usage_row *row)
{
	return row->unit ? *usage_int(r, row) != 0 : usage_str(r, row)->n != 0;
}

static int usage_encode_map(const struct usage_record *r, struct buf *b)
{
	msgpack_packer pk;
	size_t n = 0;

	for (size_t i = 0; i < USAGE_ROWS; i++)
		n += usage_row_is_set(r, &usage_rows[i]);
	mp_writer(&pk, b);
	(void)msgpack_pack_map(&pk, n);
	for (size_t i = 0; i < USAGE_ROWS; i++) {
		const struct usage_row *row = &usage_rows[i];

		if (!usage_row_is_set(r, row))
			continue;
		(void)msgpack_pack_uint8(&pk, row->tag);
		if (row->unit) {
			(void)msgpack_pack_int64(&pk, *usage_int(r, row));
			continue;
		}
		if (usage_str(r, row)->n > row->max)
			return -ENOBUFS;
		if (row->tag == USAGE_TAG_OP_ID)
			mp_put_bin(&pk, *usage_str(r, row));
		else
			mp_put_str(&pk, *usage_str(r, row));
	}
	return b->err;
}

int usage_encode(const struct usage_record *r, struct buf *b)
{
	size_t start = b->n;
	uint32_t crc;
	int res;

	(void)buf_char(b, USAGE_VERSION);
	res = usage_encode_map(r, b);
	if (res == 0 && b->n - start + USAGE_CRC_BYTES > USAGE_RECORD_MAX_BYTES)
		res = -ENOBUFS;
	if (res == 0) {
		crc = crc32c(0, b->p + start, b->n - start);
		res = buf_append(b,
			(char[]){
				(char)(crc >> 24), (char)(crc >> 16), (char)(crc >> 8), (char)crc },
			USAGE_CRC_BYTES);
	}
	if (res < 0)
		b->n = start;
	return res;
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
