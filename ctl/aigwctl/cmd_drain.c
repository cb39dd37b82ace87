/* provider drain, provider resume, model disable, model enable: where calls go, as an operator
 * wants it for a while, at every agent by the controller, or at this host's agent where --agent is
 * given; model targets: how targets stand at this host's */
#include "client.h"
#include "exchange.h"
#include "local.h"
#include "print.h"

#include <aigw/json.h>
#include <aigw/text.h>

static int read_span(struct cli *c, const char *text, int64_t *ret)
{
	usec span;

	if (text_parse_duration(slice_str(text), &span) < 0 || span < USEC_PER_S)
		return cli_fail(c, EXIT_USAGE,
			"--for is '%s': write a whole number with its unit, such as 30m, 1h or 7d",
			text);
	*ret = span;
	return EXIT_DONE;
}

/* What was asked for, as the agent takes it. */
static json_t *body_of(const struct cli *c, const char *kind, int64_t for_s)
{
	const char *target = c->inv.value[FLAG_target];
	json_t *v = json_pack("{s:o}", kind, json_slice(slice_str(c->inv.args[0])));

	if (v && target)
		(void)json_object_set_new(v, "target", json_slice(slice_str(target)));
	if (v && for_s)
		(void)json_object_set_new(v, "for_s", json_integer(for_s));
	return v;
}

/* Takes v. */
static int ask(const struct cli *c, bool on, json_t *v, json_t **ret)
{
	struct buf body;
	int code;

	if (!cli_flag(c, FLAG_agent)) {
		if (v)
			(void)json_object_set_new(
				v, "timeout_ms", json_integer(client_timeout_ms(c)));
		return client_send(
			c, "POST", on ? "/api/v1/drains" : "/api/v1/drains/resume", v, true, ret);
	}
	buf_init(&body, 4096);
	if (!v || json_write(v, &body, false))
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	else
		code = local_call(c, "POST", on ? "/v1/targets/drain" : "/v1/targets/resume",
			buf_view(&body), ret);
	json_decref(v);
	buf_fini(&body);
	return code;
}

/* Who has not said yet that it does so. */
static int report(const struct cli *c, const json_t *answer)
{
	struct buf list;
	unsigned n;

	buf_init(&list, 64u << 10);
	if (client_agents_missing(answer, "confirmed|pending", &list))
		cli_note(c, "not connected, will do so when they are: %s", buf_cstr(&list));
	buf_reset(&list);
	n = client_agents_missing(answer, "confirmed|offline", &list);
	if (n)
		(void)cli_fail(c, EXIT_PARTLY, "%u agent%s did not confirm it in time: %s", n,
			n == 1 ? "" : "s", buf_cstr(&list));
	buf_fini(&list);
	return n ? EXIT_PARTLY : EXIT_DONE;
}

static void put_subject(const struct cli *c, const char *kind)
{
	const char *target = c->inv.value[FLAG_target];

	cli_put_text(c->out, slice_str(kind));
	(void)fputc(' ', c->out);
	cli_put_text(c->out, slice_str(c->inv.args[0]));
	if (target) {
		(void)fputs(" at ", c->out);
		cli_put_text(c->out, slice_str(target));
	}
}

static int drain(struct cli *c, const char *kind, const char *back)
{
	const char *span = c->inv.value[FLAG_for];
	const char *target = c->inv.value[FLAG_target];
	bool here = cli_flag(c, FLAG_agent) != NULL;
	JSON_AUTO *answer = NULL;
	int64_t for_us = 0;
	char left[32];
	int code = span ? read_span(c, span, &for_us) : EXIT_DONE;

	if (code)
		return code;
	code = ask(c, true, body_of(c, kind, for_us / USEC_PER_S), &answer);
	if (code)
		return code;
	if (print_object(c, answer))
		return report(c, answer);
	put_subject(c, kind);
	text_format_duration(for_us ? for_us : 3600 * USEC_PER_S, left);
	(void)fprintf(c->out, " gets no calls of %s for %s; those under way go on\n",
		here ? "this host" : "any host", left);
	cli_note(c, "to take it back: aigwctl %s %s%s%s%s", back, c->inv.args[0],
		target ? " --target " : "", target ? target : "", here ? " --agent PATH" : "");
	return report(c, answer);
}

static int resume(struct cli *c, const char *kind)
{
	JSON_AUTO *answer = NULL;
	int code = ask(c, false, body_of(c, kind, 0), &answer);

	if (code)
		return code;
	if (print_object(c, answer))
		return report(c, answer);
	put_subject(c, kind);
	(void)fprintf(c->out, " %s\n",
		json_get_bool(answer, "changed", false) ? "gets calls again" : "was not drained");
	return report(c, answer);
}

int cmd_provider_drain(struct cli *c)
{
	return drain(c, "provider", "provider resume");
}

int cmd_provider_resume(struct cli *c)
{
	return resume(c, "provider");
}

int cmd_model_disable(struct cli *c)
{
	return drain(c, "model", "model enable");
}

int cmd_model_enable(struct cli *c)
{
	return resume(c, "model");
}

/* --- model targets -------------------------------------------------------------------- */

static int cell_recover(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *text = json_get_str(row, "recover_ms", "0");
	int64_t ms;
	char span[32];

	(void)l;
	if (text_parse_i64(slice_str(text), &ms) || ms <= 0)
		return buf_str(b, "-");
	text_format_duration((ms + 999) / 1000 * USEC_PER_S, span);
	return buf_str(b, span);
}

static const struct column target_columns[] = {
	{ .title = "PROVIDER", .member = "provider" },
	{ .title = "TARGET", .member = "model" },
	{ .title = "PRIORITY", .member = "priority", .right = true },
	{ .title = "WEIGHT", .member = "weight", .right = true },
	{ .title = "STATE", .member = "state", .color = print_color_state },
	{ .title = "BACK IN", .member = "recover_ms", .right = true, .cell = cell_recover },
	{ .title = "IN FLIGHT", .member = "in_flight", .right = true },
	{ .title = "OPENED", .member = "opened", .right = true },
	{ .title = "SHARE", .member = "share", .right = true, .wide = true },
	{ .title = "TTFT US", .member = "ttft_us", .right = true, .wide = true },
	{ .title = "HEADROOM", .member = "headroom", .right = true, .wide = true },
};

/* "PROVIDER model=NAME share=100% ...": the stats' file, a target a line. */
static json_t *rows_of(struct slice text)
{
	json_t *rows = json_array();

	while (text.n) {
		const char *end = memchr(text.p, '\n', text.n);
		struct slice line = slice_of(text.p, end ? (size_t)(end - text.p) : text.n);
		json_t *row = json_object();

		text = slice_skip(text, MIN(line.n + 1, text.n));
		while (line.n) {
			const char *space = memchr(line.p, ' ', line.n);
			struct slice word =
				slice_of(line.p, space ? (size_t)(space - line.p) : line.n);
			const char *eq = memchr(word.p, '=', word.n);
			char member[32] = "provider";

			line = slice_skip(line, MIN(word.n + 1, line.n));
			if (eq && (size_t)(eq - word.p) < sizeof(member)) {
				(void)snprintf(
					member, sizeof(member), "%.*s", (int)(eq - word.p), word.p);
				word = slice_skip(word, (size_t)(eq - word.p) + 1);
			}
			(void)json_object_set_new(row, member, json_slice(word));
		}
		(void)json_array_append_new(rows, row);
	}
	return rows;
}

int cmd_model_targets(struct cli *c)
{
	const struct listing l = { .member = "targets",
		.name = "model",
		.columns = target_columns,
		.n_columns = ARRAY_LEN(target_columns) };
	JSON_AUTO *answer = NULL;
	struct buf path, text;
	int code;

	buf_init(&path, 4096);
	buf_init(&text, EXCHANGE_MAX_ANSWER);
	(void)buf_str(&path, "/v1/stats/models/");
	(void)exchange_escape(&path, slice_str(c->inv.args[0]));
	(void)buf_str(&path, "/targets");
	code = local_text(c, "GET", buf_cstr(&path), SLICE_EMPTY, &text);
	if (!code) {
		answer = json_pack("{s:o}", "targets", rows_of(buf_view(&text)));
		code = answer ? print_listing(c, answer, &l)
			      : cli_fail(c, EXIT_FAILED, "out of memory");
	}
	buf_fini(&path);
	buf_fini(&text);
	return code;
}
