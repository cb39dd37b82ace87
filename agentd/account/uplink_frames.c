/* Frames out and in. A frame that can't be read ends the connection: after it nothing can be
 * trusted to be where it seems. */
#include "account/uplink_private.h"

#include <aigw/clock.h>
#include <aigw/log.h>
#include <aigw/secret.h>

#define DECODE_ARENA_BYTES (4u << 20)
#define OUT_KEPT_BYTES     4096 /* a batch's memory is given back */

/* --- out
 * ------------------------------------------------------------------------------------------- */

uint32_t uplink_id(struct uplink *u)
{
	return ++u->next_id;
}

void uplink_send(struct uplink *u, const struct wire_message *m)
{
	struct slice v;
	int r;

	buf_reset(&u->out);
	r = wire_encode(m, &u->out);
	if (r < 0) {
		uplink_break(u, "a frame can't be made: %s", strerror(-r));
		return;
	}
	v = buf_view(&u->out);
	r = stream_write(&u->stream.s, &v, 1);
	if (r < 0)
		uplink_break(u, "the connection broke: %s", strerror(-r));
	if (u->out.cap > OUT_KEPT_BYTES)
		buf_fini(&u->out);
}

void uplink_send_hello(struct uplink *u)
{
	struct wire_message m = { .kind = WIRE_hello, .id = uplink_id(u) };

	u->hello_id = m.id;
	u->cfg.hello(&m.hello, u->cfg.owner);
	m.hello.wire_version = WIRE_VERSION;
	m.hello.agent_id = slice_str(u->agent_id);
	m.hello.store_id = slice_of((const char *)u->store_id, sizeof(u->store_id));
	u->keys_seq = m.hello.keys_seq;
	uplink_send(u, &m);
}

void uplink_send_status(struct uplink *u)
{
	struct wire_message m = { .kind = WIRE_agent_status };
	struct spool_gauges g;

	spool_read_gauges(u->cfg.spool, &g);
	u->cfg.status(&m.agent_status, u->cfg.owner);
	m.agent_status.spool_records = g.records;
	m.agent_status.spool_oldest_us = (uint64_t)g.oldest_wall_us;
	m.agent_status.wall_us = (uint64_t)clock_wall_us();
	uplink_send(u, &m);
}

/* --- in
 * -------------------------------------------------------------------------------------------- */

static void take_welcome(struct uplink *u, const struct wire_message *m)
{
	if (m->id != u->hello_id || m->welcome.chain.n != 32) {
		uplink_break(u, "the controller's welcome is malformed");
		return;
	}
	u->phase = PHASE_UP;
	u->up_since_us = clock_mono_us();
	uplink_usage_begin(u, &m->welcome);
	uplink_traces_begin(u, &m->welcome);
	uplink_await_answer(u);
	uplink_status_now(u);
}

static void take_error(struct uplink *u, const struct wire_message *m)
{
	if (m->of == WIRE_hello)
		uplink_break(u, "refused (" SLICE_FMT "): " SLICE_FMT, SLICE_ARG(m->error.code),
			SLICE_ARG(m->error.message));
	else
		uplink_usage_refused(u, &m->error);
}

static void message_take(struct uplink *u, const struct wire_message *m)
{
	if (m->kind == WIRE_welcome)
		take_welcome(u, m);
	else if (m->kind == WIRE_error)
		take_error(u, m);
	else if (m->kind == WIRE_usage_done)
		uplink_usage_done(u, m->id, &m->usage_done);
	else if (m->kind == WIRE_policy_part)
		uplink_take_policy(u, &m->policy_part);
	else if (m->kind == WIRE_keys_part)
		uplink_take_keys(u, &m->keys_part);
	else if (m->kind == WIRE_keys_change)
		uplink_take_change(u, &m->keys_change);
	else if (m->kind == WIRE_secrets_put)
		u->cfg.secret(m->secrets_put.name, m->secrets_put.version, m->secrets_put.bytes,
			u->cfg.owner);
	else if (m->kind == WIRE_drains_put)
		u->cfg.drains(m->drains_put.version, m->drains_put.lines.v,
			(uint32_t)m->drains_put.lines.n, u->cfg.owner);
	else if (m->kind != WIRE_unknown)
		uplink_break(u, "the controller sent a message that only agents send");
}

/* What an answer answers: hello is alone on its way, batches only follow its welcome. */
static enum wire_kind expected(const struct uplink *u)
{
	if (u->phase == PHASE_GREETING)
		return WIRE_welcome;
	return u->n_batches > 0 ? WIRE_usage_done : WIRE_none;
}

static void call_refuse(struct uplink *u, uint32_t id, const char *message)
{
	struct wire_message m = { .kind = WIRE_error, .id = id };

	m.error = (struct wire_error){ SLICE("unknown_method"), slice_str(message) };
	uplink_send(u, &m);
}

/* True if the frame held a secret: its bytes are wiped. */
static bool frame_take(struct uplink *u, char *p, size_t n)
{
	struct wire_message m;
	struct errbuf e = { "" };
	struct arena a;
	bool secret;
	int r;

	arena_init(&a, 4096, DECODE_ARENA_BYTES);
	r = wire_decode(slice_of(p, n), expected(u), &a, &m, &e);
	if (r == 0)
		message_take(u, &m);
	else if (r == -ENOSYS)
		call_refuse(u, m.id, e.text);
	else
		uplink_break(u, "the controller sent a broken frame: %s", e.text);
	secret = r == 0 && m.kind == WIRE_secrets_put;
	arena_fini(&a);
	if (secret)
		secret_wipe(p, n);
	return secret;
}

void uplink_data(struct uplink *u, char *p, size_t n)
{
	size_t at = 0;
	bool secret = false;

	if (u->breaking || u->closing)
		return;
	if (buf_append(&u->in, p, n) < 0) {
		uplink_break(u, "no memory for the controller's frames");
		return;
	}
	while (!u->breaking && !u->closing) {
		ssize_t len = wire_frame(u->in.p + at, u->in.n - at, WIRE_MAX_FRAME);

		if (len < 0)
			uplink_break(u, "the controller sent a frame over the limit");
		if (len <= 0)
			break;
		secret |= frame_take(u, u->in.p + at + 4, (size_t)len);
		at += 4 + (size_t)len;
	}
	if (secret)
		secret_wipe(p, n);
	buf_drop(&u->in, at);
	if (u->in.n == 0)
		buf_fini(&u->in);
}
