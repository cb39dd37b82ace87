/* The tree of numbers as an object that more than one face shows: the mount on its thread, the
 * control socket on the control loop. Both get the same bytes for a file, judged by the same watch.
 * One mutex guards the watch (its samples and since when something is wrong); it is held while a
 * file is rendered, and no worker takes it. */
#ifndef AGENTD_STATFS_STAT_TREE_H
#define AGENTD_STATFS_STAT_TREE_H

#include "statfs/render.h"

struct stat_tree_config {
	const struct stats *stats;
	const struct health *health;
	struct inflight *inflight; /* read by slot_peek() only; NULL: none */
	struct keyset *keyset;     /* NULL: no keys are shown */
	/* Both on the thread of whoever asks. The first returns a reference that the tree drops,
	 * NULL if there is no policy. */
	struct policy *(*policy_get)(void *owner);
	void (*info_get)(struct statfs_info *ret, void *owner);
	void *owner;
};

struct stat_tree;

int stat_tree_new(const struct stat_tree_config *c, struct stat_tree **ret); /* -ENOMEM */
void stat_tree_free(struct stat_tree *t); /* after all faces are gone; NULL is allowed */

/* Any thread, from here on. */
void stat_tree_tick(
	struct stat_tree *t); /* a sample if it is time; at least every WATCH_EVERY_US */
/* Whether something is wrong by now; a provider's going and coming is logged. Once a second while
 * there is traffic. */
void stat_tree_judge(struct stat_tree *t);
void stat_tree_info(const struct stat_tree *t, struct statfs_info *ret);
const struct node_owner *stat_tree_owner(const struct stat_tree *t);

/* What one request works with: the policy is held until it is done. */
struct stat_look {
	struct node_view view;
	struct policy *policy;
	struct key_list *keys;
};
struct stat_look stat_look_begin(struct stat_tree *t);
void stat_look_end(struct stat_look *l);
/* As render_node(). */
int stat_tree_render(struct stat_tree *t, const struct stat_look *l, struct node n, struct buf *b);

/* Prometheus text (statfs/metrics.h): all of it, or what is for whoever may connect. */
void stat_tree_metrics(struct stat_tree *t, bool all, struct buf *b);

/* Who asks, where the kernel does not check for us. */
struct stat_peer {
	uint32_t uid, gid;
	const uint32_t *groups; /* supplementary */
	unsigned n_groups;
};
/* May that user read the file or list the folder, as the modes of the mount have it, those of the
 * folders above included? */
bool stat_tree_may_read(const struct stat_tree *t, struct node n, const struct stat_peer *who);

#endif
