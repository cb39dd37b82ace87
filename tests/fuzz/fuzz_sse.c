/* An event stream: the events are the same however it is cut, and no byte is lost. */
#include "fuzz.h"

#include <aigw/sse.h>

#define EVENTS_MAX 512

/* Lengths of the events when `piece` bytes arrive at a time. */
static unsigned split(struct slice text, size_t piece, size_t lengths[static EVENTS_MAX])
{
	size_t begin = 0, end = 0, scanned = 0;
	unsigned n = 0;

	while (n < EVENTS_MAX) {
		size_t event = sse_event_end(text.p + begin, end - begin, &scanned, end == text.n);

		ASSERT(event <= end - begin);
		if (event) {
			struct slice raw = slice_of(text.p + begin, event);
			struct sse_event parsed;

			sse_parse(raw, &parsed);
			ASSERT(lies_in(parsed.name, raw) && lies_in(parsed.data, raw));
			ASSERT(parsed.data_lines <= 1 || parsed.data.n == 0);
			lengths[n++] = event;
			begin += event;
			scanned = 0;
		} else if (end == text.n) {
			break;
		} else {
			end += MIN(piece, text.n - end);
		}
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static size_t whole[EVENTS_MAX], bytes[EVENTS_MAX], threes[EVENTS_MAX];
	struct slice text = slice_of((const char *)data, size);
	unsigned n;

	if (size == 0)
		return 0;
	n = split(text, size, whole);
	ASSERT(split(text, 1, bytes) == n && memcmp(whole, bytes, n * sizeof(*whole)) == 0);
	ASSERT(split(text, 3, threes) == n && memcmp(whole, threes, n * sizeof(*whole)) == 0);
	return 0;
}
