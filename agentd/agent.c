#include "account/idempotency.h"
#include "agent_private.h"

#include <aigw/clock.h>
#include <aigw/log.h>

#include <signal.h>
#include <unistd.h>

#define AGENT_STOP_GRACE_US                                                                        \
	(2 * USEC_PER_S) /* after the drain's end, for the in-band errors to leave */

/* --- drain
 * ------------------------------------------------------------------------------------------------------------------
 */

static void begin_stop(struct agent *a)
{
	deadline_stop(&a->loop, &a->drain);
	loop_stop(&a->loop);
}

void agent_on_drain_end(struct deadline *d)
{
	struct agent *a = container_of(d, struct agent, drain);

	if (a->ended_all) {
		begin_stop(a);
		return;
	}
	a->ended_all = true;
	log_event(LOG_WARNING, "agent", "agent.drain_timeout", "inflight=%u",
		inflight_used(a->gw.inflight));
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_end_all(a->workers[i]);
	deadline_set(&a->loop, &a->drain, AGENT_STOP_GRACE_US);
}

static void begin_drain(struct agent *a)
{
	if (a->draining) {
		/* Asked twice: now. */
		deadline_set(&a->loop, &a->drain, 0);
		return;
	}
	a->draining = true;
	atomic_store_explicit(&a->gw.draining, true, memory_order_relaxed);
	log_event(LOG_INFO, "agent", "agent.draining", "inflight=%u timeout_s=%" PRId64,
		inflight_used(a->gw.inflight), (int64_t)(a->cfg.drain_timeout / USEC_PER_S));
	agent_close_sockets(a);
	(void)sd_notify(&a->sd, "STOPPING=1\nSTATUS=Draining.");
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_drain(a->workers[i]);
	deadline_set(&a->loop, &a->drain, a->cfg.drain_timeout);
}

static void on_empty_mail(struct mail *m, void *owner)
{
	struct agent *a = owner;

	free(m);
	if (++a->n_empty == a->n_workers)
		begin_stop(a);
}

void agent_on_worker_empty(unsigned worker, void *owner)
{
	struct agent *a = owner;
	struct mail *m = malloc(sizeof(*m));

	(void)worker;
	if (!m)
		return; /* the drain's timeout ends it */
	m->handle = on_empty_mail;
	mailbox_post(&a->mailbox, m);
}

static void take_max_connections(struct agent *a)
{
	uint32_t most = a->most_connections, wanted = (uint32_t)a->cfg.max_connections;

	if (wanted > most)
		log_event(LOG_WARNING, "agent", "agent.few_descriptors",
			"max_connections=%" PRIu32 " possible=%" PRIu32, wanted, most);
	/* Each client may need one upstream as well, if nothing else is said. */
	atomic_store_explicit(&a->gw.max_connections, wanted ? MIN(wanted, most) : most / 2,
		memory_order_relaxed);
}

void agent_take_settings(struct agent *a)
{
	take_max_connections(a);
	atomic_store_explicit(&a->gw.max_body, a->cfg.max_body, memory_order_relaxed);
	atomic_store_explicit(&a->gw.body_memory, a->cfg.body_memory, memory_order_relaxed);
	atomic_store_explicit(
		&a->gw.strict, a->cfg.durability == DURABILITY_STRICT, memory_order_relaxed);
	log_set_level((enum log_level)a->cfg.log);
	if (a->gw.committer)
		committer_set_strict(a->gw.committer, a->cfg.durability == DURABILITY_STRICT);
}

static void reload(struct agent *a)
{
	struct agent_config fresh;
	struct arena memory;
	struct buf names;
	struct errbuf why;

	arena_init(&memory, 4096, 1 << 20);
	if (agent_config_load(a->config_path, a->config_may_miss, &memory, &fresh, &why)) {
		log_event(LOG_ERROR, "agent", "agent.reload_failed", "why=%s",
			log_quote(slice_str(why.text)));
		arena_fini(&memory);
		return;
	}
	buf_init(&names, 4096);
	config_restart_needed(agent_config_rows, agent_config_n_rows, &a->cfg, &fresh, &names);
	if (names.n)
		log_event(LOG_WARNING, "agent", "agent.restart_needed", "settings=%s",
			log_quote(buf_view(&names)));
	buf_fini(&names);
	a->cfg.durability = fresh.durability;
	a->cfg.max_body = fresh.max_body;
	a->cfg.max_connections = fresh.max_connections;
	a->cfg.body_memory = fresh.body_memory;
	a->cfg.drain_timeout = fresh.drain_timeout;
	a->cfg.log = fresh.log;
	agent_take_settings(a);
	builder_reload(&a->builder,
		strcmp(fresh.secrets_dir, "off") ? fresh.secrets_dir : ""); /* copied */
	arena_fini(&memory);
	log_event(LOG_INFO, "agent", "agent.reloaded", "config=%s",
		a->config_path ? a->config_path : "-");
}

void agent_on_signal(uv_signal_t *s, int number)
{
	struct agent *a = s->data;

	if (number != SIGHUP) {
		begin_drain(a);
		return;
	}
	sd_notify_reloading(&a->sd);
	reload(a);
	agent_tell_ready(a);
}

/* --- life
 * -------------------------------------------------------------------------------------------------------------------
 */

static void name_agent(struct agent *a)
{
	if (gethostname(a->host, sizeof(a->host) - 1))
		(void)snprintf(a->host, sizeof(a->host), "localhost");
	(void)snprintf(a->agent_id, sizeof(a->agent_id), "%s",
		a->cfg.agent_id[0] ? a->cfg.agent_id : a->host);
	a->gw.agent_id = a->agent_id;
}

int agent_new(const char *config_path, bool may_miss, struct agent **ret, struct errbuf *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	int err;

	*ret = a; /* also on failure: the program ends then, and the stores' locks go with it */
	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	a->config_path = config_path;
	a->config_may_miss = may_miss;
	a->tcp_fd = a->unix_fd = a->door.fd = a->door.visitor_fd = -1;
	a->start_wall_us = clock_wall_us();
	a->start_mono_us = clock_mono_us();
	(void)pthread_mutex_init(&a->policy_lock, NULL);
	arena_init(&a->config_memory, 4096, 1 << 20);
	err = sd_init(&a->sd, e);
	if (!err)
		err = agent_config_load(config_path, may_miss, &a->config_memory, &a->cfg, e);
	if (!err)
		err = proxy_parse(a->cfg.proxy, a->cfg.no_proxy, &a->proxy, e);
	if (!err) {
		name_agent(a);
		err = agent_start(a, e);
	}
	return err;
}

void agent_run(struct agent *a)
{
	log_event(LOG_INFO, "agent", "agent.ready",
		"agent=%s listen=%s socket=%s workers=%u revision=%" PRIu64 " durability=%s",
		a->agent_id, a->cfg.listen, a->cfg.socket, a->n_workers,
		a->rules ? a->rules->policy->revision : 0,
		a->cfg.durability == DURABILITY_STRICT ? "strict" : "relaxed");
	(void)loop_run(&a->loop);
	log_event(
		LOG_INFO, "agent", "agent.stopping", "inflight=%u", inflight_used(a->gw.inflight));
}

static void on_uplink_closed(void *owner)
{
	struct agent *a = owner;

	a->uplink_closed = true;
	loop_stop(&a->loop);
}

void agent_free(struct agent *a)
{
	agent_stop_control(a);
	prober_close(&a->prober);
	agent_stop_mount(a);
	agent_stop_service(a);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_stop(a->workers[i]);
	a->workers_gone = true;
	agent_stop_request_lines(a);
	/* The uplink waits for its committer jobs, which answer through the mailbox. */
	uplink_close(a->uplink, on_uplink_closed);
	a->uplink = NULL;
	while (!a->uplink_closed) /* a worker's last word or a signal may stop the loop before */
		(void)loop_run(&a->loop);
	committer_stop(a->gw.committer);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_free(a->workers[i]);
	for (size_t i = 0; i < ARRAY_LEN(a->signals); i++)
		uv_close((uv_handle_t *)&a->signals[i], NULL);
	mailbox_close(&a->mailbox);
	loop_fini(&a->loop);
	agent_close_sockets(a);
	rules_unref(a->rules);
	policy_unref(a->shown_policy);
	builder_fini(&a->builder);
	stat_tree_free(a->tree);
	keyset_close(a->gw.keyset);
	spool_close(a->gw.spool);
	inflight_close(a->gw.inflight);
	idempotency_close(a->gw.idempotency);
	stats_free(a->gw.stats);
	health_free(a->gw.health);
	capacities_free(a->gw.capacities);
	line_ring_free(a->gw.calls);
	line_ring_free(a->gw.traces);
	line_ring_free(a->gw.troubled);
	free(a->workers);
	arena_fini(&a->config_memory);
	(void)pthread_mutex_destroy(&a->policy_lock);
	free(a);
}
