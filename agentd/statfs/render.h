/* Numbers -> text: the contents of each file of the stats mount, written whole into a buffer. Reads
 * the stats, the policy and what the agent said about itself; changes nothing. Under the tree's
 * mutex (stat_tree.h). */
#ifndef AGENTD_STATFS_RENDER_H
#define AGENTD_STATFS_RENDER_H

#include "route/health.h"
#include "statfs/tree.h"
#include "statfs/watch.h"

#define STATFS_ABI        1
#define INFLIGHT_ROWS_MAX 10000u

struct render {
	const struct stats *stats;
	const struct health *health;
	struct inflight *inflight;   /* may be NULL */
	const struct policy *policy; /* may be NULL */
	const struct key_list *keys; /* may be NULL */
	const struct watch *watch;   /* judged */
	struct statfs_info info;
	usec mono_us, wall_us;
};

/* 0; -EISDIR for what has no contents; the buffer's error. */
int render_node(const struct render *r, struct node n, struct buf *b);

/* render_tables.c: files for people's eyes. */
void render_summary(const struct render *r, struct node n, struct buf *b);
void render_inflight(const struct render *r, struct node n, struct buf *b);

/* A target of the policy, by its index in the document: how it stands, and its numbers; of several
 * credentials' limits the one that has most left. */
enum target_state render_target(const struct render *r, uint32_t target, usec *ret_recover_us);
struct health_numbers render_numbers(const struct render *r, uint32_t target);

usec render_spool_age(const struct render *r); /* of the oldest record; 0: none */
/* "12s", "4m10s", "3h05m", "1d00h" */
void render_age(usec d, char out[static 32]);
/* "$1.50" or "EUR 1.50", with `decimals` of nine digits (cut, not rounded). */
void render_money(const struct render *r, int64_t nano, unsigned decimals, char out[static 48]);

#endif
