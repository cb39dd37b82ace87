/* One encoder and one decoder, driven by the rows of tbl/wire_messages.h as data. */
#include <aigw/text.h>
#include <aigw/wire.h>

#include "mp.h"
#include "wire_limits.h"

enum wire_type { WIRE_TYPE_u64, WIRE_TYPE_str, WIRE_TYPE_bin, WIRE_TYPE_bins, WIRE_TYPE_strs };
enum wire_form { WIRE_FORM_NOTE, WIRE_FORM_CALL, WIRE_FORM_RESULT };

/* First element of a msgpack-rpc array. */
enum wire_rpc { WIRE_RPC_REQUEST, WIRE_RPC_RESPONSE, WIRE_RPC_NOTIFICATION };

struct wire_member {
	const char *name;
	enum wire_type type;
	size_t offset; /* in the message's struct */
};

struct wire_row {
	const char *name;
	const char *method;
	enum wire_form form;
	const struct wire_member *members;
	uint32_t n_members;
};

#define WIRE_MESSAGE(name, method, form) static const struct wire_member wire_members_##name[] = {
#define WIRE_FIELD(message, type, name)                                                            \
	{ #name, WIRE_TYPE_##type, offsetof(struct wire_##message, name) },
#define WIRE_END(message)                                                                          \
	}                                                                                          \
	;
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END

static const struct wire_row wire_rows[WIRE_KIND_COUNT] = {
#define WIRE_MESSAGE(name, method, form)                                                           \
	[WIRE_##name] = { #name, method, WIRE_FORM_##form, wire_members_##name,                    \
		ARRAY_LEN(wire_members_##name) },
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END
};

#define WIRE_MAX_MEMBERS 32 /* the decoder's bit set */
#define WIRE_MESSAGE(name, method, form)                                                           \
	_Static_assert(ARRAY_LEN(wire_members_##name) <= WIRE_MAX_MEMBERS, "members of " #name);
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END

/* All messages of the union begin where `hello` does. */
static const char *wire_body(const struct wire_message *m)
{
	return (const char *)&m->hello;
}

static const struct wire_row *wire_row(enum wire_kind kind)
{
	return kind > WIRE_none && kind < WIRE_error ? &wire_rows[kind] : NULL;
}

static void wire_put_member(msgpack_packer *pk, const struct wire_member *f, const char *at)
{
	struct wire_bins list;
	struct slice s;
	uint64_t v;

	mp_put_str(pk, slice_str(f->name));
	switch (f->type) {
	case WIRE_TYPE_u64:
		memcpy(&v, at, sizeof(v));
		(void)msgpack_pack_uint64(pk, v);
		break;
	case WIRE_TYPE_str:
		memcpy(&s, at, sizeof(s));
		mp_put_str(pk, s);
		break;
	case WIRE_TYPE_bin:
		memcpy(&s, at, sizeof(s));
		mp_put_bin(pk, s);
		break;
	case WIRE_TYPE_bins:
	case WIRE_TYPE_strs:
		memcpy(&list, at, sizeof(list));
		(void)msgpack_pack_array(pk, list.n);
		for (uint32_t i = 0; i < list.n; i++) {
			if (f->type == WIRE_TYPE_bins)
				mp_put_bin(pk, list.v[i]);
			else
				mp_put_str(pk, list.v[i]);
		}
		break;
	}
}

static void wire_put_body(msgpack_packer *pk, const struct wire_row *row, const char *body)
{
	(void)msgpack_pack_map(pk, row->n_members);
	for (uint32_t i = 0; i < row->n_members; i++)
		wire_put_member(pk, &row->members[i], body + row->members[i].offset);
}

static void wire_put_error(msgpack_packer *pk, const struct wire_message *m)
{
	(void)msgpack_pack_array(pk, 4);
	(void)msgpack_pack_int(pk, WIRE_RPC_RESPONSE);
	(void)msgpack_pack_uint32(pk, m->id);
	(void)msgpack_pack_map(pk, 2);
	mp_put_str(pk, SLICE("code"));
	mp_put_str(pk, m->error.code);
	mp_put_str(pk, SLICE("message"));
	mp_put_str(pk, m->error.message);
	(void)msgpack_pack_nil(pk);
}

static void wire_put(msgpack_packer *pk, const struct wire_message *m, const struct wire_row *row)
{
	switch (row->form) {
	case WIRE_FORM_NOTE:
		(void)msgpack_pack_array(pk, 3);
		(void)msgpack_pack_int(pk, WIRE_RPC_NOTIFICATION);
		mp_put_str(pk, slice_str(row->method));
		break;
	case WIRE_FORM_CALL:
		(void)msgpack_pack_array(pk, 4);
		(void)msgpack_pack_int(pk, WIRE_RPC_REQUEST);
		(void)msgpack_pack_uint32(pk, m->id);
		mp_put_str(pk, slice_str(row->method));
		break;
	case WIRE_FORM_RESULT:
		(void)msgpack_pack_array(pk, 4);
		(void)msgpack_pack_int(pk, WIRE_RPC_RESPONSE);
		(void)msgpack_pack_uint32(pk, m->id);
		(void)msgpack_pack_nil(pk);
		break;
	}
	wire_put_body(pk, row, wire_body(m));
}

/* What the receiver would refuse is not sent. */
static bool wire_lists_fit(const struct wire_row *row, const char *body)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < row->n_members; i++) {
		enum wire_type type = row->members[i].type;
		struct wire_bins list;

		if (type != WIRE_TYPE_bins && type != WIRE_TYPE_strs)
			continue;
		memcpy(&list, body + row->members[i].offset, sizeof(list));
		n += list.n;
	}
	return n <= WIRE_MAX_LIST;
}

int wire_encode(const struct wire_message *m, struct buf *b)
{
	const struct wire_row *row = wire_row(m->kind);
	size_t start = b->n, n;
	msgpack_packer pk;
	int r;

	ASSERT(row || m->kind == WIRE_error);
	if (row && !wire_lists_fit(row, wire_body(m)))
		return -EMSGSIZE;
	(void)buf_append(b, "\0\0\0\0", WIRE_LENGTH_BYTES);
	mp_writer(&pk, b);
	if (row)
		wire_put(&pk, m, row);
	else
		wire_put_error(&pk, m);
	r = b->err;
	n = b->n - start - WIRE_LENGTH_BYTES;
	if (r == 0 && n > WIRE_MAX_FRAME)
		r = -EMSGSIZE;
	if (r < 0) {
		b->n = start;
		return r;
	}
	for (int i = 0; i < WIRE_LENGTH_BYTES; i++)
		b->p[start + (size_t)i] = (char)(n >> (8 * (WIRE_LENGTH_BYTES - 1 - i)));
	return 0;
}

struct wire_reader {
	struct arena *arena;
	struct errbuf *e;
};

/* 0, -ENOMEM or -EBADMSG. */
static int wire_take_list(
	struct wire_reader *rd, const msgpack_object *o, enum wire_type type, char *at)
{
	struct wire_bins list = { 0 };

	if (o->type != MSGPACK_OBJECT_ARRAY)
		return -EBADMSG;
	list.n = o->via.array.size;
	list.v = list.n ? arena_alloc(rd->arena, list.n * sizeof(*list.v)) : NULL;
	if (list.n && !list.v)
		return -ENOMEM;
	for (uint32_t i = 0; i < list.n; i++) {
		const msgpack_object *item = &o->via.array.ptr[i];

		if (type == WIRE_TYPE_bins
				? !mp_is_bin(item, &list.v[i])
				: !mp_is_str(item, &list.v[i]) || !text_is_utf8(list.v[i]))
			return -EBADMSG;
	}
	memcpy(at, &list, sizeof(list));
	return 0;
}

static int wire_take_member(
	struct wire_reader *rd, const struct wire_member *f, const msgpack_object *o, char *at)
{
	struct slice s;
	uint64_t v;

	switch (f->type) {
	case WIRE_TYPE_u64:
		if (!mp_is_u64(o, &v))
			return -EBADMSG;
		memcpy(at, &v, sizeof(v));
		return 0;
	case WIRE_TYPE_str:
		if (!mp_is_str(o, &s) || !text_is_utf8(s))
			return -EBADMSG;
		memcpy(at, &s, sizeof(s));
		return 0;
	case WIRE_TYPE_bin:
		if (!mp_is_bin(o, &s))
			return -EBADMSG;
		memcpy(at, &s, sizeof(s));
		return 0;
	case WIRE_TYPE_bins:
	case WIRE_TYPE_strs: break;
	}
	return wire_take_list(rd, o, f->type, at);
}

static const struct wire_member *wire_member(const struct wire_row *row, struct slice name)
{
	for (uint32_t i = 0; i < row->n_members; i++) {
		if (slice_eq(name, slice_str(row->members[i].name)))
			return &row->members[i];
	}
	return NULL;
}

static int wire_take_body(
	struct wire_reader *rd, const struct wire_row *row, const msgpack_object *o, char *body)
{
	uint32_t seen = 0;

	if (o->type != MSGPACK_OBJECT_MAP)
		return err_set(rd->e, -EBADMSG, "%s: its members are not a map", row->name);
	for (uint32_t i = 0; i < o->via.map.size; i++) {
		const msgpack_object_kv *kv = &o->via.map.ptr[i];
		const struct wire_member *f;
		struct slice name;
		uint32_t bit;
		int r;

		if (!mp_is_str(&kv->key, &name))
			return err_set(
				rd->e, -EBADMSG, "%s: a member's name is not a text", row->name);
		f = wire_member(row, name);
		if (!f)
			continue; /* of a newer peer */
		bit = UINT32_C(1) << (f - row->members);
		if (seen & bit)
			return err_set(rd->e, -EBADMSG, "%s: %s stands twice", row->name, f->name);
		seen |= bit;
		r = wire_take_member(rd, f, &kv->val, body + f->offset);
		if (r == -ENOMEM)
			return err_set(rd->e, r, "out of memory");
		if (r < 0)
			return err_set(rd->e, r, "%s: %s has a wrong type", row->name, f->name);
	}
	return 0;
}

static int wire_take_error(
	struct wire_reader *rd, const msgpack_object *o, struct wire_message *ret)
{
	static const struct wire_member members[] = {
		{ "code", WIRE_TYPE_str, offsetof(struct wire_error, code) },
		{ "message", WIRE_TYPE_str, offsetof(struct wire_error, message) },
	};
	static const struct wire_row row = { "error", "", WIRE_FORM_RESULT, members,
		ARRAY_LEN(members) };

	ret->kind = WIRE_error;
	return wire_take_body(rd, &row, o, (char *)&ret->error);
}

static enum wire_kind wire_kind_of(struct slice method, enum wire_form form)
{
	for (int i = WIRE_none + 1; i < WIRE_error; i++) {
		if (wire_rows[i].form == form && slice_eq(method, slice_str(wire_rows[i].method)))
			return (enum wire_kind)i;
	}
	return WIRE_unknown;
}

/* [2, method, params] and [0, id, method, params] */
static int wire_take_method(struct wire_reader *rd, const msgpack_object *method,
	const msgpack_object *params, enum wire_form form, struct wire_message *ret)
{
	struct slice name;

	if (!mp_is_str(method, &name) || !text_is_utf8(name))
		return err_set(rd->e, -EBADMSG, "the frame's method is not a text");
	ret->kind = wire_kind_of(name, form);
	if (ret->kind != WIRE_unknown)
		return wire_take_body(rd, &wire_rows[ret->kind], params, (char *)&ret->hello);
	if (form == WIRE_FORM_CALL)
		return err_set(rd->e, -ENOSYS, "the method '%.*s' is not known here",
			(int)MIN(name.n, (size_t)64), name.p);
	return 0;
}

/* [1, id, error, result] */
static int wire_take_response(struct wire_reader *rd, const msgpack_object *v,
	enum wire_kind expect, struct wire_message *ret)
{
	const struct wire_row *row = wire_row(expect);

	if (!row || row->form != WIRE_FORM_RESULT)
		return err_set(rd->e, -EBADMSG, "an answer came that nobody waits for");
	ret->of = expect - 1; /* the table's order: a RESULT follows its CALL */
	if (v[2].type != MSGPACK_OBJECT_NIL)
		return wire_take_error(rd, &v[2], ret);
	ret->kind = expect;
	return wire_take_body(rd, row, &v[3], (char *)&ret->hello);
}

static int wire_take(struct wire_reader *rd, const msgpack_object *o, enum wire_kind expect,
	struct wire_message *ret)
{
	const msgpack_object *v = o->via.array.ptr;
	uint32_t n = o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.size : 0;
	uint64_t type, id = 0;

	if (n < 3 || !mp_is_u64(&v[0], &type) || type > WIRE_RPC_NOTIFICATION ||
		n != (type == WIRE_RPC_NOTIFICATION ? 3 : 4))
		return err_set(
			rd->e, -EBADMSG, "the frame is not a request, response or notification");
	if (type != WIRE_RPC_NOTIFICATION && (!mp_is_u64(&v[1], &id) || id > UINT32_MAX))
		return err_set(rd->e, -EBADMSG, "the frame's id is not a number of 32 bits");
	ret->id = (uint32_t)id;
	if (type == WIRE_RPC_NOTIFICATION)
		return wire_take_method(rd, &v[1], &v[2], WIRE_FORM_NOTE, ret);
	if (type == WIRE_RPC_REQUEST)
		return wire_take_method(rd, &v[2], &v[3], WIRE_FORM_CALL, ret);
	return wire_take_response(rd, v, expect, ret);
}

int wire_decode(struct slice payload, enum wire_kind expect, struct arena *a,
	struct wire_message *ret, struct errbuf *e)
{
	struct wire_reader rd = { a, e };
	msgpack_unpacked u;
	int r = wire_check(payload, e);

	memset(ret, 0, sizeof(*ret));
	if (r == 0)
		r = mp_build(payload, &u, e);
	if (r < 0)
		return r;
	r = wire_take(&rd, &u.data, expect, ret);
	msgpack_unpacked_destroy(&u);
	return r;
}
