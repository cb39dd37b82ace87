#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

struct client_set clients;

static int on_begin(llhttp_t *p)
{
	struct client *c = p->data;

	return c->state == CLIENT_BUSY && !c->complete ? 0
						       : -1; /* nobody asked for a second answer */
}

static int on_head(llhttp_t *p)
{
	struct client *c = p->data;

	c->status = (uint16_t)llhttp_get_status_code(p);
	return 0;
}

static void line_end(struct client *c)
{
	static const char mark[] = STAMP_MARK;
	const char *at, *end = c->line + c->line_len;
	uint64_t stamp;

	if (c->line_len < 6 || memcmp(c->line, "data: ", 6) != 0)
		return;
	if (c->line_len >= 12 && memcmp(c->line + 6, "[DONE]", 6) == 0) {
		c->done = true;
		return;
	}
	c->tail_ns = c->read_ns;
	at = memmem(c->line, c->line_len, mark, sizeof(mark) - 1);
	if (!at || end - at < (ptrdiff_t)sizeof(mark) - 1 + STAMP_DIGITS)
		return;
	if (!c->event_ns)
		c->event_ns = c->read_ns;
	stamp = stamp_read(at + sizeof(mark) - 1);
	clients.on_event(c, c->read_ns > stamp ? c->read_ns - stamp : 0);
}

/* Only the beginning of a line is kept: the stamp and [DONE] stand there. */
static int on_body(llhttp_t *p, const char *at, size_t n)
{
	struct client *c = p->data;
	const char *end = at + n;

	if (!clients.sse)
		return 0;
	while (at < end) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((nl ? nl : end) - at), room = LINE_BYTES - c->line_len;

		memcpy(c->line + c->line_len, at, len < room ? len : room);
		c->line_len += len < room ? len : room;
		if (!nl)
			return 0;
		line_end(c);
		c->line_len = 0;
		at = nl + 1;
	}
	return 0;
}

static int on_complete(llhttp_t *p)
{
	struct client *c = p->data;

	c->complete = true;
	c->last = !llhttp_should_keep_alive(p);
	return 0;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_begin,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

int client_open(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int fd = endpoint_connect(&clients.to);

	if (fd < 0)
		return fd;
	if (epoll_ctl(clients.epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		return -errno;
	}
	c->fd = fd;
	c->writing = false;
	c->state = CLIENT_READY;
	llhttp_init(&c->parser, HTTP_RESPONSE, &settings);
	c->parser.data = c;
	return 0;
}

void client_close(struct client *c)
{
	if (c->state != CLIENT_CLOSED)
		close(c->fd);
	c->state = CLIENT_CLOSED;
}

int client_write(struct client *c)
{
	struct epoll_event ev = { .data.ptr = c };
	ssize_t n = send(c->fd, clients.request + c->sent, clients.request_len - c->sent,
		MSG_NOSIGNAL | MSG_DONTWAIT);
	bool rest;

	if (n < 0 && errno != EAGAIN)
		return -errno;
	c->sent += n > 0 ? (size_t)n : 0;
	rest = c->sent < clients.request_len;
	if (rest == c->writing)
		return 0;
	c->writing = rest;
	ev.events = rest ? EPOLLIN | EPOLLOUT : EPOLLIN;
	return epoll_ctl(clients.epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) ? -errno : 0;
}

int client_begin(struct client *c, uint64_t due_ns)
{
	c->state = CLIENT_BUSY;
	c->complete = c->last = c->done = false;
	c->status = 0;
	c->due_ns = due_ns;
	c->sent_ns = clock_ns();
	c->byte_ns = c->event_ns = c->tail_ns = c->read_ns = 0;
	c->sent = c->line_len = 0;
	return client_write(c);
}

int client_read(struct client *c)
{
	static char bytes[READ_BYTES];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	llhttp_errno_t err;

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (c->state != CLIENT_BUSY)
		return -ECONNRESET;
	if (!clients.sse)
		c->tail_ns = c->read_ns; /* of the read before this one */
	c->read_ns = clock_ns();
	if (!c->byte_ns)
		c->byte_ns = c->read_ns;
	err = n ? llhttp_execute(&c->parser, bytes, (size_t)n) : llhttp_finish(&c->parser);
	if (err != HPE_OK)
		return n ? -EPROTO : -ECONNRESET;
	return n || c->complete ? 0 : -ECONNRESET;
}
