#include "wire.h"

#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

static struct end *end_of(struct stream *s)
{
	if (s->kind == STREAM_TLS)
		return stream_tls_owner(s);
	return container_of(container_of(s, struct stream_plain, s), struct end, plain);
}

static struct end *event(struct stream *s)
{
	struct end *e = end_of(s);

	assert_false(e->in_call);
	assert_int_equal(e->closeds, 0);
	return e;
}

static void on_open(struct stream *s, int status)
{
	struct end *e = event(s);

	e->opens++;
	e->open_status = status;
	if (e->on_open)
		e->on_open(e);
	else if (!status && e->reads_on_open)
		stream_read_start(s);
}

static void on_data(struct stream *s, char *p, size_t n)
{
	struct end *e = event(s);

	assert_false(s->closing);
	assert_true(s->reading);
	e->datas++;
	e->matches = e->matches && pattern_is(p, e->got_n, n);
	e->got_n += n;
	if (!e->count_only)
		assert_int_equal(buf_append(&e->got, p, n), 0);
	if (e->on_data)
		e->on_data(e);
}

static void on_drained(struct stream *s)
{
	event(s)->draineds++;
}

static void on_eof(struct stream *s)
{
	event(s)->eofs++;
}

static void on_error(struct stream *s, int err)
{
	struct end *e = event(s);

	e->errors++;
	e->error = err;
}

static void on_closed(struct stream *s)
{
	event(s)->closeds++;
}

static size_t on_into(struct stream *s, char **ret)
{
	struct end *e = end_of(s);

	*ret = e->room;
	return e->room_n;
}

const struct stream_events end_events = {
	.open = on_open,
	.data = on_data,
	.drained = on_drained,
	.eof = on_eof,
	.error = on_error,
	.closed = on_closed,
	.into = on_into,
};

void end_init(struct end *e, struct loop *l)
{
	memset(e, 0, sizeof(*e));
	e->loop = l;
	e->matches = true;
	buf_init(&e->got, (size_t)64 << 20);
}

void end_fini(struct end *e)
{
	if (e->s) {
		stream_close(e->s);
		stream_close(e->s); /* twice is once */
		RUN_UNTIL(e->loop, e->closeds);
		assert_int_equal(e->closeds, 1);
		if (e->s->kind == STREAM_TLS)
			stream_tls_free(e->s);
	}
	buf_fini(&e->got);
}

int end_write(struct end *e, const char *p, size_t n)
{
	struct slice v = slice_of(p, n);
	int r;

	e->in_call = true;
	r = stream_write(e->s, &v, 1);
	e->in_call = false;
	return r;
}

static void on_connection(struct stream_listener *listener)
{
	struct accepting *a = container_of(listener, struct accepting, listener);
	struct end *e = a->next;

	assert_non_null(e);
	a->next = NULL;
	stream_plain_init(&e->plain, a->loop, a->is_unix, &end_events);
	e->s = &e->plain.s;
	assert_int_equal(stream_accept(&e->plain, listener), 0);
	assert_true(e->s->open);
	e->opens++;
	if (e->reads_on_open)
		stream_read_start(e->s);
}

static int accepting_bind(struct accepting *a)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un *un = (struct sockaddr_un *)&a->addr;
	socklen_t n = sizeof(a->addr);
	int fd = socket(
		a->is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	if (a->is_unix) {
		un->sun_family = AF_UNIX;
		(void)snprintf(un->sun_path, sizeof(un->sun_path), "%s", path_of("sock"));
		(void)unlink(un->sun_path);
		assert_int_equal(bind(fd, (struct sockaddr *)un, sizeof(*un)), 0);
		return fd;
	}
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a->addr, &n), 0);
	return fd;
}

void accepting_start(struct accepting *a, struct loop *l, bool is_unix)
{
	memset(a, 0, sizeof(*a));
	a->loop = l;
	a->is_unix = is_unix;
	assert_int_equal(stream_listen(&a->listener, l, accepting_bind(a), 16, on_connection), 0);
	uv_unref((uv_handle_t *)&a->listener.poll);
}

void accepting_stop(struct accepting *a)
{
	stream_listener_close(&a->listener, NULL);
	if (a->is_unix)
		(void)unlink(((struct sockaddr_un *)&a->addr)->sun_path);
	turn(a->loop);
}

void connect_ends(struct accepting *a, struct end *client, struct end *server)
{
	a->next = server;
	stream_plain_init(&client->plain, a->loop, a->is_unix, &end_events);
	client->s = &client->plain.s;
	client->in_call = true;
	assert_int_equal(stream_connect(&client->plain, (struct sockaddr *)&a->addr), 0);
	client->in_call = false;
	RUN_UNTIL(a->loop, client->opens && server->opens);
	assert_int_equal(client->open_status, 0);
}
