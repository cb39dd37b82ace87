/* Batches of one turn of the loop: booked in one commit, then answered, each with the high-water
 * mark after it. */
#include "agents/agents.h"

#include <aigw/clock.h>
#include <aigw/log.h>

static void batch_log(const struct ingest_batch *b)
{
	if (b->quarantined_now)
		log_event(LOG_ERROR, "ingest", "ledger.quarantined",
			"agent=" SLICE_FMT " kind=%s reason=%s", SLICE_ARG(b->agent),
			ingest_code(b->verdict), log_quote(slice_str(b->reason)));
	else if (b->verdict == INGEST_UNAVAILABLE)
		log_event(LOG_ERROR, "ingest", "store.failed",
			"agent=" SLICE_FMT " first_seq=%" PRIu64, SLICE_ARG(b->agent),
			b->usage.first_seq);
	else if (b->verdict != INGEST_BOOKED)
		log_event(LOG_WARNING, "ingest", "batch.refused",
			"agent=" SLICE_FMT " code=%s reason=%s", SLICE_ARG(b->agent),
			ingest_code(b->verdict), log_quote(slice_str(b->reason)));
}

static void batch_answer(struct held_frame *h)
{
	struct ingest_batch *b = &h->batch;
	struct wire_message m = { .kind = WIRE_usage_done, .id = h->m.id };

	if (!h->session)
		return;
	if (b->verdict != INGEST_BOOKED) {
		session_refuse(h->session, h->m.id, ingest_code(b->verdict), b->reason);
		/* What is on its way behind a batch that was not taken would look like a gap: the
		 * agent begins anew at the high-water mark. */
		if (b->verdict == INGEST_UNAVAILABLE)
			session_leave(h->session);
		return;
	}
	m.usage_done = (struct wire_usage_done){
		.high_water = b->head.high_water,
		.chain = slice_of((const char *)b->head.chain, 32),
	};
	session_send(h->session, LANE_ORDINARY, &m);
}

const struct bucket_bounds usage_commit_bounds = { 10,
	{ 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 5000000 } };

static void batches_book(
	struct agents *all, struct held_frame **held, struct ingest_batch **batches, size_t n)
{
	usec began = clock_mono_us();

	ingest_book(all->store, batches, n);
	buckets_add(&all->counts.commit, &usage_commit_bounds, clock_mono_us() - began);
	for (size_t i = 0; i < n; i++) {
		struct agent *a = held[i]->agent;
		const struct ingest_batch *b = batches[i];

		all->counts.batches[b->verdict]++;
		all->counts.records += b->verdict == INGEST_BOOKED ? b->booked : 0;
		batch_log(b);
		if (b->verdict == INGEST_BOOKED || b->quarantined_now)
			if (memcmp(a->store_id, b->head.store_id, 16) == 0)
				a->head = b->head;
		batch_answer(held[i]);
	}
}

#define BATCHES_PER_COMMIT 64

void usage_book(struct agents *all, struct list *frames)
{
	struct held_frame *held[BATCHES_PER_COMMIT];
	struct ingest_batch *batches[BATCHES_PER_COMMIT];

	while (!list_is_empty(frames)) {
		size_t n = 0;

		while (n < BATCHES_PER_COMMIT && !list_is_empty(frames)) {
			struct held_frame *h = list_entry(frames->next, struct held_frame, node);

			list_remove(&h->node);
			if (h->session && h->session->leaving) {
				arena_fini(&h->arena);
				free(h);
				continue;
			}
			h->batch = (struct ingest_batch){
				.agent = slice_str(h->agent->name),
				.received_us = clock_wall_us(),
				.usage = h->m.usage_batch,
			};
			held[n] = h;
			batches[n++] = &h->batch;
		}
		batches_book(all, held, batches, n);
		for (size_t i = 0; i < n; i++) {
			arena_fini(&held[i]->arena);
			free(held[i]);
		}
	}
}
