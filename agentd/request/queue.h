/* Calls that no target can take now, and whose model lets them wait: for a place at a provider, or
 * for a target that is back in time. First in, first looked at; each is planned anew when something
 * may have changed, and then goes on as if it had just come. Each worker has those of its own
 * connections; how many of a model wait, all workers count together. Whoever gives a place back
 * wakes every worker in which some wait. A call that comes at that very moment may be quicker than
 * those that wait.
 *
 * The worker's thread. */
#ifndef AGENTD_REQUEST_QUEUE_H
#define AGENTD_REQUEST_QUEUE_H

#include "request/decide.h"
#include "request/request.h"

void queue_init(struct request_env *env);
/* The plan has no place for it. True: it waits (on), or has failed for want of room or time. */
bool queue_takes(struct request *r, enum fail refused, usec recover_us);
/* Idempotent. */
void queue_leave(struct request *r);
/* The time it waits for has come; of r->again. */
void queue_due(struct request *r);
/* A place has been given back: wakes all who wait, in every worker. */
void queue_wake(struct request_env *env);
/* Another worker's gave it back. */
void queue_woken(struct request_env *env);

#endif
