/*
 * request: one HTTP/1.1 request as it arrives, read by llhttp in strict mode. Refuses what a
 * gateway must not send: HTTP/1.0, no or two Host headers, a head over 64 KiB, a body over 64 MiB.
 */
#ifndef SIM_REQUEST_H
#define SIM_REQUEST_H

#include "buf.h"

#include <llhttp.h>

#define REQUEST_HEAD_MAX (64 * 1024)
#define REQUEST_BODY_MAX (64 * 1024 * 1024)

struct request {
	llhttp_t parser;
	struct buf url;
	struct buf head; /* name NUL value NUL ... in order of arrival, spelling kept */
	struct buf body;
	bool begun, whole, wants_continue, keep_alive;
	int refuse; /* status, 0: fine */
};

void request_init(struct request *r);
void request_fini(struct request *r);
/* Reads until the request is whole or the bytes are used up; gives the number of bytes used. */
size_t request_feed(struct request *r, const char *p, size_t n);
void request_next(struct request *r); /* forgets the whole request, ready for the next */
const char *request_method(const struct request *r);
/* Headers in their order: *pos is 0 before the first call. False at the end, also of an unfinished
 * head. */
bool request_header_next(
	const struct request *r, size_t *pos, const char **ret_name, const char **ret_value);
/* First value of a header, by any case; NULL if there is none. */
const char *request_header(const struct request *r, const char *name);

#endif
