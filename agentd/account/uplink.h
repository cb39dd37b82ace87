/* The agent's one connection to the controller (unix socket, msgpack frames): hello, policy and
 * keys coming in, usage going out in sequence order, status, traces of calls that failed or fell
 * back when nothing else has to go out, reconnect with full jitter (100 ms .. 10 s). Control loop's
 * thread. It decides nothing: what arrives goes to the owner, who answers with
 * uplink_policy_result() and uplink_keys_ack(). Usage batches are read by committer jobs; at most 4
 * are on their way. */
#ifndef AGENTD_ACCOUNT_UPLINK_H
#define AGENTD_ACCOUNT_UPLINK_H

#include "account/committer.h"
#include "stats/line_ring.h"
#include <aigw/loop.h>
#include <aigw/mailbox.h>
#include <aigw/wire.h>

struct uplink;

enum uplink_state { UPLINK_OFF, UPLINK_RETRYING, UPLINK_CONNECTED };

struct uplink_config {
	struct loop *loop;
	struct mailbox *mailbox; /* the control loop's: committer jobs answer through it */
	struct committer *committer;
	struct spool *spool;    /* for store_id and gauges only */
	const char *controller; /* "unix:PATH" or "off" */
	const char *agent_id;
	void *owner;
	/* Filled in for every hello, except wire_version, agent_id and store_id. What it points to
	 * stays until the next call. */
	void (*hello)(struct wire_hello *h, void *owner);
	/* Filled in for every agent_status, except spool_records, spool_oldest_us and wall_us. As
	 * hello. */
	void (*status)(struct wire_agent_status *s, void *owner);
	/* Slices of these four are borrowed until they return. */
	void (*policy)(
		uint64_t revision, struct slice packed, void *owner); /* whole, digest verified */
	/* Whole snapshot, digest verified, or a change whose seq is known to follow. */
	void (*keys)(bool snapshot, struct slice realm, uint64_t seq, const struct slice *records,
		uint32_t n, void *owner);
	void (*secret)(struct slice name, uint64_t version, struct slice bytes, void *owner);
	/* Of calls that failed or fell back (struct trace), and an entry as JSON text with the
	 * call's id; false: it is none. */
	const struct line_ring *troubled;
	bool (*trace)(struct slice entry, struct buf *json, uint8_t op_id[static 16]);
	void (*drains)(uint64_t version, const struct slice *lines, uint32_t n, void *owner);
	/* It changed; why: a sentence, "" if all is well. CONNECTED with a sentence: policy and
	 * keys come in, but the controller does not take usage (the store is quarantined or was
	 * rolled back). */
	void (*state)(enum uplink_state st, const char *why, void *owner);
};

/* Events come from the loop only. The config is copied; what it points to stays until `closed`. */
int uplink_start(const struct uplink_config *c, struct uplink **ret, struct errbuf *e);
/* Asynchronous: waits for its committer jobs, so committer and mailbox live until `closed`. */
void uplink_close(struct uplink *u, void (*closed)(void *owner));
enum uplink_state uplink_state(const struct uplink *u);

/* Said to the controller if it is connected; else the next hello says it. */
void uplink_policy_result(struct uplink *u, uint64_t revision, bool ok, const char *reason);
void uplink_keys_ack(struct uplink *u, uint64_t seq);
void uplink_keys_resync(struct uplink *u, uint64_t have_seq);
void uplink_drains_ack(struct uplink *u, uint64_t version);
void uplink_secret_ack(struct uplink *u, struct slice name, uint64_t version, const char *source);
void uplink_committed(struct uplink *u, uint64_t last_seq); /* new records may be sent */
void uplink_status_now(struct uplink *u);

#endif
