/* Data on stdout: lists as tables, CSV, names or JSON; single objects as JSON or YAML. A list is an
 * array of objects in an answer of the admin API; a column shows one of their members. One thread.
 */
#ifndef AIGWCTL_PRINT_H
#define AIGWCTL_PRINT_H

#include "cli.h"

#include <aigw/buf.h>
#include <aigw/json.h>

struct listing;

struct column {
	const char *title;  /* "IN TOK" */
	const char *member; /* of a row's object; its name in CSV and for --columns */
	bool right;
	bool wide; /* only in -o wide, csv, or when asked for by --columns */
	/* Text for eyes; NULL: the value as it is. */
	int (*cell)(struct buf *b, const json_t *row, const struct listing *l);
	/* Escape sequence of the cell's color, NULL: none. */
	const char *(*color)(const json_t *row);
};

struct listing {
	const char *member; /* the answer's array: "keys" */
	const char *name;   /* member printed by -o name: "id" */
	const struct column *columns;
	unsigned n_columns;
	const json_t *total; /* last line of tables: sums over all rows; NULL: none */
	usec now_us;         /* wall, for ages */
	const char *currency;
	unsigned money_decimals;
	bool exact; /* long numbers in full (wide) */
};

/* Prints the list in the format asked for; --filter, --sort, --limit, --columns and --no-header
 * act. An exit code. */
int print_listing(const struct cli *c, json_t *answer, const struct listing *l);
/* Takes out the rows for which a --filter does not hold. An exit code. */
int print_filter(const struct cli *c, json_t *rows, const struct listing *l);
/* json, jsonl, yaml: prints the object and returns true; table: false, the caller has its own form.
 */
bool print_object(const struct cli *c, const json_t *o);

/* One object of such a list: a line "TITLE  value" per column, or as print_object. */
int print_facts(const struct cli *c, const json_t *o, const struct listing *l);

/* The value of a member for eyes: text, number, "-" for null or absent, lists joined by commas. */
int print_value(struct buf *b, const json_t *v);
int print_csv_field(struct buf *b, struct slice s);
int print_yaml(struct buf *b, const json_t *v);

const char *print_color_state(const json_t *row); /* by "state": green, yellow, red */

/* Under --watch, before each round: with -o jsonl only rows are printed that the last one had not.
 */
void print_begin_round(void);

/* Whether all that was printed reached stdout; else the sentence and EXIT_FAILED. */
int print_finish(const struct cli *c, int code);

#endif
