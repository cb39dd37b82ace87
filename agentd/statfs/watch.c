#include "statfs/watch.h"

#include <aigw/log.h>

#define DAY_US (86400 * USEC_PER_S)

static enum stat_kind stat_kind_of(enum watch_kind kind)
{
	return kind == WATCH_MODEL      ? STAT_MODEL
	       : kind == WATCH_PROVIDER ? STAT_PROVIDER
					: STAT_GLOBAL;
}

static struct watch_totals totals_now(const struct stats *s, enum watch_kind kind, uint32_t slot)
{
	int64_t all[STAT_COUNTER_COUNT];

	stats_read(s, stat_kind_of(kind), slot, all);
	return (struct watch_totals){
		.requests = all[STAT_requests],
		.ok = all[STAT_ok],
		.failed = all[STAT_upstream_errors],
		.tokens_out = all[STAT_tokens_out],
		.cost_nano = all[STAT_cost_nano],
	};
}

void watch_init(struct watch *w, const struct stats *s, usec mono_us, usec wall_us)
{
	*w = (struct watch){
		.stats = s, .sampled_us = { mono_us, mono_us }, .day = wall_us / DAY_US
	};
}

void watch_fini(struct watch *w)
{
	for (int age = 0; age < 2; age++) {
		for (int kind = 0; kind < WATCH_KINDS; kind++)
			free(w->sample[age][kind].v);
	}
}

void watch_tick(struct watch *w, usec mono_us, usec wall_us)
{
	struct watch_series fresh[WATCH_KINDS];

	if (wall_us / DAY_US != w->day) {
		w->day = wall_us / DAY_US;
		w->cost_before_today = stats_sum(w->stats, STAT_GLOBAL, 0, STAT_cost_nano);
	}
	if (mono_us - w->sampled_us[1] < WATCH_EVERY_US)
		return;
	for (int kind = 0; kind < WATCH_KINDS; kind++) {
		uint32_t n = stats_slots(w->stats, stat_kind_of(kind));

		fresh[kind] = (struct watch_series){ calloc(n, sizeof(*fresh[kind].v)), n };
		if (!fresh[kind].v) {
			while (kind-- > 0)
				free(fresh[kind].v);
			return;
		}
		for (uint32_t i = 0; i < n; i++)
			fresh[kind].v[i] = totals_now(w->stats, kind, i);
	}
	for (int kind = 0; kind < WATCH_KINDS; kind++) {
		free(w->sample[0][kind].v);
		w->sample[0][kind] = w->sample[1][kind];
		w->sample[1][kind] = fresh[kind];
	}
	w->sampled_us[0] = w->sampled_us[1];
	w->sampled_us[1] = mono_us;
}

static struct watch_totals added(const struct watch *w, enum watch_kind kind, uint32_t slot)
{
	const struct watch_series *before = &w->sample[0][kind];
	struct watch_totals now = totals_now(w->stats, kind, slot), then = { 0 };

	if (slot < before->n)
		then = before->v[slot];
	return (struct watch_totals){
		.requests = now.requests - then.requests,
		.ok = now.ok - then.ok,
		.failed = now.failed - then.failed,
		.tokens_out = now.tokens_out - then.tokens_out,
		.cost_nano = now.cost_nano - then.cost_nano,
	};
}

void watch_rate(const struct watch *w, enum watch_kind kind, uint32_t slot, usec mono_us,
	struct watch_rate *ret)
{
	ret->d = added(w, kind, slot);
	ret->over_us = MAX(mono_us - w->sampled_us[0], (usec)1);
}

int64_t watch_cost_today(const struct watch *w)
{
	return stats_sum(w->stats, STAT_GLOBAL, 0, STAT_cost_nano) - w->cost_before_today;
}

static void judge_fault(struct watch *w, enum watch_fault f, bool is_so, usec wall_us)
{
	if (!is_so)
		w->fault_since[f] = 0;
	else if (w->fault_since[f] == 0)
		w->fault_since[f] = wall_us;
}

void watch_judge(struct watch *w, const struct statfs_info *info, bool has_policy, usec wall_us)
{
	uint32_t n = stats_slots(w->stats, STAT_PROVIDER);

	judge_fault(w, FAULT_draining, info->draining, wall_us);
	judge_fault(w, FAULT_no_policy, !has_policy, wall_us);
	judge_fault(w, FAULT_controller, strcmp(info->control, "retrying") == 0, wall_us);
	judge_fault(w, FAULT_spool_full, info->spool.full || info->committer == COMMITTER_FULL,
		wall_us);
	judge_fault(w, FAULT_spool_failed,
		info->spool.failed || info->committer == COMMITTER_FAILED, wall_us);
	judge_fault(w, FAULT_disk_stalled, info->committer == COMMITTER_STALLED, wall_us);
	for (uint32_t i = 1; i < n; i++) {
		struct watch_totals d = added(w, WATCH_PROVIDER, i);

		/* Without calls the last ones still tell. */
		if (d.ok > 0 && w->failing_since[i] != 0) {
			log_event(LOG_INFO, "upstream", "provider.up",
				"provider=%s down_s=%" PRId64,
				log_quote(stats_slot_name(w->stats, STAT_PROVIDER, i)),
				(wall_us - w->failing_since[i]) / USEC_PER_S);
			w->failing_since[i] = 0;
		} else if (d.ok == 0 && d.failed > 0 && w->failing_since[i] == 0) {
			log_event(LOG_WARNING, "upstream", "provider.down",
				"provider=%s failed=%" PRId64,
				log_quote(stats_slot_name(w->stats, STAT_PROVIDER, i)), d.failed);
			w->failing_since[i] = wall_us;
		}
	}
}
