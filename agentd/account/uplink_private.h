/* The parts of the uplink: connection and life (uplink.c), frames (uplink_frames.c), policy and key
 * sets that come in parts (uplink_parts.c), usage going out (uplink_usage.c), traces going out
 * (uplink_traces.c). Only for these files; control loop's thread, except the jobs. */
#ifndef AGENTD_ACCOUNT_UPLINK_PRIVATE_H
#define AGENTD_ACCOUNT_UPLINK_PRIVATE_H

#include "account/uplink.h"
#include <aigw/digest.h>
#include <aigw/stream.h>
#include <sys/un.h>

#define UPLINK_BATCHES          4 /* on their way */
#define UPLINK_BATCH_RECORDS    500
#define UPLINK_BATCH_BYTES      (512u << 10)
#define UPLINK_MAX_POLICY_BYTES (8u << 20)
#define UPLINK_MAX_KEYS         (2u << 20)
#define UPLINK_MAX_KEYS_BYTES   ((size_t)1 << 30)
#define UPLINK_MAX_KEY_BYTES    2048

/* CLOSED -> CONNECTING -> GREETING (hello sent) -> UP; any -> LEAVING -> CLOSED (and again after a
 * pause). */
enum uplink_phase { PHASE_CLOSED, PHASE_CONNECTING, PHASE_GREETING, PHASE_UP, PHASE_LEAVING };

struct uplink_policy_parts {
	bool begun;
	uint64_t revision, total;
	uint8_t digest[DIGEST_BYTES];
	struct buf bytes;
};

struct uplink_key_parts {
	bool begun;
	uint8_t realm[16];
	uint64_t seq, total;
	uint8_t digest[DIGEST_BYTES];
	struct buf bytes;
	uint32_t *lens;
	uint32_t n, cap;
};

/* A reading of the spool by the committer; the mail brings it back. */
struct uplink_reading {
	struct committer_job job;
	struct mail mail;
	struct mailbox *mailbox;
	bool busy;
	uint64_t connection; /* it was asked for; another has no use for it */
	uint64_t seq;
	struct buf bytes;
	uint32_t lens[UPLINK_BATCH_RECORDS];
	unsigned n;
	uint8_t prev_hash[32], hash[32];
	int result;
	struct errbuf error;
};

struct uplink_acknowledging {
	struct committer_job job;
	struct mail mail;
	struct mailbox *mailbox;
	bool busy;
	uint64_t high_water;
};

struct uplink_batch { /* on its way */
	uint32_t id;
	uint64_t last_seq;
	uint8_t hash[32];
};

struct uplink {
	struct uplink_config cfg;
	char *agent_id;
	struct sockaddr_un addr; /* family 0: off */
	uint8_t store_id[16];
	enum uplink_state state;
	char why[256]; /* last told to the owner */
	void (*closed)(void *owner);

	/* uplink.c */
	struct stream_plain stream;
	enum uplink_phase phase;
	uint64_t connection; /* number of the present or last one */
	unsigned attempts;   /* without success in a row */
	usec up_since_us;
	bool closing, breaking;
	char broken[256]; /* why the connection is given up */
	struct deferred give_up, finish;
	struct deadline retry, answer_by, status_by;

	/* uplink_frames.c */
	struct buf in, out;
	uint32_t next_id;
	uint32_t hello_id;

	/* uplink_parts.c */
	struct uplink_policy_parts policy;
	struct uplink_key_parts keys;
	uint64_t keys_seq; /* given to the owner */
	bool resync_asked;

	/* uplink_usage.c */
	uint64_t next_seq;   /* to be read */
	uint64_t high_water; /* of the controller */
	uint8_t chain[32];   /* its chain there */
	bool usage_on;       /* batches may be read: welcomed, and not refused */
	bool chain_checked;
	bool rolled_back; /* the controller knows more or other records: nothing is dropped */
	bool rolled_back_logged;
	struct uplink_reading reading;
	struct uplink_acknowledging acknowledging;
	uint64_t acknowledged; /* asked of the spool */
	struct uplink_batch batches[UPLINK_BATCHES];
	unsigned n_batches;
	struct deadline coalesce;
	struct slice records[UPLINK_BATCH_RECORDS];

	/* uplink_traces.c */
	uint64_t traces_of;              /* the controller's memory; 0: it takes none */
	uint64_t next_trace, last_frame; /* of the ring; the latter: where the last frame began */
	uint64_t traces_lost;
	struct deadline traces_by;
};

/* --- uplink.c --- */
/* Gives the connection up at the end of this turn of the loop and tries again after a pause. The
 * first reason counts. */
PRINTF_LIKE(2, 3) void uplink_break(struct uplink *u, const char *fmt, ...);
/* The connection is up; the sentence, if any, says what is wrong with it all the same. */
void uplink_up(struct uplink *u, const char *why);
void uplink_await_answer(struct uplink *u); /* the time runs anew; off if nothing is awaited */
void uplink_retry_in(
	struct uplink *u, usec span); /* the connection is kept so long, then begun anew */
void uplink_job_returned(struct uplink *u);

/* --- uplink_frames.c --- */
void uplink_send(struct uplink *u, const struct wire_message *m);
uint32_t uplink_id(struct uplink *u); /* for the next call */
void uplink_send_hello(struct uplink *u);
void uplink_send_status(struct uplink *u);
void uplink_data(struct uplink *u, char *p, size_t n);

/* --- uplink_parts.c --- */
void uplink_take_policy(struct uplink *u, const struct wire_policy_part *p);
void uplink_take_keys(struct uplink *u, const struct wire_keys_part *p);
void uplink_take_change(struct uplink *u, const struct wire_keys_change *c);
void uplink_parts_drop(struct uplink *u); /* what was begun is forgotten, its memory freed */

/* --- uplink_usage.c --- */
void uplink_usage_init(struct uplink *u);
void uplink_usage_begin(struct uplink *u, const struct wire_welcome *w);
void uplink_usage_done(struct uplink *u, uint32_t id, const struct wire_usage_done *d);
void uplink_usage_refused(struct uplink *u, const struct wire_error *e);
void uplink_usage_end(struct uplink *u); /* the connection is gone */
void uplink_usage_pump(struct uplink *u);

/* --- uplink_traces.c --- */
void uplink_traces_init(struct uplink *u);
void uplink_traces_begin(struct uplink *u, const struct wire_welcome *w);
void uplink_traces_look(struct uplink *u); /* there may be new ones */
void uplink_traces_end(struct uplink *u);  /* the connection is gone */

#endif
