#include "print.h"

#include "filter.h"

#include <aigw/text.h>
#include <libsmartcols/libsmartcols.h>
#include <unistd.h>

#define PRINT_MAX_COLUMNS 48
#define PRINT_MAX_BYTES   (256u << 20)

/* --- values ------------------------------------------------------------------------ */

int print_value(struct buf *b, const json_t *v)
{
	size_t i;
	json_t *item;

	switch (v ? json_typeof(v) : JSON_NULL) {
	case JSON_STRING: return buf_append(b, json_string_value(v), json_string_length(v));
	case JSON_INTEGER: return buf_i64(b, json_integer_value(v));
	case JSON_TRUE: return buf_str(b, "yes");
	case JSON_FALSE: return buf_str(b, "no");
	case JSON_ARRAY:
		if (json_array_size(v) == 0)
			return buf_char(b, '-');
		json_array_foreach(v, i, item)
		{
			(void)buf_str(b, i ? ", " : "");
			(void)print_value(b, item);
		}
		return b->err;
	case JSON_REAL:
	case JSON_OBJECT: return json_write(v, b, false);
	case JSON_NULL:
	default: return buf_char(b, '-');
	}
}

const char *print_color_state(const json_t *row)
{
	const char *s = json_get_str(row, "state", "");

	if (strcmp(s, "up") == 0 || strcmp(s, "active") == 0 || strcmp(s, "ok") == 0)
		return "\033[32m";
	if (strcmp(s, "behind") == 0)
		return "\033[33m";
	return *s ? "\033[31m" : NULL;
}

/* --- columns ----------------------------------------------------------------------- */

/* "in_tok" and "in-tok" are "IN TOK". */
static bool title_is(const char *title, struct slice word)
{
	if (strlen(title) != word.n)
		return false;
	for (size_t i = 0; i < word.n; i++) {
		char a = title[i], w = word.p[i];

		if (w >= 'a' && w <= 'z')
			w = (char)(w - 'a' + 'A');
		if (w == '_' || w == '-')
			w = ' ';
		if (a != w)
			return false;
	}
	return true;
}

static int column_unknown(
	const struct cli *c, const char *flag, const struct listing *l, struct slice word)
{
	struct slice names[PRINT_MAX_COLUMNS], near;
	struct buf list;
	int code;

	buf_init(&list, 4096);
	for (unsigned i = 0; i < l->n_columns; i++) {
		names[i] = slice_str(l->columns[i].member);
		(void)buf_printf(&list, "%s%s", i ? "," : "", l->columns[i].member);
	}
	near = text_near(word, names, l->n_columns);
	if (near.n)
		code = cli_fail(c, EXIT_USAGE,
			"%s: no column " SLICE_FMT "; did you mean " SLICE_FMT "?", flag,
			SLICE_ARG(word), SLICE_ARG(near));
	else
		code = cli_fail(c, EXIT_USAGE, "%s: no column " SLICE_FMT "; there are %s", flag,
			SLICE_ARG(word), buf_cstr(&list));
	buf_fini(&list);
	return code;
}

/* By member or title; n_columns: none. */
static unsigned column_find(const struct listing *l, struct slice word)
{
	unsigned i = 0;

	while (i < l->n_columns && !slice_eq(slice_str(l->columns[i].member), word) &&
		!title_is(l->columns[i].title, word))
		i++;
	return i;
}

/* The columns to show, in order. */
static int choose(
	const struct cli *c, const struct listing *l, const struct column **shown, unsigned *ret_n)
{
	const char *text = cli_flag(c, FLAG_columns);
	bool wide = c->output != OUTPUT_TABLE;
	unsigned n = 0;

	if (!text) {
		for (unsigned i = 0; i < l->n_columns; i++)
			if (wide || !l->columns[i].wide)
				shown[n++] = &l->columns[i];
		*ret_n = n;
		return 0;
	}
	for (;;) {
		struct slice word = slice_trim(slice_of(text, strcspn(text, ",")));
		unsigned i = column_find(l, word);

		if (i == l->n_columns)
			return column_unknown(c, "--columns", l, word);
		if (n == PRINT_MAX_COLUMNS)
			return cli_fail(
				c, EXIT_USAGE, "--columns: more than %d", PRINT_MAX_COLUMNS);
		shown[n++] = &l->columns[i];
		text += strcspn(text, ",");
		if (!*text++)
			break;
	}
	*ret_n = n;
	return 0;
}

/* --- table ------------------------------------------------------------------------- */

static int add_row(const struct cli *c, struct libscols_table *t, const struct listing *l,
	const struct column *const *shown, unsigned n, const json_t *row)
{
	struct libscols_line *line = scols_table_new_line(t, NULL);
	struct buf b;
	int rc = line ? 0 : -ENOMEM;

	buf_init(&b, 1u << 20);
	for (unsigned i = 0; i < n && !rc; i++) {
		const char *color = c->color && shown[i]->color ? shown[i]->color(row) : NULL;

		buf_reset(&b);
		rc = shown[i]->cell ? shown[i]->cell(&b, row, l)
				    : print_value(&b, json_object_get(row, shown[i]->member));
		/* An empty cell can't be told from a missing one, and breaks awk. */
		if (!rc && !b.n && row != l->total && json_object_get(row, shown[i]->member))
			rc = buf_char(&b, '-');
		if (!rc)
			rc = scols_line_set_data(line, i, buf_cstr(&b));
		if (!rc && color)
			rc = scols_cell_set_color(scols_line_get_cell(line, i), color);
	}
	buf_fini(&b);
	return rc;
}

static int print_table(const struct cli *c, const json_t *rows, const struct listing *l,
	const struct column *const *shown, unsigned n)
{
	struct libscols_table *t = scols_new_table();
	int rc = t ? 0 : -ENOMEM;
	size_t i;
	json_t *row;

	if (!rc)
		rc = scols_table_set_column_separator(t, "  ");
	if (!rc)
		rc = scols_table_set_stream(t, c->out);
	if (!rc)
		rc = scols_table_enable_colors(t, c->color);
	if (!rc)
		rc = scols_table_enable_noheadings(t, cli_flag(c, FLAG_no_header) != NULL);
	if (!rc && !isatty(fileno(c->out))) /* nothing is cut or wrapped to somebody's width */
		rc = scols_table_set_termforce(t, SCOLS_TERMFORCE_NEVER);
	for (unsigned k = 0; k < n && !rc; k++)
		rc = scols_table_new_column(
			     t, shown[k]->title, 0, shown[k]->right ? SCOLS_FL_RIGHT : 0)
			     ? 0
			     : -ENOMEM;
	json_array_foreach(rows, i, row) if (!rc) rc = add_row(c, t, l, shown, n, row);
	if (!rc && l->total)
		rc = add_row(c, t, l, shown, n, l->total);
	if (!rc)
		rc = scols_print_table(t);
	scols_unref_table(t);
	return rc ? cli_fail(c, EXIT_FAILED, "can't print the table: %s",
			    strerror(rc < 0 ? -rc : rc))
		  : EXIT_DONE;
}

/* --- csv, names -------------------------------------------------------------------- */

int print_csv_field(struct buf *b, struct slice s)
{
	bool quote = false;

	for (size_t i = 0; i < s.n && !quote; i++)
		quote = strchr(",\"\r\n", s.p[i]) != NULL;
	if (!quote)
		return buf_slice(b, s);
	(void)buf_char(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			(void)buf_char(b, '"');
		(void)buf_char(b, s.p[i]);
	}
	return buf_char(b, '"');
}

static void csv_value(struct buf *b, const json_t *v)
{
	struct buf cell;

	buf_init(&cell, 1u << 20);
	if (json_is_boolean(v))
		(void)buf_str(&cell, json_is_true(v) ? "true" : "false");
	else if (json_is_array(v) && json_array_size(v) == 0)
		(void)buf_str(&cell, "[]"); /* none is not the same as not said */
	else if (v && !json_is_null(v))
		(void)print_value(&cell, v);
	if (cell.err && !b->err)
		b->err = cell.err;
	(void)print_csv_field(b, buf_view(&cell));
	buf_fini(&cell);
}

static void csv_rows(const struct cli *c, struct buf *b, const json_t *rows,
	const struct column *const *shown, unsigned n)
{
	size_t i;
	json_t *row;

	for (unsigned k = 0; k < n && !cli_flag(c, FLAG_no_header); k++)
		(void)buf_printf(b, "%s%s", shown[k]->member, k + 1 < n ? "," : "\r\n");
	json_array_foreach(rows, i, row)
	{
		for (unsigned k = 0; k < n; k++) {
			csv_value(b, json_object_get(row, shown[k]->member));
			(void)buf_str(b, k + 1 < n ? "," : "\r\n");
		}
	}
}

/* --- yaml -------------------------------------------------------------------------- */

static bool yaml_plain(struct slice s)
{
	static const char *const reserved[] = { "true", "false", "null", "yes", "no", "on", "off",
		"y", "n" };

	if (!s.n || !((s.p[0] >= 'a' && s.p[0] <= 'z') || (s.p[0] >= 'A' && s.p[0] <= 'Z')))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!memchr(TEXT_BASE62, s.p[i], 62) && !strchr("_-./", s.p[i]))
			return false;
	for (unsigned i = 0; i < ARRAY_LEN(reserved); i++)
		if (slice_eq_nocase(s, slice_str(reserved[i])))
			return false;
	return true;
}

static void yaml_text(struct buf *b, struct slice s)
{
	if (yaml_plain(s))
		(void)buf_slice(b, s);
	else
		(void)text_json_quote(b, s); /* a JSON string is one of YAML */
}

static bool yaml_is_block(const json_t *v)
{
	return (json_is_array(v) && json_array_size(v)) ||
	       (json_is_object(v) && json_object_size(v));
}

/* `inline_first`: the first member stands on the line that is begun ("- "). */
static void yaml_node(struct buf *b, const json_t *v, unsigned depth, bool inline_first)
{
	const char *key;
	json_t *item;
	size_t i;
	bool first = inline_first;

	if (json_is_array(v) && json_array_size(v)) {
		json_array_foreach(v, i, item)
		{
			(void)buf_printf(b, "%*s- ", first ? 0 : (int)depth * 2, "");
			first = false;
			yaml_node(b, item, depth + 1, true);
		}
	} else if (json_is_object(v) && json_object_size(v)) {
		json_object_foreach((json_t *)v, key, item)
		{
			(void)buf_printf(b, "%*s", first ? 0 : (int)depth * 2, "");
			first = false;
			yaml_text(b, slice_str(key));
			(void)buf_str(b, yaml_is_block(item) ? ":\n" : ": ");
			yaml_node(b, item, depth + 1, false);
		}
	} else {
		if (json_is_string(v))
			yaml_text(b, slice_of(json_string_value(v), json_string_length(v)));
		else
			(void)json_write(v, b, false);
		(void)buf_char(b, '\n');
	}
}

int print_yaml(struct buf *b, const json_t *v)
{
	yaml_node(b, v, 0, false);
	return b->err;
}

/* --- which rows, in which order ---------------------------------------------------- */

static struct slice member_text(const json_t *row, const char *member, struct buf *b)
{
	buf_reset(b);
	(void)print_value(b, json_object_get(row, member));
	return buf_view(b);
}

int print_filter(const struct cli *c, json_t *rows, const struct listing *l)
{
	struct errbuf e;
	struct buf b;
	int code = EXIT_DONE;

	buf_init(&b, PRINT_MAX_BYTES);
	for (unsigned i = 0; i < c->inv.n_filters && !code; i++) {
		struct filter f;
		unsigned column;

		if (filter_parse(c->inv.filters[i], &f, &e)) {
			code = cli_fail(c, EXIT_USAGE, "%s", e.text);
			break;
		}
		column = column_find(l, f.column);
		if (column == l->n_columns) {
			code = column_unknown(c, "--filter", l, f.column);
			break;
		}
		for (size_t k = json_array_size(rows); k-- > 0;) {
			const json_t *row = json_array_get(rows, k);

			if (!filter_holds(&f, member_text(row, l->columns[column].member, &b)))
				(void)json_array_remove(rows, k);
		}
	}
	buf_fini(&b);
	return code;
}

struct sort_row {
	json_t *row;
	char *text;
	size_t n, at;
};

static int sort_up(const void *a, const void *b)
{
	const struct sort_row *x = a, *y = b;
	int r = filter_compare(slice_of(x->text, x->n), slice_of(y->text, y->n));

	return r ? r : (x->at > y->at) - (x->at < y->at);
}

static int sort_down(const void *a, const void *b)
{
	const struct sort_row *x = a, *y = b;
	int r = filter_compare(slice_of(y->text, y->n), slice_of(x->text, x->n));

	return r ? r : (x->at > y->at) - (x->at < y->at);
}

/* Equal ones stay in their order. */
static int sort_rows(const struct cli *c, json_t *rows, const struct listing *l)
{
	const char *word = cli_flag(c, FLAG_sort);
	bool down = word && *word == '-';
	size_t n = json_array_size(rows);
	struct sort_row *v;
	unsigned column;
	struct buf b;

	if (!word)
		return EXIT_DONE;
	column = column_find(l, slice_str(word + down));
	if (column == l->n_columns)
		return column_unknown(c, "--sort", l, slice_str(word + down));
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return cli_fail(c, EXIT_FAILED, "out of memory");
	buf_init(&b, PRINT_MAX_BYTES);
	for (size_t i = 0; i < n; i++) {
		struct slice s =
			member_text(json_array_get(rows, i), l->columns[column].member, &b);

		v[i] = (struct sort_row){ json_incref(json_array_get(rows, i)),
			strndup(s.n ? s.p : "", s.n), s.n, i };
		if (!v[i].text)
			v[i].n = 0;
	}
	qsort(v, n, sizeof(*v), down ? sort_down : sort_up);
	(void)json_array_clear(rows);
	for (size_t i = 0; i < n; i++) {
		(void)json_array_append_new(rows, v[i].row);
		free(v[i].text);
	}
	free(v);
	buf_fini(&b);
	return EXIT_DONE;
}

/* --- formats ----------------------------------------------------------------------- */

static int put(const struct cli *c, struct buf *b)
{
	int code = EXIT_DONE;

	if (b->err)
		code = cli_fail(c, EXIT_FAILED, "the output is too large, or memory is short");
	else if (b->n)
		(void)fwrite(b->p, 1, b->n, c->out);
	buf_fini(b);
	return code;
}

bool print_object(const struct cli *c, const json_t *o)
{
	struct buf b;

	if (c->output != OUTPUT_JSON && c->output != OUTPUT_JSONL && c->output != OUTPUT_YAML)
		return false;
	buf_init(&b, PRINT_MAX_BYTES);
	if (c->output == OUTPUT_YAML)
		(void)print_yaml(&b, o);
	else if (json_write(o, &b, c->output == OUTPUT_JSON) == 0)
		(void)buf_char(&b, '\n');
	(void)put(c, &b);
	return true;
}

/* Leaves only the chosen members in the rows. */
static int reduce(json_t *rows, const struct column *const *shown, unsigned n)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		JSON_AUTO *less = json_object();

		for (unsigned k = 0; k < n; k++) {
			json_t *v = json_object_get(json_array_get(rows, i), shown[k]->member);

			if (json_object_set_new(
				    less, shown[k]->member, v ? json_incref(v) : json_null()) < 0)
				return -ENOMEM;
		}
		if (json_array_set(rows, i, less) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Under --watch: whether the row was not in the last round. The rows of two rounds are kept. */
static json_t *round_before, *round_now;

static bool is_news(const json_t *row)
{
	const json_t *seen;
	size_t i;

	(void)json_array_append(round_now, json_unconst(row));
	json_array_foreach(round_before, i, seen) if (json_equal(seen, row)) return false;
	return true;
}

void print_begin_round(void)
{
	json_decref(round_before);
	round_before = round_now ? round_now : json_array();
	round_now = json_array();
}

static int print_rows(const struct cli *c, const json_t *rows, const struct listing *l,
	const struct column *const *shown, unsigned n)
{
	struct buf b;
	size_t i;
	json_t *row;

	buf_init(&b, PRINT_MAX_BYTES);
	if (c->output == OUTPUT_CSV) {
		csv_rows(c, &b, rows, shown, n);
	} else {
		json_array_foreach(rows, i, row)
		{
			if (c->output == OUTPUT_JSONL && cli_flag(c, FLAG_watch) && !is_news(row))
				continue;
			if (c->output == OUTPUT_JSONL)
				(void)json_write(row, &b, false);
			else
				(void)print_value(&b, json_object_get(row, l->name));
			(void)buf_char(&b, '\n');
		}
	}
	return put(c, &b);
}

int print_listing(const struct cli *c, json_t *answer, const struct listing *l)
{
	const struct column *shown[PRINT_MAX_COLUMNS];
	json_t *rows = json_object_get(answer, l->member);
	size_t all;
	unsigned n = 0;
	int code;

	ASSERT(l->n_columns <= PRINT_MAX_COLUMNS);
	if (!json_is_array(rows))
		return cli_fail(
			c, EXIT_FAILED, "the controller's answer has no list `%s`", l->member);
	code = choose(c, l, shown, &n);
	if (!code)
		code = print_filter(c, rows, l);
	if (!code)
		code = sort_rows(c, rows, l);
	if (code)
		return code;
	all = json_array_size(rows);
	while (json_array_size(rows) > c->limit)
		(void)json_array_remove(rows, json_array_size(rows) - 1);
	if (json_array_size(rows) < all)
		cli_note(c, "%zu of %zu %s (--limit)", json_array_size(rows), all, l->member);
	if (cli_flag(c, FLAG_columns) && (c->output >= OUTPUT_JSON && c->output <= OUTPUT_YAML) &&
		reduce(rows, shown, n))
		return cli_fail(c, EXIT_FAILED, "out of memory");
	if (c->output == OUTPUT_JSONL || c->output == OUTPUT_CSV || c->output == OUTPUT_NAME)
		return print_rows(c, rows, l, shown, n);
	if (print_object(c, answer))
		return EXIT_DONE;
	if (all == 0) {
		cli_note(c, "no %s", l->member);
		return EXIT_DONE;
	}
	return print_table(c, rows, l, shown, n);
}

int print_facts(const struct cli *c, const json_t *o, const struct listing *l)
{
	struct buf b;

	if (print_object(c, o))
		return EXIT_DONE;
	buf_init(&b, PRINT_MAX_BYTES);
	for (unsigned i = 0; i < l->n_columns && !b.err; i++) {
		const struct column *col = &l->columns[i];
		const char *color = c->color && col->color ? col->color(o) : NULL;

		buf_reset(&b);
		(void)(col->cell ? col->cell(&b, o, l)
				 : print_value(&b, json_object_get(o, col->member)));
		(void)fprintf(c->out, "%-12s  %s", col->title, color ? color : "");
		cli_put_text(c->out, buf_view(&b));
		(void)fprintf(c->out, "%s\n", color ? "\033[0m" : "");
	}
	buf_reset(&b);
	return put(c, &b);
}

int print_finish(const struct cli *c, int code)
{
	if (fflush(c->out) == 0 && !ferror(c->out))
		return code;
	return cli_fail(c, code ? code : EXIT_FAILED, "can't write to stdout: %s", strerror(errno));
}
