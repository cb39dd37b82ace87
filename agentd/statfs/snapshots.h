/* What open files of the mount show: rendered once, kept until the file is closed. Bounded, since
 * anybody may open: 64 at a time, 8 of one user, 16 MiB in all. Statfs thread only. */
#ifndef AGENTD_STATFS_SNAPSHOTS_H
#define AGENTD_STATFS_SNAPSHOTS_H

#include <aigw/buf.h>

#define SNAPSHOTS_MAX       64u
#define SNAPSHOTS_PER_UID   8u
#define SNAPSHOTS_MAX_BYTES ((size_t)16 << 20)

struct snapshot {
	bool used;
	uint32_t uid;
	char *p;
	size_t n;
};

struct snapshots {
	struct snapshot v[SNAPSHOTS_MAX];
	size_t bytes;
};

/* How many bytes another one of that user may have; 0: he or all have as many as they may. */
size_t snapshots_room(const struct snapshots *s, uint32_t uid);
/* Takes the bytes of b, at most as many as there was room for. Returns the handle, from 1. */
uint64_t snapshots_take(struct snapshots *s, uint32_t uid, struct buf *b);
/* Up to max bytes from `at` on; SLICE_EMPTY behind the end or for a handle that is none. Valid
 * until given back. */
struct slice snapshots_read(const struct snapshots *s, uint64_t handle, uint64_t at, size_t max);
void snapshots_give(struct snapshots *s, uint64_t handle);
void snapshots_fini(struct snapshots *s);

#endif
