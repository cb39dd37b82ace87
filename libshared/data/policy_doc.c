/* The packed form is the tree {features: [...], policy: {...}} with the sections in one order. Its
 * SHA-256 is the policy's digest; who gets it validates it anew, with the same code. */
#include <aigw/atomic_file.h>
#include <aigw/digest.h>
#include <aigw/text.h>

#include "policy_read.h"

#define POLICY_ARENA_CHUNK 16384
#define POLICY_ARENA_MAX   (512u << 20)
#define POLICY_DAY_US      (86400 * USEC_PER_S)

const char *const policy_features[] = { "ca_file/1", "core/1", "per_minute/1", "routing/1",
	"routing/2", "stream_usage/1", NULL };

void policy_doc_free(struct policy_doc *d)
{
	if (!d)
		return;
	buf_fini(&d->packed);
	arena_fini(&d->arena);
	free(d);
}

static struct policy_doc *policy_doc_new(void)
{
	struct policy_doc *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	arena_init(&d->arena, POLICY_ARENA_CHUNK, POLICY_ARENA_MAX);
	buf_init(&d->packed, POLICY_PACKED_MAX);
	return d;
}

static void policy_list_features(struct policy_reader *r)
{
	struct policy_doc *d = r->doc;

	d->features = policy_alloc(r, ARRAY_LEN(policy_features), sizeof(*d->features));
	if (!d->features)
		return;
	if (r->uses_ca_file)
		d->features[d->n_features++] = SLICE("ca_file/1");
	d->features[d->n_features++] = SLICE("core/1");
	if (r->uses_per_minute)
		d->features[d->n_features++] = SLICE("per_minute/1");
	if (r->uses_routing)
		d->features[d->n_features++] = SLICE("routing/1");
	if (r->uses_routing_2)
		d->features[d->n_features++] = SLICE("routing/2");
	if (r->uses_stream_usage)
		d->features[d->n_features++] = SLICE("stream_usage/1");
}

static int policy_order(struct slice a, struct slice b)
{
	size_t n = MIN(a.n, b.n);
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int policy_price_order(const void *a, const void *b)
{
	const struct policy_price *x = a, *y = b;
	int c = policy_order(x->provider, y->provider);

	if (c == 0)
		c = policy_order(x->model, y->model);
	return c ? c : (x->from_day > y->from_day) - (x->from_day < y->from_day);
}

/* {features, policy}, then its digest. */
static void policy_pack(struct policy_reader *r)
{
	struct policy_doc *d = r->doc;
	struct tree words[ARRAY_LEN(policy_features)];
	struct tree policy = *r->root;
	struct tree features = { .kind = TREE_LIST,
		.key = SLICE("features"),
		.next = &policy,
		.child = words,
		.n = d->n_features };
	struct tree top = { .kind = TREE_MAP, .child = &features, .n = 2 };
	int res;

	for (uint32_t i = 0; i < d->n_features; i++)
		words[i] = (struct tree){ .kind = TREE_SCALAR,
			.text = d->features[i],
			.next = i + 1 < d->n_features ? &words[i + 1] : NULL };
	res = tree_pack(&top, &d->packed);
	if (res == -ENOBUFS)
		policy_error(r, NULL, NULL, "the policy is larger than %u MiB; make it smaller",
			POLICY_PACKED_MAX >> 20);
	else if (res < 0)
		policy_out_of_memory(r);
}

static void policy_read_all(struct policy_reader *r, const struct tree *const *roots, unsigned n)
{
	struct policy_doc *d = r->doc;

	policy_merge(r, roots, n);
	if (!r->root || r->no_memory)
		return;
	policy_read_settings(r);
	policy_read_providers(r);
	policy_read_prices(r);
	policy_read_models(r);
	policy_read_default_model(r);
	policy_read_customers(r);
	policy_read_identities(r);
	policy_list_features(r);
	if (r->errors || r->no_memory)
		return;
	if (d->n_prices)
		qsort(d->prices, d->n_prices, sizeof(*d->prices), policy_price_order);
	policy_warnings(r);
	policy_pack(r);
}

static void policy_digest(struct policy_doc *d)
{
	struct slice packed = buf_view(&d->packed);

	digest_sha256(&packed, 1, d->digest);
}

int policy_doc_build(const struct tree *const *roots, const char *const *names, unsigned n,
	struct policy_doc **ret, struct buf *report)
{
	struct policy_reader r = { .report = report, .names = names, .n_names = names ? n : 0 };

	r.doc = policy_doc_new();
	if (!r.doc)
		return -ENOMEM;
	arena_init(&r.scratch, POLICY_ARENA_CHUNK, POLICY_ARENA_MAX);
	if (n == 0)
		policy_error(&r, NULL, NULL, "no policy file is given; name at least one");
	else
		policy_read_all(&r, roots, n);
	arena_fini(&r.scratch);
	if (r.no_memory || r.errors) {
		policy_doc_free(r.doc);
		return r.no_memory ? -ENOMEM : -EINVAL;
	}
	policy_digest(r.doc);
	*ret = r.doc;
	return 0;
}

static int policy_check_features(const struct tree *top, struct errbuf *e)
{
	const struct tree *list = tree_get(top, SLICE("features"));

	if (!list || list->kind != TREE_LIST)
		return err_set(e, -EINVAL, "the policy document has no list of features");
	for (const struct tree *c = list->child; c; c = c->next) {
		bool known = false;

		for (size_t i = 0; policy_features[i] && !known; i++)
			known = c->kind == TREE_SCALAR &&
				slice_eq(c->text, slice_str(policy_features[i]));
		if (!known)
			return err_set(e, -ENOTSUP,
				"the policy needs the feature '" PLACE_FMT
				"', which this version lacks; upgrade it",
				PLACE_ARG(c->text));
	}
	return 0;
}

/* An agent must not run what its features list kept from it. */
static int policy_compare_features(
	const struct tree *top, const struct policy_doc *d, struct errbuf *e)
{
	const struct tree *c = tree_get(top, SLICE("features"))->child;
	uint32_t i = 0;

	for (; c && i < d->n_features && slice_eq(c->text, d->features[i]); i++)
		c = c->next;
	if (c || i < d->n_features)
		return err_set(e, -EINVAL, "the policy document's list of features is wrong");
	return 0;
}

static int policy_first_error(struct buf *report, int code, struct errbuf *e)
{
	struct slice line = buf_view(report);
	const char *end = line.n ? memchr(line.p, '\n', line.n) : NULL;

	if (code == -ENOMEM || !end)
		return err_set(e, code, "out of memory");
	return err_set(e, code, "%.*s", (int)(end - line.p), line.p);
}

static int policy_unpack_tree(
	const struct tree *top, struct slice packed, struct policy_doc **ret, struct errbuf *e)
{
	const struct tree *policy = tree_get(top, SLICE("policy"));
	struct policy_doc *d = NULL;
	struct buf report;
	int r = policy_check_features(top, e);

	if (r < 0)
		return r;
	if (!policy || top->n != 2)
		return err_set(e, -EINVAL, "the policy document is not {features, policy}");
	buf_init(&report, 1u << 20);
	r = policy_doc_build(&policy, NULL, 1, &d, &report);
	if (r < 0)
		r = policy_first_error(&report, r, e);
	buf_fini(&report);
	if (r == 0)
		r = policy_compare_features(top, d, e);
	if (r == 0) {
		/* The bytes as they came: their digest is what sender and receiver speak of. */
		buf_reset(&d->packed);
		r = buf_slice(&d->packed, packed);
		if (r < 0)
			(void)err_set(e, r, "out of memory");
	}
	if (r < 0) {
		policy_doc_free(d);
		return r;
	}
	policy_digest(d);
	*ret = d;
	return 0;
}

int policy_doc_unpack(struct slice packed, struct policy_doc **ret, struct errbuf *e)
{
	struct arena scratch;
	struct tree *top;
	int r;

	if (packed.n > POLICY_PACKED_MAX)
		return err_set(e, -EINVAL, "the policy document is larger than %u MiB",
			POLICY_PACKED_MAX >> 20);
	arena_init(&scratch, POLICY_ARENA_CHUNK, POLICY_ARENA_MAX);
	r = tree_unpack(&scratch, packed, &top, e);
	if (r == 0)
		r = policy_unpack_tree(top, packed, ret, e);
	arena_fini(&scratch);
	return r == -EBADMSG ? -EINVAL : r;
}

static int policy_read_file(
	struct arena *a, const char *path, uint16_t file, struct tree **ret, struct buf *report)
{
	struct errbuf e;
	struct buf text;
	int r;

	buf_init(&text, TREE_MAX_BYTES);
	r = file_read(path, &text, &e);
	if (r == 0)
		r = tree_from_yaml(a, buf_view(&text), path, file, ret, &e);
	buf_fini(&text);
	if (r < 0)
		(void)buf_printf(report, "%s\n", e.text);
	return r;
}

int policy_doc_from_files(
	const char *const *paths, unsigned n, struct policy_doc **ret, struct buf *report)
{
	struct tree **roots = NULL;
	struct arena scratch;
	unsigned wrong = 0;
	int r = 0;

	arena_init(&scratch, POLICY_ARENA_CHUNK, POLICY_ARENA_MAX);
	if (n > UINT16_MAX) {
		(void)buf_str(report, "more than 65535 policy files\n");
		return -EINVAL;
	}
	roots = arena_alloc(&scratch, MAX(n, 1u) * sizeof(*roots));
	if (!roots)
		r = -ENOMEM;
	for (unsigned i = 0; i < n && r != -ENOMEM; i++) {
		r = policy_read_file(&scratch, paths[i], (uint16_t)i, &roots[i], report);
		wrong += r < 0;
	}
	if (r != -ENOMEM)
		r = wrong ? -EINVAL
			  : policy_doc_build(
				    (const struct tree *const *)roots, paths, n, ret, report);
	arena_fini(&scratch);
	return r;
}

/* The last row of (provider, model) that begins on `day` or before; rows are sorted. */
static const struct policy_price *policy_price_on(
	const struct policy_doc *d, struct slice provider, struct slice model, int64_t day)
{
	struct policy_price key = { .provider = provider, .model = model, .from_day = day };
	uint32_t low = 0, high = d->n_prices;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (policy_price_order(&d->prices[mid], &key) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0 || !slice_eq(d->prices[low - 1].provider, provider) ||
		!slice_eq(d->prices[low - 1].model, model))
		return NULL;
	return &d->prices[low - 1];
}

const struct policy_price *policy_doc_price(
	const struct policy_doc *d, uint32_t provider, struct slice model, usec wall_us)
{
	int64_t day = wall_us / POLICY_DAY_US - (wall_us % POLICY_DAY_US < 0);
	const struct policy_price *p;

	ASSERT(provider < d->n_providers);
	p = policy_price_on(d, d->providers[provider].name, model, day);
	return p ? p : policy_price_on(d, d->providers[provider].name, SLICE("*"), day);
}
