/* provider drain, provider resume, model disable, model enable: where calls go, as an operator
 * wants it for a while, at every agent by the controller, or at this host's agent where --agent is
 * given; model targets, provider status: how they stand at this host's */
#include "client.h"
#include "exchange.h"
#include "format.h"
#include "local.h"
#include "print.h"

#include <aigw/clock.h>
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

/* `shows`: the command that shows what else may be drained. */
static int resume(struct cli *c, const char *kind, const char *shows)
{
	JSON_AUTO *answer = NULL;
	int code = ask(c, false, body_of(c, kind, 0), &answer);
	bool changed;

	if (code)
		return code;
	if (print_object(c, answer))
		return report(c, answer);
	changed = json_get_bool(answer, "changed", false);
	put_subject(c, kind);
	(void)fprintf(c->out, " %s\n", changed ? "gets calls again" : "was not drained");
	if (!changed)
		cli_note(c, "how it stands: aigwctl %s %s", shows, c->inv.args[0]);
	return report(c, answer);
}

int cmd_provider_drain(struct cli *c)
{
	return drain(c, "provider", "provider resume");
}

int cmd_provider_resume(struct cli *c)
{
	return resume(c, "provider", "provider status");
}

int cmd_model_disable(struct cli *c)
{
	return drain(c, "model", "model enable");
}

int cmd_model_enable(struct cli *c)
{
	return resume(c, "model", "model targets");
}

/* --- model targets -------------------------------------------------------------------- */

static int cell_recover(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *text = json_get_str(row, "recover_in_ms", "0");
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
	{ .title = "BACK IN", .member = "recover_in_ms", .right = true, .cell = cell_recover },
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

/* A file or folder of the stats: /v1/stats/FOLDER/NAME/FILE; name and file may be NULL. */
static int stats_text(const struct cli *c, const char *folder, const char *name, const char *file,
	struct buf *text)
{
	struct buf path;
	int code;

	buf_init(&path, 4096);
	(void)buf_printf(&path, "/v1/stats/%s", folder);
	if (name) {
		(void)buf_char(&path, '/');
		(void)exchange_escape(&path, slice_str(name));
	}
	if (file)
		(void)buf_printf(&path, "/%s", file);
	buf_reset(text);
	code = local_text(c, "GET", buf_cstr(&path), SLICE_EMPTY, text);
	buf_fini(&path);
	return code;
}

/* Names in a folder of the stats. */
static int names_in(const struct cli *c, const char *folder, struct buf *text, json_t **ret)
{
	struct errbuf e;
	int code = stats_text(c, folder, NULL, NULL, text);

	*ret = code ? NULL : json_parse(buf_view(text), &e);
	if (!code && !json_is_array(*ret))
		code = cli_fail(c, EXIT_FAILED, "the agent's list of %s is malformed", folder);
	return code;
}

static bool has_entry(const json_t *entries, const char *name)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(entries, i, entry)
	{
		if (strcmp(json_get_str(entry, "name", ""), name) == 0)
			return true;
	}
	return false;
}

int cmd_model_targets(struct cli *c)
{
	const struct listing l = { .member = "targets",
		.name = "model",
		.columns = target_columns,
		.n_columns = ARRAY_LEN(target_columns) };
	const char *name = c->inv.args[0];
	JSON_AUTO *models = NULL;
	JSON_AUTO *answer = NULL;
	struct buf text;
	int code;

	buf_init(&text, EXCHANGE_MAX_ANSWER);
	code = names_in(c, "models", &text, &models);
	if (!code && !has_entry(models, name))
		code = cli_fail(c, EXIT_NOT_FOUND,
			"this host's agent has no model named %s; aigwctl model list shows them, "
			"by name and alias",
			name);
	if (!code)
		code = stats_text(c, "models", name, "targets", &text);
	if (!code) {
		answer = json_pack("{s:o}", "targets", rows_of(buf_view(&text)));
		code = answer ? print_listing(c, answer, &l)
			      : cli_fail(c, EXIT_FAILED, "out of memory");
	}
	buf_fini(&text);
	return code;
}

/* --- provider status ------------------------------------------------------------------ */

/* What is known of one provider: its row, and the targets that it has been asked of so far. */
struct status {
	const char *name;
	int64_t targets, ok, open, drained, in_flight;
	const char *common; /* how all of them stand, of the rows; "": each in its way */
	int64_t drained_ms; /* until the first of the drained is back */
};

static void add_drained(struct status *st, const json_t *row)
{
	int64_t ms = 0;

	(void)text_parse_i64(slice_str(json_get_str(row, "recover_in_ms", "0")), &ms);
	st->drained_ms = st->drained++ ? MIN(st->drained_ms, ms) : ms;
}

/* Models may share a target: it counts once. */
static void add_targets(struct status *st, const json_t *rows, json_t *seen)
{
	const json_t *row;
	char target[256];
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const char *state = json_get_str(row, "state", "");
		int64_t n = 0;

		if (strcmp(json_get_str(row, "provider", ""), st->name) != 0)
			continue;
		st->targets++;
		st->ok += strcmp(state, "ok") == 0;
		st->common = !st->common || strcmp(st->common, state) == 0 ? state : "";
		st->open += strcmp(state, "open") == 0 || strcmp(state, "probing") == 0;
		if (strcmp(state, "drained") == 0)
			add_drained(st, row);
		(void)snprintf(
			target, sizeof(target), "%s/%s", st->name, json_get_str(row, "model", ""));
		if (json_object_get(seen, target))
			continue;
		(void)json_object_set_new(seen, target, json_true());
		(void)text_parse_i64(slice_str(json_get_str(row, "in_flight", "0")), &n);
		st->in_flight += n;
	}
}

/* Calls say how it does; where none of its targets is well, that counts. */
static const char *state_of(const struct status *st, struct slice by_calls)
{
	bool failing = slice_starts(by_calls, SLICE("failing"));

	if (st->targets && !st->ok)
		return st->common[0] ? st->common : "failing";
	return failing ? "failing" : "ok";
}

/* The number behind `key` in the line that begins with `line`; null: it is not there, or of no
 * call. */
static json_t *number_in(struct slice text, const char *line, const char *key)
{
	const char *at = text.n ? memmem(text.p, text.n, line, strlen(line)) : NULL;
	const char *end = at ? memchr(at, '\n', (size_t)(text.p + text.n - at)) : NULL;
	const char *word = end ? memmem(at, (size_t)(end - at), key, strlen(key)) : NULL;
	int64_t v = 0;

	if (!word || memmem(at, (size_t)(end - at), " n=0 ", 5))
		return json_null();
	for (word += strlen(key); word < end && *word >= '0' && *word <= '9'; word++)
		v = v * 10 + (*word - '0');
	return json_integer(v);
}

static int64_t sum_of(struct slice text)
{
	int64_t sum = 0, v = 0;

	for (size_t i = 0; i < text.n; i++) {
		char ch = text.p[i];

		if (ch >= '0' && ch <= '9')
			v = v * 10 + (ch - '0');
		else
			v = 0; /* of the key, or its end */
		if (i + 1 < text.n && text.p[i + 1] == '\n')
			sum += v;
	}
	return sum;
}

/* Of its probes the first that was not good, else the good one. */
static void add_probe(json_t *row, struct slice text)
{
	JSON_AUTO *lines = rows_of(text);
	const json_t *line, *told = NULL;
	int64_t age = 0;
	size_t i;

	json_array_foreach(lines, i, line)
	{
		const char *last = json_get_str(line, "last", "-");

		if (strcmp(last, "-") != 0 && (!told || strcmp(last, "good") != 0) &&
			(!told || strcmp(json_get_str(told, "last", ""), "good") == 0))
			told = line;
	}
	(void)json_object_set_new(
		row, "probe", told ? json_string(json_get_str(told, "last", "")) : json_null());
	if (told)
		(void)text_parse_i64(slice_str(json_get_str(told, "age_s", "0")), &age);
	(void)json_object_set_new(row, "probe_age_s", told ? json_integer(age) : json_null());
}

/* "failed 1764395000" */
static void add_last_error(json_t *row, struct slice text)
{
	const char *space = text.n ? memchr(text.p, ' ', text.n) : NULL;
	size_t n = space ? (size_t)(space - text.p) : 0;
	json_t *at = json_null();
	char utc[40];
	int64_t s;

	if (space && text.p[text.n - 1] == '\n' &&
		text_parse_i64(slice_of(space + 1, text.n - n - 2), &s) == 0) {
		clock_format_utc(s * USEC_PER_S, false, utc);
		at = json_string(utc);
	}
	(void)json_object_set_new(
		row, "last_error", n ? json_slice(slice_of(text.p, n)) : json_null());
	(void)json_object_set_new(row, "last_error_at", at);
}

static int add_provider(
	const struct cli *c, const char *name, const json_t *models, struct buf *text, json_t *rows)
{
	struct status st = { .name = name };
	JSON_AUTO *seen = json_object();
	const json_t *targets;
	char circuit[64] = "closed";
	json_t *row = json_object();
	size_t i;
	int code = stats_text(c, "providers", name, "state", text);

	json_array_foreach(models, i, targets) add_targets(&st, targets, seen);
	if (st.open)
		(void)snprintf(circuit, sizeof(circuit), "%" PRId64 " of %" PRId64 " open", st.open,
			st.targets);
	(void)json_object_set_new(row, "name", json_string(name));
	(void)json_object_set_new(row, "state", json_string(state_of(&st, buf_view(text))));
	(void)json_object_set_new(row, "circuit", json_string(circuit));
	(void)json_object_set_new(row, "drained",
		st.drained ? json_sprintf("%" PRId64 " of %" PRId64, st.drained, st.targets)
			   : json_null());
	(void)json_object_set_new(
		row, "drained_ms", st.drained ? json_integer(st.drained_ms) : json_null());
	(void)json_object_set_new(row, "in_flight", json_integer(st.in_flight));
	if (!code)
		code = stats_text(c, "providers", name, "latency", text);
	(void)json_object_set_new(row, "ttft_p50_us", number_in(buf_view(text), "ttft ", " p50="));
	(void)json_object_set_new(row, "ttft_p95_us", number_in(buf_view(text), "ttft ", " p95="));
	if (!code)
		code = stats_text(c, "providers", name, "errors", text);
	(void)json_object_set_new(row, "errors", json_integer(sum_of(buf_view(text))));
	if (!code)
		code = stats_text(c, "providers", name, "last_error", text);
	add_last_error(row, buf_view(text));
	if (!code)
		code = stats_text(c, "providers", name, "probe", text);
	add_probe(row, buf_view(text));
	return json_array_append_new(rows, row) ? EXIT_FAILED : code;
}

/* "2 of 3, first back in 29m" */
static int cell_drained(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *how_many = json_get_str(row, "drained", NULL);

	(void)l;
	if (!how_many)
		return buf_char(b, '-');
	(void)buf_printf(b, "%s, back in ", how_many);
	return format_span(b, (json_get_int(row, "drained_ms", 0) + 999) * USEC_PER_MS);
}

/* "failed 4s ago" */
static int cell_last_error(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *what = json_get_str(row, "last_error", NULL);
	usec at;

	if (!what)
		return buf_char(b, '-');
	(void)buf_printf(b, "%s ", what);
	if (format_parse_utc(json_get_str(row, "last_error_at", ""), &at) < 0)
		return buf_char(b, '?');
	return format_when(b, at, l->now_us);
}

static const struct column status_columns[] = {
	{ .title = "PROVIDER", .member = "name" },
	{ .title = "STATE", .member = "state", .color = print_color_state },
	{ .title = "CIRCUIT", .member = "circuit" },
	{ .title = "DRAINED", .member = "drained", .cell = cell_drained },
	{ .title = "IN FLIGHT", .member = "in_flight", .right = true },
	{ .title = "TTFT P50 US", .member = "ttft_p50_us", .right = true },
	{ .title = "P95 US", .member = "ttft_p95_us", .right = true },
	{ .title = "ERRORS", .member = "errors", .right = true },
	{ .title = "LAST ERROR", .member = "last_error", .cell = cell_last_error },
	{ .title = "LAST ERROR AT", .member = "last_error_at", .wide = true },
	{ .title = "PROBE", .member = "probe" },
	{ .title = "AGE S", .member = "probe_age_s", .right = true, .wide = true },
};

int cmd_provider_status(struct cli *c)
{
	const struct listing l = { .member = "providers",
		.name = "name",
		.columns = status_columns,
		.n_columns = ARRAY_LEN(status_columns),
		.now_us = clock_wall_us() };
	const char *only = c->inv.n_args ? c->inv.args[0] : NULL;
	JSON_AUTO *providers = NULL;
	JSON_AUTO *models = NULL;
	JSON_AUTO *answer = NULL;
	JSON_AUTO *targets = json_array();
	json_t *rows = json_array();
	const json_t *entry;
	struct buf text;
	size_t i;
	int code;

	if (c->inv.n_args > 1) {
		json_decref(rows);
		return cli_fail(c, EXIT_USAGE, "provider status takes one name, or none");
	}
	buf_init(&text, EXCHANGE_MAX_ANSWER);
	code = names_in(c, "providers", &text, &providers);
	if (!code)
		code = names_in(c, "models", &text, &models);
	for (i = 0; !code && i < json_array_size(models); i++) {
		code = stats_text(c, "models", json_get_str(json_array_get(models, i), "name", ""),
			"targets", &text);
		(void)json_array_append_new(targets, rows_of(buf_view(&text)));
	}
	for (i = 0; !code && i < json_array_size(providers); i++) {
		entry = json_array_get(providers, i);
		if (!only || strcmp(json_get_str(entry, "name", ""), only) == 0)
			code = add_provider(
				c, json_get_str(entry, "name", ""), targets, &text, rows);
	}
	answer = json_pack("{s:o}", "providers", rows);
	if (!code && only && !json_array_size(rows))
		code = cli_fail(c, EXIT_NOT_FOUND, "this host's agent has no provider %s", only);
	else if (!code)
		code = print_listing(c, answer, &l);
	buf_fini(&text);
	return code;
}
