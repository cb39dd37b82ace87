/* HTTP/1.1 heads and body framing (RFC 9112): llhttp in strict mode, wrapped, plus every check that
 * the packaged llhttp (8.1.0) lacks, so that no message is understood in two ways. The only user of
 * llhttp. Of a head it reads what frames the message; every byte of the rest is checked here.
 *
 * Use: collect bytes until h1_head_end() finds the empty line, then h1_begin() over exactly the
 * head; then h1_body() over what follows until it says done. Bytes after the message are never
 * looked at. Pure: no I/O, no allocation; one owner, one thread. Slices point into the caller's
 * bytes. */
#ifndef AIGW_H1_H
#define AIGW_H1_H

#include <aigw/buf.h>
#include <llhttp.h>

#define H1_MAX_FIELDS     100
#define H1_MAX_HEAD_BYTES 65536

enum h1_role { H1_REQUEST, H1_RESPONSE };

/* What is wrong with a message; texts by h1_error_text(). */
enum h1_error {
	H1_OK = 0,
	H1_BAD_SYNTAX = -1,    /* 400 */
	H1_BAD_HEAD_SIZE = -2, /* 431: more than H1_MAX_HEAD_BYTES or H1_MAX_FIELDS */
	H1_BAD_HOST = -3,      /* 400: none, several, or malformed Host */
	H1_BAD_FRAMING = -4,   /* 400: coding not exactly "chunked", on 1.0, or with a length */
	H1_BAD_TARGET = -5,    /* 400: not origin-form ("*" only with OPTIONS) */
	H1_BAD_CHUNK = -6,     /* 400: chunk extension, trailer field that frames, bad size */
	H1_BAD_VERSION = -7,   /* 400/505: not HTTP/1.0 or 1.1 */
	H1_BAD_UPGRADE = -8,   /* 426: CONNECT or Upgrade */
	/* 400: obs-fold, empty name, underscore twin of a framing field, a byte that is no text */
	H1_BAD_FIELD = -9,
};

struct h1_field {
	struct slice name;
	struct slice value; /* trimmed */
};

struct h1_head {
	/* request */
	struct slice method;
	struct slice target; /* as sent, origin-form: "/v1/models?x=y" */
	struct slice path;   /* before '?' */
	struct slice query;  /* behind '?', may be empty */
	/* response */
	uint16_t status;
	uint8_t minor;   /* HTTP/1.minor */
	bool keep_alive; /* this message allows the connection to go on */
	bool chunked;
	bool has_length;
	bool has_body; /* request: length > 0 or chunked; response: by status and framing */
	bool expect_continue;
	bool until_close; /* response: the body ends with the connection */
	uint64_t length;  /* content-length, valid if has_length */
	uint16_t n_fields;
	struct h1_field fields[H1_MAX_FIELDS];
};

enum h1_mode { H1_NO_BODY, H1_LENGTH, H1_CHUNKED, H1_UNTIL_CLOSE };

#define H1_TRAILER_MAX_BYTES  8192
#define H1_TRAILER_NAME_BYTES 18 /* one more than the longest name that frames */

/* Parser state that lives as long as the message (about 150 bytes). Callers read `done` only. */
struct h1 {
	llhttp_t parser;
	union {
		struct h1_head *head; /* only during h1_begin */
		char *out;            /* only during h1_body: where the content is gathered */
	};
	union {
		uint64_t left; /* H1_LENGTH: bytes to come */
		size_t out_n;  /* H1_CHUNKED: bytes gathered in this call */
	};
	bool done;
	bool in_head;
	bool at_chunk; /* llhttp waits for the first byte of a chunk's size */
	uint8_t role;
	uint8_t mode;
	int8_t error;
	uint8_t name_n; /* trailer: name so far, cut at its limit */
	uint16_t trailer_n;
	char name[H1_TRAILER_NAME_BYTES];
};

/* Length of the head including its empty line, 0 if not whole yet; `*scanned` remembers progress
 * between calls (start with 0). Only CRLF CRLF ends a head; a head whose first bytes can't begin
 * one, or that holds a bare LF line end, is H1_BAD_SYNTAX (negative) at once; longer than
 * H1_MAX_HEAD_BYTES is H1_BAD_HEAD_SIZE. */
ssize_t h1_head_end(const char *p, size_t n, size_t *scanned);

/* Parses a whole head into *head. H1_OK or what is wrong. `head_request`: for responses to HEAD. */
enum h1_error h1_begin(struct h1 *h, enum h1_role role, bool head_request, const char *p, size_t n,
	struct h1_head *head);

/* Body bytes: decodes in place (chunk framing removed, the content moved together to the front of
 * p). *ret_used: bytes of p that belong to this message; *ret_content: bytes of content now at p.
 * h->done: the message is complete. H1_OK or what is wrong (then both are 0 and the message is
 * lost). */
enum h1_error h1_body(struct h1 *h, char *p, size_t n, size_t *ret_used, size_t *ret_content);

/* The connection ended: H1_OK if the message may end so (until_close or done), or else
 * H1_BAD_SYNTAX. */
enum h1_error h1_eof(struct h1 *h);

/* RFC 9110 5.6.2 and 5.5: a field name, and a value (bytes from 0x80 only with obs_text). */
bool h1_is_token(struct slice s);
bool h1_is_value(struct slice s, bool obs_text);

/* Is the name of a field that was read that literal (in lower case)? Of the bytes of tokens the
 * folding changes letters, '^' and '_' only, the latter two into bytes that no such literal holds.
 */
#define h1_name_is(name, lower) h1_name_eq(name, "" lower, sizeof(lower) - 1)
static inline __attribute__((always_inline)) bool h1_name_eq(
	struct slice name, const char *lower, size_t n)
{
	const uint64_t fold = 0x2020202020202020;
	uint64_t a = 0, b = 0, differ = 0;
	size_t at = 0;

	if (name.n != n)
		return false;
	for (; at + 8 <= n; at += 8) {
		memcpy(&a, name.p + at, 8);
		memcpy(&b, lower + at, 8);
		differ |= (a | fold) ^ b;
	}
	if (at < n && n >= 8) { /* some bytes a second time */
		memcpy(&a, name.p + n - 8, 8);
		memcpy(&b, lower + n - 8, 8);
		differ |= (a | fold) ^ b;
	} else {
		for (; at < n; at++)
			differ |= (uint64_t)((name.p[at] | 0x20) ^ lower[at]);
	}
	return !differ;
}

/* First field of that name (case-insensitive), or NULL. */
const struct h1_field *h1_find(const struct h1_head *head, struct slice name);
/* Number of fields of that name. */
unsigned h1_count(const struct h1_head *head, struct slice name);

const char *h1_error_text(enum h1_error e);
unsigned h1_error_status(enum h1_error e); /* 400, 426, 431 or 505 */
const char *h1_reason(unsigned status);    /* "OK", "Not Found" */

/* Choke point: the only function that writes a field into a head. Refuses (-EINVAL, nothing
 * written) names that are no token and values with bytes that could end the line: control bytes but
 * the tab, DEL. */
int h1_write_field(struct buf *b, struct slice name, struct slice value);
/* The same for a value that h1_begin() has read and that nobody has changed since: it was checked
 * there. `name`: from->name, or a literal. */
int h1_write_parsed_field(struct buf *b, struct slice name, const struct h1_field *from);

#endif
