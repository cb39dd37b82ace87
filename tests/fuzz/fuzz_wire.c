/* A payload between agent and controller: what is decoded can be encoded, and is then stable. The
 * first byte chooses the answer that is waited for. */
#include "fuzz.h"

#include <aigw/wire.h>

/* The frame of a message that was decoded; false: not one that a program of ours sends. */
static bool encode(const struct wire_message *m, struct buf *b)
{
	return m->kind != WIRE_unknown && m->kind != WIRE_none && wire_encode(m, b) == 0;
}

static void check_stable(const struct wire_message *first, enum wire_kind expect, struct arena *a)
{
	struct wire_message second;
	struct errbuf why;
	struct buf x, y;

	buf_init(&x, 2 * WIRE_MAX_FRAME);
	buf_init(&y, 2 * WIRE_MAX_FRAME);
	if (encode(first, &x)) {
		ASSERT(wire_frame(x.p, x.n, WIRE_MAX_FRAME) == (ssize_t)(x.n - 4));
		ASSERT(wire_decode(slice_of(x.p + 4, x.n - 4), expect, a, &second, &why) == 0);
		ASSERT(second.kind == first->kind && encode(&second, &y));
		ASSERT(slice_eq(buf_view(&x), buf_view(&y)));
	}
	buf_fini(&x);
	buf_fini(&y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_message m;
	struct errbuf why = { "" };
	struct arena a;
	struct slice payload;
	enum wire_kind expect;

	if (size < 1)
		return 0;
	expect = (enum wire_kind)(data[0] % WIRE_error);
	if (expect != WIRE_welcome && expect != WIRE_usage_done)
		expect = WIRE_none;
	payload = slice_of((const char *)data + 1, size - 1);
	(void)wire_frame(payload.p, payload.n, WIRE_MAX_FRAME);
	arena_init(&a, 4096, 8u << 20);
	if (wire_decode(payload, expect, &a, &m, &why) == 0) {
		ASSERT(wire_check(payload, &why) == 0);
		check_stable(&m, expect, &a);
	} else {
		ASSERT(why.text[0]);
	}
	arena_fini(&a);
	return 0;
}
