/* A multipart body behind the line of its content type: events are the same however it is cut, and
 * a part's content is where it says. */
#include "fuzz.h"

#include <aigw/multipart.h>

#define EVENTS_MAX 64

struct seen {
	uint64_t from, to, at;
	int event;
	uint16_t name_n, value_n;
};

static unsigned read_all(
	struct slice type, struct slice text, size_t piece, struct seen *out, bool *whole)
{
	struct multipart m;
	size_t at = 0;
	unsigned n = 0;

	if (!multipart_begin(&m, type))
		return 0;
	while (at < text.n && n < EVENTS_MAX) {
		size_t used;
		enum multipart_event e =
			multipart_next(&m, text.p + at, MIN(piece, text.n - at), &used);

		ASSERT(used <= MIN(piece, text.n - at));
		at += used;
		if (e == MULTIPART_MORE) {
			ASSERT(used > 0);
			continue;
		}
		if (e == MULTIPART_ERROR) {
			ASSERT(m.why != NULL);
			out[n++] = (struct seen){ .event = e };
			break;
		}
		ASSERT(m.at == at && m.value_n <= MULTIPART_VALUE_MAX + 1);
		out[n] = (struct seen){ .event = e, .at = at };
		if (e == MULTIPART_PART_END) {
			struct slice value = multipart_value(&m);

			ASSERT(m.from <= m.to && m.to <= at && m.to - m.from >= value.n);
			ASSERT(value.n == 0 || memcmp(text.p + m.from, value.p, value.n) == 0);
			out[n].from = m.from;
			out[n].to = m.to;
			out[n].name_n = m.name_n;
			out[n].value_n = m.value_n;
		}
		n++;
	}
	*whole = multipart_is_whole(&m);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seen all[EVENTS_MAX], ones[EVENTS_MAX], sevens[EVENTS_MAX];
	const char *p = (const char *)data, *end = size ? memchr(p, '\n', size) : NULL;
	struct slice type, text;
	bool whole[3] = { false, false, false };
	unsigned n;

	if (!end)
		return 0;
	type = slice_of(p, (size_t)(end - p));
	text = slice_of(end + 1, size - type.n - 1);
	memset(all, 0, sizeof(all));
	memset(ones, 0, sizeof(ones));
	memset(sevens, 0, sizeof(sevens));
	n = read_all(type, text, MAX(text.n, (size_t)1), all, &whole[0]);
	ASSERT(read_all(type, text, 1, ones, &whole[1]) == n);
	ASSERT(read_all(type, text, 7, sevens, &whole[2]) == n);
	ASSERT(memcmp(all, ones, sizeof(all)) == 0 && memcmp(all, sevens, sizeof(all)) == 0);
	ASSERT(whole[0] == whole[1] && whole[0] == whole[2]);
	return 0;
}
