#include "request/rules.h"

#include <aigw/text.h>

#define MODEL_JSON_MAX (POLICY_MODEL_NAME_MAX * 6 + 2)

static int build_targets(struct rules *r)
{
	const struct policy_doc *d = r->policy->doc;

	/* Reserved at once: slices into it must not move. */
	if (d->n_targets && buf_reserve(&r->text, (size_t)d->n_targets * MODEL_JSON_MAX))
		return -ENOMEM;
	for (uint32_t i = 0; i < d->n_targets; i++) {
		size_t at = r->text.n;

		if (text_json_quote(&r->text, d->targets[i].model))
			return -ENOMEM;
		r->model_json[i] = slice_of(r->text.p + at, r->text.n - at);
	}
	return 0;
}

static int build_tunnel(struct rules *r, uint32_t i)
{
	struct slice credential = secret_set_get(r->secrets, SLICE(PROXY_SECRET), NULL, NULL);
	struct buf b;
	int err;

	buf_init(&b, 65536);
	err = proxy_request(&r->policy->doc->providers[i].url, credential, &b);
	if (!err)
		err = secret_set(&r->tunnel[i], buf_view(&b));
	if (b.n)
		explicit_bzero(b.p, b.n);
	buf_fini(&b);
	return err;
}

static int build_provider(
	struct rules *r, uint32_t i, struct tls_trust **trust_cache, struct errbuf *e)
{
	const struct policy_doc *d = r->policy->doc;
	const struct policy_provider *p = &d->providers[i];
	char path[4096];
	int err;

	for (uint32_t k = 0; k < p->n_credentials; k++) {
		struct slice *secret = &r->credential[p->credentials - d->credentials + k];

		*secret = secret_set_get(r->secrets, p->credentials[k], NULL, NULL);
		r->usable[i] |= (uint32_t)(secret->n > 0) << k;
	}
	atomic_store_explicit(&r->policy->found[i], r->usable[i], memory_order_relaxed);
	if (!p->url.tls)
		return 0;
	if (proxy_takes(r->proxy, &p->url) && build_tunnel(r, i))
		return err_set(e, -ENOMEM, "out of memory");
	if (p->ca_file.n) {
		if (p->ca_file.n >= sizeof(path))
			return err_set(e, -ENAMETOOLONG,
				"provider " SLICE_FMT ": ca_file is too long", SLICE_ARG(p->name));
		memcpy(path, p->ca_file.p, p->ca_file.n);
		path[p->ca_file.n] = '\0';
		return tls_trust_new(path, &r->trust[i], e);
	}
	if (!*trust_cache) {
		err = tls_trust_new(NULL, trust_cache, e);
		if (err)
			return err;
	}
	r->trust[i] = tls_trust_ref(*trust_cache);
	return 0;
}

int rules_build(struct policy *policy, struct secret_set *secrets, const struct proxy *proxy,
	struct tls_trust **trust_cache, struct rules **ret, struct errbuf *e)
{
	const struct policy_doc *d = policy->doc;
	struct rules *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	r->refs = 1;
	r->policy = policy_ref(policy);
	r->secrets = secret_set_ref(secrets);
	buf_init(&r->text, SIZE_MAX / 2);
	r->model_json = calloc(MAX(d->n_targets, 1u), sizeof(*r->model_json));
	r->credential = calloc(MAX(d->n_credentials, 1u), sizeof(*r->credential));
	r->usable = calloc(MAX(d->n_providers, 1u), sizeof(*r->usable));
	r->trust = calloc(MAX(d->n_providers, 1u), sizeof(*r->trust));
	r->tunnel = calloc(MAX(d->n_providers, 1u), sizeof(*r->tunnel));
	r->proxy = proxy;
	err = r->model_json && r->credential && r->usable && r->trust && r->tunnel
		      ? build_targets(r)
		      : -ENOMEM;
	if (err)
		err = err_set(e, err, "out of memory");
	for (uint32_t i = 0; !err && i < d->n_providers; i++)
		err = build_provider(r, i, trust_cache, e);
	if (err) {
		rules_unref(r);
		return err;
	}
	*ret = r;
	return 0;
}

struct health_ways rules_ways(const struct rules *r, uint32_t target)
{
	struct policy_places p = policy_places_of(r->policy, target);

	return (struct health_ways){ .target = p.target,
		.credentials = p.credentials,
		.pairs = p.pairs,
		.n = p.n,
		.drain = p.drain,
		.calls = p.calls,
		.concurrency = p.concurrency,
		.usable = r->usable[r->policy->doc->targets[target].provider] };
}

static struct slice secret_of(const struct rules *r, uint32_t provider, uint32_t k)
{
	const struct policy_doc *d = r->policy->doc;
	const struct policy_provider *p = &d->providers[provider];

	return k < p->n_credentials ? r->credential[p->credentials - d->credentials + k]
				    : SLICE_EMPTY;
}

bool rules_same_secret(const struct rules *a, uint32_t provider, uint32_t k, const struct rules *b,
	uint32_t other, uint32_t l)
{
	return secret_eq(secret_of(a, provider, k), secret_of(b, other, l));
}

/* Choke point: the only function that hands a provider's credential to the wire. */
void rules_put_credential(const struct rules *r, uint32_t provider, uint32_t k, struct buf *b)
{
	struct slice secret = secret_of(r, provider, k);

	if (!secret.n)
		return;
	(void)buf_str(b, "authorization: Bearer ");
	(void)buf_slice(b, secret);
	(void)buf_str(b, "\r\n");
}

int rules_pool(const struct rules *r, uint32_t provider, struct loop *l, struct stats_block *stats,
	struct pool **ret)
{
	const struct policy_provider *p = &r->policy->doc->providers[provider];
	const struct pool_config c = {
		.loop = l,
		.stats = stats,
		.stat_slot = r->policy->provider_stat[provider],
		.base_url = p->base_url,
		.ca_file = p->ca_file,
		.url = p->url,
		.trust = r->trust[provider],
		.proxy = r->tunnel[provider].n ? &r->proxy->url : NULL,
		.tunnel = secret_expose(&r->tunnel[provider]),
	};

	return pool_new(&c, ret);
}

struct rules *rules_ref(struct rules *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void rules_unref(struct rules *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; r->trust && i < r->policy->doc->n_providers; i++)
		tls_trust_unref(r->trust[i]);
	for (uint32_t i = 0; r->tunnel && i < r->policy->doc->n_providers; i++)
		secret_fini(&r->tunnel[i]);
	free(r->tunnel);
	free(r->trust);
	free(r->usable);
	free(r->credential);
	free(r->model_json);
	buf_fini(&r->text);
	secret_set_unref(r->secrets);
	policy_unref(r->policy);
	free(r);
}

/* --- a worker's
 * ---------------------------------------------------------------------------------------- */

static _Atomic uint64_t serials;

static struct pool *pool_of_old(
	const struct worker_rules *old, const struct policy_provider *p, struct slice tunnel)
{
	if (!old)
		return NULL;
	for (uint32_t i = 0; i < old->rules->policy->doc->n_providers; i++) {
		const struct policy_provider *o = &old->rules->policy->doc->providers[i];

		if (slice_eq(o->name, p->name) && slice_eq(o->base_url, p->base_url) &&
			slice_eq(o->ca_file, p->ca_file) &&
			slice_eq(secret_expose(&old->rules->tunnel[i]), tunnel))
			return pool_ref(old->pools[i]);
	}
	return NULL;
}

int worker_rules_new(struct rules *r, const struct worker_rules *old, struct loop *l,
	struct stats_block *stats, struct worker_rules **ret)
{
	const struct policy_doc *d = r->policy->doc;
	struct worker_rules *w = calloc(1, sizeof(*w));
	int err = 0;

	if (!w)
		return -ENOMEM;
	w->refs = 1;
	w->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed) + 1;
	w->rules = rules_ref(r);
	w->pools = calloc(MAX(d->n_providers, 1u), sizeof(*w->pools));
	w->prices = calloc(MAX(d->n_targets, 1u), sizeof(*w->prices));
	w->retry_credit = calloc(MAX(d->n_models, 1u), sizeof(*w->retry_credit));
	w->turn = calloc(MAX(d->n_providers, 1u), sizeof(*w->turn));
	if (!w->pools || !w->prices || !w->retry_credit || !w->turn)
		err = -ENOMEM;
	for (uint32_t i = 0; !err && i < d->n_targets; i++)
		w->prices[i].day = -1;
	for (uint32_t i = 0; !err && i < d->n_models; i++)
		w->retry_credit[i] = RETRY_CREDIT_MAX;
	for (uint32_t i = 0; !err && i < d->n_providers; i++) {
		w->pools[i] = pool_of_old(old, &d->providers[i], secret_expose(&r->tunnel[i]));
		if (!w->pools[i])
			err = rules_pool(r, i, l, stats, &w->pools[i]);
	}
	if (err) {
		worker_rules_unref(w);
		return err;
	}
	*ret = w;
	return 0;
}

struct worker_rules *worker_rules_ref(struct worker_rules *w)
{
	w->refs++;
	return w;
}

void worker_rules_unref(struct worker_rules *w)
{
	if (!w || --w->refs)
		return;
	for (uint32_t i = 0; w->pools && i < w->rules->policy->doc->n_providers; i++)
		pool_unref(w->pools[i]);
	free(w->pools);
	free(w->prices);
	free(w->retry_credit);
	free(w->turn);
	rules_unref(w->rules);
	free(w);
}

const struct policy_price *worker_rules_price(struct worker_rules *w, uint32_t target, usec wall_us)
{
	const struct policy_doc *d = w->rules->policy->doc;
	struct price_memo *m = &w->prices[target];
	int64_t day = wall_us / (86400 * USEC_PER_S);

	if (m->day != day) {
		m->price = policy_doc_price(
			d, d->targets[target].provider, d->targets[target].model, wall_us);
		m->day = day;
	}
	return m->price;
}
