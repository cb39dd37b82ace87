/* What one agent still has to be sent, and in which order. Three lanes: keys (snapshot and changes,
 * in sequence), then answers and secrets, then the policy, which is cut into parts only when its
 * turn comes: so a revocation waits for one part of at most 256 KiB. A snapshot of the key set is
 * cut the same way; changes made since wait behind it, as their sequence follows it. Nothing here
 * does input or output; the session writes frames one after the other. Loop's thread. */
#ifndef CTLD_AGENTS_OUTBOX_H
#define CTLD_AGENTS_OUTBOX_H

#include "policy/publish.h"
#include <aigw/list.h>
#include <aigw/wire.h>

#define OUTBOX_MAX_BYTES (64u << 20) /* of whole frames; a slower agent is cut off */

/* The whole key set at one sequence; shared by all agents that need it. */
struct key_snapshot {
	unsigned refs;
	uint64_t seq;
	uint8_t realm[16];
	uint8_t digest[32];
	struct buf bytes; /* records, one after the other */
	uint32_t *lengths;
	uint32_t n;
};

struct key_snapshot *key_snapshot_ref(struct key_snapshot *k);
void key_snapshot_unref(struct key_snapshot *k); /* NULL is fine */

enum outbox_lane { LANE_KEYS, LANE_ORDINARY };

struct outbox {
	struct list lanes[2];
	size_t queued_bytes;
	struct key_snapshot *snapshot;
	uint32_t snapshot_at; /* records sent */
	size_t snapshot_bytes_at;
	struct published *policy;
	size_t policy_at; /* bytes sent */
};

void outbox_init(struct outbox *o);
void outbox_fini(struct outbox *o); /* frames are wiped: some hold secrets */

/* Encodes at once. -ENOBUFS: over OUTBOX_MAX_BYTES, cut the agent off. */
int outbox_put(struct outbox *o, enum outbox_lane lane, const struct wire_message *m);
/* Both take a reference. A policy or snapshot that is on its way is given up for the newer one;
 * changes that wait in the key lane are part of the snapshot and are dropped. */
void outbox_policy(struct outbox *o, struct published *p);
void outbox_snapshot(struct outbox *o, struct key_snapshot *k);

/* The next frame to be written, appended to `frame`: 1, 0 if there is none, or a negative error. */
int outbox_next(struct outbox *o, struct buf *frame);

#endif
