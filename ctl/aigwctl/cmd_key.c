/* key create, list, show, revoke */
#include "client.h"
#include "format.h"
#include "print.h"

#include <aigw/clock.h>
#include <aigw/text.h>
#include <unistd.h>

/* --- list and show ----------------------------------------------------------------- */

static int when_of(struct buf *b, const char *text, const char *otherwise, usec now_us)
{
	usec t;

	if (!text || format_parse_utc(text, &t) < 0)
		return buf_str(b, text ? text : otherwise);
	return format_when(b, t, now_us);
}

static int cell_expires(struct buf *b, const json_t *row, const struct listing *l)
{
	return when_of(b, json_get_str(row, "expires", NULL), "never", l->now_us);
}

static int cell_created(struct buf *b, const json_t *row, const struct listing *l)
{
	return when_of(b, json_get_str(row, "created", NULL), "-", l->now_us);
}

static int cell_revoked(struct buf *b, const json_t *row, const struct listing *l)
{
	return when_of(b, json_get_str(row, "revoked", NULL), "-", l->now_us);
}

static const struct column key_columns[] = {
	{ .title = "ID", .member = "id" },
	{ .title = "NAME", .member = "name" },
	{ .title = "STATE", .member = "state", .color = print_color_state },
	{ .title = "PROJECT", .member = "project" },
	{ .title = "EXPIRES", .member = "expires", .cell = cell_expires },
	{ .title = "CUSTOMER", .member = "customer", .wide = true },
	{ .title = "CREATED", .member = "created", .wide = true, .cell = cell_created },
	{ .title = "REVOKED", .member = "revoked", .wide = true, .cell = cell_revoked },
	{ .title = "REQUIRES", .member = "require_tags", .wide = true },
};

int cmd_key_list(struct cli *c)
{
	const struct listing l = { .member = "keys",
		.name = "id",
		.columns = key_columns,
		.n_columns = ARRAY_LEN(key_columns),
		.now_us = clock_wall_us() };
	JSON_AUTO *answer = NULL;
	const char *project = cli_flag(c, FLAG_project);
	struct buf path;
	int code;

	if (project) {
		code = client_get(
			c, client_path(&path, "/api/v1/keys?project=", project, ""), &answer);
		buf_fini(&path);
	} else {
		code = client_get(c, "/api/v1/keys", &answer);
	}
	return code ? code : print_listing(c, answer, &l);
}

static int key_get(const struct cli *c, const char *id, json_t **ret)
{
	struct buf path;
	int code = client_get(c, client_path(&path, "/api/v1/keys/", id, ""), ret);

	buf_fini(&path);
	return code;
}

int cmd_key_show(struct cli *c)
{
	JSON_AUTO *answer = NULL;
	const struct listing l = { .columns = key_columns,
		.n_columns = ARRAY_LEN(key_columns),
		.now_us = clock_wall_us() };
	int code = key_get(c, c->inv.args[0], &answer);

	return code ? code : print_facts(c, answer, &l);
}

/* --- create ------------------------------------------------------------------------ */

static int say_created(const struct cli *c, const json_t *answer)
{
	const char *key = json_get_str(answer, "key", NULL);
	struct buf missing;
	unsigned n;
	struct buf until;

	if (!key)
		return cli_fail(c, EXIT_FAILED, "the controller's answer holds no key");
	if (!print_object(c, answer)) {
		cli_put_text(c->out, slice_str(key));
		(void)fputc('\n', c->out);
	}
	buf_init(&until, 64);
	(void)when_of(&until, json_get_str(answer, "expires", NULL), "never", clock_wall_us());
	cli_note(c, "%s  project %s  expires %s  (the key is shown only now)",
		json_get_str(answer, "id", "?"), json_get_str(answer, "project", "?"),
		buf_cstr(&until));
	buf_fini(&until);
	buf_init(&missing, 64u << 10);
	if (client_agents_missing(answer, "confirmed|pending", &missing))
		cli_note(c, "not connected, will know it when they are: %s", buf_cstr(&missing));
	buf_reset(&missing);
	n = client_agents_missing(answer, "confirmed|offline", &missing);
	if (n)
		(void)cli_fail(c, EXIT_PARTLY,
			"the key is made, but %u agent%s did not confirm it in time: %s", n,
			n == 1 ? "" : "s", buf_cstr(&missing));
	buf_fini(&missing);
	return n ? EXIT_PARTLY : EXIT_DONE;
}

int cmd_key_create(struct cli *c)
{
	const char *project = cli_flag(c, FLAG_project), *expires = cli_flag(c, FLAG_expires);
	JSON_AUTO *answer = NULL;
	json_t *body;
	usec span;
	int code;

	if (!project)
		return cli_fail(c, EXIT_USAGE,
			"which project pays? aigwctl key create %s --project P", c->inv.args[0]);
	if (expires && (text_parse_duration(slice_str(expires), &span) < 0 || span < USEC_PER_S))
		return cli_fail(c, EXIT_USAGE,
			"--expires %s: must be a time with its unit, like 12h or 90d", expires);
	body = json_pack("{s:s, s:s, s:s*, s:s*, s:b, s:I}", "name", c->inv.args[0], "project",
		project, "expires", expires, "require_tags", cli_flag(c, FLAG_require_tags), "wait",
		1, "timeout_ms", (json_int_t)client_timeout_ms(c));
	code = client_send(c, "POST", "/api/v1/keys", body, true, &answer);
	return code ? code : say_created(c, answer);
}

/* --- revoke ------------------------------------------------------------------------ */

static int revoke_dry(struct cli *c)
{
	JSON_AUTO *answer = NULL;
	int code = key_get(c, c->inv.args[0], &answer);

	if (code || print_object(c, answer))
		return code;
	(void)fprintf(c->out, "would revoke ");
	cli_put_text(c->out, slice_str(json_get_str(answer, "id", "?")));
	(void)fprintf(c->out, "  name ");
	cli_put_text(c->out, slice_str(json_get_str(answer, "name", "?")));
	(void)fprintf(c->out, "  project ");
	cli_put_text(c->out, slice_str(json_get_str(answer, "project", "?")));
	(void)fprintf(c->out, "  now %s\n", json_get_str(answer, "state", "?"));
	return EXIT_DONE;
}

int cmd_key_revoke(struct cli *c)
{
	const char *id = c->inv.args[0];
	JSON_AUTO *answer = NULL;
	struct buf path, missing;
	usec start = clock_mono_us();
	unsigned n, all;
	int code;

	if (cli_flag(c, FLAG_dry_run))
		return revoke_dry(c);
	code = client_send(c, "POST", client_path(&path, "/api/v1/keys/", id, "/revoke"),
		json_pack("{s:I}", "timeout_ms", (json_int_t)client_timeout_ms(c)), true, &answer);
	buf_fini(&path);
	if (code)
		return code;
	buf_init(&missing, 64u << 10);
	n = client_agents_missing(answer, "confirmed", &missing);
	all = (unsigned)json_array_size(json_object_get(answer, "agents"));
	(void)print_object(c, answer);
	if (n)
		code = cli_fail(c, EXIT_PARTLY,
			"%s is revoked at the controller, but %u of %u agents did not confirm: %s. "
			"There it may still work",
			id, n, all, buf_cstr(&missing));
	else
		cli_note(c, "%s revoked, confirmed by %u agent%s after %lld ms", id, all,
			all == 1 ? "" : "s", (long long)((clock_mono_us() - start + 999) / 1000));
	buf_fini(&missing);
	return code;
}
