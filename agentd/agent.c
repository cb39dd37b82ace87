#include "agent.h"

#include "account/uplink.h"
#include "builder.h"
#include "statfs/statfs.h"
#include "worker.h"

#include <aigw/clock.h>
#include <aigw/log.h>
#include <aigw/peer.h>
#include <aigw/text.h>
#include <aigw/vkey.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGENT_FDS_RESERVED 128
#define AGENT_STOP_GRACE_US (2 * USEC_PER_S) /* after the drain's end, for the in-band errors to leave */

struct agent {
	struct loop loop;
	struct mailbox mailbox;
	uv_signal_t signals[3];
	struct deadline drain;
	const char *config_path;
	bool config_may_miss;
	struct arena config_memory, reload_memory;
	struct agent_config cfg;
	char agent_id[64];
	struct gateway gw;
	struct builder builder;
	struct rules *rules;            /* in force, control loop's reference */
	pthread_mutex_t policy_lock;    /* guards shown_policy: lent to the statfs thread; no worker takes it */
	struct policy *shown_policy;
	struct uplink *uplink;
	struct stat_mount *mount;
	struct worker **workers;
	unsigned n_workers, n_empty;
	int tcp_fd, unix_fd;
	usec start_wall_us, start_mono_us;
	uint64_t keys_seq_done;         /* acknowledged: in every worker's view */
	_Atomic int control;            /* enum uplink_state, for statfs */
	bool draining, ended_all;
	bool workers_gone;              /* what still comes back from the committer has nobody to go to */
};

/* --- something that every worker has to confirm -------------------------------------------------------------------- */

struct round {
	struct mail mail;
	struct agent *agent;
	_Atomic unsigned left;
	uint64_t number;
	void (*all)(struct agent *a, uint64_t number);
};

static void on_round(struct mail *m, void *owner)
{
	struct round *r = container_of(m, struct round, mail);

	r->all(owner, r->number);
	free(r);
}

/* Worker's thread. */
static void round_done(void *arg)
{
	struct round *r = arg;

	if (atomic_fetch_sub_explicit(&r->left, 1, memory_order_acq_rel) == 1)
		mailbox_post(&r->agent->mailbox, &r->mail);
}

static struct round *round_new(struct agent *a, uint64_t number, void (*all)(struct agent *, uint64_t))
{
	struct round *r = calloc(1, sizeof(*r));

	ASSERT(r); /* cold, small, and without it no revocation would ever be confirmed */
	r->mail.handle = on_round;
	r->agent = a;
	r->left = a->n_workers;
	r->number = number;
	r->all = all;
	return r;
}

/* --- rules ------------------------------------------------------------------------------------------------------------ */

static void policy_confirmed(struct agent *a, uint64_t revision)
{
	log_event(LOG_INFO, "policy", "policy.applied", "revision=%" PRIu64, revision);
	if (a->uplink && revision)
		uplink_policy_result(a->uplink, revision, true, "");
}

static void nothing_to_confirm(struct agent *a, uint64_t number)
{
	(void)number;
	if (a->uplink)
		uplink_status_now(a->uplink); /* credentials in force may have changed */
}

static void publish(struct agent *a, struct rules *rules, uint64_t revision)
{
	struct policy *old;
	struct round *round = round_new(a, revision, revision ? policy_confirmed : nothing_to_confirm);

	rules_unref(a->rules);
	a->rules = rules;
	pthread_mutex_lock(&a->policy_lock);
	old = a->shown_policy;
	a->shown_policy = policy_ref(rules->policy);
	pthread_mutex_unlock(&a->policy_lock);
	policy_unref(old);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_rules(a->workers[i], rules, round_done, round);
}

static void on_built(struct rules *rules, uint64_t revision, const char *why, void *owner)
{
	struct agent *a = owner;

	if (a->workers_gone) {
		rules_unref(rules);
		return;
	}
	if (rules) {
		publish(a, rules, revision);
		return;
	}
	log_event(LOG_ERROR, "policy", "policy.refused", "revision=%" PRIu64 " why=%s", revision, log_quote(slice_str(why)));
	if (a->uplink && revision)
		uplink_policy_result(a->uplink, revision, false, why);
}

static struct policy *on_policy_get(void *owner)
{
	struct agent *a = owner;
	struct policy *p;

	pthread_mutex_lock(&a->policy_lock);
	p = a->shown_policy ? policy_ref(a->shown_policy) : NULL;
	pthread_mutex_unlock(&a->policy_lock);
	return p;
}

/* --- keys and secrets -------------------------------------------------------------------------------------------------- */

static void keys_confirmed(struct agent *a, uint64_t seq)
{
	a->keys_seq_done = MAX(a->keys_seq_done, seq);
	if (a->uplink)
		uplink_keys_ack(a->uplink, seq);
}

static void on_keys_stored(uint64_t seq, int err, const char *why, void *owner)
{
	struct agent *a = owner;
	struct round *round;

	if (a->workers_gone)
		return;
	if (err) {
		log_event(LOG_ERROR, "keys", "keys.not_stored", "seq=%" PRIu64 " why=%s", seq, log_quote(slice_str(why)));
		if (a->uplink)
			uplink_keys_resync(a->uplink, keyset_seq(a->gw.keyset));
		return;
	}
	round = round_new(a, seq, keys_confirmed);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_keys(a->workers[i], round_done, round);
}

static const char *source_in_force(struct agent *a, struct slice name)
{
	enum secret_source source = SECRET_NONE;

	if (a->rules)
		(void)secret_set_get(a->rules->secrets, name, &source, NULL);
	return secret_source_name(source);
}

static void on_secret_stored(struct slice name, uint64_t version, int err, const char *why, void *owner)
{
	struct agent *a = owner;

	if (err)
		log_event(LOG_ERROR, "secrets", "secret.not_stored", "name=" SLICE_FMT " why=%s", SLICE_ARG(name),
			log_quote(slice_str(why)));
	/* Without a policy nothing is built, but the secret is there. */
	if (!err && a->uplink)
		uplink_secret_ack(a->uplink, name, version, a->rules ? source_in_force(a, name) : secret_source_name(SECRET_CACHE));
}

/* --- uplink ------------------------------------------------------------------------------------------------------------- */

static struct slice feature_slices[16];
static uint8_t hello_realm[16];
static char host_name[64];

static void on_hello(struct wire_hello *h, void *owner)
{
	struct agent *a = owner;

	h->version = SLICE(AIGW_VERSION);
	h->host = slice_str(host_name);
	h->pid = (uint64_t)getpid();
	for (h->features.n = 0; policy_features[h->features.n] && h->features.n < ARRAY_LEN(feature_slices); h->features.n++)
		feature_slices[h->features.n] = slice_str(policy_features[h->features.n]);
	h->features.v = feature_slices;
	if (a->rules) {
		h->revision = a->rules->policy->revision;
		h->digest = slice_of((const char *)a->rules->policy->doc->digest, 32);
	}
	keyset_realm(a->gw.keyset, hello_realm);
	h->keys_realm = slice_of((const char *)hello_realm, sizeof(hello_realm));
	h->keys_seq = keyset_seq(a->gw.keyset);
}

#define STATUS_SECRETS 64
static char status_texts[STATUS_SECRETS][128];
static struct slice status_secrets[STATUS_SECRETS], status_warnings[4];

static void status_of_secrets(struct agent *a, struct wire_agent_status *s)
{
	const struct policy_doc *d = a->rules ? a->rules->policy->doc : NULL;
	enum secret_source source;
	uint64_t version;

	s->secrets = (struct wire_bins){ status_secrets, 0 };
	for (uint32_t i = 0; d && i < d->n_providers && s->secrets.n < STATUS_SECRETS; i++) {
		struct slice name = d->providers[i].credential;
		char *text = status_texts[s->secrets.n];

		if (!name.n)
			continue;
		source = SECRET_NONE;
		version = 0;
		(void)secret_set_get(a->rules->secrets, name, &source, &version);
		(void)snprintf(text, sizeof(status_texts[0]), SLICE_FMT " %s %" PRIu64, SLICE_ARG(name), secret_source_name(source), version);
		status_secrets[s->secrets.n++] = slice_str(text);
	}
}

static void on_status(struct wire_agent_status *s, void *owner)
{
	struct agent *a = owner;
	struct spool_gauges g;

	spool_read_gauges(a->gw.spool, &g);
	s->uptime_s = (uint64_t)((clock_mono_us() - a->start_mono_us) / USEC_PER_S);
	s->requests = (uint64_t)stats_sum(a->gw.stats, STAT_GLOBAL, 0, STAT_requests);
	s->inflight = inflight_used(a->gw.inflight);
	s->spool_records = g.records;
	s->spool_oldest_us = (uint64_t)g.oldest_wall_us;
	s->wall_us = (uint64_t)clock_wall_us();
	s->durability = a->cfg.durability == DURABILITY_STRICT ? SLICE("strict") : SLICE("relaxed");
	status_of_secrets(a, s);
	s->warnings = (struct wire_bins){ status_warnings, 0 };
	switch (committer_state(a->gw.committer)) {
	case COMMITTER_OK: break;
	case COMMITTER_STALLED: status_warnings[s->warnings.n++] = SLICE("spool_stalled"); break;
	case COMMITTER_FULL: status_warnings[s->warnings.n++] = SLICE("spool_full"); break;
	case COMMITTER_FAILED: status_warnings[s->warnings.n++] = SLICE("store_unavailable"); break;
	}
	if (a->draining)
		status_warnings[s->warnings.n++] = SLICE("draining");
}

static void on_uplink_policy(uint64_t revision, struct slice packed, void *owner)
{
	builder_policy(&((struct agent *)owner)->builder, revision, packed);
}

static void on_uplink_keys(bool snapshot, struct slice realm, uint64_t seq, const struct slice *records, uint32_t n, void *owner)
{
	builder_keys(&((struct agent *)owner)->builder, snapshot, realm, seq, records, n);
}

static void on_uplink_secret(struct slice name, uint64_t version, struct slice bytes, void *owner)
{
	builder_secret(&((struct agent *)owner)->builder, name, version, bytes);
}

static void on_uplink_state(enum uplink_state st, const char *why, void *owner)
{
	struct agent *a = owner;

	atomic_store_explicit(&a->control, (int)st, memory_order_relaxed);
	if (st == UPLINK_CONNECTED)
		log_event(LOG_INFO, "uplink", "control.connected", "controller=%s", a->cfg.controller);
	else if (st == UPLINK_RETRYING)
		log_event(LOG_WARNING, "uplink", "control.lost", "controller=%s why=%s", a->cfg.controller, log_quote(slice_str(why)));
}

static int start_uplink(struct agent *a, struct errbuf *e)
{
	const struct uplink_config c = {
		.loop = &a->loop,
		.mailbox = &a->mailbox,
		.committer = a->gw.committer,
		.spool = a->gw.spool,
		.controller = a->cfg.controller,
		.agent_id = a->agent_id,
		.owner = a,
		.hello = on_hello,
		.status = on_status,
		.policy = on_uplink_policy,
		.keys = on_uplink_keys,
		.secret = on_uplink_secret,
		.state = on_uplink_state,
	};

	return uplink_start(&c, &a->uplink, e);
}

/* --- committer ------------------------------------------------------------------------------------------------------------ */

static void on_wake(unsigned worker, void *owner)
{
	worker_wake_durable(((struct agent *)owner)->workers[worker]);
}

struct committed {
	struct mail mail;
	uint64_t last_seq;
};

static void on_committed_mail(struct mail *m, void *owner)
{
	struct agent *a = owner;
	struct committed *c = container_of(m, struct committed, mail);

	if (a->uplink)
		uplink_committed(a->uplink, c->last_seq);
	free(c);
}

static void on_committed(uint64_t last_seq, void *owner)
{
	struct agent *a = owner;
	struct committed *c = malloc(sizeof(*c));

	if (!c)
		return; /* the next group tells */
	c->mail.handle = on_committed_mail;
	c->last_seq = last_seq;
	mailbox_post(&a->mailbox, &c->mail);
}

/* --- signals ---------------------------------------------------------------------------------------------------------------- */

static void begin_stop(struct agent *a)
{
	deadline_stop(&a->loop, &a->drain);
	loop_stop(&a->loop);
}

static void on_drain_end(struct deadline *d)
{
	struct agent *a = container_of(d, struct agent, drain);

	if (a->ended_all) {
		begin_stop(a);
		return;
	}
	a->ended_all = true;
	log_event(LOG_WARNING, "agent", "agent.drain_timeout", "inflight=%u", inflight_used(a->gw.inflight));
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_end_all(a->workers[i]);
	deadline_set(&a->loop, &a->drain, AGENT_STOP_GRACE_US);
}

static void begin_drain(struct agent *a)
{
	if (a->draining) {
		/* Asked twice: now. */
		deadline_set(&a->loop, &a->drain, 0);
		return;
	}
	a->draining = true;
	atomic_store_explicit(&a->gw.draining, true, memory_order_relaxed);
	log_event(LOG_INFO, "agent", "agent.draining", "inflight=%u timeout_s=%" PRId64, inflight_used(a->gw.inflight),
		(int64_t)(a->cfg.drain_timeout / USEC_PER_S));
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_post_drain(a->workers[i]);
	deadline_set(&a->loop, &a->drain, a->cfg.drain_timeout);
}

struct empty_mail {
	struct mail mail;
};

static void on_empty_mail(struct mail *m, void *owner)
{
	struct agent *a = owner;

	free(container_of(m, struct empty_mail, mail));
	if (++a->n_empty == a->n_workers)
		begin_stop(a);
}

static void on_worker_empty(unsigned worker, void *owner)
{
	struct agent *a = owner;
	struct empty_mail *m = calloc(1, sizeof(*m));

	(void)worker;
	if (!m)
		return; /* the drain's timeout ends it */
	m->mail.handle = on_empty_mail;
	mailbox_post(&a->mailbox, &m->mail);
}

static void take_settings(struct agent *a)
{
	atomic_store_explicit(&a->gw.max_body, a->cfg.max_body, memory_order_relaxed);
	atomic_store_explicit(&a->gw.body_memory, a->cfg.body_memory, memory_order_relaxed);
	atomic_store_explicit(&a->gw.strict, a->cfg.durability == DURABILITY_STRICT, memory_order_relaxed);
	log_set_level((enum log_level)a->cfg.log);
	if (a->gw.committer)
		committer_set_strict(a->gw.committer, a->cfg.durability == DURABILITY_STRICT);
}

static void reload(struct agent *a)
{
	struct agent_config fresh;
	struct buf names;
	struct errbuf why;

	arena_fini(&a->reload_memory);
	arena_init(&a->reload_memory, 4096, 1 << 20);
	if (agent_config_load(a->config_path, a->config_may_miss, &a->reload_memory, &fresh, &why)) {
		log_event(LOG_ERROR, "agent", "agent.reload_failed", "why=%s", log_quote(slice_str(why.text)));
		return;
	}
	buf_init(&names, 4096);
	config_restart_needed(agent_config_rows, agent_config_n_rows, &a->cfg, &fresh, &names);
	if (names.n)
		log_event(LOG_WARNING, "agent", "agent.restart_needed", "settings=%s", log_quote(buf_view(&names)));
	buf_fini(&names);
	a->cfg.durability = fresh.durability;
	a->cfg.max_body = fresh.max_body;
	a->cfg.body_memory = fresh.body_memory;
	a->cfg.drain_timeout = fresh.drain_timeout;
	a->cfg.log = fresh.log;
	take_settings(a);
	builder_reload(&a->builder, strcmp(fresh.secrets_dir, "off") ? fresh.secrets_dir : ""); /* copied */
	log_event(LOG_INFO, "agent", "agent.reloaded", "config=%s", a->config_path ? a->config_path : "-");
}

static void on_signal(uv_signal_t *s, int number)
{
	struct agent *a = s->data;

	if (number == SIGHUP)
		reload(a);
	else
		begin_drain(a);
}

/* --- start ------------------------------------------------------------------------------------------------------------------ */

static int make_dir(const char *path, mode_t mode, struct errbuf *e)
{
	if (mkdir(path, mode) == 0 || errno == EEXIST)
		return 0;
	return err_set(e, -errno, "can't make the folder %s: %s", path, strerror(errno));
}

static unsigned raise_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return 1024;
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
	(void)getrlimit(RLIMIT_NOFILE, &lim);
	return (unsigned)MIN(lim.rlim_cur, (rlim_t)1 << 20);
}

static int open_stores(struct agent *a, struct errbuf *e)
{
	unsigned booked = 0;
	int err = make_dir(a->cfg.state_dir, 0700, e);

	if (!err)
		err = make_dir(a->cfg.runtime_dir, 0700, e);
	if (!err)
		err = inflight_open(a->cfg.runtime_dir, (uint32_t)a->cfg.inflight_slots, &a->gw.inflight, e);
	if (!err)
		err = spool_open(a->cfg.state_dir, a->cfg.spool_size, &a->gw.spool, e);
	if (!err)
		err = account_recover(a->gw.inflight, a->gw.spool, &booked, e);
	if (!err && booked)
		log_event(LOG_WARNING, "account", "account.recovered", "records=%u", booked);
	if (!err)
		err = keyset_open(a->cfg.state_dir, &a->gw.keyset, e);
	return err;
}

static int start_committer(struct agent *a, struct errbuf *e)
{
	const struct committer_config c = {
		.inflight = a->gw.inflight,
		.spool = a->gw.spool,
		.n_workers = a->n_workers,
		.strict = a->cfg.durability == DURABILITY_STRICT,
		.wake = on_wake,
		.committed = on_committed,
		.owner = a,
	};
	int err = committer_start(&c, &a->gw.committer, e);

	a->builder.committer = a->gw.committer;
	return err;
}

static int start_builder(struct agent *a, struct errbuf *e)
{
	struct builder *b = &a->builder;

	b->state_dir = a->cfg.state_dir;
	b->credentials_dir = getenv("CREDENTIALS_DIRECTORY");
	if (strcmp(a->cfg.secrets_dir, "off") != 0)
		(void)snprintf(b->secrets_dir, sizeof(b->secrets_dir), "%s", a->cfg.secrets_dir);
	b->keyset = a->gw.keyset;
	b->stats = a->gw.stats;
	b->mailbox = &a->mailbox;
	b->owner = a;
	b->built = on_built;
	b->keys_stored = on_keys_stored;
	b->secret_stored = on_secret_stored;
	return builder_start(b, &a->rules, e);
}

static int open_sockets(struct agent *a, struct errbuf *e)
{
	int err = 0;

	if (strcmp(a->cfg.listen, "off") != 0)
		err = listen_tcp(a->cfg.listen, &a->tcp_fd, e);
	if (!err && strcmp(a->cfg.socket, "off") != 0)
		err = unix_listen(a->cfg.socket, 0666, LISTEN_BACKLOG, &a->unix_fd, e);
	if (!err && a->tcp_fd < 0 && a->unix_fd < 0)
		err = err_set(e, -EINVAL, "listen and socket are both off: nothing could be served");
	return err;
}

static int start_workers(struct agent *a, unsigned descriptors, struct errbuf *e)
{
	struct worker_config c = {
		.gw = &a->gw,
		.tcp_fd = a->tcp_fd,
		.unix_fd = a->unix_fd,
		/* Each client may need a descriptor upstream as well. */
		.max_conns = (descriptors > 2 * AGENT_FDS_RESERVED ? descriptors - AGENT_FDS_RESERVED : AGENT_FDS_RESERVED) / 2 / a->n_workers,
		.empty = on_worker_empty,
		.owner = a,
	};
	int err = 0;

	for (unsigned i = 0; !err && i < a->n_workers; i++) {
		c.index = i;
		err = worker_start(&c, a->rules, &a->workers[i], e);
	}
	return err;
}

static void on_info(struct statfs_info *ret, void *owner)
{
	static const char *const names[] = { [UPLINK_OFF] = "standalone", [UPLINK_RETRYING] = "retrying", [UPLINK_CONNECTED] = "connected" };
	struct agent *a = owner;

	memset(ret, 0, sizeof(*ret));
	(void)snprintf(ret->agent_id, sizeof(ret->agent_id), "%s", a->agent_id);
	ret->start_wall_us = a->start_wall_us;
	ret->start_mono_us = a->start_mono_us;
	ret->control = names[atomic_load_explicit(&a->control, memory_order_relaxed)];
	spool_read_gauges(a->gw.spool, &ret->spool);
	ret->committer = committer_state(a->gw.committer);
	ret->strict = atomic_load_explicit(&a->gw.strict, memory_order_relaxed);
	ret->draining = atomic_load_explicit(&a->gw.draining, memory_order_relaxed);
}

static void start_mount(struct agent *a)
{
	const struct statfs_config c = {
		.mountpoint = a->cfg.stats,
		.stats = a->gw.stats,
		.inflight = a->gw.inflight,
		.policy_get = on_policy_get,
		.info_get = on_info,
		.owner = a,
	};
	struct errbuf why;

	if (!strcmp(a->cfg.stats, "off"))
		return;
	if (statfs_start(&c, &a->mount, &why))
		log_event(LOG_WARNING, "statfs", "statfs.not_mounted", "path=%s why=%s", a->cfg.stats, log_quote(slice_str(why.text)));
}

static int start_loop(struct agent *a, struct errbuf *e)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	int err = loop_init(&a->loop, a);

	if (!err)
		err = mailbox_init(&a->mailbox, &a->loop);
	for (size_t i = 0; !err && i < ARRAY_LEN(numbers); i++) {
		err = uv_signal_init(&a->loop.uv, &a->signals[i]);
		a->signals[i].data = a;
		if (!err)
			err = uv_signal_start(&a->signals[i], on_signal, numbers[i]);
	}
	deadline_init(&a->drain, on_drain_end);
	return err ? err_set(e, err, "the event loop can't start: %s", uv_strerror(err)) : 0;
}

static void name_agent(struct agent *a)
{
	if (gethostname(host_name, sizeof(host_name) - 1))
		(void)snprintf(host_name, sizeof(host_name), "localhost");
	(void)snprintf(a->agent_id, sizeof(a->agent_id), "%s", a->cfg.agent_id[0] ? a->cfg.agent_id : host_name);
}

static int start_all(struct agent *a, struct errbuf *e)
{
	unsigned descriptors = raise_descriptors();
	int err;

	a->n_workers = a->cfg.workers ? (unsigned)a->cfg.workers : MIN(uv_available_parallelism(), 64u);
	a->workers = calloc(a->n_workers, sizeof(struct worker *));
	if (!a->workers)
		return err_set(e, -ENOMEM, "out of memory");
	take_settings(a);
	err = open_stores(a, e);
	if (!err && stats_new(a->n_workers, &a->gw.stats))
		err = err_set(e, -ENOMEM, "out of memory");
	if (!err)
		err = start_loop(a, e);
	if (!err)
		err = start_builder(a, e);
	if (!err)
		err = start_committer(a, e);
	if (a->rules)
		a->shown_policy = policy_ref(a->rules->policy);
	if (!err)
		err = open_sockets(a, e);
	if (!err)
		err = start_workers(a, descriptors, e);
	if (!err)
		err = start_uplink(a, e);
	if (!err)
		start_mount(a);
	return err;
}

int agent_new(const char *config_path, bool may_miss, struct agent **ret, struct errbuf *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	a->config_path = config_path;
	a->config_may_miss = may_miss;
	a->tcp_fd = a->unix_fd = -1;
	a->start_wall_us = clock_wall_us();
	a->start_mono_us = clock_mono_us();
	(void)pthread_mutex_init(&a->policy_lock, NULL);
	arena_init(&a->config_memory, 4096, 1 << 20);
	arena_init(&a->reload_memory, 4096, 1 << 20);
	err = agent_config_load(config_path, may_miss, &a->config_memory, &a->cfg, e);
	if (!err) {
		name_agent(a);
		err = start_all(a, e);
	}
	if (err)
		return err; /* the program ends: the stores' locks go with it, and nothing was served */
	*ret = a;
	return 0;
}

int agent_run(struct agent *a)
{
	log_event(LOG_INFO, "agent", "agent.ready", "agent=%s listen=%s socket=%s workers=%u revision=%" PRIu64 " durability=%s", a->agent_id,
		a->cfg.listen, a->cfg.socket, a->n_workers, a->rules ? a->rules->policy->revision : 0,
		a->cfg.durability == DURABILITY_STRICT ? "strict" : "relaxed");
	(void)loop_run(&a->loop);
	log_event(LOG_INFO, "agent", "agent.stopping", "inflight=%u", inflight_used(a->gw.inflight));
	return 0;
}

static void on_uplink_closed(void *owner)
{
	loop_stop(&((struct agent *)owner)->loop);
}

void agent_free(struct agent *a)
{
	statfs_stop(a->mount);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_stop(a->workers[i]);
	a->workers_gone = true;
	/* The uplink waits for its committer jobs, which answer through the mailbox. */
	uplink_close(a->uplink, on_uplink_closed);
	a->uplink = NULL;
	(void)loop_run(&a->loop); /* until on_uplink_closed */
	committer_stop(a->gw.committer);
	for (unsigned i = 0; i < a->n_workers; i++)
		worker_free(a->workers[i]);
	for (size_t i = 0; i < ARRAY_LEN(a->signals); i++)
		uv_close((uv_handle_t *)&a->signals[i], NULL);
	mailbox_close(&a->mailbox);
	loop_fini(&a->loop);
	if (a->tcp_fd >= 0)
		close(a->tcp_fd);
	if (a->unix_fd >= 0) {
		close(a->unix_fd);
		(void)unlink(a->cfg.socket);
	}
	rules_unref(a->rules);
	policy_unref(a->shown_policy);
	builder_fini(&a->builder);
	keyset_close(a->gw.keyset);
	spool_close(a->gw.spool);
	inflight_close(a->gw.inflight);
	stats_free(a->gw.stats);
	free(a->workers);
	arena_fini(&a->config_memory);
	arena_fini(&a->reload_memory);
	(void)pthread_mutex_destroy(&a->policy_lock);
	free(a);
}
