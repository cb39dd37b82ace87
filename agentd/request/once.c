#include "request/once.h"

#include "account/idempotency.h"

#include <aigw/clock.h>
#include <aigw/crc.h>
#include <aigw/digest.h>

struct once {
	struct idempotency_key key;
	uint32_t place;
};

bool once_is_field(const struct h1_field *f)
{
	return f->name.n == 15 && slice_eq_nocase(f->name, SLICE("idempotency-key"));
}

static bool is_well_formed(struct slice key)
{
	for (size_t i = 0; i < key.n; i++)
		if ((unsigned char)key.p[i] < ' ' || key.p[i] == 0x7f)
			return false;
	return key.n > 0 && key.n <= ONCE_KEY_MAX;
}

static void hash_key(const struct request *r, struct slice key, struct idempotency_key *ret)
{
	const struct policy_doc *d = r->rules->rules->policy->doc;
	uint8_t digest[DIGEST_BYTES];
	char uid[16];
	struct slice pieces[5] = { SLICE("key"), slice_of(r->key_id, VKEY_ID_LEN), SLICE("\n"),
		key };

	if (!r->has_key) {
		(void)snprintf(uid, sizeof(uid), "%" PRIu32, (uint32_t)r->caller->cred.uid);
		pieces[0] = slice_str(uid);
		pieces[1] = SLICE("\n");
		pieces[2] = d->projects[r->project].name;
		pieces[3] = SLICE("\n");
		pieces[4] = key;
	}
	digest_sha256(pieces, r->has_key ? 4 : 5, digest);
	memcpy(ret->hash, digest, sizeof(ret->hash));
}

enum fail once_begin(struct request *r, const struct h1_head *h, struct errbuf *why)
{
	const struct h1_field *found = NULL;
	bool twice = false;

	for (unsigned i = 0; i < h->n_fields; i++)
		if (once_is_field(&h->fields[i])) {
			twice = found != NULL;
			found = &h->fields[i];
			if (twice)
				break;
		}
	if (twice || !found || !is_well_formed(found->value)) {
		(void)err_set(why, 0,
			twice ? "The header Idempotency-Key stands twice. Send it once."
			      : "The header Idempotency-Key needs 1 to %d characters, no control "
				"characters among them.",
			ONCE_KEY_MAX);
		return FAIL_bad_request;
	}
	if (r->upload) {
		(void)err_set(why, 0,
			"The header Idempotency-Key is not supported with multipart/form-data: an "
			"upload is handed on before all of it is seen. Remove it.");
		return FAIL_unsupported_header;
	}
	r->once = malloc(sizeof(*r->once));
	if (!r->once)
		return FAIL_internal;
	r->once->place = IDEMPOTENCY_NONE;
	hash_key(r, found->value, &r->once->key);
	return FAIL_none;
}

bool once_claim(struct request *r)
{
	struct idempotency_earlier earlier;
	char id[REQUEST_ID_LEN + 1];
	struct once *o = r->once;

	o->key.body_n = r->body.n;
	o->key.body_hash = (uint64_t)r->endpoint << 32 | crc32c(0, r->body.bytes, r->body.n);
	switch (idempotency_claim(
		r->env->gw->idempotency, &o->key, r->op_id, clock_wall_us(), &o->place, &earlier)) {
	case IDEMPOTENCY_FIRST: return true;
	case IDEMPOTENCY_REPEATED:
		request_id_format(earlier.op_id, id);
		request_fail(r, FAIL_idempotency_conflict,
			"This Idempotency-Key is the request's %s, which %s. Send another key to "
			"make another call.",
			id, earlier.runs ? "is under way" : "has ended; its answer is not kept");
		break;
	case IDEMPOTENCY_DIFFERS:
		request_id_format(earlier.op_id, id);
		request_fail(r, FAIL_idempotency_mismatch,
			"This Idempotency-Key is the request's %s, whose body or URL was another. "
			"Send another key with another request.",
			id);
		break;
	case IDEMPOTENCY_FULL:
		r->retry_after_ms = IDEMPOTENCY_YOUNG_US / USEC_PER_MS / 10;
		request_fail(r, FAIL_gateway_overloaded,
			"The table of idempotency keys has no room for this one. Try again later.");
		break;
	}
	return false;
}

void once_end(struct request *r)
{
	if (!r->once || r->once->place == IDEMPOTENCY_NONE)
		return;
	idempotency_end(r->env->gw->idempotency, r->once->place, clock_wall_us(), !r->sent_us);
	r->once->place = IDEMPOTENCY_NONE;
}

void once_free(struct request *r)
{
	once_end(r);
	free(r->once);
	r->once = NULL;
}

bool once_is_spent(const struct request *r)
{
	return r->once && r->sent_us;
}
