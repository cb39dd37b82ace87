#include "route/capacity.h"

#include <aigw/hash.h>

struct counted {
	UT_hash_handle hh;
	struct counted *older;
	struct capacity capacity;
	char key[]; /* kind, name */
};

struct capacities {
	struct counted *all, *last;
};

int capacities_new(struct capacities **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void capacities_free(struct capacities *c)
{
	struct counted *it;

	if (!c)
		return;
	HASH_CLEAR(hh, c->all);
	while ((it = c->last) != NULL) {
		c->last = it->older;
		free(it);
	}
	free(c);
}

struct capacity *capacity_of(struct capacities *c, char kind, struct slice name)
{
	struct counted *fresh = calloc(1, sizeof(*fresh) + 1 + name.n), *found = NULL;
	bool out_of_memory = false;

	if (!fresh)
		return NULL;
	fresh->key[0] = kind;
	if (name.n)
		memcpy(fresh->key + 1, name.p, name.n);
	HASH_FIND(hh, c->all, fresh->key, 1 + name.n, found);
	if (found) {
		free(fresh);
		return &found->capacity;
	}
	HASH_ADD_KEYPTR(hh, c->all, fresh->key, 1 + name.n, fresh);
	if (out_of_memory) {
		free(fresh);
		return NULL;
	}
	fresh->older = c->last;
	c->last = fresh;
	return &fresh->capacity;
}
