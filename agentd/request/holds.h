/* The policy's limits of calls at once: a call is one of its project's and its identity's from the
 * moment at which it is known what it asks, one of the provider's while a try goes there. Each is
 * given back once, by whatever way it ends. The worker's thread; the counters are all workers'
 * (route/capacity.h). */
#ifndef AGENTD_REQUEST_HOLDS_H
#define AGENTD_REQUEST_HOLDS_H

#include "request/request.h"

/* False: there are as many as may be, and the request has failed. */
bool holds_take_caller(struct request *r);
/* r->provider's. False: it is full. */
bool holds_take_provider(struct request *r);
/* All three are idempotent. */
void holds_give_provider(struct request *r);
void holds_give(struct request *r);

#endif
