/* How many calls each thing is in at once that the policy limits: providers, projects, identities,
 * queues of models. A counter per name, for the life of the process: so a new policy finds what is
 * on its way. Only what has a limit is counted: a limit that comes anew counts from then on.
 *
 * capacity_of(): one thread at a time. The rest: any thread; no lock. A limit is never exceeded:
 * to look and to take is one step. */
#ifndef AGENTD_ROUTE_CAPACITY_H
#define AGENTD_ROUTE_CAPACITY_H

#include <aigw/base.h>
#include <aigw/slice.h>

#include <stdatomic.h>

/* What is told to who finds no place: when one is free nobody knows. */
#define CAPACITY_AGAIN_US (1 * USEC_PER_S)

struct capacity {
	_Atomic uint32_t n;
};

struct capacities;
int capacities_new(struct capacities **ret);
void capacities_free(struct capacities *c);
/* kind: a letter for each name space. Made if new; NULL: out of memory. */
struct capacity *capacity_of(struct capacities *c, char kind, struct slice name);

static inline uint32_t capacity_used(const struct capacity *c)
{
	return atomic_load_explicit(&c->n, memory_order_relaxed);
}

/* False: there are `limit` already. */
static inline bool capacity_take(struct capacity *c, uint32_t limit)
{
	uint32_t n = atomic_load_explicit(&c->n, memory_order_relaxed);

	while (n < limit)
		if (atomic_compare_exchange_weak(&c->n, &n, n + 1))
			return true;
	return false;
}

static inline void capacity_give(struct capacity *c)
{
	atomic_fetch_sub(&c->n, 1);
}

#endif
