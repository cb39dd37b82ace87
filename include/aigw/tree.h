/* A document as a tree of maps, lists and scalars with line and column: what YAML and JSON policy
 * files, daemon settings and policy documents on the wire have in common. Scalars stay text, so
 * amounts stay exact. yaml.c is the only file that knows libyaml. Nodes live in the arena given.
 * Any thread. */
#ifndef AIGW_TREE_H
#define AIGW_TREE_H

#include <aigw/arena.h>
#include <aigw/buf.h>
#include <aigw/errbuf.h>

enum tree_kind { TREE_NULL, TREE_SCALAR, TREE_LIST, TREE_MAP };

struct tree {
	enum tree_kind kind;
	bool quoted;        /* scalar was quoted: never null, never a number */
	uint16_t file;      /* index of the file it came from */
	uint32_t line;      /* from 1; 0: unknown (came over the wire) */
	uint32_t column;    /* from 1 */
	struct slice key;   /* if a child of a map */
	struct slice text;  /* scalar */
	struct tree *child; /* first child of a list or map */
	struct tree *next;  /* next sibling */
	uint32_t n;         /* children */
	uint32_t key_line, key_column;
};

#define TREE_MAX_BYTES   (4u << 20)
#define TREE_MAX_DEPTH   32
#define TREE_MAX_NODES   1000000
#define TREE_MAX_ALIASES 1000
#define TREE_MAX_KEYS    256 /* of one map */

/* Parses one YAML (or JSON) document. Duplicate keys, anchors used more than TREE_MAX_ALIASES
 * times, several documents, invalid UTF-8, non-scalar keys and anything over the limits are
 * refused. On failure the sentence in e begins with "NAME:LINE:COLUMN: ". `name` is the file's name
 * for messages only. */
int tree_from_yaml(struct arena *a, struct slice text, const char *name, uint16_t file,
	struct tree **ret, struct errbuf *e);

const struct tree *tree_get(
	const struct tree *map, struct slice key); /* NULL: not there or not a map */

/* Compact binary form for the wire and caches (msgpack; keys and scalars as str, quoted scalars
 * marked). */
int tree_pack(const struct tree *t, struct buf *b);
int tree_unpack(struct arena *a, struct slice bytes, struct tree **ret, struct errbuf *e);
/* Block style; what tree_from_yaml() makes of it packs to the same bytes. */
int tree_to_yaml(const struct tree *t, struct buf *b);
int tree_to_json(
	const struct tree *t, struct buf *b); /* scalars as JSON strings unless null/true/false */

#endif
