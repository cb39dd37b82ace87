/* The agent: its control loop on the main thread owns the workers, the stores, the uplink, the
 * mount and the rules in force. It decides what is published and when; it never waits for a disk
 * while serving (that is the committer's). */
#ifndef AGENTD_AGENT_H
#define AGENTD_AGENT_H

#include "config.h"

#include <aigw/errbuf.h>

struct agent;

/* Opens stores, recovers, starts all threads; listeners open when what a call needs is there.
 * config_path is borrowed for the agent's life; may_miss: it is the default path. On failure the
 * sentence says what to do, and the program has to end: what was begun goes with it. */
int agent_new(const char *config_path, bool may_miss, struct agent **ret, struct errbuf *e);
void agent_log_requests(struct agent *a); /* before it runs: a line for each call that ends */
void agent_run(struct agent *a);          /* until SIGTERM or SIGINT has drained it */
void agent_free(struct agent *a);         /* stops all threads; what is settled is in the spool */

#endif
