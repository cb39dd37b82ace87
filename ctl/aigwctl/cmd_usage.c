/* usage show: sums of the ledger by any grouping */
#include "client.h"
#include "exchange.h"
#include "format.h"
#include "period.h"
#include "print.h"

#include <aigw/clock.h>
#include <aigw/text.h>

static const char *const dimensions[] = { "customer", "project", "key", "model", "provider",
	"agent", "uid", "outcome", "endpoint", "day", "hour" };
static const char *const titles[] = { "CUSTOMER", "PROJECT", "KEY", "MODEL", "PROVIDER", "AGENT",
	"UID", "OUTCOME", "ENDPOINT", "DAY", "HOUR" };

/* --- cells ------------------------------------------------------------------------- */

static int put_number(struct buf *b, const json_t *row, const char *member, const struct listing *l)
{
	int64_t n = json_get_int(row, member, 0);

	return l->exact ? format_count(b, n) : format_short(b, n);
}

static int cell_requests(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_count(b, json_get_int(row, "requests", 0));
}

static int cell_input(struct buf *b, const json_t *row, const struct listing *l)
{
	return put_number(b, row, "input_tokens", l);
}

static int cell_cached(struct buf *b, const json_t *row, const struct listing *l)
{
	int64_t cached = json_get_int(row, "cached_input_tokens", 0);

	(void)l;
	return cached ? format_percent(b, cached, json_get_int(row, "input_tokens", 0))
		      : buf_char(b, '-');
}

static int cell_output(struct buf *b, const json_t *row, const struct listing *l)
{
	return put_number(b, row, "output_tokens", l);
}

static int cell_errors(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_percent(b, json_get_int(row, "errors", 0), json_get_int(row, "requests", 0));
}

static int put_money(struct buf *b, const char *text, const struct listing *l)
{
	return !text || format_money(b, text, l->money_decimals, l->currency) == -EINVAL
		       ? buf_char(b, '-')
		       : b->err;
}

static int cell_cost(struct buf *b, const json_t *row, const struct listing *l)
{
	return put_money(b, json_get_str(row, "cost", NULL), l);
}

static int cell_charge(struct buf *b, const json_t *row, const struct listing *l)
{
	return put_money(b, json_get_str(row, "charge", NULL), l);
}

static int cell_unpriced(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_count(b, json_get_int(row, "unpriced", 0));
}

static const char *color_errors(const json_t *row)
{
	return json_get_int(row, "errors", 0) ? "\033[31m" : NULL;
}

static const char *color_unpriced(const json_t *row)
{
	return json_get_int(row, "unpriced", 0) ? "\033[33m" : NULL;
}

static const struct column numbers[] = {
	{ .title = "REQUESTS", .member = "requests", .right = true, .cell = cell_requests },
	{ .title = "IN TOK", .member = "input_tokens", .right = true, .cell = cell_input },
	{ .title = "CACHED", .member = "cached_input_tokens", .right = true, .cell = cell_cached },
	{ .title = "OUT TOK", .member = "output_tokens", .right = true, .cell = cell_output },
	{ .title = "ERRORS",
		.member = "errors",
		.right = true,
		.cell = cell_errors,
		.color = color_errors },
	{ .title = "COST", .member = "cost", .right = true, .cell = cell_cost },
	{ .title = "UNPRICED",
		.member = "unpriced",
		.right = true,
		.cell = cell_unpriced,
		.color = color_unpriced },
	{ .title = "OK", .member = "ok", .right = true, .wide = true },
	{ .title = "REASONING", .member = "reasoning_tokens", .right = true, .wide = true },
	{ .title = "ESTIMATED", .member = "estimated", .right = true, .wide = true },
	{ .title = "CHARGE", .member = "charge", .right = true, .wide = true, .cell = cell_charge },
};

/* --- question ---------------------------------------------------------------------- */

struct question {
	struct column columns[ARRAY_LEN(dimensions) + ARRAY_LEN(numbers)];
	unsigned n_by, n_columns;
	struct buf target;
};

static int by_one(const struct cli *c, struct question *q, struct slice word)
{
	struct slice list[ARRAY_LEN(dimensions)], near;
	unsigned i = 0;

	while (i < ARRAY_LEN(dimensions) && !slice_eq(slice_str(dimensions[i]), word))
		i++;
	if (i == ARRAY_LEN(dimensions)) {
		for (i = 0; i < ARRAY_LEN(dimensions); i++)
			list[i] = slice_str(dimensions[i]);
		near = text_near(word, list, ARRAY_LEN(list));
		if (near.n)
			return cli_fail(c, EXIT_USAGE,
				"--by: can't group by " SLICE_FMT "; did you mean " SLICE_FMT "?",
				SLICE_ARG(word), SLICE_ARG(near));
		return cli_fail(c, EXIT_USAGE,
			"--by: can't group by \"" SLICE_FMT
			"\"; there are customer, project, key, model, "
			"provider, agent, uid, outcome, endpoint, day, hour",
			SLICE_ARG(word));
	}
	for (unsigned k = 0; k < q->n_by; k++)
		if (q->columns[k].member == dimensions[i])
			return cli_fail(c, EXIT_USAGE, "--by: %s stands twice", dimensions[i]);
	q->columns[q->n_by++] = (struct column){ .title = titles[i], .member = dimensions[i] };
	(void)buf_printf(&q->target, "%s%s", q->n_by > 1 ? "," : "", dimensions[i]);
	return 0;
}

static int by_all(const struct cli *c, struct question *q)
{
	const char *by = cli_flag(c, FLAG_by);

	by = by ? by : "project,model";
	(void)buf_str(&q->target, "/api/v1/usage?by=");
	for (;;) {
		int code = by_one(c, q, slice_trim(slice_of(by, strcspn(by, ","))));

		if (code)
			return code;
		by += strcspn(by, ",");
		if (!*by++)
			break;
	}
	q->n_columns = q->n_by;
	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		q->columns[q->n_columns++] = numbers[i];
	return 0;
}

static void put_time(struct buf *b, const char *name, usec us)
{
	char text[32];

	clock_format_utc(us, us % USEC_PER_S != 0, text);
	(void)buf_printf(b, "&%s=", name);
	(void)exchange_escape(b, slice_str(text));
}

static int span(const struct cli *c, struct question *q)
{
	const char *period = cli_flag(c, FLAG_period), *since = cli_flag(c, FLAG_since),
		   *until = cli_flag(c, FLAG_until);
	usec now = clock_wall_us(), from = 0, to = 0;
	struct errbuf e;
	int rc;

	if (period && (since || until))
		return cli_fail(c, EXIT_USAGE, "--period and --since/--until exclude each other");
	rc = since ? period_moment(since, now, &from, &e)
		   : period_named(period ? period : "month", now, &from, &to, &e);
	if (!rc && until) {
		if (!since)
			from = 0;
		rc = period_moment(until, now, &to, &e);
	}
	if (rc)
		return cli_fail(c, EXIT_USAGE, "%s", e.text);
	if (to && to <= from)
		return cli_fail(c, EXIT_USAGE, "the time ends before it begins");
	put_time(&q->target, "since", from);
	if (to)
		put_time(&q->target, "until", to);
	return 0;
}

static unsigned decimals_of(const json_t *answer)
{
	static const char *const members[] = { "cost", "charge" };
	unsigned most = 2;
	size_t i;
	json_t *row;

	for (unsigned k = 0; k < ARRAY_LEN(members); k++) {
		json_array_foreach(json_object_get(answer, "groups"), i, row) most =
			MAX(most, format_money_decimals(json_get_str(row, members[k], "0")));
		most = MAX(most, format_money_decimals(json_get_str(
					 json_object_get(answer, "total"), members[k], "0")));
	}
	return MIN(most, 9);
}

static int show(const struct cli *c, struct question *q, json_t *answer)
{
	struct listing l = { .member = "groups",
		.name = q->columns[0].member,
		.columns = q->columns,
		.n_columns = q->n_columns,
		.currency = json_get_str(answer, "currency", "USD"),
		.money_decimals = decimals_of(answer),
		.exact = c->output == OUTPUT_WIDE };
	JSON_AUTO *total = json_deep_copy(json_object_get(answer, "total"));
	int code;

	if (json_is_object(total) &&
		json_object_set_new(total, q->columns[0].member, json_string("TOTAL")) == 0) {
		for (unsigned i = 1; i < q->n_by; i++)
			(void)json_object_set_new(total, q->columns[i].member, json_string(""));
		l.total = total;
	}
	code = print_listing(c, answer, &l);
	cli_note(c, "%s to %s, %s", json_get_str(answer, "since", "?"),
		json_get_str(answer, "until", "now"), l.currency);
	return code;
}

int cmd_usage_show(struct cli *c)
{
	struct question q = { 0 };
	JSON_AUTO *answer = NULL;
	int code;

	buf_init(&q.target, 4096);
	code = by_all(c, &q);
	if (!code)
		code = span(c, &q);
	if (!code)
		code = client_get(c, buf_cstr(&q.target), &answer);
	if (!code)
		code = show(c, &q, answer);
	buf_fini(&q.target);
	return code;
}
