#include "agents/ingest.h"

#include "report/rollup.h"
#include <aigw/usage.h>

/* A row takes its bytes, key, hash and share of the pages; the rollups are few. */
#define ROOM_PER_RECORD 512

const char *ingest_code(enum ingest_verdict v)
{
	static const char *const codes[] = {
		[INGEST_BOOKED] = "",
		[INGEST_REFUSED] = "refused",
		[INGEST_GAP] = "gap",
		[INGEST_FORK] = "fork",
		[INGEST_QUARANTINED] = "quarantined",
		[INGEST_UNAVAILABLE] = "store_unavailable",
	};

	return codes[v];
}

PRINTF_LIKE(3, 4)
static int verdict_set(struct ingest_batch *b, enum ingest_verdict v, const char *fmt, ...)
{
	va_list ap;

	b->verdict = v;
	va_start(ap, fmt);
	(void)vsnprintf(b->reason, sizeof(b->reason), fmt, ap);
	va_end(ap);
	return 0;
}

static int quarantine(struct store_txn *t, struct ingest_batch *b)
{
	b->quarantined_now = true;
	b->head.state = b->verdict == INGEST_GAP ? LEDGER_GAP : LEDGER_FORK;
	b->head.since_us = b->received_us;
	memcpy(b->head.reason, b->reason, sizeof(b->head.reason));
	return ledger_head_put(t, &b->head);
}

/* Things that no sound agent sends. They say nothing about its disk, so they quarantine nothing. */
static bool batch_is_sound(struct ingest_batch *b)
{
	const struct wire_usage_batch *u = &b->usage;

	if (u->store_id.n != 16 || u->prev_hash.n != 32 || u->hash.n != 32)
		return (void)verdict_set(
			       b, INGEST_REFUSED, "store_id has 16 bytes, hashes have 32"),
		       false;
	if (u->first_seq == 0 || u->records.n == 0 || u->first_seq > UINT64_MAX - u->records.n)
		return (void)verdict_set(b, INGEST_REFUSED,
			       "a batch has records and begins at sequence 1 or later"),
		       false;
	return true;
}

/* The chain hash at `seq`, which is not above the high-water mark. */
static int chain_at(struct store_txn *t, const struct ledger_head *h, uint64_t seq, uint8_t ret[32])
{
	struct ledger_record rec;
	int r;

	if (seq == 0) {
		memset(ret, 0, 32);
		return 0;
	}
	if (seq == h->high_water) {
		memcpy(ret, h->chain, 32);
		return 0;
	}
	r = ledger_record_get(t, h->no, seq, &rec);
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	memcpy(ret, rec.hash, 32);
	return 0;
}

/* Does the batch continue what is booked? Sets a verdict if not. hashes: the chain after each
 * record. */
static int chain_judge(struct store_txn *t, struct ingest_batch *b, uint8_t (*hashes)[32])
{
	const struct wire_usage_batch *u = &b->usage;
	uint8_t have[32], run[32];
	int r;

	if (u->first_seq == b->head.high_water + 2)
		return verdict_set(
			b, INGEST_GAP, "record %" PRIu64 " is missing", u->first_seq - 1);
	if (u->first_seq > b->head.high_water + 1)
		return verdict_set(b, INGEST_GAP, "records %" PRIu64 " to %" PRIu64 " are missing",
			b->head.high_water + 1, u->first_seq - 1);
	r = chain_at(t, &b->head, u->first_seq - 1, have);
	if (r < 0)
		return r;
	if (memcmp(have, u->prev_hash.p, 32) != 0)
		return verdict_set(b, INGEST_FORK,
			"record %" PRIu64 " follows a history that is not ours", u->first_seq);
	memcpy(run, have, 32);
	for (uint32_t i = 0; i < u->records.n; i++) {
		uint64_t seq = u->first_seq + i;

		usage_chain_next(run, u->records.v[i]);
		memcpy(hashes[i], run, 32);
		if (seq > b->head.high_water)
			continue;
		r = chain_at(t, &b->head, seq, have);
		if (r < 0)
			return r;
		if (memcmp(have, run, 32) != 0)
			return verdict_set(b, INGEST_FORK,
				"record %" PRIu64 " differs from the one booked", seq);
	}
	if (memcmp(run, u->hash.p, 32) != 0)
		return verdict_set(b, INGEST_FORK,
			"the chain hash after record %" PRIu64 " is wrong",
			u->first_seq + u->records.n - 1);
	return 0;
}

static int record_book(struct store_txn *t, struct ingest_batch *b, uint64_t seq,
	struct slice bytes, const uint8_t hash[32])
{
	struct ledger_record rec = { b->head.no, seq, hash, b->received_us, bytes };
	struct usage_record u;
	struct rollup_sums sums;
	struct rollup_key key;
	int r = ledger_record_put(t, &rec);

	if (r < 0)
		return r;
	b->booked++;
	if (usage_decode(bytes, &u, NULL) == 0 && rollup_of(&u, b->agent, &key, &sums))
		return rollup_add(t, &key, &sums);
	b->head.undecodable++;
	return 0;
}

static int batch_book(struct store_txn *t, struct ingest_batch *b, uint8_t (*hashes)[32])
{
	const struct wire_usage_batch *u = &b->usage;
	uint64_t last = u->first_seq + u->records.n - 1;
	int r;

	if (last <= b->head.high_water)
		return 0;
	if (b->head.no == 0) { /* its number is needed for the records' keys */
		r = ledger_head_put(t, &b->head);
		if (r < 0)
			return r;
	}
	for (uint32_t i = (uint32_t)(b->head.high_water + 1 - u->first_seq); i < u->records.n;
		i++) {
		r = record_book(t, b, u->first_seq + i, u->records.v[i], hashes[i]);
		if (r < 0)
			return r;
	}
	b->head.high_water = last;
	memcpy(b->head.chain, hashes[u->records.n - 1], 32);
	return ledger_head_put(t, &b->head);
}

static int batch_run(struct store_txn *t, struct ingest_batch *b)
{
	uint8_t(*hashes)[32];
	int r;

	b->verdict = INGEST_BOOKED;
	b->quarantined_now = false;
	b->booked = 0;
	b->reason[0] = '\0';
	if (!batch_is_sound(b))
		return 0;
	r = ledger_head_get(t, b->agent, (const uint8_t *)b->usage.store_id.p, &b->head);
	if (r < 0)
		return r;
	if (b->head.state != LEDGER_OPEN)
		return verdict_set(b, INGEST_QUARANTINED, "%.180s", b->head.reason);
	hashes = calloc(b->usage.records.n, sizeof(*hashes));
	if (!hashes)
		return -ENOMEM;
	r = chain_judge(t, b, hashes);
	if (r == 0 && b->verdict != INGEST_BOOKED)
		r = quarantine(t, b);
	else if (r == 0)
		r = batch_book(t, b, hashes);
	free(hashes);
	return r;
}

struct ingest_run {
	struct ingest_batch **v;
	size_t n;
};

static int ingest_run(struct store_txn *t, void *arg)
{
	const struct ingest_run *run = arg;
	int r = 0;

	for (size_t i = 0; i < run->n && r == 0; i++)
		r = batch_run(t, run->v[i]);
	return r;
}

void ingest_book(struct store *s, struct ingest_batch **batches, size_t n)
{
	struct ingest_run run = { batches, n };
	size_t room = 0;

	for (size_t i = 0; i < n; i++) {
		const struct wire_usage_batch *u = &batches[i]->usage;

		for (uint32_t k = 0; k < u->records.n; k++)
			room += u->records.v[k].n + ROOM_PER_RECORD;
	}
	if (store_write(s, room, ingest_run, &run) == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		(void)verdict_set(batches[i], INGEST_UNAVAILABLE,
			"the controller's store failed; nothing was booked");
		batches[i]->quarantined_now = false;
		batches[i]->booked = 0;
	}
}
