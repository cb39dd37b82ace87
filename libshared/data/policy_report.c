/* Findings: "file:line:col: sentence", or with the path in place of line and column if the document
 * came over the wire. */
#include <aigw/text.h>

#include "policy_read.h"

#include <stdarg.h>

static const char *const policy_object_names[] = {
	[POLICY_top] = "the policy",
	[POLICY_settings] = "settings",
	[POLICY_headers] = "headers",
	[POLICY_provider] = "a provider",
	[POLICY_timeouts] = "timeouts",
	[POLICY_options] = "options",
	[POLICY_price] = "a price",
	[POLICY_model] = "a model",
	[POLICY_target] = "a target",
	[POLICY_retry] = "retry",
	[POLICY_health] = "health",
	[POLICY_customer] = "a customer",
	[POLICY_project] = "a project",
	[POLICY_identity] = "an identity",
	[POLICY_limits] = "limits",
	[POLICY_queue] = "queue",
};

static const struct policy_field {
	enum policy_object object;
	bool later;
	struct slice key;
} policy_fields[] = {
#define POLICY_FIELD(object, key, doc) { POLICY_##object, false, { #key, sizeof(#key) - 1 } },
#define POLICY_LATER(object, key)      { POLICY_##object, true, { #key, sizeof(#key) - 1 } },
#include <aigw/tbl/policy_fields.h>
#undef POLICY_FIELD
#undef POLICY_LATER
};

void policy_out_of_memory(struct policy_reader *r)
{
	r->no_memory = true;
}

static void policy_put_path(struct buf *b, const struct policy_at *at, const struct tree *node)
{
	if (at) {
		policy_put_path(b, at->up, NULL);
		if (b->n && at->up)
			(void)buf_char(b, '.');
		if (at->list)
			(void)buf_printf(b, "%s[%" PRIu32 "]", at->list, at->index);
		else if (at->node)
			(void)buf_slice(b, at->node->key);
	}
	if (node && (!at || node != at->node) && node->key.n) {
		if (b->n)
			(void)buf_char(b, '.');
		(void)buf_slice(b, slice_of(node->key.p, (size_t)place_len(node->key)));
	}
}

static void policy_put_place(struct policy_reader *r, struct buf *b, const struct policy_at *at,
	const struct tree *node, bool at_key)
{
	const struct tree *where = node ? node : at ? at->node : r->root;

	if (where && where->line && where->file < r->n_names) {
		bool key = at_key && where->key_line;

		(void)buf_printf(b, "%s:%" PRIu32 ":%" PRIu32, r->names[where->file],
			key ? where->key_line : where->line,
			key ? where->key_column : where->column);
		return;
	}
	policy_put_path(b, at, node);
	if (b->n == 0)
		(void)buf_str(b, "policy");
}

const char *policy_place(
	struct policy_reader *r, const struct policy_at *at, const struct tree *node)
{
	const char *place;
	struct buf b;

	buf_init(&b, 4096);
	policy_put_place(r, &b, at, node, false);
	place = arena_bytes(&r->scratch, b.p, b.n);
	buf_fini(&b);
	return place ? place : "elsewhere";
}

static void policy_put_finding(struct policy_reader *r, const struct policy_at *at,
	const struct tree *node, bool at_key, const char *kind, const char *fmt, va_list ap)
	PRINTF_LIKE(6, 0);

static void policy_put_finding(struct policy_reader *r, const struct policy_at *at,
	const struct tree *node, bool at_key, const char *kind, const char *fmt, va_list ap)
{
	struct buf line;

	if (r->findings++ >= POLICY_MAX_FINDINGS)
		return;
	buf_init(&line, 16384);
	policy_put_place(r, &line, at, node, at_key);
	(void)buf_str(&line, kind);
	(void)buf_vprintf(&line, fmt, ap);
	place_clean(line.p, line.n);
	(void)buf_char(&line, '\n');
	(void)buf_slice(r->report, buf_view(&line));
	buf_fini(&line);
}

void policy_error(struct policy_reader *r, const struct policy_at *at, const struct tree *node,
	const char *fmt, ...)
{
	va_list ap;

	r->errors++;
	va_start(ap, fmt);
	policy_put_finding(r, at, node, false, ": ", fmt, ap);
	va_end(ap);
}

void policy_missing(struct policy_reader *r, const struct policy_at *at, const char *fmt, ...)
{
	va_list ap;

	if (r->misspelt == at->node)
		return;
	r->errors++;
	va_start(ap, fmt);
	policy_put_finding(r, at, NULL, false, ": ", fmt, ap);
	va_end(ap);
}

void policy_key_error(struct policy_reader *r, const struct policy_at *at, const struct tree *node,
	const char *fmt, ...)
{
	va_list ap;

	r->errors++;
	va_start(ap, fmt);
	policy_put_finding(r, at, node, true, ": ", fmt, ap);
	va_end(ap);
}

void policy_warn(struct policy_reader *r, const struct policy_at *at, const struct tree *node,
	const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	policy_put_finding(r, at, node, false, ": warning: ", fmt, ap);
	va_end(ap);
}

static const struct policy_field *policy_field(enum policy_object object, struct slice key)
{
	for (size_t i = 0; i < ARRAY_LEN(policy_fields); i++) {
		if (policy_fields[i].object == object && slice_eq(policy_fields[i].key, key))
			return &policy_fields[i];
	}
	return NULL;
}

static void policy_unknown_key(struct policy_reader *r, const struct policy_at *at,
	enum policy_object object, const struct tree *node)
{
	struct slice known[ARRAY_LEN(policy_fields)], near;
	struct buf list;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(policy_fields); i++) {
		if (policy_fields[i].object == object && !policy_fields[i].later)
			known[n++] = policy_fields[i].key;
	}
	r->misspelt = at->node;
	near = text_near(node->key, known, n);
	if (near.n) {
		policy_key_error(r, at, node,
			"unknown key '" PLACE_FMT "' in %s, did you mean '" SLICE_FMT "'?",
			PLACE_ARG(node->key), policy_object_names[object], SLICE_ARG(near));
		return;
	}
	buf_init(&list, 1024);
	for (size_t i = 0; i < n; i++)
		(void)buf_printf(&list, "%s" SLICE_FMT, i ? ", " : "", SLICE_ARG(known[i]));
	policy_key_error(r, at, node, "unknown key '" PLACE_FMT "' in %s; known are: %s",
		PLACE_ARG(node->key), policy_object_names[object], buf_cstr(&list));
	buf_fini(&list);
}

bool policy_check_map(
	struct policy_reader *r, const struct policy_at *at, enum policy_object object)
{
	const struct tree *map = at->node;

	if (map->kind != TREE_MAP) {
		policy_error(r, at, NULL, "%s must be a map of keys and values",
			policy_object_names[object]);
		return false;
	}
	for (const struct tree *c = map->child; c; c = c->next) {
		const struct policy_field *f = policy_field(object, c->key);

		if (!f)
			policy_unknown_key(r, at, object, c);
		else if (f->later)
			policy_key_error(r, at, c,
				"not supported yet: '" SLICE_FMT "' in %s; remove it",
				SLICE_ARG(c->key), policy_object_names[object]);
	}
	return true;
}
