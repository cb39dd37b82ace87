/* What a killed process left in the in-flight file becomes records, each operation once:
 *   (1) slots of operations that stand in the spool's last group were committed, only not freed any
 * more: freed now. No earlier group can have slots, since a group's slots are freed before the next
 * group is begun; (2) all others are booked in one transaction, which thereby is the last group;
 *   (3) they are freed.
 * Killed in (1) or before (2) is done, the next start finds the same; killed in (3), it finds them
 * in the last group.
 *
 *   slot's state      record
 *   ADMITTED          refused, fail `restart`: nothing was sent, nothing is owed
 *   SENT              unknown: tokens are what the worker had seen so far, charged at the price of
 *                     the call's start, those of other targets before this one as they were
 *                     booked; the reservation stays
 *   SETTLED           as it says; if its checksum does not hold, as SENT */
#include "account/committer.h"

#include <aigw/fail.h>
#include <aigw/log.h>
#include <aigw/price.h>

struct op_id {
	uint8_t bytes[16];
};

struct recovery {
	struct inflight *inflight;
	struct spool *spool;
	struct op_id *committed; /* of the last group; sorted before it is searched */
	size_t n_committed, cap_committed;
	bool no_memory;
	uint32_t *slots; /* to be booked */
	struct slice *records;
	unsigned n;
	struct buf encoded;
};

static int op_id_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct op_id));
}

static void committed_add(const uint8_t op_id[16], void *arg)
{
	struct recovery *r = arg;

	if (r->n_committed == r->cap_committed) {
		size_t cap = r->cap_committed ? r->cap_committed * 2 : 1024;
		struct op_id *p = reallocarray(r->committed, cap, sizeof(*p));

		if (!p) {
			r->no_memory = true;
			return;
		}
		r->committed = p;
		r->cap_committed = cap;
	}
	memcpy(r->committed[r->n_committed++].bytes, op_id, 16);
}

static bool is_committed(const struct recovery *r, struct slice op_id)
{
	return r->n_committed > 0 &&
	       bsearch(op_id.p, r->committed, r->n_committed, sizeof(*r->committed), op_id_compare);
}

/* (1), and the list of the others. */
static void slots_sort_out(struct recovery *r)
{
	for (uint32_t i = 0; i < inflight_touched(r->inflight); i++) {
		struct slot *s = inflight_slot(r->inflight, i);
		struct slice op_id = slot_text(s, SLOT_TEXT_op_id);

		if (atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_FREE)
			continue;
		if (op_id.n != 16) {
			/* An id is set before the state: this is no call of ours. */
			log_event(LOG_ERROR, "account", "inflight.damaged", "slot=%" PRIu32, i);
			inflight_free(r->inflight, i);
		} else if (is_committed(r, op_id)) {
			inflight_free(r->inflight, i);
		} else {
			r->slots[r->n++] = i;
		}
	}
}

static void record_refuse(struct usage_record *r)
{
	r->outcome = USAGE_REFUSED;
	r->fail = slice_str(fail_row(FAIL_restart)->name);
	r->status = 0;
	r->input_tokens = r->cached_input_tokens = r->cache_write_tokens = r->output_tokens = 0;
	r->reasoning_tokens = r->audio_input_tokens = r->audio_output_tokens = r->audio_ms = 0;
	r->estimated = r->cost_nano = r->charge_nano = r->reserved_nano = 0;
}

/* A provider that was reached bills, and the kill is no reason for it to be free. */
static void record_estimate(const struct slot *s, struct usage_record *r)
{
	const struct price p = {
		.nano = { [PRICE_input] = s->rate_input,
			[PRICE_output] = s->rate_output,
			[PRICE_per_request] = s->rate_request,
			[PRICE_per_minute] = s->rate_minute },
		.has = { [PRICE_input] = true,
			[PRICE_output] = true,
			[PRICE_per_request] = true,
			[PRICE_per_minute] = true },
	};
	const struct price_usage u = { .input = r->input_tokens - s->before_input,
		.output = r->output_tokens - s->before_output,
		.audio_ms = r->audio_ms };
	bool between = s->before_input && !u.input && !u.output; /* nobody has been asked since */
	int64_t nano = 0;

	r->outcome = USAGE_UNKNOWN;
	r->fail = SLICE_EMPTY;
	r->estimated = 1;
	if (!r->priced)
		return;
	if ((!between && price_cost(&p, &u, &nano) < 0) ||
		__builtin_add_overflow(nano, s->before_nano, &nano))
		nano = INT64_MAX;
	r->cost_nano = r->charge_nano = nano;
}

static void slot_recover(const struct slot *s, struct usage_record *ret)
{
	uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);

	slot_record(s, ret);
	if (state == SLOT_ADMITTED) {
		record_refuse(ret);
	} else if (!slot_is_intact(s)) {
		record_estimate(s, ret);
	}
}

static int records_encode(struct recovery *r, struct errbuf *e)
{
	buf_init(&r->encoded, (size_t)r->n * USAGE_RECORD_MAX_BYTES);
	for (unsigned i = 0; i < r->n; i++) {
		struct usage_record record;
		size_t at = r->encoded.n;
		int res;

		slot_recover(inflight_slot(r->inflight, r->slots[i]), &record);
		record.group_no = (int64_t)spool_next_group(r->spool);
		res = usage_encode(&record, &r->encoded);
		if (res < 0)
			return err_set(e, res, "a record of the last run can't be encoded: %s",
				strerror(-res));
		r->records[i].n = r->encoded.n - at;
	}
	for (size_t i = 0, at = 0; i < r->n; at += r->records[i].n, i++)
		r->records[i].p = r->encoded.p + at;
	return 0;
}

/* (2) and (3). */
static int slots_book(struct recovery *r, struct errbuf *e)
{
	uint64_t first;
	int res = records_encode(r, e);

	if (res < 0)
		return res;
	res = spool_append(r->spool, r->records, r->n, &first, e);
	if (res == -ENOSPC)
		return err_set(e, res,
			"%u calls of the last run don't fit into the spool; start with a larger "
			"spool_size",
			r->n);
	if (res < 0)
		return res;
	for (unsigned i = 0; i < r->n; i++)
		inflight_free(r->inflight, r->slots[i]);
	return 0;
}

static int recovery_run(struct recovery *r, struct errbuf *e)
{
	size_t n = inflight_used(r->inflight);
	int res = spool_last_group(r->spool, committed_add, r, e);

	if (res < 0)
		return res;
	r->slots = calloc(n, sizeof(*r->slots));
	r->records = calloc(n, sizeof(*r->records));
	if (!r->slots || !r->records || r->no_memory)
		return err_set(e, -ENOMEM, "out of memory");
	if (r->n_committed > 0)
		qsort(r->committed, r->n_committed, sizeof(*r->committed), op_id_compare);
	slots_sort_out(r);
	return r->n > 0 ? slots_book(r, e) : 0;
}

int account_recover(struct inflight *f, struct spool *s, unsigned *ret_booked, struct errbuf *e)
{
	struct recovery r = { .inflight = f, .spool = s };
	int res = 0;

	if (inflight_used(f) > 0)
		res = recovery_run(&r, e);
	if (res == 0)
		*ret_booked = r.n;
	buf_fini(&r.encoded);
	free(r.committed);
	free(r.slots);
	free(r.records);
	return res;
}
