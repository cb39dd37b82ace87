/* What the uplink asks (hello, status), what comes in over it, and which records it may send. */
#include "agent_private.h"

#include <aigw/clock.h>
#include <unistd.h>

static struct slice feature_slices[16];
static uint8_t hello_realm[16];

static void on_hello(struct wire_hello *h, void *owner)
{
	struct agent *a = owner;

	h->version = SLICE(AIGW_VERSION);
	h->host = slice_str(a->host);
	h->pid = (uint64_t)getpid();
	for (h->features.n = 0;
		policy_features[h->features.n] && h->features.n < ARRAY_LEN(feature_slices);
		h->features.n++)
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

#define STATUS_SECRETS 256 /* as many as the controller takes */
static char status_texts[STATUS_SECRETS][128];
static struct slice status_secrets[STATUS_SECRETS], status_warnings[4];

static bool stands_before(const struct policy_doc *d, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (slice_eq(d->credentials[k], d->credentials[i]))
			return true;
	return false;
}

static void status_of_secrets(struct agent *a, struct wire_agent_status *s)
{
	const struct policy_doc *d = a->rules ? a->rules->policy->doc : NULL;
	const char *source;
	uint64_t version;

	s->secrets = (struct wire_bins){ status_secrets, 0 };
	for (uint32_t i = 0; d && i < d->n_credentials && s->secrets.n < STATUS_SECRETS; i++) {
		struct slice name = d->credentials[i];
		char *text = status_texts[s->secrets.n];

		if (stands_before(d, i))
			continue;
		version = 0;
		source = agent_secret_source(a, name, &version);
		(void)snprintf(text, sizeof(status_texts[0]), SLICE_FMT " %s %" PRIu64,
			SLICE_ARG(name), source, version);
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

static void on_uplink_keys(bool snapshot, struct slice realm, uint64_t seq,
	const struct slice *records, uint32_t n, void *owner)
{
	builder_keys(&((struct agent *)owner)->builder, snapshot, realm, seq, records, n);
}

static void on_uplink_secret(struct slice name, uint64_t version, struct slice bytes, void *owner)
{
	builder_secret(&((struct agent *)owner)->builder, name, version, bytes);
}

static void on_uplink_state(enum uplink_state st, const char *why, void *owner)
{
	(void)why; /* logged by the uplink */
	atomic_store_explicit(&((struct agent *)owner)->control, (int)st, memory_order_relaxed);
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

void agent_on_committed(uint64_t last_seq, void *owner)
{
	struct agent *a = owner;
	struct committed *c = malloc(sizeof(*c));

	if (!c)
		return; /* the next group tells */
	c->mail.handle = on_committed_mail;
	c->last_seq = last_seq;
	mailbox_post(&a->mailbox, &c->mail);
}

int agent_start_link(struct agent *a, struct errbuf *e)
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
		.troubled = a->gw.troubled,
		.trace = control_trace_text,
		.drains = agent_take_drains,
		.state = on_uplink_state,
	};

	return uplink_start(&c, &a->uplink, e);
}
