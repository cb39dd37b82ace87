/* agent stats cat, agent stats ls, agent drain, agent resume, agent log-level: this host's agent */
#include "client.h"
#include "exchange.h"
#include "local.h"
#include "print.h"

#include <aigw/json.h>

/* "/v1/stats/" + path, its slashes kept. */
static const char *stats_path(struct buf *b, const char *path)
{
	buf_init(b, 16u << 10);
	(void)buf_str(b, "/v1/stats");
	while (*path == '/')
		path++;
	while (*path) {
		size_t n = strcspn(path, "/");

		(void)buf_char(b, '/');
		(void)exchange_escape(b, slice_of(path, n));
		path += n;
		while (*path == '/')
			path++;
	}
	return buf_cstr(b);
}

int cmd_agent_stats_cat(struct cli *c)
{
	struct buf path, text;
	JSON_AUTO *folder = NULL;
	struct errbuf e;
	int code;

	buf_init(&text, EXCHANGE_MAX_ANSWER);
	code = local_text(c, "GET", stats_path(&path, c->inv.args[0]), SLICE_EMPTY, &text);
	/* Only folders are answered as a list. */
	if (!code && text.n && text.p[0] == '[')
		folder = json_parse(buf_view(&text), &e);
	if (!code && json_is_array(folder))
		code = cli_fail(c, EXIT_USAGE, "%s is a folder: aigwctl agent stats ls %s",
			c->inv.args[0], c->inv.args[0]);
	else if (!code)
		cli_put_text(c->out, buf_view(&text));
	buf_fini(&path);
	buf_fini(&text);
	return code;
}

static const struct column entry_columns[] = {
	{ .title = "NAME", .member = "name" },
	{ .title = "TYPE", .member = "type" },
	{ .title = "MODE", .member = "mode" },
};

int cmd_agent_stats_ls(struct cli *c)
{
	const struct listing l = { .member = "entries",
		.name = "name",
		.columns = entry_columns,
		.n_columns = ARRAY_LEN(entry_columns) };
	const char *which = c->inv.n_args ? c->inv.args[0] : "";
	struct buf path, text;
	JSON_AUTO *list = NULL;
	JSON_AUTO *answer = NULL;
	struct errbuf e;
	int code;

	if (c->inv.n_args > 1)
		return cli_fail(c, EXIT_USAGE, "agent stats ls takes one path");
	buf_init(&text, EXCHANGE_MAX_ANSWER);
	code = local_text(c, "GET", stats_path(&path, which), SLICE_EMPTY, &text);
	if (!code && text.n && text.p[0] == '[')
		list = json_parse(buf_view(&text), &e);
	if (!code && !json_is_array(list))
		code = cli_fail(
			c, EXIT_USAGE, "%s is a file: aigwctl agent stats cat %s", which, which);
	if (!code) {
		answer = json_pack("{s:O}", "entries", list);
		code = answer ? print_listing(c, answer, &l)
			      : cli_fail(c, EXIT_FAILED, "out of memory");
	}
	buf_fini(&path);
	buf_fini(&text);
	return code;
}

/* Whether the agent at the control socket is the one that was named. */
static int check_name(const struct cli *c, const char *name)
{
	JSON_AUTO *status = NULL;
	int code = local_call(c, "GET", "/v1/status", SLICE_EMPTY, &status);
	const char *here = json_get_str(status, "agent", "?");

	if (code || strcmp(here, name) == 0)
		return code;
	return cli_fail(c, EXIT_NOT_FOUND,
		"the agent at unix:%s is %s, not %s; run this on the host of %s, or name its "
		"control "
		"socket with --agent",
		c->agent, here, name, name);
}

static int change_drain(struct cli *c, bool on)
{
	JSON_AUTO *answer = NULL;
	int code = check_name(c, c->inv.args[0]);
	int64_t inflight;

	if (!code)
		code = local_call(c, "POST", on ? "/v1/drain" : "/v1/resume", SLICE_EMPTY, &answer);
	if (code || print_object(c, answer))
		return code;
	inflight = json_get_int(answer, "inflight", 0);
	cli_put_text(c->out, slice_str(c->inv.args[0]));
	if (!on)
		(void)fprintf(c->out, " %s\n",
			json_get_bool(answer, "changed", false) ? "takes calls again"
								: "was not drained");
	else
		(void)fprintf(c->out, "%s refuses new calls; %" PRId64 " in flight go on\n",
			json_get_bool(answer, "changed", false) ? "" : " already", inflight);
	if (on)
		cli_note(c, "to take it back: aigwctl agent resume %s", c->inv.args[0]);
	return EXIT_DONE;
}

int cmd_agent_drain(struct cli *c)
{
	return change_drain(c, true);
}

int cmd_agent_resume(struct cli *c)
{
	return change_drain(c, false);
}

int cmd_agent_log_level(struct cli *c)
{
	const char *level = c->inv.n_args > 1 ? c->inv.args[1] : NULL;
	JSON_AUTO *answer = NULL;
	struct buf body;
	int code;

	if (c->inv.n_args < 1 || c->inv.n_args > 2)
		return cli_fail(c, EXIT_USAGE, "aigwctl agent log-level NAME [LEVEL]");
	code = check_name(c, c->inv.args[0]);
	buf_init(&body, 4096);
	if (level) {
		JSON_AUTO *v = json_pack("{s:o}", "level", json_slice(slice_str(level)));

		if (!v || json_write(v, &body, false))
			code = cli_fail(c, EXIT_FAILED, "out of memory");
	}
	if (!code)
		code = local_call(
			c, level ? "PUT" : "GET", "/v1/log-level", buf_view(&body), &answer);
	buf_fini(&body);
	if (code || print_object(c, answer))
		return code;
	cli_put_text(c->out, slice_str(json_get_str(answer, "level", "?")));
	(void)fputc('\n', c->out);
	return EXIT_DONE;
}
