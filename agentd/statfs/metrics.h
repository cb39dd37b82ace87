/* Numbers -> Prometheus text, a row of include/aigw/tbl/metrics.h after the other. As render.h:
 * reads, changes nothing, under the tree's mutex. Everything that the policy in force names is
 * there from the start, with 0. */
#ifndef AGENTD_STATFS_METRICS_H
#define AGENTD_STATFS_METRICS_H

#include "statfs/render.h"

#define METRICS_MAX_BYTES ((size_t)64 << 20)

enum metrics_scope {
	METRICS_OPEN, /* for whoever may connect: no project, no caller, no cost */
	METRICS_ALL,
};

void metrics_render(const struct render *r, enum metrics_scope scope, struct buf *b);

#endif
