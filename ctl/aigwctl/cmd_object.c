/* provider, model, project, price: what the running policy consists of. */
#include "client.h"
#include "format.h"
#include "print.h"

#include <aigw/clock.h>

/* --- cells ----------------------------------------------------------------------------- */

/* Money per million as it is, without zeros at its end. */
static int put_money(struct buf *b, const json_t *row, const char *member)
{
	const char *text = json_get_str(row, member, NULL);
	size_t n;

	if (!text)
		return buf_char(b, '-');
	n = strlen(text);
	while (n > 1 && strchr(text, '.') && text[n - 1] == '0' && text[n - 3] != '.')
		n--;
	return buf_append(b, text, n);
}

static int cell_input(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return put_money(b, row, "input");
}

static int cell_output(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return put_money(b, row, "output");
}

static int cell_cached(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return put_money(b, row, "cached_input");
}

static int cell_per_request(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return put_money(b, row, "per_request");
}

/* null: all */
static int cell_models(struct buf *b, const json_t *row, const struct listing *l)
{
	const json_t *models = json_object_get(row, "models");

	(void)l;
	return json_is_null(models) ? buf_char(b, '*') : print_value(b, models);
}

/* "openai: stored, web-01: cache"; of several one behind the other. */
static int cell_credentials(struct buf *b, const json_t *row, const struct listing *l)
{
	const json_t *c, *all = json_object_get(row, "credentials");
	const char *agent;
	json_t *source;
	size_t i;

	(void)l;
	json_array_foreach(all, i, c)
	{
		(void)buf_printf(b, "%s%s: %s", i ? "; " : "", json_get_str(c, "name", "?"),
			json_get_bool(c, "stored", false) ? "stored" : "not stored");
		json_object_foreach(json_object_get(c, "sources"), agent, source)(void)
			buf_printf(b, ", %s: %s", agent,
				json_string_value(source) ? json_string_value(source) : "?");
	}
	return json_array_size(all) ? b->err : buf_str(b, "none needed");
}

/* --- lists ----------------------------------------------------------------------------- */

static const struct column provider_columns[] = {
	{ .title = "PROVIDER", .member = "name" },
	{ .title = "TYPE", .member = "type" },
	{ .title = "BASE URL", .member = "base_url" },
	{ .title = "CREDENTIALS", .member = "credentials", .cell = cell_credentials },
};

static int cell_of_targets(struct buf *b, const json_t *row, const char *member)
{
	const json_t *targets = json_object_get(row, "targets"), *t;
	size_t i;

	json_array_foreach(targets, i, t)
	{
		(void)buf_printf(b, "%s%s", i ? ", " : "", json_get_str(t, member, "-"));
	}
	return b->err;
}

static int cell_providers(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return cell_of_targets(b, row, "provider");
}

static int cell_targets(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return cell_of_targets(b, row, "model");
}

static const struct column model_columns[] = {
	{ .title = "MODEL", .member = "name" },
	{ .title = "ALIASES", .member = "aliases" },
	{ .title = "PROVIDER", .member = "provider", .cell = cell_providers },
	{ .title = "TARGET", .member = "target", .cell = cell_targets },
	{ .title = "INPUT/M", .member = "input", .right = true, .cell = cell_input },
	{ .title = "OUTPUT/M", .member = "output", .right = true, .cell = cell_output },
	{ .title = "STRATEGY", .member = "strategy", .wide = true },
};

static const struct column project_columns[] = {
	{ .title = "PROJECT", .member = "name" },
	{ .title = "CUSTOMER", .member = "customer" },
	{ .title = "MODELS", .member = "models", .cell = cell_models },
	{ .title = "KEYS", .member = "keys", .right = true },
	{ .title = "IDENTITIES", .member = "identities" },
};

static const struct column price_columns[] = {
	{ .title = "PROVIDER", .member = "provider" },
	{ .title = "MODEL", .member = "model" },
	{ .title = "FROM", .member = "from" },
	{ .title = "IN FORCE", .member = "in_force" },
	{ .title = "INPUT/M", .member = "input", .right = true, .cell = cell_input },
	{ .title = "CACHED/M", .member = "cached_input", .right = true, .cell = cell_cached },
	{ .title = "OUTPUT/M", .member = "output", .right = true, .cell = cell_output },
	{ .title = "PER CALL", .member = "per_request", .right = true, .cell = cell_per_request },
	{ .title = "CACHE WRITE/M", .member = "cache_write", .right = true, .wide = true },
	{ .title = "REASONING/M", .member = "reasoning", .right = true, .wide = true },
	{ .title = "AUDIO IN/M", .member = "audio_in", .right = true, .wide = true },
	{ .title = "AUDIO OUT/M", .member = "audio_out", .right = true, .wide = true },
	{ .title = "PER MINUTE", .member = "per_minute", .right = true, .wide = true },
};

#define LISTING(m, columns_of, named)                                                              \
	(struct listing)                                                                           \
	{                                                                                          \
		.member = (m), .name = (named), .columns = (columns_of),                           \
		.n_columns = ARRAY_LEN(columns_of), .now_us = clock_wall_us()                      \
	}

static int list(struct cli *c, const char *target, const struct listing *l)
{
	JSON_AUTO *answer = NULL;
	int code = client_get(c, target, &answer);

	return code ? code : print_listing(c, answer, l);
}

/* The one of that name; there is no call of its own for it, the lists are short. */
static int show(struct cli *c, const char *target, const struct listing *l, const char *what)
{
	const char *name = c->inv.args[0];
	JSON_AUTO *answer = NULL;
	json_t *item, *alias;
	size_t i, k;
	int code = client_get(c, target, &answer);

	if (code)
		return code;
	json_array_foreach(json_object_get(answer, l->member), i, item)
	{
		if (strcmp(json_get_str(item, "name", ""), name) == 0)
			return print_facts(c, item, l);
		json_array_foreach(json_object_get(item, "aliases"), k,
			alias) if (json_string_value(alias) &&
				   strcmp(json_string_value(alias), name) ==
					   0) return print_facts(c, item, l);
	}
	return cli_fail(c, EXIT_NOT_FOUND, "the running policy has no %s '%s'; aigwctl %s list",
		what, name, what);
}

int cmd_provider_list(struct cli *c)
{
	return list(c, "/api/v1/providers", &LISTING("providers", provider_columns, "name"));
}

int cmd_provider_show(struct cli *c)
{
	return show(c, "/api/v1/providers", &LISTING("providers", provider_columns, "name"),
		"provider");
}

int cmd_model_list(struct cli *c)
{
	const char *project = cli_flag(c, FLAG_project);
	struct buf path;
	int code;

	if (!project)
		return list(c, "/api/v1/models", &LISTING("models", model_columns, "name"));
	code = list(c, client_path(&path, "/api/v1/models?project=", project, ""),
		&LISTING("models", model_columns, "name"));
	buf_fini(&path);
	return code;
}

int cmd_model_show(struct cli *c)
{
	return show(c, "/api/v1/models", &LISTING("models", model_columns, "name"), "model");
}

int cmd_project_list(struct cli *c)
{
	return list(c, "/api/v1/projects", &LISTING("projects", project_columns, "name"));
}

int cmd_project_show(struct cli *c)
{
	return show(
		c, "/api/v1/projects", &LISTING("projects", project_columns, "name"), "project");
}

int cmd_price_list(struct cli *c)
{
	const char *model = cli_flag(c, FLAG_model), *at = cli_flag(c, FLAG_at);
	struct buf path, query;
	int code;

	(void)client_path(&path, "/api/v1/prices?", "", model ? "model=" : "");
	if (model)
		(void)client_path(&query, buf_cstr(&path), model, at ? "&at=" : "");
	else
		(void)client_path(&query, buf_cstr(&path), "", at ? "at=" : "");
	buf_fini(&path);
	code = list(c, client_path(&path, buf_cstr(&query), at ? at : "", ""),
		&LISTING("prices", price_columns, "model"));
	buf_fini(&path);
	buf_fini(&query);
	return code;
}
