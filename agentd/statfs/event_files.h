/* The file `events` of the mount: opens of it, each with its place in the ring of what happened. A
 * read waits until there is something; poll(2) tells when. Bounded: 16 opens at a time, 4 of one
 * user. Knows libfuse. Statfs thread only. */
#ifndef AGENTD_STATFS_EVENT_FILES_H
#define AGENTD_STATFS_EVENT_FILES_H

#include "stats/line_ring.h"

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 35
#endif
#include <fuse_lowlevel.h>

#define EVENT_FILES_MAX     16u
#define EVENT_FILES_PER_UID 4u
#define EVENT_LOOK_MS       20 /* how often the ring is looked at while there are opens */

struct event_file {
	bool used, interrupted;
	uint32_t uid;
	uint64_t at;        /* next number in the ring */
	fuse_req_t waiting; /* a read; NULL: none */
	size_t size;        /* of that read */
	struct fuse_pollhandle *poll;
	size_t line_n, line_at; /* of a line that did not fit a read */
	char line[LINE_MAX_BYTES + 32];
};

struct event_files {
	const struct line_ring *ring;
	unsigned n; /* in use */
	struct event_file v[EVENT_FILES_MAX];
};

/* Handle, or 0: there are as many as there may be. */
uint64_t event_files_open(struct event_files *f, uint32_t uid);
bool event_files_has(const struct event_files *f, uint64_t handle);
void event_files_read(
	struct event_files *f, fuse_req_t req, uint64_t handle, size_t size, bool may_wait);
void event_files_poll(
	struct event_files *f, fuse_req_t req, uint64_t handle, struct fuse_pollhandle *ph);
void event_files_release(struct event_files *f, uint64_t handle);
void event_files_look(struct event_files *f); /* answers who waits, if there is something */
void event_files_end(struct event_files *f);  /* the mount goes: answers all */

#endif
