#include "request/queue.h"

#include "route/capacity.h"

/* Of one model in one look: then the rest of its calls stays where it is. */
#define LOOK_REFUSED_MAX 4
#define LOOK_MODELS      32

static const struct policy_model *model_of(const struct request *r)
{
	return &r->rules->rules->policy->doc->models[r->model];
}

static usec time_left(const struct request *r)
{
	usec now_waits = r->in_queue ? loop_now(r->env->loop) - r->queued_at_us : 0;

	return model_of(r)->queue_wait_us - r->queued_us - now_waits;
}

static void count(const struct request *r, int change)
{
	stats_add(r->env->stats, STAT_GLOBAL, 0, STAT_queued, change);
	stats_add(r->env->stats, STAT_MODEL, r->rules->rules->policy->model_stat[r->model],
		STAT_queued, change);
}

static void join(struct request *r)
{
	struct request_env *env = r->env;

	r->in_queue = true;
	r->queued_at_us = loop_now(env->loop);
	r->step = STEP_QUEUE;
	count(r, 1);
	list_push_back(&env->queue, &r->await_node);
	/* Whoever gives a place back after this sees that one waits; what was given back before is
	 * seen by the look that follows. */
	atomic_fetch_add(&env->gw->queued[env->worker], 1);
	deferred_queue(env->loop, &env->queue_look);
}

bool queue_takes(struct request *r, enum fail refused, usec recover_us)
{
	const struct policy_model *m = model_of(r);
	usec left;

	if (!m->queue_max || r->upload || refused == FAIL_no_eligible_target ||
		refused == FAIL_upstream_no_credential)
		return false;
	left = time_left(r);
	if (refused != FAIL_provider_at_capacity && (recover_us <= 0 || recover_us > left))
		return false;
	if (left <= 0) {
		request_fail(r, FAIL_queue_timeout,
			"No target could take the call within the %" PRId64
			" ms that it may wait. Try again later.",
			m->queue_wait_us / USEC_PER_MS);
		return true;
	}
	if (!r->in_queue &&
		!capacity_take(r->rules->rules->policy->queue[r->model], m->queue_max)) {
		request_fail(r, FAIL_queue_full,
			"%" PRIu32 " calls wait for this model, as many as may. Try again later.",
			m->queue_max);
		return true;
	}
	if (!r->in_queue)
		join(r);
	deadline_set(r->env->loop, &r->again, recover_us > 0 ? MIN(left, recover_us) : left);
	return true;
}

void queue_leave(struct request *r)
{
	if (!r->in_queue)
		return;
	r->in_queue = false;
	r->queued_us += loop_now(r->env->loop) - r->queued_at_us;
	list_remove(&r->await_node);
	deadline_stop(r->env->loop, &r->again);
	count(r, -1);
	capacity_give(r->rules->rules->policy->queue[r->model]);
	atomic_fetch_sub(&r->env->gw->queued[r->env->worker], 1);
}

/* True: it waits no longer. */
static bool look_at(struct request *r)
{
	if (!route_plan(r))
		return r->step != STEP_QUEUE;
	queue_leave(r);
	r->step = r->slot == SLOT_NONE ? STEP_ADMIT : STEP_ATTEMPT;
	request_resume(r);
	return true;
}

void queue_due(struct request *r)
{
	(void)look_at(r);
}

/* Those whose turn has come may be gone, and others may have come, when one has been resumed: so
 * each is taken out first. */
static void look(struct deferred *d)
{
	struct request_env *env = container_of(d, struct request_env, queue_look);
	struct {
		uint32_t model;
		unsigned n;
	} refused[LOOK_MODELS] = { { 0, 0 } };
	struct list all;

	list_init(&all);
	if (list_is_empty(&env->queue))
		return;
	list_insert_after(&env->queue, &all);
	list_remove(&env->queue);
	while (!list_is_empty(&all)) {
		struct request *r = list_entry(all.next, struct request, await_node);
		uint32_t model = r->model, at = model % LOOK_MODELS;
		bool skip = refused[at].model == model && refused[at].n >= LOOK_REFUSED_MAX;

		list_remove(&r->await_node);
		list_push_back(&env->queue, &r->await_node);
		if (skip || look_at(r))
			continue;
		refused[at].n = refused[at].model == model ? refused[at].n + 1 : 1;
		refused[at].model = model;
	}
}

void queue_init(struct request_env *env)
{
	list_init(&env->queue);
	deferred_init(&env->queue_look, look);
}

void queue_woken(struct request_env *env)
{
	if (!list_is_empty(&env->queue))
		deferred_queue(env->loop, &env->queue_look);
}

void queue_wake(struct request_env *env)
{
	struct gateway *gw = env->gw;

	for (unsigned i = 0; i < gw->n_workers; i++) {
		if (!atomic_load(&gw->queued[i]))
			continue;
		if (i == env->worker)
			queue_woken(env);
		else
			env->wake_queue(env, i);
	}
}
