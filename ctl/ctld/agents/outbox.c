#include "agents/outbox.h"

#include <aigw/secret.h>

struct outbox_frame {
	struct list node;
	size_t n;
	char bytes[];
};

#define PART_MAX_RECORDS 20000 /* items of one frame, far below the wire's limit */

struct key_snapshot *key_snapshot_ref(struct key_snapshot *k)
{
	k->refs++;
	return k;
}

void key_snapshot_unref(struct key_snapshot *k)
{
	if (!k || --k->refs)
		return;
	buf_fini(&k->bytes);
	free(k->lengths);
	free(k);
}

void outbox_init(struct outbox *o)
{
	*o = (struct outbox){ 0 };
	list_init(&o->lanes[LANE_KEYS]);
	list_init(&o->lanes[LANE_ORDINARY]);
}

static void frame_free(struct outbox *o, struct outbox_frame *f)
{
	list_remove(&f->node);
	o->queued_bytes -= f->n;
	secret_wipe(f->bytes, f->n);
	free(f);
}

static void lane_clear(struct outbox *o, enum outbox_lane lane)
{
	struct list *it, *tmp;

	list_each(it, tmp, &o->lanes[lane])
		frame_free(o, list_entry(it, struct outbox_frame, node));
}

void outbox_fini(struct outbox *o)
{
	lane_clear(o, LANE_KEYS);
	lane_clear(o, LANE_ORDINARY);
	key_snapshot_unref(o->snapshot);
	published_unref(o->policy);
	outbox_init(o);
}

int outbox_put(struct outbox *o, enum outbox_lane lane, const struct wire_message *m)
{
	struct outbox_frame *f;
	struct buf b;
	int r;

	buf_init(&b, WIRE_MAX_FRAME + 4);
	r = wire_encode(m, &b);
	if (r == 0 && b.n > OUTBOX_MAX_BYTES - MIN(o->queued_bytes, (size_t)OUTBOX_MAX_BYTES))
		r = -ENOBUFS;
	if (r < 0)
		goto out;
	f = malloc(sizeof(*f) + b.n);
	if (!f) {
		r = -ENOMEM;
		goto out;
	}
	f->n = b.n;
	memcpy(f->bytes, b.p, b.n);
	list_push_back(&o->lanes[lane], &f->node);
	o->queued_bytes += f->n;
out:
	if (b.n)
		secret_wipe(b.p, b.n);
	buf_fini(&b);
	return r;
}

void outbox_policy(struct outbox *o, struct published *p)
{
	published_unref(o->policy);
	o->policy = published_ref(p);
	o->policy_at = 0;
}

void outbox_snapshot(struct outbox *o, struct key_snapshot *k)
{
	lane_clear(o, LANE_KEYS);
	key_snapshot_unref(o->snapshot);
	o->snapshot = key_snapshot_ref(k);
	o->snapshot_at = 0;
	o->snapshot_bytes_at = 0;
}

static int snapshot_part(struct outbox *o, struct buf *frame)
{
	struct key_snapshot *k = o->snapshot;
	struct wire_message m = { .kind = WIRE_keys_part };
	size_t bytes = 0, at = o->snapshot_bytes_at;
	struct slice *v;
	uint32_t n = 0;
	int r;

	while (o->snapshot_at + n < k->n && n < PART_MAX_RECORDS &&
		(n == 0 || bytes + k->lengths[o->snapshot_at + n] <= WIRE_MAX_PART))
		bytes += k->lengths[o->snapshot_at + n++];
	v = calloc(MAX(n, 1u), sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		v[i] = slice_of(k->bytes.p + at, k->lengths[o->snapshot_at + i]);
		at += v[i].n;
	}
	m.keys_part = (struct wire_keys_part){
		.realm = slice_of((const char *)k->realm, 16),
		.seq = k->seq,
		.total = k->n,
		.offset = o->snapshot_at,
		.records = { v, n },
		.digest = slice_of((const char *)k->digest, 32),
	};
	r = wire_encode(&m, frame);
	free(v);
	if (r < 0)
		return r;
	o->snapshot_at += n;
	o->snapshot_bytes_at = at;
	if (o->snapshot_at == k->n) {
		key_snapshot_unref(k);
		o->snapshot = NULL;
	}
	return 1;
}

static int policy_part(struct outbox *o, struct buf *frame)
{
	struct published *p = o->policy;
	struct slice packed = buf_view(&p->doc->packed);
	size_t n = MIN(packed.n - o->policy_at, (size_t)WIRE_MAX_PART);
	struct wire_message m = { .kind = WIRE_policy_part };
	int r;

	m.policy_part = (struct wire_policy_part){
		.revision = p->revision,
		.digest = slice_of((const char *)p->digest, sizeof(p->digest)),
		.total = packed.n,
		.offset = o->policy_at,
		.bytes = slice_of(packed.p + o->policy_at, n),
	};
	r = wire_encode(&m, frame);
	if (r < 0)
		return r;
	o->policy_at += n;
	if (o->policy_at == packed.n) {
		published_unref(p);
		o->policy = NULL;
	}
	return 1;
}

int outbox_next(struct outbox *o, struct buf *frame)
{
	if (o->snapshot)
		return snapshot_part(o, frame);
	for (unsigned lane = LANE_KEYS; lane <= LANE_ORDINARY; lane++) {
		struct outbox_frame *f;

		if (list_is_empty(&o->lanes[lane]))
			continue;
		f = list_entry(o->lanes[lane].next, struct outbox_frame, node);
		if (buf_append(frame, f->bytes, f->n) < 0)
			return frame->err;
		frame_free(o, f);
		return 1;
	}
	return o->policy ? policy_part(o, frame) : 0;
}
