/* Which targets may serve a request: what they can do, and the tags that they carry. */
#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_TAG_MAX 63

/* The item of a list of words, or NULL if it is none. */
static const struct tree *policy_word(
	struct policy_reader *r, const struct policy_at *at, const char *what)
{
	if (at->node->kind == TREE_SCALAR && at->node->text.n)
		return at->node;
	policy_error(r, at, at->node, "write the name of a %s here", what);
	return NULL;
}

static void policy_unknown_capability(
	struct policy_reader *r, const struct policy_at *at, struct slice word)
{
	struct slice names[CAPABILITY_COUNT], near;

	for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
		names[i] = slice_str(capability_name((enum capability)i));
	near = text_near(word, names, CAPABILITY_COUNT);
	if (near.n)
		policy_error(r, at, at->node,
			"there is no capability '" PLACE_FMT "', did you mean '" PLACE_FMT "'?",
			PLACE_ARG(word), PLACE_ARG(near));
	else
		policy_error(r, at, at->node,
			"there is no capability '" PLACE_FMT "'; see aigw-policy(5) for all",
			PLACE_ARG(word));
}

static uint32_t policy_capability(
	struct policy_reader *r, const struct policy_at *at, const struct tree *node)
{
	for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
		if (slice_eq(node->text, slice_str(capability_name((enum capability)i))))
			return UINT32_C(1) << i;
	policy_unknown_capability(r, at, node->text);
	return 0;
}

void policy_capabilities(
	struct policy_reader *r, const struct policy_at *up, uint32_t preset, uint32_t *ret)
{
	const struct tree *given = tree_get(up->node, SLICE("capabilities")), *node;
	uint32_t n, bits = 0;

	*ret = preset;
	if (!given)
		return;
	r->uses_routing_2 = true;
	node = policy_list(r, up, "capabilities", &n);
	if (given->kind == TREE_LIST && n == 0)
		policy_error(r, up, given,
			"'capabilities' is empty, so nothing could be served; list some, or remove "
			"the key (all)");
	for (uint32_t i = 0; node; node = node->next, i++) {
		struct policy_at at = { up, node, "capabilities", i };

		if (policy_word(r, &at, "capability"))
			bits |= policy_capability(r, &at, node);
	}
	/* Who lists only what a body may hold says nothing of URLs. */
	*ret = bits & CAPABILITY_ENDPOINTS ? bits : bits | CAPABILITY_ENDPOINTS;
}

/* The tag's bit, new if need be. */
static uint64_t policy_tag(
	struct policy_reader *r, const struct policy_at *at, const struct tree *node)
{
	struct policy_doc *d = r->doc;

	if (!policy_is_name(node->text, POLICY_TAG_MAX)) {
		policy_error(r, at, node,
			"the tag '" PLACE_FMT "' must be 1 to %d of A-Z a-z 0-9 . _ -",
			PLACE_ARG(node->text), POLICY_TAG_MAX);
		return 0;
	}
	for (uint32_t i = 0; i < d->n_tags; i++)
		if (slice_eq(d->tags[i], node->text))
			return UINT64_C(1) << i;
	if (d->n_tags == POLICY_TAGS_MAX) {
		policy_error(r, at, node, "a policy may have %d different tags; remove some",
			POLICY_TAGS_MAX);
		return 0;
	}
	d->tags[d->n_tags] = policy_copy(r, node->text);
	return UINT64_C(1) << d->n_tags++;
}

void policy_tags(
	struct policy_reader *r, const struct policy_at *up, const char *key, uint64_t *ret)
{
	const struct tree *node;
	uint32_t n;

	*ret = 0;
	if (!tree_get(up->node, slice_str(key)))
		return;
	r->uses_routing_2 = true;
	node = policy_list(r, up, key, &n);
	for (uint32_t i = 0; node; node = node->next, i++) {
		struct policy_at at = { up, node, key, i };
		uint64_t bit = policy_word(r, &at, "tag") ? policy_tag(r, &at, node) : 0;

		if (bit & *ret)
			policy_error(r, &at, node, "'" PLACE_FMT "' stands twice here",
				PLACE_ARG(node->text));
		*ret |= bit;
	}
}
