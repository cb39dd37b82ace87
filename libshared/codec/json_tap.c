/* The push side: one byte's meaning depends only on `state`, the depth and a few flags, so a body
 * may be cut anywhere.
 *
 *   STRUCTURE --"--> KEY (where a key may stand) or STRING --"--> STRUCTURE
 *   KEY, STRING --\--> their ESCAPE --any--> back; KEY's \u goes through HEX
 *   any --top level closed, top level no object, too deep--> DONE
 *
 * A value that is being copied is kept as `from` (in this piece) and `partial` (of earlier pieces);
 * value[i].n stays 0 until it is whole, so that a body that is cut off never shows half a number.
 */
#include <aigw/json_scan.h>

#include "scan.h"

enum tap_state { STRUCTURE, STRING, STRING_ESCAPE, KEY, KEY_ESCAPE, KEY_HEX, DONE };

struct piece {
	struct jscan_tap *t;
	const char *p;
	const char *end;
	const char *from[2]; /* where the open values of each level go on in this piece */
};

void jscan_tap_init(struct jscan_tap *t, const struct jscan_tap_path *paths, unsigned n_paths)
{
	ASSERT(n_paths <= JSCAN_TAP_PATHS);
	*t = (struct jscan_tap){ .paths = paths, .n_paths = n_paths };
	for (unsigned i = 0; i < n_paths; i++) {
		ASSERT(paths[i].name.n <= JSCAN_TAP_KEY_MAX &&
			paths[i].outer.n <= JSCAN_TAP_KEY_MAX);
		buf_init(&t->value[i], JSCAN_TAP_VALUE_MAX);
	}
}

bool jscan_tap_is_open(const struct jscan_tap *t)
{
	return t->state != DONE && t->depth > 0;
}

void jscan_tap_fini(struct jscan_tap *t)
{
	for (unsigned i = 0; i < t->n_paths; i++) {
		buf_fini(&t->value[i]);
		t->partial[i] = 0;
	}
	t->state = DONE;
}

/* Copies what this piece holds of the open values of a level, up to `to`. */
static void copy_open(struct piece *f, unsigned level, const char *to, bool whole)
{
	struct jscan_tap *t = f->t;

	for (unsigned i = 0; i < t->n_paths; i++) {
		struct buf *b = &t->value[i];

		if (!(t->open[level] >> i & 1))
			continue;
		b->n = t->partial[i];
		(void)buf_append(b, f->from[level], (size_t)(to - f->from[level]));
		t->partial[i] = b->n;
		if (!whole || b->err)
			b->n = 0;
	}
}

static void value_begin(struct piece *f)
{
	struct jscan_tap *t = f->t;
	unsigned level = t->depth - 1;

	t->value_next = false;
	t->scalar = *f->p != '"' && *f->p != '{' && *f->p != '[';
	t->open[level] = t->pending;
	t->pending = 0;
	f->from[level] = f->p;
	for (unsigned i = 0; i < t->n_paths; i++) {
		if (t->open[level] >> i & 1) {
			buf_reset(&t->value[i]);
			t->partial[i] = 0;
		}
	}
}

/* A value that stands at the present depth ends before `to`. */
static void value_end(struct piece *f, const char *to)
{
	struct jscan_tap *t = f->t;
	unsigned level = t->depth - 1;

	t->scalar = false;
	if (t->depth < 1 || t->depth > 2 || !t->open[level])
		return;
	copy_open(f, level, to, true);
	t->open[level] = 0;
}

static bool at_members(const struct jscan_tap *t)
{
	return t->depth == 1 || (t->depth == 2 && t->inner_object);
}

static void key_put(struct jscan_tap *t, const char *p, size_t n)
{
	if (t->key_n > JSCAN_TAP_KEY_MAX || n > (size_t)(JSCAN_TAP_KEY_MAX - t->key_n)) {
		t->key_n = JSCAN_TAP_KEY_MAX + 1;
		return;
	}
	memcpy(t->key + t->key_n, p, n);
	t->key_n = (uint8_t)(t->key_n + n);
}

static void key_end(struct jscan_tap *t)
{
	struct slice key = slice_of(t->key, t->key_n);

	t->state = STRUCTURE;
	t->pending = 0;
	if (t->depth == 1)
		t->outer = 0;
	if (t->key_n > JSCAN_TAP_KEY_MAX)
		return;
	for (unsigned i = 0; i < t->n_paths; i++) {
		const struct jscan_tap_path *path = &t->paths[i];
		uint8_t bit = (uint8_t)(1u << i);

		if (t->depth == 1 && path->outer.n && slice_eq(path->outer, key))
			t->outer |= bit;
		else if ((t->depth == 1 ? path->outer.n == 0 : (t->outer & bit) != 0) &&
			 slice_eq(path->name, key))
			t->pending |= bit;
	}
}

static void container_open(struct jscan_tap *t, bool object)
{
	if (t->depth == JSCAN_DEPTH_MAX || (t->depth == 0 && !object)) {
		t->state = DONE;
		return;
	}
	t->depth++;
	if (t->depth == 2)
		t->inner_object = object;
	t->key_next = object && t->depth <= 2;
}

static void container_close(struct piece *f)
{
	struct jscan_tap *t = f->t;

	if (t->scalar)
		value_end(f, f->p);
	t->key_next = t->value_next = false;
	if (t->depth <= 1) {
		t->state = DONE;
		return;
	}
	t->depth--;
	value_end(f, f->p + 1);
}

/* One byte outside of strings. */
static void structure_byte(struct piece *f)
{
	struct jscan_tap *t = f->t;
	char c = *f->p;
	bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';

	if (space || c == ',') {
		if (t->scalar)
			value_end(f, f->p);
		if (c == ',')
			t->key_next = at_members(t);
		return;
	}
	if (t->value_next)
		value_begin(f);
	switch (c) {
	case '{':
	case '[': container_open(t, c == '{'); break;
	case '}':
	case ']': container_close(f); break;
	case ':': t->value_next = at_members(t); break;
	case '"':
		t->state = t->key_next ? KEY : STRING;
		t->key_next = false;
		t->key_n = 0;
		break;
	default: break;
	}
}

/* Inside a string: to its end, its next escape or the end of the piece. */
static void string_bytes(struct piece *f, bool key)
{
	struct jscan_tap *t = f->t;
	const char *at = scan_string_special(f->p, f->end);

	if (key)
		key_put(t, f->p, (size_t)(at - f->p));
	f->p = at;
	if (at == f->end)
		return;
	f->p++;
	if (*at == '\\') {
		t->state = key ? KEY_ESCAPE : STRING_ESCAPE;
	} else if (*at != '"') {
		t->state = DONE; /* a control byte */
	} else if (key) {
		key_end(t);
	} else {
		t->state = STRUCTURE;
		value_end(f, f->p);
	}
}

static void key_escape_byte(struct jscan_tap *t, char c)
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *at = memchr(names, c, sizeof(names) - 1);

	t->state = KEY;
	if (at) {
		key_put(t, &bytes[at - names], 1);
	} else if (c == 'u') {
		t->state = KEY_HEX;
		t->hex_n = 0;
		t->hex = 0;
	} else {
		t->state = DONE;
	}
}

static void key_hex_byte(struct jscan_tap *t, char c)
{
	char lower = (char)(c | 0x20);
	char ascii;

	if (c >= '0' && c <= '9') {
		t->hex = (uint16_t)(t->hex << 4 | (c - '0'));
	} else if (lower >= 'a' && lower <= 'f') {
		t->hex = (uint16_t)(t->hex << 4 | (lower - 'a' + 10));
	} else {
		t->state = DONE;
		return;
	}
	if (++t->hex_n < 4)
		return;
	t->state = KEY;
	ascii = (char)t->hex;
	if (t->hex < 0x80)
		key_put(t, &ascii, 1);
	else
		t->key_n = JSCAN_TAP_KEY_MAX + 1;
}

void jscan_tap_feed(struct jscan_tap *t, const char *p, size_t n)
{
	struct piece f = { t, p, n ? p + n : p, { p, p } };

	while (f.p < f.end && t->state != DONE) {
		switch ((enum tap_state)t->state) {
		case STRUCTURE:
			structure_byte(&f);
			f.p++;
			break;
		case STRING: string_bytes(&f, false); break;
		case KEY: string_bytes(&f, true); break;
		case STRING_ESCAPE:
			t->state = STRING;
			f.p++;
			break;
		case KEY_ESCAPE: key_escape_byte(t, *f.p++); break;
		case KEY_HEX: key_hex_byte(t, *f.p++); break;
		case DONE: break;
		}
	}
	if (t->state == DONE)
		return;
	for (unsigned level = 0; level < 2; level++) {
		if (t->open[level])
			copy_open(&f, level, f.end, false);
	}
}
