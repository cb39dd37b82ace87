#include "statfs/snapshots.h"

size_t snapshots_room(const struct snapshots *s, uint32_t uid)
{
	unsigned used = 0, his = 0;

	for (unsigned i = 0; i < SNAPSHOTS_MAX; i++) {
		used += s->v[i].used;
		his += s->v[i].used && s->v[i].uid == uid;
	}
	if (used == SNAPSHOTS_MAX || his >= SNAPSHOTS_PER_UID)
		return 0;
	return SNAPSHOTS_MAX_BYTES - s->bytes;
}

uint64_t snapshots_take(struct snapshots *s, uint32_t uid, struct buf *b)
{
	unsigned i = 0;
	char *p;

	ASSERT(b->n <= SNAPSHOTS_MAX_BYTES - s->bytes);
	while (s->v[i].used)
		i++;
	ASSERT(i < SNAPSHOTS_MAX);
	p = b->n ? realloc(b->p, b->n) : NULL; /* without what the buffer had in reserve */
	if (!p && b->n)
		p = b->p;
	s->v[i] = (struct snapshot){ .used = true, .uid = uid, .p = p, .n = b->n };
	s->bytes += b->n;
	if (!p)
		free(b->p);
	*b = (struct buf){ .max = b->max };
	return i + 1;
}

static const struct snapshot *snapshot_of(const struct snapshots *s, uint64_t handle)
{
	return handle >= 1 && handle <= SNAPSHOTS_MAX && s->v[handle - 1].used ? &s->v[handle - 1]
									       : NULL;
}

struct slice snapshots_read(const struct snapshots *s, uint64_t handle, uint64_t at, size_t max)
{
	const struct snapshot *v = snapshot_of(s, handle);

	if (!v || at >= v->n)
		return SLICE_EMPTY;
	return slice_of(v->p + at, MIN(v->n - (size_t)at, max));
}

void snapshots_give(struct snapshots *s, uint64_t handle)
{
	struct snapshot *v = (struct snapshot *)snapshot_of(s, handle);

	if (!v)
		return;
	free(v->p);
	s->bytes -= v->n;
	*v = (struct snapshot){ .used = false };
}

void snapshots_fini(struct snapshots *s)
{
	for (uint64_t i = 1; i <= SNAPSHOTS_MAX; i++)
		snapshots_give(s, i);
}
