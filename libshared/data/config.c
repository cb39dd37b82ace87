#include <aigw/atomic_file.h>
#include <aigw/config.h>
#include <aigw/text.h>
#include <aigw/tree.h>

#include "place.h"

#define CONFIG_FILE_MAX (1u << 20)
#define CONFIG_TREE_MAX (64u << 20)

/* Settings of later versions: refused by name instead of as a slip of the pen. */
static const char *const config_later[] = { "control_socket", "proxy" };

struct config_reader {
	const struct config_row *rows;
	unsigned n;
	struct arena *arena; /* for strings that stay */
	char *out;
	const char *path;
	struct errbuf *e;
};

#define CONFIG_ERROR(c, node, ...)                                                                 \
	place_error((c)->e, (c)->path, (node)->line, (node)->column, __VA_ARGS__)

static int config_take_str(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	const char *copy;

	for (size_t i = 0; i < node->text.n; i++) {
		if ((unsigned char)node->text.p[i] < 0x20)
			return CONFIG_ERROR(
				c, node, "%s holds a control character; remove it", row->name);
	}
	copy = arena_bytes(c->arena, node->text.p, node->text.n);
	if (!copy)
		return err_set(c->e, -ENOMEM, "out of memory");
	memcpy(c->out + row->offset, &copy, sizeof(copy));
	return 0;
}

static int config_take_bool(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	bool v = slice_eq(node->text, SLICE("true"));

	if (node->quoted || (!v && !slice_eq(node->text, SLICE("false"))))
		return CONFIG_ERROR(c, node, "%s is '" PLACE_FMT "': write true or false",
			row->name, PLACE_ARG(node->text));
	memcpy(c->out + row->offset, &v, sizeof(v));
	return 0;
}

static int config_take_int(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	int64_t v = 0;
	int r = node->quoted ? -EINVAL : text_parse_i64(node->text, &v);

	if (r == -EINVAL)
		return CONFIG_ERROR(c, node, "%s is '" PLACE_FMT "': write a whole number",
			row->name, PLACE_ARG(node->text));
	if (r < 0 || v < row->min || v > row->max)
		return CONFIG_ERROR(c, node,
			"%s is " PLACE_FMT ": it may be %" PRId64 " to %" PRId64, row->name,
			PLACE_ARG(node->text), row->min, row->max);
	memcpy(c->out + row->offset, &v, sizeof(v));
	return 0;
}

static int config_take_duration(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	char least[32], most[32];
	usec v = 0;
	int r = text_parse_duration(node->text, &v);

	if (r == -EINVAL)
		return CONFIG_ERROR(c, node,
			"%s is '" PLACE_FMT "': write a whole number with its unit, such as 500ms, "
			"30s or 10m",
			row->name, PLACE_ARG(node->text));
	text_format_duration(row->min, least);
	text_format_duration(row->max, most);
	if (r < 0 || v < row->min || v > row->max)
		return CONFIG_ERROR(c, node, "%s is " PLACE_FMT ": it may be %s to %s", row->name,
			PLACE_ARG(node->text), least, most);
	memcpy(c->out + row->offset, &v, sizeof(v));
	return 0;
}

static void config_format_size(int64_t bytes, char out[static 32])
{
	static const char *const units[] = { " bytes", "KiB", "MiB", "GiB", "TiB" };
	unsigned unit = 0;

	while (unit + 1 < ARRAY_LEN(units) && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(out, 32, "%" PRId64 "%s", bytes, units[unit]);
}

static int config_take_size(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	char least[32], most[32];
	uint64_t v = 0, plain;
	int r = text_parse_size(node->text, &v);

	/* "512" is seldom meant to be bytes. */
	if (r == -EINVAL || text_parse_u64(node->text, &plain) == 0)
		return CONFIG_ERROR(c, node,
			"%s is '" PLACE_FMT
			"': write a whole number with its unit, KiB, MiB or GiB",
			row->name, PLACE_ARG(node->text));
	config_format_size(row->min, least);
	config_format_size(row->max, most);
	if (r < 0 || v < (uint64_t)row->min || v > (uint64_t)row->max)
		return CONFIG_ERROR(c, node, "%s is " PLACE_FMT ": it may be %s to %s", row->name,
			PLACE_ARG(node->text), least, most);
	memcpy(c->out + row->offset, &v, sizeof(v));
	return 0;
}

static int config_take_enum(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	struct slice words[16], rest = slice_str(row->choices), near;
	unsigned n = 0;

	while (rest.n) {
		const char *bar = memchr(rest.p, '|', rest.n);
		int index = (int)n;

		ASSERT(n < ARRAY_LEN(words));
		words[n] = slice_of(rest.p, bar ? (size_t)(bar - rest.p) : rest.n);
		rest = slice_skip(rest, words[n].n + (bar ? 1 : 0));
		if (slice_eq(words[n++], node->text)) {
			memcpy(c->out + row->offset, &index, sizeof(index));
			return 0;
		}
	}
	near = text_near(node->text, words, n);
	if (near.n)
		return CONFIG_ERROR(c, node,
			"%s can't be '" PLACE_FMT "', did you mean '" SLICE_FMT "'?", row->name,
			PLACE_ARG(node->text), SLICE_ARG(near));
	return CONFIG_ERROR(c, node, "%s can't be '" PLACE_FMT "'; write one of %s", row->name,
		PLACE_ARG(node->text), row->choices);
}

static int config_take(
	struct config_reader *c, const struct config_row *row, const struct tree *node)
{
	if (node->kind == TREE_NULL)
		return CONFIG_ERROR(
			c, node, "%s has no value; write one or remove the key", row->name);
	if (node->kind != TREE_SCALAR)
		return CONFIG_ERROR(c, node, "%s must be a single value", row->name);
	switch (row->type) {
	case CONFIG_STR: return config_take_str(c, row, node);
	case CONFIG_BOOL: return config_take_bool(c, row, node);
	case CONFIG_INT: return config_take_int(c, row, node);
	case CONFIG_DURATION: return config_take_duration(c, row, node);
	case CONFIG_SIZE: return config_take_size(c, row, node);
	case CONFIG_ENUM: return config_take_enum(c, row, node);
	}
	return -EINVAL;
}

static int config_presets(struct config_reader *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		const char *preset = c->rows[i].preset ? c->rows[i].preset : "";
		struct tree node = { .kind = TREE_SCALAR, .text = slice_str(preset) };
		int r = config_take(c, &c->rows[i], &node);

		ASSERT(r == 0 || r == -ENOMEM); /* else a row of the table is wrong */
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct config_row *config_row(const struct config_reader *c, struct slice key)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (slice_eq(key, slice_str(c->rows[i].name)))
			return &c->rows[i];
	}
	return NULL;
}

static int config_unknown(struct config_reader *c, const struct tree *node)
{
	struct slice names[64], near;

	for (size_t i = 0; i < ARRAY_LEN(config_later); i++) {
		if (slice_eq(node->key, slice_str(config_later[i])))
			return place_error(c->e, c->path, node->key_line, node->key_column,
				"not supported yet: '%s'; remove it", config_later[i]);
	}
	ASSERT(c->n <= ARRAY_LEN(names));
	for (unsigned i = 0; i < c->n; i++)
		names[i] = slice_str(c->rows[i].name);
	near = text_near(node->key, names, c->n);
	if (near.n)
		return place_error(c->e, c->path, node->key_line, node->key_column,
			"unknown setting '" PLACE_FMT "', did you mean '" SLICE_FMT "'?",
			PLACE_ARG(node->key), SLICE_ARG(near));
	return place_error(c->e, c->path, node->key_line, node->key_column,
		"unknown setting '" PLACE_FMT "'; remove it", PLACE_ARG(node->key));
}

static int config_take_file(struct config_reader *c, const struct tree *root)
{
	if (root->kind == TREE_NULL)
		return 0;
	if (root->kind != TREE_MAP)
		return CONFIG_ERROR(c, root, "write settings as NAME: VALUE, one per line");
	for (const struct tree *node = root->child; node; node = node->next) {
		const struct config_row *row = config_row(c, node->key);
		int r = row ? config_take(c, row, node) : config_unknown(c, node);

		if (r < 0)
			return r;
	}
	return 0;
}

int config_load(const char *path, bool may_miss, const struct config_row *rows, unsigned n,
	struct arena *a, void *out, struct errbuf *e)
{
	struct config_reader c = { rows, n, a, out, path ? path : "settings", e };
	struct arena scratch;
	struct tree *root;
	struct buf text;
	int r = config_presets(&c);

	if (r < 0 || !path)
		return r;
	buf_init(&text, CONFIG_FILE_MAX);
	arena_init(&scratch, 4096, CONFIG_TREE_MAX);
	r = file_read(path, &text, e);
	if (r == 0)
		r = tree_from_yaml(&scratch, buf_view(&text), path, 0, &root, e);
	if (r == 0)
		r = config_take_file(&c, root);
	else if (r == -ENOENT && may_miss)
		r = 0; /* only file_read says so */
	arena_fini(&scratch);
	buf_fini(&text);
	return r;
}

static bool config_same(const struct config_row *row, const void *a, const void *b)
{
	const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;

	switch (row->type) {
	case CONFIG_STR:
		return strcmp(*(const char *const *)(const void *)x,
			       *(const char *const *)(const void *)y) == 0;
	case CONFIG_BOOL: return *(const bool *)(const void *)x == *(const bool *)(const void *)y;
	case CONFIG_INT:
	case CONFIG_DURATION:
	case CONFIG_SIZE: return memcmp(x, y, sizeof(int64_t)) == 0;
	case CONFIG_ENUM: return memcmp(x, y, sizeof(int)) == 0;
	}
	return true;
}

void config_restart_needed(const struct config_row *rows, unsigned n, const void *old,
	const void *new_, struct buf *names)
{
	for (unsigned i = 0; i < n; i++) {
		if (rows[i].reload || config_same(&rows[i], old, new_))
			continue;
		(void)buf_printf(names, "%s%s", names->n ? " " : "", rows[i].name);
	}
}
