/* The policy compiled for look-up: immutable after build, counted, shared by all threads. A request
 * takes a reference in identify and drops it in settle. Names resolve to the objects of policy_doc;
 * each also carries its slot in the stats tables. */
#ifndef AGENTD_POLICY_POLICY_H
#define AGENTD_POLICY_POLICY_H

#include <aigw/errbuf.h>
#include <aigw/policy_doc.h>

struct policy_names; /* uthash tables, private */
struct capacity;     /* route/capacity.h */

struct policy {
	_Atomic uint32_t refs;
	uint64_t revision;
	usec applied_us;        /* wall */
	struct policy_doc *doc; /* owned */
	/* Slots in the stats tables by index of doc->models, providers, projects. policy_build
	 * leaves them 0 (the overflow slot); who publishes the policy fills them before. */
	uint32_t *model_stat, *provider_stat, *project_stat;
	/* Places in the table of how targets stand, by index of doc->targets and credentials;
	 * filled likewise. A target whose provider has several credentials has one with each, from
	 * pair_at on; else that is UINT32_MAX. */
	uint32_t *target_place, *credential_place, *pair_place, *pair_at;
	uint32_t *drain_place; /* by doc->targets */
	uint32_t *probe_place; /* by doc->providers: of one that is probed without a credential */
	uint32_t n_pairs;
	/* Counters of what is limited, by index of doc->providers, projects, identities, models;
	 * filled likewise. NULL: no limit; for a model: no queue. */
	struct capacity **provider_calls, **project_calls, **identity_calls, **queue;
	/* By index of doc->providers: bits of its credentials whose secret this host has, as last
	 * loaded. To be shown: what a call may use is in its rules, which come to each worker later
	 * than this. */
	_Atomic uint32_t *found;
	uint64_t *target_hash; /* of its names: the same on every host, whatever else changes */
	struct policy_names *names;
};

/* Takes doc (also on failure). Users and groups of identities are resolved here, by the host's user
 * database: it may block. */
int policy_build(struct policy_doc *doc, uint64_t revision, usec applied_us, struct policy **ret,
	struct errbuf *e);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* any thread; frees at 0 */

/* Places of one target. */
struct policy_places {
	uint32_t target;
	const uint32_t *credentials; /* n */
	const uint32_t *pairs;       /* n; NULL: the target's own */
	uint32_t n;
	uint32_t drain;
	const struct capacity *calls; /* its provider's; NULL: no limit */
	uint32_t concurrency;
};
struct policy_places policy_places_of(const struct policy *p, uint32_t target);
uint32_t policy_found(const struct policy *p, uint32_t provider); /* as it is now */

/* All: index or -1. */
int policy_model(const struct policy *p, struct slice name); /* name or alias */
int policy_project(const struct policy *p, struct slice name);
bool policy_project_may(const struct policy *p, uint32_t project, uint32_t model);
/* Near names for a 404: up to 3 models that this project may use, into out; number found. */
unsigned policy_near_models(
	const struct policy *p, uint32_t project, struct slice asked, struct slice out[3]);

/* Who calls on the unix socket. `unit` is looked up only if some identity names a unit
 * (policy_wants_unit). */
struct policy_peer {
	uint32_t uid, gid;
	const uint32_t *groups; /* supplementary, from SO_PEERGROUPS */
	unsigned n_groups;
	struct slice unit; /* "" if none */
};
bool policy_wants_unit(const struct policy *p);
/* First identity in file order that matches; -1: none. Returns the index of the identity. */
int policy_identify(const struct policy *p, const struct policy_peer *peer);
/* Identities whose user or group this host does not know; they never match. Up to max indexes into
 * out (for a warning); number of all. */
unsigned policy_unknown_identities(const struct policy *p, uint32_t *out, unsigned max);

#endif
