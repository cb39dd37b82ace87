#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_TIMEOUT_MIN USEC_PER_MS
#define POLICY_TIMEOUT_MAX (24 * 3600 * USEC_PER_S)

struct slice policy_copy(struct policy_reader *r, struct slice s)
{
	struct slice copy = arena_slice(&r->doc->arena, s);

	if (!copy.p)
		policy_out_of_memory(r);
	return copy;
}

void *policy_alloc(struct policy_reader *r, size_t n, size_t size)
{
	void *p;

	if (n == 0)
		return NULL;
	p = n <= SIZE_MAX / size ? arena_alloc(&r->doc->arena, n * size) : NULL;
	if (!p)
		policy_out_of_memory(r);
	return p;
}

const struct tree *policy_text(struct policy_reader *r, const struct policy_at *at, const char *key,
	enum policy_need need, struct slice *ret)
{
	const struct tree *node = tree_get(at->node, slice_str(key));

	if (!node) {
		if (need == POLICY_REQUIRED)
			policy_missing(r, at, "'%s' is missing here; add it", key);
		return NULL;
	}
	if (node->kind == TREE_NULL || (node->kind == TREE_SCALAR && node->text.n == 0)) {
		policy_error(r, at, node, "'%s' has no value; write one or remove the key", key);
		return NULL;
	}
	if (node->kind != TREE_SCALAR) {
		policy_error(r, at, node, "'%s' must be a single value, not a %s", key,
			node->kind == TREE_LIST ? "list" : "map");
		return NULL;
	}
	*ret = node->text;
	return node;
}

static bool policy_is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool policy_is_name(struct slice s, size_t max)
{
	if (s.n == 0 || s.n > max || !policy_is_alnum(s.p[0]))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!policy_is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '_' && s.p[i] != '-')
			return false;
	}
	return true;
}

bool policy_is_model_name(struct slice s)
{
	if (s.n == 0 || s.n > POLICY_MODEL_NAME_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("\"'`\\", s.p[i]))
			return false;
	}
	return true;
}

const struct tree *policy_name(
	struct policy_reader *r, const struct policy_at *at, struct slice *ret)
{
	const struct tree *node = policy_text(r, at, "name", POLICY_REQUIRED, ret);

	if (node && !policy_is_name(*ret, POLICY_NAME_MAX)) {
		policy_error(r, at, node,
			"'" PLACE_FMT "' can't be a name: use 1 to %d of A-Z a-z 0-9 . _ -, "
			"beginning with a letter or digit",
			PLACE_ARG(*ret), POLICY_NAME_MAX);
		return NULL;
	}
	return node;
}

const struct tree *policy_model_name(
	struct policy_reader *r, const struct policy_at *at, const char *key, struct slice *ret)
{
	const struct tree *node = policy_text(r, at, key, POLICY_REQUIRED, ret);

	if (node && !policy_is_model_name(*ret)) {
		policy_error(r, at, node,
			"'" PLACE_FMT "' can't be a model's name: use 1 to %d printable ASCII "
			"characters without spaces, quotes and backslashes",
			PLACE_ARG(*ret), POLICY_MODEL_NAME_MAX);
		return NULL;
	}
	return node;
}

void policy_duration(struct policy_reader *r, const struct policy_at *at, const char *key,
	usec preset, usec *ret)
{
	struct slice s;
	const struct tree *node = policy_text(r, at, key, POLICY_OPTIONAL, &s);
	usec d;
	int res;

	*ret = preset;
	if (!node)
		return;
	res = text_parse_duration(s, &d);
	if (res == -EINVAL)
		policy_error(r, at, node,
			"'%s' is '" PLACE_FMT "': write a whole number with its unit, such as "
			"500ms, 2s or 10m",
			key, PLACE_ARG(s));
	else if (res < 0 || d < POLICY_TIMEOUT_MIN || d > POLICY_TIMEOUT_MAX)
		policy_error(r, at, node, "'%s' is " PLACE_FMT ": it may be 1ms to 24h", key,
			PLACE_ARG(s));
	else
		*ret = d;
}

void policy_bool(struct policy_reader *r, const struct policy_at *at, const char *key, bool preset,
	bool *ret)
{
	struct slice s;
	const struct tree *node = policy_text(r, at, key, POLICY_OPTIONAL, &s);

	*ret = preset;
	if (!node)
		return;
	if (!node->quoted && slice_eq(s, SLICE("true")))
		*ret = true;
	else if (!node->quoted && slice_eq(s, SLICE("false")))
		*ret = false;
	else
		policy_error(r, at, node, "'%s' is '" PLACE_FMT "': write true or false%s", key,
			PLACE_ARG(s), node->quoted ? ", without quotes" : "");
}

static void policy_number(struct policy_reader *r, const struct policy_at *at, const char *key,
	const char *unit, uint32_t min, uint32_t max, uint32_t *ret)
{
	struct slice s, digits;
	const struct tree *node = policy_text(r, at, key, POLICY_OPTIONAL, &s);
	size_t unit_n = strlen(unit);
	uint64_t n;

	if (!node)
		return;
	digits = s.n > unit_n ? slice_of(s.p, s.n - unit_n) : SLICE_EMPTY;
	if (!digits.n || memcmp(s.p + digits.n, unit, unit_n) != 0 ||
		text_parse_u64(digits, &n) < 0 || n < min || n > max)
		policy_error(r, at, node,
			"'%s' is '" PLACE_FMT "': write a whole number from %" PRIu32 "%s to "
			"%" PRIu32 "%s",
			key, PLACE_ARG(s), min, unit, max, unit);
	else
		*ret = (uint32_t)n;
}

void policy_count(struct policy_reader *r, const struct policy_at *at, const char *key,
	uint32_t min, uint32_t max, uint32_t preset, uint32_t *ret)
{
	*ret = preset;
	policy_number(r, at, key, "", min, max, ret);
}

void policy_percent(struct policy_reader *r, const struct policy_at *at, const char *key,
	uint32_t max, uint32_t preset, uint32_t *ret)
{
	*ret = preset;
	policy_number(r, at, key, "%", 0, max, ret);
}

void policy_choice(struct policy_reader *r, const struct policy_at *at, const char *key,
	const char *const *words, unsigned preset, unsigned *ret)
{
	struct slice s;
	const struct tree *node = policy_text(r, at, key, POLICY_OPTIONAL, &s);
	char list[256] = "";
	size_t n = 0;

	*ret = preset;
	if (!node)
		return;
	for (unsigned i = 0; words[i]; i++) {
		if (slice_eq(s, slice_str(words[i]))) {
			*ret = i;
			return;
		}
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s",
			!i             ? ""
			: words[i + 1] ? ", "
				       : " or ",
			words[i]);
	}
	policy_error(r, at, node, "'%s' is '" PLACE_FMT "': write %s", key, PLACE_ARG(s), list);
}

bool policy_amount(
	struct policy_reader *r, const struct policy_at *at, const char *key, int64_t *ret_nano)
{
	struct slice s;
	const struct tree *node = policy_text(r, at, key, POLICY_OPTIONAL, &s);
	int res = node ? text_parse_nano(s, false, ret_nano) : 0;

	if (res == -ERANGE)
		policy_error(r, at, node, "'%s' is " PLACE_FMT ": too large an amount", key,
			PLACE_ARG(s));
	else if (res < 0)
		policy_error(r, at, node,
			"'%s' is '" PLACE_FMT "': write a decimal amount with at most nine "
			"decimals, such as 0.15",
			key, PLACE_ARG(s));
	return node && res == 0;
}

const struct tree *policy_list(
	struct policy_reader *r, const struct policy_at *at, const char *key, uint32_t *ret_n)
{
	const struct tree *node = tree_get(at->node, slice_str(key));

	*ret_n = 0;
	if (!node)
		return NULL;
	if (node->kind == TREE_NULL) {
		policy_error(r, at, node, "'%s' has no value; write [] or remove the key", key);
		return NULL;
	}
	if (node->kind != TREE_LIST) {
		policy_error(
			r, at, node, "'%s' must be a list: write [...] or lines with '- '", key);
		return NULL;
	}
	if (node->n > POLICY_MAX_ITEMS) {
		policy_error(r, at, node, "'%s' has more than %d items", key, POLICY_MAX_ITEMS);
		return NULL;
	}
	*ret_n = node->n;
	return node->child;
}
