/* The look at a head that does not use llhttp. Private to h1; pure. */
#ifndef AIGW_CODEC_H1_HEAD_H
#define AIGW_CODEC_H1_HEAD_H

#include <aigw/h1.h>

/* What of a head llhttp has to see besides its end. */
struct h1_frame {
	struct slice first;   /* the first line with its CRLF */
	struct slice framing; /* the line of Content-Length or Transfer-Encoding; empty: neither */
};

/* A whole head: each byte of it, each field and all of them together. */
enum h1_error h1_head_read(enum h1_role role, bool head_request, const char *p, size_t n,
	struct h1_head *head, struct h1_frame *ret);

/* Behind the name that begins at p: the first byte that is no token's. `end`: behind a byte that is
 * none. */
const char *h1_scan_token(const char *p, const char *end);

/* Some servers read '_' as '-': to them this is a second Content-Length or Transfer-Encoding. */
bool h1_is_framing_twin(struct slice name);

#endif
