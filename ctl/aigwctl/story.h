/* What became of a call, told from the agent's JSON of it. One thread. */
#ifndef AIGWCTL_STORY_H
#define AIGWCTL_STORY_H

#include "cli.h"

#include <aigw/json.h>

/* In the form that was asked for. `brief`: who answered and why, how long it took, what it cost;
 * else line by line. An exit code. */
int story_tell(struct cli *c, const json_t *call, bool brief);

#endif
