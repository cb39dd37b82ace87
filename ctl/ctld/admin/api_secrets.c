/* Provider credentials: stored and pushed, listed by name; a value goes in and never comes out. */
#include "admin/api.h"
#include "admin/audit.h"
#include "ctld.h"
#include <aigw/clock.h>
#include <aigw/secret.h>

#define SECRET_MAX_BYTES 8192

static bool name_is_valid(struct slice s)
{
	if (s.n == 0 || s.n > 64 || s.p[0] == '.')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

static bool value_is_valid(struct slice s)
{
	if (s.n == 0 || s.n > SECRET_MAX_BYTES)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return true;
}

/* Agent's name -> source in force there. */
static json_t *sources_json(struct ctld *c, struct slice name)
{
	char text[65];
	json_t *v = json_object();
	struct list *it, *tmp;

	(void)snprintf(text, sizeof(text), SLICE_FMT, SLICE_ARG(name));
	list_each(it, tmp, &c->agents.known)
	{
		const struct agent *a = list_entry(it, struct agent, node);
		const struct agent_secret *s = agent_secret_find(a, text);

		if (s)
			(void)json_object_set_new(v, a->name, json_string(s->source));
	}
	return v;
}

struct list_run {
	struct ctld *c;
	json_t *list;
};

static int list_secret(const struct store_secret *s, void *arg)
{
	struct list_run *run = arg;
	json_t *v = json_pack("{s:o, s:I, s:o, s:o, s:o}", "name", json_slice(s->name), "version",
		(json_int_t)s->version, "set_at", api_time(s->set_us), "set_by", json_slice(s->by),
		"agents", sources_json(run->c, s->name));

	return json_array_append_new(run->list, v) < 0 ? -ENOMEM : 0;
}

static int list_read(struct store_txn *t, void *arg)
{
	return store_secret_each(t, list_secret, arg);
}

void api_secrets_list(struct api_request *q)
{
	struct list_run run = { q->ctld, json_array() };
	int r = store_read(q->ctld->store, list_read, &run);

	if (r < 0) {
		json_decref(run.list);
		api_store_error(q->x, r);
		return;
	}
	api_answer(q->x, 200, json_pack("{s:o}", "secrets", run.list));
}

struct put_run {
	const char *by;
	struct store_secret secret;
	uint64_t version;
};

static int put_write(struct store_txn *t, void *arg)
{
	struct put_run *run = arg;
	int r = store_secret_put(t, &run->secret, &run->version);

	return r < 0 ? r
		     : audit_add(t, run->by, "secret.set", run->secret.name, "version=%" PRIu64,
			       run->version);
}

static const char *secret_state(const struct agent *a, const struct api_wait *w)
{
	return feed_secret_state(a, w->name, w->number);
}

static void secret_put(struct api_request *q, struct slice value)
{
	struct put_run run = { .by = q->by };
	char name[65];
	usec timeout;
	int r;

	if (!name_is_valid(q->arg)) {
		api_error(q->x, ADMIN_ERROR_usage,
			"a secret's name has 1 to 64 letters, digits, dots, dashes, underscores");
		return;
	}
	if (!value_is_valid(value)) {
		api_error(q->x, ADMIN_ERROR_usage,
			"value has 1 to %d bytes without control characters", SECRET_MAX_BYTES);
		return;
	}
	if (!api_timeout(q, &timeout))
		return;
	run.secret = (struct store_secret){
		.name = q->arg, .value = value, .by = slice_str(q->by), .set_us = clock_wall_us()
	};
	r = store_write(q->ctld->store, 64u << 10, put_write, &run);
	if (r < 0) {
		api_store_error(q->x, r);
		return;
	}
	(void)snprintf(name, sizeof(name), SLICE_FMT, SLICE_ARG(q->arg));
	log_event(LOG_INFO, "admin", "secret.set", "by=%s name=%s version=%" PRIu64,
		log_quote(slice_str(q->by)), name, run.version);
	feed_secret(&q->ctld->feed, q->arg, run.version, value);
	api_wait_agents(q, 200,
		json_pack("{s:s, s:I}", "name", name, "version", (json_int_t)run.version),
		secret_state, run.version, name, timeout);
}

/* The value's copies here are wiped: the body's text and the tree's. */
void api_secret_put(struct api_request *q)
{
	json_t *value = json_object_get(q->body, "value");
	struct slice body = http_body(q->x);
	struct slice text = json_is_string(value)
				    ? slice_of(json_string_value(value), json_string_length(value))
				    : SLICE_EMPTY;

	secret_wipe((char *)(uintptr_t)body.p,
		body.n); /* the exchange owns it and has no more use for it */
	secret_put(q, text);
	if (text.n)
		secret_wipe((char *)(uintptr_t)text.p, text.n);
}
