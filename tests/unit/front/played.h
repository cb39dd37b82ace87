/* The world around a connection under test: a request that the test plays instead of request/, a
 * listener, clients of it, and a clock that is set forward. For test_conn.c. */
#ifndef TESTS_UNIT_FRONT_PLAYED_H
#define TESTS_UNIT_FRONT_PLAYED_H

#include "../net/wire.h"

#include "front/listener.h"

#include <netinet/in.h>
#include <unistd.h>

#define MS USEC_PER_MS
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

/* A request as the connection knows it; what the real ones do is not the connection's business. */
struct played {
	struct request r;
	char target[32];
	struct buf body;
	char room[70000];
	size_t left; /* of a body of known length */
	unsigned drained;
	bool wants_body, whole, gone, finished;
	bool holds; /* nothing more of the body for now */
};

static struct {
	struct loop loop;
	struct deadline hour;
	struct gateway gw;
	struct request_env env;
	struct conn_set set;
	struct listener listener;
	struct sockaddr_in addr;
	struct played *now; /* the one that is not finished */
	struct buf seen;    /* "/target(body) " of all that were whole */
	unsigned begun, emptied;
	bool at_once;       /* answers when it is whole */
	bool into_room;     /* offers room for bodies */
	bool refuse_memory; /* request_begin() fails */
	bool close;         /* answers end the connection */
	enum fail refused;
} play;

/* --- request/, played
 * ------------------------------------------------------------------------------------------------
 */

struct request *request_begin(struct request_env *env, struct caller *caller, struct stream *client,
	void (*finished)(struct request *, bool), void *front)
{
	struct played *p = play.refuse_memory ? NULL : calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	assert_null(play.now);
	play.now = p;
	play.begun++;
	p->r.env = env;
	p->r.caller = caller;
	p->r.client = client;
	p->r.finished = finished;
	p->r.front = front;
	p->r.began_us = loop_now(env->loop);
	p->wants_body = env->head.has_body;
	p->left = env->head.has_length ? env->head.length : 0;
	(void)snprintf(p->target, sizeof(p->target), "%.*s", SLICE_ARG(env->head.target));
	buf_init(&p->body, (size_t)8 << 20);
	return &p->r;
}

static struct played *played_of(const struct request *r)
{
	return container_of(r, struct played, r);
}

bool request_wants_body(const struct request *r)
{
	return played_of(r)->wants_body;
}

bool request_body_goes_on(struct request *r)
{
	return !played_of(r)->holds;
}

size_t request_body_room(struct request *r, char **ret)
{
	*ret = played_of(r)->room;
	return play.into_room ? MIN(sizeof(played_of(r)->room), played_of(r)->left) : 0;
}

void request_body_bytes(struct request *r, char *p, size_t n, bool read_ends)
{
	(void)read_ends;
	assert_int_equal(buf_append(&played_of(r)->body, p, n), 0);
	played_of(r)->left -= MIN(played_of(r)->left, n);
}

static void finish(struct played *p, bool keep_alive)
{
	play.now = NULL;
	p->r.finished(&p->r, keep_alive);
	buf_fini(&p->body);
	free(p);
}

static void answer(const char *text, size_t n)
{
	struct slice v = slice_of(text, n);

	assert_true(stream_write(play.now->r.client, &v, 1) >= 0);
	finish(play.now, !play.close);
}

void request_body_end(struct request *r)
{
	struct played *p = played_of(r);

	p->whole = true;
	(void)buf_printf(&play.seen, "%s(%.*s%s) ", p->target, (int)MIN(p->body.n, 20u),
		p->body.p ? p->body.p : "", p->body.n > 20 ? ".." : "");
	if (play.at_once)
		answer(OK, strlen(OK));
}

void request_client_drained(struct request *r)
{
	played_of(r)->drained++;
}

void request_client_gone(struct request *r)
{
	struct played *p = played_of(r);

	play.now = NULL;
	buf_fini(&p->body);
	free(p);
	play.refused = play.refused ? play.refused : FAIL_none;
}

void request_refuse_raw(
	struct request_env *env, struct stream *client, enum fail f, const char *why)
{
	char text[64];
	struct slice v = slice_of(text, (size_t)snprintf(text, sizeof(text),
						"HTTP/1.1 %u No\r\n\r\n", fail_row(f)->status));

	assert_ptr_equal(env, &play.env);
	assert_true(why[0]);
	play.refused = f;
	(void)stream_write(client, &v, 1);
}

enum fail request_fail_of_h1(enum h1_error e)
{
	return e == H1_BAD_HEAD_SIZE ? FAIL_header_too_large : FAIL_bad_request;
}

void caller_fini(struct caller *c)
{
	free(c->groups);
}

/* --- the stage
 * ---------------------------------------------------------------------------------------------------------
 */

static void nothing(struct deadline *d)
{
	(void)d;
}

static void on_emptied(struct conn_set *s)
{
	assert_ptr_equal(s, &play.set);
	play.emptied++;
}

static int set_up(void **state)
{
	struct errbuf e;
	socklen_t n = sizeof(play.addr);
	int fd = -1;

	(void)state;
	memset(&play, 0, sizeof(play));
	assert_int_equal(loop_init(&play.loop, NULL), 0);
	deadline_init(&play.hour, nothing);
	deadline_set(&play.loop, &play.hour, 3600 * USEC_PER_S);
	play.env.loop = &play.loop;
	buf_init(&play.seen, (size_t)1 << 20);
	play.env.gw = &play.gw;
	play.gw.max_connections = 20;
	conn_set_init(&play.set, &play.env);
	play.set.emptied = on_emptied;
	assert_int_equal(listen_tcp("127.0.0.1:0", &fd, &e), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&play.addr, &n), 0);
	assert_int_equal(listener_start(&play.listener, &play.loop, fd, false, &play.set), 0);
	(void)close(fd); /* it has one of its own */
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	listener_close(&play.listener);
	listener_close(&play.listener);
	conn_set_close_all(&play.set);
	RUN_UNTIL(&play.loop, play.set.n_conns == 0);
	deadline_stop(&play.loop, &play.hour);
	loop_fini(&play.loop);
	buf_fini(&play.seen);
	return 0;
}

static void turns(int n)
{
	for (int i = 0; i < n; i++)
		turn_waiting(&play.loop);
}

static void pass(usec us)
{
	time_skip(us);
	turns(4);
}

static void client_open(struct end *e)
{
	end_init(e, &play.loop);
	e->reads_on_open = true;
	stream_plain_init(&e->plain, &play.loop, false, &end_events);
	e->s = &e->plain.s;
	assert_int_equal(stream_connect(&e->plain, (struct sockaddr *)&play.addr), 0);
	RUN_UNTIL(&play.loop, e->opens);
	assert_int_equal(e->open_status, 0);
}

static void client_send(struct end *e, const char *text)
{
	assert_true(end_write(e, text, strlen(text)) >= 0);
}

static bool closed(const struct end *e)
{
	return e->eofs || e->errors;
}

static unsigned answers(struct end *e)
{
	unsigned n = 0;

	for (const char *p = buf_cstr(&e->got); (p = strstr(p, "HTTP/1.1 200")) != NULL; p++)
		n++;
	return n;
}

#endif
