#include <aigw/http_call.h>

#define HTTP_CALL_MAX_INTERIM 8

void http_call_init(struct http_call *c, bool head_request)
{
	memset(c, 0, sizeof(*c));
	buf_init(&c->head, H1_MAX_HEAD_BYTES + ((size_t)64 << 10));
	c->head_request = head_request;
}

void http_call_fini(struct http_call *c)
{
	buf_fini(&c->head);
}

static enum http_call_state broken(struct http_call *c, enum h1_error e)
{
	c->error = e;
	return c->state = HTTP_CALL_BROKEN;
}

/* Content bytes of one read; the answer may end with them. */
static enum http_call_state take_body(
	struct http_call *c, char *p, size_t n, const struct http_call_events *ev, void *owner)
{
	size_t used = 0, content = 0;
	enum h1_error e = c->h1.done ? H1_OK : h1_body(&c->h1, p, n, &used, &content);

	if (e != H1_OK)
		return broken(c, e);
	if (c->h1.done) {
		c->excess = used < n;
		c->state = HTTP_CALL_DONE;
	}
	if ((content || c->h1.done) && !ev->body(c, p, content, c->h1.done, owner))
		return broken(c, H1_OK);
	return c->state;
}

/* p starts with a whole head of head_n bytes. */
static enum http_call_state take_head(
	struct http_call *c, char *p, size_t head_n, const struct http_call_events *ev, void *owner)
{
	struct h1_head head;
	enum h1_error e = h1_begin(&c->h1, H1_RESPONSE, c->head_request, p, head_n, &head);

	if (e != H1_OK)
		return broken(c, e);
	if (head.status < 200) {
		if (++c->interim > HTTP_CALL_MAX_INTERIM)
			return broken(c, H1_BAD_SYNTAX);
		return c->state; /* still HEAD */
	}
	c->keep_alive = head.keep_alive;
	c->state = HTTP_CALL_BODY;
	if (!ev->head(c, &head, owner))
		return broken(c, H1_OK);
	return c->state;
}

/* Works through bytes that stand together, as far as they go; *ret_used: how far. */
static enum http_call_state run(struct http_call *c, char *p, size_t n, size_t *ret_used,
	const struct http_call_events *ev, void *owner)
{
	size_t at = 0;

	while (c->state == HTTP_CALL_HEAD) {
		ssize_t head_n = h1_head_end(p + at, n - at, &c->scanned);

		*ret_used = at;
		if (head_n < 0)
			return broken(c, (enum h1_error)head_n);
		if (head_n == 0)
			return c->state;
		c->scanned = 0;
		if (take_head(c, p + at, (size_t)head_n, ev, owner) == HTTP_CALL_BROKEN)
			return c->state;
		at += (size_t)head_n;
	}
	*ret_used = n;
	return take_body(c, p + at, n - at, ev, owner);
}

enum http_call_state http_call_feed(
	struct http_call *c, char *p, size_t n, const struct http_call_events *ev, void *owner)
{
	size_t used = 0;

	if (c->state == HTTP_CALL_DONE) {
		c->excess = c->excess || n;
		return c->state;
	}
	if (c->state == HTTP_CALL_BROKEN)
		return c->state;
	if (c->state == HTTP_CALL_BODY)
		return take_body(c, p, n, ev, owner);
	if (!c->head.n) {
		run(c, p, n, &used, ev, owner);
		/* Usually the head came whole; else its beginning is kept. */
		if (c->state == HTTP_CALL_HEAD && buf_append(&c->head, p + used, n - used))
			return broken(c, H1_BAD_HEAD_SIZE);
		return c->state;
	}
	if (buf_append(&c->head, p, n))
		return broken(c, H1_BAD_HEAD_SIZE);
	run(c, c->head.p, c->head.n, &used, ev, owner);
	if (c->state == HTTP_CALL_HEAD)
		buf_drop(&c->head, used);
	else
		buf_fini(&c->head);
	return c->state;
}

enum http_call_state http_call_eof(
	struct http_call *c, const struct http_call_events *ev, void *owner)
{
	enum h1_error e;

	c->keep_alive = false;
	if (c->state == HTTP_CALL_HEAD)
		return broken(c, H1_OK);
	if (c->state != HTTP_CALL_BODY)
		return c->state;
	e = h1_eof(&c->h1);
	if (e != H1_OK)
		return broken(c, e);
	c->state = HTTP_CALL_DONE;
	if (!ev->body(c, NULL, 0, true, owner))
		return broken(c, H1_OK);
	return c->state;
}
