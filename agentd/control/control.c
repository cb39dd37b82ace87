#include "control/private.h"
#include "statfs/metrics.h"

#include <aigw/clock.h>
#include <aigw/log.h>
#include <aigw/prom.h>
#include <aigw/text.h>
#include <grp.h>
#include <unistd.h>

#define STATS_PATH "/v1/stats"

/* --- answers -------------------------------------------------------------------------- */

void control_answer(struct http_exchange *x, unsigned status, json_t *v)
{
	struct buf b;

	buf_init(&b, CONTROL_FILE_BYTES);
	if (!v || json_write(v, &b, false) < 0 || buf_char(&b, '\n') < 0)
		http_answer(x, 500, "application/json",
			SLICE("{\"error\":{\"message\":\"out of "
			      "memory\",\"code\":\"internal\"}}\n"));
	else
		http_answer(x, status, "application/json", buf_view(&b));
	buf_fini(&b);
	json_decref(v);
}

void control_error(struct http_exchange *x, enum admin_error code, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	control_answer(x, admin_error_row(code)->status,
		json_pack("{s:{s:o, s:s}}", "error", "message", json_slice(slice_str(text)), "code",
			admin_error_row(code)->name));
}

/* --- who may -------------------------------------------------------------------------- */

struct caller_groups {
	uint32_t v[PEER_MAX_GROUPS];
	unsigned n;
};

static bool peer_may(const struct control *c, struct http_peer peer, const struct caller_groups *g)
{
	if (!peer.known)
		return false;
	if (peer.uid == 0 || peer.uid == c->own_uid)
		return true;
	for (unsigned i = 0; c->has_admins && i < g->n; i++) {
		if (g->v[i] == c->admin_gid)
			return true;
	}
	return c->has_admins && peer.gid == c->admin_gid;
}

static struct stat_peer stat_peer_of(const struct http_exchange *x, const struct caller_groups *g)
{
	struct http_peer p = http_peer_of(x);

	return (struct stat_peer){ p.uid, p.gid, g->v, g->n };
}

/* --- the tree ------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

/* A path of the URL as the tree has it: escapes are undone segment by segment, and a slash that was
 * one stays %2F, as names in the tree are written. `self` is who asks. */
static int tree_path(struct slice raw, uint32_t uid, struct buf *b)
{
	struct slice self = SLICE("self");

	while (raw.n && raw.p[raw.n - 1] == '/')
		raw.n--;
	while (raw.n && raw.p[0] == '/')
		raw = slice_skip(raw, 1);
	if (slice_starts(raw, self) && (raw.n == self.n || raw.p[self.n] == '/')) {
		(void)buf_printf(b, "by-uid/%" PRIu32, uid);
		raw = slice_skip(raw, self.n);
	}
	for (size_t i = 0; i < raw.n; i++) {
		int hi = raw.p[i] == '%' && i + 2 < raw.n ? hex_digit(raw.p[i + 1]) : -1;
		int lo = raw.p[i] == '%' && i + 2 < raw.n ? hex_digit(raw.p[i + 2]) : -1;
		char c = raw.p[i];

		if (c == '%') {
			if (hi < 0 || lo < 0)
				return -EINVAL;
			c = (char)(hi * 16 + lo);
			i += 2;
			if (c == '/') {
				(void)buf_str(b, "%2F");
				continue;
			}
		}
		(void)buf_char(b, c);
	}
	return b->err;
}

static json_t *list_folder(const struct stat_look *l, struct node dir)
{
	json_t *list = json_array();
	char name[NODE_NAME_MAX + 1];
	struct node child;
	uint64_t pos = 0;

	while (node_next(&l->view, dir, &pos, &child, name)) {
		mode_t mode = node_mode(child.row);

		(void)json_array_append_new(list,
			json_pack("{s:o, s:s, s:o}", "name", json_slice(slice_str(name)), "type",
				S_ISDIR(mode)   ? "folder"
				: S_ISLNK(mode) ? "link"
						: "file",
				"mode", json_sprintf("%04o", (unsigned)(mode & 07777))));
	}
	return list;
}

static void show_node(struct control *c, struct http_exchange *x, const struct stat_look *l,
	struct node n, const struct caller_groups *g, const char *path)
{
	struct stat_peer who = stat_peer_of(x, g);
	struct buf b;
	int err;

	if (!stat_tree_may_read(c->cfg.tree, n, &who)) {
		control_error(x, ADMIN_ERROR_not_permitted,
			"%s is for root, its owner and members of the group aigw-stats", path);
		return;
	}
	if (S_ISDIR(node_mode(n.row))) {
		control_answer(x, 200, list_folder(l, n));
		return;
	}
	if (n.row == NODE_events) {
		control_error(x, ADMIN_ERROR_usage,
			"events has no end: follow it with GET /v1/events?follow=1 (aigwctl events "
			"--follow)");
		return;
	}
	buf_init(&b, CONTROL_FILE_BYTES);
	err = stat_tree_render(c->cfg.tree, l, n, &b);
	if (err)
		control_error(
			x, ADMIN_ERROR_internal, "%s can't be rendered: %s", path, strerror(-err));
	else
		http_answer(x, 200, "text/plain; charset=utf-8", buf_view(&b));
	buf_fini(&b);
}

static void on_stats(struct control *c, struct http_exchange *x, const struct caller_groups *g)
{
	struct slice raw = slice_skip(http_path(x), sizeof(STATS_PATH) - 1);
	struct stat_look l = stat_look_begin(c->cfg.tree);
	struct buf path;
	struct node n;
	int err;

	buf_init(&path, 4096);
	err = tree_path(raw, http_peer_of(x).uid, &path);
	if (!err)
		err = node_look_up(&l.view, buf_view(&path), &n);
	if (err == -EINVAL)
		control_error(x, ADMIN_ERROR_usage, "the path has a %% that begins no escape");
	else if (err)
		control_error(x, ADMIN_ERROR_not_found,
			"no %.200s in the stats; `aigwctl agent stats ls` lists them",
			buf_cstr(&path));
	else
		show_node(c, x, &l, n, g, path.n ? buf_cstr(&path) : "/");
	stat_look_end(&l);
	buf_fini(&path);
}

/* --- what is so ----------------------------------------------------------------------- */

static void on_status(struct control *c, struct http_exchange *x)
{
	struct stat_look l = stat_look_begin(c->cfg.tree);
	struct statfs_info info;
	json_t *v;

	stat_tree_info(c->cfg.tree, &info);
	v = json_pack("{s:s, s:s, s:I, s:I, s:o, s:s, s:s, s:b, s:I, s:I, s:s, s:i, s:i}", "agent",
		info.agent_id, "version", AIGW_VERSION, "uptime_s",
		(json_int_t)((clock_mono_us() - info.start_mono_us) / USEC_PER_S), "revision",
		(json_int_t)(l.policy ? l.policy->revision : 0), "currency",
		l.policy ? json_slice(l.policy->doc->currency) : json_null(), "controller",
		info.control, "durability", info.strict ? "strict" : "relaxed", "draining",
		(int)info.draining, "inflight", (json_int_t)inflight_used(c->cfg.inflight),
		"spool_records", (json_int_t)info.spool.records, "log_level",
		log_level_name(log_get_level()), "pid", (int)getpid(), "followers",
		(int)c->n_followers);
	stat_look_end(&l);
	control_answer(x, 200, v);
}

static void on_metrics(struct control *c, struct http_exchange *x)
{
	struct buf b;

	buf_init(&b, METRICS_MAX_BYTES);
	stat_tree_metrics(c->cfg.tree, true, &b);
	if (b.err)
		control_error(x, ADMIN_ERROR_internal, "out of memory");
	else
		http_answer(x, 200, PROM_CONTENT_TYPE, buf_view(&b));
	buf_fini(&b);
}

static void on_inflight(struct control *c, struct http_exchange *x)
{
	control_answer(x, 200, show_inflight(c->cfg.inflight));
}

static void set_draining(struct control *c, struct http_exchange *x, bool on)
{
	struct statfs_info before;

	stat_tree_info(c->cfg.tree, &before);
	if (!c->cfg.drain(on, c->cfg.owner)) {
		control_error(x, ADMIN_ERROR_conflict,
			"the agent is ending; it takes no calls until it is started again");
		return;
	}
	control_answer(x, 200,
		json_pack("{s:s, s:b, s:b, s:I}", "agent", before.agent_id, "draining", (int)on,
			"changed", (int)(before.draining != on), "inflight",
			(json_int_t)inflight_used(c->cfg.inflight)));
}

static void on_drain(struct control *c, struct http_exchange *x)
{
	set_draining(c, x, true);
}

static void on_resume(struct control *c, struct http_exchange *x)
{
	set_draining(c, x, false);
}

static void on_log_level(struct control *c, struct http_exchange *x)
{
	struct statfs_info info;

	stat_tree_info(c->cfg.tree, &info);
	control_answer(x, 200,
		json_pack("{s:s, s:s}", "agent", info.agent_id, "level",
			log_level_name(log_get_level())));
}

static void on_set_log_level(struct control *c, struct http_exchange *x)
{
	enum log_level before = log_get_level(), level;
	struct errbuf e;
	JSON_AUTO *body = json_parse(http_body(x), &e);
	const char *word = body ? json_get_str(body, "level", NULL) : NULL;

	if (!body) {
		control_error(x, ADMIN_ERROR_usage, "the body is not JSON: %s", e.text);
		return;
	}
	if (!word || log_level_parse(slice_str(word), &level)) {
		control_error(x, ADMIN_ERROR_usage,
			"the body has to be {\"level\": L}; L is error, warning, info or debug");
		return;
	}
	/* Said at whichever of both lets it through. */
	if (level > before)
		log_set_level(level);
	log_event(LOG_INFO, "agent", "agent.log_level", "to=%s uid=%" PRIu32, log_level_name(level),
		http_peer_of(x).uid);
	log_set_level(level);
	on_log_level(c, x);
}

/* --- dispatch ------------------------------------------------------------------------- */

static const struct endpoint {
	const char *method, *path;
	void (*run)(struct control *c, struct http_exchange *x);
} endpoints[] = {
	{ "GET", "/metrics", on_metrics },
	{ "GET", "/v1/status", on_status },
	{ "GET", "/v1/inflight", on_inflight },
	{ "GET", "/v1/tail", follow_tail },
	{ "GET", "/v1/top", top_show },
	{ "POST", "/v1/route", explain_route },
	{ "GET", "/v1/events", follow_events },
	{ "POST", "/v1/drain", on_drain },
	{ "POST", "/v1/resume", on_resume },
	{ "POST", "/v1/targets/drain", targets_drain },
	{ "POST", "/v1/targets/resume", targets_resume },
	{ "GET", "/v1/targets/drained", targets_drained },
	{ "POST", "/v1/providers/test", test_provider },
	{ "GET", "/v1/log-level", on_log_level },
	{ "PUT", "/v1/log-level", on_set_log_level },
};

static bool is_stats(struct slice path)
{
	struct slice before = SLICE(STATS_PATH);

	return slice_starts(path, before) && (path.n == before.n || path.p[before.n] == '/');
}

static void dispatch(struct control *c, struct http_exchange *x, const struct caller_groups *g)
{
	bool known = is_stats(http_path(x));

	if (known && slice_eq(http_method(x), SLICE("GET"))) {
		on_stats(c, x, g);
		return;
	}
	if (explain_takes(http_path(x))) {
		known = true;
		if (slice_eq(http_method(x), SLICE("GET"))) {
			explain_request(c, x);
			return;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
		if (!slice_eq(http_path(x), slice_str(endpoints[i].path)))
			continue;
		known = true;
		if (slice_eq(http_method(x), slice_str(endpoints[i].method))) {
			endpoints[i].run(c, x);
			return;
		}
	}
	if (known)
		control_error(x, ADMIN_ERROR_method_not_allowed,
			"no such method here; aigw-agentd(8) lists them");
	else
		control_error(x, ADMIN_ERROR_not_found, "no such path; aigw-agentd(8) lists them");
}

static void on_request(struct http_exchange *x, void *owner)
{
	struct control *c = owner;
	struct caller_groups g = { .n = 0 };

	if (http_peer_groups(x, g.v, &g.n))
		g.n = 0;
	if (!peer_may(c, http_peer_of(x), &g)) {
		control_error(x, ADMIN_ERROR_not_permitted,
			"only root, the agent's user and members of the group %s may",
			CONTROL_GROUP);
		return;
	}
	dispatch(c, x, &g);
}

static void on_gone(struct http_exchange *x, void *owner)
{
	if (!test_gone(owner, x))
		follow_gone(owner, x);
}

/* --- life ----------------------------------------------------------------------------- */

void control_look_soon(struct control *c)
{
	deadline_set(c->cfg.loop, &c->look, CONTROL_LOOK_US);
}

/* Rates need their samples also where there is no mount. */
static void on_look(struct deadline *d)
{
	struct control *c = container_of(d, struct control, look);
	usec now = loop_now(c->cfg.loop);

	if (now - c->ticked_us >= WATCH_EVERY_US) {
		c->ticked_us = now;
		stat_tree_tick(c->cfg.tree);
	}
	follow_look(c);
	deadline_set(c->cfg.loop, &c->look, c->n_followers ? CONTROL_LOOK_US : WATCH_EVERY_US);
}

static void find_admins(struct control *c)
{
	char memory[16384];
	struct group entry, *found = NULL;

	c->own_uid = geteuid();
	if (getgrnam_r(CONTROL_GROUP, &entry, memory, sizeof(memory), &found) == 0 && found) {
		c->has_admins = true;
		c->admin_gid = found->gr_gid;
	}
}

int control_start(const struct control_config *cfg, struct control **ret, struct errbuf *e)
{
	const struct http_server_config server = {
		.max_body_bytes = CONTROL_MAX_BODY_BYTES,
		.max_conns = CONTROL_MAX_CONNS,
		.idle_us = CONTROL_IDLE_US,
		.request = on_request,
		.gone = on_gone,
	};
	struct control *c = calloc(1, sizeof(*c));
	int err;

	if (!c) {
		if (cfg->fd >= 0)
			(void)close(cfg->fd);
		return err_set(e, -ENOMEM, "out of memory");
	}
	c->cfg = *cfg;
	list_init(&c->tests);
	list_init(&c->followers);
	deadline_init(&c->look, on_look);
	find_admins(c);
	if (cfg->fd >= 0)
		err = http_server_listen_fd(cfg->loop, cfg->fd, &server, c, &c->server, e);
	else
		err = http_server_listen_unix(
			cfg->loop, cfg->path, 0660, &server, c, &c->server, e);
	if (err) {
		free(c);
		return err;
	}
	/* Only root may give it to the group; else the agent's own user and root are left. */
	if (cfg->fd < 0 && c->has_admins && chown(cfg->path, (uid_t)-1, c->admin_gid) < 0 &&
		geteuid() == 0)
		log_event(LOG_WARNING, "control", "control.no_group", "path=%s why=%s", cfg->path,
			log_quote(slice_str(strerror(errno))));
	c->ticked_us = loop_now(cfg->loop);
	deadline_set(cfg->loop, &c->look, WATCH_EVERY_US);
	*ret = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	test_end_all(c);
	follow_end_all(c);
	deadline_stop(c->cfg.loop, &c->look);
	http_server_close(c->server);
	free(c);
}
