/* multipart/form-data as it comes in (RFC 7578, RFC 2046 section 5.1.1), strictly: what two readers
 * could understand differently is an error, since the gateway prices by one field and the provider
 * serves by it. Nothing is allocated; positions count from the body's first byte. Pure; any thread.
 *
 * Refused besides what the RFCs forbid: a preamble, padding behind a boundary, anything behind the
 * last one; names with other bytes than letters, digits and _ - . [ ]; name*=, doubled parameters
 * or fields, folded lines; a transfer encoding other than 7bit, 8bit, binary; a charset other than
 * UTF-8. */
#ifndef AIGW_MULTIPART_H
#define AIGW_MULTIPART_H

#include <aigw/slice.h>

#define MULTIPART_BOUNDARY_MAX 70
#define MULTIPART_NAME_MAX     64
#define MULTIPART_VALUE_MAX    128  /* of a part's content so much is kept */
#define MULTIPART_HEAD_MAX     2048 /* bytes of one part's fields */
#define MULTIPART_PARTS_MAX    256

enum multipart_event {
	MULTIPART_MORE,     /* all bytes are used */
	MULTIPART_PART,     /* name and is_file are known, content follows */
	MULTIPART_PART_END, /* value, from, to are known */
	MULTIPART_END,      /* the last boundary was seen; nothing may follow but a line end */
	MULTIPART_ERROR,    /* `why` */
};

struct multipart {
	char delimiter[4 + MULTIPART_BOUNDARY_MAX]; /* CR LF - - boundary */
	uint8_t delimiter_n, matched, state, tail;
	uint16_t head_n, name_n, value_n; /* value_n may be MULTIPART_VALUE_MAX + 1: longer */
	uint16_t parts;
	bool is_file, has_type; /* of the present part: a filename; a content type */
	bool type_is_text;
	uint64_t at;       /* bytes fed so far */
	uint64_t from, to; /* the part's content */
	const char *why;
	char name[MULTIPART_NAME_MAX];
	char value[MULTIPART_VALUE_MAX + 1];
	char head[MULTIPART_HEAD_MAX];
};

/* From the value of content-type. False: it is not multipart/form-data, or without a usable
 * boundary. */
bool multipart_begin(struct multipart *m, struct slice content_type);
/* The next event; *used bytes of p were taken. */
enum multipart_event multipart_next(struct multipart *m, const char *p, size_t n, size_t *used);
bool multipart_is_whole(const struct multipart *m); /* may the body end here? */

static inline struct slice multipart_name(const struct multipart *m)
{
	return slice_of(m->name, m->name_n);
}

static inline struct slice multipart_value(const struct multipart *m)
{
	return slice_of(m->value, m->value_n);
}

#endif
