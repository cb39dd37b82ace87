/* Tables keep the order in which things were added: a table's first is its oldest. */
#include "report/traces.h"

#include <aigw/hash.h>

struct teller {
	UT_hash_handle hh;
	struct kept *kept;
	size_t bytes;
	char name[64];
};

struct kept {
	UT_hash_handle hh, of_teller;
	struct teller *teller;
	usec at_us;
	uint8_t op_id[16];
	char host[65];
	size_t n;
	char text[];
};

struct traces {
	struct traces_limits limits;
	struct kept *all;
	struct teller *tellers;
	struct traces_counts counts;
};

static size_t size_of(const struct kept *k)
{
	return sizeof(*k) + k->n;
}

static void teller_drop_idle(struct traces *t, struct teller *w)
{
	if (w->kept)
		return;
	ASSERT(t->tellers); /* it holds w */
	HASH_DEL(t->tellers, w);
	free(w);
}

static void forget(struct traces *t, struct kept *k)
{
	struct teller *from = k->teller;

	HASH_DEL(t->all, k);
	HASH_DELETE(of_teller, from->kept, k);
	ASSERT(t->all != k && from->kept != k);
	t->counts.n--;
	t->counts.bytes -= size_of(k);
	from->bytes -= size_of(k);
	free(k);
	teller_drop_idle(t, from);
}

int traces_new(const struct traces_limits *limits, struct traces **ret)
{
	struct traces *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->limits = *limits;
	*ret = t;
	return 0;
}

void traces_free(struct traces *t)
{
	if (!t)
		return;
	while (t->all)
		forget(t, t->all);
	free(t);
}

void traces_prune(struct traces *t, usec now_us)
{
	while (t->all && now_us - t->all->at_us > t->limits.age_us)
		forget(t, t->all);
}

static struct kept *find(const struct traces *t, const uint8_t *op_id)
{
	struct kept *k = NULL;

	HASH_FIND(hh, t->all, op_id, sizeof(k->op_id), k);
	return k;
}

static struct teller *teller_of(struct traces *t, const char *name)
{
	bool out_of_memory = false;
	struct teller *w = NULL;

	HASH_FIND_STR(t->tellers, name, w);
	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	(void)snprintf(w->name, sizeof(w->name), "%s", name);
	HASH_ADD_STR(t->tellers, name, w);
	if (out_of_memory) {
		free(w);
		return NULL;
	}
	return w;
}

static bool keep(struct traces *t, struct kept *k, const char *agent)
{
	struct teller *w = teller_of(t, agent);
	bool out_of_memory = false;

	if (!w)
		return false;
	HASH_ADD(of_teller, w->kept, op_id, sizeof(k->op_id), k);
	if (!out_of_memory) {
		HASH_ADD(hh, t->all, op_id, sizeof(k->op_id), k);
		if (out_of_memory)
			HASH_DELETE(of_teller, w->kept, k);
	}
	if (out_of_memory) {
		teller_drop_idle(t, w);
		return false;
	}
	k->teller = w;
	w->bytes += size_of(k);
	t->counts.n++;
	t->counts.bytes += size_of(k);
	t->counts.kept++;
	return true;
}

static void make_room(struct traces *t, const struct kept *fresh)
{
	const struct teller *w = fresh->teller;

	while (w->bytes > t->limits.agent_bytes && w->kept != fresh)
		forget(t, w->kept);
	while (t->counts.bytes > t->limits.bytes && t->all != fresh)
		forget(t, t->all);
}

int traces_put(struct traces *t, const uint8_t op_id[static 16], const char *agent,
	const char *host, struct slice text, usec now_us)
{
	struct kept *k;

	traces_prune(t, now_us);
	if (find(t, op_id))
		return 0;
	if (!text.n || text.n > TRACES_MAX_TEXT) {
		t->counts.lost++;
		return -EMSGSIZE;
	}
	k = calloc(1, sizeof(*k) + text.n);
	if (k) {
		k->at_us = now_us;
		k->n = text.n;
		memcpy(k->op_id, op_id, sizeof(k->op_id));
		memcpy(k->text, text.p, text.n);
		(void)snprintf(k->host, sizeof(k->host), "%s", host);
	}
	if (!k || !keep(t, k, agent)) {
		free(k);
		t->counts.lost++;
		return -ENOMEM;
	}
	make_room(t, k);
	return 0;
}

void traces_note_lost(struct traces *t, uint64_t n)
{
	t->counts.lost += MIN(n, (uint64_t)UINT32_MAX);
}

bool traces_find(
	struct traces *t, const uint8_t op_id[static 16], usec now_us, struct traces_found *ret)
{
	const struct kept *k;

	traces_prune(t, now_us);
	k = find(t, op_id);
	if (!k)
		return false;
	*ret = (struct traces_found){ k->teller->name, k->host, slice_of(k->text, k->n) };
	return true;
}

struct traces_counts traces_counts(const struct traces *t)
{
	return t->counts;
}
