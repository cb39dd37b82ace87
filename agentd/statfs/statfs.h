/* The agent's numbers as files: a read-only FUSE filesystem, mounted and served by a thread of its
 * own. Each file is rendered whole when it is opened; reads copy from that snapshot, so one open
 * shows one moment. The thread never waits for a worker and takes no lock but the tree's and the
 * owner's inside policy_get(); a program that reads the mount while it is being served by us can't
 * stop us. It runs when nothing else wants to (SCHED_IDLE): calls come before those who look, who
 * wait for it on a host whose every core is busy. No code of the agent may touch paths under its
 * own mount: it would wait for itself. What the files are: include/aigw/tbl/stat_nodes.h. */
#ifndef AGENTD_STATFS_STATFS_H
#define AGENTD_STATFS_STATFS_H

#include "statfs/stat_tree.h"

#include <aigw/errbuf.h>

struct statfs_config {
	const char *mountpoint; /* absolute; made (0755) if it is missing; used while starting */
	int fuse_fd; /* of a mount that is made already, taken also on failure; -1: mount at
		      * mountpoint
		      */
	struct stat_tree *tree;         /* what it shows; outlives the mount */
	const struct line_ring *events; /* of `events`; NULL: none can be opened */
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
