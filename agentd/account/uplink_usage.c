/* Records going out: read by the committer in batches, in sequence order, from the controller's
 * high-water mark on; what it has booked is acknowledged to the spool. One reading at a time, four
 * batches on their way.
 *
 * The first reading of a connection also brings our chain hash at the controller's mark. If it is
 * another than the controller's, or the mark lies beyond our end, this store is a copy or was
 * rolled back. The records are sent all the same, since they let the controller see the fork and
 * quarantine the store, but nothing is dropped any more. */
#include "account/uplink_private.h"

#include <aigw/log.h>

#define HELD_US            (60 * USEC_PER_S) /* a quarantine ends by an admin's hand */
#define READING_KEPT_BYTES 4096

static void on_coalesced(struct deadline *d)
{
	uplink_usage_pump(container_of(d, struct uplink, coalesce));
}

/* --- committer's thread
 * ---------------------------------------------------------------------------- */

static void reading_run(struct committer_job *j, struct spool *s)
{
	struct uplink_reading *r = container_of(j, struct uplink_reading, job);

	buf_reset(&r->bytes);
	r->n = 0;
	r->result = spool_read(s, r->seq, UPLINK_BATCH_RECORDS, UPLINK_BATCH_BYTES, &r->bytes,
		r->lens, &r->n, r->prev_hash, r->hash, &r->error);
	mailbox_post(r->mailbox, &r->mail);
}

static void acknowledging_run(struct committer_job *j, struct spool *s)
{
	struct uplink_acknowledging *a = container_of(j, struct uplink_acknowledging, job);

	spool_acknowledge(s, a->high_water);
	mailbox_post(a->mailbox, &a->mail);
}

/* --- acknowledging
 * --------------------------------------------------------------------------------- */

static void acknowledge_post(struct uplink *u)
{
	if (u->acknowledging.busy || u->acknowledging.high_water >= u->acknowledged)
		return;
	u->acknowledging.busy = true;
	u->acknowledging.high_water = u->acknowledged;
	committer_do(u->cfg.committer, &u->acknowledging.job);
}

static void on_acknowledged(struct mail *m, void *owner)
{
	struct uplink *u = container_of(m, struct uplink, acknowledging.mail);

	(void)owner;
	u->acknowledging.busy = false;
	if (!u->closing)
		acknowledge_post(u);
	uplink_job_returned(u);
}

static void acknowledge(struct uplink *u, uint64_t high_water)
{
	if (u->rolled_back)
		return;
	u->acknowledged = MAX(u->acknowledged, high_water);
	acknowledge_post(u);
}

/* --- sending
 * --------------------------------------------------------------------------------------- */

static void batch_send(struct uplink *u)
{
	struct uplink_reading *r = &u->reading;
	struct wire_message m = { .kind = WIRE_usage_batch, .id = uplink_id(u) };
	struct uplink_batch *b = &u->batches[u->n_batches++];
	size_t at = 0;

	for (unsigned i = 0; i < r->n; at += r->lens[i], i++)
		u->records[i] = slice_of(r->bytes.p + at, r->lens[i]);
	m.usage_batch = (struct wire_usage_batch){
		.store_id = slice_of((const char *)u->store_id, sizeof(u->store_id)),
		.first_seq = r->seq,
		.prev_hash = slice_of((const char *)r->prev_hash, 32),
		.hash = slice_of((const char *)r->hash, 32),
		.records = { u->records, r->n },
	};
	b->id = m.id;
	b->last_seq = r->seq + r->n - 1;
	memcpy(b->hash, r->hash, 32);
	u->next_seq = b->last_seq + 1;
	uplink_send(u, &m);
	uplink_await_answer(u);
}

static void store_was_rolled_back(struct uplink *u, const char *how)
{
	char why[256];

	(void)snprintf(why, sizeof(why),
		"this host's usage store was rolled back or copied: %s; the controller quarantines "
		"it",
		how);
	u->rolled_back = true;
	if (!u->rolled_back_logged)
		log_event(LOG_ERROR, "uplink", "store.rolled_back", "high_water=%" PRIu64 " why=%s",
			u->high_water, log_quote(slice_str(why)));
	u->rolled_back_logged = true;
	uplink_up(u, why);
}

/* With the first reading of a connection that begins at the controller's mark. */
static void chain_check(struct uplink *u)
{
	if (u->chain_checked)
		return;
	u->chain_checked = true;
	if (memcmp(u->reading.prev_hash, u->chain, 32) != 0)
		store_was_rolled_back(u, "its records differ from the ones booked");
	else
		acknowledge(u, u->high_water);
}

static void reading_take(struct uplink *u)
{
	struct uplink_reading *r = &u->reading;

	if (!u->usage_on || u->breaking || r->connection != u->connection)
		return;
	if (r->result < 0) {
		uplink_break(u, "records can't be read: %s", r->error.text);
		return;
	}
	chain_check(u);
	if (r->n > 0)
		batch_send(u);
}

static void on_read(struct mail *m, void *owner)
{
	struct uplink *u = container_of(m, struct uplink, reading.mail);

	(void)owner;
	u->reading.busy = false;
	if (!u->closing)
		reading_take(u);
	if (u->reading.bytes.cap > READING_KEPT_BYTES)
		buf_fini(&u->reading.bytes);
	uplink_usage_pump(u);
	uplink_job_returned(u);
}

void uplink_usage_pump(struct uplink *u)
{
	struct uplink_reading *r = &u->reading;
	struct spool_gauges g;

	if (!u->usage_on || u->breaking || u->closing || r->busy || u->n_batches == UPLINK_BATCHES)
		return;
	spool_read_gauges(u->cfg.spool, &g);
	if (u->next_seq > g.last_seq && u->chain_checked)
		return;
	deadline_stop(u->cfg.loop, &u->coalesce);
	r->busy = true;
	r->connection = u->connection;
	r->seq = u->next_seq;
	committer_do(u->cfg.committer, &r->job);
}

void uplink_committed(struct uplink *u, uint64_t last_seq)
{
	/* Whatever is on its way pumps when it is back; else a moment gathers what commits next to
	 * each other. */
	if (u->usage_on && last_seq >= u->next_seq && u->n_batches == 0 && !u->reading.busy &&
		!deadline_is_armed(&u->coalesce))
		deadline_set(u->cfg.loop, &u->coalesce, 0);
	uplink_traces_look(u); /* each of them has a record */
}

/* --- the controller's answers
 * ---------------------------------------------------------------------- */

void uplink_usage_begin(struct uplink *u, const struct wire_welcome *w)
{
	struct spool_gauges g;

	spool_read_gauges(u->cfg.spool, &g);
	u->high_water = w->high_water;
	memcpy(u->chain, w->chain.p, 32);
	u->usage_on = true;
	u->rolled_back = false;
	u->next_seq = MAX(MIN(w->high_water, g.last_seq) + 1, g.first_seq);
	u->chain_checked = u->next_seq !=
			   w->high_water + 1; /* else with the first reading, even an empty one */
	if (w->high_water > g.last_seq) {
		store_was_rolled_back(u, "the controller has booked records that it does not hold");
	} else {
		if (w->high_water + 1 < g.first_seq) /* the controller will see the gap */
			log_event(LOG_ERROR, "uplink", "ledger.rolled_back",
				"high_water=%" PRIu64 " first_seq=%" PRIu64, w->high_water,
				g.first_seq);
		uplink_up(u, "");
	}
	uplink_usage_pump(u);
}

void uplink_usage_done(struct uplink *u, uint32_t id, const struct wire_usage_done *d)
{
	struct uplink_batch *b = &u->batches[0];

	/* Answers come in the order of the batches. */
	if (u->n_batches == 0 || id != b->id || d->chain.n != 32) {
		uplink_break(u, "the controller answers a batch that was not sent");
		return;
	}
	if (!u->rolled_back &&
		(d->high_water < b->last_seq || d->high_water >= u->next_seq ||
			(d->high_water == b->last_seq && memcmp(d->chain.p, b->hash, 32) != 0))) {
		uplink_break(u, "the controller has booked something else than was sent");
		return;
	}
	u->attempts = 0;
	acknowledge(u, d->high_water);
	memmove(b, b + 1, --u->n_batches * sizeof(*b));
	uplink_await_answer(u);
	uplink_usage_pump(u);
}

/* A store that is quarantined stays so until an admin acts: usage is held, while policy and keys go
 * on coming in. Any other refusal is the controller's own trouble: the connection is begun anew,
 * and with it the question where it stands. */
void uplink_usage_refused(struct uplink *u, const struct wire_error *e)
{
	char why[256];

	(void)snprintf(why, sizeof(why), "usage is refused (" SLICE_FMT "): " SLICE_FMT,
		SLICE_ARG(e->code), SLICE_ARG(e->message));
	if (!slice_eq(e->code, SLICE("gap")) && !slice_eq(e->code, SLICE("fork")) &&
		!slice_eq(e->code, SLICE("quarantined"))) {
		uplink_break(u, "%s", why);
		return;
	}
	if (u->n_batches > 0)
		u->n_batches--; /* of those behind it each is refused, too: only counted */
	if (u->usage_on) {
		u->usage_on = false;
		uplink_up(u, why);
		uplink_retry_in(u, HELD_US);
	}
	uplink_await_answer(u);
}

void uplink_usage_end(struct uplink *u)
{
	u->usage_on = false;
	u->n_batches = 0;
	deadline_stop(u->cfg.loop, &u->coalesce);
}

void uplink_usage_init(struct uplink *u)
{
	buf_init(&u->reading.bytes, UPLINK_BATCH_BYTES);
	u->reading.job.run = reading_run;
	u->reading.mail.handle = on_read;
	u->reading.mailbox = u->cfg.mailbox;
	u->acknowledging.job.run = acknowledging_run;
	u->acknowledging.mail.handle = on_acknowledged;
	u->acknowledging.mailbox = u->cfg.mailbox;
	deadline_init(&u->coalesce, on_coalesced);
}
