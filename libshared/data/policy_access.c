/* Customers with their projects, identities: who may use what, and who pays. */
#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_UNIT_MAX    64
#define POLICY_ACCOUNT_MAX 64
#define POLICY_UID_MAX     4294967294u /* the last one means "no user" to the kernel */

static void policy_read_allowed(
	struct policy_reader *r, const struct policy_at *up, struct policy_project *p)
{
	uint32_t n;
	const struct tree *node = policy_list(r, up, "models", &n);

	p->all_models = !tree_get(up->node, SLICE("models"));
	p->models = policy_alloc(r, n, sizeof(*p->models));
	for (uint32_t i = 0; p->models && node; node = node->next, i++) {
		struct policy_at at = { up, node, "models", i };

		if (node->kind != TREE_SCALAR || node->text.n == 0) {
			policy_error(r, &at, node, "write the name of a model here");
		} else if (slice_eq(node->text, SLICE("*"))) {
			p->all_models = true;
			if (n > 1)
				policy_error(r, &at, node,
					"'*' is every model; remove the other names, or it");
		} else if (policy_names_refer(r, &r->model_names, "model", &at, node, node->text,
				   &p->models[p->n_models])) {
			p->n_models++;
		}
	}
}

static void policy_read_project(
	struct policy_reader *r, const struct policy_at *at, uint32_t customer)
{
	struct policy_project *p = &r->doc->projects[r->doc->n_projects];
	const struct tree *node;
	struct slice name;

	if (!policy_check_map(r, at, POLICY_project))
		return;
	p->customer = customer;
	node = policy_name(r, at, &name);
	if (node) {
		p->name = policy_copy(r, name);
		policy_names_add(r, &r->project_names, at, node, name, r->doc->n_projects);
	}
	policy_read_allowed(r, at, p);
	policy_tags(r, at, "require_tags", &p->require_tags);
	p->require_tags |= r->doc->customers[customer].require_tags;
	policy_read_concurrency(r, at, &p->concurrency);
	r->doc->n_projects++;
}

static uint32_t policy_count_projects(const struct policy_section *customers)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < customers->n; i++) {
		const struct tree *projects = tree_get(customers->items[i], SLICE("projects"));

		n += projects && projects->kind == TREE_LIST ? projects->n : 0;
	}
	return n;
}

static void policy_read_projects(
	struct policy_reader *r, const struct policy_at *up, uint32_t customer)
{
	const struct tree *given = tree_get(up->node, SLICE("projects")), *node;
	uint32_t n;

	if (!given || given->kind == TREE_NULL)
		return;
	node = policy_list(r, up, "projects", &n);
	for (uint32_t i = 0; r->doc->projects && node; node = node->next, i++) {
		struct policy_at at = { up, node, "projects", i };

		policy_read_project(r, &at, customer);
	}
}

void policy_read_customers(struct policy_reader *r)
{
	uint32_t n_projects = policy_count_projects(&r->customers);
	struct policy_customer *all = policy_alloc(r, r->customers.n, sizeof(*all));

	policy_names_init(r, &r->customer_names, r->customers.n);
	policy_names_init(r, &r->project_names, n_projects);
	r->doc->customers = all;
	r->doc->projects = policy_alloc(r, n_projects, sizeof(*r->doc->projects));
	for (uint32_t i = 0; all && i < r->customers.n; i++) {
		struct policy_at at = { NULL, r->customers.items[i], "customers", i };
		const struct tree *node;
		struct slice name;

		if (!policy_check_map(r, &at, POLICY_customer))
			continue;
		node = policy_name(r, &at, &name);
		if (node) {
			all[i].name = policy_copy(r, name);
			policy_names_add(r, &r->customer_names, &at, node, name, i);
		}
		policy_tags(r, &at, "require_tags", &all[i].require_tags);
		r->doc->n_customers++;
		policy_read_projects(r, &at, i);
	}
}

static const char *const policy_identity_keys[] = {
	[IDENTITY_uid] = "uid",
	[IDENTITY_user] = "user",
	[IDENTITY_group] = "group",
	[IDENTITY_unit] = "unit",
};

/* As the kernel and systemd write them, never a pattern. */
static bool policy_is_account(enum policy_identity_kind kind, struct slice s)
{
	size_t max = kind == IDENTITY_unit ? POLICY_UNIT_MAX : POLICY_ACCOUNT_MAX;

	if (s.n == 0 || s.n > max)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("\"'*?/", s.p[i]))
			return false;
	}
	return kind != IDENTITY_unit || memchr(s.p + 1, '.', s.n - 1);
}

static void policy_read_caller(struct policy_reader *r, const struct policy_at *at,
	enum policy_identity_kind kind, struct policy_identity *id)
{
	const char *key = policy_identity_keys[kind];
	struct slice s;
	const struct tree *node = policy_text(r, at, key, POLICY_REQUIRED, &s);
	uint64_t uid;

	id->kind = kind;
	if (!node)
		return;
	if (kind == IDENTITY_uid) {
		if (node->quoted || text_parse_u64(s, &uid) < 0 || uid > POLICY_UID_MAX)
			policy_error(r, at, node,
				"'uid' is '" PLACE_FMT "': write a number from 0 to %u",
				PLACE_ARG(s), POLICY_UID_MAX);
		else
			id->uid = (uint32_t)uid;
		return;
	}
	if (!policy_is_account(kind, s))
		policy_error(r, at, node, "'" PLACE_FMT "' can't be a %s; %s", PLACE_ARG(s), key,
			kind == IDENTITY_unit ? "write a unit's whole name, such as web.service"
					      : "write its plain name");
	else
		id->value = policy_copy(r, s);
}

static void policy_read_identity(
	struct policy_reader *r, const struct policy_at *at, struct policy_identity *id)
{
	const struct tree *found = NULL, *node;
	enum policy_identity_kind kind = IDENTITY_uid;
	struct slice project;

	for (size_t i = 0; i < ARRAY_LEN(policy_identity_keys); i++) {
		node = tree_get(at->node, slice_str(policy_identity_keys[i]));
		if (node && found)
			policy_key_error(r, at, node,
				"an identity is one of uid, user, group, unit; make two items of "
				"it");
		if (node && !found)
			kind = (enum policy_identity_kind)i;
		found = node ? node : found;
	}
	if (!found)
		policy_missing(r, at, "an identity needs one of uid, user, group, unit; add it");
	else
		policy_read_caller(r, at, kind, id);
	node = policy_text(r, at, "project", POLICY_REQUIRED, &project);
	if (node)
		(void)policy_names_refer(
			r, &r->project_names, "project", at, node, project, &id->project);
	policy_read_concurrency(r, at, &id->concurrency);
}

void policy_read_identities(struct policy_reader *r)
{
	struct policy_identity *all = policy_alloc(r, r->identities.n, sizeof(*all));

	r->doc->identities = all;
	for (uint32_t i = 0; all && i < r->identities.n; i++) {
		struct policy_at at = { NULL, r->identities.items[i], "identities", i };

		if (!policy_check_map(r, &at, POLICY_identity))
			continue;
		policy_read_identity(r, &at, &all[i]);
		r->doc->n_identities++;
	}
}
