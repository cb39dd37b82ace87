#include "gzip.h"

#define STORED_MAX 65535

static const unsigned char head[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };

static uint32_t crc_of(uint32_t crc, const char *p, size_t n)
{
	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

static void le_add(struct buf *out, uint32_t v, int bytes)
{
	for (int i = 0; i < bytes; i++) {
		char b = (char)(v >> 8 * i);

		buf_add(out, &b, 1);
	}
}

static void block_add(struct buf *out, const char *p, uint32_t n, bool last)
{
	le_add(out, last, 1);
	le_add(out, n, 2);
	le_add(out, ~n & 0xffff, 2);
	buf_add(out, p, n);
}

void gzip_add(struct gzip *g, struct buf *out, const char *p, size_t n)
{
	if (!g->begun)
		buf_add(out, head, sizeof(head));
	g->begun = true;
	g->crc = crc_of(g->crc, p, n);
	g->size += (uint32_t)n;
	while (n) {
		uint32_t take = n > STORED_MAX ? STORED_MAX : (uint32_t)n;

		block_add(out, p, take, false);
		p += take;
		n -= take;
	}
}

void gzip_end(struct gzip *g, struct buf *out)
{
	gzip_add(g, out, "", 0);
	block_add(out, "", 0, true);
	le_add(out, g->crc, 4);
	le_add(out, g->size, 4);
}
