/* The agent's local admin socket: opening it, what is kept for it, and the drain that can be taken
 * back. Unlike that of SIGTERM this one closes no listener and ends nothing: new calls are refused,
 * /readyz says so, and the process stays. */
#include "agent_private.h"

#include <aigw/clock.h>
#include <aigw/log.h>

/* --- events: lines of the log, "t=SECONDS.MICROS level=..." --------------------------- */

static struct line_ring *events; /* of this process; kept to its end, threads may log until then */

static void on_log_line(struct slice line)
{
	usec now = clock_wall_us();
	const char *from = memmem(line.p, line.n, " level=", 7);
	char text[LINE_MAX_BYTES + 1];
	int n;

	if (!from)
		return;
	n = snprintf(text, sizeof(text), "t=%" PRId64 ".%06" PRId64 SLICE_FMT, now / USEC_PER_S,
		now % USEC_PER_S, (int)(line.p + line.n - from), from);
	line_ring_post(events, slice_of(text, MIN((size_t)MAX(n, 0), (size_t)LINE_MAX_BYTES)));
}

int agent_keep_events(struct agent *a, struct errbuf *e)
{
	if (line_ring_new(&a->gw.calls) || (!events && line_ring_new(&events)))
		return err_set(e, -ENOMEM, "out of memory");
	a->events = events;
	log_set_tap(on_log_line);
	return 0;
}

/* --- the socket ----------------------------------------------------------------------- */

static bool on_drain(bool on, void *owner)
{
	struct agent *a = owner;

	if (a->draining)
		return false;
	if (atomic_load_explicit(&a->gw.draining, memory_order_relaxed) == on)
		return true;
	atomic_store_explicit(&a->gw.draining, on, memory_order_relaxed);
	log_event(LOG_INFO, "agent", on ? "agent.draining" : "agent.resumed",
		"by=control inflight=%u", inflight_used(a->gw.inflight));
	if (on)
		(void)sd_notify(
			&a->sd, "STATUS=Drained by aigwctl agent drain; new calls are refused.");
	else
		agent_tell_ready(a);
	return true;
}

void agent_start_control(struct agent *a)
{
	const struct sd_socket *given = sd_take(&a->sd, "control", AF_UNIX);
	const struct control_config c = {
		.loop = &a->loop,
		.path = a->cfg.control_socket,
		.fd = given ? given->fd : -1,
		.tree = a->tree,
		.inflight = a->gw.inflight,
		.calls = a->gw.calls,
		.events = a->events,
		.drain = on_drain,
		.owner = a,
	};
	struct errbuf why;

	if (!given && !strcmp(a->cfg.control_socket, "off"))
		return;
	if (control_start(&c, &a->local, &why))
		log_event(LOG_WARNING, "control", "control.not_listening", "path=%s why=%s",
			a->cfg.control_socket, log_quote(slice_str(why.text)));
}

void agent_stop_control(struct agent *a)
{
	control_close(a->local);
	a->local = NULL;
}
