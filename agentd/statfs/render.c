#include "statfs/metrics.h"

#include <aigw/text.h>

#include <grp.h>
#include <pwd.h>

#define POLICY_TEXT_MEMORY ((size_t)64 << 20)

typedef void render_fn(const struct render *r, struct node n, struct buf *b);

static struct node_view view_of(const struct render *r)
{
	return (struct node_view){ r->stats, r->policy, r->keys };
}

/* --- the root's small files ----------------------------------------------------------- */

static void render_readme(const struct render *r, struct node n, struct buf *b)
{
	(void)r;
	(void)n;
	(void)buf_printf(b,
		"Numbers of this host's aigw-agentd, abi %d. Read only.\n"
		"\n"
		"A file is rendered when it is opened and shows that moment; its size is 0, so use "
		"cat, not tail -f.\n"
		"Values stand alone or as KEY VALUE or as KEY a=1 b=2, a line each; the unit is in "
		"the key (_s, _us, _bytes).\n"
		"Money has nine decimals. Times are microseconds. Keys are only ever added; none "
		"changes its meaning\n"
		"within an abi. In names / is written %%2F, %% is %%25. Folders list at most %u "
		"entries; objects beyond the first %d\n"
		"of a kind are counted together and have no folder.\n"
		"Files marked g are for root and the group aigw-stats, files marked u for the user "
		"they are about.\n"
		"\n",
		STATFS_ABI, NODE_LIST_MAX, STAT_MAX_OBJECTS - 1);
	for (int row = 0; row < NODE_ROW_COUNT; row++) {
		mode_t mode = node_mode(row);

		if (!S_ISDIR(mode))
			(void)buf_printf(b, "%-24s %c %s\n", node_path(row),
				node_kind(row) == STAT_UID ? 'u'
				: mode & S_IROTH           ? ' '
							   : 'g',
				node_doc(row));
	}
}

static void render_version(const struct render *r, struct node n, struct buf *b)
{
	(void)r;
	(void)n;
	(void)buf_printf(b, "aigw-agentd %s abi %d\n", AIGW_VERSION, STATFS_ABI);
}

static void render_uptime(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_i64(b, (r->mono_us - r->info.start_mono_us) / USEC_PER_S);
	(void)buf_char(b, '\n');
}

static void render_health(const struct render *r, struct node n, struct buf *b)
{
	static const char *const faults[FAULT_COUNT] = {
		[FAULT_draining] = "agent reason=draining",
		[FAULT_no_policy] = "policy reason=none",
		[FAULT_controller] = "controller reason=unreachable",
		[FAULT_spool_full] = "spool reason=full",
		[FAULT_spool_failed] = "spool reason=failed",
		[FAULT_disk_stalled] = "spool reason=stalled",
	};
	struct node_view v = view_of(r);
	bool ok = true;

	(void)n;
	for (int f = 0; f < FAULT_COUNT; f++) {
		if (r->watch->fault_since[f] == 0)
			continue;
		(void)buf_printf(b, "degraded %s since=%" PRId64 "\n", faults[f],
			r->watch->fault_since[f] / USEC_PER_S);
		ok = false;
	}
	for (uint32_t i = 0; v.policy && i < v.policy->doc->n_providers; i++) {
		usec since = r->watch->failing_since[v.policy->provider_stat[i] % STAT_MAX_OBJECTS];
		char name[NODE_NAME_MAX + 1];

		if (since == 0 || !node_encode_name(v.policy->doc->providers[i].name, name))
			continue;
		(void)buf_printf(b, "degraded provider=%s reason=failing since=%" PRId64 "\n", name,
			since / USEC_PER_S);
		ok = false;
	}
	if (ok)
		(void)buf_str(b, "ok\n");
}

/* --- policy and controller ------------------------------------------------------------ */

static void render_revision(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_printf(b, "%" PRIu64 "\n", r->policy ? r->policy->revision : 0);
}

static void render_applied(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_printf(b, "%" PRId64 "\n", r->policy ? r->policy->applied_us / USEC_PER_S : 0);
}

static void render_source(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_printf(b, "%s\n", r->policy ? r->info.source : "none");
}

static void render_policy(const struct render *r, struct node n, struct buf *b)
{
	struct arena memory;
	struct tree *t;
	struct errbuf e;

	(void)n;
	if (!r->policy)
		return;
	(void)buf_printf(b, "# revision %" PRIu64 "\n", r->policy->revision);
	arena_init(&memory, 64u << 10, POLICY_TEXT_MEMORY);
	if (tree_unpack(&memory, buf_view(&r->policy->doc->packed), &t, &e) == 0) {
		const struct tree *policy = tree_get(t, SLICE("policy"));

		(void)tree_to_yaml(policy ? policy : t, b);
	} else {
		b->err = -ENOMEM;
	}
	arena_fini(&memory);
}

/* Never ends: each face serves it in its own way. */
static void render_events(const struct render *r, struct node n, struct buf *b)
{
	(void)r;
	(void)n;
	b->err = -EAGAIN;
}

static void render_control_state(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_printf(b, "%s\n", r->info.control);
}

static void render_server(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_printf(b, "%s\n", r->info.server ? r->info.server : "off");
}

usec render_spool_age(const struct render *r)
{
	usec oldest = r->info.spool.oldest_wall_us;

	return oldest ? MAX(r->wall_us - oldest, (usec)0) : 0; /* the clock may have been set */
}

static void render_lag(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	(void)buf_printf(b, "%" PRId64 "\n", render_spool_age(r) / USEC_PER_MS);
}

static void render_spool(const struct render *r, struct node n, struct buf *b)
{
	static const char *const states[] = { [COMMITTER_OK] = "ok",
		[COMMITTER_STALLED] = "stalled",
		[COMMITTER_FULL] = "full",
		[COMMITTER_FAILED] = "failed" };
	const struct spool_gauges *g = &r->info.spool;

	(void)n;
	(void)buf_printf(b,
		"records %" PRIu64 "\noldest_s %" PRId64 "\nlast_sequence %" PRIu64
		"\nused_bytes %" PRIu64 "\nmap_bytes %" PRIu64 "\nstate %s\ndurability %s\n",
		g->records, render_spool_age(r) / USEC_PER_S, g->last_seq, g->used_bytes,
		g->map_bytes, states[r->info.committer], r->info.strict ? "strict" : "relaxed");
}

static void render_metrics(const struct render *r, struct node n, struct buf *b)
{
	(void)n;
	metrics_render(r, METRICS_ALL, b);
}

/* --- counters ------------------------------------------------------------------------- */

static bool is_of_connections(enum stat_counter c)
{
	return c == STAT_stale_replaced || c == STAT_conns_opened || c == STAT_conns_idle ||
	       c == STAT_conns_open || c == STAT_tls_resumed;
}

/* Connections are the providers'; who was turned away at the door belongs to nobody. */
static bool counter_belongs(enum stat_counter c, enum stat_kind kind)
{
	bool is_door = c == STAT_rejected_auth || c == STAT_rejected_overload;

	if (c == STAT_queued)
		return kind == STAT_GLOBAL || kind == STAT_MODEL;
	return kind == STAT_GLOBAL ||
	       (!is_door && (!is_of_connections(c) || kind == STAT_PROVIDER));
}

/* Connections are counted at their provider only: the total is the sum over all that there ever
 * were. */
static void sum_connections(const struct stats *s, int64_t all[static STAT_COUNTER_COUNT])
{
	uint32_t n = stats_slots(s, STAT_PROVIDER);

	for (int c = 0; c < STAT_COUNTER_COUNT; c++) {
		if (is_of_connections(c))
			all[c] = 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		int64_t of_one[STAT_COUNTER_COUNT];

		stats_read(s, STAT_PROVIDER, i, of_one);
		for (int c = 0; c < STAT_COUNTER_COUNT; c++) {
			if (is_of_connections(c))
				all[c] += of_one[c];
		}
	}
}

static void put_cost(const struct render *r, int64_t nano, struct buf *b)
{
	struct slice currency = r->policy ? r->policy->doc->currency : SLICE("USD");
	char text[32];

	(void)buf_str(b, "cost_");
	for (size_t i = 0; i < currency.n; i++)
		(void)buf_char(b, (char)(currency.p[i] | 0x20));
	text_format_nano(nano, 9, text);
	(void)buf_printf(b, " %s\n", text);
}

static void render_stat(const struct render *r, struct node n, struct buf *b)
{
	enum stat_kind kind = node_kind(n.row);
	uint32_t slot = kind == STAT_UID   ? stats_find_uid(r->stats, (uint32_t)n.object)
			: kind == STAT_KEY ? stats_find_key(r->stats, n.object)
					   : (uint32_t)n.object;
	int64_t all[STAT_COUNTER_COUNT] = { 0 };

	if (kind < STAT_UID || slot != 0)
		stats_read(r->stats, kind, slot, all);
	if (kind == STAT_GLOBAL)
		sum_connections(r->stats, all);
	for (int c = 0; c < STAT_COUNTER_COUNT; c++) {
		if (!counter_belongs(c, kind))
			continue;
		if (c == STAT_cost_nano)
			put_cost(r, all[c], b);
		else
			(void)buf_printf(b, "%s %" PRId64 "\n", stats_counter_name(c), all[c]);
	}
	if (kind != STAT_GLOBAL)
		return;
	(void)buf_printf(b, "spool_records %" PRIu64 "\npolicy_revision %" PRIu64 "\n",
		r->info.spool.records, r->policy ? r->policy->revision : 0);
}

static void render_pool(const struct render *r, struct node n, struct buf *b)
{
	int64_t all[STAT_COUNTER_COUNT];

	stats_read(r->stats, STAT_PROVIDER, n.object, all);
	(void)buf_printf(b,
		"connections open=%" PRId64 " idle=%" PRId64 " tls_resumed=%" PRId64
		" created=%" PRId64 " stale_replaced=%" PRId64 "\n",
		all[STAT_conns_open], all[STAT_conns_idle], all[STAT_tls_resumed],
		all[STAT_conns_opened], all[STAT_stale_replaced]);
}

/* --- times ---------------------------------------------------------------------------- */

static void put_times(const struct render *r, enum stat_kind kind, uint32_t slot, enum stat_hist h,
	const char *key, const char *suffix, struct buf *b)
{
	struct stat_quantiles q;

	stats_quantiles(r->stats, kind, slot, h, &q);
	(void)buf_printf(b,
		"%s%s n=%" PRIu64 " p50=%" PRIu64 " p90=%" PRIu64 " p95=%" PRIu64 " p99=%" PRIu64,
		key, suffix, q.n, q.p50, q.p90, q.p95, q.p99);
	if (h == HIST_overhead)
		(void)buf_printf(b, " p99.9=%" PRIu64, q.p999);
	(void)buf_printf(b, " max=%" PRIu64 "\n", q.max);
}

static void render_latency(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = view_of(r);
	struct node dir = { NODE_models, 0 }, model;
	char name[NODE_NAME_MAX + 1];
	uint64_t pos = 0;

	(void)n;
	while (node_next(&v, dir, &pos, &model, name)) {
		put_times(r, STAT_MODEL, model.object, HIST_duration, name, "", b);
		put_times(r, STAT_MODEL, model.object, HIST_ttft, name, ".ttft", b);
	}
	put_times(r, STAT_GLOBAL, 0, HIST_overhead, "gateway", "", b);
}

static void render_times(const struct render *r, struct node n, struct buf *b)
{
	enum stat_kind kind = node_kind(n.row);

	put_times(r, kind, n.object, HIST_duration, "duration", "", b);
	put_times(r, kind, n.object, HIST_ttft, "ttft", "", b);
}

/* --- objects -------------------------------------------------------------------------- */

/* In percent of what the weights of its priority come to. */
static uint32_t share_of(const struct policy_model *m, const struct policy_target *t)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < m->n_targets; i++)
		sum += m->targets[i].priority == t->priority ? m->targets[i].weight : 0;
	return sum ? (t->weight * 100 + sum / 2) / sum : 0;
}

struct health_numbers render_numbers(const struct render *r, uint32_t target)
{
	struct policy_places p = policy_places_of(r->policy, target);
	struct health_numbers n = health_read(r->health, p.target, r->mono_us);

	for (uint32_t i = 0; p.pairs && i < p.n; i++) {
		uint32_t left = health_read(r->health, p.pairs[i], r->mono_us).left;

		n.left = i && left < n.left ? n.left : left;
	}
	return n;
}

enum target_state render_target(const struct render *r, uint32_t target, usec *ret_recover_us)
{
	const struct policy *p = r->policy;
	struct policy_places places = policy_places_of(p, target);
	struct health_ways ways = { .target = places.target,
		.credentials = places.credentials,
		.pairs = places.pairs,
		.n = places.n,
		.usable = policy_found(p, p->doc->targets[target].provider),
		.drain = places.drain,
		.calls = places.calls,
		.concurrency = places.concurrency };
	uint32_t way;

	return health_stand(r->health, &ways, 0, r->mono_us, ret_recover_us, &way);
}

/* -1: not by waiting. */
static int64_t recover_in_ms(usec recover)
{
	return recover == TARGET_NEVER ? -1 : recover / USEC_PER_MS;
}

static void render_targets(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = view_of(r);
	int i = node_object_index(&v, STAT_MODEL, n.object);
	char provider[NODE_NAME_MAX + 1], model[NODE_NAME_MAX + 1];
	const struct policy *p = r->policy;
	const struct policy_model *m;

	if (i < 0)
		return;
	m = &p->doc->models[i];
	for (uint32_t k = 0; k < m->n_targets; k++) {
		const struct policy_target *t = &m->targets[k];
		uint32_t target = (uint32_t)(t - p->doc->targets);
		struct health_numbers now = render_numbers(r, target);
		enum target_state state;
		usec recover;

		if (!node_encode_name(p->doc->providers[t->provider].name, provider) ||
			!node_encode_name(t->model, model))
			continue;
		state = render_target(r, target, &recover);
		(void)buf_printf(b,
			"%s model=%s share=%" PRIu32 "%% priority=%" PRIu32 " weight=%" PRIu32
			" state=%s recover_in_ms=%" PRId64 " opened=%" PRIu64 " in_flight=%" PRIu32,
			provider, model, share_of(m, t), t->priority, t->weight,
			target_state_name(state), recover_in_ms(recover),
			health_trips(r->health, p->target_place[target]), now.in_flight);
		if (now.latency_us)
			(void)buf_printf(b, " ttft_us=%" PRId64, now.latency_us);
		else
			(void)buf_str(b, " ttft_us=-");
		(void)buf_printf(b, " headroom=%" PRIu32 "%%\n", now.left * 100 / HEALTH_LEFT_ALL);
	}
}

static void render_credentials(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = view_of(r);
	int i = node_object_index(&v, STAT_PROVIDER, n.object);
	const struct policy *p = r->policy;
	const struct policy_provider *provider;

	if (i < 0)
		return;
	provider = &p->doc->providers[i];
	for (uint32_t k = 0; k < provider->n_credentials; k++) {
		uint32_t place =
			p->credential_place[provider->credentials - p->doc->credentials + k];
		enum target_state state = TARGET_NO_CREDENTIAL;
		usec recover = TARGET_NEVER;

		if (policy_found(p, (uint32_t)i) >> k & 1)
			state = health_state(r->health, place, r->mono_us, &recover);
		(void)buf_printf(b, SLICE_FMT " state=%s recover_in_ms=%" PRId64 "\n",
			SLICE_ARG(provider->credentials[k]), target_state_name(state),
			recover_in_ms(recover));
	}
}

static void put_probe(const struct render *r, struct slice name, uint32_t place, struct buf *b)
{
	struct health_probe p;

	(void)buf_slice(b, name);
	if (!health_last_probe(r->health, place, &p)) {
		(void)buf_str(b, " last=- status=- reason=- took_ms=0 age_s=0 good=0 others=0\n");
		return;
	}
	(void)buf_printf(b, " last=%s", probe_verdict_name(p.verdict));
	if (p.status)
		(void)buf_printf(b, " status=%u", p.status);
	else
		(void)buf_str(b, " status=-");
	(void)buf_printf(b,
		" reason=%s took_ms=%" PRId64 " age_s=%" PRId64 " good=%" PRIu32 " others=%" PRIu32
		"\n",
		p.reason ? stats_error_name((enum provider_error)(p.reason - 1)) : "-",
		p.took_us / USEC_PER_MS, MAX(r->mono_us - p.at_us, (usec)0) / USEC_PER_S, p.good,
		p.others);
}

static void render_probe(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = view_of(r);
	int i = node_object_index(&v, STAT_PROVIDER, n.object);
	const struct policy *p = r->policy;
	const struct policy_provider *provider;

	if (i < 0 || !p->doc->providers[i].health.probe.n)
		return;
	provider = &p->doc->providers[i];
	if (!provider->n_credentials)
		put_probe(r, SLICE("-"), p->probe_place[i], b);
	for (uint32_t k = 0; k < provider->n_credentials; k++)
		put_probe(r, provider->credentials[k],
			p->credential_place[provider->credentials - p->doc->credentials + k], b);
}

static void render_limits(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = view_of(r);
	bool is_provider = n.row == NODE_provider_limits;
	int i = node_object_index(&v, is_provider ? STAT_PROVIDER : STAT_PROJECT, n.object);
	const struct policy *p = r->policy;
	const struct capacity *c;

	if (i < 0)
		return;
	c = is_provider ? p->provider_calls[i] : p->project_calls[i];
	if (c)
		(void)buf_printf(b, "concurrency limit=%" PRIu32 " used=%" PRIu32 "\n",
			is_provider ? p->doc->providers[i].concurrency
				    : p->doc->projects[i].concurrency,
			capacity_used(c));
}

static void render_state(const struct render *r, struct node n, struct buf *b)
{
	(void)buf_str(
		b, r->watch->failing_since[n.object % STAT_MAX_OBJECTS] ? "failing\n" : "ok\n");
}

static void render_errors(const struct render *r, struct node n, struct buf *b)
{
	int64_t all[PROVIDER_ERROR_COUNT];

	stats_read_errors(r->stats, n.object, all);
	for (int e = 0; e < PROVIDER_ERROR_COUNT; e++)
		(void)buf_printf(b, "%s %" PRId64 "\n", stats_error_name(e), all[e]);
}

static void render_last_error(const struct render *r, struct node n, struct buf *b)
{
	enum provider_error e;
	usec at;

	if (stats_last_error(r->stats, n.object, &e, &at))
		(void)buf_printf(b, "%s %" PRId64 "\n", stats_error_name(e), at / USEC_PER_S);
	else
		(void)buf_str(b, "-\n");
}

/* --- keys ----------------------------------------------------------------------------- */

static void put_of_key(const struct render *r, struct node n, struct buf *b, int what)
{
	const struct key_entry *k = key_list_find(r->keys, n.object);

	if (!k)
		return;
	if (what == 2)
		(void)buf_str(b, key_entry_state(k, r->wall_us));
	else
		(void)buf_slice(b, what ? k->project : k->name);
	(void)buf_char(b, '\n');
}

static void render_key_name(const struct render *r, struct node n, struct buf *b)
{
	put_of_key(r, n, b, 0);
}

static void render_key_project(const struct render *r, struct node n, struct buf *b)
{
	put_of_key(r, n, b, 1);
}

static void render_key_state(const struct render *r, struct node n, struct buf *b)
{
	put_of_key(r, n, b, 2);
}

static void render_project_keys(const struct render *r, struct node n, struct buf *b)
{
	struct node_view v = view_of(r);
	int i = node_object_index(&v, STAT_PROJECT, (uint32_t)n.object);
	struct slice project = i < 0 ? SLICE_EMPTY : r->policy->doc->projects[i].name;

	for (uint32_t at = 0; r->keys && i >= 0 && at < r->keys->n; at++) {
		const struct key_entry *k = &r->keys->v[at];

		if (slice_eq(k->project, project))
			(void)buf_printf(b, "%.*s %s " SLICE_FMT "\n", VKEY_ID_LEN, k->id,
				key_entry_state(k, r->wall_us), SLICE_ARG(k->name));
	}
}

/* --- users ---------------------------------------------------------------------------- */

#define USER_DB_MAX_BYTES ((size_t)1 << 20)

/* The host's entry for the uid; its texts are in *memory, which the caller frees. False: there is
 * none. */
static bool find_user(uint32_t uid, struct passwd *ret, char **memory)
{
	struct passwd *found = NULL;

	*memory = NULL;
	for (size_t size = 4096; size <= USER_DB_MAX_BYTES; size *= 2) {
		char *p = realloc(*memory, size);
		int r;

		if (!p)
			break;
		*memory = p;
		r = getpwuid_r(uid, ret, p, size, &found);
		if (r != ERANGE && r != EINTR)
			break;
	}
	return found != NULL;
}

static void render_user(const struct render *r, struct node n, struct buf *b)
{
	struct passwd user;
	char *memory;

	(void)r;
	if (find_user((uint32_t)n.object, &user, &memory))
		(void)buf_printf(b, "%s\n", user.pw_name);
	else
		(void)buf_printf(b, "%" PRIu64 "\n", n.object);
	free(memory);
}

/* As the policy would judge a process of that user without supplements of its own and outside any
 * unit. */
static void render_project(const struct render *r, struct node n, struct buf *b)
{
	gid_t groups[1024];
	int n_groups = ARRAY_LEN(groups), i = -1;
	struct policy_peer peer = { .uid = n.object, .gid = UINT32_MAX };
	struct passwd user;
	char *memory;

	if (find_user((uint32_t)n.object, &user, &memory)) {
		peer.gid = user.pw_gid;
		if (getgrouplist(user.pw_name, user.pw_gid, groups, &n_groups) < 0)
			n_groups = ARRAY_LEN(groups); /* more than fit: the first ones */
		peer.groups = groups;
		peer.n_groups = (unsigned)n_groups;
	}
	free(memory);
	if (r->policy)
		i = policy_identify(r->policy, &peer);
	if (i < 0)
		(void)buf_str(b, "-\n");
	else
		(void)buf_printf(b, SLICE_FMT "\n",
			SLICE_ARG(r->policy->doc->projects[r->policy->doc->identities[i].project]
					  .name));
}

/* --- dispatch ------------------------------------------------------------------------- */

#define render_none NULL
static render_fn *const renderers[NODE_ROW_COUNT] = {
#define STAT_NODE(id, path, mode, object, render, doc) render_##render,
#include <aigw/tbl/stat_nodes.h>
#undef STAT_NODE
};
#undef render_none

int render_node(const struct render *r, struct node n, struct buf *b)
{
	if (!renderers[n.row])
		return -EISDIR;
	renderers[n.row](r, n, b);
	return b->err;
}
