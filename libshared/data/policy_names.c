/* Names by hash, open addressing; at most half full. */
#include <aigw/crc.h>
#include <aigw/text.h>

#include "policy_read.h"

void policy_names_init(struct policy_reader *r, struct policy_names *names, uint32_t capacity)
{
	uint32_t size = 16;

	while (size < 2 * capacity)
		size *= 2;
	*names = (struct policy_names){ .mask = size - 1, .capacity = capacity };
	names->slots = arena_alloc(&r->scratch, size * sizeof(*names->slots));
	names->list = arena_alloc(&r->scratch, MAX(capacity, 1u) * sizeof(*names->list));
	if (!names->slots || !names->list) {
		names->slots = NULL;
		policy_out_of_memory(r);
	}
}

/* The name's slot, or the free one where it belongs. */
static struct policy_name *policy_names_slot(const struct policy_names *names, struct slice name)
{
	uint32_t at = crc32c(0, name.p, name.n) & names->mask;

	while (names->slots[at].name.p && !slice_eq(names->slots[at].name, name))
		at = (at + 1) & names->mask;
	return &names->slots[at];
}

const struct policy_name *policy_names_put(struct policy_reader *r, struct policy_names *names,
	struct slice name, uint32_t value, const struct tree *node)
{
	struct policy_name *slot;

	if (!names->slots) {
		policy_out_of_memory(r);
		return NULL;
	}
	slot = policy_names_slot(names, name);
	if (slot->name.p)
		return slot;
	ASSERT(names->n < names->capacity);
	*slot = (struct policy_name){ .name = name, .value = value, .node = node };
	names->list[names->n++] = name;
	return NULL;
}

struct policy_name *policy_names_get(const struct policy_names *names, struct slice name)
{
	struct policy_name *slot = names->slots ? policy_names_slot(names, name) : NULL;

	return slot && slot->name.p ? slot : NULL;
}

void policy_names_add(struct policy_reader *r, struct policy_names *names,
	const struct policy_at *at, const struct tree *node, struct slice name, uint32_t value)
{
	const struct policy_name *first = policy_names_put(r, names, name, value, node);

	if (first && first->node->line)
		policy_error(r, at, node,
			"'" PLACE_FMT "' is given twice, first at %s; give each a name of its own",
			PLACE_ARG(name), policy_place(r, NULL, first->node));
	else if (first)
		policy_error(r, at, node, "'" PLACE_FMT "' is given twice", PLACE_ARG(name));
}

bool policy_names_refer(struct policy_reader *r, const struct policy_names *names, const char *kind,
	const struct policy_at *at, const struct tree *node, struct slice name, uint32_t *ret)
{
	struct policy_name *found = policy_names_get(names, name);
	struct slice near;

	if (found) {
		found->used = true;
		*ret = found->value;
		return true;
	}
	/* Looking for near names takes a while; past the limit nobody reads them. */
	near = r->findings < POLICY_MAX_FINDINGS ? text_near(name, names->list, names->n)
						 : SLICE_EMPTY;
	if (near.n)
		policy_error(r, at, node,
			"there is no %s '" PLACE_FMT "', did you mean '" PLACE_FMT "'?", kind,
			PLACE_ARG(name), PLACE_ARG(near));
	else
		policy_error(r, at, node,
			"there is no %s '" PLACE_FMT "'; add it or correct the name", kind,
			PLACE_ARG(name));
	return false;
}
