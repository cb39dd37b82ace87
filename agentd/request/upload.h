/* A multipart body on its way: kept in r->body until the field `model` is known, from then on
 * handed through, so that only what is behind it is ever held. Where the file comes first, all of
 * it is held; memory for the whole is then taken at once, or waited for, so that uploads that hold
 * a part never wait for each other. Owned by its request; only for the files of request/; worker's
 * thread.
 */
#ifndef AGENTD_REQUEST_UPLOAD_H
#define AGENTD_REQUEST_UPLOAD_H

#include "request/request.h"

#include <aigw/multipart.h>

#define UPLOAD_FIRST_BYTES (128u << 10) /* a read fits behind a read */
#define UPLOAD_WAITERS     1024u        /* of one worker; more: 503 */
#define UPLOAD_PATIENCE_US (60 * USEC_PER_S)
#define UPLOAD_LOOK_US     (10 * USEC_PER_MS)

enum upload_phase { UPLOAD_SEEKS, UPLOAD_KNOWS, UPLOAD_RUNS };

struct upload {
	struct multipart mp;
	struct request *request;
	struct list node;              /* env->upload_waiters */
	uint64_t length;               /* announced; 0: chunked */
	uint64_t model_from, model_to; /* of the field's text */
	uint64_t file_bytes;
	uint64_t seen; /* bits of fields that decide: they may not stand twice */
	usec waits_since_us;
	size_t reserved; /* of the memory for uploads */
	size_t covered;  /* of the block, by it: not counted as a body */
	uint8_t phase;
	bool whole, has_room, chunked, must_wait;
	char model_json[MULTIPART_VALUE_MAX + 3];
};

/* From the head: FAIL_bad_request: no usable boundary. length 0: chunked. */
enum fail upload_begin(struct request *r, struct slice content_type, uint64_t length);
void upload_bytes(struct request *r, const char *p, size_t n);
bool upload_goes_on(struct request *r);
bool upload_ends(struct request *r); /* false: it has failed, or nothing is left to be done */
void upload_free(struct request *r);
void upload_sent(struct attempt *a);
unsigned upload_pieces(struct request *r, struct slice model, struct slice *out);
void upload_look(struct deadline *d);

#endif
