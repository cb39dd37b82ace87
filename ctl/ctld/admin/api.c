#include "admin/api.h"

#include "admin/metrics.h"
#include "admin/openapi.h"
#include "ctld.h"
#include <aigw/clock.h>
#include <aigw/text.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#define ADMIN_GROUP   "aigw-admin"
#define ADMIN_IDLE_US (300 * USEC_PER_S) /* of a kept-alive connection without a request */

struct route {
	const char *method, *path;
	bool takes_body;
	void (*handler)(struct api_request *q);
};

static const struct route routes[] = {
#define API(id, method, path, status, summary, request, response, errors)                          \
	{ method, path, sizeof(request) > 1, api_##id },
#include <aigw/tbl/admin_api.h>
};

/* --- answers ------------------------------------------------------------------------------------
 */

void api_answer(struct http_exchange *x, unsigned status, json_t *v)
{
	struct buf b;

	buf_init(&b, (size_t)1 << 30);
	if (!v || json_write(v, &b, false) < 0 || buf_char(&b, '\n') < 0)
		http_answer(x, 500, "application/json",
			SLICE("{\"error\":{\"message\":\"out of "
			      "memory\",\"code\":\"internal\"}}\n"));
	else
		http_answer(x, status, "application/json", buf_view(&b));
	buf_fini(&b);
	json_decref(v);
}

void api_error(struct http_exchange *x, enum admin_error code, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_answer(x, admin_error_row(code)->status,
		json_pack("{s:{s:o, s:s}}", "error", "message", json_slice(slice_str(text)), "code",
			admin_error_row(code)->name));
}

void api_store_error(struct http_exchange *x, int err)
{
	if (err == -EIO)
		api_error(x, ADMIN_ERROR_store_unavailable,
			"the store failed; nothing was changed. The log says more");
	else
		api_error(x, ADMIN_ERROR_internal, "%s", strerror(-err));
}

json_t *api_time(usec wall_us)
{
	char text[32];

	if (wall_us == 0)
		return json_null();
	clock_format_utc(wall_us, false, text);
	return json_string(text);
}

json_t *api_hex(const void *p, size_t n)
{
	char text[129];

	ASSERT(n <= 64);
	text_hex(p, n, text);
	text[2 * n] = '\0';
	return json_string(text);
}

/* A finding is "file:line:col: sentence", a warning "file:line:col: warning: sentence". */
json_t *api_lines(struct slice lines, bool warnings_only)
{
	json_t *list = json_array();

	while (lines.n) {
		const char *end = memchr(lines.p, '\n', lines.n);
		struct slice line = slice_of(lines.p, end ? (size_t)(end - lines.p) : lines.n);
		bool warning = memmem(line.p, line.n, ": warning: ", 11) != NULL;

		if (line.n && (warning || !warnings_only))
			(void)json_array_append_new(list, json_slice(line));
		lines = slice_skip(lines, line.n + 1);
	}
	return list;
}

/* --- waiting for agents
 * --------------------------------------------------------------------------- */

static json_t *wait_agents(const struct api_wait *w)
{
	json_t *list = json_array();
	struct list *it, *tmp;

	list_each(it, tmp, &w->ctld->agents.known)
	{
		const struct agent *a = list_entry(it, struct agent, node);
		const char *state = w->state(a, w);
		json_t *v = json_pack("{s:s, s:s}", "name", a->name, "state", state);

		if (w->name[0]) {
			const struct agent_secret *s = agent_secret_find(a, w->name);

			(void)json_object_set_new(
				v, "source", s ? json_string(s->source) : json_null());
		}
		if (strcmp(state, "refused") == 0)
			(void)json_object_set_new(v, "reason", json_string(a->reason));
		(void)json_array_append_new(list, v);
	}
	return list;
}

static bool wait_met(struct feed_wait *f)
{
	const struct api_wait *w = container_of(f, struct api_wait, wait);
	struct list *it, *tmp;

	list_each(it, tmp,
		&w->ctld->agents.known) if (strcmp(w->state(list_entry(it, struct agent, node), w),
						    "pending") == 0) return false;
	return true;
}

static void wait_free(struct api_wait *w)
{
	json_decref(w->answer);
	free(w);
}

static void wait_done(struct feed_wait *f)
{
	struct api_wait *w = container_of(f, struct api_wait, wait);

	http_set_user(w->x, NULL);
	(void)json_object_set_new(w->answer, "agents", wait_agents(w));
	api_answer(w->x, w->status, json_incref(w->answer));
	wait_free(w);
}

void api_wait_agents(struct api_request *q, unsigned status, json_t *answer,
	const char *(*state)(const struct agent *a, const struct api_wait *w), uint64_t number,
	const char *name, usec timeout_us)
{
	struct api_wait *w = calloc(1, sizeof(*w));

	if (!w || !answer) {
		free(w);
		json_decref(answer);
		api_answer(q->x, 500, NULL);
		return;
	}
	w->wait.met = wait_met;
	w->wait.done = wait_done;
	w->ctld = q->ctld;
	w->x = q->x;
	w->answer = answer;
	w->status = status;
	w->state = state;
	w->number = number;
	(void)snprintf(w->name, sizeof(w->name), "%s", name ? name : "");
	http_set_user(q->x, w);
	if (timeout_us)
		feed_wait_start(&q->ctld->feed, &w->wait, timeout_us);
	else
		wait_done(&w->wait);
}

bool api_timeout(struct api_request *q, usec *ret)
{
	int64_t ms = json_get_int(q->body, "timeout_ms", API_WAIT_US / USEC_PER_MS);

	if (ms < 0 || ms > API_WAIT_MAX_US / USEC_PER_MS) {
		api_error(q->x, ADMIN_ERROR_usage, "timeout_ms is 0 to %d",
			(int)(API_WAIT_MAX_US / USEC_PER_MS));
		return false;
	}
	*ret = ms * USEC_PER_MS;
	return true;
}

/* --- who may ------------------------------------------------------------------------------------
 */

static bool in_group(const struct passwd *pw, gid_t group)
{
	gid_t groups[256];
	int n = ARRAY_LEN(groups);

	if (getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) < 0)
		n = ARRAY_LEN(groups); /* the first 256 of them */
	for (int i = 0; i < n; i++)
		if (groups[i] == group)
			return true;
	return false;
}

/* Root, the daemon's own user, members of aigw-admin. Gives the name for the audit log. */
static bool peer_may(struct http_peer peer, char by[static 64])
{
	const struct group *admins = getgrnam(ADMIN_GROUP);
	gid_t admin_gid = admins ? admins->gr_gid : 0;
	const struct passwd *pw = getpwuid(peer.uid);

	if (pw)
		(void)snprintf(by, 64, "%s", pw->pw_name);
	else
		(void)snprintf(by, 64, "uid %u", peer.uid);
	if (!peer.known)
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	return admins && (peer.gid == admin_gid || (pw && in_group(pw, admin_gid)));
}

/* --- dispatch -----------------------------------------------------------------------------------
 */

/* Matches a path against a pattern with at most one {…}; *arg is what stands there. */
static bool path_matches(const char *pattern, struct slice path, struct slice *arg)
{
	const char *open = strchr(pattern, '{');
	struct slice tail, rest;
	size_t n;

	*arg = SLICE_EMPTY;
	if (!open)
		return slice_eq(path, slice_str(pattern));
	n = (size_t)(open - pattern);
	if (path.n <= n || memcmp(path.p, pattern, n) != 0)
		return false;
	tail = slice_str(strchr(open, '}') + 1);
	rest = slice_skip(path, n);
	if (rest.n <= tail.n || memcmp(rest.p + rest.n - tail.n, tail.p, tail.n) != 0)
		return false;
	*arg = slice_of(rest.p, rest.n - tail.n);
	return !memchr(arg->p, '/', arg->n);
}

static const struct route *route_find(
	struct slice method, struct slice path, struct slice *arg, bool *ret_known)
{
	*ret_known = false;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!path_matches(routes[i].path, path, arg))
			continue;
		*ret_known = true;
		if (slice_eq(method, slice_str(routes[i].method)))
			return &routes[i];
	}
	return NULL;
}

/* An empty body is an empty object. */
static json_t *body_parse(struct http_exchange *x)
{
	struct slice body = http_body(x);
	struct errbuf e;
	json_t *v;

	if (body.n == 0)
		return json_object();
	v = json_parse(body, &e);
	if (!v) {
		api_error(x, ADMIN_ERROR_usage, "the body is not JSON: %s", e.text);
		return NULL;
	}
	if (!json_is_object(v)) {
		json_decref(v);
		api_error(x, ADMIN_ERROR_usage, "the body is not an object");
		return NULL;
	}
	return v;
}

static void answer_metrics(struct ctld *c, struct http_exchange *x)
{
	struct buf b;

	buf_init(&b, METRICS_MAX_BYTES);
	ctld_metrics_render(c, &b);
	if (b.err)
		api_error(x, ADMIN_ERROR_internal, "out of memory");
	else
		http_answer(x, 200, PROM_CONTENT_TYPE, buf_view(&b));
	buf_fini(&b);
}

static void on_request(struct http_exchange *x, void *owner)
{
	struct api_request q = { .ctld = owner, .x = x };
	const struct route *route;
	bool known;

	if (!peer_may(http_peer_of(x), q.by)) {
		api_error(x, ADMIN_ERROR_not_permitted,
			"only root, the controller's user and members of the group %s may",
			ADMIN_GROUP);
		return;
	}
	if (slice_eq(http_path(x), SLICE("/metrics")) && slice_eq(http_method(x), SLICE("GET"))) {
		answer_metrics(q.ctld, x);
		return;
	}
	route = route_find(http_method(x), http_path(x), &q.arg, &known);
	if (!route && known) {
		api_error(x, ADMIN_ERROR_method_not_allowed,
			"no such method here; /api/v1/openapi.json lists them");
		return;
	}
	if (!route) {
		api_error(
			x, ADMIN_ERROR_not_found, "no such path; /api/v1/openapi.json lists them");
		return;
	}
	if (route->takes_body) {
		q.body = body_parse(x);
		if (!q.body)
			return;
	}
	route->handler(&q);
	json_decref(q.body);
}

static void on_gone(struct http_exchange *x, void *owner)
{
	struct api_wait *w = http_user(x);

	(void)owner;
	if (!w)
		return;
	feed_wait_cancel(&w->wait); /* what it asked for is done all the same */
	wait_free(w);
}

int api_start(struct ctld *c, const char *path, int activated_fd, struct errbuf *e)
{
	static const struct http_server_config config = {
		.max_body_bytes = API_MAX_BODY_BYTES,
		.max_conns = API_MAX_CONNS,
		.idle_us = ADMIN_IDLE_US,
		.request = on_request,
		.gone = on_gone,
	};

	if (activated_fd >= 0)
		return http_server_listen_fd(&c->loop, activated_fd, &config, c, &c->admin, e);
	return http_server_listen_unix(&c->loop, path, 0660, &config, c, &c->admin, e);
}

void api_stop(struct ctld *c)
{
	if (c->admin)
		http_server_close(c->admin);
	c->admin = NULL;
}

/* --- the two that belong to nobody
 * ---------------------------------------------------------------- */

void api_openapi(struct api_request *q)
{
	api_answer(q->x, 200, openapi_build());
}

void api_version(struct api_request *q)
{
	api_answer(q->x, 200,
		json_pack("{s:s, s:i, s:i}", "version", AIGW_VERSION, "wire_version", WIRE_VERSION,
			"store_format", STORE_FORMAT));
}
