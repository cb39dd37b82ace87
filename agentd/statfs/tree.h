/* The tree of the stats mount as numbers: which files there are, what they are called and whose
 * they are. Table driven (include/aigw/tbl/stat_nodes.h); look-up, listing and attributes all go
 * through here. It knows nothing of FUSE. Objects (models, providers, projects) are known by their
 * slot in the stats, which is theirs for the life of the process, so inode numbers stay valid over
 * policies. Any thread; nothing here is kept between calls. */
#ifndef AGENTD_STATFS_TREE_H
#define AGENTD_STATFS_TREE_H

#include "policy/policy.h"
#include "statfs/key_list.h"
#include "stats/stats.h"

#include <sys/stat.h>

#define NODE_LIST_MAX 10000u /* entries of one folder */
#define NODE_NAME_MAX 255u   /* bytes of one file name */

enum node_row {
#define STAT_NODE(id, path, mode, object, render, doc) NODE_##id,
#include <aigw/tbl/stat_nodes.h>
#undef STAT_NODE
	NODE_ROW_COUNT
};

struct node {
	enum node_row row;
	uint64_t object; /* slot, uid, number of a key, or 0 */
};

struct node_view {
	const struct stats *stats;
	const struct policy *policy; /* NULL: none yet */
	const struct key_list *keys; /* NULL: none are shown */
};

struct node_owner {
	uint32_t uid;       /* of all but by-uid/UID */
	uint32_t gid;       /* the agent's */
	uint32_t stats_gid; /* aigw-stats, or the agent's where the host lacks that group */
};

uint64_t node_ino(struct node n); /* root: 1 */
/* 0; -ENOENT if there is no such node (any more). */
int node_of_ino(const struct node_view *v, uint64_t ino, struct node *ret);
/* The child of that name; -ENOENT, -ENOTDIR. */
int node_child(const struct node_view *v, struct node dir, struct slice name, struct node *ret);
/* A whole path below the mount, "" or "models/x/stat"; -ENOENT, -ENOTDIR. */
int node_look_up(const struct node_view *v, struct slice path, struct node *ret);
struct node node_parent(struct node n);
/* The first child at or after *pos (0: the first of all); *pos moves behind it. False: no more. */
bool node_next(const struct node_view *v, struct node dir, uint64_t *pos, struct node *ret,
	char ret_name[static NODE_NAME_MAX + 1]);

mode_t node_mode(enum node_row row);
const char *node_path(enum node_row row); /* pattern */
const char *node_doc(enum node_row row);
enum stat_kind node_kind(enum node_row row);
void node_attr(struct node n, const struct node_owner *o, usec changed_wall_us, struct stat *ret);

/* Index in the policy's models, providers or projects of the object; -1: not in the policy. */
int node_object_index(const struct node_view *v, enum stat_kind kind, uint32_t slot);

/* A name as file names and keyed lines show it: '/', '%', white space, control and invalid bytes as
 * %XX, also a leading dot. Length without the NUL that it puts behind; 0 if the name is empty or
 * longer than NODE_NAME_MAX then. */
size_t node_encode_name(struct slice name, char out[static NODE_NAME_MAX + 1]);

#endif
