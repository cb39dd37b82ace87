#include "record.h"
#include "calllog.h"
#include "conn.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const credential_headers[] = { "authorization", "api-key", "x-api-key" };

static bool is_credential(const char *name)
{
	for (size_t i = 0; i < 3; i++)
		if (!strcasecmp(name, credential_headers[i]))
			return true;
	return false;
}

const char *record_credential(const struct request *r)
{
	const char *v = NULL;

	for (size_t i = 0; i < 3 && !v; i++)
		v = request_header(r, credential_headers[i]);
	return v && !strncasecmp(v, "bearer ", 7) ? v + 7 : v;
}

static const char *last4(const char *s)
{
	size_t n = strlen(s);

	return n > 4 ? s + n - 4 : s;
}

static void sha256_add(struct buf *out, const struct buf *body)
{
	static EVP_MD *md;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (!md)
		md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!md || !EVP_Digest(body->p ? body->p : "", body->len, digest, &n, md, NULL)) {
		fputs("aigw-sim: no SHA-256\n", stderr);
		exit(70);
	}
	for (unsigned i = 0; i < n; i++)
		buf_addf(out, "%02x", digest[i]);
}

static void headers_add(struct buf *line, const struct request *r)
{
	const char *name, *value, *comma = "";

	buf_adds(line, ",\"headers\":[");
	for (size_t pos = 0; request_header_next(r, &pos, &name, &value); comma = ",") {
		const char *shown = is_credential(name) ? last4(value) : value;

		buf_addf(line, "%s[", comma);
		buf_add_json(line, name, strlen(name));
		buf_adds(line, ",");
		buf_add_json(line, shown, strlen(shown));
		buf_adds(line, "]");
	}
	buf_adds(line, "]");
}

static void file_write(const struct call *c, const char *what, const char *p, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%llu.%s", c->conn->sim->opts.record_dir,
		(unsigned long long)c->seq, what);
	f = fopen(path, "we");
	if (f && fwrite(p ? p : "", 1, n, f) == n && fclose(f) == 0)
		return;
	fprintf(stderr, "aigw-sim: %s: %s\n", path, strerror(errno));
	exit(74);
}

static void files_write(const struct call *c)
{
	const struct request *r = &c->conn->req;
	const char *name, *value;
	struct buf head = { 0 };

	buf_addf(&head, "%s ", request_method(r));
	buf_add(&head, r->url.p, r->url.len);
	buf_adds(&head, " HTTP/1.1\r\n");
	for (size_t pos = 0; request_header_next(r, &pos, &name, &value);)
		buf_addf(&head, "%s: %s\r\n", name, value);
	buf_adds(&head, "\r\n");
	file_write(c, "head", head.p, head.len);
	file_write(c, "body", r->body.p, r->body.len);
	buf_free(&head);
}

void record_recv(struct call *c)
{
	struct sim *sim = c->conn->sim;
	const struct request *r = &c->conn->req;
	const char *credential = record_credential(r);
	struct buf *line;

	if (sim->opts.record_dir)
		files_write(c);
	if (!calllog_wanted(&sim->log))
		return;
	line = calllog_begin(&sim->log, "recv");
	buf_addf(line, ",\"seq\":%llu,\"conn\":%llu,\"method\":\"%s\",\"path\":",
		(unsigned long long)c->seq, (unsigned long long)c->conn->id, request_method(r));
	buf_add_json(line, r->url.p, r->url.len);
	buf_adds(line, ",\"client_request_id\":");
	buf_add_json_or_null(line, c->client_id);
	buf_addf(
		line, ",\"authorization\":%s,\"credential_last4\":", credential ? "true" : "false");
	buf_add_json_or_null(line, credential ? last4(credential) : NULL);
	buf_adds(line, ",\"model\":");
	buf_add_json_or_null(line, c->model);
	buf_addf(line, ",\"stream\":%s,\"body_bytes\":%zu,\"body_sha256\":\"",
		c->stream ? "true" : "false", r->body.len);
	sha256_add(line, &r->body);
	buf_adds(line, "\"");
	if (sim->opts.log_headers)
		headers_add(line, r);
	calllog_commit(&sim->log, line);
}
