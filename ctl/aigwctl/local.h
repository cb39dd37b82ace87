/* The control socket of this host's agent, as the verbs use it: one call, or an answer that goes
 * on, read line by line. One thread. */
#ifndef AIGWCTL_LOCAL_H
#define AIGWCTL_LOCAL_H

#include "cli.h"

#include <aigw/buf.h>
#include <aigw/json.h>

/* The answer's text, whatever it is; EXIT_DONE, or an exit code whose sentence has been said. */
int local_text(const struct cli *c, const char *method, const char *target, struct slice body,
	struct buf *ret);
/* The same as a JSON value. */
int local_call(const struct cli *c, const char *method, const char *target, struct slice body,
	json_t **ret);
/* GET; what is not there is EXIT_DONE with NULL, and nothing is said. */
int local_find(const struct cli *c, const char *target, json_t **ret);
/* Likewise; of an agent that isn't there nothing is said either: EXIT_UNREACHABLE. */
int local_find_if_there(const struct cli *c, const char *target, json_t **ret);
/* Each object of an answer of JSON lines goes to `each`, which returns an exit code: other than
 * EXIT_DONE ends it. `endless`: until it is interrupted or the agent ends. */
int local_lines(struct cli *c, const char *target, bool endless,
	int (*each)(struct cli *c, json_t *line, void *owner), void *owner);

#endif
