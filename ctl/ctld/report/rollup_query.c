/* Reading rollups: every row of the time span is folded into the group that is left of its key when
 * what the query does not group by is blanked. Rebuilding: records are folded in memory under whole
 * keys and compared with the rows. */
#include "report/rollup.h"

#include "report/rollup_private.h"
#include "store/pack.h"
#include <aigw/crc.h>

#define HASH_FUNCTION(key, bytes, hash) ((hash) = crc32c(0, (key), (bytes)))
/* Without memory uthash ends the program unless told otherwise; here that is an error like any
 * other. */
#define HASH_NONFATAL_OOM          1
#define uthash_nonfatal_oom(entry) ((entry)->lost = true)
#include <uthash.h>

/* One sum under a packed key. */
struct fold_entry {
	UT_hash_handle hh;
	struct rollup_sums sums;
	bool seen, lost;
	size_t key_bytes;
	uint8_t key[];
};

struct fold {
	struct fold_entry *table;
	size_t n, max;
};

static int fold_take(struct fold *f, const struct rollup_key *key, struct fold_entry **ret)
{
	struct fold_entry *e;
	uint8_t raw[ROLLUP_KEY_MAX];
	size_t n = rollup_key_pack(key, raw);

	HASH_FIND(hh, f->table, raw, n, e);
	if (!e) {
		if (f->n >= f->max)
			return -E2BIG;
		e = calloc(1, sizeof(*e) + n);
		if (!e)
			return -ENOMEM;
		memcpy(e->key, raw, n);
		e->key_bytes = n;
		HASH_ADD_KEYPTR(hh, f->table, e->key, n, e);
		if (e->lost) {
			free(e);
			return -ENOMEM;
		}
		f->n++;
	}
	*ret = e;
	return 0;
}

static void fold_free(struct fold *f)
{
	struct fold_entry *e, *tmp;

	HASH_ITER(hh, f->table, e, tmp)
	{
		HASH_DEL(f->table, e);
		free(e);
	}
}

static int fold_order(struct fold_entry *a, struct fold_entry *b)
{
	int c = memcmp(a->key, b->key, MIN(a->key_bytes, b->key_bytes));

	return c ? c : (a->key_bytes > b->key_bytes) - (a->key_bytes < b->key_bytes);
}

/* --- query
 * ---------------------------------------------------------------------------------------- */

struct query_run {
	const struct rollup_query *q;
	struct fold fold;
	struct rollup_sums total;
	usec until_us;
};

static bool query_wants(const struct rollup_query *q, const struct rollup_key *k)
{
	for (unsigned i = 0; i < ROLLUP_TEXT_DIMS; i++)
		if (q->filtered[i] && !slice_eq(q->filter[i], k->text[i]))
			return false;
	return true;
}

static void query_blank(const struct rollup_query *q, struct rollup_key *k)
{
	const usec hour = 3600 * USEC_PER_S;

	for (unsigned i = 0; i < ROLLUP_TEXT_DIMS; i++)
		if (!(q->by & 1u << i))
			k->text[i] = SLICE_EMPTY;
	if (!(q->by & 1u << DIM_uid))
		k->uid = 0;
	if (!(q->by & 1u << DIM_outcome))
		k->outcome = 0;
	if (!(q->by & 1u << DIM_endpoint))
		k->endpoint = 0;
	if (q->by & 1u << DIM_hour)
		k->quarter_us -= k->quarter_us % hour;
	else if (q->by & 1u << DIM_day)
		k->quarter_us -= k->quarter_us % (24 * hour);
	else
		k->quarter_us = 0;
}

static int query_row(struct slice key, struct slice row, void *arg)
{
	struct query_run *run = arg;
	struct rollup_sums sums;
	struct rollup_key k;
	struct fold_entry *e;
	int r;

	if (!rollup_key_unpack(key, &k) || !rollup_sums_unpack(row, &sums))
		return -EBADMSG;
	if (k.quarter_us >= run->until_us)
		return 1;
	if (!query_wants(run->q, &k))
		return 0;
	query_blank(run->q, &k);
	r = fold_take(&run->fold, &k, &e);
	if (r < 0)
		return r;
	rollup_sums_add(&e->sums, &sums);
	rollup_sums_add(&run->total, &sums);
	return 0;
}

static int query_run(struct store_txn *t, void *arg)
{
	struct query_run *run = arg;
	usec since = MAX(run->q->since_us, 0);
	uint8_t from[8];

	be64_put(from, (uint64_t)(since - since % ROLLUP_QUARTER_US));
	return store_rollup_each(t, slice_of((const char *)from, sizeof(from)), query_row, run);
}

static usec quarter_up(usec t)
{
	usec rest = t % ROLLUP_QUARTER_US;

	return rest && t < INT64_MAX - ROLLUP_QUARTER_US ? t - rest + ROLLUP_QUARTER_US : t;
}

/* The groups in the order of their keys. The texts live behind the array, in the same block. */
static int query_groups(struct query_run *run, struct rollup_result *ret)
{
	struct fold_entry *e, *tmp;
	size_t bytes = run->fold.n * (sizeof(struct rollup_group) + ROLLUP_KEY_MAX), i = 0;
	struct rollup_group *groups = calloc(1, MAX(bytes, 1));
	char *keys = (char *)(groups + run->fold.n);

	if (!groups)
		return -ENOMEM;
	HASH_SORT(run->fold.table, fold_order);
	HASH_ITER(hh, run->fold.table, e, tmp)
	{
		memcpy(keys, e->key, e->key_bytes);
		(void)rollup_key_unpack(slice_of(keys, e->key_bytes), &groups[i].key);
		groups[i++].sums = e->sums;
		keys += e->key_bytes;
	}
	*ret = (struct rollup_result){ groups, i, run->total };
	return 0;
}

int rollup_query(struct store *s, const struct rollup_query *q, struct rollup_result *ret)
{
	struct query_run run = {
		.q = q, .fold.max = ROLLUP_MAX_GROUPS, .until_us = quarter_up(q->until_us)
	};
	int r = store_read(s, query_run, &run);

	if (r == 0)
		r = query_groups(&run, ret);
	fold_free(&run.fold);
	return r;
}

void rollup_result_free(struct rollup_result *r)
{
	free(r->groups);
	*r = (struct rollup_result){ 0 };
}

/* --- rebuilding
 * ------------------------------------------------------------------------------------- */

struct agent_name {
	uint32_t no;
	char name[64];
};

struct rebuild {
	struct fold fold;
	struct rollup_rebuilt done;
	struct agent_name *agents;
	size_t n_agents, cap_agents;
	const struct agent_name *last;
};

static int rebuild_head(const struct ledger_head *h, void *arg)
{
	struct rebuild *b = arg;

	if (b->n_agents == b->cap_agents) {
		size_t cap = MAX(b->cap_agents * 2, (size_t)16);
		struct agent_name *more = realloc(b->agents, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		b->agents = more;
		b->cap_agents = cap;
	}
	b->agents[b->n_agents].no = h->no;
	memcpy(b->agents[b->n_agents++].name, h->agent, sizeof(h->agent));
	return 0;
}

/* Records come store by store, so the last answer is nearly always right. */
static struct slice rebuild_agent(struct rebuild *b, uint32_t no)
{
	if (b->last && b->last->no == no)
		return slice_str(b->last->name);
	for (size_t i = 0; i < b->n_agents; i++) {
		if (b->agents[i].no == no) {
			b->last = &b->agents[i];
			return slice_str(b->last->name);
		}
	}
	return SLICE_EMPTY;
}

static int rebuild_record(const struct ledger_record *rec, void *arg)
{
	struct rebuild *b = arg;
	struct usage_record u;
	struct rollup_sums sums;
	struct rollup_key key;
	struct fold_entry *e;
	int r;

	if (usage_decode(rec->bytes, &u, NULL) < 0 ||
		!rollup_of(&u, rebuild_agent(b, rec->head_no), &key, &sums))
		return 0;
	r = fold_take(&b->fold, &key, &e);
	if (r < 0)
		return r;
	rollup_sums_add(&e->sums, &sums);
	b->done.records++;
	return 0;
}

static int rebuild_compare(struct slice key, struct slice row, void *arg)
{
	struct rebuild *b = arg;
	uint8_t raw[ROLLUP_SUMS_BYTES];
	struct fold_entry *e;

	HASH_FIND(hh, b->fold.table, key.p, key.n, e);
	if (!e) {
		b->done.differences++;
		return 0;
	}
	e->seen = true;
	rollup_sums_pack(&e->sums, raw);
	if (!slice_eq(row, slice_of((const char *)raw, sizeof(raw))))
		b->done.differences++;
	return 0;
}

static int rebuild_put(struct store_txn *t, struct rebuild *b)
{
	struct fold_entry *e, *tmp;
	uint8_t raw[ROLLUP_SUMS_BYTES];
	int r = store_rollup_clear(t);

	HASH_SORT(b->fold.table, fold_order);
	HASH_ITER(hh, b->fold.table, e, tmp)
	{
		if (r < 0)
			break;
		rollup_sums_pack(&e->sums, raw);
		r = store_rollup_put(t, slice_of((const char *)e->key, e->key_bytes),
			slice_of((const char *)raw, sizeof(raw)));
	}
	return r;
}

static int rebuild_run(struct store_txn *t, void *arg)
{
	struct rebuild *b = arg;
	struct fold_entry *e, *tmp;
	int r;

	fold_free(&b->fold);
	free(b->agents);
	*b = (struct rebuild){ .fold.max = SIZE_MAX };
	r = ledger_head_each(t, rebuild_head, b);
	if (r == 0)
		r = ledger_record_each(t, 0, 0, rebuild_record, b);
	if (r == 0)
		r = store_rollup_each(t, SLICE_EMPTY, rebuild_compare, b);
	if (r < 0)
		return r;
	HASH_ITER(hh, b->fold.table, e, tmp)
	if (!e->seen)
		b->done.differences++;
	return b->done.differences ? rebuild_put(t, b) : 0;
}

int rollup_rebuild(struct store *s, struct rollup_rebuilt *ret)
{
	struct rebuild b = { 0 };
	int r = store_write(s, 0, rebuild_run, &b);

	if (r == 0)
		*ret = b.done;
	fold_free(&b.fold);
	free(b.agents);
	return r;
}
