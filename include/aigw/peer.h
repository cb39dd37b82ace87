/* Who is at the other end of a unix socket, as the kernel says (unix(7), SO_PEERCRED,
 * SO_PEERGROUPS). Any thread. */
#ifndef AIGW_PEER_H
#define AIGW_PEER_H

#include <aigw/base.h>

#define PEER_MAX_GROUPS 64

struct peer_cred {
	uint32_t uid, gid;
	int32_t pid;
};

int peer_cred_of(int fd, struct peer_cred *ret);
/* Supplementary groups; those above PEER_MAX_GROUPS are left out. */
int peer_groups_of(int fd, uint32_t groups[static PEER_MAX_GROUPS], unsigned *ret_n);
/* Name of the systemd unit that process pid runs in ("x.service"), from its cgroup. The process is
 * pinned by pidfd and its start time compared before and after, so that a re-used pid is not
 * believed. -ENOENT: in no unit; -ESRCH: gone. */
int peer_unit_of(int32_t pid, char *ret, size_t cap);

/* Listens on a unix socket: a leftover file that nobody answers on is replaced, one in use is
 * -EADDRINUSE. Makes the last folder of the path, mode 0755, if it is not there. The descriptor is
 * non-blocking and close-on-exec. */
struct errbuf;
int unix_listen(const char *path, mode_t mode, int backlog, int *ret_fd, struct errbuf *e);

#endif
