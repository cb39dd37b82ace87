/* Agents: name -> uid, first and last seen, store id, host, version. The audit log beside it:
 * number -> time, by, action, object, detail. */
#include "store/store_lmdb.h"

static int agent_unpack(struct slice name, struct slice row, struct store_agent *ret)
{
	uint64_t uid, first, last;

	ret->name = name;
	if (!unpack_u64(&row, &uid) || !unpack_u64(&row, &first) || !unpack_u64(&row, &last) ||
		!unpack_bytes(&row, &ret->store_id) || !unpack_bytes(&row, &ret->host) ||
		!unpack_bytes(&row, &ret->version) || ret->store_id.n != 16)
		return -EBADMSG;
	ret->uid = (uint32_t)uid;
	ret->first_seen_us = (usec)first;
	ret->last_seen_us = (usec)last;
	return 0;
}

int store_agent_put(struct store_txn *t, const struct store_agent *a)
{
	struct buf row;
	int r;

	ASSERT(a->store_id.n == 16);
	buf_init(&row, 8192);
	pack_u64(&row, a->uid);
	pack_u64(&row, (uint64_t)a->first_seen_us);
	pack_u64(&row, (uint64_t)a->last_seen_us);
	pack_bytes(&row, a->store_id);
	pack_bytes(&row, a->host);
	pack_bytes(&row, a->version);
	r = row.err ? row.err : row_put(t, TABLE_AGENTS, a->name, buf_view(&row));
	buf_fini(&row);
	return r;
}

struct agent_walk {
	int (*agent)(const struct store_agent *a, void *arg);
	int (*audit)(const struct store_audit *a, void *arg);
	void *arg;
};

static int agent_visit(struct slice key, struct slice row, void *arg)
{
	const struct agent_walk *w = arg;
	struct store_agent a;
	int r = agent_unpack(key, row, &a);

	return r < 0 ? r : w->agent(&a, w->arg);
}

int store_agent_each(
	struct store_txn *t, int (*fn)(const struct store_agent *a, void *arg), void *arg)
{
	struct agent_walk w = { .agent = fn, .arg = arg };

	return row_each(t, TABLE_AGENTS, SLICE_EMPTY, agent_visit, &w);
}

int store_audit_put(struct store_txn *t, const struct store_audit *a)
{
	struct slice key, last;
	struct buf row;
	uint8_t raw[8];
	uint64_t no = 1;
	int r = row_last(t, TABLE_AUDIT, &key, &last);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && key.n == 8)
		no = be64_get(key.p) + 1;
	be64_put(raw, no);
	buf_init(&row, 16u << 10);
	pack_u64(&row, (uint64_t)a->at_us);
	pack_bytes(&row, a->by);
	pack_bytes(&row, a->action);
	pack_bytes(&row, a->object);
	pack_bytes(&row, a->detail);
	r = row.err ? row.err
		    : row_append(t, TABLE_AUDIT, slice_u8(raw, sizeof(raw)), buf_view(&row));
	buf_fini(&row);
	return r;
}

static int audit_visit(struct slice key, struct slice row, void *arg)
{
	const struct agent_walk *w = arg;
	struct store_audit a;
	uint64_t at;

	(void)key;
	if (!unpack_u64(&row, &at) || !unpack_bytes(&row, &a.by) ||
		!unpack_bytes(&row, &a.action) || !unpack_bytes(&row, &a.object) ||
		!unpack_bytes(&row, &a.detail))
		return -EBADMSG;
	a.at_us = (usec)at;
	return w->audit(&a, w->arg);
}

int store_audit_each(
	struct store_txn *t, int (*fn)(const struct store_audit *a, void *arg), void *arg)
{
	struct agent_walk w = { .audit = fn, .arg = arg };

	return row_each_back(t, TABLE_AUDIT, audit_visit, &w);
}
