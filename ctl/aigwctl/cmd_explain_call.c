/* explain request: what became of one call, and why, as this host's agent remembers it. explain
 * route: what would become of one. */
#include "client.h"
#include "exchange.h"
#include "format.h"
#include "local.h"
#include "print.h"
#include "story.h"

#include <aigw/clock.h>
#include <aigw/text.h>

struct story {
	const struct cli *c;
	const json_t *call;
	const char *currency;
	usec began_us; /* wall */
};

/* "09:36:53.502  upstream      " */
static void begin_line(const struct story *s, usec at_us, const char *what, struct buf *b)
{
	char text[40];

	clock_format_utc(at_us, true, text);
	buf_reset(b);
	(void)buf_printf(b, "%.12s  %-12s  ", text + 11, what);
	(void)s;
}

static void put_line(const struct story *s, struct buf *b)
{
	cli_put_text(s->c->out, buf_view(b));
	(void)fputc('\n', s->c->out);
}

static const char *target_name(const struct story *s, size_t i, const char *member)
{
	const json_t *t = json_array_get(json_object_get(s->call, "targets"), i);

	return json_get_str(t, member, "?");
}

static void put_span(struct buf *b, int64_t ms)
{
	if (ms < 1000)
		(void)buf_printf(b, "%" PRId64 " ms", ms);
	else
		(void)buf_printf(b, "%" PRId64 ".%02" PRId64 " s", ms / 1000, ms % 1000 / 10);
}

static const char *reason_text(const char *why)
{
	static const char *const words[][2] = {
		{ "only", "the only target" },
		{ "weight", "drawn by weight" },
		{ "sticky", "sticky" },
		{ "order", "in the file's order" },
		{ "cheapest", "cheapest first" },
		{ "fastest", "fastest first" },
		{ "least_busy", "least busy first" },
		{ "headroom", "most headroom first" },
		{ "alone", "the only choice of its priority" },
		{ "max_ejected", "its circuit is open, as are too many: max_ejected" },
		{ "back_soonest", "all are out, this one is back soonest" },
		{ "weight_0", "weight 0" },
		{ "tags", "lacks a required tag" },
		{ "lacks", "lacks a capability" },
		{ "too_small", "too small" },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(why, words[i][0]) == 0)
			return words[i][1];
	return why;
}

static void put_targets(const struct story *s, struct buf *b, bool planned)
{
	const json_t *t;
	bool some = false;
	size_t i;

	json_array_foreach(json_object_get(s->call, "targets"), i, t)
	{
		const char *why = json_get_str(t, "why", "?");

		if (json_get_bool(t, "planned", true) != planned)
			continue;
		(void)buf_printf(b, "%s%s/%s (%s)",
			some      ? ", "
			: planned ? ""
				  : "; left out: ",
			json_get_str(t, "provider", "?"), json_get_str(t, "model", "?"),
			strcmp(why, "out") == 0 ? json_get_str(t, "state", "?") : reason_text(why));
		some = true;
	}
	if (!some && planned)
		(void)buf_str(b, "no target");
}

static void put_route(const struct story *s, struct buf *b)
{
	const char *target = json_get_str(s->call, "target", NULL);
	const json_t *targets = json_object_get(s->call, "targets");

	begin_line(s, s->began_us, "route", b);
	(void)buf_printf(b, "%s -> ", json_get_str(s->call, "model", "?"));
	if (targets && !json_array_size(targets)) {
		(void)buf_str(b, "no target was looked for");
	} else if (targets) {
		put_targets(s, b, true);
		put_targets(s, b, false);
	} else {
		(void)buf_printf(b, "%s (the only target)", target ? target : "no target");
	}
	put_line(s, b);
}

static void put_queue(const struct story *s, struct buf *b)
{
	int64_t ms = json_get_int(s->call, "queued_ms", 0);

	if (!ms)
		return;
	begin_line(s, s->began_us + ms * USEC_PER_MS, "queue", b);
	(void)buf_str(b, "waited ");
	put_span(b, ms);
	(void)buf_str(b, " for a target");
	put_line(s, b);
}

/* "openai/gpt-4o: 429 (rate_limited) -> next target" */
static void put_try(const struct story *s, size_t i, const json_t *t, struct buf *b)
{
	const json_t *tries = json_object_get(s->call, "tries"),
		     *then = json_array_get(tries, i + 1);
	const char *next = json_get_str(t, "next", "given_up");
	size_t target = (size_t)json_get_int(t, "target", 0);
	size_t to = (size_t)json_get_int(then ? then : s->call, then ? "target" : "served", 0);

	begin_line(s, s->began_us + json_get_int(t, "at_ms", 0) * USEC_PER_MS, "upstream", b);
	(void)buf_printf(
		b, "%s/%s: ", target_name(s, target, "provider"), target_name(s, target, "model"));
	if (json_is_integer(json_object_get(t, "status")))
		(void)buf_printf(b, "status %" PRId64, json_get_int(t, "status", 0));
	else
		(void)buf_str(b, json_get_str(t, "failure", "?"));
	(void)buf_printf(b, " (%s)", json_get_str(t, "class", "?"));
	if (strcmp(next, "given_up") == 0) {
		(void)buf_str(b, ", no other try");
	} else if (strcmp(next, "other_credential") == 0) {
		(void)buf_str(b, " -> the same with another credential");
	} else {
		(void)buf_printf(b, " -> %s/%s", target_name(s, to, "provider"),
			target_name(s, to, "model"));
		if (strcmp(next, "continue") == 0)
			(void)buf_str(b, " goes on from the text delivered");
		if (strcmp(next, "again") == 0) {
			(void)buf_str(b, " after ");
			put_span(b, json_get_int(t, "wait_ms", 0));
		}
	}
	put_line(s, b);
}

/* "in 812 (cached 0) out 64  $0.00016" */
static void put_amounts(const struct story *s, struct buf *b)
{
	const char *cost = json_get_str(s->call, "cost", NULL);

	(void)buf_printf(b, "in %" PRId64 " (cached %" PRId64 ") out %" PRId64 "%s  ",
		json_get_int(s->call, "input_tokens", 0),
		json_get_int(s->call, "cached_input_tokens", 0),
		json_get_int(s->call, "output_tokens", 0),
		json_get_bool(s->call, "estimated", false) ? " estimated" : "");
	if (!cost || format_money(b, cost, format_money_decimals(cost), s->currency))
		(void)buf_str(b, "unpriced");
}

static void put_end(const struct story *s, struct buf *b)
{
	const char *fail = json_get_str(s->call, "fail", NULL);

	begin_line(s, s->began_us + json_get_int(s->call, "duration_us", 0), "done", b);
	(void)buf_printf(b, "%s", json_get_str(s->call, "outcome", "?"));
	if (fail)
		(void)buf_printf(b, ":%s", fail);
	(void)buf_printf(b, " %" PRId64 "  ", json_get_int(s->call, "status", 0));
	put_amounts(s, b);
	if (fail)
		(void)buf_printf(b, "  (aigwctl explain %s)", fail);
	put_line(s, b);
}

static void tell(const struct story *s)
{
	const json_t *t;
	struct buf b;
	size_t i;

	buf_init(&b, 64u << 10);
	begin_line(s, s->began_us, "accepted", &b);
	(void)buf_printf(&b, "%s -> project %s", json_get_str(s->call, "caller", "unknown"),
		json_get_str(s->call, "project", "none"));
	put_line(s, &b);
	if (json_get_str(s->call, "model", NULL))
		put_route(s, &b);
	put_queue(s, &b);
	json_array_foreach(json_object_get(s->call, "tries"), i, t)
	{
		put_try(s, i, t, &b);
	}
	if (json_is_integer(json_object_get(s->call, "first_byte_us"))) {
		int64_t us = json_get_int(s->call, "first_byte_us", 0);

		begin_line(s, s->began_us + us, "first byte", &b);
		(void)buf_printf(&b, "%s after ", json_get_str(s->call, "target", "?"));
		put_span(&b, us / USEC_PER_MS);
		put_line(s, &b);
	}
	put_end(s, &b);
	buf_fini(&b);
}

/* "b/sim-b (drawn by weight): ok 200 after 0.41 s, first byte after 0.39 s" */
static void put_brief(const struct story *s, struct buf *b)
{
	const json_t *targets = json_object_get(s->call, "targets");
	const json_t *t = json_array_get(targets, (size_t)json_get_int(s->call, "served", -1));
	const char *who = json_get_str(s->call, "target", NULL);
	size_t failed = json_array_size(json_object_get(s->call, "tries"));

	if (t)
		(void)buf_printf(b, "%s/%s (%s): ", json_get_str(t, "provider", "?"),
			json_get_str(t, "model", "?"), reason_text(json_get_str(t, "why", "?")));
	else
		(void)buf_printf(b, "%s: ", who && !targets ? who : "no target");
	(void)buf_printf(b, "%s %" PRId64 " after ", json_get_str(s->call, "outcome", "?"),
		json_get_int(s->call, "status", 0));
	put_span(b, json_get_int(s->call, "duration_us", 0) / USEC_PER_MS);
	if (json_is_integer(json_object_get(s->call, "first_byte_us"))) {
		(void)buf_str(b, ", first byte after ");
		put_span(b, json_get_int(s->call, "first_byte_us", 0) / USEC_PER_MS);
	}
	put_line(s, b);
	buf_reset(b);
	put_amounts(s, b);
	put_line(s, b);
	if (failed)
		cli_note(s->c, "came to nothing before: %zu; --show-route tells of them", failed);
}

int story_tell(struct cli *c, const json_t *call, bool brief)
{
	struct story s = { .c = c, .call = call };
	JSON_AUTO *status = NULL;
	struct buf b;
	usec end;
	int code;

	if (print_object(c, call))
		return EXIT_DONE;
	/* What the controller tells has it with it. */
	code = json_object_get(call, "currency")
		       ? EXIT_DONE
		       : local_call(c, "GET", "/v1/status", SLICE_EMPTY, &status);
	if (code)
		return code;
	if (format_parse_utc(json_get_str(call, "time", ""), &end) < 0)
		return cli_fail(c, EXIT_FAILED, "the agent's answer holds no time");
	s.currency = json_get_str(status ? status : call, "currency", "USD");
	s.began_us = end - json_get_int(call, "duration_us", 0);
	if (!brief) {
		tell(&s);
		return EXIT_DONE;
	}
	buf_init(&b, 64u << 10);
	put_brief(&s, &b);
	buf_fini(&b);
	return EXIT_DONE;
}

static int ask_agent(struct cli *c, bool others_may_know, json_t **ret)
{
	struct buf path;
	const char *target = client_path(&path, "/v1/requests/", c->inv.args[0], "");
	int code = others_may_know ? local_find_if_there(c, target, ret)
				   : local_call(c, "GET", target, SLICE_EMPTY, ret);

	buf_fini(&path);
	return code;
}

static int ask_controller(struct cli *c, bool quiet, json_t **ret)
{
	struct buf path;
	const struct client_call ask = { .method = "GET",
		.target = client_path(&path, "/api/v1/traces/", c->inv.args[0], ""),
		.quiet_errors = quiet };
	int code = client_call(c, &ask, ret);

	buf_fini(&path);
	if (code == EXIT_DONE)
		cli_note(c, "told by the controller: agent %s on host %s",
			json_get_str(*ret, "agent", "?"), json_get_str(*ret, "host", "?"));
	return code;
}

/* --agent and --ctl say whom to ask; else this host's agent, and if it does not know the call, the
 * controller. */
int cmd_explain_request(struct cli *c)
{
	JSON_AUTO *call = NULL;
	bool either = !cli_flag(c, FLAG_ctl) && !cli_flag(c, FLAG_agent);
	int code;

	if (cli_flag(c, FLAG_ctl) && cli_flag(c, FLAG_agent))
		return cli_fail(c, EXIT_USAGE, "--agent or --ctl: one of both is asked");
	if (cli_flag(c, FLAG_ctl)) {
		code = ask_controller(c, false, &call);
		return code ? code : story_tell(c, call, false);
	}
	code = ask_agent(c, either, &call);
	if (!either || call || (code && code != EXIT_UNREACHABLE))
		return code ? code : story_tell(c, call, false);
	code = ask_controller(c, true, &call);
	if (code == EXIT_UNREACHABLE || code == EXIT_NOT_PERMITTED)
		code = ask_agent(c, false, &call); /* who says what it is */
	return code ? code : story_tell(c, call, false);
}

/* --- explain route -------------------------------------------------------------------- */

/* A member that needs it, for each capability that a body can show. */
static const struct {
	const char *name, *member;
} needs[] = {
	{ "tools", "\"tools\":[{}]" },
	{ "parallel_tools", "\"parallel_tool_calls\":true" },
	{ "json_schema", "\"response_format\":{\"type\":\"json_schema\"}" },
	{ "vision", "\"messages\":[{\"content\":[{\"type\":\"image_url\"}]}]" },
	{ "audio", "\"modalities\":[\"audio\"]" },
	{ "reasoning", "\"reasoning_effort\":\"low\"" },
	{ "prefill", "\"messages\":[{\"role\":\"assistant\"}]" },
};

static bool put_need(struct buf *b, struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(needs); i++)
		if (slice_eq(name, slice_str(needs[i].name))) {
			(void)buf_printf(b, ",%s", needs[i].member);
			return true;
		}
	return false;
}

/* The smallest request that needs what was asked for. */
static int put_request(const struct cli *c, struct buf *b)
{
	struct slice list = slice_str(cli_flag(c, FLAG_needs)), word;
	const char *tokens = cli_flag(c, FLAG_output_tokens);
	const char *user = cli_flag(c, FLAG_user), *cache_key = cli_flag(c, FLAG_cache_key);
	int64_t n;

	(void)buf_str(b, "{\"model\":");
	(void)text_json_quote(b, slice_str(c->inv.args[0]));
	if (tokens && (text_parse_i64(slice_str(tokens), &n) || n < 1))
		return cli_fail(c, EXIT_USAGE, "--output-tokens %.60s: must be a number", tokens);
	if (tokens)
		(void)buf_printf(b, ",\"max_tokens\":%s", tokens);
	if (user) {
		(void)buf_str(b, ",\"user\":");
		(void)text_json_quote(b, slice_str(user));
	}
	if (cache_key) {
		(void)buf_str(b, ",\"prompt_cache_key\":");
		(void)text_json_quote(b, slice_str(cache_key));
	}
	while (slice_take_part(&list, &word))
		if (!put_need(b, word))
			return cli_fail(c, EXIT_USAGE,
				"--needs %.60s: write some of tools, parallel_tools, json_schema, "
				"vision, audio, reasoning, prefill, with commas between them",
				cli_flag(c, FLAG_needs));
	return buf_str(b, "}") ? EXIT_FAILED : EXIT_DONE;
}

static int route_path(const struct cli *c, struct buf *b)
{
	static const struct {
		int flag;
		const char *name;
	} params[] = { { FLAG_endpoint, "endpoint" }, { FLAG_require_tags, "tags" },
		{ FLAG_input_tokens, "input_tokens" }, { FLAG_key, "key" }, { FLAG_uid, "uid" },
		{ FLAG_header, "header" } };
	const char *project = cli_flag(c, FLAG_project);

	(void)buf_str(b, "/v1/route?project=");
	(void)exchange_escape(b, slice_str(project ? project : ""));
	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		const char *value = cli_flag(c, (enum flag_id)params[i].flag);

		if (!value)
			continue;
		(void)buf_printf(b, "&%s=", params[i].name);
		(void)exchange_escape(b, slice_str(value));
	}
	return b->err;
}

/* "  1  openai/gpt-4o  drawn by weight" */
static void put_place(const struct cli *c, const json_t *t, size_t place)
{
	const char *why = json_get_str(t, "why", "?"), *state = json_get_str(t, "state", "?");
	struct buf b;

	buf_init(&b, 4096);
	if (place)
		(void)buf_printf(&b, "%5zu  ", place);
	else
		(void)buf_str(&b, "    -  ");
	(void)buf_printf(&b, "%s/%s  %s", json_get_str(t, "provider", "?"),
		json_get_str(t, "model", "?"), strcmp(why, "out") == 0 ? "out" : reason_text(why));
	if (json_is_integer(json_object_get(t, "odds_permille"))) {
		(void)buf_str(&b, " (");
		(void)format_percent(&b, json_get_int(t, "odds_permille", 0), 1000);
		(void)buf_printf(&b, " of priority %" PRId64 ")", json_get_int(t, "priority", 0));
	}
	if (strcmp(state, "ok") != 0)
		(void)buf_printf(&b, ", %s", state);
	if (json_get_int(t, "recover_in_ms", 0) > 0) {
		(void)buf_str(&b, ", back in ");
		put_span(&b, json_get_int(t, "recover_in_ms", 0));
	}
	cli_put_text(c->out, buf_view(&b));
	(void)fputc('\n', c->out);
	buf_fini(&b);
}

/* What the draw went by. */
static const char *draw_text(const json_t *v)
{
	static const char *const words[][2] = {
		{ "caller", "drawn for the caller: the same key or user gets the same" },
		{ "user", "drawn for the end user: the same one gets the same" },
		{ "header", "drawn for the header's value: the same one gets the same" },
		{ "cache_key", "drawn for the prompt's cache key: the same one gets the same" },
	};
	const char *by = json_get_str(v, "drawn_by", "");

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(by, words[i][0]) == 0)
			return words[i][1];
	return json_get_bool(v, "sticky", false) ? "drawn by chance, since the request has nothing "
						   "that the model is sticky by: "
						   "another call may go otherwise"
						 : "drawn by chance: another call may go otherwise";
}

static void put_decision(const struct cli *c, const json_t *v)
{
	const char *refused = json_get_str(v, "refused", NULL);
	const json_t *t;
	size_t i;

	(void)fprintf(c->out, "%s for project %s, revision %" PRId64 "\n",
		json_get_str(v, "model", "?"), json_get_str(v, "project", "?"),
		json_get_int(v, "revision", 0));
	json_array_foreach(json_object_get(v, "plan"), i, t)
	{
		put_place(c, t, i + 1);
	}
	json_array_foreach(json_object_get(v, "left_out"), i, t)
	{
		put_place(c, t, 0);
	}
	if (json_get_str(v, "drawn_by", NULL))
		(void)fprintf(c->out, "%s\n", draw_text(v));
	if (refused)
		(void)fprintf(c->out, "refused: %s  (aigwctl explain %s)\n", refused, refused);
}

int cmd_explain_route(struct cli *c)
{
	JSON_AUTO *answer = NULL;
	struct buf path, body;
	int code;

	if (!cli_flag(c, FLAG_project) && !cli_flag(c, FLAG_key))
		return cli_fail(c, EXIT_USAGE,
			"whose call? aigwctl %s %s %s --project P, or --key ID", c->inv.words[0],
			c->inv.words[1], c->inv.args[0]);
	buf_init(&path, 16u << 10);
	buf_init(&body, 4096);
	code = put_request(c, &body);
	if (!code && (route_path(c, &path) || body.err))
		code = cli_fail(c, EXIT_USAGE, "what is asked is too long");
	if (!code)
		code = local_call(c, "POST", buf_cstr(&path), buf_view(&body), &answer);
	buf_fini(&path);
	buf_fini(&body);
	if (code)
		return code;
	if (!print_object(c, answer))
		put_decision(c, answer);
	return EXIT_DONE;
}
