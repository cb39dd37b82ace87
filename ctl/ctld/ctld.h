/* The controller: one loop that owns the store, the agents' side and the admin side. All on that
 * loop's thread. */
#ifndef CTLD_CTLD_H
#define CTLD_CTLD_H

#include "agents/feed.h"
#include "config.h"
#include <aigw/http_server.h>
#include <aigw/prom.h>
#include <aigw/sd.h>

struct ctld {
	struct loop loop;
	const char *config_path;
	bool config_may_miss;
	struct arena config_arena; /* strings of config */
	struct ctld_config config;
	struct store *store;
	struct agents agents;
	struct feed feed;
	struct http_server *admin;
	usec started_us; /* wall */
	struct {
		uint64_t applied, unchanged, refused;
	} applies;                  /* since the start */
	struct buckets query_times; /* of sums of usage; by api_query_bounds */
	uv_signal_t signals[3];
	unsigned n_signals;
	struct deadline housekeeping;
	struct sd sd;
	struct deadline watchdog; /* fed by the one loop that there is */
	unsigned disk_percent;    /* in use on the store's file system, as of the last look */
	bool stopping;
};

/* Opens everything and listens. On failure what was opened is closed again. */
int ctld_start(struct ctld *c, struct errbuf *e);
int ctld_run(struct ctld *c); /* until SIGTERM or SIGINT; then everything is closed */

#endif
