/* provider test: this host's agent asks a provider now, with each of its credentials; what came of
 * it, what it means and what to do. */
#include "client.h"
#include "local.h"
#include "print.h"

#include <aigw/json.h>

static const char *color_result(const json_t *row)
{
	const char *result = json_get_str(row, "result", "");

	if (strcmp(result, "good") == 0)
		return "\033[32m";
	return strcmp(result, "cannot_tell") == 0 ? "\033[33m" : "\033[31m";
}

/* The status, or why there is none. */
static int cell_answer(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	if (json_get_str(row, "reason", NULL))
		return buf_str(b, json_get_str(row, "reason", ""));
	return print_value(b, json_object_get(row, "status"));
}

static int cell_class(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *class = json_get_str(row, "class", "none");

	(void)l;
	return buf_str(b, strcmp(class, "none") == 0 ? "-" : class);
}

static const struct column columns[] = {
	{ .title = "CREDENTIAL", .member = "credential" },
	{ .title = "RESULT", .member = "result", .color = color_result },
	{ .title = "ANSWER", .member = "status", .cell = cell_answer },
	{ .title = "CLASS", .member = "class", .cell = cell_class },
	{ .title = "DNS US", .member = "dns_us", .right = true },
	{ .title = "CONNECT", .member = "connect_us", .right = true },
	{ .title = "TLS", .member = "tls_us", .right = true },
	{ .title = "FIRST BYTE", .member = "first_byte_us", .right = true },
	{ .title = "TOTAL US", .member = "total_us", .right = true },
	{ .title = "STATE", .member = "state" },
	{ .title = "REASON", .member = "reason", .wide = true },
	{ .title = "MEANS", .member = "means", .wide = true },
	{ .title = "REMEDY", .member = "remedy", .wide = true },
};

/* A little before we would give up ourselves, so that it is the probe that says so. */
static int64_t most_ms(const struct cli *c)
{
	int64_t ms = client_timeout_ms(c);

	return MAX(ms - MIN(ms / 5, (int64_t)1000), (int64_t)1);
}

static int ask(const struct cli *c, json_t **ret)
{
	JSON_AUTO *v = json_pack("{s:o, s:s*, s:I}", "provider",
		json_slice(slice_str(c->inv.args[0])), "credential", cli_flag(c, FLAG_credential),
		"timeout_ms", (json_int_t)most_ms(c));
	struct buf body;
	int code;

	buf_init(&body, 4096);
	if (!v || json_write(v, &body, false))
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	else
		code = local_call(c, "POST", "/v1/providers/test", buf_view(&body), ret);
	buf_fini(&body);
	return code;
}

static void advise(const struct cli *c, const json_t *row)
{
	const char *detail = json_get_str(row, "detail", "");
	const char *remedy = json_get_str(row, "remedy", "");

	cli_note(c, "%s: %s%s%s%s%s%s", json_get_str(row, "credential", "without a credential"),
		json_get_str(row, "means", ""), detail[0] ? " (" : "", detail, detail[0] ? ")" : "",
		remedy[0] ? "; " : "", remedy);
	if (json_get_bool(row, "tried_next", false))
		cli_note(c, "%s: it was left alone; the next call may try it",
			json_get_str(row, "credential", "without a credential"));
}

int cmd_provider_test(struct cli *c)
{
	const struct listing l = { .member = "credentials",
		.name = "credential",
		.columns = columns,
		.n_columns = ARRAY_LEN(columns) };
	JSON_AUTO *answer = NULL;
	unsigned good = 0, unsure = 0, all = 0;
	const json_t *row;
	bool eyes;
	size_t i;
	int code = ask(c, &answer);

	if (code)
		return code;
	json_array_foreach(json_object_get(answer, "credentials"), i, row)
	{
		all++;
		good += json_get_bool(row, "good", false);
		unsure += strcmp(json_get_str(row, "result", ""), "cannot_tell") == 0;
	}
	eyes = c->output == OUTPUT_TABLE || c->output == OUTPUT_WIDE;
	if (eyes)
		cli_note(c, "asked: %s%s", json_get_str(answer, "asked", ""),
			json_get_bool(answer, "proxy", false) ? ", through the agent's proxy" : "");
	code = print_listing(c, answer, &l);
	json_array_foreach(json_object_get(answer, "credentials"), i, row)
	{
		if (eyes)
			advise(c, row);
	}
	if (code || good == all)
		return code;
	return cli_fail(c, good + unsure ? EXIT_PARTLY : EXIT_FAILED,
		"%u of %u probes of %s had no good answer", all - good, all, c->inv.args[0]);
}
