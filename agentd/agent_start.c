/* Start of the agent's parts, in the order in which one needs the other; listeners open when all
 * that a call needs is there. */
#include "agent_private.h"

#include "account/idempotency.h"
#include "stats/series.h"

#include <aigw/clock.h>
#include <aigw/log.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGENT_FDS_RESERVED 128

static int make_dir(const char *path, mode_t mode, struct errbuf *e)
{
	if (mkdir(path, mode) == 0 || errno == EEXIST)
		return 0;
	return err_set(e, -errno, "can't make the folder %s: %s", path, strerror(errno));
}

/* How many clients and upstream connections there may be, together. */
static uint32_t raise_descriptors(void)
{
	struct rlimit lim;
	uint32_t n;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		lim = (struct rlimit){ 1024, 1024 };
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
	(void)getrlimit(RLIMIT_NOFILE, &lim);
	n = (uint32_t)MIN(lim.rlim_cur, (rlim_t)1 << 20);
	return n > 2 * AGENT_FDS_RESERVED ? n - AGENT_FDS_RESERVED : AGENT_FDS_RESERVED;
}

static int open_stores(struct agent *a, struct errbuf *e)
{
	unsigned booked = 0;
	int err = make_dir(a->cfg.state_dir, 0700, e);

	if (!err)
		err = make_dir(a->cfg.runtime_dir, 0700, e);
	if (!err)
		err = inflight_open(
			a->cfg.runtime_dir, (uint32_t)a->cfg.inflight_slots, &a->gw.inflight, e);
	if (!err)
		err = idempotency_open(a->cfg.runtime_dir, &a->gw.idempotency, e);
	if (!err)
		err = spool_open(a->cfg.state_dir, a->cfg.spool_size, &a->gw.spool, e);
	if (!err)
		err = account_recover(a->gw.inflight, a->gw.spool, &booked, e);
	if (!err && booked)
		log_event(LOG_WARNING, "account", "account.recovered", "records=%u", booked);
	if (!err)
		err = keyset_open(a->cfg.state_dir, &a->gw.keyset, e);
	return err;
}

static void on_wake(unsigned worker, void *owner)
{
	worker_wake_durable(((struct agent *)owner)->workers[worker]);
}

static void on_wake_queue(unsigned worker, void *owner)
{
	worker_wake_queue(((struct agent *)owner)->workers[worker]);
}

static int start_committer(struct agent *a, struct errbuf *e)
{
	const struct committer_config c = {
		.inflight = a->gw.inflight,
		.spool = a->gw.spool,
		.n_workers = a->n_workers,
		.strict = a->cfg.durability == DURABILITY_STRICT,
		.wake = on_wake,
		.committed = agent_on_committed,
		.owner = a,
	};
	int err = committer_start(&c, &a->gw.committer, e);

	a->builder.committer = a->gw.committer;
	return err;
}

static int start_workers(struct agent *a, struct errbuf *e)
{
	struct worker_config c = {
		.gw = &a->gw,
		.tcp_fd = a->tcp_fd,
		.unix_fd = a->unix_fd,
		.empty = agent_on_worker_empty,
		.ask_metrics = agent_on_ask_metrics,
		.wake_queue = on_wake_queue,
		.owner = a,
	};
	int err = 0;

	a->gw.n_workers = a->n_workers;
	for (unsigned i = 0; !err && i < a->n_workers; i++) {
		c.index = i;
		err = worker_start(&c, a->rules, &a->workers[i], e);
	}
	return err;
}

static int start_loop(struct agent *a, struct errbuf *e)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	int err = loop_init(&a->loop, a);

	if (!err)
		err = mailbox_init(&a->mailbox, &a->loop);
	for (size_t i = 0; !err && i < ARRAY_LEN(numbers); i++) {
		err = uv_signal_init(&a->loop.uv, &a->signals[i]);
		a->signals[i].data = a;
		if (!err)
			err = uv_signal_start(&a->signals[i], agent_on_signal, numbers[i]);
	}
	deadline_init(&a->drain, agent_on_drain_end);
	return err ? err_set(e, err, "the event loop can't start: %s", uv_strerror(err)) : 0;
}

int agent_start(struct agent *a, struct errbuf *e)
{
	int err;

	a->most_connections = raise_descriptors();

	a->n_workers =
		a->cfg.workers ? (unsigned)a->cfg.workers : MIN(uv_available_parallelism(), 64u);
	a->workers = calloc(a->n_workers, sizeof(struct worker *));
	if (!a->workers)
		return err_set(e, -ENOMEM, "out of memory");
	agent_take_settings(a);
	err = agent_keep_events(a, e);
	if (!err)
		err = open_stores(a, e);
	if (!err && (stats_new(a->n_workers + 1, &a->gw.stats) ||
			    health_new(a->n_workers, &a->gw.health) ||
			    capacities_new(&a->gw.capacities)))
		err = err_set(e, -ENOMEM, "out of memory");
	if (!err) {
		series_set_max(stats_series(a->gw.stats), (uint32_t)a->cfg.metrics_max_series);
		err = start_loop(a, e);
		/* Behind the workers' blocks of numbers stands the control loop's. */
		prober_init(&a->prober, &a->loop, stats_worker(a->gw.stats, a->n_workers),
			a->gw.health);
	}
	if (!err)
		err = agent_make_tree(a, e);
	if (!err)
		err = agent_start_rules(a, e);
	if (!err)
		err = start_committer(a, e);
	if (!err)
		err = agent_open_sockets(a, e);
	if (!err)
		err = start_workers(a, e);
	if (!err)
		err = agent_start_link(a, e);
	if (!err)
		agent_start_mount(a);
	if (!err)
		agent_start_control(a);
	if (!err)
		agent_start_pulse(a);
	if (!err && a->rules)
		prober_take(&a->prober, a->rules);
	if (!err)
		agent_start_service(a);
	return err;
}
