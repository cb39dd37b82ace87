/* Calls that have ended, for people who watch: what `tail` and `events` show of each, copied out of
 * its slot when it is settled. Every call is kept, whether somebody watches or not, so that the
 * last ones can be looked at after the fact; the ring bounds them. */
#ifndef AGENTD_ACCOUNT_FINISHED_H
#define AGENTD_ACCOUNT_FINISHED_H

#include "account/inflight.h"
#include "stats/line_ring.h"

#include <aigw/buf.h>

enum finished_text {
	FINISHED_project,
	FINISHED_model,
	FINISHED_provider,
	FINISHED_key,
	FINISHED_fail,
	FINISHED_failed, /* the provider of the first try that came to nothing */
	FINISHED_TEXTS
};

struct finished {
	int64_t start_us, duration_us, first_byte_us; /* wall; the others since the start */
	int64_t input_tokens, cached_input_tokens, output_tokens, cost_nano;
	int64_t uid; /* plus one; 0: none */
	uint16_t status;
	uint8_t outcome;
	bool priced, stream, estimated;
	uint8_t tries;         /* that came to nothing */
	uint8_t first_failure; /* of these the first's; 0: by status, as struct trace_try has it */
	uint16_t first_status;
	uint8_t op_id[16];
	uint8_t text_n[FINISHED_TEXTS];
	char text[LINE_MAX_BYTES - 112]; /* one behind the other; only what is used is copied */
};

/* Tries that came to nothing, as the request knows them. */
struct finished_tries {
	struct slice provider; /* of the first */
	uint16_t status;
	uint8_t n, failure;
};

/* Takes it out of the slot; at most max bytes, for which texts are cut. tries NULL: none. Returns
 * how many. */
size_t finished_fill(
	struct finished *f, const struct slot *s, const struct finished_tries *tries, size_t max);
/* The slot's worker, before the slot goes to the committer. */
void finished_post(
	struct line_ring *ring, const struct slot *s, const struct finished_tries *tries);

/* Reader: what line_ring_read() gave. False: it is none. */
bool finished_read(struct slice bytes, struct finished *ret);
struct slice finished_text(const struct finished *f, enum finished_text which);
int64_t finished_end_us(const struct finished *f); /* wall */

#endif
