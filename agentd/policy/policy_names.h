/* The inside of a compiled policy: shared by policy.c (look-ups, no allocation) and policy_build.c
 * (makes it) only. Written once by policy_build(), read by any thread after. */
#ifndef AGENTD_POLICY_POLICY_NAMES_H
#define AGENTD_POLICY_POLICY_NAMES_H

#include "policy/policy.h"

#include <aigw/hash.h>

struct policy_name {
	UT_hash_handle hh;
	uint32_t index; /* of the model or project */
};

/* An identity with its names resolved; by index of doc->identities. */
enum policy_match { RULE_NEVER, RULE_UID, RULE_GID, RULE_UNIT };

struct policy_rule {
	enum policy_match match;
	uint32_t id; /* uid or gid */
};

struct policy_names {
	struct policy_name *models; /* tables: names and aliases */
	struct policy_name *projects;
	struct policy_name *entries; /* memory of both */
	struct policy_rule *rules;
	bool wants_unit;
	/* Projects that list their models have a row of bits each, one per model. */
	uint64_t *may;
	uint32_t *may_row; /* by project */
	size_t may_words;  /* of a row */
};

void policy_destroy(struct policy *p); /* policy_build.c; no reference is left */

#endif
