#include <aigw/text.h>
#include <aigw/tree.h>

#include "mp.h"

const struct tree *tree_get(const struct tree *map, struct slice key)
{
	if (!map || map->kind != TREE_MAP)
		return NULL;
	for (const struct tree *c = map->child; c; c = c->next) {
		if (slice_eq(c->key, key))
			return c;
	}
	return NULL;
}

/* A quoted scalar goes as bin, a plain one as str: 0.15 and "0.15" stay apart without a byte more.
 */
static int tree_pack_node(const struct tree *t, msgpack_packer *pk, unsigned depth)
{
	switch (t->kind) {
	case TREE_NULL: (void)msgpack_pack_nil(pk); return 0;
	case TREE_SCALAR:
		if (t->quoted)
			mp_put_bin(pk, t->text);
		else
			mp_put_str(pk, t->text);
		return 0;
	case TREE_LIST: (void)msgpack_pack_array(pk, t->n); break;
	case TREE_MAP: (void)msgpack_pack_map(pk, t->n); break;
	}
	if (depth == TREE_MAX_DEPTH)
		return -EINVAL;
	for (const struct tree *c = t->child; c; c = c->next) {
		int r;

		if (t->kind == TREE_MAP)
			mp_put_str(pk, c->key);
		r = tree_pack_node(c, pk, depth + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

int tree_pack(const struct tree *t, struct buf *b)
{
	size_t before = b->n;
	msgpack_packer pk;
	int r;

	mp_writer(&pk, b);
	r = tree_pack_node(t, &pk, 0);
	if (r == 0)
		r = b->err;
	if (r < 0)
		b->n = before;
	return r;
}

struct tree_reader {
	struct arena *arena;
	struct errbuf *e;
};

static int tree_build(struct tree_reader *rd, const msgpack_object *o, struct tree *ret);

static int tree_text(struct tree_reader *rd, struct slice s, struct slice *ret)
{
	if (!text_is_utf8(s))
		return err_set(rd->e, -EBADMSG, "a text in the document is not UTF-8");
	*ret = arena_slice(rd->arena, s);
	return ret->p ? 0 : err_set(rd->e, -ENOMEM, "out of memory");
}

static int tree_key(
	struct tree_reader *rd, const msgpack_object *o, struct tree *map, struct slice *ret)
{
	struct slice key;

	if (!mp_is_str(o, &key) || key.n == 0)
		return err_set(rd->e, -EBADMSG, "a key in the document is not a text");
	if (tree_get(map, key))
		return err_set(rd->e, -EBADMSG, "a key stands twice in a map of the document");
	return tree_text(rd, key, ret);
}

static int tree_build_children(struct tree_reader *rd, const msgpack_object *o, struct tree *t)
{
	bool is_map = o->type == MSGPACK_OBJECT_MAP;
	uint32_t n = is_map ? o->via.map.size : o->via.array.size;
	struct tree **link = &t->child;

	t->kind = is_map ? TREE_MAP : TREE_LIST;
	if (is_map && n > TREE_MAX_KEYS)
		return err_set(rd->e, -EBADMSG, "a map of the document has more than %d keys",
			TREE_MAX_KEYS);
	for (uint32_t i = 0; i < n; i++) {
		struct tree *c = arena_alloc(rd->arena, sizeof(*c));
		int r;

		if (!c)
			return err_set(rd->e, -ENOMEM, "out of memory");
		r = is_map ? tree_key(rd, &o->via.map.ptr[i].key, t, &c->key) : 0;
		if (r == 0)
			r = tree_build(
				rd, is_map ? &o->via.map.ptr[i].val : &o->via.array.ptr[i], c);
		if (r < 0)
			return r;
		*link = c;
		link = &c->next;
		t->n++;
	}
	return 0;
}

static int tree_build(struct tree_reader *rd, const msgpack_object *o, struct tree *ret)
{
	struct slice s;

	if (o->type == MSGPACK_OBJECT_NIL)
		return 0;
	if (o->type == MSGPACK_OBJECT_MAP || o->type == MSGPACK_OBJECT_ARRAY)
		return tree_build_children(rd, o, ret);
	ret->kind = TREE_SCALAR;
	ret->quoted = mp_is_bin(o, &s);
	if (!ret->quoted && !mp_is_str(o, &s))
		return err_set(rd->e, -EBADMSG, "the document holds a value that is no text");
	return tree_text(rd, s, &ret->text);
}

int tree_unpack(struct arena *a, struct slice bytes, struct tree **ret, struct errbuf *e)
{
	struct tree_reader rd = { a, e };
	struct tree *t = arena_alloc(a, sizeof(*t));
	msgpack_unpacked u;
	int r;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	r = mp_read(bytes, TREE_MAX_DEPTH, 2 * TREE_MAX_NODES, &u, e);
	if (r < 0)
		return r;
	r = tree_build(&rd, &u.data, t);
	msgpack_unpacked_destroy(&u);
	if (r == 0)
		*ret = t;
	return r;
}

static bool tree_is_literal(const struct tree *t)
{
	return !t->quoted &&
	       (slice_eq(t->text, SLICE("true")) || slice_eq(t->text, SLICE("false")));
}

static int tree_json_node(const struct tree *t, struct buf *b, unsigned depth)
{
	switch (t->kind) {
	case TREE_NULL: return buf_str(b, "null");
	case TREE_SCALAR:
		return tree_is_literal(t) ? buf_slice(b, t->text) : text_json_quote(b, t->text);
	case TREE_LIST:
	case TREE_MAP: break;
	}
	if (depth == TREE_MAX_DEPTH)
		return -EINVAL;
	(void)buf_char(b, t->kind == TREE_MAP ? '{' : '[');
	for (const struct tree *c = t->child; c; c = c->next) {
		int r;

		if (c != t->child)
			(void)buf_char(b, ',');
		if (t->kind == TREE_MAP) {
			(void)text_json_quote(b, c->key);
			(void)buf_char(b, ':');
		}
		r = tree_json_node(c, b, depth + 1);
		if (r < 0)
			return r;
	}
	return buf_char(b, t->kind == TREE_MAP ? '}' : ']');
}

int tree_to_json(const struct tree *t, struct buf *b)
{
	int r = tree_json_node(t, b, 0);

	return r < 0 ? r : b->err;
}
