/* Who is asking: a virtual key in one of four header forms, or the peer of the unix socket. A key's
 * verdict is remembered per connection for the generation of the key set that it was made at. */
#include "request/request.h"

#include <aigw/clock.h>

void caller_fini(struct caller *c)
{
	free(c->groups);
	free(c->unit);
	secret_wipe(c->credential, sizeof(c->credential));
}

/* The credential's value if this field carries one. */
static bool credential_in(const struct h1_field *f, struct slice *ret)
{
	const struct slice bearer = SLICE("bearer ");

	switch (f->name.n) {
	case 13:
		if (!slice_eq_nocase(f->name, SLICE("authorization")))
			return false;
		*ret = f->value;
		if (f->value.n > bearer.n &&
			slice_eq_nocase(slice_of(f->value.p, bearer.n), bearer))
			*ret = slice_trim(slice_skip(f->value, bearer.n));
		return true;
	case 9:
		if (!slice_eq_nocase(f->name, SLICE("x-api-key")))
			return false;
		break;
	case 7:
		if (!slice_eq_nocase(f->name, SLICE("api-key")))
			return false;
		break;
	case 14:
		if (!slice_eq_nocase(f->name, SLICE("x-goog-api-key")))
			return false;
		break;
	default: return false;
	}
	*ret = f->value;
	return true;
}

static enum fail find_credential(struct request *r, const struct h1_head *h, struct slice *ret)
{
	struct slice v;

	*ret = SLICE_EMPTY;
	for (unsigned i = 0; i < h->n_fields; i++) {
		if (!credential_in(&h->fields[i], &v))
			continue;
		/* SDKs insist on a key: on the unix socket one that is not ours counts as none. */
		if (r->caller->is_unix && !vkey_has_prefix(v))
			continue;
		if (ret->p && !slice_eq(*ret, v))
			return FAIL_ambiguous_credential;
		*ret = v;
	}
	return FAIL_none;
}

static void take_verdict(struct request *r)
{
	r->project = r->caller->project;
	r->key_stat = r->caller->key_stat;
	r->require_tags = r->caller->require_tags;
	memcpy(r->key_id, r->caller->key_id, VKEY_ID_LEN);
	r->has_key = true;
}

static enum fail look_up(struct request *r, struct slice text, struct errbuf *why)
{
	struct caller *c = r->caller;
	struct key_verdict verdict;
	struct vkey key;
	int project, err = vkey_parse(text, &key);

	if (err == -EBADMSG)
		(void)err_set(why, 0, "The key is mistyped: its checksum is wrong. Copy it again.");
	if (err)
		return FAIL_invalid_api_key;
	if (keyset_look_up(r->env->keys, &key, &verdict))
		return FAIL_store_unavailable;
	if (verdict.state != KEY_ACTIVE || (verdict.expires_us && verdict.expires_us <= r->wall_us))
		return FAIL_invalid_api_key;
	project = policy_project(r->rules->rules->policy, slice_str(verdict.project));
	if (project < 0) {
		(void)err_set(
			why, 0, "The key's project is not in the policy. Ask your administrator.");
		return FAIL_invalid_api_key;
	}
	c->generation = verdict.generation;
	c->rules_serial = r->rules->serial;
	c->expires_us = verdict.expires_us;
	c->project = (uint32_t)project;
	c->require_tags =
		receive_tags(r->rules->rules->policy->doc, slice_str(verdict.require_tags));
	c->key_stat = stats_key_slot(r->env->gw->stats, vkey_id_number(key.id));
	memcpy(c->key_id, key.id, VKEY_ID_LEN);
	memcpy(c->credential, text.p, VKEY_TEXT_LEN);
	take_verdict(r);
	return FAIL_none;
}

static enum fail identify_key(struct request *r, struct slice text, struct errbuf *why)
{
	const struct caller *c = r->caller;

	/* A verdict holds for the generation and rules that it was made at, never longer. */
	if (c->generation && c->generation == keyset_generation(r->env->gw->keyset) &&
		c->rules_serial == r->rules->serial && text.n == VKEY_TEXT_LEN &&
		memcmp(text.p, c->credential, VKEY_TEXT_LEN) == 0 &&
		(!c->expires_us || c->expires_us > r->wall_us)) {
		take_verdict(r);
		return FAIL_none;
	}
	return look_up(r, text, why);
}

static void learn_peer(struct request *r)
{
	struct caller *c = r->caller;
	uint32_t groups[PEER_MAX_GROUPS];
	char unit[256];
	unsigned n = 0;

	if (!c->groups_known) {
		c->groups_known = true;
		if (peer_groups_of(stream_fd(r->client), groups, &n) == 0 && n) {
			c->groups = malloc(n * sizeof(*groups));
			if (c->groups)
				memcpy(c->groups, groups, n * sizeof(*groups));
			c->n_groups = c->groups ? (uint8_t)n : 0;
		}
	}
	if (!c->unit_known && policy_wants_unit(r->rules->rules->policy)) {
		c->unit_known = true;
		if (peer_unit_of(c->cred.pid, unit, sizeof(unit)) == 0)
			c->unit = strdup(unit);
	}
}

static enum fail identify_peer(struct request *r)
{
	const struct policy *p = r->rules->rules->policy;
	struct caller *c = r->caller;
	struct policy_peer peer;
	int i;

	learn_peer(r);
	peer = (struct policy_peer){ c->cred.uid, c->cred.gid, c->groups, c->n_groups,
		slice_str(c->unit) };
	i = policy_identify(p, &peer);
	if (i < 0)
		return FAIL_no_identity;
	r->identity = (uint16_t)(i + 1); /* at most POLICY_MAX_ITEMS */
	r->project = p->doc->identities[i].project;
	return FAIL_none;
}

enum fail identify_caller(struct request *r, const struct h1_head *h, struct errbuf *why)
{
	struct slice text;
	enum fail f = find_credential(r, h, &text);

	if (f != FAIL_none)
		return f;
	if (r->caller->is_unix) {
		r->has_uid = true;
		r->uid_stat = stats_uid_slot(r->env->gw->stats, r->caller->cred.uid);
	}
	if (text.p) {
		f = identify_key(r, text, why);
	} else if (r->caller->is_unix) {
		f = identify_peer(r);
	} else {
		(void)err_set(
			why, 0, "No key was sent. Send one as Authorization: Bearer sk-aigw-…");
		f = FAIL_invalid_api_key;
	}
	r->known = f == FAIL_none;
	return f;
}
