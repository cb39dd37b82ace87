/* agent list, agent show */
#include "client.h"
#include "format.h"
#include "print.h"

#include <aigw/clock.h>

static int cell_count(struct buf *b, const json_t *row, const char *member)
{
	const json_t *v = json_object_get(row, member);

	return json_is_integer(v) ? format_count(b, json_integer_value(v)) : buf_char(b, '-');
}

static int cell_requests(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return cell_count(b, row, "requests");
}

static int cell_spool(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	(void)cell_count(b, row, "spool_records");
	return buf_str(b, " rec");
}

static int cell_lag(struct buf *b, const json_t *row, const struct listing *l)
{
	const json_t *v = json_object_get(row, "spool_lag_s");

	(void)l;
	return json_is_integer(v) ? format_span(b, json_integer_value(v) * USEC_PER_S)
				  : buf_char(b, '-');
}

static int cell_clock(struct buf *b, const json_t *row, const struct listing *l)
{
	const json_t *v = json_object_get(row, "clock_diff_ms");

	(void)l;
	return json_is_integer(v)
		       ? buf_printf(b, "%+" JSON_INTEGER_FORMAT "ms", json_integer_value(v))
		       : buf_char(b, '-');
}

static int cell_uptime(struct buf *b, const json_t *row, const struct listing *l)
{
	const json_t *v = json_object_get(row, "uptime_s");

	(void)l;
	return json_is_integer(v) ? format_span(b, json_integer_value(v) * USEC_PER_S)
				  : buf_char(b, '-');
}

static int cell_seen(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *text = json_get_str(row, "last_seen", NULL);
	usec t;

	if (!text || format_parse_utc(text, &t) < 0)
		return buf_str(b, text ? text : "-");
	return format_when(b, t, l->now_us);
}

/* What one should know about it, in one cell. */
static int cell_note(struct buf *b, const json_t *row, const struct listing *l)
{
	size_t i;
	json_t *w;

	(void)l;
	(void)buf_str(b, json_get_str(row, "reason", ""));
	if (json_get_bool(row, "duplicate", false))
		(void)buf_printf(
			b, "%sa second agent of this name was turned away", b->n ? "; " : "");
	json_array_foreach(json_object_get(row, "warnings"), i, w)(void) buf_printf(
		b, "%s%s", b->n ? "; " : "", json_string_value(w) ? json_string_value(w) : "?");
	return b->n ? b->err : buf_char(b, '-');
}

static int cell_secrets(struct buf *b, const json_t *row, const struct listing *l)
{
	size_t i;
	json_t *s;

	(void)l;
	json_array_foreach(json_object_get(row, "secrets"), i, s)(void) buf_printf(b, "%s%s=%s",
		i ? " " : "", json_get_str(s, "name", "?"), json_get_str(s, "source", "?"));
	return b->n ? b->err : buf_char(b, '-');
}

static const struct column agent_columns[] = {
	{ .title = "AGENT", .member = "name" },
	{ .title = "VERSION", .member = "version" },
	{ .title = "STATE", .member = "state", .color = print_color_state },
	{ .title = "REV", .member = "revision", .right = true },
	{ .title = "REQUESTS", .member = "requests", .right = true, .cell = cell_requests },
	{ .title = "SPOOL", .member = "spool_records", .right = true, .cell = cell_spool },
	{ .title = "LAG", .member = "spool_lag_s", .right = true, .cell = cell_lag },
	{ .title = "CLOCK", .member = "clock_diff_ms", .right = true, .cell = cell_clock },
	{ .title = "UPTIME", .member = "uptime_s", .right = true, .cell = cell_uptime },
	{ .title = "LAST SEEN", .member = "last_seen", .cell = cell_seen },
	{ .title = "NOTE", .member = "reason", .cell = cell_note },
	{ .title = "HOST", .member = "host", .wide = true },
	{ .title = "UID", .member = "uid", .right = true, .wide = true },
	{ .title = "PID", .member = "pid", .right = true, .wide = true },
	{ .title = "STORE", .member = "store_id", .wide = true },
	{ .title = "KEYS SEQ", .member = "keys_seq", .right = true, .wide = true },
	{ .title = "INFLIGHT", .member = "inflight", .right = true, .wide = true },
	{ .title = "DURABILITY", .member = "durability", .wide = true },
	{ .title = "HIGH WATER", .member = "high_water", .right = true, .wide = true },
	{ .title = "RECORDS", .member = "records", .right = true, .wide = true },
	{ .title = "SECRETS", .member = "secrets", .wide = true, .cell = cell_secrets },
};

int cmd_agent_list(struct cli *c)
{
	const struct listing l = { .member = "agents",
		.name = "name",
		.columns = agent_columns,
		.n_columns = ARRAY_LEN(agent_columns),
		.now_us = clock_wall_us() };
	JSON_AUTO *answer = NULL;
	int code = client_get(c, "/api/v1/agents", &answer);

	return code ? code : print_listing(c, answer, &l);
}

int cmd_agent_show(struct cli *c)
{
	const struct listing l = { .columns = agent_columns,
		.n_columns = ARRAY_LEN(agent_columns),
		.now_us = clock_wall_us() };
	JSON_AUTO *answer = NULL;
	struct buf path;
	int code =
		client_get(c, client_path(&path, "/api/v1/agents/", c->inv.args[0], ""), &answer);

	buf_fini(&path);
	return code ? code : print_facts(c, answer, &l);
}
