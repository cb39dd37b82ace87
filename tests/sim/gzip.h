/* gzip: a gzip member of stored blocks, written bit by bit as the bytes come: a compressed answer
 * without a compressor. */
#ifndef SIM_GZIP_H
#define SIM_GZIP_H

#include "buf.h"

struct gzip {
	uint32_t crc, size;
	bool begun;
};

void gzip_add(struct gzip *g, struct buf *out, const char *p, size_t n);
void gzip_end(struct gzip *g, struct buf *out);

#endif
