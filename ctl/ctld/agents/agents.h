/* All agents: those connected and those known. An agent is uid + agent id + store id; its name
 * belongs to the uid that used it first, and a second live connection of one name is refused and
 * shown. What is remembered here of an agent is what the admin API tells about it. Messages come in
 * here and are handed on: keys, policy and secrets to feed.c, usage to ingest.c in groups (one
 * commit for all batches of a loop's turn), traces of calls to report/traces.c. Loop's thread. */
#ifndef CTLD_AGENTS_AGENTS_H
#define CTLD_AGENTS_AGENTS_H

#include "agents/ingest.h"
#include "agents/session.h"
#include "report/traces.h"
#include <aigw/prom.h>

#define AGENTS_MAX_SESSIONS      4096
#define AGENTS_MAX_KNOWN         16384
#define AGENT_MAX_SECRETS        256
#define AGENT_MAX_WARNINGS_BYTES 4096
#define AGENT_MAX_FEATURES       256
#define AGENT_DUPLICATE_SHOWN_US                                                                   \
	(60 * USEC_PER_S) /* how long a refused second connection is shown */

struct feed;

struct agent_secret {
	char name[65];
	char source[24]; /* credentials_directory, secrets_dir, cache, none */
	uint64_t version;
};

struct agent {
	struct list node;
	char name[64];
	uint32_t uid;
	uint8_t store_id[16];
	char host[65], version[33];
	uint64_t pid;
	usec first_seen_us, last_seen_us; /* wall */
	struct session *session;          /* NULL: not connected */
	struct ledger_head head;          /* of its present store */
	struct buf features;              /* names, each followed by a NUL */
	/* policy: in force, and the last answer */
	uint64_t revision, answered;
	bool refused;
	char reason[256];
	uint64_t keys_seq;       /* acknowledged */
	uint64_t drains_version; /* likewise */
	/* its last status */
	uint64_t uptime_s, requests, inflight, spool_records, spool_oldest_us;
	int64_t clock_diff_us;
	char durability[16];
	struct agent_secret *secrets;
	unsigned n_secrets;
	struct buf warnings; /* lines */
	/* connections that were turned away */
	usec duplicate_us, turned_away_us; /* wall; 0: never */
	char turned_away[192];
};

/* Since the start. */
struct usage_counts {
	uint64_t records, batches[INGEST_VERDICTS];
	struct buckets commit; /* by usage_commit_bounds */
};

extern const struct bucket_bounds usage_commit_bounds;

struct agents {
	struct usage_counts counts;
	struct loop *loop;
	struct store *store;
	struct feed *feed;
	struct traces *traces;
	uint64_t traces_memory; /* names it in the welcome: another one after each start */
	struct list sessions, known;
	unsigned n_sessions, n_known;
	struct list hellos,
		batches; /* frames that are dealt with at the end of this turn of the loop */
	struct deferred turn;
	struct stream_listener listener;
	char *path;
};

/* Reads the known agents from the store. */
int agents_init(
	struct agents *all, struct loop *l, struct store *s, struct feed *f, struct errbuf *e);
/* At path, or on a socket that the service manager opened and keeps (-1: none). */
int agents_listen(struct agents *all, const char *path, int activated_fd, struct errbuf *e);
void agents_close(
	struct agents *all); /* listener and sessions; then the loop runs on until they are gone */
void agents_fini(struct agents *all);

struct agent *agents_find(struct agents *all, struct slice name); /* NULL: never heard of */
/* up, down, refused, behind, quarantined */
const char *agent_state(const struct agent *a, const struct feed *f);
const struct agent_secret *agent_secret_find(const struct agent *a, const char *name);

/* A frame kept for the end of the turn: a hello (so that the end of the agent's former connection
 * is seen before it), or a batch. */
struct held_frame {
	struct list node;
	struct session *session; /* NULL: gone meanwhile */
	struct agent *agent;     /* of a batch */
	struct arena arena;      /* payload and what it was decoded to */
	struct wire_message m;
	struct ingest_batch batch;
};

/* From agents.c to usage.c: judge and book all held batches, answer them. */
void usage_book(struct agents *all, struct list *frames);

/* From session.c. */
void agents_message(struct session *s, struct slice payload, const struct wire_message *m);
void agents_gone(struct session *s);  /* it is closing */
void agents_freed(struct session *s); /* its memory goes now */

#endif
