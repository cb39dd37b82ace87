/* Frames between agent and controller: 4-byte big-endian length, then one msgpack array
 * (tbl/wire_messages.h). A frame's structure is checked here byte by byte (every array and map
 * length against the bytes left, depth 16, at most 65,536 items) before msgpack-c builds anything:
 * five bytes can make msgpack-c ask for gigabytes. Pure; any thread. */
#ifndef AIGW_WIRE_H
#define AIGW_WIRE_H

#include <aigw/arena.h>
#include <aigw/buf.h>
#include <aigw/errbuf.h>

#define WIRE_VERSION                1
#define WIRE_MAX_FRAME              (1u << 20)
#define WIRE_MAX_FRAME_BEFORE_HELLO (64u << 10)
#define WIRE_MAX_PART               (256u << 10) /* bytes of a policy or key part */

struct wire_bins {
	struct slice *v;
	uint32_t n;
};

typedef uint64_t wire_u64;
typedef struct slice wire_str;
typedef struct slice wire_bin;
typedef struct wire_bins wire_bins;
typedef struct wire_bins wire_strs;

enum wire_kind {
	WIRE_none,
#define WIRE_MESSAGE(name, method, form) WIRE_##name,
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END
	WIRE_error,   /* the answer of a CALL that was refused */
	WIRE_unknown, /* a notification of a newer peer: to be skipped */
	WIRE_KIND_COUNT
};

#define WIRE_MESSAGE(name, method, form) struct wire_##name {
#define WIRE_FIELD(message, type, name)  wire_##type name;
#define WIRE_END(message)                                                                          \
	}                                                                                          \
	;
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END

struct wire_error {
	struct slice code;    /* "refused", "duplicate_agent", "gap", "fork", "quarantined",
				 "store_unavailable", "unknown_method" */
	struct slice message; /* a sentence */
};

struct wire_message {
	enum wire_kind kind;
	uint32_t id; /* of CALL, RESULT and error */
	enum wire_kind
		of; /* WIRE_error: the call that it answers (set by wire_decode from `expect`) */
	union {
#define WIRE_MESSAGE(name, method, form) struct wire_##name name;
#define WIRE_FIELD(message, type, name)
#define WIRE_END(message)
#include <aigw/tbl/wire_messages.h>
#undef WIRE_MESSAGE
#undef WIRE_FIELD
#undef WIRE_END
		struct wire_error error;
	};
};

/* Appends a whole frame, length included. 0, -EMSGSIZE (over WIRE_MAX_FRAME), -ENOMEM. */
int wire_encode(const struct wire_message *m, struct buf *b);

/* The first frame in p: its payload's length (the frame takes 4 more bytes), 0 if not whole yet,
 * -EMSGSIZE if it claims more than `max`, or nothing at all. */
ssize_t wire_frame(const char *p, size_t n, size_t max);

/* Decodes a payload. Slices point into it, lists into the arena. A RESULT is typed by the call it
 * answers: `expect` is the RESULT kind of the caller's only outstanding call (WIRE_none: none
 * outstanding); the caller compares ret->id. -EBADMSG or -ENOMEM with a sentence; -ENOSYS: a CALL
 * of a method that is unknown here, ret->id is set for the answer. */
int wire_decode(struct slice payload, enum wire_kind expect, struct arena *a,
	struct wire_message *ret, struct errbuf *e);

/* The structural check alone (also the fuzz target's entry). */
int wire_check(struct slice payload, struct errbuf *e);

#endif
