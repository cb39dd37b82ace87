#include "request/holds.h"

#include "request/queue.h"
#include "route/capacity.h"

static bool take(struct request *r, enum hold_kind kind, struct capacity *c, uint32_t limit)
{
	if (!c)
		return true;
	if (!capacity_take(c, limit))
		return false;
	r->holds[kind] = c;
	return true;
}

static void give(struct request *r, enum hold_kind kind)
{
	if (r->holds[kind])
		capacity_give(r->holds[kind]);
	r->holds[kind] = NULL;
}

static void refuse(struct request *r, const char *what, uint32_t limit)
{
	r->retry_after_ms = CAPACITY_AGAIN_US / USEC_PER_MS;
	request_fail(r, FAIL_concurrency_limit,
		"%s has %" PRIu32
		" calls on their way, as many as it may have at once on this host. Try again "
		"when one has ended.",
		what, limit);
}

bool holds_take_caller(struct request *r)
{
	const struct policy *p = r->rules->rules->policy;
	const struct policy_project *project = &p->doc->projects[r->project];
	char text[POLICY_NAME_MAX + 32];

	if (!take(r, HOLD_PROJECT, p->project_calls[r->project], project->concurrency)) {
		(void)snprintf(text, sizeof(text), "The project '" SLICE_FMT "'",
			SLICE_ARG(project->name));
		refuse(r, text, project->concurrency);
		return false;
	}
	if (r->identity && !take(r, HOLD_IDENTITY, p->identity_calls[r->identity - 1],
				   p->doc->identities[r->identity - 1].concurrency)) {
		r->identity_full = true;
		refuse(r, "The identity that you call by",
			p->doc->identities[r->identity - 1].concurrency);
		return false;
	}
	return true;
}

bool holds_take_provider(struct request *r)
{
	const struct policy *p = r->rules->rules->policy;

	ASSERT(!r->holds[HOLD_PROVIDER]);
	return take(r, HOLD_PROVIDER, p->provider_calls[r->provider],
		p->doc->providers[r->provider].concurrency);
}

void holds_give_provider(struct request *r)
{
	if (!r->holds[HOLD_PROVIDER])
		return;
	give(r, HOLD_PROVIDER);
	queue_wake(r->env);
}

void holds_give(struct request *r)
{
	holds_give_provider(r);
	give(r, HOLD_PROJECT);
	give(r, HOLD_IDENTITY);
}
