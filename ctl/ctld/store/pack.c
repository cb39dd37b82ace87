#include "store/pack.h"

void be32_put(uint8_t out[static 4], uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

void be64_put(uint8_t out[static 8], uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

uint32_t be32_get(const void *p)
{
	const uint8_t *b = p;
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 8 | b[i];
	return v;
}

uint64_t be64_get(const void *p)
{
	const uint8_t *b = p;
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | b[i];
	return v;
}

void pack_u64(struct buf *b, uint64_t v)
{
	uint8_t raw[8];

	be64_put(raw, v);
	(void)buf_append(b, raw, sizeof(raw));
}

void pack_bytes(struct buf *b, struct slice s)
{
	uint8_t raw[4];

	if (s.n > UINT32_MAX) {
		b->err = -ENOBUFS;
		return;
	}
	be32_put(raw, (uint32_t)s.n);
	(void)buf_append(b, raw, sizeof(raw));
	(void)buf_slice(b, s);
}

bool unpack_u64(struct slice *row, uint64_t *ret)
{
	*ret = 0;
	if (row->n == 0)
		return true;
	if (row->n < 8)
		return false;
	*ret = be64_get(row->p);
	*row = slice_skip(*row, 8);
	return true;
}

bool unpack_bytes(struct slice *row, struct slice *ret)
{
	uint32_t n;

	*ret = SLICE_EMPTY;
	if (row->n == 0)
		return true;
	if (row->n < 4)
		return false;
	n = be32_get(row->p);
	if (n > row->n - 4)
		return false;
	*ret = slice_of(row->p + 4, n);
	*row = slice_skip(*row, 4 + (size_t)n);
	return true;
}
