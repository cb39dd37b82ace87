/* The folder that the stats are mounted on: making it, and clearing it of what a killed predecessor
 * left. Knows nothing of libfuse. Control loop, at start, before any thread serves the mount. */
#ifndef AGENTD_STATFS_MOUNT_POINT_H
#define AGENTD_STATFS_MOUNT_POINT_H

#include <aigw/errbuf.h>

#define MOUNT_FS_NAME "aigw" /* the kernel calls the type fuse.aigw */

/* Makes the folder if it is missing. A dead mount of ours on it is unmounted (lazily: readers may
 * still hold files); -EBUSY if another process serves one there. */
int mount_point_prepare(const char *path, struct errbuf *e);

/* Whether a line of /proc/self/mountinfo is a mount of ours on that (absolute, resolved) path. */
bool mount_line_is_ours(const char *line, const char *path);

#endif
