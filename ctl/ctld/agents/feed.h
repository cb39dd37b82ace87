/* What goes out to all agents: policy, keys, secrets, drains; each acknowledged apart. Someone who
 * changed one of them may wait until every connected agent has it. Loop's thread. */
#ifndef CTLD_AGENTS_FEED_H
#define CTLD_AGENTS_FEED_H

#include "agents/agents.h"

#include <aigw/drain.h>

struct feed {
	struct agents *agents;
	struct store *store;
	struct published
		*policy;    /* in force; NULL: none yet, or the stored one is of a newer version */
	char unusable[256]; /* why that one can't be used; agents keep what they have */
	uint64_t keys_seq;  /* last change */
	struct key_snapshot *snapshot; /* at keys_seq, if one was needed since the last change */
	struct drains drains;          /* may hold some that are over */
	uint64_t drains_version;
	struct list waits;
	struct deferred check;
};

int feed_init(struct feed *f, struct agents *all, struct store *s, struct errbuf *e);
void feed_fini(struct feed *f);

/* Something changed: everyone connected gets it. */
void feed_policy(struct feed *f, struct published *p); /* takes the reference */
void feed_key(struct feed *f, uint64_t seq, struct slice record);
void feed_drains(struct feed *f, const struct drains *all, uint64_t version);
void feed_secret(struct feed *f, struct slice name, uint64_t version, struct slice value);

/* From agents.c: an agent is there and needs what it lacks; what it acknowledged. */
void feed_hello(struct feed *f, struct agent *a, const struct wire_hello *h);
void feed_policy_result(struct feed *f, struct agent *a, const struct wire_policy_result *r);
void feed_keys_ack(struct feed *f, struct agent *a, uint64_t seq);
void feed_keys_resync(struct feed *f, struct agent *a);
void feed_drains_ack(struct feed *f, struct agent *a, uint64_t version);
void feed_secret_ack(struct feed *f, struct agent *a, const struct wire_secrets_ack *ack);
void feed_changed(struct feed *f); /* an agent came or went: waits may be over */

/* A wait ends when `met` says so, at its deadline, or by feed_wait_stop(), and then calls done from
 * the loop. */
struct feed_wait {
	struct list node;
	struct feed *feed;
	struct deadline until;
	bool (*met)(struct feed_wait *w);
	void (*done)(struct feed_wait *w);
};
void feed_wait_start(struct feed *f, struct feed_wait *w, usec timeout_us);
void feed_wait_cancel(struct feed_wait *w); /* done is not called */
void feed_waits_end(struct feed *f);        /* at shutdown: all are done now */

/* The first feature of the document that the agent lacks; empty: none. */
struct slice feed_feature_lacking(const struct agent *a, const struct policy_doc *doc);

/* How an agent stands to a revision, a key sequence, a secret. */
const char *feed_policy_state(
	const struct agent *a, uint64_t revision); /* applied, refused, pending, offline */
const char *feed_keys_state(const struct agent *a, uint64_t seq); /* confirmed, pending, offline */
const char *feed_drains_state(
	const struct agent *a, uint64_t version); /* confirmed, pending, offline */
const char *feed_secret_state(
	const struct agent *a, const char *name, uint64_t version); /* + shadowed */

#endif
