/* tail: requests as they finish; events: what happened at this host's agent. Without --follow they
 * are lists like others. With it rows go out as they come: a table of columns whose widths are
 * fixed, since nobody knows what is to come. */
#include "exchange.h"
#include "format.h"
#include "local.h"
#include "period.h"
#include "print.h"

#include <aigw/clock.h>
#include <aigw/text.h>

/* --- cells ------------------------------------------------------------------------------ */

/* "09:36:58.102" of the time, in UTC. */
static int cell_time(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *t = json_get_str(row, "time", "");
	const char *at = strchr(t, 'T');

	(void)l;
	return at && strlen(at) >= 13 ? buf_append(b, at + 1, 12) : buf_str(b, *t ? t : "-");
}

static int cell_request(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *id = json_get_str(row, "request", "-");

	if (l->exact || strlen(id) <= 12)
		return buf_str(b, id);
	/* The end differs first: its beginning is of the worker's life. */
	return buf_printf(b, "…%s", id + strlen(id) - 8);
}

static int cell_ttft(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_latency(b, json_get_int(row, "first_byte_us", -1));
}

static int cell_total(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_latency(b, json_get_int(row, "duration_us", -1));
}

static int cell_tokens(struct buf *b, const json_t *row, const char *member)
{
	int64_t n = json_get_int(row, member, 0);
	bool served = strcmp(json_get_str(row, "outcome", ""), "refused") != 0;

	return n || served ? buf_i64(b, n) : buf_char(b, '-');
}

static int cell_in(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return cell_tokens(b, row, "input_tokens");
}

static int cell_out(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return cell_tokens(b, row, "output_tokens");
}

static int cell_cost(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *cost = json_get_str(row, "cost", NULL);

	if (!cost)
		return buf_char(b, '-');
	return format_money(
		b, cost, MAX(format_money_decimals(cost), 6u), l->currency ? l->currency : "USD");
}

static int cell_note(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *outcome = json_get_str(row, "outcome", "");
	const char *fail = json_get_str(row, "fail", NULL);
	const char *first = json_get_str(row, "first_failure", NULL);

	(void)l;
	if (first && strcmp(outcome, "ok") == 0)
		return buf_printf(b, "retry: %s", first);
	if (strcmp(outcome, "ok") == 0)
		return json_get_bool(row, "estimated", false) ? buf_str(b, "estimated")
							      : buf_char(b, '-');
	return fail ? buf_printf(b, "%s: %s", outcome, fail) : buf_str(b, outcome);
}

static const char *color_status(const json_t *row)
{
	int64_t status = json_get_int(row, "status", 0);

	return status >= 500 || status == 0 ? "\033[31m" : status >= 400 ? "\033[33m" : NULL;
}

static const struct column call_columns[] = {
	{ .title = "TIME", .member = "time", .cell = cell_time },
	{ .title = "REQUEST", .member = "request", .cell = cell_request },
	{ .title = "PROJECT", .member = "project" },
	{ .title = "MODEL", .member = "model" },
	{ .title = "TARGET", .member = "target" },
	{ .title = "ST", .member = "status", .right = true, .color = color_status },
	{ .title = "IN", .member = "input_tokens", .right = true, .cell = cell_in },
	{ .title = "OUT", .member = "output_tokens", .right = true, .cell = cell_out },
	{ .title = "TTFT", .member = "first_byte_us", .right = true, .cell = cell_ttft },
	{ .title = "TOTAL", .member = "duration_us", .right = true, .cell = cell_total },
	{ .title = "COST", .member = "cost", .right = true, .cell = cell_cost },
	{ .title = "NOTE", .member = "fail", .cell = cell_note },
	{ .title = "OUTCOME", .member = "outcome", .wide = true },
	{ .title = "CACHED", .member = "cached_input_tokens", .right = true, .wide = true },
	{ .title = "CALLER", .member = "caller", .wide = true },
	{ .title = "STREAM", .member = "stream", .wide = true },
	{ .title = "FAILED TRIES", .member = "failed_tries", .right = true, .wide = true },
	{ .title = "ESTIMATED", .member = "estimated", .wide = true },
};

/* All that the line says besides: "provider=local reason=connect_refused". */
static int cell_details(struct buf *b, const json_t *row, const struct listing *l)
{
	static const char *const shown[] = { "time", "event", "level", "area", "details" };
	const char *key;
	json_t *v;

	(void)l;
	json_object_foreach(json_unconst(row), key, v)
	{
		bool is_shown = json_is_null(v);

		for (size_t i = 0; i < ARRAY_LEN(shown); i++)
			is_shown = is_shown || strcmp(key, shown[i]) == 0;
		if (is_shown)
			continue;
		(void)buf_printf(b, "%s%s=", b->n ? " " : "", key);
		(void)print_value(b, v);
	}
	return b->n ? b->err : buf_char(b, '-');
}

static const struct column event_columns[] = {
	{ .title = "TIME", .member = "time", .cell = cell_time },
	{ .title = "EVENT", .member = "event" },
	{ .title = "DETAILS", .member = "details" },
	{ .title = "LEVEL", .member = "level", .wide = true },
	{ .title = "AREA", .member = "area", .wide = true },
};

/* --- rows as they come ------------------------------------------------------------------ */

static const uint8_t call_widths[] = { 12, 9, 12, 18, 12, 3, 6, 6, 7, 7, 11, 4 };
static const uint8_t event_widths[] = { 12, 20, 7 };

struct coming {
	struct listing l;
	const uint8_t *widths;
	unsigned n_widths; /* columns of a plain table */
	bool head_done;
	json_t *kept;  /* array: without --follow, printed at the end; NULL: at once */
	uint64_t left; /* of --limit */
};

static size_t text_width(struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static void put_cell(struct buf *line, struct slice cell, size_t width, bool right, bool last)
{
	size_t n = text_width(cell), pad = width > n ? width - n : 0;

	for (size_t i = 0; right && i < pad; i++)
		(void)buf_char(line, ' ');
	(void)buf_slice(line, cell);
	for (size_t i = 0; !right && !last && i < pad; i++)
		(void)buf_char(line, ' ');
	if (!last)
		(void)buf_str(line, "  ");
}

/* row NULL: the titles. */
static void put_table_row(const struct cli *c, const struct coming *k, const json_t *row)
{
	struct buf line, cell;

	buf_init(&line, 64u << 10);
	buf_init(&cell, 16u << 10);
	for (unsigned i = 0; i < k->n_widths; i++) {
		const struct column *col = &k->l.columns[i];

		buf_reset(&cell);
		if (!row)
			(void)buf_str(&cell, col->title);
		else if (col->cell)
			(void)col->cell(&cell, row, &k->l);
		else
			(void)print_value(&cell, json_object_get(row, col->member));
		put_cell(&line, buf_view(&cell), k->widths[i], col->right, i + 1 == k->n_widths);
	}
	cli_put_text(c->out, buf_view(&line));
	(void)fputc('\n', c->out);
	buf_fini(&line);
	buf_fini(&cell);
}

static int print_now(struct cli *c, struct coming *k, json_t *row)
{
	JSON_AUTO *answer = json_pack("{s:[O]}", k->l.member, row);
	json_t *rows = json_object_get(answer, k->l.member);
	int code;

	if (!answer)
		return cli_fail(c, EXIT_FAILED, "out of memory");
	code = print_filter(c, rows, &k->l);
	if (code || json_array_size(rows) == 0)
		return code;
	if (c->output != OUTPUT_TABLE)
		return print_listing(c, answer, &k->l);
	if (!k->head_done && !cli_flag(c, FLAG_no_header))
		put_table_row(c, k, NULL);
	k->head_done = true;
	put_table_row(c, k, row);
	return EXIT_DONE;
}

static int on_line(struct cli *c, json_t *row, void *owner)
{
	struct coming *k = owner;
	int64_t lost = json_get_int(row, "lost", 0);
	struct buf details;
	int code;

	if (lost) {
		cli_note(c, "%" PRId64 " lines are lost: they came faster than they were read",
			lost);
		return EXIT_DONE;
	}
	if (k->l.columns == event_columns && c->output != OUTPUT_JSON &&
		c->output != OUTPUT_JSONL && c->output != OUTPUT_YAML) {
		buf_init(&details, 16u << 10);
		(void)cell_details(&details, row, &k->l);
		(void)json_object_set_new(row, "details", json_slice(buf_view(&details)));
		buf_fini(&details);
	}
	if (k->kept) {
		return json_array_append(k->kept, row) ? cli_fail(c, EXIT_FAILED, "out of memory")
						       : EXIT_DONE;
	}
	code = print_now(c, k, row);
	if (c->output == OUTPUT_CSV)
		c->inv.value[FLAG_no_header] = ""; /* once */
	return code;
}

static int follow(struct cli *c, struct coming *k, const char *target)
{
	JSON_AUTO *none = json_pack("{s:[]}", k->l.member);
	int code;

	if (cli_flag(c, FLAG_sort) || cli_flag(c, FLAG_limit))
		return cli_fail(c, EXIT_USAGE,
			"--follow prints what comes as it comes: without --sort and --limit");
	if (c->output == OUTPUT_JSON || c->output == OUTPUT_YAML || c->output == OUTPUT_WIDE)
		return cli_fail(c, EXIT_USAGE,
			"--follow prints table, jsonl, csv or name: the others need to know the "
			"end");
	if (c->output == OUTPUT_TABLE && cli_flag(c, FLAG_columns))
		return cli_fail(c, EXIT_USAGE, "--follow with --columns needs -o jsonl or csv");
	if (c->output == OUTPUT_CSV && none) { /* the header stands there before anything comes */
		code = print_listing(c, none, &k->l);
		c->inv.value[FLAG_no_header] = "";
		(void)fflush(c->out);
		if (code)
			return code;
	}
	return local_lines(c, target, true, on_line, k);
}

static int show(struct cli *c, struct coming *k, const char *target)
{
	JSON_AUTO *status = NULL;
	JSON_AUTO *answer = NULL;
	/* First of all, so that who can't be reached or won't answer is told within --timeout. */
	int code = local_call(c, "GET", "/v1/status", SLICE_EMPTY, &status);

	if (code)
		return code;
	k->l.currency = json_get_str(status, "currency", "USD");
	k->l.exact = c->output == OUTPUT_WIDE;
	k->l.now_us = clock_wall_us();
	if (cli_flag(c, FLAG_follow))
		return follow(c, k, target);
	k->kept = json_array();
	answer = json_pack("{s:o}", k->l.member, k->kept);
	if (!answer)
		return cli_fail(c, EXIT_FAILED, "out of memory");
	code = local_lines(c, target, false, on_line, k);
	return code ? code : print_listing(c, answer, &k->l);
}

int cmd_tail(struct cli *c)
{
	struct coming k = { .l = { .member = "calls",
				    .name = "request",
				    .columns = call_columns,
				    .n_columns = ARRAY_LEN(call_columns) },
		.widths = call_widths,
		.n_widths = ARRAY_LEN(call_widths) };
	const char *lines = cli_flag(c, FLAG_lines);
	char target[64];
	uint64_t n = 10;

	if (lines && (text_parse_u64(slice_str(lines), &n) < 0 || n > 4096))
		return cli_fail(
			c, EXIT_USAGE, "--lines %.60s: must be a number from 0 to 4096", lines);
	(void)snprintf(target, sizeof(target), "/v1/tail?n=%" PRIu64 "%s", n,
		cli_flag(c, FLAG_follow) ? "&follow=1" : "");
	return show(c, &k, target);
}

int cmd_events(struct cli *c)
{
	struct coming k = { .l = { .member = "events",
				    .name = "event",
				    .columns = event_columns,
				    .n_columns = ARRAY_LEN(event_columns) },
		.widths = event_widths,
		.n_widths = ARRAY_LEN(event_widths) };
	const char *kind = cli_flag(c, FLAG_kind), *since = cli_flag(c, FLAG_since);
	struct errbuf e;
	struct buf target;
	usec from = 0;
	int code;

	if (since && period_moment(since, clock_wall_us(), &from, &e))
		return cli_fail(c, EXIT_USAGE, "--since: %s", e.text);
	buf_init(&target, 4096);
	(void)buf_printf(&target, "/v1/events?follow=%d", cli_flag(c, FLAG_follow) != NULL);
	if (since)
		(void)buf_printf(&target, "&since=%" PRId64 ".%06" PRId64, from / USEC_PER_S,
			from % USEC_PER_S);
	if (kind) {
		(void)buf_str(&target, "&kind=");
		(void)exchange_escape(&target, slice_str(kind));
	}
	code = show(c, &k, buf_cstr(&target));
	buf_fini(&target);
	return code;
}
