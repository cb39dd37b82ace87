/* JSON in place: what jansson takes as an object is one here too; the same in pieces finds the
 * same. */
#include "fuzz.h"

#include <aigw/json_scan.h>

#include <jansson.h>

#define TAPPED 3

struct found {
	struct slice text, usage;
};

static int on_member(void *arg, const struct jscan_member *m)
{
	struct found *f = arg;
	struct buf b;

	ASSERT(lies_in(m->key, f->text) && lies_in(m->value, f->text) && m->value.n);
	if (m->kind == JSCAN_OBJECT)
		ASSERT(jscan_object(m->value, NULL, NULL, NULL) == 0);
	if (m->kind == JSCAN_ARRAY)
		ASSERT(jscan_array(m->value, NULL, NULL, NULL) == 0);
	if (m->kind == JSCAN_STRING) {
		buf_init(&b, 1u << 20);
		(void)jscan_string(m->value, &b);
		buf_fini(&b);
	}
	if (jscan_key_is(m, SLICE("usage")))
		f->usage = m->value;
	return 0;
}

static int enter_all(void *arg, unsigned depth, const struct jscan_member *m)
{
	const struct found *f = arg;

	ASSERT(lies_in(m->key, f->text) && lies_in(m->value, f->text));
	return m->kind == JSCAN_OBJECT && depth < JSCAN_ENTER_MAX ? JSCAN_ENTER : 0;
}

static void tap_all(struct slice text, size_t piece, struct jscan_tap *t)
{
	static const struct jscan_tap_path paths[TAPPED] = {
		{ SLICE_INIT(""), SLICE_INIT("usage") },
		{ SLICE_INIT("response"), SLICE_INIT("usage") },
		{ SLICE_INIT("x_groq"), SLICE_INIT("usage") },
	};

	jscan_tap_init(t, paths, TAPPED);
	for (size_t at = 0; at < text.n; at += piece)
		jscan_tap_feed(t, text.p + at, MIN(piece, text.n - at));
}

static void check_tap(const struct found *f, bool valid)
{
	struct jscan_tap whole, bytes;

	tap_all(f->text, f->text.n, &whole);
	tap_all(f->text, 1, &bytes);
	for (unsigned i = 0; i < TAPPED; i++)
		ASSERT(slice_eq(buf_view(&whole.value[i]), buf_view(&bytes.value[i])));
	if (valid && f->usage.n <= JSCAN_TAP_VALUE_MAX)
		ASSERT(slice_eq(buf_view(&whole.value[0]), f->usage));
	jscan_tap_fini(&whole);
	jscan_tap_fini(&bytes);
}

/* No deeper than the scanner goes: brackets in strings count too, which only makes this stricter.
 */
static bool is_shallow(struct slice s)
{
	size_t open = 0;

	for (size_t i = 0; i < s.n; i++)
		open += s.p[i] == '{' || s.p[i] == '[';
	return open <= JSCAN_DEPTH_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct found f = { slice_of((const char *)data, size), SLICE_EMPTY };
	size_t offset = 0;
	int r = jscan_object(f.text, on_member, &f, &offset);
	json_error_t why;
	json_t *tree;

	ASSERT(r == 0 || (r == -EINVAL && offset <= size));
	ASSERT(jscan_deep(f.text, enter_all, &f, NULL) == r);
	check_tap(&f, r == 0);
	/* jansson 2.14 overlooks a NUL behind a literal or number. */
	if (r == -EINVAL && is_shallow(f.text) && size && !memchr(data, 0, size)) {
		tree = json_loadb(f.text.p, size, 0, &why);
		ASSERT(!json_is_object(tree));
		json_decref(tree);
	}
	return 0;
}
