#include "ctld.h"

#include "admin/api.h"
#include <aigw/clock.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

#define HOUSEKEEPING_US      (30 * USEC_PER_S)
#define DISK_WARNING_PERCENT 80

static void disk_look(struct ctld *c)
{
	struct statvfs fs;
	unsigned percent;

	if (statvfs(c->config.state_dir, &fs) < 0 || fs.f_blocks == 0)
		return;
	percent = (unsigned)(100 - fs.f_bavail * 100 / fs.f_blocks);
	if (percent >= DISK_WARNING_PERCENT && c->disk_percent < DISK_WARNING_PERCENT)
		log_event(LOG_WARNING, "store", "disk.filling", "path=%s used_percent=%u",
			log_quote(slice_str(c->config.state_dir)), percent);
	c->disk_percent = percent;
}

static void on_housekeeping(struct deadline *d)
{
	struct ctld *c = container_of(d, struct ctld, housekeeping);

	disk_look(c);
	traces_prune(c->agents.traces, clock_mono_us());
	deadline_set(&c->loop, d, HOUSEKEEPING_US);
}

#define FEEDS_PER_WATCHDOG 4

static void on_watchdog(struct deadline *d)
{
	struct ctld *c = container_of(d, struct ctld, watchdog);

	(void)sd_notify(&c->sd, "WATCHDOG=1");
	deadline_set(&c->loop, d, c->sd.watchdog_us / FEEDS_PER_WATCHDOG);
}

static void tell_ready(struct ctld *c)
{
	char status[64];

	(void)snprintf(status, sizeof(status), "Serving; policy revision %" PRIu64 ".",
		c->feed.policy ? c->feed.policy->revision : 0);
	sd_notify_ready(&c->sd, status);
}

/* --- signals ------------------------------------------------------------------------------------
 */

static void config_reload(struct ctld *c)
{
	struct ctld_config fresh;
	struct arena a;
	struct errbuf e;
	struct buf names;

	arena_init(&a, 4096, 1u << 20);
	if (ctld_config_load(c->config_path, c->config_may_miss, &a, &fresh, &e) < 0) {
		log_event(LOG_ERROR, "main", "config.invalid", "reason=%s kept=former",
			log_quote(slice_str(e.text)));
		arena_fini(&a);
		return;
	}
	buf_init(&names, 1024);
	ctld_config_restart_needed(&c->config, &fresh, &names);
	log_set_level(ctld_config_log_level(&fresh));
	log_event(names.n ? LOG_WARNING : LOG_INFO, "main", "config.reloaded", "needs_restart=%s",
		names.n ? log_quote(buf_view(&names)) : "none");
	buf_fini(&names);
	arena_fini(&a);
}

static void ctld_stop(struct ctld *c)
{
	if (c->stopping)
		return;
	c->stopping = true;
	(void)sd_notify(&c->sd, "STOPPING=1");
	deadline_stop(&c->loop, &c->housekeeping);
	deadline_stop(&c->loop, &c->watchdog);
	feed_waits_end(&c->feed); /* whoever waits for agents is told how far they are */
	api_stop(c);
	agents_close(&c->agents);
	for (unsigned i = 0; i < c->n_signals; i++)
		uv_close((uv_handle_t *)&c->signals[i], NULL);
	loop_stop(&c->loop);
}

static void on_signal(uv_signal_t *s, int number)
{
	struct ctld *c = s->data;

	if (number == SIGHUP) {
		sd_notify_reloading(&c->sd);
		config_reload(c);
		tell_ready(c);
		return;
	}
	if (!c->stopping)
		log_event(LOG_INFO, "main", "ctld.stopping", "signal=%s",
			number == SIGINT ? "SIGINT" : "SIGTERM");
	ctld_stop(c);
}

static int signals_start(struct ctld *c, struct errbuf *e)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int r = uv_signal_init(&c->loop.uv, &c->signals[i]);

		if (r == 0) {
			c->n_signals++;
			c->signals[i].data = c;
			r = uv_signal_start(&c->signals[i], on_signal, numbers[i]);
		}
		if (r < 0)
			return err_set(e, r, "can't watch signals: %s", uv_strerror(r));
	}
	return 0;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void ctld_fini(struct ctld *c)
{
	loop_fini(&c->loop);
	agents_fini(&c->agents);
	feed_fini(&c->feed);
	store_close(c->store);
}

static int sides_start(struct ctld *c, struct errbuf *e)
{
	const struct sd_socket *agents = sd_take(&c->sd, "agents", AF_UNIX);
	const struct sd_socket *admin = sd_take(&c->sd, "admin", AF_UNIX);
	char unused[256];
	int r = signals_start(c, e);

	sd_close_rest(&c->sd, unused, sizeof(unused));
	if (unused[0])
		log_event(LOG_WARNING, "main", "ctld.sockets_unused", "names=%s",
			log_quote(slice_str(unused)));
	if (r == 0)
		r = agents_listen(&c->agents, c->config.agents_socket, agents ? agents->fd : -1, e);
	if (r == 0)
		r = api_start(c, c->config.admin_socket, admin ? admin->fd : -1, e);
	return r;
}

int ctld_start(struct ctld *c, struct errbuf *e)
{
	int r;

	c->started_us = clock_wall_us();
	deadline_init(&c->housekeeping, on_housekeeping);
	deadline_init(&c->watchdog, on_watchdog);
	r = sd_init(&c->sd, e);
	if (r < 0)
		return r;
	r = store_open(c->config.state_dir, STORE_MAP_BYTES, &c->store, e);
	if (r < 0)
		return r;
	r = loop_init(&c->loop, c);
	if (r < 0) {
		(void)err_set(e, r, "can't make an event loop: %s", strerror(-r));
		goto close_store;
	}
	r = feed_init(&c->feed, &c->agents, c->store, e);
	if (r < 0)
		goto close_loop;
	r = agents_init(&c->agents, &c->loop, c->store, &c->feed, e);
	if (r == 0)
		r = sides_start(c, e);
	if (r < 0) {
		ctld_stop(c);
		ctld_fini(c);
		return r;
	}
	on_housekeeping(&c->housekeeping);
	if (c->sd.watchdog_us)
		on_watchdog(&c->watchdog);
	tell_ready(c);
	return 0;
close_loop:
	feed_fini(&c->feed);
	loop_fini(&c->loop);
close_store:
	store_close(c->store);
	return r;
}

int ctld_run(struct ctld *c)
{
	int r;

	log_event(LOG_INFO, "main", "ctld.ready", "version=%s admin=%s agents=%s revision=%" PRIu64,
		AIGW_VERSION, log_quote(slice_str(c->config.admin_socket)),
		log_quote(slice_str(c->config.agents_socket)),
		c->feed.policy ? c->feed.policy->revision : 0);
	r = loop_run(&c->loop);
	ctld_fini(c);
	log_event(LOG_INFO, "main", "ctld.stopped", "clean=yes");
	return MIN(r, 0);
}
