/* Several files are one policy: their sections are put together in the order of the files. A name
 * may stand in one file only; that two files add to the same item is not a thing. */
#include <aigw/text.h>

#include "policy_read.h"

static const char *const policy_sections[] = {
	"providers",
	"prices",
	"models",
	"customers",
	"identities",
};
#define POLICY_SECTIONS 5

static void policy_check_version(struct policy_reader *r, const struct policy_at *at)
{
	struct slice s;
	const struct tree *node;

	if (!tree_get(at->node, SLICE("apiVersion"))) {
		policy_missing(
			r, at, "'apiVersion' is missing; begin the file with apiVersion: aigw/v1");
		return;
	}
	node = policy_text(r, at, "apiVersion", POLICY_REQUIRED, &s);
	if (node && !slice_eq(s, SLICE("aigw/v1")))
		policy_error(r, at, node,
			"apiVersion is '" PLACE_FMT "'; this version reads aigw/v1", PLACE_ARG(s));
}

static struct tree *policy_node(
	struct policy_reader *r, enum tree_kind kind, const char *key, const struct tree *like)
{
	struct tree *t = arena_alloc(&r->scratch, sizeof(*t));

	if (!t) {
		policy_out_of_memory(r);
		return NULL;
	}
	if (like)
		*t = *like;
	t->kind = kind;
	t->key = slice_str(key);
	t->child = NULL;
	t->next = NULL;
	t->n = 0;
	return t;
}

static void policy_hang(struct tree *parent, struct tree ***link, struct tree *child)
{
	**link = child;
	*link = &child->next;
	parent->n++;
}

/* Copies, since the files' nodes keep their own siblings. */
static bool policy_hang_copy(
	struct policy_reader *r, struct tree *parent, struct tree ***link, const struct tree *node)
{
	struct tree *copy = arena_alloc(&r->scratch, sizeof(*copy));

	if (!copy) {
		policy_out_of_memory(r);
		return false;
	}
	*copy = *node;
	copy->next = NULL;
	policy_hang(parent, link, copy);
	return true;
}

static struct tree *policy_merge_settings(
	struct policy_reader *r, const struct tree *const *roots, unsigned n)
{
	struct tree *all = NULL, **link = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct tree *part = tree_get(roots[i], SLICE("settings"));

		if (!part || part->kind == TREE_NULL)
			continue;
		if (part->kind != TREE_MAP) {
			policy_error(r, NULL, part, "settings must be a map of keys and values");
			continue;
		}
		if (!all) {
			all = policy_node(r, TREE_MAP, "settings", part);
			if (!all)
				return NULL;
			link = &all->child;
		}
		for (const struct tree *c = part->child; c; c = c->next) {
			const struct tree *first = tree_get(all, c->key);

			if (first)
				policy_key_error(r, NULL, c,
					"setting '" PLACE_FMT
					"' is given in two files, first at %s",
					PLACE_ARG(c->key), policy_place(r, NULL, first));
			else if (!policy_hang_copy(r, all, &link, c))
				return NULL;
		}
	}
	return all;
}

static struct tree *policy_merge_section(
	struct policy_reader *r, const char *key, const struct tree *const *roots, unsigned n)
{
	struct tree *all = NULL, **link = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct tree *part = tree_get(roots[i], slice_str(key));

		if (!part || part->kind == TREE_NULL)
			continue;
		if (part->kind != TREE_LIST) {
			policy_error(
				r, NULL, part, "'%s' must be a list: write lines with '- '", key);
			continue;
		}
		if (!all) {
			all = policy_node(r, TREE_LIST, key, part);
			if (!all)
				return NULL;
			link = &all->child;
		}
		if (part->n > POLICY_MAX_ITEMS || all->n + part->n > POLICY_MAX_ITEMS) {
			policy_error(r, NULL, part, "more than %d %s", POLICY_MAX_ITEMS, key);
			continue;
		}
		for (const struct tree *c = part->child; c; c = c->next) {
			if (!policy_hang_copy(r, all, &link, c))
				return NULL;
		}
	}
	return all;
}

static void policy_index(
	struct policy_reader *r, const struct tree *list, struct policy_section *ret)
{
	if (!list || list->n == 0)
		return;
	ret->items = arena_alloc(&r->scratch, list->n * sizeof(*ret->items));
	if (!ret->items) {
		policy_out_of_memory(r);
		return;
	}
	for (const struct tree *c = list->child; c; c = c->next)
		ret->items[ret->n++] = c;
}

/* The merged document in one order of keys, whatever the files' was: the digest depends on it. */
void policy_merge(struct policy_reader *r, const struct tree *const *roots, unsigned n)
{
	struct policy_section *const sections[POLICY_SECTIONS] = { &r->providers, &r->prices,
		&r->models, &r->customers, &r->identities };
	struct tree *root, **link, *part;

	for (unsigned i = 0; i < n; i++) {
		struct policy_at at = { .node = roots[i] };

		if (policy_check_map(r, &at, POLICY_top))
			policy_check_version(r, &at);
	}
	root = policy_node(r, TREE_MAP, "policy", n ? roots[0] : NULL);
	part = policy_node(r, TREE_SCALAR, "apiVersion", NULL);
	if (!root || !part)
		return;
	link = &root->child;
	part->text = SLICE("aigw/v1");
	policy_hang(root, &link, part);
	part = policy_merge_settings(r, roots, n);
	if (part && part->n)
		policy_hang(root, &link, part);
	for (size_t i = 0; i < POLICY_SECTIONS; i++) {
		part = policy_merge_section(r, policy_sections[i], roots, n);
		if (part && part->n)
			policy_hang(root, &link, part);
		policy_index(r, part, sections[i]);
	}
	r->root = root;
}
