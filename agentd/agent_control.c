/* The agent's local admin socket: opening it, what is kept for it, and the drain that can be taken
 * back. Unlike that of SIGTERM this one closes no listener and ends nothing: new calls are refused,
 * /readyz says so, and the process stays. */
#include "agent_private.h"

#include <aigw/clock.h>
#include <aigw/log.h>
#include <aigw/text.h>

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
	if (line_ring_new(&a->gw.calls) || line_ring_new(&a->gw.traces) ||
		line_ring_new(&a->gw.troubled) || (!events && line_ring_new(&events)))
		return err_set(e, -ENOMEM, "out of memory");
	a->events = events;
	log_set_tap(on_log_line);
	return 0;
}

/* --- a line for each call, where it was asked for --------------------------------------- */

#define REQUEST_LINES_US (50 * USEC_PER_MS)

static void log_call(const struct finished *f)
{
	struct slice key = finished_text(f, FINISHED_key);
	char id[REQUEST_ID_LEN + 1], caller[VKEY_ID_LEN + 32] = "-", cost[32] = "-";

	request_id_format(f->op_id, id);
	if (key.n)
		(void)snprintf(caller, sizeof(caller), SLICE_FMT, SLICE_ARG(key));
	if (f->priced)
		text_format_nano(f->cost_nano, 9, cost);
	log_event_each("request", "request.done",
		"request_id=%s key_id=%s uid=%" PRId64 " project=%s model=%s provider=%s status=%u "
		"outcome=%s fail=%s input_tokens=%" PRId64 " output_tokens=%" PRId64
		" estimated=%d cost=%s first_byte_us=%" PRId64 " duration_us=%" PRId64,
		id, caller, f->uid - 1, log_quote(finished_text(f, FINISHED_project)),
		log_quote(finished_text(f, FINISHED_model)),
		log_quote(finished_text(f, FINISHED_provider)), f->status,
		usage_outcome_name(f->outcome), log_quote(finished_text(f, FINISHED_fail)),
		f->input_tokens, f->output_tokens, f->estimated, cost, f->first_byte_us,
		f->duration_us);
}

/* Here and not where calls end: a worker writes no log line for a call. */
static void on_request_lines(struct deadline *d)
{
	struct agent *a = container_of(d, struct agent, request_lines);
	char bytes[LINE_MAX_BYTES];
	uint64_t first;
	size_t n;

	for (;;) {
		struct finished f;
		int r = line_ring_read(a->gw.calls, a->request_lines_at, bytes, &n, &first);

		if (r == -EAGAIN)
			break;
		if (r == -EOVERFLOW) {
			log_event(LOG_WARNING, "request", "requests.lost", "calls=%" PRIu64,
				first - a->request_lines_at);
			a->request_lines_at = first;
			continue;
		}
		a->request_lines_at++;
		if (finished_read(slice_of(bytes, n), &f))
			log_call(&f);
	}
	deadline_set(&a->loop, d, REQUEST_LINES_US);
}

void agent_log_requests(struct agent *a)
{
	deadline_init(&a->request_lines, on_request_lines);
	deadline_set(&a->loop, &a->request_lines, REQUEST_LINES_US);
}

void agent_stop_request_lines(struct agent *a)
{
	if (!a->request_lines.fired)
		return;
	on_request_lines(&a->request_lines);
	deadline_stop(&a->loop, &a->request_lines);
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
		.traces = a->gw.traces,
		.troubled = a->gw.troubled,
		.events = a->events,
		.drain = on_drain,
		.set_drain = agent_set_drain,
		.drains = agent_drains,
		.route = agent_route,
		.test = agent_test,
		.test_stop = agent_test_stop,
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
