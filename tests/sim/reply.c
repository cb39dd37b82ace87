/* reply: heads, whole bodies and errors in the shape of OpenAI. */
#include "call.h"
#include "conn.h"

#include <time.h>

static const struct status {
	int code;
	const char *reason, *type, *error, *message;
} statuses[] = {
	{ 200, "OK", NULL, NULL, NULL },
	{ 400, "Bad Request", "invalid_request_error", NULL, "The request is invalid." },
	{ 401, "Unauthorized", "invalid_request_error", "invalid_api_key",
		"Incorrect API key provided." },
	{ 402, "Payment Required", "insufficient_quota", "insufficient_quota",
		"The account has no credit." },
	{ 403, "Forbidden", "invalid_request_error", "forbidden", "The key may not use this." },
	{ 404, "Not Found", "invalid_request_error", "model_not_found",
		"The model does not exist." },
	{ 405, "Method Not Allowed", "invalid_request_error", "method_not_allowed",
		"Not allowed to this URL." },
	{ 408, "Request Timeout", "timeout", "request_timeout", "The request timed out." },
	{ 409, "Conflict", "invalid_request_error", "conflict",
		"The request conflicts with another." },
	{ 413, "Payload Too Large", "invalid_request_error", "request_too_large",
		"The request is too large." },
	{ 414, "URI Too Long", "invalid_request_error", NULL, "The URL is too long." },
	{ 417, "Expectation Failed", "invalid_request_error", NULL, "Unknown expectation." },
	{ 422, "Unprocessable Entity", "invalid_request_error", NULL,
		"The request cannot be processed." },
	{ 429, "Too Many Requests", "requests", "rate_limit_exceeded",
		"Rate limit reached for requests." },
	{ 431, "Request Header Fields Too Large", "invalid_request_error", NULL,
		"The head is too large." },
	{ 500, "Internal Server Error", "server_error", NULL,
		"The server had an error while processing." },
	{ 502, "Bad Gateway", "server_error", NULL, "Bad gateway." },
	{ 503, "Service Unavailable", "server_error", "service_unavailable",
		"The engine is overloaded." },
	{ 504, "Gateway Timeout", "server_error", NULL, "Gateway timeout." },
	{ 505, "HTTP Version Not Supported", "invalid_request_error", NULL, "HTTP/1.1 is wanted." },
	{ 529, "Site Overloaded", "overloaded_error", "overloaded", "The service is overloaded." },
};

static const struct status *status_of(int code)
{
	static const struct status other = { 0, "Scripted", "server_error", NULL,
		"Scripted answer." };

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].code == code)
			return &statuses[i];
	return &other;
}

void error_add(
	struct buf *out, int status, const char *message, const char *param, const char *code)
{
	const struct status *s = status_of(status);

	message = message ? message : s->message;
	buf_adds(out, "{\"error\":{\"message\":");
	buf_add_json_or_null(out, message);
	buf_addf(out, ",\"type\":\"%s\",\"param\":", s->type ? s->type : "server_error");
	buf_add_json_or_null(out, param);
	buf_adds(out, ",\"code\":");
	buf_add_json_or_null(out, code ? code : s->error);
	buf_adds(out, "}}");
}

static const char *date_now(void)
{
	static char text[40];
	static time_t at;
	time_t now = time(NULL);
	struct tm tm;

	if (now != at && gmtime_r(&now, &tm)) {
		at = now;
		(void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return text;
}

void call_head_add(struct call *c, struct buf *out, int64_t length)
{
	c->head_status = c->status;
	buf_addf(out, "HTTP/1.1 %d %s\r\ndate: %s\r\n", c->status, status_of(c->status)->reason,
		date_now());
	if (c->content_type)
		buf_addf(out, "content-type: %s\r\n", c->content_type);
	if (!c->recorded)
		buf_addf(out, "x-request-id: %s\r\nopenai-processing-ms: %llu\r\n", c->request_id,
			(unsigned long long)((time_now_us() - c->begun_us) / 1000));
	if (c->b.gzip)
		buf_adds(out, "content-encoding: gzip\r\n");
	if (c->conn->req.refuse || !c->conn->req.keep_alive)
		buf_adds(out, "connection: close\r\n");
	buf_add(out, c->headers.p, c->headers.len);
	if (length >= 0)
		buf_addf(out, "content-length: %lld\r\n\r\n", (long long)length);
	else
		buf_adds(out, "transfer-encoding: chunked\r\n\r\n");
}

void call_plain(struct call *c, int status, const char *content_type)
{
	struct buf plain = c->body;

	c->status = status;
	c->content_type = content_type;
	c->phase = PHASE_PLAIN;
	if (c->b.gzip) {
		c->body = (struct buf){ 0 };
		gzip_add(&c->gz, &c->body, plain.p, plain.len);
		gzip_end(&c->gz, &c->body);
		buf_free(&plain);
	}
	c->body_end = c->body.len;
}

void call_error(
	struct call *c, int status, const char *message, const char *param, const char *code)
{
	c->body.len = 0;
	c->stream = false;
	c->input_tokens = c->output_tokens = 0; /* an error is not billed */
	error_add(&c->body, status, message, param, code);
	call_plain(c, status, "application/json");
}
