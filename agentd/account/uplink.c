/* The connection's life.
 *
 *   CLOSED --retry--> CONNECTING --open--> GREETING --welcome--> UP
 *      ^                  |                    |                  |
 *      +--- closed --- LEAVING <---- anything goes wrong ---------+
 *
 * Whatever goes wrong ends in uplink_break(), which only notes it; the connection is closed at the
 * end of the turn, outside of anybody's call. The pause before the next try is drawn from 0 to a
 * bound that doubles from 100 ms to 10 s, so that agents do not come back all at once. */
#include "account/uplink_private.h"

#include <aigw/clock.h>
#include <aigw/log.h>
#include <stdarg.h>
#include <sys/random.h>

#define RETRY_MIN_US    (100 * USEC_PER_MS)
#define RETRY_MAX_US    (10 * USEC_PER_S)
#define STEADY_US       (10 * USEC_PER_S) /* up so long: the next failure is the first again */
#define HELLO_ANSWER_US (10 * USEC_PER_S)
#define BATCH_ANSWER_US (60 * USEC_PER_S)
#define STATUS_US       (2 * USEC_PER_S)
#define IN_MAX_BYTES    ((size_t)WIRE_MAX_FRAME + 4 + LOOP_SCRATCH_BYTES)

/* --- telling the owner
 * ----------------------------------------------------------------------------- */

/* Tells and logs a change, not each of a hundred tries that end the same way. */
static void state_set(struct uplink *u, enum uplink_state st, const char *why)
{
	if (u->state == st && strncmp(u->why, why, sizeof(u->why) - 1) == 0)
		return;
	u->state = st;
	(void)snprintf(u->why, sizeof(u->why), "%s", why);
	if (st == UPLINK_CONNECTED && !*why)
		log_event(LOG_INFO, "uplink", "uplink.connected", "high_water=%" PRIu64,
			u->high_water);
	else
		log_event(LOG_WARNING, "uplink",
			st == UPLINK_CONNECTED ? "uplink.usage_held" : "uplink.retrying", "why=%s",
			log_quote(slice_str(u->why)));
	u->cfg.state(st, u->why, u->cfg.owner);
}

void uplink_up(struct uplink *u, const char *why)
{
	state_set(u, UPLINK_CONNECTED, why);
}

enum uplink_state uplink_state(const struct uplink *u)
{
	return u->state;
}

/* --- giving up and trying again
 * -------------------------------------------------------------------- */

static void retry_plan(struct uplink *u)
{
	usec bound = RETRY_MIN_US;
	uint64_t r = 0;

	for (unsigned i = 0; i < u->attempts && bound < RETRY_MAX_US; i++)
		bound = MIN(bound * 2, RETRY_MAX_US);
	u->attempts++;
	if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != sizeof(r))
		r = (uint64_t)clock_mono_us(); /* jitter, no secret */
	deadline_set(u->cfg.loop, &u->retry, (usec)(r % (uint64_t)(bound + 1)));
}

void uplink_break(struct uplink *u, const char *fmt, ...)
{
	va_list ap;

	if (u->breaking || u->closing || u->phase == PHASE_CLOSED || u->phase == PHASE_LEAVING)
		return;
	u->breaking = true;
	va_start(ap, fmt);
	(void)vsnprintf(u->broken, sizeof(u->broken), fmt, ap);
	va_end(ap);
	deferred_queue(u->cfg.loop, &u->give_up);
}

static void connection_leave(struct uplink *u)
{
	deadline_stop(u->cfg.loop, &u->answer_by);
	deadline_stop(u->cfg.loop, &u->status_by);
	deadline_stop(u->cfg.loop, &u->retry);
	deferred_cancel(&u->give_up);
	uplink_usage_end(u);
	uplink_traces_end(u);
	uplink_parts_drop(u);
	u->phase = PHASE_LEAVING;
	stream_close(&u->stream.s);
}

static void on_give_up(struct deferred *d)
{
	struct uplink *u = container_of(d, struct uplink, give_up);

	if (u->phase == PHASE_UP && clock_mono_us() - u->up_since_us >= STEADY_US)
		u->attempts = 0;
	connection_leave(u);
	state_set(u, UPLINK_RETRYING, u->broken);
}

static void on_answer_late(struct deadline *d)
{
	uplink_break(container_of(d, struct uplink, answer_by), "the controller does not answer");
}

void uplink_await_answer(struct uplink *u)
{
	if (u->n_batches > 0)
		deadline_set(u->cfg.loop, &u->answer_by, BATCH_ANSWER_US);
	else
		deadline_stop(u->cfg.loop, &u->answer_by);
}

void uplink_retry_in(struct uplink *u, usec span)
{
	deadline_set(u->cfg.loop, &u->retry, span);
}

/* --- the stream
 * ------------------------------------------------------------------------------------ */

static struct uplink *uplink_of(struct stream *s)
{
	return container_of(s, struct uplink, stream.s);
}

static void on_open(struct stream *s, int status)
{
	struct uplink *u = uplink_of(s);

	if (status < 0) {
		uplink_break(u, "%s: %s", u->addr.sun_path, strerror(-status));
		return;
	}
	u->phase = PHASE_GREETING;
	stream_read_start(s);
	uplink_send_hello(u);
	deadline_set(u->cfg.loop, &u->answer_by, HELLO_ANSWER_US);
}

static void on_data(struct stream *s, char *p, size_t n)
{
	uplink_data(uplink_of(s), p, n);
}

static void on_drained(struct stream *s)
{
	(void)s; /* what is on its way is bounded by the batches and by what the controller asks */
}

static void on_eof(struct stream *s)
{
	uplink_break(uplink_of(s), "the controller closed the connection");
}

static void on_error(struct stream *s, int err)
{
	uplink_break(uplink_of(s), "the connection broke: %s", strerror(-err));
}

static void on_closed(struct stream *s)
{
	struct uplink *u = uplink_of(s);

	u->phase = PHASE_CLOSED;
	u->breaking = false;
	buf_fini(&u->in);
	if (u->closing)
		deferred_queue(u->cfg.loop, &u->finish);
	else
		retry_plan(u);
}

static const struct stream_events uplink_events = {
	.open = on_open,
	.data = on_data,
	.drained = on_drained,
	.eof = on_eof,
	.error = on_error,
	.closed = on_closed,
};

static void connection_begin(struct uplink *u)
{
	int r;

	stream_plain_init(&u->stream, u->cfg.loop, true, &uplink_events);
	u->phase = PHASE_CONNECTING;
	u->connection++;
	r = stream_connect(&u->stream, (const struct sockaddr *)&u->addr);
	if (r < 0)
		uplink_break(u, "%s: %s", u->addr.sun_path, strerror(-r));
	else
		deadline_set(u->cfg.loop, &u->answer_by, HELLO_ANSWER_US);
}

static void on_retry(struct deadline *d)
{
	struct uplink *u = container_of(d, struct uplink, retry);

	if (u->phase == PHASE_CLOSED)
		connection_begin(u);
	else
		uplink_break(u, "%s", u->why); /* a refusal of usage that has stood long enough */
}

static void on_status(struct deadline *d)
{
	uplink_status_now(container_of(d, struct uplink, status_by));
}

/* --- the owner's calls
 * ----------------------------------------------------------------------------- */

void uplink_status_now(struct uplink *u)
{
	/* A controller that reads nothing gets no heap of old news. */
	if (u->phase == PHASE_UP && !u->breaking && u->stream.s.queued_bytes == 0)
		uplink_send_status(u);
	if (u->phase == PHASE_UP)
		deadline_set(u->cfg.loop, &u->status_by, STATUS_US);
	uplink_traces_look(u);
}

static bool can_tell(const struct uplink *u)
{
	return (u->phase == PHASE_UP || u->phase == PHASE_GREETING) && !u->breaking;
}

void uplink_policy_result(struct uplink *u, uint64_t revision, bool ok, const char *reason)
{
	struct wire_message m = { .kind = WIRE_policy_result };

	m.policy_result = (struct wire_policy_result){ revision, ok, slice_str(reason) };
	if (can_tell(u))
		uplink_send(u, &m);
}

void uplink_keys_ack(struct uplink *u, uint64_t seq)
{
	struct wire_message m = { .kind = WIRE_keys_ack };

	m.keys_ack.seq = seq;
	if (can_tell(u))
		uplink_send(u, &m);
}

void uplink_keys_resync(struct uplink *u, uint64_t have_seq)
{
	struct wire_message m = { .kind = WIRE_keys_resync };

	m.keys_resync.seq = have_seq;
	if (!can_tell(u))
		return;
	u->resync_asked = true;
	uplink_send(u, &m);
}

void uplink_drains_ack(struct uplink *u, uint64_t version)
{
	struct wire_message m = { .kind = WIRE_drains_ack };

	m.drains_ack.version = version;
	if (u->phase == PHASE_UP)
		uplink_send(u, &m);
}

void uplink_secret_ack(struct uplink *u, struct slice name, uint64_t version, const char *source)
{
	struct wire_message m = { .kind = WIRE_secrets_ack };

	m.secrets_ack = (struct wire_secrets_ack){ name, version, slice_str(source) };
	if (can_tell(u))
		uplink_send(u, &m);
}

/* --- life
 * ------------------------------------------------------------------------------------------ */

static void uplink_free(struct uplink *u)
{
	uplink_parts_drop(u);
	buf_fini(&u->in);
	buf_fini(&u->out);
	buf_fini(&u->reading.bytes);
	free(u->agent_id);
	free(u);
}

static void on_finish(struct deferred *d)
{
	struct uplink *u = container_of(d, struct uplink, finish);
	void (*closed)(void *owner) = u->closed;
	void *owner = u->cfg.owner;

	if (u->phase != PHASE_CLOSED || u->reading.busy || u->acknowledging.busy)
		return; /* who comes back last finishes */
	uplink_free(u);
	closed(owner);
}

void uplink_job_returned(struct uplink *u)
{
	if (u->closing)
		deferred_queue(u->cfg.loop, &u->finish);
}

void uplink_close(struct uplink *u, void (*closed)(void *owner))
{
	ASSERT(!u->closing);
	u->closing = true;
	u->closed = closed;
	deadline_stop(u->cfg.loop, &u->retry);
	if (u->phase != PHASE_CLOSED && u->phase != PHASE_LEAVING)
		connection_leave(u);
	deferred_queue(u->cfg.loop, &u->finish);
}

static int address_parse(struct uplink *u, const char *controller, struct errbuf *e)
{
	const char *path = controller + 5;

	if (strcmp(controller, "off") == 0)
		return 0;
	if (strncmp(controller, "unix:", 5) != 0 || !*path)
		return err_set(
			e, -EINVAL, "controller: write unix:PATH or off, not '%s'", controller);
	if (strlen(path) >= sizeof(u->addr.sun_path))
		return err_set(e, -ENAMETOOLONG,
			"controller: the path of a unix socket has at most %zu bytes",
			sizeof(u->addr.sun_path) - 1);
	u->addr.sun_family = AF_UNIX;
	memcpy(u->addr.sun_path, path, strlen(path) + 1);
	return 0;
}

int uplink_start(const struct uplink_config *c, struct uplink **ret, struct errbuf *e)
{
	struct uplink *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	u->cfg = *c;
	buf_init(&u->in, IN_MAX_BYTES);
	buf_init(&u->out, (size_t)WIRE_MAX_FRAME + 4);
	deferred_init(&u->give_up, on_give_up);
	deferred_init(&u->finish, on_finish);
	deadline_init(&u->retry, on_retry);
	deadline_init(&u->answer_by, on_answer_late);
	deadline_init(&u->status_by, on_status);
	uplink_usage_init(u);
	uplink_traces_init(u);
	spool_store_id(c->spool, u->store_id);
	u->agent_id = strdup(c->agent_id);
	r = u->agent_id ? address_parse(u, c->controller, e) : err_set(e, -ENOMEM, "out of memory");
	if (r < 0) {
		uplink_free(u);
		return r;
	}
	u->state = UPLINK_OFF;
	if (u->addr.sun_family) {
		u->state = UPLINK_RETRYING;
		deadline_set(c->loop, &u->retry, 0);
	}
	*ret = u;
	return 0;
}
