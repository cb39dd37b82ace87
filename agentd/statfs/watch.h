/* What one look at the counters can't tell: rates over the last seconds, what today cost, since
 * when something is wrong. Two samples of the totals are kept, taken 10 s apart, so a rate covers
 * the last 10 to 20 s whoever reads and how often. Statfs thread only. */
#ifndef AGENTD_STATFS_WATCH_H
#define AGENTD_STATFS_WATCH_H

#include "account/committer.h"
#include "account/inflight.h"
#include "account/spool.h"
#include "policy/policy.h"
#include "stats/stats.h"

#define WATCH_EVERY_US (10 * USEC_PER_S)

/* What the agent says about itself. */
struct statfs_info {
	char agent_id[64];
	usec start_wall_us, start_mono_us;
	const char *control; /* static text: "connected", "retrying" or "standalone" */
	const char *source;  /* of the policy: static text */
	const char *server;  /* the setting; lives as long as the agent */
	struct spool_gauges spool;
	enum committer_state committer;
	bool strict;
	bool draining;
	uint64_t policies_refused;
};

enum watch_fault {
	FAULT_draining,
	FAULT_no_policy,
	FAULT_controller,
	FAULT_spool_full,
	FAULT_spool_failed,
	FAULT_disk_stalled,
	FAULT_COUNT
};

struct watch_totals {
	int64_t requests, ok, failed, tokens_out, cost_nano;
};

struct watch_rate {
	struct watch_totals d; /* how much was added */
	usec over_us;          /* in how long; at least 1 */
};

struct watch_series {
	struct watch_totals *v; /* by slot; slots above n began at 0 */
	uint32_t n;
};

enum watch_kind { WATCH_GLOBAL, WATCH_MODEL, WATCH_PROVIDER, WATCH_KINDS };

struct watch {
	const struct stats *stats;
	usec sampled_us[2]; /* monotonic: older, newer */
	struct watch_series sample[2][WATCH_KINDS];
	int64_t day; /* UTC; of cost_before_today */
	int64_t cost_before_today;
	usec fault_since[FAULT_COUNT];        /* wall; 0: all is well */
	usec failing_since[STAT_MAX_OBJECTS]; /* providers by slot; wall; 0: not failing */
};

void watch_init(struct watch *w, const struct stats *s, usec mono_us, usec wall_us);
void watch_fini(struct watch *w);
/* Takes a sample if it is time. A failed allocation leaves the older one in use for longer. */
void watch_tick(struct watch *w, usec mono_us, usec wall_us);
/* Judges faults by what is so now; called before what shows them is rendered. */
void watch_judge(struct watch *w, const struct statfs_info *info, bool has_policy, usec wall_us);
void watch_rate(const struct watch *w, enum watch_kind kind, uint32_t slot, usec mono_us,
	struct watch_rate *ret);
int64_t watch_cost_today(const struct watch *w);

#endif
