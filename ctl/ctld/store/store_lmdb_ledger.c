/* The ledger: heads (how far a store of an agent is booked), records as the agent wrote them,
 * rollups. Append-only; a record's key is (head number, sequence), so a second booking of one
 * sequence can't make a second row. */
#include "store/store_lmdb.h"

#define RECORD_KEY_BYTES  12
#define RECORD_HEAD_BYTES (32 + 8) /* hash, received */

static struct slice head_key(struct slice agent, const uint8_t store_id[16], char out[static 80])
{
	ASSERT(agent.n <= 63);
	memcpy(out, agent.p, agent.n);
	out[agent.n] = '\0';
	memcpy(out + agent.n + 1, store_id, 16);
	return slice_of(out, agent.n + 17);
}

static int head_unpack(struct slice key, struct slice row, struct ledger_head *ret)
{
	uint64_t no, state, since;
	struct slice chain, reason;

	*ret = (struct ledger_head){ 0 };
	if (key.n < 18 || key.n > 80)
		return -EBADMSG;
	memcpy(ret->agent, key.p, key.n - 17);
	memcpy(ret->store_id, key.p + key.n - 16, 16);
	if (!unpack_u64(&row, &no) || !unpack_u64(&row, &ret->high_water) ||
		!unpack_bytes(&row, &chain) || !unpack_u64(&row, &state) ||
		!unpack_bytes(&row, &reason) || !unpack_u64(&row, &since) ||
		!unpack_u64(&row, &ret->undecodable))
		return -EBADMSG;
	if (chain.n != 32 || no == 0 || no > UINT32_MAX || state > LEDGER_FORK ||
		reason.n >= sizeof(ret->reason))
		return -EBADMSG;
	ret->no = (uint32_t)no;
	memcpy(ret->chain, chain.p, 32);
	ret->state = (enum ledger_state)state;
	if (reason.n)
		memcpy(ret->reason, reason.p, reason.n);
	ret->since_us = (usec)since;
	return 0;
}

int ledger_head_get(struct store_txn *t, struct slice agent, const uint8_t store_id[16],
	struct ledger_head *ret)
{
	char raw[80];
	struct slice key = head_key(agent, store_id, raw), row;
	int r = row_get(t, TABLE_HEADS, key, &row);

	if (r == 0)
		return head_unpack(key, row, ret);
	if (r != -ENOENT)
		return r;
	*ret = (struct ledger_head){ 0 };
	memcpy(ret->agent, agent.p, agent.n);
	memcpy(ret->store_id, store_id, 16);
	return 0;
}

int ledger_head_put(struct store_txn *t, struct ledger_head *h)
{
	struct buf row;
	char raw[80];
	uint64_t no = h->no;
	int r;

	if (no == 0) {
		r = meta_get(t, "head_no", &no);
		if (r < 0)
			return r;
		if (no >= UINT32_MAX - 1)
			return -EOVERFLOW;
		r = meta_put(t, "head_no", ++no);
		if (r < 0)
			return r;
	}
	buf_init(&row, 1024);
	pack_u64(&row, no);
	pack_u64(&row, h->high_water);
	pack_bytes(&row, slice_u8(h->chain, 32));
	pack_u64(&row, h->state);
	pack_bytes(&row, slice_str(h->reason));
	pack_u64(&row, (uint64_t)h->since_us);
	pack_u64(&row, h->undecodable);
	r = row.err ? row.err
		    : row_put(t, TABLE_HEADS, head_key(slice_str(h->agent), h->store_id, raw),
			      buf_view(&row));
	buf_fini(&row);
	if (r == 0)
		h->no = (uint32_t)no;
	return r;
}

struct ledger_walk {
	int (*head)(const struct ledger_head *h, void *arg);
	int (*record)(const struct ledger_record *r, void *arg);
	void *arg;
};

static int head_visit(struct slice key, struct slice row, void *arg)
{
	const struct ledger_walk *w = arg;
	struct ledger_head h;
	int r = head_unpack(key, row, &h);

	return r < 0 ? r : w->head(&h, w->arg);
}

int ledger_head_each(
	struct store_txn *t, int (*fn)(const struct ledger_head *h, void *arg), void *arg)
{
	struct ledger_walk w = { .head = fn, .arg = arg };

	return row_each(t, TABLE_HEADS, SLICE_EMPTY, head_visit, &w);
}

static struct slice record_key(uint32_t head_no, uint64_t seq, uint8_t out[static RECORD_KEY_BYTES])
{
	be32_put(out, head_no);
	be64_put(out + 4, seq);
	return slice_u8(out, RECORD_KEY_BYTES);
}

static int record_unpack(struct slice key, struct slice row, struct ledger_record *ret)
{
	if (key.n != RECORD_KEY_BYTES || row.n < RECORD_HEAD_BYTES)
		return -EBADMSG;
	ret->head_no = be32_get(key.p);
	ret->seq = be64_get(key.p + 4);
	ret->hash = (const uint8_t *)row.p;
	ret->received_us = (usec)be64_get(row.p + 32);
	ret->bytes = slice_skip(row, RECORD_HEAD_BYTES);
	return 0;
}

int ledger_record_put(struct store_txn *t, const struct ledger_record *r)
{
	uint8_t key[RECORD_KEY_BYTES], received[8];
	struct buf row;
	int rc;

	be64_put(received, (uint64_t)r->received_us);
	buf_init(&row, 2u << 20);
	(void)buf_append(&row, r->hash, 32);
	(void)buf_append(&row, received, sizeof(received));
	(void)buf_slice(&row, r->bytes);
	rc = row.err ? row.err
		     : row_append(t, TABLE_RECORDS, record_key(r->head_no, r->seq, key),
			       buf_view(&row));
	buf_fini(&row);
	return rc;
}

int ledger_record_get(
	struct store_txn *t, uint32_t head_no, uint64_t seq, struct ledger_record *ret)
{
	uint8_t raw[RECORD_KEY_BYTES];
	struct slice key = record_key(head_no, seq, raw), row;
	int r = row_get(t, TABLE_RECORDS, key, &row);

	return r < 0 ? r : record_unpack(key, row, ret);
}

static int record_visit(struct slice key, struct slice row, void *arg)
{
	const struct ledger_walk *w = arg;
	struct ledger_record rec;
	int r = record_unpack(key, row, &rec);

	return r < 0 ? r : w->record(&rec, w->arg);
}

int ledger_record_each(struct store_txn *t, uint32_t head_no, uint64_t seq,
	int (*fn)(const struct ledger_record *r, void *arg), void *arg)
{
	struct ledger_walk w = { .record = fn, .arg = arg };
	uint8_t key[RECORD_KEY_BYTES];

	return row_each(t, TABLE_RECORDS, record_key(head_no, seq, key), record_visit, &w);
}

int store_rollup_get(struct store_txn *t, struct slice key, struct slice *ret)
{
	return row_get(t, TABLE_ROLLUPS, key, ret);
}

int store_rollup_put(struct store_txn *t, struct slice key, struct slice sums)
{
	return row_put(t, TABLE_ROLLUPS, key, sums);
}

int store_rollup_each(struct store_txn *t, struct slice from,
	int (*fn)(struct slice key, struct slice sums, void *arg), void *arg)
{
	return row_each(t, TABLE_ROLLUPS, from, fn, arg);
}

int store_rollup_clear(struct store_txn *t)
{
	return table_clear(t, TABLE_ROLLUPS);
}
