#include "corpus.h"
#include "conn.h"
#include "hashtable.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct exchange {
	char *id;
	uint64_t request_hash; /* of operation, model and body; known once all were read */
	UT_hash_handle hh, by_request;
};

struct corpus {
	char *dir;
	bool cut_plain, all_read;
	struct exchange *ids, *requests;
};

/* ---- index ---- */

struct corpus *corpus_open(const char *dir, bool cut_plain)
{
	struct corpus *k = mem_get(sizeof(*k));
	DIR *d = opendir(dir);
	struct dirent *de;

	if (!d) {
		fprintf(stderr, "aigw-sim: --corpus %s: %s\n", dir, strerror(errno));
		free(k);
		return NULL;
	}
	k->dir = mem_dup(dir, strlen(dir));
	k->cut_plain = cut_plain;
	while ((de = readdir(d))) {
		size_t n = strlen(de->d_name);
		struct exchange *e;

		if (n <= 5 || strcmp(de->d_name + n - 5, ".json"))
			continue;
		e = mem_get(sizeof(*e));
		e->id = mem_dup(de->d_name, n - 5);
		HASH_ADD_KEYPTR(hh, k->ids, e->id, n - 5, e);
	}
	closedir(d);
	return k;
}

void corpus_free(struct corpus *k)
{
	struct exchange *e, *tmp;

	if (!k)
		return;
	HASH_CLEAR(by_request, k->requests);
	HASH_ITER(hh, k->ids, e, tmp)
	{
		HASH_DEL(k->ids, e);
		free(e->id);
		free(e);
	}
	free(k->dir);
	free(k);
}

size_t corpus_count(const struct corpus *k)
{
	return HASH_COUNT(k->ids);
}

/* ---- files ---- */

static json_t *exchange_load(const struct corpus *k, const struct exchange *e)
{
	char path[4096];
	json_error_t err;
	json_t *doc;

	if (snprintf(path, sizeof(path), "%s/%s.json", k->dir, e->id) >= (int)sizeof(path))
		return NULL;
	doc = json_load_file(path, JSON_ALLOW_NUL, &err);
	if (!doc)
		doc = json_load_file(path, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &err);
	if (!doc)
		fprintf(stderr, "aigw-sim: %s:%d: %s\n", path, err.line, err.text);
	return doc;
}

/* Recorded bytes of a request or response; false if they cannot be had. */
static bool body_decode(const json_t *message, struct buf *out)
{
	const json_t *body = json_object_get(message, "body");
	const char *encoding = json_string_value(json_object_get(message, "body_encoding"));
	const char *p = json_string_value(body);
	size_t n = json_string_length(body), pad = 0;
	int got;

	if (!p || !encoding)
		return true; /* none */
	if (strcmp(encoding, "base64")) {
		buf_add(out, p, n);
		return true;
	}
	while (pad < 2 && pad < n && p[n - 1 - pad] == '=')
		pad++;
	buf_reserve(out, n + 4);
	got = EVP_DecodeBlock((unsigned char *)out->p + out->len, (const unsigned char *)p, (int)n);
	if (got < 0)
		return false;
	out->len += (size_t)got - pad;
	return true;
}

/* The part of a path that names the operation, wherever the provider puts it. */
static struct span operation_of(struct span path)
{
	static const char *const known[] = { "/chat/completions", "/completions", "/embeddings",
		"/responses", "/moderations" };
	const char *query = memchr(path.p, '?', path.len);

	if (query)
		path.len = (size_t)(query - path.p);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(known[i]);

		if (path.len >= n && !memcmp(path.p + path.len - n, known[i], n))
			return (struct span){ path.p + path.len - n, n };
	}
	if (path.len > 3 && !memcmp(path.p, "/v1/", 4))
		return (struct span){ path.p + 3, path.len - 3 };
	return path;
}

static struct span text_of(const json_t *v)
{
	return (struct span){ json_string_value(v) ? json_string_value(v) : "",
		json_string_length(v) };
}

static bool operation_same(struct span a, struct span b)
{
	a = operation_of(a);
	b = operation_of(b);
	return a.len == b.len && !memcmp(a.p, b.p, a.len);
}

/* ---- by request ---- */

static uint64_t request_hash(struct span path, struct span model, struct span body)
{
	struct span op = operation_of(path);
	uint64_t h = hash_bytes(1, op.p, op.len);

	return hash_bytes(hash_bytes(h, model.p, model.len), body.p, body.len);
}

static void requests_read(struct corpus *k)
{
	struct exchange *e, *tmp, *other;

	k->all_read = true;
	HASH_ITER(hh, k->ids, e, tmp)
	{
		json_t *doc = exchange_load(k, e);
		const json_t *req = json_object_get(doc, "request");
		struct buf body = { 0 };

		if (json_is_object(req) && body_decode(req, &body)) {
			e->request_hash = request_hash(text_of(json_object_get(req, "path")),
				text_of(json_object_get(doc, "model_requested")),
				(struct span){ body.p ? body.p : "", body.len });
			HASH_FIND(
				by_request, k->requests, &e->request_hash, sizeof(uint64_t), other);
			if (!other)
				HASH_ADD(
					by_request, k->requests, request_hash, sizeof(uint64_t), e);
		}
		buf_free(&body);
		json_decref(doc);
	}
}

static struct exchange *by_request_find(
	struct corpus *k, const char *model, struct span path, struct span body)
{
	struct exchange *e;
	uint64_t h;

	if (!k->all_read)
		requests_read(k);
	h = request_hash(path, (struct span){ model, strlen(model) }, body);
	HASH_FIND(by_request, k->requests, &h, sizeof(h), e);
	return e;
}

/* ---- answers ---- */

static bool header_left_out(const char *name)
{
	static const char *const names[] = { "connection", "content-length", "transfer-encoding",
		"content-encoding", "date", "keep-alive", "content-type", "upgrade", "trailer" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return false;
}

static void headers_take(struct call *c, const json_t *headers)
{
	const char *name, *type = NULL;
	bool has_id = false;
	json_t *v;

	json_object_foreach((json_t *)headers, name, v)
	{
		const char *text = json_string_value(v);

		if (!text || strpbrk(text, "\r\n"))
			continue;
		if (!strcasecmp(name, "content-type"))
			type = text;
		has_id |= !strcasecmp(name, "x-request-id");
		if (!header_left_out(name))
			buf_addf(&c->headers, "%s: %s\r\n", name, text);
	}
	if (type)
		buf_addf(&c->headers, "content-type: %s\r\n", type);
	if (!has_id)
		buf_addf(&c->headers, "x-request-id: %s\r\n", c->request_id);
}

static int64_t count_of(const json_t *usage, const char *name)
{
	return (int64_t)json_number_value(json_object_get(usage, name));
}

static void exchange_answer(struct corpus *k, struct call *c, const json_t *doc)
{
	const json_t *resp = json_object_get(doc, "response"),
		     *usage = json_object_get(doc, "usage");
	bool streamed = json_is_true(json_object_get(doc, "streaming"));
	int status = (int)json_number_value(json_object_get(resp, "status"));

	if (!body_decode(resp, &c->body) || status < 100 || status > 599) {
		call_error(c, 500, "sim: this recorded answer cannot be read", NULL, "sim_corpus");
		return;
	}
	c->recorded = true;
	c->input_tokens = count_of(usage, "input_tokens");
	c->output_tokens = count_of(usage, "output_tokens");
	c->usage_sent = json_is_object(usage);
	headers_take(c, json_object_get(resp, "headers"));
	c->b.chunk_split = streamed || k->cut_plain;
	c->stream = streamed;
	if (!streamed) {
		call_plain(c, status, NULL);
		return;
	}
	c->status = status;
	c->phase = PHASE_STREAM;
	c->stage = STAGE_END;
}

bool corpus_answer(struct corpus *k, struct call *c, struct span path, struct span body)
{
	struct span recorded;
	struct exchange *e;
	json_t *doc;

	HASH_FIND_STR(k->ids, c->model, e);
	if (!e)
		e = by_request_find(k, c->model, path, body);
	if (!e)
		return false;
	doc = exchange_load(k, e);
	recorded = text_of(json_object_get(json_object_get(doc, "request"), "path"));
	if (!doc)
		call_error(c, 500, "sim: the file of this exchange cannot be read", NULL,
			"sim_corpus");
	else if (recorded.len && !operation_same(recorded, path))
		call_error(c, 404, "sim: this exchange was recorded at another path", NULL,
			"sim_corpus");
	else
		exchange_answer(k, c, doc);
	json_decref(doc);
	return true;
}
