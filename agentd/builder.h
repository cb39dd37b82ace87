/* Turns what arrives (policy, credentials, settings) into rules, as jobs of the committer thread,
 * which may wait for a disk. Holds the newest of each, so that whatever comes in whatever order the
 * rules built last are the newest of everything. */
#ifndef AGENTD_BUILDER_H
#define AGENTD_BUILDER_H

#include "account/committer.h"
#include "policy/keyset.h"
#include "request/rules.h"
#include "route/health.h"

#include <aigw/mailbox.h>

struct builder {
	/* Committer thread's, after builder_start. */
	struct policy *policy; /* NULL: none yet */
	struct secret_set *secrets;
	struct tls_trust *trust;
	const char *state_dir, *credentials_dir;
	char secrets_dir[4096];
	const struct proxy *proxy; /* NULL: none */
	/* For answers. */
	struct committer *committer;
	struct keyset *keyset;
	struct stats *stats;
	struct health *health;
	struct capacities *capacities;
	struct mailbox *mailbox; /* the control loop's */
	void *owner;
	/* Control loop: rules (a reference handed over) or NULL with a sentence. revision 0: not by
	 * a policy. */
	void (*built)(struct rules *rules, uint64_t revision, const char *why, void *owner);
	void (*keys_stored)(uint64_t seq, int err, const char *why, void *owner);
	void (*secret_stored)(
		struct slice name, uint64_t version, int err, const char *why, void *owner);
};

/* At start, on the main thread: credentials and the cached policy. Rules may be NULL: no policy
 * yet. */
int builder_start(struct builder *b, struct rules **ret_rules, struct errbuf *e);
void builder_fini(struct builder *b);

/* Control loop: each copies what it is given. Answered once, later or, when there is no memory for
 * it, from inside the call. */
void builder_policy(struct builder *b, uint64_t revision, struct slice packed);
void builder_keys(struct builder *b, bool snapshot, struct slice realm, uint64_t seq,
	const struct slice *records, uint32_t n);
void builder_secret(struct builder *b, struct slice name, uint64_t version, struct slice bytes);
void builder_reload(struct builder *b, const char *secrets_dir);

#endif
