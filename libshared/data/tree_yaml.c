#include <aigw/text.h>
#include <aigw/tree.h>

/* --- a tree as YAML in block style ---------------------------------------------------- */

static bool is_plain(struct slice s)
{
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool is_alnum =
			(c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!is_alnum && (c == '\0' || !strchr(i ? "_./:+@%=,()[]-" : "_./", c)))
			return false;
	}
	return s.p[s.n - 1] != ':';
}

static void put_text(struct buf *b, struct slice s, bool quoted)
{
	if (!quoted && is_plain(s))
		(void)buf_slice(b, s);
	else
		(void)text_json_quote(b, s);
}

static void indent(struct buf *b, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		(void)buf_str(b, "  ");
}

static void put_node(struct buf *b, const struct tree *t, unsigned depth, bool on_line);

/* A map's or list's entries, the first where the line stands if it is one of a list. */
static void put_entries(struct buf *b, const struct tree *t, unsigned depth, bool on_line)
{
	for (const struct tree *c = t->child; c; c = c->next) {
		if (!on_line)
			indent(b, depth);
		on_line = false;
		if (t->kind == TREE_MAP) {
			put_text(b, c->key, false);
			(void)buf_char(b, ':');
			if (c->n) {
				(void)buf_char(b, '\n');
				put_node(b, c, depth + 1, false);
			} else {
				(void)buf_char(b, ' ');
				put_node(b, c, depth + 1, true);
			}
		} else {
			(void)buf_str(b, "- ");
			put_node(b, c, depth + 1, true);
		}
	}
}

static void put_node(struct buf *b, const struct tree *t, unsigned depth, bool on_line)
{
	if (t->n) {
		put_entries(b, t, depth, on_line);
		return;
	}
	switch (t->kind) {
	case TREE_NULL: (void)buf_str(b, "null"); break;
	case TREE_SCALAR: put_text(b, t->text, t->quoted); break;
	case TREE_LIST: (void)buf_str(b, "[]"); break;
	case TREE_MAP: (void)buf_str(b, "{}"); break;
	}
	(void)buf_char(b, '\n');
}

int tree_to_yaml(const struct tree *t, struct buf *b)
{
	put_node(b, t, 0, true);
	return b->err;
}
