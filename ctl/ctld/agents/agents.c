#include "agents/agents.h"

#include "agents/feed.h"
#include <aigw/clock.h>
#include <aigw/log.h>
#include <aigw/text.h>
#include <unistd.h>

/* --- who is known -------------------------------------------------------------------------------
 */

struct agent *agents_find(struct agents *all, struct slice name)
{
	struct list *it, *tmp;

	list_each(it, tmp, &all->known)
	{
		struct agent *a = list_entry(it, struct agent, node);

		if (slice_eq(slice_str(a->name), name))
			return a;
	}
	return NULL;
}

const struct agent_secret *agent_secret_find(const struct agent *a, const char *name)
{
	for (unsigned i = 0; i < a->n_secrets; i++)
		if (strcmp(a->secrets[i].name, name) == 0)
			return &a->secrets[i];
	return NULL;
}

const char *agent_state(const struct agent *a, const struct feed *f)
{
	if (!a->session)
		return a->turned_away_us > a->last_seen_us ? "refused" : "down";
	if (a->head.state != LEDGER_OPEN)
		return "quarantined";
	if (a->refused && f->policy && a->answered == f->policy->revision)
		return "refused";
	if ((f->policy && a->revision != f->policy->revision) || a->keys_seq != f->keys_seq)
		return "behind";
	return "up";
}

/* Bytes of s that fit into `cap` with their end, without half a character. */
static size_t text_room(struct slice s, size_t cap)
{
	size_t n = MIN(s.n, cap - 1);

	while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void text_set(char *out, size_t cap, struct slice s)
{
	size_t n = text_room(s, cap);

	if (n)
		memcpy(out, s.p, n);
	out[n] = '\0';
}

static struct agent *agent_new(struct agents *all, struct slice name)
{
	struct agent *a;

	if (all->n_known >= AGENTS_MAX_KNOWN)
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	text_set(a->name, sizeof(a->name), name);
	buf_init(&a->features, 64u << 10);
	buf_init(&a->warnings, AGENT_MAX_WARNINGS_BYTES);
	list_push_back(&all->known, &a->node);
	all->n_known++;
	return a;
}

static void agent_free(struct agents *all, struct agent *a)
{
	list_remove(&a->node);
	all->n_known--;
	buf_fini(&a->features);
	buf_fini(&a->warnings);
	free(a->secrets);
	free(a);
}

struct load_run {
	struct agents *all;
	struct store_txn *t;
};

static int load_agent(const struct store_agent *row, void *arg)
{
	struct load_run *run = arg;
	struct agent *a = agent_new(run->all, row->name);

	if (!a)
		return -ENOMEM;
	a->uid = row->uid;
	memcpy(a->store_id, row->store_id.p, 16);
	text_set(a->host, sizeof(a->host), row->host);
	text_set(a->version, sizeof(a->version), row->version);
	a->first_seen_us = row->first_seen_us;
	a->last_seen_us = row->last_seen_us;
	return ledger_head_get(run->t, row->name, a->store_id, &a->head);
}

static int load_all(struct store_txn *t, void *arg)
{
	struct load_run run = { arg, t };

	return store_agent_each(t, load_agent, &run);
}

/* --- what it says -------------------------------------------------------------------------------
 */

/* "name source version"; false: not of this form. */
static bool secret_parse(struct slice line, struct agent_secret *ret)
{
	struct slice part[3] = { 0 };
	size_t n = 0, from = 0;

	for (size_t i = 0; i <= line.n && n < 3; i++) {
		if (i < line.n && line.p[i] != ' ')
			continue;
		part[n++] = slice_of(line.p + from, i - from);
		from = i + 1;
	}
	if (n != 3 || part[0].n >= sizeof(ret->name) || part[1].n >= sizeof(ret->source) ||
		part[0].n == 0)
		return false;
	text_set(ret->name, sizeof(ret->name), part[0]);
	text_set(ret->source, sizeof(ret->source), part[1]);
	return text_parse_u64(part[2], &ret->version) == 0;
}

static void status_secrets(struct agent *a, const wire_strs *lines)
{
	unsigned n = 0, cap = MIN(lines->n, (uint32_t)AGENT_MAX_SECRETS);
	struct agent_secret *v = calloc(MAX(cap, 1u), sizeof(*v));

	if (!v)
		return; /* the former ones stay: it says them again in 2 s */
	for (unsigned i = 0; i < cap; i++)
		if (secret_parse(lines->v[i], &v[n]))
			n++;
	free(a->secrets);
	a->secrets = v;
	a->n_secrets = n;
}

static void status_take(struct agent *a, const struct wire_agent_status *s)
{
	a->uptime_s = s->uptime_s;
	a->requests = s->requests;
	a->inflight = s->inflight;
	a->spool_records = s->spool_records;
	/* Any number may stand there: what is reckoned with is kept where differences fit. */
	a->spool_oldest_us = MIN(s->spool_oldest_us, (uint64_t)INT64_MAX);
	a->clock_diff_us = (int64_t)MIN(s->wall_us, (uint64_t)INT64_MAX) - clock_wall_us();
	text_set(a->durability, sizeof(a->durability), s->durability);
	status_secrets(a, &s->secrets);
	buf_reset(&a->warnings);
	for (uint32_t i = 0; i < s->warnings.n && !a->warnings.err; i++) {
		(void)text_utf8_clean(&a->warnings, s->warnings.v[i]);
		(void)buf_char(&a->warnings, '\n');
	}
}

/* --- hello --------------------------------------------------------------------------------------
 */

static bool name_is_valid(struct slice name)
{
	if (name.n == 0 || name.n > 63)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

/* Refused, shown with the agent if it is a known one. */
static void hello_refuse(struct held_frame *h, struct agent *a, const char *code, const char *why)
{
	struct session *s = h->session;

	log_event(LOG_WARNING, "agents", "agent.refused",
		"agent=%s uid=%u pid=%d code=%s reason=%s", log_quote(h->m.hello.agent_id),
		s->peer.uid, s->peer.pid, code, log_quote(slice_str(why)));
	if (a) {
		a->turned_away_us = clock_wall_us();
		text_set(a->turned_away, sizeof(a->turned_away), slice_str(why));
	}
	session_refuse(s, h->m.id, code, why);
	session_leave(s);
}

struct hello_run {
	const struct wire_hello *hello;
	const struct session *session;
	struct agent *a;
};

static int hello_store(struct store_txn *t, void *arg)
{
	struct hello_run *run = arg;
	const struct wire_hello *w = run->hello;
	struct agent *a = run->a;
	struct store_agent row = {
		.name = slice_str(a->name),
		.store_id = w->store_id,
		.host = slice_of(w->host.p, text_room(w->host, sizeof(a->host))),
		.version = slice_of(w->version.p, text_room(w->version, sizeof(a->version))),
		.uid = run->session->peer.uid,
		.first_seen_us = a->first_seen_us ? a->first_seen_us : clock_wall_us(),
		.last_seen_us = clock_wall_us(),
	};
	int r = store_agent_put(t, &row);

	return r < 0 ? r : ledger_head_get(t, row.name, (const uint8_t *)w->store_id.p, &a->head);
}

static void hello_take(struct agents *all, struct held_frame *h, struct agent *a)
{
	const struct wire_hello *w = &h->m.hello;
	struct session *s = h->session;
	struct wire_message m = { .kind = WIRE_welcome, .id = h->m.id };

	a->uid = s->peer.uid;
	a->pid = w->pid;
	memcpy(a->store_id, w->store_id.p, 16);
	text_set(a->host, sizeof(a->host), w->host);
	text_set(a->version, sizeof(a->version), w->version);
	a->last_seen_us = clock_wall_us();
	if (!a->first_seen_us)
		a->first_seen_us = a->last_seen_us;
	a->session = s;
	a->refused = false;
	a->answered = 0;
	s->agent = a;
	buf_reset(&a->features);
	for (uint32_t i = 0; i < w->features.n && i < AGENT_MAX_FEATURES; i++) {
		(void)buf_slice(&a->features, w->features.v[i]);
		(void)buf_char(&a->features, '\0');
	}
	m.welcome = (struct wire_welcome){
		.wire_version = WIRE_VERSION,
		.version = SLICE(AIGW_VERSION),
		.high_water = a->head.high_water,
		.chain = slice_of((const char *)a->head.chain, 32),
		.wall_us = (uint64_t)clock_wall_us(),
		.traces = all->traces_memory,
	};
	session_send(s, LANE_ORDINARY, &m);
	log_event(LOG_INFO, "agents", "agent.connected",
		"agent=%s uid=%u pid=%d host=%s version=%s high_water=%" PRIu64 " revision=%" PRIu64
		" keys_seq=%" PRIu64,
		a->name, s->peer.uid, s->peer.pid, log_quote(slice_str(a->host)),
		log_quote(slice_str(a->version)), a->head.high_water, w->revision, w->keys_seq);
	feed_hello(all->feed, a, w);
	session_go_on(s);
}

static void hello_judge(struct agents *all, struct held_frame *h)
{
	const struct wire_hello *w = &h->m.hello;
	struct hello_run run = { .hello = w, .session = h->session };
	struct agent *a;
	char why[192];
	bool fresh;

	if (!name_is_valid(w->agent_id) || w->store_id.n != 16) {
		hello_refuse(h, NULL, "refused",
			"an agent id has 1 to 63 letters, digits, dots, dashes or underscores, a "
			"store id 16 bytes");
		return;
	}
	a = agents_find(all, w->agent_id);
	if (w->wire_version != WIRE_VERSION) {
		(void)snprintf(why, sizeof(why),
			"it speaks wire version %" PRIu64
			", the controller %d: install the same version",
			w->wire_version, WIRE_VERSION);
		hello_refuse(h, a, "refused", why);
		return;
	}
	if (a && a->uid != h->session->peer.uid) {
		(void)snprintf(why, sizeof(why), "the name %s belongs to uid %u, not %u", a->name,
			a->uid, h->session->peer.uid);
		hello_refuse(h, a, "refused", why);
		return;
	}
	if (a && a->session) {
		(void)snprintf(why, sizeof(why),
			"%s is connected already, from pid %d: give each agent a name of its own",
			a->name, a->session->peer.pid);
		a->duplicate_us = clock_wall_us();
		hello_refuse(h, a, "duplicate_agent", why);
		return;
	}
	fresh = !a;
	if (fresh)
		a = agent_new(all, w->agent_id);
	if (!a) {
		hello_refuse(h, NULL, "refused", "the controller knows too many agents already");
		return;
	}
	run.a = a;
	if (store_write(all->store, 4096, hello_store, &run) < 0) {
		hello_refuse(
			h, fresh ? NULL : a, "store_unavailable", "the controller's store failed");
		if (fresh)
			agent_free(all, a);
		return;
	}
	hello_take(all, h, a);
}

static void traces_take(struct agents *all, const struct agent *a, const struct wire_traces *m)
{
	usec now = clock_mono_us();

	traces_note_lost(all->traces, m->lost);
	for (uint32_t i = 0; i < MIN(m->ids.n, m->texts.n); i++)
		if (m->ids.v[i].n == 16)
			(void)traces_put(all->traces, (const uint8_t *)m->ids.v[i].p, a->name,
				a->host, m->texts.v[i], now);
}

/* --- messages -----------------------------------------------------------------------------------
 */

/* The payload is copied and decoded again: slices and lists then live as long as the frame is held.
 */
static void frame_hold(
	struct agents *all, struct session *s, struct slice payload, uint32_t id, struct list *to)
{
	struct held_frame *h = calloc(1, sizeof(*h));
	struct slice copy;

	if (!h)
		goto fail;
	list_init(&h->node);
	arena_init(&h->arena, 4096, 16u << 20);
	copy = arena_slice(&h->arena, payload);
	if (!copy.p || wire_decode(copy, WIRE_none, &h->arena, &h->m, NULL) < 0) {
		arena_fini(&h->arena);
		free(h);
		goto fail;
	}
	h->session = s;
	h->agent = s->agent;
	list_push_back(to, &h->node);
	deferred_queue(all->loop, &all->turn);
	return;
fail:
	session_refuse(s, id, "store_unavailable", "the controller is out of memory");
	session_leave(s); /* later batches would look like a gap */
}

void agents_message(struct session *s, struct slice payload, const struct wire_message *m)
{
	struct agents *all = s->agents;
	struct agent *a = s->agent;

	switch ((int)m->kind) {
	case WIRE_hello: frame_hold(all, s, payload, m->id, &all->hellos); break;
	case WIRE_usage_batch:
		if (m->usage_batch.store_id.n != 16 ||
			memcmp(m->usage_batch.store_id.p, a->store_id, 16) != 0)
			session_refuse(s, m->id, "refused",
				"a batch of another store than the one of hello");
		else
			frame_hold(all, s, payload, m->id, &all->batches);
		break;
	case WIRE_policy_result: feed_policy_result(all->feed, a, &m->policy_result); break;
	case WIRE_keys_ack: feed_keys_ack(all->feed, a, m->keys_ack.seq); break;
	case WIRE_keys_resync: feed_keys_resync(all->feed, a); break;
	case WIRE_drains_ack: feed_drains_ack(all->feed, a, m->drains_ack.version); break;
	case WIRE_secrets_ack: feed_secret_ack(all->feed, a, &m->secrets_ack); break;
	case WIRE_traces: traces_take(all, a, &m->traces); break;
	case WIRE_agent_status:
		status_take(a, &m->agent_status);
		a->last_seen_us = clock_wall_us();
		feed_changed(all->feed);
		break;
	default: break; /* what only a controller says */
	}
}

static void on_turn(struct deferred *d)
{
	struct agents *all = container_of(d, struct agents, turn);

	while (!list_is_empty(&all->hellos)) {
		struct held_frame *h = list_entry(all->hellos.next, struct held_frame, node);

		list_remove(&h->node);
		if (h->session)
			hello_judge(all, h);
		arena_fini(&h->arena);
		free(h);
	}
	usage_book(all, &all->batches);
}

/* --- life ---------------------------------------------------------------------------------------
 */

static int last_seen_store(struct store_txn *t, void *arg)
{
	const struct agent *a = arg;
	struct store_agent row = {
		.name = slice_str(a->name),
		.store_id = slice_of((const char *)a->store_id, 16),
		.host = slice_str(a->host),
		.version = slice_str(a->version),
		.uid = a->uid,
		.first_seen_us = a->first_seen_us,
		.last_seen_us = a->last_seen_us,
	};

	return store_agent_put(t, &row);
}

static void held_forget(struct list *frames, const struct session *s)
{
	struct list *it, *tmp;

	list_each(it, tmp, frames)
	{
		struct held_frame *h = list_entry(it, struct held_frame, node);

		if (h->session == s)
			h->session = NULL; /* a batch is booked all the same */
	}
}

void agents_gone(struct session *s)
{
	struct agents *all = s->agents;
	struct agent *a = s->agent;

	held_forget(&all->hellos, s);
	held_forget(&all->batches, s);
	if (!a)
		return;
	s->agent = NULL;
	a->session = NULL;
	a->last_seen_us = clock_wall_us();
	log_event(LOG_INFO, "agents", "agent.gone", "agent=%s", a->name);
	if (store_write(all->store, 4096, last_seen_store, a) < 0)
		log_event(
			LOG_WARNING, "agents", "store.failed", "agent=%s what=last_seen", a->name);
	feed_changed(all->feed);
}

void agents_freed(struct session *s)
{
	list_remove(&s->node);
	s->agents->n_sessions--;
}

static void on_connection(struct stream_listener *l)
{
	(void)session_accept(container_of(l, struct agents, listener), l);
}

int agents_init(
	struct agents *all, struct loop *l, struct store *s, struct feed *f, struct errbuf *e)
{
	static const struct traces_limits limits = { TRACES_MAX_BYTES, TRACES_AGENT_BYTES,
		TRACES_AGE_US };
	int r;

	*all = (struct agents){
		.loop = l, .store = s, .feed = f, .traces_memory = (uint64_t)clock_wall_us()
	};
	list_init(&all->sessions);
	list_init(&all->known);
	list_init(&all->hellos);
	list_init(&all->batches);
	deferred_init(&all->turn, on_turn);
	if (traces_new(&limits, &all->traces) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	r = store_read(s, load_all, all);
	return r < 0 ? err_set(e, r, "can't read the known agents from the store") : 0;
}

static int listen_on(struct agents *all, int fd, struct errbuf *e)
{
	int r = stream_listen(&all->listener, all->loop, fd, 128, on_connection);

	return r < 0 ? err_set(e, r, "can't listen for agents: %s", uv_strerror(r)) : 0;
}

int agents_listen(struct agents *all, const char *path, int activated_fd, struct errbuf *e)
{
	int fd = activated_fd, r = 0;

	if (fd < 0) {
		r = unix_listen(path, 0660, 128, &fd, e);
		if (r < 0)
			return r;
		all->path = strdup(path);
	}
	return listen_on(all, fd, e);
}

void agents_close(struct agents *all)
{
	struct list *it, *tmp;

	on_turn(&all->turn); /* what arrived is booked; an agent that does not hear it any more
				sends it again */
	if (all->listener.open) {
		stream_listener_close(&all->listener, NULL);
		if (all->path)
			(void)unlink(all->path);
	}
	list_each(it, tmp, &all->sessions) session_close(list_entry(it, struct session, node));
	deferred_cancel(&all->turn);
}

void agents_fini(struct agents *all)
{
	struct list *it, *tmp;

	ASSERT(list_is_empty(&all->sessions));
	list_each(it, tmp, &all->known) agent_free(all, list_entry(it, struct agent, node));
	traces_free(all->traces);
	free(all->path);
}
