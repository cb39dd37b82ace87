/* A small HTTP/1.1 server for admin sockets: whole requests in, whole answers out, keep-alive,
 * bounded bodies. (The agent's data path has its own connection type, agentd/front/conn.) One
 * loop's thread. */
#ifndef AIGW_HTTP_SERVER_H
#define AIGW_HTTP_SERVER_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>
#include <aigw/h1.h>
#include <aigw/loop.h>

struct http_server;
struct http_exchange; /* one request and its answer */

struct http_peer {
	bool known; /* unix socket */
	uint32_t uid, gid;
	int32_t pid;
};

struct http_server_config {
	size_t max_body_bytes;
	unsigned max_conns;
	usec idle_us; /* keep-alive and head deadline */
	/* A request is whole. Answer at once or later with http_answer(), exactly once. */
	void (*request)(struct http_exchange *x, void *owner);
	/* The client went away before the answer; don't use x after. NULL: the handler answers all
	 * the same. */
	void (*gone)(struct http_exchange *x, void *owner);
};

/* Listens on a unix socket at path (an old socket file that nobody answers on is replaced; one in
 * use is -EADDRINUSE), mode set. */
int http_server_listen_unix(struct loop *l, const char *path, mode_t mode,
	const struct http_server_config *c, void *owner, struct http_server **ret,
	struct errbuf *e);
/* The same on a unix socket that listens already (socket activation): fd is taken, also on failure;
 * no file is removed at the end. */
int http_server_listen_fd(struct loop *l, int fd, const struct http_server_config *c, void *owner,
	struct http_server **ret, struct errbuf *e);
void http_server_close(
	struct http_server *s); /* stops, closes connections; memory goes with the loop's turn */

struct slice http_method(const struct http_exchange *x);
struct slice http_path(const struct http_exchange *x);                     /* without query */
struct slice http_field(const struct http_exchange *x, struct slice name); /* empty: absent */
struct slice http_body(const struct http_exchange *x);
struct http_peer http_peer_of(const struct http_exchange *x);
/* Its supplementary groups as the kernel says (peer_groups_of). */
int http_peer_groups(const struct http_exchange *x, uint32_t *groups, unsigned *ret_n);
/* Value of a query member, percent-decoded into the exchange's memory; false: absent or malformed.
 */
bool http_query_get(struct http_exchange *x, struct slice name, struct slice *ret);
void http_set_user(struct http_exchange *x, void *p);
void *http_user(const struct http_exchange *x);

/* Copies body. x is gone after. */
void http_answer(
	struct http_exchange *x, unsigned status, const char *content_type, struct slice body);

/* An answer in pieces, instead of http_answer(): begin, any number of writes, end. What the client
 * does not take is queued here: a handler stops writing while http_stream_backlog() is above what
 * it grants. A negative result says that the client is gone: only end is left. x is gone after end;
 * `gone` may come before. */
int http_stream_begin(struct http_exchange *x, unsigned status, const char *content_type);
int http_stream_write(struct http_exchange *x, struct slice piece);
size_t http_stream_backlog(const struct http_exchange *x); /* bytes */
void http_stream_end(struct http_exchange *x);

#endif
