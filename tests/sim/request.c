#include "request.h"

#include <string.h>
#include <strings.h>

#define KEEP_BYTES 4096 /* buffers that grew beyond are given back between requests */

static struct request *request_of(llhttp_t *p)
{
	return p->data;
}

static int refuse(struct request *r, int status)
{
	r->refuse = status;
	return -1;
}

static int head_add(struct request *r, const char *p, size_t n)
{
	if (r->head.len + r->url.len + n > REQUEST_HEAD_MAX)
		return refuse(r, 431);
	buf_add(&r->head, p, n);
	return 0;
}

static int on_begin(llhttp_t *p)
{
	request_of(p)->begun = true;
	return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
	struct request *r = request_of(p);

	if (r->url.len + n > REQUEST_HEAD_MAX)
		return refuse(r, 414);
	buf_add(&r->url, at, n);
	return 0;
}

static int on_head(llhttp_t *p, const char *at, size_t n)
{
	return head_add(request_of(p), at, n);
}

static int on_head_part(llhttp_t *p)
{
	return head_add(request_of(p), "", 1);
}

static unsigned header_count(const struct request *r, const char *name)
{
	const char *at, *value;
	unsigned n = 0;

	for (size_t pos = 0; request_header_next(r, &pos, &at, &value);)
		n += !strcasecmp(at, name);
	return n;
}

static int on_headers(llhttp_t *p)
{
	struct request *r = request_of(p);
	const char *expect = request_header(r, "expect");

	if (p->http_major != 1 || p->http_minor != 1)
		return refuse(r, 505);
	if (header_count(r, "host") != 1 || header_count(r, "content-length") > 1)
		return refuse(r, 400);
	if (p->content_length > REQUEST_BODY_MAX)
		return refuse(r, 413);
	if (expect && strcasecmp(expect, "100-continue"))
		return refuse(r, 417);
	r->wants_continue = expect != NULL;
	if (p->content_length)
		buf_reserve(&r->body, (size_t)p->content_length);
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	struct request *r = request_of(p);

	if (r->body.len + n > REQUEST_BODY_MAX)
		return refuse(r, 413);
	r->wants_continue = false;
	buf_add(&r->body, at, n);
	return 0;
}

static int on_whole(llhttp_t *p)
{
	struct request *r = request_of(p);

	r->whole = true;
	r->wants_continue = false;
	r->keep_alive = llhttp_should_keep_alive(p);
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_head,
	.on_header_field_complete = on_head_part,
	.on_header_value = on_head,
	.on_header_value_complete = on_head_part,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_whole,
};

void request_init(struct request *r)
{
	*r = (struct request){ 0 };
	llhttp_init(&r->parser, HTTP_REQUEST, &settings);
	r->parser.data = r;
}

void request_fini(struct request *r)
{
	buf_free(&r->url);
	buf_free(&r->head);
	buf_free(&r->body);
}

size_t request_feed(struct request *r, const char *p, size_t n)
{
	llhttp_errno_t rc = llhttp_execute(&r->parser, p, n);

	if (rc == HPE_OK)
		return n;
	if (rc == HPE_PAUSED && r->whole)
		return (size_t)(llhttp_get_error_pos(&r->parser) - p);
	if (!r->refuse)
		r->refuse = 400;
	return n;
}

static void buf_rewind(struct buf *b)
{
	if (b->cap > KEEP_BYTES)
		buf_free(b);
	b->len = 0;
}

void request_next(struct request *r)
{
	buf_rewind(&r->url);
	buf_rewind(&r->head);
	buf_rewind(&r->body);
	r->begun = r->whole = r->wants_continue = false;
	llhttp_resume(&r->parser);
}

const char *request_method(const struct request *r)
{
	return llhttp_method_name((llhttp_method_t)r->parser.method);
}

static const char *text_next(const struct request *r, size_t *pos)
{
	const char *at = r->head.p + *pos;
	const char *end = *pos < r->head.len ? memchr(at, 0, r->head.len - *pos) : NULL;

	if (end)
		*pos += (size_t)(end - at) + 1;
	return end ? at : NULL;
}

bool request_header_next(
	const struct request *r, size_t *pos, const char **ret_name, const char **ret_value)
{
	*ret_name = text_next(r, pos);
	*ret_value = *ret_name ? text_next(r, pos) : NULL;
	return *ret_value != NULL;
}

const char *request_header(const struct request *r, const char *name)
{
	const char *at, *value;

	for (size_t pos = 0; request_header_next(r, &pos, &at, &value);)
		if (!strcasecmp(at, name))
			return value;
	return NULL;
}
