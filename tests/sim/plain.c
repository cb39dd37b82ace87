/* plain: answers that are never streamed: embeddings, moderations, models. */
#include "answer.h"
#include "conn.h"
#include "scan.h"
#include "tokens.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define DIMENSIONS     1536
#define DIMENSIONS_MAX 8192

/* ---- embeddings ---- */

/* Multiples of 2^-15 in (-1, 1): exact as binary32, so that both encodings say the same. */
static float component(uint64_t seed, int64_t i)
{
	return (float)((int)(hash_mix(seed + (uint64_t)i) & 0xffff) - 32768) / 32768.0f;
}

static void vector_add(uint64_t seed, int64_t dims, bool base64, struct buf *out)
{
	if (!base64) {
		buf_adds(out, "[");
		for (int64_t i = 0; i < dims; i++)
			buf_addf(out, "%s%.15g", i ? "," : "", (double)component(seed, i));
		buf_adds(out, "]");
		return;
	}
	float *v = mem_get((size_t)dims * sizeof(*v));
	size_t text = ((size_t)dims * sizeof(*v) + 2) / 3 * 4;

	for (int64_t i = 0; i < dims; i++)
		v[i] = component(seed, i);
	buf_adds(out, "\"");
	buf_reserve(out, text + 1);
	out->len += (size_t)EVP_EncodeBlock((unsigned char *)out->p + out->len, (unsigned char *)v,
		(int)((size_t)dims * sizeof(*v)));
	buf_adds(out, "\"");
	free(v);
}

static void embedding_add(
	const struct ask *a, struct span raw, int64_t index, int64_t dims, struct buf *out)
{
	buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%lld,\"embedding\":", index ? "," : "",
		(long long)index);
	vector_add(hash_bytes(1, raw.p, raw.len), dims, a->base64, out);
	buf_adds(out, "}");
}

/* One input is a string or a list of integers; several are a list of those. */
static bool input_is_list(struct span raw)
{
	struct scan s = scan_of(raw);
	bool first = true;
	char ch;

	if (scan_peek(&s) != '[' || !scan_element(&s, &first))
		return false;
	ch = scan_peek(&s);
	return ch == '"' || ch == '[' || ch == '{';
}

void embeddings_add(struct call *c, const struct ask *a, struct buf *out)
{
	int64_t dims = a->dimensions > 0 ? a->dimensions : DIMENSIONS, i = 0;
	struct scan s = scan_of(a->input);
	bool first = true;

	if (dims > DIMENSIONS_MAX)
		dims = DIMENSIONS_MAX;
	buf_adds(out, "{\"object\":\"list\",\"data\":[");
	if (!input_is_list(a->input))
		embedding_add(a, a->input, 0, dims, out);
	else
		while (scan_element(&s, &first))
			embedding_add(a, scan_value(&s), i++, dims, out);
	buf_adds(out, "],\"model\":");
	buf_add_json(out, c->model, strlen(c->model));
	if (!c->b.no_usage) {
		c->usage_sent = true;
		buf_addf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}",
			(long long)c->input_tokens, (long long)c->input_tokens);
	}
	buf_adds(out, "}");
}

/* ---- moderations ---- */

static void moderation_add(struct span raw, bool first, struct buf *out)
{
	static const char *const categories[] = { "harassment", "hate", "illicit", "self-harm",
		"sexual", "violence" };
	bool flagged = memmem(raw.p, raw.len, "sim-flag", 8) != NULL;

	buf_addf(out, "%s{\"flagged\":%s,\"categories\":{", first ? "" : ",",
		flagged ? "true" : "false");
	for (size_t i = 0; i < 6; i++)
		buf_addf(out, "%s\"%s\":%s", i ? "," : "", categories[i],
			flagged && i == 5 ? "true" : "false");
	buf_adds(out, "},\"category_scores\":{");
	for (size_t i = 0; i < 6; i++)
		buf_addf(out, "%s\"%s\":%s", i ? "," : "", categories[i],
			flagged && i == 5 ? "0.97" : "0.0001");
	buf_adds(out, "}}");
}

void moderations_add(struct call *c, const struct ask *a, struct buf *out)
{
	struct scan s = scan_of(a->input);
	bool first = true, comma = true;

	buf_addf(out, "{\"id\":\"modr-sim%08x%llx\",\"model\":", (unsigned)c->created_s,
		(unsigned long long)c->seq);
	buf_add_json(out, c->model, strlen(c->model));
	buf_adds(out, ",\"results\":[");
	if (!input_is_list(a->input))
		moderation_add(a->input, true, out);
	else
		for (; scan_element(&s, &first); comma = false)
			moderation_add(scan_value(&s), comma, out);
	buf_adds(out, "]}");
}

/* ---- models ---- */

void model_add(const char *id, size_t n, struct buf *out)
{
	buf_adds(out, "{\"id\":");
	buf_add_json(out, id, n);
	buf_adds(out, ",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"aigw-sim\"}");
}

void models_add(struct call *c, struct buf *out)
{
	static const char *const names[] = { "sim-small", "sim-large", "sim-embedding",
		"sim-moderation" };

	(void)c;
	buf_adds(out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < 4; i++) {
		buf_adds(out, i ? "," : "");
		model_add(names[i], strlen(names[i]), out);
	}
	buf_adds(out, "]}");
}
