/* What a provider's failures mean, and after which of them another try follows. */
#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_CODE_MAX 128

static void policy_unknown_class(
	struct policy_reader *r, const struct policy_at *at, const struct tree *node)
{
	struct slice names[CLASS_COUNT - 1], near;
	struct buf list;

	buf_init(&list, 512);
	for (unsigned i = 1; i < CLASS_COUNT; i++) {
		names[i - 1] = slice_str(error_class_name((enum error_class)i));
		(void)buf_printf(&list, "%s" SLICE_FMT, i > 1 ? ", " : "", SLICE_ARG(names[i - 1]));
	}
	near = text_near(node->text, names, CLASS_COUNT - 1);
	if (near.n)
		policy_error(r, at, node,
			"there is no class '" PLACE_FMT "' of errors, did you mean '" PLACE_FMT
			"'?",
			PLACE_ARG(node->text), PLACE_ARG(near));
	else
		policy_error(r, at, node,
			"there is no class '" PLACE_FMT "' of errors; there are: %s",
			PLACE_ARG(node->text), buf_cstr(&list));
	buf_fini(&list);
}

static void policy_read_error(struct policy_reader *r, const struct policy_at *at,
	const struct tree *node, struct policy_provider *p)
{
	bool printable = node->key.n > 0 && node->key.n <= POLICY_CODE_MAX;

	for (size_t i = 0; i < node->key.n && printable; i++)
		printable = node->key.p[i] > ' ' && node->key.p[i] <= '~';
	if (!printable) {
		policy_key_error(r, at, node,
			"a provider's code must be 1 to %d printable ASCII characters without "
			"spaces",
			POLICY_CODE_MAX);
		return;
	}
	for (unsigned i = 1; node->kind == TREE_SCALAR && i < CLASS_COUNT; i++) {
		if (!slice_eq(node->text, slice_str(error_class_name((enum error_class)i))))
			continue;
		p->errors[p->n_errors++] =
			(struct policy_error){ policy_copy(r, node->key), (enum error_class)i };
		return;
	}
	if (node->kind != TREE_SCALAR)
		policy_error(r, at, node, "write the name of a class of errors here");
	else
		policy_unknown_class(r, at, node);
}

void policy_read_errors(
	struct policy_reader *r, const struct policy_at *up, struct policy_provider *p)
{
	const struct tree *map = tree_get(up->node, SLICE("errors"));
	struct policy_at at = { .up = up, .node = map };

	if (!map)
		return;
	r->uses_routing_2 = true;
	if (map->kind != TREE_MAP) {
		policy_error(r, up, map, "'errors' must be a map of a provider's codes to classes");
		return;
	}
	if (map->n > POLICY_ERRORS_MAX) {
		policy_error(r, up, map, "'errors' has more than %d codes", POLICY_ERRORS_MAX);
		return;
	}
	p->errors = policy_alloc(r, map->n, sizeof(*p->errors));
	for (const struct tree *c = map->child; p->errors && c; c = c->next)
		policy_read_error(r, &at, c, p);
}

/* --- retry.on ------------------------------------------------------------------------- */

static const struct {
	struct slice word;
	uint8_t bit;
} policy_failures[] = {
	{ SLICE_INIT("timeout"), POLICY_ON_timeout },
	{ SLICE_INIT("connect"), POLICY_ON_connect },
	{ SLICE_INIT("reset"), POLICY_ON_reset },
	{ SLICE_INIT("malformed"), POLICY_ON_malformed },
};

static void policy_read_failure(struct policy_reader *r, const struct policy_at *at,
	const struct tree *node, struct policy_retry *retry)
{
	int64_t status;

	if (node->kind == TREE_SCALAR)
		for (size_t i = 0; i < ARRAY_LEN(policy_failures); i++)
			if (slice_eq(node->text, policy_failures[i].word)) {
				retry->on |= policy_failures[i].bit;
				return;
			}
	if (node->kind == TREE_SCALAR && text_parse_i64(node->text, &status) == 0 &&
		status >= 400 && status <= 599) {
		retry->statuses[(status - 400) / 64] |= UINT64_C(1) << (status - 400) % 64;
		return;
	}
	policy_error(r, at, node,
		"write a status from 400 to 599 here, or timeout, connect, reset or malformed");
}

void policy_read_retry_on(
	struct policy_reader *r, const struct policy_at *up, struct policy_retry *retry)
{
	const struct tree *given = tree_get(up->node, SLICE("on")), *node;
	uint32_t n;

	if (!given)
		return;
	r->uses_routing_2 = true;
	retry->picks = true;
	node = policy_list(r, up, "on", &n);
	for (uint32_t i = 0; node; node = node->next, i++) {
		struct policy_at at = { up, node, "on", i };

		policy_read_failure(r, &at, node, retry);
	}
}
