/* bench-relay LISTEN_PORT UPSTREAM_PORT: copies bytes between a client and 127.0.0.1:UPSTREAM_PORT,
 * both ways, and looks at none of them. It is the floor for whatever proxies on the same event
 * library: what remains above it is the gateway's own. One thread, libuv.
 *
 *   half.a <- client        what one half reads, the other writes; a half whose peer's socket is
 *   half.b <- upstream      full stops reading until the rest is out
 */
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct half {
	uv_tcp_t tcp;
	struct half *peer;
	struct pair *pair;
};

struct pair {
	struct half a, b;
	uv_connect_t connecting;
	int open; /* halves whose close callback is still to come */
};

struct rest {
	uv_write_t req;
	struct half *from;
	char bytes[];
};

static struct sockaddr_in upstream;
static char scratch[64 * 1024]; /* every read is handed on before the next one */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	(void)h;
	(void)hint;
	*buf = uv_buf_init(scratch, sizeof(scratch));
}

static void on_close(uv_handle_t *h)
{
	struct pair *p = h->data;

	if (--p->open == 0)
		free(p);
}

static void pair_close(struct pair *p)
{
	if (!uv_is_closing((uv_handle_t *)&p->a.tcp))
		uv_close((uv_handle_t *)&p->a.tcp, on_close);
	if (!uv_is_closing((uv_handle_t *)&p->b.tcp))
		uv_close((uv_handle_t *)&p->b.tcp, on_close);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void on_rest_written(uv_write_t *w, int status)
{
	struct half *from = ((struct rest *)(void *)w)->from;

	if (!uv_is_closing((uv_handle_t *)&from->tcp) &&
		(status || uv_read_start((uv_stream_t *)&from->tcp, on_alloc, on_read)))
		pair_close(from->pair);
	free(w);
}

static int rest_write(struct half *from, const char *bytes, size_t n)
{
	struct rest *r = malloc(sizeof(*r) + n);
	uv_buf_t buf;
	int err;

	if (!r)
		return UV_ENOMEM;
	r->from = from;
	memcpy(r->bytes, bytes, n);
	buf = uv_buf_init(r->bytes, (unsigned)n);
	uv_read_stop((uv_stream_t *)&from->tcp);
	err = uv_write(&r->req, (uv_stream_t *)&from->peer->tcp, &buf, 1, on_rest_written);
	if (err)
		free(r);
	return err;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct half *from = (struct half *)(void *)s;
	uv_buf_t out = uv_buf_init(buf->base, n > 0 ? (unsigned)n : 0);
	int sent;

	if (n == 0)
		return;
	if (n < 0) {
		pair_close(from->pair);
		return;
	}
	sent = uv_try_write((uv_stream_t *)&from->peer->tcp, &out, 1);
	if (sent == UV_EAGAIN)
		sent = 0;
	if (sent < 0 || (sent < n && rest_write(from, buf->base + sent, (size_t)n - (size_t)sent)))
		pair_close(from->pair);
}

static void on_connected(uv_connect_t *c, int status)
{
	struct pair *p = c->data;

	if (status == UV_ECANCELED)
		return; /* the pair is being closed already */
	if (status || uv_tcp_nodelay(&p->b.tcp, 1) ||
		uv_read_start((uv_stream_t *)&p->a.tcp, on_alloc, on_read) ||
		uv_read_start((uv_stream_t *)&p->b.tcp, on_alloc, on_read))
		pair_close(p);
}

static void on_client(uv_stream_t *listener, int status)
{
	struct pair *p = status ? NULL : calloc(1, sizeof(*p));

	if (!p)
		return;
	p->open = 2;
	p->a.peer = &p->b;
	p->b.peer = &p->a;
	p->a.pair = p->b.pair = p;
	p->a.tcp.data = p->b.tcp.data = p->connecting.data = p;
	uv_tcp_init(listener->loop, &p->a.tcp);
	uv_tcp_init(listener->loop, &p->b.tcp);
	if (uv_accept(listener, (uv_stream_t *)&p->a.tcp) || uv_tcp_nodelay(&p->a.tcp, 1) ||
		uv_tcp_connect(&p->connecting, &p->b.tcp, (const struct sockaddr *)&upstream,
			on_connected))
		pair_close(p);
}

int main(int argc, char **argv)
{
	uint64_t port, to;
	struct sockaddr_in at;
	uv_tcp_t listener;

	if (argc != 3 || number_parse(argv[1], 1, 65535, &port) ||
		number_parse(argv[2], 1, 65535, &to)) {
		fprintf(stderr, "usage: bench-relay LISTEN_PORT UPSTREAM_PORT\n");
		return 2;
	}
	files_raise();
	signal(SIGPIPE, SIG_IGN);
	uv_ip4_addr("127.0.0.1", (int)port, &at);
	uv_ip4_addr("127.0.0.1", (int)to, &upstream);
	uv_tcp_init(uv_default_loop(), &listener);
	if (uv_tcp_bind(&listener, (const struct sockaddr *)&at, 0) ||
		uv_listen((uv_stream_t *)&listener, 4096, on_client)) {
		fprintf(stderr, "bench-relay: 127.0.0.1:%s: cannot listen\n", argv[1]);
		return 1;
	}
	return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
