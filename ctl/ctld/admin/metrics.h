/* The controller's numbers as Prometheus text: GET /metrics on admin.sock. Rows:
 * tbl/ctld_metrics.h. Loop's thread. */
#ifndef CTLD_ADMIN_METRICS_H
#define CTLD_ADMIN_METRICS_H

#include "ctld.h"
#include <aigw/prom.h>

#define METRICS_MAX_BYTES ((size_t)256 << 10)

void ctld_metrics_render(struct ctld *c, struct buf *b); /* b->err: it did not fit */

#endif
