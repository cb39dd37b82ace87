/* From libyaml's events to a tree. Types are left to whoever reads the tree: a plain scalar is
 * text, so "no" stays "no" and 0.15 stays 0.15.
 *
 * An alias shares the children of its anchor's node, so a document that blows up by aliases costs
 * no memory here. But who walks the tree walks every copy: nodes are therefore counted, and depth
 * is measured, as if each alias were written out. */
#include <aigw/text.h>
#include <aigw/tree.h>

#include <yaml.h>

#include "place.h"

struct yaml_anchor {
	struct yaml_anchor *older;
	struct slice name;
	struct tree *node;
	uint32_t n_nodes;
	unsigned height; /* containers nested in it, itself included */
	bool open;       /* its end was not seen yet: an alias to it would be a circle */
};

struct yaml_frame {
	struct tree *node;
	struct tree **link; /* where the next child goes */
	struct yaml_anchor *anchor;
	uint32_t nodes_before;
	unsigned height; /* of the highest child */
	bool has_key;
	struct slice key;
	uint32_t key_line, key_column;
};

struct yaml_build {
	yaml_parser_t parser;
	struct arena *arena;
	struct errbuf *e;
	const char *name;
	struct slice text;
	uint16_t file;
	struct yaml_frame stack[TREE_MAX_DEPTH];
	unsigned depth;
	uint32_t n_nodes, n_anchors, n_aliases;
	struct yaml_anchor *anchors; /* newest first: a later anchor of the same name wins */
	struct tree *root;
	unsigned n_documents;
};

#define YAML_ERROR(y, mark, ...)                                                                   \
	place_error((y)->e, (y)->name, (uint32_t)(mark).line + 1, (uint32_t)(mark).column + 1,     \
		__VA_ARGS__)

static int yaml_no_memory(struct yaml_build *y)
{
	return err_set(y->e, -ENOMEM, "%s: out of memory", y->name);
}

static struct slice yaml_slice(const yaml_char_t *s)
{
	return slice_str((const char *)s);
}

/* Hangs a finished or just opened node in where it belongs. */
static int yaml_attach(struct yaml_build *y, struct tree *t, unsigned height, yaml_mark_t mark)
{
	struct yaml_frame *f = y->depth ? &y->stack[y->depth - 1] : NULL;

	if (y->n_nodes > TREE_MAX_NODES)
		return YAML_ERROR(y, mark,
			"the document has more than %d values; split it or use fewer aliases",
			TREE_MAX_NODES);
	if (y->depth + height > TREE_MAX_DEPTH)
		return YAML_ERROR(
			y, mark, "nested deeper than %d levels; make it flatter", TREE_MAX_DEPTH);
	if (!f) {
		y->root = t;
		return 0;
	}
	if (f->node->kind == TREE_MAP) {
		t->key = f->key;
		t->key_line = f->key_line;
		t->key_column = f->key_column;
		f->has_key = false;
	}
	f->height = MAX(f->height, height);
	f->node->n++;
	*f->link = t;
	f->link = &t->next;
	return 0;
}

static int yaml_key(struct yaml_build *y, const yaml_event_t *ev)
{
	struct yaml_frame *f = &y->stack[y->depth - 1];
	struct slice key = slice_of((const char *)ev->data.scalar.value, ev->data.scalar.length);
	const struct tree *first = tree_get(f->node, key);

	if (key.n == 0)
		return YAML_ERROR(
			y, ev->start_mark, "a key is missing before ':'; write KEY: VALUE");
	if (first)
		return YAML_ERROR(y, ev->start_mark,
			"key '" PLACE_FMT "' stands twice in this map, first in line %" PRIu32
			"; remove one",
			PLACE_ARG(key), first->key_line);
	if (f->node->n >= TREE_MAX_KEYS)
		return YAML_ERROR(y, ev->start_mark, "more than %d keys in one map", TREE_MAX_KEYS);
	f->key = arena_slice(y->arena, key);
	if (!f->key.p)
		return yaml_no_memory(y);
	f->key_line = (uint32_t)ev->start_mark.line + 1;
	f->key_column = (uint32_t)ev->start_mark.column + 1;
	f->has_key = true;
	return 0;
}

static bool yaml_expects_key(const struct yaml_build *y)
{
	const struct yaml_frame *f = y->depth ? &y->stack[y->depth - 1] : NULL;

	return f && f->node->kind == TREE_MAP && !f->has_key;
}

static int yaml_add_anchor(struct yaml_build *y, const yaml_char_t *name, struct tree *t,
	yaml_mark_t mark, struct yaml_anchor **ret)
{
	struct yaml_anchor *a;

	*ret = NULL;
	if (!name)
		return 0;
	if (y->n_anchors++ == TREE_MAX_ALIASES)
		return YAML_ERROR(y, mark, "more than %d anchors", TREE_MAX_ALIASES);
	a = arena_alloc(y->arena, sizeof(*a));
	if (!a)
		return yaml_no_memory(y);
	a->name = arena_slice(y->arena, yaml_slice(name));
	if (!a->name.p)
		return yaml_no_memory(y);
	a->node = t;
	a->n_nodes = 1;
	a->older = y->anchors;
	y->anchors = a;
	*ret = a;
	return 0;
}

static struct tree *yaml_node(struct yaml_build *y, enum tree_kind kind, yaml_mark_t mark)
{
	struct tree *t = arena_alloc(y->arena, sizeof(*t));

	if (!t)
		return NULL;
	t->kind = kind;
	t->file = y->file;
	t->line = (uint32_t)mark.line + 1;
	t->column = (uint32_t)mark.column + 1;
	return t;
}

static bool yaml_is_null(struct slice s)
{
	return s.n == 0 || slice_eq(s, SLICE("~")) || slice_eq(s, SLICE("null")) ||
	       slice_eq(s, SLICE("Null")) || slice_eq(s, SLICE("NULL"));
}

static int yaml_scalar(struct yaml_build *y, const yaml_event_t *ev)
{
	struct slice s = slice_of((const char *)ev->data.scalar.value, ev->data.scalar.length);
	bool quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	struct yaml_anchor *anchor;
	struct tree *t;
	int r;

	if (ev->data.scalar.tag)
		return YAML_ERROR(y, ev->start_mark, "tags ('!...') are not supported; remove it");
	if (yaml_expects_key(y))
		return yaml_key(y, ev);
	t = yaml_node(y, quoted || !yaml_is_null(s) ? TREE_SCALAR : TREE_NULL, ev->start_mark);
	if (!t)
		return yaml_no_memory(y);
	t->quoted = quoted;
	if (t->kind == TREE_SCALAR) {
		t->text = arena_slice(y->arena, s);
		if (!t->text.p)
			return yaml_no_memory(y);
	}
	y->n_nodes++;
	r = yaml_add_anchor(y, ev->data.scalar.anchor, t, ev->start_mark, &anchor);
	return r < 0 ? r : yaml_attach(y, t, 0, ev->start_mark);
}

static int yaml_open(struct yaml_build *y, enum tree_kind kind, const yaml_char_t *anchor_name,
	const yaml_char_t *tag, yaml_mark_t mark)
{
	struct yaml_anchor *anchor;
	struct tree *t;
	int r;

	if (tag)
		return YAML_ERROR(y, mark, "tags ('!...') are not supported; remove it");
	if (yaml_expects_key(y))
		return YAML_ERROR(y, mark, "a key must be a plain text, not a list or a map");
	t = yaml_node(y, kind, mark);
	if (!t)
		return yaml_no_memory(y);
	r = yaml_add_anchor(y, anchor_name, t, mark, &anchor);
	if (r == 0)
		r = yaml_attach(y, t, 1, mark);
	if (r < 0)
		return r;
	if (anchor)
		anchor->open = true;
	y->stack[y->depth++] = (struct yaml_frame){
		.node = t, .link = &t->child, .anchor = anchor, .nodes_before = y->n_nodes
	};
	y->n_nodes++;
	return 0;
}

static void yaml_close(struct yaml_build *y)
{
	struct yaml_frame *f = &y->stack[--y->depth];
	unsigned height = f->height + 1;

	if (f->anchor) {
		f->anchor->open = false;
		f->anchor->height = height;
		f->anchor->n_nodes = y->n_nodes - f->nodes_before;
	}
	if (y->depth)
		y->stack[y->depth - 1].height = MAX(y->stack[y->depth - 1].height, height);
}

static int yaml_alias(struct yaml_build *y, const yaml_event_t *ev)
{
	struct slice name = yaml_slice(ev->data.alias.anchor);
	struct yaml_anchor *a = y->anchors;
	struct tree *t;

	if (yaml_expects_key(y))
		return YAML_ERROR(y, ev->start_mark, "a key must be a plain text, not an alias");
	while (a && !slice_eq(a->name, name))
		a = a->older;
	if (!a || a->open)
		return YAML_ERROR(y, ev->start_mark, "alias '*" PLACE_FMT "' %s", PLACE_ARG(name),
			a ? "stands inside its own anchor" : "has no anchor before it");
	if (++y->n_aliases > TREE_MAX_ALIASES)
		return YAML_ERROR(y, ev->start_mark, "more than %d aliases; write values out",
			TREE_MAX_ALIASES);
	t = yaml_node(y, a->node->kind, ev->start_mark);
	if (!t)
		return yaml_no_memory(y);
	t->quoted = a->node->quoted;
	t->text = a->node->text;
	t->child = a->node->child;
	t->n = a->node->n;
	y->n_nodes += a->n_nodes; /* no wrap: both at most TREE_MAX_NODES + 1 */
	return yaml_attach(y, t, a->height, ev->start_mark);
}

static int yaml_event(struct yaml_build *y, const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (y->n_documents++)
			return YAML_ERROR(y, ev->start_mark,
				"a second document begins here ('---'); put it into a file of its "
				"own");
		return 0;
	case YAML_SCALAR_EVENT: return yaml_scalar(y, ev);
	case YAML_ALIAS_EVENT: return yaml_alias(y, ev);
	case YAML_SEQUENCE_START_EVENT:
		return yaml_open(y, TREE_LIST, ev->data.sequence_start.anchor,
			ev->data.sequence_start.tag, ev->start_mark);
	case YAML_MAPPING_START_EVENT:
		return yaml_open(y, TREE_MAP, ev->data.mapping_start.anchor,
			ev->data.mapping_start.tag, ev->start_mark);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: yaml_close(y); return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT: break;
	}
	return 0;
}

/* libyaml's reader knows only the byte offset. */
static yaml_mark_t yaml_mark_of_offset(struct slice text, size_t offset)
{
	yaml_mark_t m = { 0 };

	for (size_t i = 0; i < MIN(offset, text.n); i++) {
		if (text.p[i] == '\n') {
			m.line++;
			m.column = 0;
		} else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
			m.column++;
		}
	}
	return m;
}

/* libyaml says only that some character "cannot start any token"; a tab is what people stumble
 * over. */
static bool yaml_at_tab(const struct yaml_build *y)
{
	size_t at =
		y->parser.problem_mark.index; /* in characters: right for the ASCII that indents */

	return y->parser.error == YAML_SCANNER_ERROR && at < y->text.n && y->text.p[at] == '\t';
}

static int yaml_broken(struct yaml_build *y)
{
	yaml_parser_t *p = &y->parser;
	const char *problem = p->problem ? p->problem : "unknown";

	if (p->error == YAML_MEMORY_ERROR)
		return yaml_no_memory(y);
	if (p->error == YAML_READER_ERROR)
		return YAML_ERROR(y, yaml_mark_of_offset(y->text, p->problem_offset),
			"not UTF-8 text: %s", problem);
	return YAML_ERROR(y, p->problem_mark, "not valid YAML: %s%s%s%s", problem,
		p->context ? " " : "", p->context ? p->context : "",
		yaml_at_tab(y) ? "; indent with spaces, not with tabs" : "");
}

static int yaml_run(struct yaml_build *y)
{
	bool end = false;

	while (!end) {
		yaml_event_t ev;
		int r;

		if (!yaml_parser_parse(&y->parser, &ev))
			return yaml_broken(y);
		end = ev.type == YAML_STREAM_END_EVENT;
		r = yaml_event(y, &ev);
		yaml_event_delete(&ev);
		if (r < 0)
			return r;
	}
	if (!y->root)
		y->root = yaml_node(y, TREE_NULL, (yaml_mark_t){ 0 });
	return y->root ? 0 : yaml_no_memory(y);
}

int tree_from_yaml(struct arena *a, struct slice text, const char *name, uint16_t file,
	struct tree **ret, struct errbuf *e)
{
	struct yaml_build *y;
	int r;

	if (text.n > TREE_MAX_BYTES)
		return place_error(e, name, 1, 1, "the file is larger than %u MiB; split it",
			TREE_MAX_BYTES >> 20);
	y = calloc(1, sizeof(*y));
	if (!y)
		return err_set(e, -ENOMEM, "%s: out of memory", name);
	*y = (struct yaml_build){ .arena = a, .e = e, .name = name, .text = text, .file = file };
	if (!yaml_parser_initialize(&y->parser)) {
		free(y);
		return err_set(e, -ENOMEM, "%s: out of memory", name);
	}
	/* Said, not guessed: else libyaml takes UTF-16 too. */
	yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
		&y->parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
	r = yaml_run(y);
	if (r == 0)
		*ret = y->root;
	yaml_parser_delete(&y->parser);
	free(y);
	return r;
}
