/* diff, history, rollback: what a policy was, is and would be. */
#include "client.h"
#include "format.h"
#include "policy_files.h"
#include "print.h"

#include <aigw/clock.h>
#include <aigw/text.h>

/* --- diff ------------------------------------------------------------------------------ */

static char sign_of(const char *change)
{
	return *change == 'a' ? '+' : *change == 'r' ? '-' : '~';
}

static void put_sign(const struct cli *c, char sign)
{
	const char *color = sign == '+' ? "\033[32m" : sign == '-' ? "\033[31m" : "\033[33m";

	(void)fprintf(c->out, "%s%c%s ", c->color ? color : "", sign, c->color ? "\033[0m" : "");
}

static void put_member(const struct cli *c, const json_t *m)
{
	const char *from = json_get_str(m, "from", ""), *to = json_get_str(m, "to", "");
	char sign = sign_of(json_get_str(m, "change", ""));
	struct buf line;

	buf_init(&line, 1u << 20);
	(void)buf_printf(&line, "  %-28s ", json_get_str(m, "member", "?"));
	if (sign == '~')
		(void)buf_printf(&line, "%s -> %s", from, to);
	else
		(void)buf_str(&line, sign == '+' ? to : from);
	put_sign(c, sign);
	cli_put_text(c->out, buf_view(&line));
	(void)fputc('\n', c->out);
	buf_fini(&line);
}

static void put_change(const struct cli *c, const json_t *change, size_t count[static 3])
{
	const char *kind = json_get_str(change, "change", "");
	char sign = sign_of(kind);
	json_t *m;
	size_t i;

	count[sign == '+' ? 0 : sign == '~' ? 1 : 2]++;
	if (sign == '~')
		(void)fputs("  ", c->out);
	else
		put_sign(c, sign);
	cli_put_text(c->out, slice_str(json_get_str(change, "object", "?")));
	(void)fputc('\n', c->out);
	if (sign != '~')
		return; /* the whole object: its text stands in the file */
	json_array_foreach(json_object_get(change, "members"), i, m) put_member(c, m);
}

static int show_diff(const struct cli *c, const json_t *answer)
{
	size_t agents = json_array_size(json_object_get(answer, "agents")), count[3] = { 0 }, i;
	bool same = json_get_bool(answer, "same", false);
	json_t *change;

	if (!print_object(c, answer)) {
		json_array_foreach(json_object_get(answer, "changes"), i, change)
			put_change(c, change, count);
		if (!same)
			(void)fprintf(c->out,
				"Plan: %zu added, %zu changed, %zu removed. %zu agent%s "
				"affected.\n",
				count[0], count[1], count[2], agents, agents == 1 ? "" : "s");
	}
	if (same)
		cli_note(c, "no difference");
	return same ? EXIT_DONE : EXIT_FAILED;
}

/* "A..B", "A" (the running one to A) or "A.." (A to the running one). */
static int read_range(const struct cli *c, int64_t *ret_from, int64_t *ret_to)
{
	const char *text = cli_flag(c, FLAG_revision), *dots = strstr(text, "..");
	struct slice a = slice_of(text, dots ? (size_t)(dots - text) : strlen(text));
	struct slice b = dots ? slice_str(dots + 2) : SLICE_EMPTY;
	uint64_t from = 0, to = 0;
	int code = EXIT_DONE;

	if ((a.n && (text_parse_u64(a, &from) < 0 || from == 0 || from > INT64_MAX)) ||
		(b.n && (text_parse_u64(b, &to) < 0 || to == 0 || to > INT64_MAX)) ||
		(!a.n && !b.n))
		return cli_fail(c, EXIT_USAGE,
			"--revision %s: must be A..B, A.. or ..B with revisions' numbers", text);
	*ret_from = (int64_t)from;
	*ret_to = (int64_t)to;
	if (!dots || !a.n || !b.n) {
		int64_t running;

		code = revision_base(c, &running);
		if (!dots) { /* from the running one to that one */
			*ret_to = *ret_from;
			*ret_from = running;
		} else if (!a.n) {
			*ret_from = running;
		} else {
			*ret_to = running;
		}
	}
	return code;
}

static int diff_body(const struct cli *c, json_t **ret)
{
	struct policy_files f;
	int64_t from = 0, to = 0;
	json_t *list;
	int code;

	if (cli_flag(c, FLAG_revision)) {
		if (c->inv.n_files)
			return cli_fail(
				c, EXIT_USAGE, "-f and --revision exclude each other in diff");
		code = read_range(c, &from, &to);
		if (!code)
			*ret = json_pack(
				"{s:I, s:I}", "from", (json_int_t)from, "to", (json_int_t)to);
		return code;
	}
	code = policy_files_read(c, &f);
	if (!code) {
		list = policy_files_json(&f);
		if (list)
			*ret = json_pack("{s:o}", "files", list);
		else
			code = policy_files_say_why(c, &f);
	}
	policy_files_fini(&f);
	return code;
}

/* Exit 0 same, 1 differs, above 1 trouble. */
int cmd_diff(struct cli *c)
{
	JSON_AUTO *answer = NULL;
	json_t *body = NULL;
	int code = diff_body(c, &body);

	if (!code)
		code = client_send(c, "POST", "/api/v1/policy/diff", body, false, &answer);
	if (code == EXIT_FAILED)
		return EXIT_USAGE; /* 1 would say that there are differences */
	return code ? code : show_diff(c, answer);
}

/* --- history --------------------------------------------------------------------------- */

static int cell_when(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *text = json_get_str(row, "applied_at", "-");
	usec t;

	if (format_parse_utc(text, &t) < 0)
		return buf_str(b, text);
	return format_when(b, t, l->now_us);
}

static const struct column revision_columns[] = {
	{ .title = "REVISION", .member = "revision", .right = true },
	{ .title = "APPLIED", .member = "applied_at", .cell = cell_when },
	{ .title = "BY", .member = "applied_by" },
	{ .title = "MESSAGE", .member = "message" },
	{ .title = "DIGEST", .member = "digest", .wide = true },
};

static int show_revision(const struct cli *c, const char *text)
{
	JSON_AUTO *answer = NULL;
	struct buf path;
	json_t *file;
	size_t i;
	int code = client_get(c, client_path(&path, "/api/v1/policy?revision=", text, ""), &answer);

	buf_fini(&path);
	if (code || print_object(c, answer))
		return code;
	json_array_foreach(json_object_get(answer, "files"), i, file)
	{
		(void)fputs("# --- ", c->out);
		cli_put_text(c->out, slice_str(json_get_str(file, "name", "?")));
		(void)fputc('\n', c->out);
		cli_put_text(c->out, slice_str(json_get_str(file, "text", "")));
	}
	return EXIT_DONE;
}

int cmd_history(struct cli *c)
{
	const struct listing l = { .member = "revisions",
		.name = "revision",
		.columns = revision_columns,
		.n_columns = ARRAY_LEN(revision_columns),
		.now_us = clock_wall_us() };
	JSON_AUTO *answer = NULL;
	int code;

	if (cli_flag(c, FLAG_show))
		return show_revision(c, cli_flag(c, FLAG_show));
	code = client_get(c, "/api/v1/revisions", &answer);
	return code ? code : print_listing(c, answer, &l);
}

/* --- rollback -------------------------------------------------------------------------- */

static int send_rollback(
	const struct cli *c, int64_t to, bool dry_run, int64_t if_revision, json_t **ret)
{
	const char *message = cli_flag(c, FLAG_message);
	char text[64];
	json_t *body;

	(void)snprintf(text, sizeof(text), "rollback to revision %" PRId64, to);
	body = json_pack("{s:I, s:s, s:b, s:b, s:I, s:I}", "revision", (json_int_t)to, "message",
		message ? message : text, "dry_run", dry_run, "wait", !cli_flag(c, FLAG_no_wait),
		"timeout_ms", (json_int_t)client_timeout_ms(c), "if_revision",
		(json_int_t)if_revision);
	return client_send(c, "POST", "/api/v1/policy/rollback", body, !dry_run, ret);
}

static int roll_back(const struct cli *c, int64_t to, int64_t if_revision)
{
	bool dry_run = cli_flag(c, FLAG_dry_run), asks = !cli_flag(c, FLAG_yes) && !dry_run;
	JSON_AUTO *plan = NULL, *answer = NULL;
	usec start;
	int code = send_rollback(c, to, true, if_revision, &plan);

	if (code)
		return code;
	revision_show_warnings(c, plan);
	if (dry_run) {
		if (!print_object(c, plan))
			revision_show_plan(c, c->out, plan);
		return EXIT_DONE;
	}
	if (asks || !c->quiet)
		revision_show_plan(c, c->err, plan);
	if (asks && !json_get_bool(plan, "unchanged", false))
		code = revision_ask(c, "Roll back?");
	if (code)
		return code;
	start = clock_mono_us();
	code = send_rollback(c, to, false, if_revision, &answer);
	return code ? code : revision_report(c, answer, clock_mono_us() - start);
}

int cmd_rollback(struct cli *c)
{
	const char *text = c->inv.n_args ? c->inv.args[0] : NULL;
	int64_t if_revision, running = 0;
	uint64_t to = 0;
	int code;

	if (c->inv.n_args > 1 ||
		(text && (text_parse_u64(slice_str(text), &to) < 0 || to == 0 || to > INT64_MAX)))
		return cli_fail(c, EXIT_USAGE, "rollback takes the number of one revision");
	code = revision_flags(c, &if_revision);
	if (!code)
		code = revision_base(c, &running);
	if (code)
		return code;
	if (running == 0)
		return cli_fail(c, EXIT_NOT_FOUND, "no policy has been applied yet");
	if (!text && running == 1)
		return cli_fail(c, EXIT_NOT_FOUND, "there is no revision before 1");
	/* What was looked at is what is replaced. */
	return roll_back(
		c, text ? (int64_t)to : running - 1, if_revision >= 0 ? if_revision : running);
}
