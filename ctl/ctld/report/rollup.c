/* A row's key: quarter (8 bytes, microseconds), six texts (length byte and bytes), uid (8), outcome
 * (1), endpoint (1): at most 8 + 6 + 63 + 63 + 16 + 127 + 63 + 63 + 10 = 419 bytes, LMDB's limit is
 * 511. Its value: the sums, 16 bytes each, big-endian. */
#include "report/rollup.h"

#include "report/rollup_private.h"
#include "store/pack.h"

const char *const rollup_dim_names[DIM_COUNT] = {
	[DIM_customer] = "customer",
	[DIM_project] = "project",
	[DIM_key] = "key",
	[DIM_model] = "model",
	[DIM_provider] = "provider",
	[DIM_agent] = "agent",
	[DIM_uid] = "uid",
	[DIM_outcome] = "outcome",
	[DIM_endpoint] = "endpoint",
	[DIM_day] = "day",
	[DIM_hour] = "hour",
};

static const size_t text_max[ROLLUP_TEXT_DIMS] = {
	[DIM_customer] = 63,
	[DIM_project] = 63,
	[DIM_key] = 16,
	[DIM_model] = 127,
	[DIM_provider] = 63,
	[DIM_agent] = 63,
};

static bool quarter_of(const struct usage_record *r, usec *ret)
{
	usec end;

	if (r->start_us < 0 || r->duration_us < 0 ||
		__builtin_add_overflow(r->start_us, r->duration_us, &end))
		return false;
	*ret = end - end % ROLLUP_QUARTER_US;
	return true;
}

bool rollup_of(const struct usage_record *r, struct slice agent, struct rollup_key *key,
	struct rollup_sums *sums)
{
	bool ok = r->outcome == USAGE_OK;

	*key = (struct rollup_key){
		.text = { [DIM_customer] = r->customer,
			[DIM_project] = r->project,
			[DIM_key] = r->key_id,
			[DIM_model] = r->model,
			[DIM_provider] = r->provider,
			[DIM_agent] = agent },
		.uid = r->uid,
		.outcome = (uint8_t)r->outcome,
		.endpoint = (uint8_t)r->endpoint,
	};
	for (unsigned i = 0; i < ROLLUP_TEXT_DIMS; i++)
		if (key->text[i].n > text_max[i])
			return false;
	if (r->outcome < USAGE_OK || r->outcome > USAGE_FAILED || r->endpoint < 0 ||
		r->endpoint > UINT8_MAX || r->uid < 0 || !quarter_of(r, &key->quarter_us))
		return false;
	*sums = (struct rollup_sums){
		.v = {
			[SUM_requests] = 1,
			[SUM_ok] = ok,
			[SUM_errors] = !ok && r->outcome != USAGE_CLIENT_GONE,
			[SUM_input_tokens] = r->input_tokens,
			[SUM_cached_input_tokens] = r->cached_input_tokens,
			[SUM_output_tokens] = r->output_tokens,
			[SUM_reasoning_tokens] = r->reasoning_tokens,
			[SUM_cost] = r->priced ? r->cost_nano : 0,
			[SUM_charge] = r->priced ? r->charge_nano : 0,
			/* a refused call never had a target that could have a price: it costs 0, not "none" */
			[SUM_unpriced] = !r->priced && r->outcome != USAGE_REFUSED,
			[SUM_estimated] = r->estimated != 0,
		},
	};
	return true;
}

size_t rollup_key_pack(const struct rollup_key *key, uint8_t out[static ROLLUP_KEY_MAX])
{
	size_t n = 8;

	be64_put(out, (uint64_t)key->quarter_us);
	for (unsigned i = 0; i < ROLLUP_TEXT_DIMS; i++) {
		ASSERT(key->text[i].n <= text_max[i]);
		out[n++] = (uint8_t)key->text[i].n;
		if (key->text[i].n)
			memcpy(out + n, key->text[i].p, key->text[i].n);
		n += key->text[i].n;
	}
	be64_put(out + n, (uint64_t)key->uid);
	n += 8;
	out[n++] = key->outcome;
	out[n++] = key->endpoint;
	return n;
}

bool rollup_key_unpack(struct slice bytes, struct rollup_key *ret)
{
	if (bytes.n < 8)
		return false;
	ret->quarter_us = (usec)be64_get(bytes.p);
	bytes = slice_skip(bytes, 8);
	for (unsigned i = 0; i < ROLLUP_TEXT_DIMS; i++) {
		size_t n = bytes.n ? (uint8_t)bytes.p[0] : 0;

		if (bytes.n < 1 + n)
			return false;
		ret->text[i] = slice_of(bytes.p + 1, n);
		bytes = slice_skip(bytes, 1 + n);
	}
	if (bytes.n != 10)
		return false;
	ret->uid = (int64_t)be64_get(bytes.p);
	ret->outcome = (uint8_t)bytes.p[8];
	ret->endpoint = (uint8_t)bytes.p[9];
	return true;
}

void rollup_sums_pack(const struct rollup_sums *s, uint8_t out[static ROLLUP_SUMS_BYTES])
{
	for (unsigned i = 0; i < SUM_COUNT; i++) {
		rollup_uint v = (rollup_uint)s->v[i];

		be64_put(out + (size_t)i * 16, (uint64_t)(v >> 64));
		be64_put(out + (size_t)i * 16 + 8, (uint64_t)v);
	}
}

bool rollup_sums_unpack(struct slice bytes, struct rollup_sums *ret)
{
	if (bytes.n != ROLLUP_SUMS_BYTES)
		return false;
	for (unsigned i = 0; i < SUM_COUNT; i++) {
		const char *p = bytes.p + (size_t)i * 16;

		ret->v[i] = (rollup_int)((rollup_uint)be64_get(p) << 64 | be64_get(p + 8));
	}
	return true;
}

void rollup_sums_add(struct rollup_sums *to, const struct rollup_sums *more)
{
	for (unsigned i = 0; i < SUM_COUNT; i++)
		to->v[i] += more->v[i];
}

int rollup_add(struct store_txn *t, const struct rollup_key *key, const struct rollup_sums *sums)
{
	uint8_t raw_key[ROLLUP_KEY_MAX], raw_sums[ROLLUP_SUMS_BYTES];
	struct rollup_sums all = *sums, old;
	struct slice k, row;
	int r;

	k = slice_of((const char *)raw_key, rollup_key_pack(key, raw_key));
	r = store_rollup_get(t, k, &row);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0) {
		if (!rollup_sums_unpack(row, &old))
			return -EBADMSG;
		rollup_sums_add(&all, &old);
	}
	rollup_sums_pack(&all, raw_sums);
	return store_rollup_put(t, k, slice_of((const char *)raw_sums, sizeof(raw_sums)));
}

void rollup_format(rollup_int v, bool nano, char out[static 48])
{
	rollup_uint u = v < 0 ? -(rollup_uint)v : (rollup_uint)v;
	char digits[48];
	size_t at = sizeof(digits), n = 0;

	do {
		if (nano && n == 9)
			digits[--at] = '.';
		digits[--at] = (char)('0' + (int)(u % 10));
		u /= 10;
		n++;
	} while (u || (nano && n < 10));
	if (v < 0)
		digits[--at] = '-';
	memcpy(out, digits + at, sizeof(digits) - at);
	out[sizeof(digits) - at] = '\0';
}
