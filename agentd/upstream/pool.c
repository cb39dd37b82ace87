#include "upstream/pool.h"

#include "upstream/attempt.h"

static void count(struct pool *p, enum stat_counter c, int64_t n)
{
	stats_add(p->stats, STAT_PROVIDER, p->stat_slot, c, n);
}

static void pool_maybe_free(struct pool *p)
{
	if (p->refs || p->n_conns || resolver_is_busy(&p->resolver))
		return;
	tls_client_free(p->tls);
	free(p->base_url);
	free(p->ca_file);
	free(p->authority);
	free(p->path);
	free(p->host);
	secret_fini(&p->tunnel);
	free(p);
}

static void on_resolver_idle(struct resolver *r)
{
	pool_maybe_free(container_of(r, struct pool, resolver));
}

int pool_new(const struct pool_config *c, struct pool **ret)
{
	struct pool *p = calloc(1, sizeof(*p));
	int err = 0;

	if (!p)
		return -ENOMEM;
	p->refs = 1;
	p->loop = c->loop;
	p->stats = c->stats;
	p->stat_slot = c->stat_slot;
	p->base_url = strndup(c->base_url.p, c->base_url.n);
	p->ca_file = strndup(c->ca_file.n ? c->ca_file.p : "", c->ca_file.n);
	p->authority = strndup(c->url.authority.p, c->url.authority.n);
	p->path = strndup(c->url.path.n ? c->url.path.p : "", c->url.path.n);
	list_init(&p->idle);
	p->host = strndup(c->url.host.p, c->url.host.n);
	p->host_is_ip = c->url.host_is_ip;
	if (!p->base_url || !p->ca_file || !p->authority || !p->path || !p->host)
		err = -ENOMEM;
	if (!err && c->proxy)
		err = secret_set(&p->tunnel, c->tunnel);
	if (!err && c->proxy)
		err = resolver_init(&p->resolver, c->loop, c->proxy->host, c->proxy->port);
	else if (!err)
		err = resolver_init(&p->resolver, c->loop, c->url.host, c->url.port);
	if (!err && c->url.tls)
		err = c->trust ? tls_client_new(c->trust, &p->tls, NULL) : -ENOENT;
	p->resolver.idle = on_resolver_idle;
	if (err) {
		p->refs = 0;
		pool_maybe_free(p);
		return err;
	}
	*ret = p;
	return 0;
}

struct pool *pool_ref(struct pool *p)
{
	p->refs++;
	return p;
}

void pool_unref(struct pool *p)
{
	if (!p || --p->refs)
		return;
	p->closing = true;
	pool_drop_idle(p);
	pool_maybe_free(p);
}

static void idle_remove(struct upstream_conn *c)
{
	if (list_is_empty(&c->node))
		return;
	list_remove(&c->node);
	deadline_stop(c->pool->loop, &c->idle);
	c->pool->n_idle--;
	count(c->pool, STAT_conns_idle, -1);
}

void pool_drop_idle(struct pool *p)
{
	while (!list_is_empty(&p->idle))
		pool_discard(list_entry(p->idle.next, struct upstream_conn, node));
}

/* --- events: of an attempt, or of an idle connection, which any of them ends
 * --------------------------- */

static struct upstream_conn *conn_of(struct stream *s);

static void on_open(struct stream *s, int status)
{
	struct upstream_conn *c = conn_of(s);

	if (status == 0 && stream_tls_resumed(s))
		count(c->pool, STAT_tls_resumed, 1);
	if (c->attempt)
		attempt_on_open(c->attempt, status);
	else
		pool_discard(c);
}

static void on_data(struct stream *s, char *p, size_t n)
{
	struct upstream_conn *c = conn_of(s);

	if (c->attempt)
		attempt_on_data(c->attempt, p, n);
	else
		pool_discard(c);
}

static void on_drained(struct stream *s)
{
	struct upstream_conn *c = conn_of(s);

	if (c->attempt)
		attempt_on_drained(c->attempt);
}

static void on_eof(struct stream *s)
{
	struct upstream_conn *c = conn_of(s);

	if (c->attempt)
		attempt_on_eof(c->attempt);
	else
		pool_discard(c);
}

static void on_error(struct stream *s, int err)
{
	struct upstream_conn *c = conn_of(s);

	if (c->attempt)
		attempt_on_error(c->attempt, err);
	else
		pool_discard(c);
}

static void on_closed(struct stream *s)
{
	struct upstream_conn *c = conn_of(s);
	struct pool *p = c->pool;

	if (s->kind == STREAM_TLS)
		stream_tls_free(s);
	free(c);
	p->n_conns--;
	count(p, STAT_conns_open, -1);
	pool_maybe_free(p);
}

static const struct stream_events conn_events = {
	.open = on_open,
	.data = on_data,
	.drained = on_drained,
	.eof = on_eof,
	.error = on_error,
	.closed = on_closed,
};

static struct upstream_conn *conn_of(struct stream *s)
{
	if (s->kind == STREAM_PLAIN)
		return container_of(
			container_of(s, struct stream_plain, s), struct upstream_conn, plain);
	return stream_tls_owner(s);
}

static void on_idle_end(struct deadline *d)
{
	pool_discard(container_of(d, struct upstream_conn, idle));
}

/* --- take, connect, give
 * ------------------------------------------------------------------------------- */

struct upstream_conn *pool_take(struct pool *p, struct attempt *a)
{
	struct upstream_conn *c;

	while (!list_is_empty(&p->idle)) {
		c = list_entry(p->idle.next, struct upstream_conn, node);
		/* What lies there is no answer to a call that is still to be sent: the event that
		 * is to come tells by its age, else the kernel is asked. */
		a->mark = loop_mark(p->loop);
		if (!a->mark && !stream_is_silent(c->s)) {
			pool_discard(c);
			continue;
		}
		idle_remove(c);
		c->attempt = a;
		return c;
	}
	return NULL;
}

static int open_stream(struct upstream_conn *c, const struct sockaddr *addr)
{
	struct pool *p = c->pool;

	if (!p->tls) {
		stream_plain_init(&c->plain, p->loop, false, &conn_events);
		c->s = &c->plain.s;
		return stream_connect(&c->plain, addr);
	}
	c->s = stream_tls_new(p->loop, p->tls, p->host, p->host_is_ip, &conn_events, c);
	if (!c->s)
		return -ENOMEM;
	if (p->tunnel.n)
		stream_tls_tunnel(c->s, secret_expose(&p->tunnel));
	return stream_tls_connect(c->s, addr);
}

int pool_connect(struct pool *p, struct attempt *a, unsigned which, struct upstream_conn **ret)
{
	size_t n = p->tls ? offsetof(struct upstream_conn, plain) : sizeof(struct upstream_conn);
	struct upstream_conn *c = calloc(1, n);
	int err;

	if (!c)
		return -ENOMEM;
	c->pool = p;
	c->attempt = a;
	list_init(&c->node);
	deadline_init(&c->idle, on_idle_end);
	err = open_stream(c, &p->resolver.addrs[which].sa);
	if (err && !c->s) {
		free(c);
		return err;
	}
	p->n_conns++;
	count(p, STAT_conns_opened, 1);
	count(p, STAT_conns_open, 1);
	if (err) {
		c->attempt = NULL;
		stream_close(c->s);
		return err;
	}
	*ret = c;
	return 0;
}

void pool_give(struct upstream_conn *c)
{
	struct pool *p = c->pool;

	c->attempt = NULL;
	c->used = true;
	if (p->closing || p->n_idle >= POOL_MAX_IDLE || c->s->closing || c->s->queued_writes) {
		pool_discard(c);
		return;
	}
	list_push_front(&p->idle, &c->node);
	p->n_idle++;
	count(p, STAT_conns_idle, 1);
	deadline_set(p->loop, &c->idle, POOL_IDLE_US);
	stream_read_start(c->s); /* any event ends it */
}

void pool_discard(struct upstream_conn *c)
{
	idle_remove(c);
	c->attempt = NULL;
	stream_close(c->s);
}
