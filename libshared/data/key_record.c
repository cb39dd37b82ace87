/* A key's record at rest and on the wire: version byte, msgpack map {tag: value}. Unknown tags
 * are skipped, so a record with a member that restricts the key has a higher version: who does not
 * know the member must refuse the record, or the key would do more there than it may. */
#include <aigw/text.h>
#include <aigw/vkey.h>

#include "mp.h"

#define KEY_RECORD_VERSION   1
#define KEY_RECORD_TAGS      2 /* the version of one that requires tags */
#define KEY_RECORD_MAX_BYTES 2048
#define KEY_TEXT_MAX         127
#define KEY_MAX_DEPTH        4
#define KEY_MAX_ITEMS        128

enum key_tag {
	KEY_TAG_ID = 1,
	KEY_TAG_VERIFIER,
	KEY_TAG_STATE,
	KEY_TAG_PROJECT,
	KEY_TAG_NAME,
	KEY_TAG_CREATED,
	KEY_TAG_EXPIRES,
	KEY_TAG_REVOKED,
	KEY_TAG_REQUIRE_TAGS,
	KEY_TAG_END
};

int key_record_pack(const struct key_record *k, struct buf *b)
{
	size_t start = b->n;
	msgpack_packer pk;

	if (k->project.n > KEY_TEXT_MAX || k->name.n > KEY_TEXT_MAX ||
		k->require_tags.n > KEY_TEXT_MAX)
		return -EINVAL;
	(void)buf_char(b, k->require_tags.n ? KEY_RECORD_TAGS : KEY_RECORD_VERSION);
	mp_writer(&pk, b);
	(void)msgpack_pack_map(&pk, KEY_TAG_REQUIRE_TAGS - KEY_TAG_ID + (k->require_tags.n > 0));
	(void)msgpack_pack_int(&pk, KEY_TAG_ID);
	mp_put_str(&pk, slice_of(k->id, VKEY_ID_LEN));
	(void)msgpack_pack_int(&pk, KEY_TAG_VERIFIER);
	mp_put_bin(&pk, slice_of((const char *)k->verifier, sizeof(k->verifier)));
	(void)msgpack_pack_int(&pk, KEY_TAG_STATE);
	(void)msgpack_pack_int(&pk, (int)k->state);
	(void)msgpack_pack_int(&pk, KEY_TAG_PROJECT);
	mp_put_str(&pk, k->project);
	(void)msgpack_pack_int(&pk, KEY_TAG_NAME);
	mp_put_str(&pk, k->name);
	(void)msgpack_pack_int(&pk, KEY_TAG_CREATED);
	(void)msgpack_pack_int64(&pk, k->created_us);
	(void)msgpack_pack_int(&pk, KEY_TAG_EXPIRES);
	(void)msgpack_pack_int64(&pk, k->expires_us);
	(void)msgpack_pack_int(&pk, KEY_TAG_REVOKED);
	(void)msgpack_pack_int64(&pk, k->revoked_us);
	if (k->require_tags.n) {
		(void)msgpack_pack_int(&pk, KEY_TAG_REQUIRE_TAGS);
		mp_put_str(&pk, k->require_tags);
	}
	if (b->err)
		b->n = start;
	return b->err;
}

static bool key_text(const msgpack_object *o, struct slice *ret)
{
	return mp_is_str(o, ret) && ret->n <= KEY_TEXT_MAX && text_is_utf8(*ret);
}

static bool key_id(const msgpack_object *o, struct key_record *k)
{
	struct slice s;

	if (!mp_is_str(o, &s) || s.n != VKEY_ID_LEN || !slice_starts(s, SLICE("key_")) ||
		!text_is_base62(slice_skip(s, 4)))
		return false;
	memcpy(k->id, s.p, VKEY_ID_LEN);
	return true;
}

static bool key_verifier(const msgpack_object *o, struct key_record *k)
{
	struct slice s;

	if (!mp_is_bin(o, &s) || s.n != sizeof(k->verifier))
		return false;
	memcpy(k->verifier, s.p, s.n);
	return true;
}

/* A state of a newer version is refused with its record: what it allows is not known here. */
static bool key_state(const msgpack_object *o, struct key_record *k)
{
	uint64_t v;

	if (!mp_is_u64(o, &v) || v < KEY_ACTIVE || v > KEY_REVOKED)
		return false;
	k->state = (enum key_state)v;
	return true;
}

static bool key_field(uint64_t tag, const msgpack_object *o, struct key_record *k)
{
	switch (tag) {
	case KEY_TAG_ID: return key_id(o, k);
	case KEY_TAG_VERIFIER: return key_verifier(o, k);
	case KEY_TAG_STATE: return key_state(o, k);
	case KEY_TAG_PROJECT: return key_text(o, &k->project);
	case KEY_TAG_NAME: return key_text(o, &k->name);
	case KEY_TAG_CREATED: return mp_is_i64(o, &k->created_us);
	case KEY_TAG_EXPIRES: return mp_is_i64(o, &k->expires_us);
	case KEY_TAG_REVOKED: return mp_is_i64(o, &k->revoked_us);
	case KEY_TAG_REQUIRE_TAGS: return key_text(o, &k->require_tags);
	default: return true;
	}
}

static int key_map(const msgpack_object *o, struct key_record *ret)
{
	const unsigned needed = 1u << KEY_TAG_ID | 1u << KEY_TAG_VERIFIER | 1u << KEY_TAG_STATE |
				1u << KEY_TAG_PROJECT;
	struct key_record k = { 0 };
	unsigned seen = 0;

	if (o->type != MSGPACK_OBJECT_MAP)
		return -EBADMSG;
	for (uint32_t i = 0; i < o->via.map.size; i++) {
		const msgpack_object_kv *kv = &o->via.map.ptr[i];
		uint64_t tag;

		if (!mp_is_u64(&kv->key, &tag) || !key_field(tag, &kv->val, &k))
			return -EBADMSG;
		if (tag >= KEY_TAG_END)
			continue;
		if (seen & 1u << tag)
			return -EBADMSG;
		seen |= 1u << tag;
	}
	if ((seen & needed) != needed)
		return -EBADMSG;
	*ret = k;
	return 0;
}

int key_record_unpack(struct slice bytes, struct key_record *ret)
{
	msgpack_unpacked u;
	int r;

	if (bytes.n < 2 || bytes.n > KEY_RECORD_MAX_BYTES || bytes.p[0] < KEY_RECORD_VERSION ||
		bytes.p[0] > KEY_RECORD_TAGS)
		return -EBADMSG;
	r = mp_read(slice_skip(bytes, 1), KEY_MAX_DEPTH, KEY_MAX_ITEMS, &u, NULL);
	if (r < 0)
		return r;
	r = key_map(&u.data, ret);
	msgpack_unpacked_destroy(&u);
	return r;
}
