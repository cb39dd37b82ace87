/* The agent as a service: sockets that systemd opened, what it is told, and the watchdog. The
 * watchdog is fed only while every loop turns: a quarter of the allowed time after the last
 * question, which went to each worker by mail, all have to have answered. So an idle host wakes
 * each worker a few times a minute, and a call pays nothing for it. */
#include "agent_private.h"

#include "front/listener.h"
#include "statfs/metrics.h"

#include <aigw/log.h>
#include <aigw/peer.h>
#include <aigw/stream.h>

#include <unistd.h>

#define QUESTIONS_PER_WATCHDOG 4

/* --- sockets -------------------------------------------------------------------------- */

static bool is_loopback(int fd)
{
	struct sockaddr_storage addr;
	socklen_t n = sizeof(addr);

	return getsockname(fd, (struct sockaddr *)&addr, &n) == 0 &&
	       address_is_loopback((struct sockaddr *)&addr);
}

/* Those named `http`: at most one unix and one TCP socket, instead of those of the settings. */
static int take_sockets(struct agent *a, struct errbuf *e)
{
	const struct sd_socket *s;

	while ((s = sd_take(&a->sd, "http", 0)) != NULL) {
		int *fd = s->family == AF_UNIX ? &a->unix_fd : &a->tcp_fd;

		if (*fd >= 0)
			return err_set(e, -EINVAL,
				"two sockets named http of one kind: the agent serves one unix "
				"socket and one TCP port");
		if (s->family != AF_UNIX && !is_loopback(s->fd))
			return err_set(e, -EACCES,
				"the socket unit's TCP address is no loopback address; without "
				"TLS only 127.0.0.0/8 and [::1] are served");
		if (s->family != AF_UNIX)
			socket_stays_local(s->fd);
		*fd = s->fd;
		a->activated = true;
	}
	return 0;
}

int agent_open_sockets(struct agent *a, struct errbuf *e)
{
	int err = take_sockets(a, e);

	if (err || a->activated)
		return err;
	if (strcmp(a->cfg.listen, "off") != 0)
		err = listen_tcp(a->cfg.listen, &a->tcp_fd, e);
	if (!err && strcmp(a->cfg.socket, "off") != 0)
		err = unix_listen(a->cfg.socket, 0666, LISTEN_BACKLOG, &a->unix_fd, e);
	if (!err && a->tcp_fd < 0 && a->unix_fd < 0)
		err = err_set(
			e, -EINVAL, "listen and socket are both off: nothing could be served");
	return err;
}

void agent_close_sockets(struct agent *a)
{
	if (a->tcp_fd >= 0)
		(void)close(a->tcp_fd);
	if (a->unix_fd >= 0) {
		(void)close(a->unix_fd);
		if (!a->activated) /* else who comes now waits for the next process */
			(void)unlink(a->cfg.socket);
	}
	a->tcp_fd = a->unix_fd = -1;
}

/* --- watchdog ------------------------------------------------------------------------- */

/* Worker's thread. */
static void on_pong(void *arg, int err)
{
	struct agent *a = arg;

	(void)err;
	(void)atomic_fetch_sub_explicit(&a->unanswered, 1, memory_order_release);
}

static void on_watchdog(struct deadline *d)
{
	struct agent *a = container_of(d, struct agent, watchdog);

	deadline_set(&a->loop, d, a->sd.watchdog_us / QUESTIONS_PER_WATCHDOG);
	if (atomic_load_explicit(&a->unanswered, memory_order_acquire)) {
		if (!a->stuck)
			log_event(LOG_ERROR, "agent", "agent.worker_stuck", "workers=%u",
				atomic_load(&a->unanswered));
		a->stuck = true;
		return;
	}
	a->stuck = false;
	(void)sd_notify(&a->sd, "WATCHDOG=1");
	atomic_store_explicit(&a->unanswered, a->n_workers, memory_order_relaxed);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_ping(a->workers[i], on_pong, a);
}

/* --- metrics -------------------------------------------------------------------------- */

#define PULSE_US USEC_PER_S

static void on_pulse(struct deadline *d)
{
	struct agent *a = container_of(d, struct agent, pulse);
	int64_t requests = stats_sum(a->gw.stats, STAT_GLOBAL, 0, STAT_requests);

	deadline_set(&a->loop, d, PULSE_US);
	if (requests == a->pulse_requests && !inflight_used(a->gw.inflight))
		return;
	a->pulse_requests = requests;
	stat_tree_judge(a->tree);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_ping(a->workers[i], NULL, NULL);
}

void agent_start_pulse(struct agent *a)
{
	deadline_init(&a->pulse, on_pulse);
	deadline_set(&a->loop, &a->pulse, PULSE_US);
}

void agent_stop_service(struct agent *a)
{
	deadline_stop(&a->loop, &a->pulse);
	deadline_stop(&a->loop, &a->watchdog);
}

struct scrape {
	struct mail mail;
	unsigned worker;
};

/* Rendering may take milliseconds: not on a thread that relays. */
static void on_scrape(struct mail *mail, void *owner)
{
	struct scrape *s = container_of(mail, struct scrape, mail);
	struct agent *a = owner;
	struct buf text;

	if (!a->workers_gone) {
		buf_init(&text, METRICS_MAX_BYTES);
		stat_tree_metrics(a->tree, false, &text);
		worker_post_metrics(a->workers[s->worker], &text);
	}
	free(s);
}

void agent_on_ask_metrics(unsigned worker, void *owner)
{
	struct agent *a = owner;
	struct scrape *s = calloc(1, sizeof(*s));

	ASSERT(s); /* as other mail */
	s->mail.handle = on_scrape;
	s->worker = worker;
	mailbox_post(&a->mailbox, &s->mail);
}

/* --- states --------------------------------------------------------------------------- */

void agent_tell_ready(struct agent *a)
{
	char status[128];

	(void)snprintf(status, sizeof(status), "Serving; policy revision %" PRIu64 ", %u workers.",
		a->rules ? a->rules->policy->revision : 0, a->n_workers);
	sd_notify_ready(&a->sd, status);
}

void agent_start_service(struct agent *a)
{
	char unused[256];

	sd_close_rest(&a->sd, unused, sizeof(unused));
	if (unused[0])
		log_event(LOG_WARNING, "agent", "agent.sockets_unused", "names=%s",
			log_quote(slice_str(unused)));
	deadline_init(&a->watchdog, on_watchdog);
	if (a->sd.watchdog_us)
		on_watchdog(&a->watchdog);
	agent_tell_ready(a);
}
