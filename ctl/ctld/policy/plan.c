/* The difference between two documents, told by their objects. Both are compared as packed trees: a
 * section is a map, or a list whose items are known by their name (prices by provider, model and
 * date; identities by what they match). An object that differs only inside lists of named objects
 * is not reported itself: they are. */
#include "policy/publish.h"

#include <aigw/tree.h>

struct plan {
	publish_change_fn *fn;
	void *arg;
	unsigned reported;
	int err;
};

#define PLAN_NAME_MAX 512

static void report(struct plan *p, enum publish_change change, const char *name,
	const struct tree *old, const struct tree *fresh)
{
	p->reported++;
	if (!p->err)
		p->err = p->fn(p->arg, change, name, old, fresh);
}

static bool is_object_list(const struct tree *t);

/* `skip_objects`: whatever stands in lists of objects counts as the same. */
static bool tree_same(const struct tree *a, const struct tree *b, bool skip_objects)
{
	const struct tree *x;
	uint32_t n = 0;

	if (a->kind != b->kind)
		return false;
	if (a->kind == TREE_SCALAR || a->kind == TREE_NULL)
		return slice_eq(a->text, b->text) && a->quoted == b->quoted;
	if (a->kind == TREE_LIST) {
		const struct tree *y = b->child;

		if (skip_objects && (is_object_list(a) || is_object_list(b)))
			return true;
		if (a->n != b->n)
			return false;
		for (x = a->child; x; x = x->next, y = y->next)
			if (!tree_same(x, y, false))
				return false;
		return true;
	}
	for (x = a->child; x; x = x->next, n++) {
		const struct tree *y = tree_get(b, x->key);

		if (!y || !tree_same(x, y, skip_objects))
			return false;
	}
	return n == b->n;
}

/* What an item of a list is called; false: it has nothing to be called by. */
static bool item_name(const struct tree *item, char *out, size_t cap)
{
	static const char *const members[] = { "name", "provider", "model", "from", "uid", "user",
		"group", "unit" };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const struct tree *m = tree_get(item, slice_str(members[i]));

		if (!m || m->kind != TREE_SCALAR || n + m->text.n + 2 > cap)
			continue;
		n += (size_t)snprintf(
			out + n, cap - n, "%s" SLICE_FMT, n ? "/" : "", SLICE_ARG(m->text));
		if (i == 0)
			break;
	}
	return n > 0;
}

static const struct tree *item_find(const struct tree *list, const char *name)
{
	char have[PLAN_NAME_MAX];

	for (const struct tree *it = list->child; it; it = it->next)
		if (item_name(it, have, sizeof(have)) && strcmp(have, name) == 0)
			return it;
	return NULL;
}

static void compare(
	struct plan *p, const char *at, const struct tree *a, const struct tree *b, unsigned depth);

static void compare_lists(
	struct plan *p, const char *at, const struct tree *a, const struct tree *b, unsigned depth)
{
	char name[PLAN_NAME_MAX], path[PLAN_NAME_MAX];

	for (const struct tree *it = b ? b->child : NULL; it; it = it->next) {
		const struct tree *old;

		if (!item_name(it, name, sizeof(name)))
			continue;
		(void)snprintf(path, sizeof(path), "%.240s.%.240s", at, name);
		old = a ? item_find(a, name) : NULL;
		if (!old)
			report(p, PUBLISH_ADDED, path, NULL, it);
		else if (!tree_same(old, it, false))
			compare(p, path, old, it, depth);
	}
	for (const struct tree *it = a ? a->child : NULL; it; it = it->next) {
		if (!item_name(it, name, sizeof(name)) || (b && item_find(b, name)))
			continue;
		(void)snprintf(path, sizeof(path), "%.240s.%.240s", at, name);
		report(p, PUBLISH_REMOVED, path, it, NULL);
	}
}

static bool is_named_list(const struct tree *t)
{
	char name[PLAN_NAME_MAX];

	return t && t->kind == TREE_LIST && t->child && t->child->kind == TREE_MAP &&
	       item_name(t->child, name, sizeof(name));
}

/* Below a section only items that bear a name of their own are objects: a target is part of its
 * model. */
static bool is_object_list(const struct tree *t)
{
	return is_named_list(t) && tree_get(t->child, SLICE("name"));
}

/* a and b differ and bear the same name. */
static void compare(
	struct plan *p, const char *at, const struct tree *a, const struct tree *b, unsigned depth)
{
	unsigned before = p->reported;
	char path[PLAN_NAME_MAX];

	if (a->kind == TREE_MAP && b->kind == TREE_MAP && depth < 8) {
		for (const struct tree *m = b->child; m; m = m->next) {
			const struct tree *old = tree_get(a, m->key);

			if (!is_object_list(m) && !is_object_list(old))
				continue;
			(void)snprintf(path, sizeof(path),
				"%.240s."
				"%.*s",
				at, (int)MIN(m->key.n, 64), m->key.p);
			if (!old || !tree_same(old, m, false))
				compare_lists(p, path, old, m, depth + 1);
		}
	}
	if (p->reported == before || !tree_same(a, b, true))
		report(p, PUBLISH_CHANGED, at, a, b);
}

static void compare_sections(struct plan *p, const struct tree *a, const struct tree *b)
{
	char name[80];

	for (const struct tree *m = b->child; m; m = m->next) {
		const struct tree *old = a ? tree_get(a, m->key) : NULL;

		(void)snprintf(name, sizeof(name), "%.*s", (int)MIN(m->key.n, 64), m->key.p);
		if (is_named_list(m) || is_named_list(old))
			compare_lists(p, name, old, m, 0);
		else if (!old)
			report(p, PUBLISH_ADDED, name, NULL, m);
		else if (!tree_same(old, m, false))
			report(p, PUBLISH_CHANGED, name, old, m);
	}
	for (const struct tree *m = a ? a->child : NULL; m; m = m->next) {
		if (tree_get(b, m->key))
			continue;
		(void)snprintf(name, sizeof(name), "%.*s", (int)MIN(m->key.n, 64), m->key.p);
		if (is_named_list(m))
			compare_lists(p, name, m, NULL, 0);
		else
			report(p, PUBLISH_REMOVED, name, m, NULL);
	}
}

/* The packed form is {features, policy}. */
static int sections_unpack(struct arena *mem, const struct policy_doc *doc, const struct tree **ret)
{
	struct tree *top;
	int r = tree_unpack(mem, buf_view(&doc->packed), &top, NULL);

	if (r < 0)
		return r;
	*ret = tree_get(top, SLICE("policy"));
	return *ret ? 0 : -EBADMSG;
}

int publish_compare(const struct policy_doc *from, const struct policy_doc *to,
	publish_change_fn *fn, void *arg)
{
	struct plan p = { .fn = fn, .arg = arg };
	const struct tree *a = NULL, *b;
	struct arena mem;
	int r = 0;

	arena_init(&mem, 64u << 10, 256u << 20);
	if (from)
		r = sections_unpack(&mem, from, &a);
	if (r == 0)
		r = sections_unpack(&mem, to, &b);
	if (r == 0) {
		compare_sections(&p, a, b);
		r = p.err;
	}
	arena_fini(&mem);
	return r;
}

/* --- the names alone ------------------------------------------------------------------ */

static int plan_add(void *arg, enum publish_change change, const char *name, const struct tree *old,
	const struct tree *fresh)
{
	struct publish_plan *plan = arg;
	struct buf *to = change == PUBLISH_ADDED     ? &plan->added
			 : change == PUBLISH_REMOVED ? &plan->removed
						     : &plan->changed;

	(void)old;
	(void)fresh;
	(void)buf_str(to, name);
	return buf_char(to, '\n');
}

int publish_plan(
	const struct policy_doc *from, const struct policy_doc *to, struct publish_plan *ret)
{
	int r;

	buf_init(&ret->added, 4u << 20);
	buf_init(&ret->changed, 4u << 20);
	buf_init(&ret->removed, 4u << 20);
	r = publish_compare(from, to, plan_add, ret);
	if (r < 0)
		publish_plan_fini(ret);
	return r;
}

void publish_plan_fini(struct publish_plan *p)
{
	buf_fini(&p->added);
	buf_fini(&p->changed);
	buf_fini(&p->removed);
}

/* --- members of an object ------------------------------------------------------------- */

static void members_of_list(const char *at, const struct tree *a, const struct tree *b,
	publish_member_fn *fn, void *arg)
{
	char name[PLAN_NAME_MAX], path[PLAN_NAME_MAX];

	for (const struct tree *it = b ? b->child : NULL; it; it = it->next) {
		const struct tree *old;

		if (!item_name(it, name, sizeof(name)))
			continue;
		old = a ? item_find(a, name) : NULL;
		(void)snprintf(path, sizeof(path), "%.120s.%.380s", at, name);
		if (!old || !tree_same(old, it, false))
			fn(arg, path, old, it);
	}
	for (const struct tree *it = a ? a->child : NULL; it; it = it->next) {
		if (!item_name(it, name, sizeof(name)) || (b && item_find(b, name)))
			continue;
		(void)snprintf(path, sizeof(path), "%.120s.%.380s", at, name);
		fn(arg, path, it, NULL);
	}
}

void publish_members(
	const struct tree *old, const struct tree *fresh, publish_member_fn *fn, void *arg)
{
	char key[128];

	for (const struct tree *m = fresh ? fresh->child : NULL; m; m = m->next) {
		const struct tree *was = old ? tree_get(old, m->key) : NULL;

		if (is_object_list(m) || is_object_list(was) || (was && tree_same(was, m, false)))
			continue;
		(void)snprintf(key, sizeof(key), "%.*s", (int)MIN(m->key.n, 120), m->key.p);
		if (is_named_list(m) || is_named_list(was))
			members_of_list(key, was, m, fn, arg);
		else
			fn(arg, key, was, m);
	}
	for (const struct tree *m = old ? old->child : NULL; m; m = m->next) {
		if ((fresh && tree_get(fresh, m->key)) || is_object_list(m))
			continue;
		(void)snprintf(key, sizeof(key), "%.*s", (int)MIN(m->key.n, 120), m->key.p);
		fn(arg, key, m, NULL);
	}
}

void publish_text(const struct tree *t, struct buf *b)
{
	const struct tree *x;

	switch (t->kind) {
	case TREE_NULL: (void)buf_str(b, "null"); return;
	case TREE_SCALAR: (void)buf_slice(b, t->text); return;
	case TREE_LIST:
		(void)buf_char(b, '[');
		for (x = t->child; x; x = x->next) {
			(void)buf_str(b, x == t->child ? "" : ", ");
			publish_text(x, b);
		}
		(void)buf_char(b, ']');
		return;
	case TREE_MAP:
		(void)buf_char(b, '{');
		for (x = t->child; x; x = x->next) {
			(void)buf_printf(b, "%s" SLICE_FMT ": ", x == t->child ? "" : ", ",
				SLICE_ARG(x->key));
			publish_text(x, b);
		}
		(void)buf_char(b, '}');
	}
}
