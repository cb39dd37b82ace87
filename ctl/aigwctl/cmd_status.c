/* status: one screen; version */
#include "client.h"
#include "format.h"
#include "print.h"

#include <aigw/clock.h>
#include <aigw/wire.h>

struct screen {
	const struct cli *c;
	const json_t *status;
	struct buf b; /* the line being made */
	usec now_us;
};

static void put_line(struct screen *s)
{
	cli_put_text(s->c->out, buf_view(&s->b));
	(void)fputc('\n', s->c->out);
	buf_reset(&s->b);
}

static void put_when(struct screen *s, const char *member)
{
	const char *text = json_get_str(s->status, member, NULL);
	usec t;

	if (text && format_parse_utc(text, &t) == 0)
		(void)format_when(&s->b, t, s->now_us);
	else
		(void)buf_str(&s->b, text ? text : "-");
}

static unsigned agents_with(const struct screen *s, const char *state, int64_t revision)
{
	unsigned n = 0;
	size_t i;
	json_t *a;

	json_array_foreach(json_object_get(s->status, "agents"), i,
		a) if ((!state || strcmp(json_get_str(a, "state", ""), state) == 0) &&
		       (revision < 0 || json_get_int(a, "revision", -1) == revision)) n++;
	return n;
}

static void put_head(struct screen *s)
{
	int64_t revision = json_get_int(s->status, "revision", 0);
	size_t agents = json_array_size(json_object_get(s->status, "agents"));
	const char *message = json_get_str(s->status, "message", "");

	(void)buf_printf(&s->b, "aigw %s   control unix:%s   ",
		json_get_str(s->status, "version", "?"), s->c->ctl);
	if (revision) {
		(void)buf_printf(&s->b, "revision %" PRId64 " (applied ", revision);
		put_when(s, "applied_at");
		(void)buf_printf(&s->b, " by %s, %u/%zu agents)",
			json_get_str(s->status, "applied_by", "?"), agents_with(s, NULL, revision),
			agents);
		if (*message)
			(void)buf_printf(&s->b, "   \"%s\"", message);
	} else {
		(void)buf_str(&s->b, "no policy yet: aigwctl apply");
	}
	put_line(s);
	put_line(s);
}

static void put_agents(struct screen *s)
{
	const json_t *agents = json_object_get(s->status, "agents");
	unsigned up = agents_with(s, "up", -1);
	int64_t lag = 0;
	size_t i;
	json_t *a;

	(void)buf_printf(&s->b, "AGENTS      %u up   %zu not up", up, json_array_size(agents) - up);
	json_array_foreach(agents, i, a)
	{
		lag = MAX(lag, json_get_int(a, "spool_lag_s", 0));
		if (strcmp(json_get_str(a, "state", ""), "up") != 0)
			(void)buf_printf(&s->b, "   %s %s", json_get_str(a, "name", "?"),
				json_get_str(a, "state", "?"));
	}
	(void)buf_printf(&s->b, "   spool %" PRId64 " s behind", lag);
	put_line(s);
}

static void put_credential(struct screen *s, const json_t *secret)
{
	const char *agent;
	json_t *source;

	(void)buf_printf(&s->b, "  credential %s: ", json_get_str(secret, "name", "?"));
	if (json_get_bool(secret, "stored", false))
		(void)buf_printf(&s->b, "stored v%" PRId64, json_get_int(secret, "version", 0));
	else
		(void)buf_str(&s->b, "not stored here");
	json_object_foreach(json_object_get(secret, "sources"), agent, source)(void)
		buf_printf(&s->b, ", %s: %s", agent,
			json_string_value(source) ? json_string_value(source) : "none");
}

/* "openai  credential openai: stored v3, in force at web-01: secrets_dir" */
static void put_providers(struct screen *s)
{
	const json_t *secret;
	size_t i, k;
	json_t *p;

	json_array_foreach(json_object_get(s->status, "providers"), i, p)
	{
		const json_t *credentials = json_object_get(p, "credentials");

		(void)buf_printf(&s->b, "%-12s%s  %s", i ? "" : "PROVIDERS",
			json_get_str(p, "name", "?"), json_get_str(p, "base_url", ""));
		if (!json_array_size(credentials))
			(void)buf_str(&s->b, "  no credential");
		json_array_foreach(credentials, k, secret)
		{
			put_credential(s, secret);
		}
		put_line(s);
	}
}

static void put_rest(struct screen *s)
{
	const json_t *keys = json_object_get(s->status, "keys"),
		     *today = json_object_get(s->status, "usage_today");
	const json_t *store = json_object_get(s->status, "store");
	const char *cost = json_get_str(today, "cost", "0");
	size_t i;
	json_t *item;

	(void)buf_str(&s->b, "MODELS      ");
	json_array_foreach(json_object_get(s->status, "models"), i, item)(void) buf_printf(&s->b,
		"%s%s", i ? "  " : "", json_string_value(item) ? json_string_value(item) : "?");
	put_line(s);
	(void)buf_printf(&s->b, "KEYS        %" PRId64 " active   %" PRId64 " revoked",
		json_get_int(keys, "active", 0), json_get_int(keys, "revoked", 0));
	put_line(s);
	(void)buf_str(&s->b, "TODAY       ");
	(void)format_count(&s->b, json_get_int(today, "requests", 0));
	(void)buf_str(&s->b, " requests   ");
	(void)format_money(&s->b, cost, format_money_decimals(cost),
		json_get_str(s->status, "currency", "USD"));
	(void)buf_printf(&s->b, "   %" PRId64 " unpriced", json_get_int(today, "unpriced", 0));
	put_line(s);
	(void)buf_str(&s->b, "STORE       ");
	(void)format_bytes(&s->b, json_get_int(store, "bytes", 0));
	(void)buf_str(&s->b, " of ");
	(void)format_bytes(&s->b, json_get_int(store, "map_bytes", 0));
	put_line(s);
	json_array_foreach(json_object_get(s->status, "warnings"), i, item)
	{
		(void)buf_printf(&s->b, "%-12s%s", i ? "" : "WARNINGS",
			json_string_value(item) ? json_string_value(item) : "?");
		put_line(s);
	}
}

int cmd_status(struct cli *c)
{
	JSON_AUTO *status = NULL;
	struct screen s = { .c = c, .now_us = clock_wall_us() };
	int code = client_get(c, "/api/v1/status", &status);

	if (code || print_object(c, status))
		return code;
	s.status = status;
	buf_init(&s.b, 1u << 20);
	put_head(&s);
	put_agents(&s);
	put_providers(&s);
	put_rest(&s);
	if (s.b.err)
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	else if (agents_with(&s, "up", -1) < json_array_size(json_object_get(status, "agents")))
		cli_note(c, "why an agent is not up: aigwctl agent list");
	buf_fini(&s.b);
	return code;
}

int cmd_version(struct cli *c)
{
	const struct client_call call = {
		.method = "GET", .target = "/api/v1/version", .quiet_errors = true
	};
	JSON_AUTO *answer = NULL;
	JSON_AUTO *all = NULL;
	int code = client_call(c, &call, &answer);

	if (code == EXIT_UNREACHABLE || code == EXIT_NOT_PERMITTED)
		cli_note(c, "no controller at unix:%s", c->ctl);
	else if (code)
		return code;
	all = json_pack("{s:s, s:i, s:O?}", "client", AIGW_VERSION, "wire_version", WIRE_VERSION,
		"controller", answer);
	if (!all)
		return cli_fail(c, EXIT_FAILED, "out of memory");
	if (print_object(c, all))
		return EXIT_DONE;
	(void)fprintf(c->out, "aigwctl   %s   wire %d\n", AIGW_VERSION, WIRE_VERSION);
	if (answer) {
		(void)fprintf(c->out, "aigw-ctld ");
		cli_put_text(c->out, slice_str(json_get_str(answer, "version", "?")));
		(void)fprintf(c->out, "   wire %" PRId64 "   store format %" PRId64 "\n",
			json_get_int(answer, "wire_version", 0),
			json_get_int(answer, "store_format", 0));
	}
	return EXIT_DONE;
}
