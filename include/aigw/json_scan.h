/* JSON in place, without a tree: the hot path's view of a body (RFC 8259). Validates the whole text
 * while it reports the members of the top level; strings are skipped 16 bytes at a time. Depth is
 * limited to 128. Pure; any thread; allocates nothing. */
#ifndef AIGW_JSON_SCAN_H
#define AIGW_JSON_SCAN_H

#include <aigw/buf.h>

#define JSCAN_DEPTH_MAX 128

enum jscan_kind {
	JSCAN_OBJECT,
	JSCAN_ARRAY,
	JSCAN_STRING,
	JSCAN_NUMBER,
	JSCAN_TRUE,
	JSCAN_FALSE,
	JSCAN_NULL
};

struct jscan_member {
	struct slice key;   /* raw bytes between the quotes */
	struct slice value; /* raw text of the value, quotes of a string included */
	enum jscan_kind kind;
	bool key_escaped;   /* the key holds a backslash: compare with jscan_key_is only */
	bool value_escaped; /* a string value that holds a backslash */
};

/* Called for each member in order; non-zero stops the scan and is returned. */
typedef int jscan_member_fn(void *arg, const struct jscan_member *m);

/* `text` must be one object with optional white space around it. 0; -EINVAL: not valid JSON or not
 * an object (*ret_offset: byte where it went wrong; ret_offset may be NULL); else what fn returned.
 * fn may be NULL: validate only. Members are reported before what follows them is validated. */
int jscan_object(struct slice text, jscan_member_fn *fn, void *arg, size_t *ret_offset);

/* The same into objects below, in one pass. Each object is reported where it begins (m->value is
 * empty and stands there) and is walked if fn returns JSCAN_ENTER, its members at depth + 1; else
 * it is skipped. The top level is depth 0; fn enters nothing from JSCAN_ENTER_MAX on. */
#define JSCAN_ENTER     INT32_MAX
#define JSCAN_ENTER_MAX 8
typedef int jscan_deep_fn(void *arg, unsigned depth, const struct jscan_member *m);
int jscan_deep(struct slice text, jscan_deep_fn *fn, void *arg, size_t *ret_offset);

/* The elements of an array, same rules; m->key is empty. */
int jscan_array(struct slice text, jscan_member_fn *fn, void *arg, size_t *ret_offset);

/* Compares the decoded key: "mod\u0065l" is "model". */
COLD bool jscan_escaped_key_is(const struct jscan_member *m, struct slice name);
static inline bool jscan_key_is(const struct jscan_member *m, struct slice name)
{
	return LIKELY(!m->key_escaped) ? slice_eq(m->key, name) : jscan_escaped_key_is(m, name);
}

/* First top-level member of that name; what follows it is not looked at. 0, -ENOENT, -EINVAL. */
int jscan_find(struct slice object, struct slice name, struct jscan_member *ret);

/* An integer value that fits; -EINVAL for anything else (fraction, exponent, other kinds). "3.0"
 * is 3. */
int jscan_int(const struct jscan_member *m, int64_t *ret);

/* Decodes a string value (raw, with quotes) into b. -EINVAL: lone surrogate or not a string;
 * -ENOBUFS. */
int jscan_string(struct slice raw, struct buf *b);

/* jscan_tap: the same over a body that arrives in pieces, in constant memory. Watches for members
 * by path and keeps the raw text of the latest match of each (up to JSCAN_TAP_VALUE_MAX bytes; a
 * longer one leaves none). It doesn't validate; on a malformed body it simply finds nothing. Keys
 * match decoded, as far as they are ASCII. */
#define JSCAN_TAP_PATHS     4
#define JSCAN_TAP_VALUE_MAX 4096
#define JSCAN_TAP_KEY_MAX   32

struct jscan_tap_path {
	struct slice outer; /* e.g. "response"; empty: the member stands on the top level */
	struct slice name;  /* e.g. "usage" */
};

struct jscan_tap {
	const struct jscan_tap_path *paths;
	unsigned n_paths;
	struct buf value[JSCAN_TAP_PATHS]; /* raw text of the latest match; empty: none, or not
					      whole yet */
	/* private */
	size_t partial[JSCAN_TAP_PATHS]; /* bytes of a value that is not whole yet */
	uint32_t depth;
	uint8_t state;
	uint8_t open[2]; /* bit per path: its value is being copied; top level, inside outer */
	uint8_t pending; /* bit per path: matches the last key */
	uint8_t outer;   /* bit per path: the value at hand is its outer object */
	uint8_t key_n;   /* above JSCAN_TAP_KEY_MAX: matches nothing */
	uint8_t hex_n;
	bool key_next;     /* the next string is a key */
	bool value_next;   /* the next token is a member's value */
	bool scalar;       /* inside a number or literal */
	bool inner_object; /* depth 2 is an object */
	uint16_t hex;
	char key[JSCAN_TAP_KEY_MAX];
};

/* At most JSCAN_TAP_PATHS paths, names of at most JSCAN_TAP_KEY_MAX bytes; they must outlive the
 * tap. */
void jscan_tap_init(struct jscan_tap *t, const struct jscan_tap_path *paths, unsigned n_paths);
void jscan_tap_feed(struct jscan_tap *t, const char *p, size_t n);
/* Has a top-level object begun whose end has not come? Not of a body that is malformed: the tap has
 * given that up. */
bool jscan_tap_is_open(const struct jscan_tap *t);
void jscan_tap_fini(struct jscan_tap *t);

#endif
