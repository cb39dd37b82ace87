#include "agents/feed.h"

#include <aigw/clock.h>
#include <aigw/digest.h>
#include <aigw/log.h>
#include <aigw/text.h>

/* --- waits --------------------------------------------------------------------------------------
 */

static void wait_end(struct feed_wait *w)
{
	list_remove(&w->node);
	deadline_stop(w->feed->agents->loop, &w->until);
	w->done(w);
}

static void on_wait_late(struct deadline *d)
{
	wait_end(container_of(d, struct feed_wait, until));
}

static void on_check(struct deferred *d)
{
	struct feed *f = container_of(d, struct feed, check);
	struct list *it, *tmp;

	list_each(it, tmp, &f->waits)
	{
		struct feed_wait *w = list_entry(it, struct feed_wait, node);

		if (w->met(w))
			wait_end(w);
	}
}

void feed_changed(struct feed *f)
{
	if (!list_is_empty(&f->waits))
		deferred_queue(f->agents->loop, &f->check);
}

void feed_wait_start(struct feed *f, struct feed_wait *w, usec timeout_us)
{
	w->feed = f;
	list_init(&w->node);
	list_push_back(&f->waits, &w->node);
	deadline_init(&w->until, on_wait_late);
	deadline_set(f->agents->loop, &w->until, timeout_us);
	deferred_queue(f->agents->loop, &f->check);
}

void feed_wait_cancel(struct feed_wait *w)
{
	list_remove(&w->node);
	deadline_stop(w->feed->agents->loop, &w->until);
}

void feed_waits_end(struct feed *f)
{
	while (!list_is_empty(&f->waits))
		wait_end(list_entry(f->waits.next, struct feed_wait, node));
}

/* --- policy -------------------------------------------------------------------------------------
 */

static bool agent_has_feature(const struct agent *a, struct slice feature)
{
	for (size_t at = 0; at < a->features.n; at += strlen(a->features.p + at) + 1)
		if (slice_eq(slice_str(a->features.p + at), feature))
			return true;
	return false;
}

struct slice feed_feature_lacking(const struct agent *a, const struct policy_doc *doc)
{
	for (uint32_t i = 0; i < doc->n_features; i++)
		if (!agent_has_feature(a, doc->features[i]))
			return doc->features[i];
	return SLICE_EMPTY;
}

static void policy_push(struct feed *f, struct agent *a)
{
	struct slice lacks;

	if (!a->session)
		return;
	lacks = feed_feature_lacking(a, f->policy->doc);
	if (lacks.n) {
		a->answered = f->policy->revision;
		a->refused = true;
		(void)snprintf(
			a->reason, sizeof(a->reason), "lacks feature " SLICE_FMT, SLICE_ARG(lacks));
		log_event(LOG_WARNING, "feed", "policy.refused",
			"agent=%s revision=%" PRIu64 " reason=%s", a->name, f->policy->revision,
			log_quote(slice_str(a->reason)));
		return;
	}
	session_send_policy(a->session, f->policy);
}

void feed_policy(struct feed *f, struct published *p)
{
	struct list *it, *tmp;

	published_unref(f->policy);
	f->policy = p;
	f->unusable[0] = '\0';
	list_each(it, tmp, &f->agents->known) policy_push(f, list_entry(it, struct agent, node));
	feed_changed(f);
}

void feed_policy_result(struct feed *f, struct agent *a, const struct wire_policy_result *r)
{
	struct buf clean;

	a->answered = r->revision;
	a->refused = !r->ok;
	a->reason[0] = '\0';
	if (r->ok) {
		a->revision = r->revision;
	} else {
		buf_init(&clean, sizeof(a->reason) - 1);
		if (text_utf8_clean(&clean, slice_of(r->reason.p, MIN(r->reason.n, 80))) == 0)
			(void)snprintf(a->reason, sizeof(a->reason), SLICE_FMT,
				SLICE_ARG(buf_view(&clean)));
		buf_fini(&clean);
	}
	log_event(r->ok ? LOG_INFO : LOG_WARNING, "feed",
		r->ok ? "policy.applied" : "policy.refused",
		"agent=%s revision=%" PRIu64 " reason=%s", a->name, r->revision,
		log_quote(slice_str(a->reason)));
	feed_changed(f);
}

const char *feed_policy_state(const struct agent *a, uint64_t revision)
{
	if (a->session && a->answered == revision && a->refused)
		return "refused";
	if (a->session && a->revision == revision)
		return "applied";
	return a->session ? "pending" : "offline";
}

/* --- keys ---------------------------------------------------------------------------------------
 */

struct snapshot_build {
	struct key_snapshot *k;
	uint32_t cap;
};

static int snapshot_add(struct slice bytes, void *arg)
{
	struct snapshot_build *b = arg;
	struct key_snapshot *k = b->k;

	if (k->n == b->cap) {
		uint32_t cap = b->cap ? b->cap * 2 : 64;
		uint32_t *more = realloc(k->lengths, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		k->lengths = more;
		b->cap = cap;
	}
	k->lengths[k->n++] = (uint32_t)bytes.n;
	return buf_slice(&k->bytes, bytes);
}

static int snapshot_read(struct store_txn *t, void *arg)
{
	struct snapshot_build *b = arg;

	b->k->seq = store_keys_seq(t);
	return store_key_each(t, snapshot_add, b);
}

/* Shared by all who need one until the next change. */
static struct key_snapshot *snapshot_get(struct feed *f)
{
	struct snapshot_build b = { 0 };
	struct slice all;

	if (f->snapshot)
		return f->snapshot;
	b.k = calloc(1, sizeof(*b.k));
	if (!b.k)
		return NULL;
	b.k->refs = 1;
	buf_init(&b.k->bytes, (size_t)4 << 30);
	if (store_read(f->store, snapshot_read, &b) < 0) {
		key_snapshot_unref(b.k);
		return NULL;
	}
	memcpy(b.k->realm, store_realm(f->store), 16);
	all = buf_view(&b.k->bytes);
	digest_sha256(&all, 1, b.k->digest);
	return f->snapshot = b.k;
}

static void snapshot_forget(struct feed *f)
{
	key_snapshot_unref(f->snapshot);
	f->snapshot = NULL;
}

static void keys_push_all(struct feed *f, struct agent *a)
{
	struct key_snapshot *k = snapshot_get(f);

	if (!k) { /* it comes back and asks again */
		log_event(LOG_ERROR, "feed", "keys.snapshot_failed", "agent=%s", a->name);
		session_leave(a->session);
		return;
	}
	session_send_snapshot(a->session, k);
	log_event(LOG_INFO, "feed", "keys.snapshot", "agent=%s seq=%" PRIu64 " keys=%u", a->name,
		k->seq, k->n);
}

static int key_send(uint64_t seq, struct slice bytes, void *arg)
{
	struct wire_message m = { .kind = WIRE_keys_change };

	m.keys_change = (struct wire_keys_change){ .seq = seq, .records = { &bytes, 1 } };
	session_send(arg, LANE_KEYS, &m);
	return 0;
}

struct changes_run {
	uint64_t after;
	struct session *to;
};

static int changes_send(struct store_txn *t, void *arg)
{
	struct changes_run *run = arg;

	return store_key_changes(t, run->after, key_send, run->to);
}

void feed_key(struct feed *f, uint64_t seq, struct slice record)
{
	struct list *it, *tmp;

	f->keys_seq = seq;
	snapshot_forget(f);
	list_each(it, tmp, &f->agents->known)
	{
		struct agent *a = list_entry(it, struct agent, node);

		if (a->session)
			(void)key_send(seq, record, a->session);
	}
	feed_changed(f);
}

void feed_keys_ack(struct feed *f, struct agent *a, uint64_t seq)
{
	a->keys_seq = seq;
	feed_changed(f);
}

void feed_keys_resync(struct feed *f, struct agent *a)
{
	log_event(LOG_WARNING, "feed", "keys.resync", "agent=%s", a->name);
	keys_push_all(f, a);
}

const char *feed_keys_state(const struct agent *a, uint64_t seq)
{
	if (!a->session)
		return "offline";
	return a->keys_seq >= seq ? "confirmed" : "pending";
}

/* --- secrets ------------------------------------------------------------------------------------
 */

static void secret_send(struct session *s, struct slice name, uint64_t version, struct slice value)
{
	struct wire_message m = { .kind = WIRE_secrets_put };

	m.secrets_put = (struct wire_secrets_put){ name, version, value };
	session_send(s, LANE_ORDINARY, &m);
}

void feed_secret(struct feed *f, struct slice name, uint64_t version, struct slice value)
{
	struct list *it, *tmp;

	list_each(it, tmp, &f->agents->known)
	{
		struct agent *a = list_entry(it, struct agent, node);

		if (a->session)
			secret_send(a->session, name, version, value);
	}
	feed_changed(f);
}

void feed_secret_ack(struct feed *f, struct agent *a, const struct wire_secrets_ack *ack)
{
	struct agent_secret *s = NULL, *more;

	for (unsigned i = 0; i < a->n_secrets && !s; i++)
		if (slice_eq(slice_str(a->secrets[i].name), ack->name))
			s = &a->secrets[i];
	if (!s) {
		if (a->n_secrets >= AGENT_MAX_SECRETS || ack->name.n == 0 ||
			ack->name.n >= sizeof(s->name))
			return;
		more = realloc(a->secrets, (a->n_secrets + 1) * sizeof(*more));
		if (!more)
			return;
		a->secrets = more;
		s = &more[a->n_secrets++];
		*s = (struct agent_secret){ 0 };
		memcpy(s->name, ack->name.p, ack->name.n);
	}
	(void)snprintf(s->source, sizeof(s->source), "%.*s",
		(int)MIN(ack->source.n, sizeof(s->source) - 1), ack->source.p ? ack->source.p : "");
	s->version = ack->version;
	feed_changed(f);
}

const char *feed_secret_state(const struct agent *a, const char *name, uint64_t version)
{
	const struct agent_secret *s = agent_secret_find(a, name);

	if (!a->session)
		return "offline";
	if (!s)
		return "pending";
	if (strcmp(s->source, "credentials_directory") == 0 ||
		strcmp(s->source, "secrets_dir") == 0)
		return "shadowed";
	return s->version >= version ? "confirmed" : "pending";
}

static int secret_push(const struct store_secret *s, void *arg)
{
	secret_send(arg, s->name, s->version, s->value);
	return 0;
}

static int secrets_push(struct store_txn *t, void *arg)
{
	return store_secret_each(t, secret_push, arg);
}

/* --- drains -------------------------------------------------------------------------------------
 */

static void drains_send(const struct feed *f, struct session *s)
{
	struct wire_message m = { .kind = WIRE_drains_put };
	struct slice lines[DRAINS_MAX];
	char texts[DRAINS_MAX][440];

	for (uint32_t i = 0; i < f->drains.n; i++) {
		struct buf b = buf_over(texts[i], sizeof(texts[i]));

		(void)drain_format(&b, &f->drains.v[i]);
		lines[i] = buf_view(&b);
	}
	m.drains_put = (struct wire_drains_put){ f->drains_version, { lines, f->drains.n } };
	session_send(s, LANE_ORDINARY, &m);
}

void feed_drains(struct feed *f, const struct drains *all, uint64_t version)
{
	struct list *it, *tmp;

	f->drains = *all;
	f->drains_version = version;
	list_each(it, tmp, &f->agents->known)
	{
		struct agent *a = list_entry(it, struct agent, node);

		if (a->session)
			drains_send(f, a->session);
	}
	feed_changed(f);
}

void feed_drains_ack(struct feed *f, struct agent *a, uint64_t version)
{
	a->drains_version = version;
	feed_changed(f);
}

const char *feed_drains_state(const struct agent *a, uint64_t version)
{
	if (!a->session)
		return "offline";
	return a->drains_version >= version ? "confirmed" : "pending";
}

static int drains_read(struct store_txn *t, void *arg)
{
	struct feed *f = arg;
	struct slice lines;
	int r = store_drains_get(t, &lines, &f->drains_version);

	if (r == 0)
		drains_parse(lines, &f->drains);
	return r;
}

/* --- hello --------------------------------------------------------------------------------------
 */

static void hello_keys(struct feed *f, struct agent *a, const struct wire_hello *h)
{
	struct changes_run run = { h->keys_seq, a->session };
	bool same_realm =
		h->keys_realm.n == 16 && memcmp(h->keys_realm.p, store_realm(f->store), 16) == 0;

	a->keys_seq = same_realm ? h->keys_seq : 0;
	if (!same_realm || store_read(f->store, changes_send, &run) < 0)
		keys_push_all(f, a);
}

void feed_hello(struct feed *f, struct agent *a, const struct wire_hello *h)
{
	a->revision = h->revision;
	if (!a->session)
		return;
	hello_keys(f, a, h);
	if (store_read(f->store, secrets_push, a->session) < 0)
		log_event(LOG_WARNING, "feed", "store.failed", "agent=%s what=secrets", a->name);
	a->drains_version = 0;
	if (f->drains_version)
		drains_send(f, a->session);
	if (f->policy) {
		bool same = h->revision == f->policy->revision &&
			    h->digest.n == sizeof(f->policy->digest) &&
			    memcmp(h->digest.p, f->policy->digest, sizeof(f->policy->digest)) == 0;

		if (!same) {
			a->revision = h->revision == f->policy->revision ? 0 : h->revision;
			policy_push(f, a);
		}
	}
	feed_changed(f);
}

/* --- life ---------------------------------------------------------------------------------------
 */

static int seq_read(struct store_txn *t, void *arg)
{
	*(uint64_t *)arg = store_keys_seq(t);
	return 0;
}

int feed_init(struct feed *f, struct agents *all, struct store *s, struct errbuf *e)
{
	struct errbuf why;
	int r;

	*f = (struct feed){ .agents = all, .store = s };
	list_init(&f->waits);
	deferred_init(&f->check, on_check);
	r = publish_load(s, &f->policy, &why);
	if (r == -ENOTSUP) {
		(void)snprintf(f->unusable, sizeof(f->unusable), "%.255s", why.text);
		log_event(LOG_ERROR, "feed", "policy.unusable", "reason=%s",
			log_quote(slice_str(why.text)));
	} else if (r < 0) {
		return err_set(e, r, "%s", why.text);
	}
	r = store_read(s, drains_read, f);
	if (r < 0)
		return err_set(e, r, "can't read the drains from the store");
	r = store_read(s, seq_read, &f->keys_seq);
	return r < 0 ? err_set(e, r, "can't read the key sequence from the store") : 0;
}

void feed_fini(struct feed *f)
{
	ASSERT(list_is_empty(&f->waits));
	deferred_cancel(&f->check);
	snapshot_forget(f);
	published_unref(f->policy);
}
