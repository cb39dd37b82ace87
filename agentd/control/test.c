/* POST /v1/providers/test: {"provider": P}, with it "credential" and "timeout_ms". The answer comes
 * when the last of its probes has ended. */
#include "control/private.h"

#define TEST_MS_MAX (10 * 60 * 1000)

struct pending {
	struct list node;
	struct http_exchange *x;
	void *handle;
};

static void drop(struct pending *p)
{
	list_remove(&p->node);
	free(p);
}

static void on_done(json_t *v, void *arg)
{
	struct pending *p = arg;
	struct http_exchange *x = p->x;

	drop(p);
	control_answer(x, 200, v);
}

bool test_gone(struct control *c, const struct http_exchange *x)
{
	struct list *it, *tmp;

	list_each(it, tmp, &c->tests)
	{
		struct pending *p = list_entry(it, struct pending, node);

		if (p->x != x)
			continue;
		c->cfg.test_stop(p->handle);
		drop(p);
		return true;
	}
	return false;
}

void test_end_all(struct control *c)
{
	struct list *it, *tmp;

	list_each(it, tmp, &c->tests)
	{
		struct pending *p = list_entry(it, struct pending, node);

		c->cfg.test_stop(p->handle);
		drop(p);
	}
}

void test_provider(struct control *c, struct http_exchange *x)
{
	struct errbuf e;
	JSON_AUTO *body = json_parse(http_body(x), &e);
	int64_t ms = json_is_object(body) ? json_get_int(body, "timeout_ms", 0) : 0;
	enum admin_error code = ADMIN_ERROR_internal;
	struct control_test q = { .most_us = ms * USEC_PER_MS };
	struct pending *p;

	if (json_is_object(body)) {
		q.provider = slice_str(json_get_str(body, "provider", ""));
		q.credential = slice_str(json_get_str(body, "credential", ""));
	}
	if (!q.provider.n || ms < 0 || ms > TEST_MS_MAX) {
		control_error(x, ADMIN_ERROR_usage,
			"the body has to be {\"provider\": NAME}, with it \"credential\": NAME and "
			"\"timeout_ms\": from 1 to %d",
			TEST_MS_MAX);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		control_error(x, ADMIN_ERROR_internal, "out of memory");
		return;
	}
	p->x = x;
	list_push_back(&c->tests, &p->node);
	p->handle = c->cfg.test(&q, on_done, p, c->cfg.owner, &code, &e);
	if (!p->handle) {
		drop(p);
		control_error(x, code, "%s", e.text);
	}
}
