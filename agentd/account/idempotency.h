/* Idempotency keys of a host: which call had a key first, in a MAP_SHARED file in the runtime
 * directory, so that neither another worker nor a restart of the program forgets it. Of a call
 * there are hashes, its request id and a time, nothing else.
 *
 * A table of fixed size: a key has IDEMPOTENCY_WAYS places. A key is kept while its call runs and
 * for IDEMPOTENCY_KEEP_US after; where all its places are taken, the one that ended first gives
 * way once it is IDEMPOTENCY_YOUNG_US old. Younger ones never do: then there is no room.
 *
 * Any thread. A claim holds a lock over the places of its key, for as long as it takes to look at
 * them: no syscall, no allocation. The file is held by an exclusive lock. */
#ifndef AGENTD_ACCOUNT_IDEMPOTENCY_H
#define AGENTD_ACCOUNT_IDEMPOTENCY_H

#include <aigw/errbuf.h>

#define IDEMPOTENCY_KEYS     (1u << 18) /* 16 MiB when all are taken */
#define IDEMPOTENCY_WAYS     16
#define IDEMPOTENCY_KEEP_US  (24 * 3600 * USEC_PER_S)
#define IDEMPOTENCY_YOUNG_US (600 * USEC_PER_S)
#define IDEMPOTENCY_NONE     UINT32_MAX

struct idempotency;

struct idempotency_key {
	uint8_t hash[16]; /* of who calls and the key; evenly spread */
	uint64_t body_hash, body_n;
};

enum idempotency_verdict {
	IDEMPOTENCY_FIRST,    /* the key is this call's until idempotency_end() */
	IDEMPOTENCY_REPEATED, /* another call has it, or had it */
	IDEMPOTENCY_DIFFERS,  /* likewise, with another body */
	IDEMPOTENCY_FULL,
};

struct idempotency_earlier {
	uint8_t op_id[16];
	bool runs;
};

/* Opens or creates RUNTIME_DIR/idempotency. What a file of another format held is forgotten.
 * -EBUSY: another agent holds it; -EBADMSG: it is something else; each with a sentence. */
int idempotency_open(const char *runtime_dir, struct idempotency **ret, struct errbuf *e);
void idempotency_close(struct idempotency *t);

/* `now`: of the wall clock, which a restart doesn't set back. *ret_place is for idempotency_end(),
 * or IDEMPOTENCY_NONE; *ret_earlier is set where another call has the key. */
enum idempotency_verdict idempotency_claim(struct idempotency *t, const struct idempotency_key *key,
	const uint8_t op_id[static 16], usec now, uint32_t *ret_place,
	struct idempotency_earlier *ret_earlier);
/* Once for each that was claimed. `forget`: nothing of the call has reached a provider. */
void idempotency_end(struct idempotency *t, uint32_t place, usec now, bool forget);

#endif
