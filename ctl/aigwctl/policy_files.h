/* The policy files that a verb works on: those of -f, else the usual ones; read as they are. */
#ifndef AIGWCTL_POLICY_FILES_H
#define AIGWCTL_POLICY_FILES_H

#include "cli.h"

#include <aigw/buf.h>
#include <aigw/json.h>
#include <glob.h>

struct policy_files {
	const char *names[COMMAND_MAX_FILES];
	struct buf texts[COMMAND_MAX_FILES];
	unsigned n;
	glob_t found; /* owns the names if they come from the folder */
};

/* An exit code whose sentence has been said; policy_files_fini() in any case. */
int policy_files_read(const struct cli *c, struct policy_files *f);
void policy_files_fini(struct policy_files *f);
/* [{name, text}] for the admin API. NULL: bytes that no JSON can carry, or no memory; then
 * policy_files_say_why() finds the place and gives the exit code. */
json_t *policy_files_json(const struct policy_files *f);
int policy_files_say_why(const struct cli *c, const struct policy_files *f);

/* Shared by the verbs that make a revision (cmd_policy.c). */
void revision_show_plan(const struct cli *c, FILE *out, const json_t *answer);
void revision_show_warnings(const struct cli *c, const json_t *answer);
int revision_report(const struct cli *c, const json_t *answer, usec took_us);
int revision_base(const struct cli *c, int64_t *ret); /* the running one's number; 0: none */
int revision_ask(const struct cli *c, const char *question);
int revision_flags(const struct cli *c, int64_t *ret_if_revision); /* -1: not given */

#endif
