#include "probe/prober.h"

#include <aigw/log.h>

#define PROBE_CALLER    0x70726f62u /* of failures: as if one caller's own */
#define FIRST_WITHIN_US (5 * USEC_PER_S)
#define SOON_US         (500 * USEC_PER_MS)
#define LEAST_US        (50 * USEC_PER_MS) /* between two looks */

struct probed_target {
	uint32_t place;
	uint32_t target; /* one of those that share it */
};

/* A provider that is probed. */
struct probed {
	uint32_t provider;
	struct pool *pool;
	uint32_t n_targets;
	struct probed_target *targets; /* each place once */
	bool saw_failure;
	bool out; /* a circuit is open, at the last look */
};

/* One of its credentials, or none. */
struct probe_slot {
	struct prober *prober;
	struct probed *at;
	uint32_t credential;
	uint32_t place; /* of the last probe's result, and of the credential where there is one */
	bool speaks;    /* for the targets */
	bool saw_refusal, saw_empty;
	bool out; /* something is held or open, at the last look */
	enum probe_verdict verdict;
	usec next_us;
	struct probe *probe; /* on its way */
};

static const struct policy_provider *provider_of(const struct rules *r, uint32_t i)
{
	return &r->policy->doc->providers[i];
}

static const struct policy_provider *slot_provider(const struct probe_slot *s)
{
	return provider_of(s->prober->rules, s->at->provider);
}

static struct slice credential_name(const struct policy_provider *p, uint32_t k)
{
	return k < p->n_credentials ? p->credentials[k] : SLICE("-");
}

/* xorshift64* (Vigna 2016): agents that start together do not ask together. */
static usec by_chance(struct prober *o, usec most)
{
	o->chance ^= o->chance >> 12;
	o->chance ^= o->chance << 25;
	o->chance ^= o->chance >> 27;
	return (usec)(o->chance * UINT64_C(0x2545f4914f6cdd1d) >> 16) % MAX(most, (usec)1);
}

/* --- when ----------------------------------------------------------------------------- */

static usec interval_of(const struct probe_slot *s)
{
	const struct policy_health *h = &slot_provider(s)->health;
	bool trouble =
		s->out || s->saw_refusal || s->saw_empty || (s->speaks && s->at->saw_failure);

	return trouble ? MIN(h->probe_every_us, MAX(h->half_open_us, USEC_PER_S))
		       : h->probe_every_us;
}

/* How long something stays out after a failed probe: until behind the next one's end. */
static usec keep_of(const struct probe_slot *s)
{
	const struct policy_provider *p = slot_provider(s);

	return MIN(2 * interval_of(s) + p->connect_us + p->first_byte_us, 3600 * USEC_PER_S);
}

static bool is_out(const struct probe_slot *s, usec now)
{
	usec recover;
	enum target_state state = health_state(s->prober->health, s->place, now, &recover);

	return state == TARGET_NO_CREDENTIAL || state == TARGET_PROVIDER_QUOTA ||
	       (s->speaks && s->at->out);
}

static bool has_open(const struct prober *o, const struct probed *p, usec now)
{
	usec recover;

	for (uint32_t i = 0; i < p->n_targets; i++) {
		enum target_state s = health_state(o->health, p->targets[i].place, now, &recover);

		if (s == TARGET_OPEN || s == TARGET_PROBING)
			return true;
	}
	return false;
}

/* --- what it comes to ----------------------------------------------------------------- */

#define TARGET_FMT "provider=" SLICE_FMT " model=" SLICE_FMT " by=probe"
#define TARGET_ARGS(s, i)                                                                          \
	SLICE_ARG(slot_provider(s)->name),                                                         \
		SLICE_ARG((s)->prober->rules->policy->doc->targets[(s)->at->targets[i].target]     \
				  .model)

static void targets_failed(const struct probe_slot *s, usec now)
{
	const struct policy_health *rules = &slot_provider(s)->health;
	const struct health_failure f = { .caller = PROBE_CALLER,
		.open_after = rules->open_after,
		.open_us = rules->half_open_us };

	s->at->saw_failure = true;
	for (uint32_t i = 0; i < s->at->n_targets; i++) {
		uint32_t place = s->at->targets[i].place;

		if (health_failed(s->prober->health, place, now, &f))
			log_event(
				LOG_WARNING, "probe", "target.open", TARGET_FMT, TARGET_ARGS(s, i));
		health_keep_open(s->prober->health, place, now, keep_of(s));
	}
}

/* It answers, whatever it says. */
static void targets_live(const struct probe_slot *s)
{
	for (uint32_t i = 0; s->at->saw_failure && i < s->at->n_targets; i++)
		if (health_ok(s->prober->health, s->at->targets[i].place, true))
			log_event(
				LOG_INFO, "probe", "target.closed", TARGET_FMT, TARGET_ARGS(s, i));
	s->at->saw_failure = false;
}

static void credential_good(struct probe_slot *s)
{
	struct health *h = s->prober->health;
	bool back = false;

	if (s->saw_refusal)
		back = health_release_of(h, s->place, TARGET_NO_CREDENTIAL);
	if (s->saw_empty)
		back |= health_release_of(h, s->place, TARGET_PROVIDER_QUOTA);
	s->saw_refusal = s->saw_empty = false;
	if (back)
		log_event(LOG_INFO, "probe", "provider.credential_ok",
			"provider=" SLICE_FMT " credential=" SLICE_FMT " by=probe",
			SLICE_ARG(slot_provider(s)->name),
			SLICE_ARG(credential_name(slot_provider(s), s->credential)));
}

/* Of a provider that is sent none, nothing is held. */
static void credential_bad(struct probe_slot *s, const struct probe_result *r, usec now)
{
	const struct policy_provider *p = slot_provider(s);
	bool refused = r->verdict == PROBE_REFUSED;
	usec us = MAX(refused ? HEALTH_AUTH_US : HEALTH_QUOTA_US, keep_of(s));

	if (!p->n_credentials)
		return;
	s->saw_refusal |= refused;
	s->saw_empty |= !refused;
	if (!health_hold(s->prober->health, s->place,
		    refused ? TARGET_NO_CREDENTIAL : TARGET_PROVIDER_QUOTA, now, us))
		return;
	log_event(refused ? LOG_WARNING : LOG_ERROR, "probe",
		refused ? "provider.auth_failed" : "provider.quota",
		"provider=" SLICE_FMT " credential=" SLICE_FMT " status=%u by=probe",
		SLICE_ARG(p->name), SLICE_ARG(credential_name(p, s->credential)), r->status);
}

static const char *reason_of(const struct probe_result *r)
{
	if (r->failure)
		return attempt_failure_name(r->failure);
	return r->undecodable ? "undecodable" : "status";
}

static void say_change(const struct probe_slot *s, const struct probe_result *r)
{
	const struct policy_provider *p = slot_provider(s);

	if (r->verdict == PROBE_GOOD)
		log_event(LOG_INFO, "probe", "probe.good",
			"provider=" SLICE_FMT " credential=" SLICE_FMT " took_ms=%" PRId64,
			SLICE_ARG(p->name), SLICE_ARG(credential_name(p, s->credential)),
			r->total_us / USEC_PER_MS);
	else
		log_event(LOG_WARNING, "probe", "probe.failed",
			"provider=" SLICE_FMT " credential=" SLICE_FMT
			" verdict=%s class=%s reason=%s status=%u",
			SLICE_ARG(p->name), SLICE_ARG(credential_name(p, s->credential)),
			probe_verdict_name(r->verdict), error_class_name(r->class), reason_of(r),
			r->status);
}

static void remember(const struct probe_slot *s, const struct probe_result *r, usec now)
{
	const struct health_probe p = {
		.at_us = now,
		.took_us = r->total_us,
		.status = r->status,
		.verdict = r->verdict,
		.reason = r->failure ? (uint8_t)r->failure
				     : (uint8_t)(r->undecodable ? ERROR_undecodable + 1 : 0),
		.good = r->verdict == PROBE_GOOD,
		.others = r->verdict != PROBE_GOOD,
	};

	health_probed(s->prober->health, s->place, &p);
}

static void learn(struct probe_slot *s, const struct probe_result *r, usec now)
{
	switch (r->verdict) {
	case PROBE_GOOD: credential_good(s); break;
	case PROBE_REFUSED:
	case PROBE_EMPTY: credential_bad(s, r, now); break;
	case PROBE_FAILED:
		if (s->speaks)
			targets_failed(s, now);
		return;
	case PROBE_CANNOT_TELL: break;
	}
	if (s->speaks)
		targets_live(s);
}

/* When the first of them is due, and a while after the last look in any case. */
static void arm(struct prober *o, usec now)
{
	usec next = o->looked_us + PROBER_LOOK_US;

	for (uint32_t i = 0; i < o->n_slots; i++)
		if (!o->slots[i].probe)
			next = MIN(next, o->slots[i].next_us);
	/* Where one is due already, as many run as may. */
	deadline_set(o->loop, &o->look, MAX(next - now, LEAST_US));
}

static void on_done(const struct probe_result *r, void *owner)
{
	struct probe_slot *s = owner;
	struct prober *o = s->prober;
	usec now = loop_now(o->loop), every;

	s->probe = NULL;
	o->n_running--;
	if (r->failure == ATTEMPT_MEMORY) /* ours */
		return;
	remember(s, r, now);
	if (r->verdict != s->verdict)
		say_change(s, r);
	s->verdict = r->verdict;
	learn(s, r, now);
	if (s->speaks)
		s->at->out = has_open(o, s->at, now);
	s->out = is_out(s, now); /* what it has found itself is asked about in its time */
	every = interval_of(s);
	s->next_us = now + MAX(every - every / 10 + by_chance(o, every / 5),
				   MIN(r->hint_us, HEALTH_HOLD_US));
	arm(o, now);
}

/* --- the timer ------------------------------------------------------------------------ */

static void start(struct probe_slot *s, usec now)
{
	struct prober *o = s->prober;
	const struct probe_ask ask = { .rules = o->rules,
		.provider = s->at->provider,
		.credential = s->credential,
		.pool = s->at->pool,
		.done = on_done,
		.owner = s };

	s->next_us = now + interval_of(s);
	s->probe = probe_start(&ask);
	o->n_running += s->probe != NULL;
}

static void on_look(struct deadline *d)
{
	struct prober *o = container_of(d, struct prober, look);
	usec now = loop_now(o->loop);

	o->looked_us = now;
	for (uint32_t i = 0; i < o->n_providers; i++)
		o->providers[i].out = has_open(o, &o->providers[i], now);
	for (uint32_t i = 0; i < o->n_slots; i++) {
		struct probe_slot *s = &o->slots[i];
		bool out = is_out(s, now);

		if (out && !s->out)
			s->next_us = MIN(s->next_us, now + by_chance(o, SOON_US));
		s->out = out;
		if (!s->probe && s->next_us <= now && o->n_running < PROBER_RUNNING_MAX)
			start(s, now);
	}
	arm(o, now);
}

/* --- what is in force ----------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	uint32_t x = ((const struct probed_target *)a)->place;
	uint32_t y = ((const struct probed_target *)b)->place;

	return x < y ? -1 : x > y;
}

static int read_targets(const struct rules *r, struct probed *p)
{
	const struct policy_doc *d = r->policy->doc;
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n_targets; i++)
		n += d->targets[i].provider == p->provider;
	p->targets = calloc(MAX(n, 1u), sizeof(*p->targets));
	if (!p->targets)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->n_targets; i++)
		if (d->targets[i].provider == p->provider && r->policy->target_place[i])
			p->targets[p->n_targets++] =
				(struct probed_target){ r->policy->target_place[i], i };
	qsort(p->targets, p->n_targets, sizeof(*p->targets), by_place);
	n = 0;
	for (uint32_t i = 0; i < p->n_targets; i++)
		if (!n || p->targets[i].place != p->targets[n - 1].place)
			p->targets[n++] = p->targets[i];
	p->n_targets = n;
	return 0;
}

static bool has_slot(const struct rules *r, uint32_t provider, uint32_t k)
{
	const struct policy_provider *p = provider_of(r, provider);

	return p->n_credentials ? r->usable[provider] >> k & 1 : k == 0;
}

static uint32_t count_slots(const struct rules *r, uint32_t provider)
{
	return provider_of(r, provider)->n_credentials
		       ? (uint32_t)__builtin_popcount(r->usable[provider])
		       : 1;
}

/* The same credential of the same endpoint keeps what is known of it; a new secret is asked about
 * at once. */
static void take_over(struct probe_slot *s, const struct prober *old)
{
	const struct policy_provider *p = slot_provider(s);

	for (uint32_t i = 0; i < old->n_slots; i++) {
		const struct probe_slot *from = &old->slots[i];
		const struct policy_provider *q = provider_of(old->rules, from->at->provider);

		if (!slice_eq(p->name, q->name) || !slice_eq(p->base_url, q->base_url))
			continue;
		s->at->saw_failure |= from->at->saw_failure;
		if (!slice_eq(credential_name(p, s->credential),
			    credential_name(q, from->credential)))
			continue;
		s->verdict = from->verdict;
		if (!rules_same_secret(s->prober->rules, s->at->provider, s->credential, old->rules,
			    from->at->provider, from->credential)) {
			s->next_us = loop_now(s->prober->loop);
			continue;
		}
		s->saw_refusal = from->saw_refusal;
		s->saw_empty = from->saw_empty;
		s->out = from->out;
		if (!from->probe)
			s->next_us = MIN(s->next_us + slot_provider(s)->health.probe_every_us,
				from->next_us);
	}
}

static int take_provider(struct prober *o, uint32_t i, const struct prober *old, struct probed *p)
{
	const struct policy_provider *provider = provider_of(o->rules, i);
	const struct policy *policy = o->rules->policy;
	uint32_t n = 0;

	p->provider = i;
	if (rules_pool(o->rules, i, o->loop, o->stats, &p->pool) || read_targets(o->rules, p))
		return -ENOMEM;
	for (uint32_t k = 0; k < MAX(provider->n_credentials, 1u); k++) {
		struct probe_slot *s = &o->slots[o->n_slots];

		if (!has_slot(o->rules, i, k))
			continue;
		s->prober = o;
		s->at = p;
		s->credential = k;
		s->place = provider->n_credentials
				   ? policy->credential_place[provider->credentials -
							      policy->doc->credentials + k]
				   : policy->probe_place[i];
		s->speaks = n++ == 0;
		s->next_us = loop_now(o->loop) +
			     by_chance(o, MIN(provider->health.probe_every_us, FIRST_WITHIN_US));
		o->n_slots++;
		take_over(s, old);
	}
	return 0;
}

static void forget(struct prober *o)
{
	for (uint32_t i = 0; i < o->n_slots; i++)
		probe_stop(o->slots[i].probe);
	for (uint32_t i = 0; i < o->n_providers; i++) {
		pool_unref(o->providers[i].pool);
		free(o->providers[i].targets);
	}
	free(o->providers);
	free(o->slots);
	rules_unref(o->rules);
	o->providers = NULL;
	o->slots = NULL;
	o->rules = NULL;
	o->n_providers = o->n_slots = o->n_running = 0;
}

/* -ENOMEM: as far as it went. */
static int take_all(struct prober *o, struct rules *rules, const struct prober *old)
{
	uint32_t n_providers = 0, n_slots = 0, n = rules->policy->doc->n_providers;
	int err = 0;

	for (uint32_t i = 0; i < n; i++)
		if (provider_of(rules, i)->health.probe.n && count_slots(rules, i)) {
			n_providers++;
			n_slots += count_slots(rules, i);
		}
	if (!n_providers)
		return 0;
	o->rules = rules_ref(rules);
	o->providers = calloc(n_providers, sizeof(*o->providers));
	o->slots = calloc(n_slots, sizeof(*o->slots));
	if (!o->providers || !o->slots)
		return -ENOMEM;
	for (uint32_t i = 0; !err && i < n; i++)
		if (provider_of(rules, i)->health.probe.n && count_slots(rules, i))
			err = take_provider(o, i, old, &o->providers[o->n_providers++]);
	return err;
}

void prober_take(struct prober *o, struct rules *rules)
{
	struct prober old = *o;

	deadline_stop(o->loop, &o->look);
	o->providers = NULL;
	o->slots = NULL;
	o->rules = NULL;
	o->n_providers = o->n_slots = o->n_running = 0;
	if (take_all(o, rules, &old)) {
		log_event(LOG_ERROR, "probe", "probe.out_of_memory", "revision=%" PRIu64,
			rules->policy->revision);
		forget(o);
	}
	forget(&old);
	if (o->n_slots)
		on_look(&o->look);
}

/* --- by hand -------------------------------------------------------------------------- */

struct test_probe {
	struct prober_test *test;
	struct probe *probe;
};

struct prober_test {
	struct list node;
	struct prober *prober;
	struct prober_ask ask;
	struct pool *pool;
	uint32_t n, left;
	struct prober_row rows[POLICY_CREDENTIALS_MAX];
	struct test_probe probes[POLICY_CREDENTIALS_MAX];
	struct deferred over;
};

static void test_free(struct prober_test *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		probe_stop(t->probes[i].probe);
	deferred_cancel(&t->over);
	pool_unref(t->pool);
	rules_unref(t->ask.rules);
	list_remove(&t->node);
	t->prober->n_tests--;
	free(t);
}

void prober_test_stop(struct prober_test *t)
{
	if (t)
		test_free(t);
}

/* One call may try now what its answer says may go well. */
static bool make_due(const struct prober_test *t, uint32_t k, usec now)
{
	const struct policy_doc *d = t->ask.rules->policy->doc;
	struct health *h = t->prober->health;
	bool due = false;

	for (uint32_t i = 0; i < d->n_targets; i++) {
		struct health_ways w = rules_ways(t->ask.rules, i);

		if (d->targets[i].provider != t->ask.provider)
			continue;
		due |= health_make_due(h, w.target, now);
		if (k < w.n)
			due |= health_make_due(h, w.credentials[k], now);
		if (k < w.n && w.pairs)
			due |= health_make_due(h, w.pairs[k], now);
	}
	return due;
}

static void on_test_over(struct deferred *d)
{
	struct prober_test *t = container_of(d, struct prober_test, over);

	t->ask.done(t->ask.rules, t->ask.provider, t->rows, t->n, t->ask.owner);
	test_free(t);
}

static void on_test_done(const struct probe_result *r, void *owner)
{
	struct test_probe *p = owner;
	struct prober_test *t = p->test;
	struct prober_row *row = &t->rows[p - t->probes];

	p->probe = NULL;
	row->result = *r;
	if (r->verdict == PROBE_GOOD)
		row->due = make_due(t, row->credential, loop_now(t->prober->loop));
	if (!--t->left)
		deferred_queue(t->prober->loop, &t->over);
}

static int start_test(struct prober_test *t, uint32_t k)
{
	struct test_probe *p = &t->probes[t->n];
	const struct probe_ask ask = { .rules = t->ask.rules,
		.provider = t->ask.provider,
		.credential = k,
		.pool = t->pool,
		.most_us = t->ask.most_us,
		.done = on_test_done,
		.owner = p };

	p->test = t;
	t->rows[t->n].credential = k;
	t->rows[t->n].missing = !has_slot(t->ask.rules, t->ask.provider, k);
	if (!t->rows[t->n].missing) {
		p->probe = probe_start(&ask);
		if (!p->probe)
			return -ENOMEM;
		t->left++;
	}
	t->n++;
	return 0;
}

int prober_test(struct prober *o, const struct prober_ask *a, struct prober_test **ret)
{
	struct prober_test *t;
	int err;

	if (o->n_tests >= PROBER_TESTS_MAX)
		return -EBUSY;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->prober = o;
	t->ask = *a;
	t->ask.rules = rules_ref(a->rules);
	deferred_init(&t->over, on_test_over);
	list_push_back(&o->tests, &t->node);
	o->n_tests++;
	err = rules_pool(a->rules, a->provider, o->loop, o->stats, &t->pool);
	for (uint32_t k = 0; !err && k < POLICY_CREDENTIALS_MAX; k++)
		if (a->credentials >> k & 1)
			err = start_test(t, k);
	if (err) {
		test_free(t);
		return err;
	}
	if (!t->left)
		deferred_queue(o->loop, &t->over);
	*ret = t;
	return 0;
}

/* --- life ----------------------------------------------------------------------------- */

void prober_init(
	struct prober *o, struct loop *loop, struct stats_block *stats, struct health *health)
{
	*o = (struct prober){ .loop = loop, .stats = stats, .health = health };
	o->chance = (uint64_t)loop_now(loop) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	list_init(&o->tests);
	deadline_init(&o->look, on_look);
}

void prober_close(struct prober *o)
{
	struct list *it, *tmp;

	if (!o->loop)
		return;
	list_each(it, tmp, &o->tests) test_free(list_entry(it, struct prober_test, node));
	deadline_stop(o->loop, &o->look);
	forget(o);
}
