#include <aigw/wire.h>

#include "mp.h"
#include "wire_limits.h"

ssize_t wire_frame(const char *p, size_t n, size_t max)
{
	uint32_t length = 0;

	if (n < WIRE_LENGTH_BYTES)
		return 0;
	for (size_t i = 0; i < WIRE_LENGTH_BYTES; i++)
		length = length << 8 | (unsigned char)p[i];
	/* An empty frame would be an endless loop for who reads "0: not whole yet". */
	if (length == 0 || length > max)
		return -EMSGSIZE;
	return n - WIRE_LENGTH_BYTES < length ? 0 : (ssize_t)length;
}

int wire_check(struct slice payload, struct errbuf *e)
{
	if (payload.n > WIRE_MAX_FRAME)
		return err_set(e, -EBADMSG, "the frame is larger than %u bytes", WIRE_MAX_FRAME);
	return mp_check(payload, WIRE_MAX_DEPTH, WIRE_MAX_ITEMS, e);
}
