#include "mp.h"

static int mp_write(void *data, const char *p, size_t n)
{
	return buf_append(data, p, n);
}

void mp_writer(msgpack_packer *pk, struct buf *b)
{
	msgpack_packer_init(pk, b, mp_write);
}

void mp_put_str(msgpack_packer *pk, struct slice s)
{
	(void)msgpack_pack_str(pk, s.n);
	if (s.n)
		(void)msgpack_pack_str_body(pk, s.p, s.n);
}

void mp_put_bin(msgpack_packer *pk, struct slice s)
{
	(void)msgpack_pack_bin(pk, s.n);
	if (s.n)
		(void)msgpack_pack_bin_body(pk, s.p, s.n);
}

enum mp_class { MP_PLAIN, MP_BYTES, MP_ARRAY, MP_MAP, MP_NEVER };

/* The types 0xc0 to 0xdf: bytes of the length that follows, and fixed bytes behind that. */
static const struct mp_type {
	enum mp_class class;
	uint8_t length_bytes;
	uint8_t fixed_bytes;
} mp_types[32] = {
	{ MP_PLAIN, 0, 0 }, /* nil */
	{ MP_NEVER, 0, 0 }, /* never used */
	{ MP_PLAIN, 0, 0 }, /* false */
	{ MP_PLAIN, 0, 0 }, /* true */
	{ MP_BYTES, 1, 0 }, /* bin */
	{ MP_BYTES, 2, 0 },
	{ MP_BYTES, 4, 0 },
	{ MP_BYTES, 1, 1 }, /* ext: the type's byte */
	{ MP_BYTES, 2, 1 },
	{ MP_BYTES, 4, 1 },
	{ MP_PLAIN, 0, 4 }, /* float */
	{ MP_PLAIN, 0, 8 },
	{ MP_PLAIN, 0, 1 }, /* uint */
	{ MP_PLAIN, 0, 2 },
	{ MP_PLAIN, 0, 4 },
	{ MP_PLAIN, 0, 8 },
	{ MP_PLAIN, 0, 1 }, /* int */
	{ MP_PLAIN, 0, 2 },
	{ MP_PLAIN, 0, 4 },
	{ MP_PLAIN, 0, 8 },
	{ MP_PLAIN, 0, 2 }, /* fixext */
	{ MP_PLAIN, 0, 3 },
	{ MP_PLAIN, 0, 5 },
	{ MP_PLAIN, 0, 9 },
	{ MP_PLAIN, 0, 17 },
	{ MP_BYTES, 1, 0 }, /* str */
	{ MP_BYTES, 2, 0 },
	{ MP_BYTES, 4, 0 },
	{ MP_ARRAY, 2, 0 }, /* array */
	{ MP_ARRAY, 4, 0 },
	{ MP_MAP, 2, 0 }, /* map */
	{ MP_MAP, 4, 0 },
};

/* One object's head and the bytes of its own; *children: objects that follow and belong to it.
 * False: cut off or no such type. */
static bool mp_step(struct slice *left, uint64_t *children)
{
	unsigned char c = (unsigned char)left->p[0];
	struct mp_type t = { MP_PLAIN, 0, 0 };
	uint64_t length = 0;

	if (c >= 0x80 && c < 0xc0) {
		t.class = c < 0x90 ? MP_MAP : c < 0xa0 ? MP_ARRAY : MP_BYTES;
		length = t.class == MP_BYTES ? c & 0x1f : c & 0x0f;
	} else if (c >= 0xc0 && c < 0xe0) {
		t = mp_types[c - 0xc0];
	}
	*left = slice_skip(*left, 1);
	if (t.class == MP_NEVER || left->n < t.length_bytes)
		return false;
	for (unsigned i = 0; i < t.length_bytes; i++)
		length = length << 8 | (unsigned char)left->p[i];
	*left = slice_skip(*left, t.length_bytes);
	*children = t.class == MP_MAP ? 2 * length : t.class == MP_ARRAY ? length : 0;
	length = t.fixed_bytes + (t.class == MP_BYTES ? length : 0);
	if (left->n < length)
		return false;
	*left = slice_skip(*left, length);
	return true;
}

int mp_check(struct slice bytes, unsigned depth, uint32_t items, struct errbuf *e)
{
	uint64_t open[MP_MAX_DEPTH]; /* objects still to come of each open container */
	struct slice left = bytes;
	unsigned n_open = 0;
	uint64_t seen = 0;

	ASSERT(depth <= MP_MAX_DEPTH);
	do {
		uint64_t children;

		if (left.n == 0 || !mp_step(&left, &children))
			return err_set(e, -EBADMSG, "msgpack is cut off or broken near byte %zu",
				bytes.n - left.n);
		if (children > left.n)
			return err_set(e, -EBADMSG,
				"msgpack announces %" PRIu64 " objects in %zu bytes near byte %zu",
				children, left.n, bytes.n - left.n);
		if (++seen + children > items)
			return err_set(
				e, -EBADMSG, "msgpack has more than %" PRIu32 " objects", items);
		if (children) {
			if (n_open == depth)
				return err_set(
					e, -EBADMSG, "msgpack is nested deeper than %u", depth);
			open[n_open++] = children;
			continue;
		}
		while (n_open && --open[n_open - 1] == 0)
			n_open--;
	} while (n_open);
	if (left.n)
		return err_set(e, -EBADMSG, "%zu bytes too many behind the msgpack object", left.n);
	return 0;
}

int mp_read(
	struct slice bytes, unsigned depth, uint32_t items, msgpack_unpacked *u, struct errbuf *e)
{
	int r = mp_check(bytes, depth, items, e);

	return r < 0 ? r : mp_build(bytes, u, e);
}

int mp_build(struct slice bytes, msgpack_unpacked *u, struct errbuf *e)
{
	msgpack_unpack_return got;
	size_t off = 0;

	msgpack_unpacked_init(u);
	got = msgpack_unpack_next(u, bytes.p, bytes.n, &off);
	if (got == MSGPACK_UNPACK_SUCCESS)
		return 0;
	msgpack_unpacked_destroy(u);
	if (got == MSGPACK_UNPACK_NOMEM_ERROR)
		return err_set(e, -ENOMEM, "out of memory");
	return err_set(e, -EBADMSG, "msgpack can't be read");
}

bool mp_is_str(const msgpack_object *o, struct slice *ret)
{
	if (o->type != MSGPACK_OBJECT_STR)
		return false;
	*ret = slice_of(o->via.str.ptr, o->via.str.size);
	return true;
}

bool mp_is_bin(const msgpack_object *o, struct slice *ret)
{
	if (o->type != MSGPACK_OBJECT_BIN)
		return false;
	*ret = slice_of(o->via.bin.ptr, o->via.bin.size);
	return true;
}

bool mp_is_u64(const msgpack_object *o, uint64_t *ret)
{
	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
		return false;
	*ret = o->via.u64;
	return true;
}

bool mp_is_i64(const msgpack_object *o, int64_t *ret)
{
	if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
		*ret = o->via.i64;
		return true;
	}
	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > INT64_MAX)
		return false;
	*ret = (int64_t)o->via.u64;
	return true;
}
