/* The usage record: one per call, written by the agent, booked by the controller. Declared once in
 * tbl/usage_fields.h. Encoded: version byte 1, msgpack map {tag: value}, CRC-32C (big-endian) over
 * all before it. Unknown tags are skipped when read; whoever stores a record keeps its bytes. Pure;
 * any thread. */
#ifndef AIGW_USAGE_H
#define AIGW_USAGE_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>

enum usage_outcome {
	USAGE_OK = 1,
	USAGE_CLIENT_GONE,
	USAGE_CUT,
	USAGE_EMPTY,
	USAGE_UNKNOWN,
	USAGE_REFUSED,
	USAGE_FAILED
};
enum usage_endpoint {
	ENDPOINT_none,
	ENDPOINT_chat,
	ENDPOINT_completions,
	ENDPOINT_embeddings,
	ENDPOINT_responses,
	ENDPOINT_moderations,
	ENDPOINT_transcriptions,
	ENDPOINT_translations,
	ENDPOINT_speech,
	ENDPOINT_images,
	ENDPOINT_image_edits,
	ENDPOINT_image_variations
};

struct usage_record {
#define USAGE_INT(tag, name, unit, doc) int64_t name;
#define USAGE_STR(tag, name, max, doc)  struct slice name; /* borrowed */
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
};

#define USAGE_RECORD_MAX_BYTES 2048

int usage_encode(const struct usage_record *r, struct buf *b); /* appends; -ENOBUFS, -ENOMEM */
int usage_decode(struct slice bytes, struct usage_record *ret,
	struct errbuf *e);                                      /* slices point into bytes */
int usage_to_json(const struct usage_record *r, struct buf *b); /* one object, no newline */

const char *usage_outcome_name(int64_t outcome);   /* "ok", ..., "refused" */
const char *usage_endpoint_name(int64_t endpoint); /* "chat", ... */

/* Request id of an operation id: "req_" and 26 characters of Crockford's base32, lower case; 30 in
 * all. */
#define REQUEST_ID_LEN 30
void request_id_format(const uint8_t op_id[16], char out[static REQUEST_ID_LEN + 1]);
int request_id_parse(struct slice text, uint8_t op_id[16]);

/* Chain of a store's records: hash_n = SHA-256(hash_{n-1} ‖ record bytes); 32 zero bytes before the
 * first. (In usage_chain.c; needs libcrypto.) */
void usage_chain_next(uint8_t hash[32], struct slice record);

#endif
