/* The agent's numbers as files: a read-only FUSE filesystem, mounted and served by a thread of its
 * own. Each file is rendered whole when it is opened; reads copy from that snapshot, so one open
 * shows one moment. The thread never waits for a worker and takes no lock but the owner's inside
 * policy_get(); a program that reads the mount while it is being served by us can't stop us. No
 * code of the agent may touch paths under its own mount: it would wait for itself. What the files
 * are: include/aigw/tbl/stat_nodes.h. */
#ifndef AGENTD_STATFS_STATFS_H
#define AGENTD_STATFS_STATFS_H

#include <aigw/errbuf.h>

#include "account/committer.h"
#include "account/inflight.h"
#include "account/spool.h"
#include "policy/policy.h"
#include "stats/stats.h"

struct statfs_info {
	char agent_id[64];
	usec start_wall_us, start_mono_us;
	const char *control; /* static text: "connected", "retrying" or "standalone" */
	struct spool_gauges spool;
	enum committer_state committer;
	bool strict;
	bool draining;
};

struct statfs_config {
	const char *mountpoint; /* absolute; made (0755) if it is missing; used while starting */
	int fuse_fd; /* of a mount that is made already, taken also on failure; -1: mount at
		      * mountpoint
		      */
	const struct stats *stats;
	struct inflight *inflight; /* read by slot_peek() only; NULL: none */
	/* Both on the statfs thread. The first returns a reference that statfs drops, NULL if there
	 * is no policy. */
	struct policy *(*policy_get)(void *owner);
	void (*info_get)(struct statfs_info *ret, void *owner);
	void *owner;
};

struct stat_mount;

/* Control loop, at start. Mounts (what a killed predecessor left there is unmounted first) and
 * starts the thread. On failure the sentence says why there is no mount; the agent goes on without.
 */
int statfs_start(const struct statfs_config *c, struct stat_mount **ret, struct errbuf *e);
/* Control loop. Unmounts, ends the thread, frees; open files of readers fail from now on. NULL is
 * allowed. */
void statfs_stop(struct stat_mount *m);

#endif
