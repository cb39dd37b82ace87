/* Policy and key set come in parts of at most 256 KiB and are given on when whole and when their
 * digest holds. Parts come in order; one with offset 0 begins anew, since the controller gives up
 * what is on its way for something newer. Key changes pass between parts of a policy: a revocation
 * waits for nothing. */
#include "account/uplink_private.h"

#include <aigw/log.h>

static void policy_drop(struct uplink *u)
{
	u->policy.begun = false;
	buf_fini(&u->policy.bytes);
}

static void keys_drop(struct uplink *u)
{
	u->keys.begun = false;
	buf_fini(&u->keys.bytes);
	free(u->keys.lens);
	u->keys.lens = NULL;
	u->keys.n = u->keys.cap = 0;
}

void uplink_parts_drop(struct uplink *u)
{
	policy_drop(u);
	keys_drop(u);
	u->resync_asked = false;
}

static bool digest_holds(const struct buf *b, const uint8_t want[DIGEST_BYTES])
{
	struct slice all = buf_view(b);
	uint8_t got[DIGEST_BYTES];

	digest_sha256(&all, 1, got);
	return memcmp(got, want, DIGEST_BYTES) == 0;
}

/* --- policy
 * ---------------------------------------------------------------------------------------- */

static bool policy_begin(struct uplink *u, const struct wire_policy_part *p)
{
	policy_drop(u);
	if (p->digest.n != DIGEST_BYTES || p->total == 0 || p->total > UPLINK_MAX_POLICY_BYTES)
		return false;
	u->policy.begun = true;
	u->policy.revision = p->revision;
	u->policy.total = p->total;
	memcpy(u->policy.digest, p->digest.p, DIGEST_BYTES);
	buf_init(&u->policy.bytes, (size_t)p->total);
	return true;
}

static bool policy_continues(
	const struct uplink_policy_parts *have, const struct wire_policy_part *p)
{
	return have->begun && p->offset == have->bytes.n && p->revision == have->revision &&
	       p->total == have->total && p->digest.n == DIGEST_BYTES &&
	       memcmp(p->digest.p, have->digest, DIGEST_BYTES) == 0;
}

void uplink_take_policy(struct uplink *u, const struct wire_policy_part *p)
{
	if (p->bytes.n == 0 || p->bytes.n > WIRE_MAX_PART ||
		(p->offset == 0 && !policy_begin(u, p)) || !policy_continues(&u->policy, p) ||
		p->bytes.n > p->total - p->offset) {
		uplink_break(u, "the controller's parts of policy %" PRIu64 " don't fit together",
			p->revision);
		return;
	}
	if (buf_slice(&u->policy.bytes, p->bytes) < 0) {
		uplink_break(u, "no memory for policy %" PRIu64, p->revision);
		return;
	}
	if (u->policy.bytes.n < u->policy.total)
		return;
	if (digest_holds(&u->policy.bytes, u->policy.digest))
		u->cfg.policy(u->policy.revision, buf_view(&u->policy.bytes), u->cfg.owner);
	else
		uplink_break(u, "policy %" PRIu64 " has another digest than was said", p->revision);
	policy_drop(u);
}

/* --- keys
 * ------------------------------------------------------------------------------------------ */

static bool keys_begin(struct uplink *u, const struct wire_keys_part *p)
{
	keys_drop(u);
	if (p->digest.n != DIGEST_BYTES || p->realm.n != sizeof(u->keys.realm) ||
		p->total > UPLINK_MAX_KEYS)
		return false;
	u->keys.begun = true;
	u->keys.seq = p->seq;
	u->keys.total = p->total;
	memcpy(u->keys.realm, p->realm.p, sizeof(u->keys.realm));
	memcpy(u->keys.digest, p->digest.p, DIGEST_BYTES);
	buf_init(&u->keys.bytes, UPLINK_MAX_KEYS_BYTES);
	return true;
}

static bool keys_continue(const struct uplink_key_parts *have, const struct wire_keys_part *p)
{
	return have->begun && p->offset == have->n && p->seq == have->seq &&
	       p->total == have->total && p->records.n <= have->total - have->n &&
	       (p->records.n > 0 || have->total == 0) && p->realm.n == sizeof(have->realm) &&
	       memcmp(p->realm.p, have->realm, sizeof(have->realm)) == 0 &&
	       p->digest.n == DIGEST_BYTES && memcmp(p->digest.p, have->digest, DIGEST_BYTES) == 0;
}

static int keys_add(struct uplink_key_parts *k, struct slice record)
{
	if (record.n == 0 || record.n > UPLINK_MAX_KEY_BYTES)
		return -EBADMSG;
	if (k->n == k->cap) {
		uint32_t cap = k->cap ? k->cap * 2 : 256;
		uint32_t *more = reallocarray(k->lens, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		k->lens = more;
		k->cap = cap;
	}
	k->lens[k->n] = (uint32_t)record.n;
	k->n++;
	return buf_slice(&k->bytes, record);
}

static void keys_give(struct uplink *u)
{
	struct uplink_key_parts *k = &u->keys;
	struct slice *records = calloc(MAX(k->n, 1u), sizeof(*records));
	size_t at = 0;

	if (!records) {
		uplink_break(u, "no memory for the key set");
		return;
	}
	for (uint32_t i = 0; i < k->n; at += k->lens[i], i++)
		records[i] = slice_of(k->bytes.p + at, k->lens[i]);
	u->keys_seq = k->seq;
	u->resync_asked = false;
	u->cfg.keys(true, slice_of((const char *)k->realm, sizeof(k->realm)), k->seq, records, k->n,
		u->cfg.owner);
	free(records);
}

void uplink_take_keys(struct uplink *u, const struct wire_keys_part *p)
{
	int r = 0;

	if ((p->offset == 0 && !keys_begin(u, p)) || !keys_continue(&u->keys, p))
		r = -EBADMSG;
	for (uint32_t i = 0; r == 0 && i < p->records.n; i++)
		r = keys_add(&u->keys, p->records.v[i]);
	if (r < 0) {
		uplink_break(u,
			r == -EBADMSG ? "the controller's parts of key set %" PRIu64
					" don't fit together"
				      : "no memory for key set %" PRIu64,
			p->seq);
		return;
	}
	if (u->keys.n < u->keys.total)
		return;
	if (digest_holds(&u->keys.bytes, u->keys.digest))
		keys_give(u);
	else
		uplink_break(u, "key set %" PRIu64 " has another digest than was said", p->seq);
	keys_drop(u);
}

void uplink_take_change(struct uplink *u, const struct wire_keys_change *c)
{
	if (c->seq <= u->keys_seq)
		return; /* it was in the snapshot */
	if (c->seq == u->keys_seq + 1) {
		u->keys_seq = c->seq;
		u->cfg.keys(false, SLICE_EMPTY, c->seq, c->records.v, c->records.n, u->cfg.owner);
		return;
	}
	if (u->resync_asked)
		return; /* the snapshot holds it */
	log_event(LOG_WARNING, "uplink", "keys.gap", "have=%" PRIu64 " got=%" PRIu64, u->keys_seq,
		c->seq);
	uplink_keys_resync(u, u->keys_seq);
}
