/* bench-upstream PORT [GAP_MS]: a provider with fixed answers, cheap enough to feed a gateway to
 * its limit from one core that it shares with the load. One thread, epoll, keep-alive.
 *
 *   POST /v1/chat/completions                 a 1 KB answer with usage
 *     "stream": true                          50 events, usage and [DONE] in one write
 *     "stream": true, model "mock-held…"      one event at once, then one every GAP_MS (1000)
 *                                             until the peer closes
 *   GET /-/stats                              counters as JSON
 *
 * Whatever else is in a body, up to any size, is read and dropped. `model` and `stream` are looked
 * for in its first HINT_BYTES only: bench-load writes them first, and scanning 256 KB of prompt
 * would measure this program.
 */
#include "answers.h"
#include "wire.h"

#include <errno.h>
#include <llhttp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { HINT_BYTES = 512, PATH_BYTES = 64, READ_BYTES = 256 * 1024, UNSENT_LIMIT = 1 << 20 };

/* A connection answers one request at a time; `held` while its answer is a stream without end. */
struct conn {
	int fd;
	bool held, closing, broken;
	uint32_t watched; /* epoll events */
	llhttp_t parser;
	char path[PATH_BYTES], hint[HINT_BYTES];
	size_t path_len, hint_len;
	char *unsent; /* what the socket would not take */
	size_t unsent_len, unsent_at;
	uint64_t due;             /* of the next event, while held */
	struct conn *prev, *next; /* in the queue of held connections */
};

static struct {
	uint64_t requests, streams, events, accepted, open;
} stats;
static struct conn queue; /* ring, ordered by due: the gap is the same for all */
static uint64_t gap_ns = NS_PER_S;
static int epoll_fd;

static void conn_watch(struct conn *c, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (c->watched != events && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev))
		die("epoll_ctl");
	c->watched = events;
}

static int conn_keep(struct conn *c, const char *bytes, size_t n)
{
	char *to = realloc(c->unsent, c->unsent_len + n);

	if (!to || c->unsent_len + n > UNSENT_LIMIT) {
		if (to)
			c->unsent = to;
		return -ENOBUFS;
	}
	memcpy(to + c->unsent_len, bytes, n);
	c->unsent = to;
	c->unsent_len += n;
	conn_watch(c, EPOLLIN | EPOLLOUT);
	return 0;
}

static int conn_send(struct conn *c, const struct answer *a)
{
	ssize_t n = 0;

	if (!c->unsent) {
		n = send(c->fd, a->bytes, a->len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			n = 0;
	}
	if ((size_t)n == a->len)
		return 0;
	return conn_keep(c, a->bytes + n, a->len - (size_t)n);
}

static int conn_flush(struct conn *c)
{
	ssize_t n =
		send(c->fd, c->unsent + c->unsent_at, c->unsent_len - c->unsent_at, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	c->unsent_at += (size_t)n;
	if (c->unsent_at < c->unsent_len)
		return 0;
	free(c->unsent);
	c->unsent = NULL;
	c->unsent_len = c->unsent_at = 0;
	if (c->closing)
		return -ECONNRESET;
	conn_watch(c, EPOLLIN);
	return 0;
}

static void queue_drop(struct conn *c)
{
	c->prev->next = c->next;
	c->next->prev = c->prev;
}

static void queue_put(struct conn *c, uint64_t due)
{
	c->due = due;
	c->prev = queue.prev;
	c->next = &queue;
	queue.prev->next = c;
	queue.prev = c;
}

static void conn_free(struct conn *c)
{
	if (c->held)
		queue_drop(c);
	close(c->fd);
	free(c->unsent);
	free(c);
	stats.open--;
}

static int event_send(struct conn *c, uint64_t now)
{
	if (c->unsent)
		return 0; /* a peer that does not read misses events, it does not pile them up */
	answer_event_stamp(now);
	stats.events++;
	return conn_send(c, &answer_event);
}

static int held_begin(struct conn *c)
{
	uint64_t now = clock_ns();
	int err = conn_send(c, &answer_begin);

	if (!err)
		err = event_send(c, now);
	if (err)
		return err;
	stats.streams++;
	c->held = true;
	queue_put(c, now + gap_ns);
	return 0;
}

static int stats_send(struct conn *c)
{
	struct answer a;
	char text[256];
	int err;

	snprintf(text, sizeof(text),
		"{\"requests\":%llu,\"streams\":%llu,\"events\":%llu,\"accepted\":%llu,"
		"\"open\":%llu}\n",
		(unsigned long long)stats.requests, (unsigned long long)stats.streams,
		(unsigned long long)stats.events, (unsigned long long)stats.accepted,
		(unsigned long long)stats.open);
	a = answer_json("200 OK", text);
	err = conn_send(c, &a);
	free(a.bytes);
	return err;
}

static bool text_has(const char *at, size_t n, const char *what)
{
	return memmem(at, n, what, strlen(what)) != NULL;
}

static bool path_is(const struct conn *c, const char *path)
{
	return c->path_len == strlen(path) && memcmp(c->path, path, c->path_len) == 0;
}

static int answer_send(struct conn *c)
{
	if (path_is(c, "/-/stats"))
		return stats_send(c);
	if (!path_is(c, "/v1/chat/completions"))
		return conn_send(c, &answer_unknown);
	stats.requests++;
	if (!text_has(c->hint, c->hint_len, "\"stream\":true"))
		return conn_send(c, &answer_plain);
	if (text_has(c->hint, c->hint_len, "\"model\":\"mock-held"))
		return held_begin(c);
	stats.streams++;
	stats.events += BURST_EVENTS;
	answer_burst_stamp(clock_ns());
	return conn_send(c, &answer_burst);
}

static int on_begin(llhttp_t *p)
{
	struct conn *c = p->data;

	c->path_len = c->hint_len = 0;
	return c->held || c->closing ? -1 : 0; /* nothing may follow a stream without end */
}

static int on_path(llhttp_t *p, const char *at, size_t n)
{
	struct conn *c = p->data;

	if (n > PATH_BYTES - c->path_len)
		return -1;
	memcpy(c->path + c->path_len, at, n);
	c->path_len += n;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	struct conn *c = p->data;
	size_t room = HINT_BYTES - c->hint_len;

	if (n > room)
		n = room;
	memcpy(c->hint + c->hint_len, at, n);
	c->hint_len += n;
	return 0;
}

static int on_complete(llhttp_t *p)
{
	struct conn *c = p->data;

	c->closing = !llhttp_should_keep_alive(p);
	if (answer_send(c) || (c->closing && !c->held && !c->unsent))
		c->broken = true;
	return c->broken ? -1 : 0;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_begin,
	.on_url = on_path,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

static int conn_read(struct conn *c)
{
	static char bytes[READ_BYTES];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0 || llhttp_execute(&c->parser, bytes, (size_t)n) != HPE_OK)
		return -ECONNRESET;
	return 0;
}

static void conn_accept(int listener)
{
	struct conn *c;
	struct epoll_event ev = { .events = EPOLLIN };
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		c = calloc(1, sizeof(*c));
		if (!c)
			die("accept");
		c->fd = fd;
		c->watched = EPOLLIN;
		llhttp_init(&c->parser, HTTP_REQUEST, &settings);
		c->parser.data = c;
		ev.data.ptr = c;
		if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
			epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev))
			die("accept");
		stats.accepted++;
		stats.open++;
	}
}

/* Sends what was due on entry, so that sockets get their turn, and returns the time until the next
 * event, or -1 when none is waiting. */
static int64_t queue_run(void)
{
	uint64_t limit = clock_ns(), now;

	while (queue.next != &queue && queue.next->due <= limit) {
		struct conn *c = queue.next;

		queue_drop(c);
		queue_put(c, c->due + gap_ns);
		if (event_send(c, clock_ns()))
			conn_free(c);
	}
	if (queue.next == &queue)
		return -1;
	now = clock_ns();
	return queue.next->due > now ? (int64_t)(queue.next->due - now) : 0;
}

static void serve(int listener)
{
	static struct epoll_event ready[256];
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev))
		die("epoll_ctl");
	for (;;) {
		int64_t wait_ns = queue_run();
		struct timespec ts = { wait_ns / (int64_t)NS_PER_S, wait_ns % (int64_t)NS_PER_S };
		int n = epoll_pwait2(epoll_fd, ready, 256, wait_ns < 0 ? NULL : &ts, NULL);

		if (n < 0 && errno != EINTR)
			die("epoll_pwait2");
		for (int i = 0; i < n; i++) {
			struct conn *c = ready[i].data.ptr;

			if (!c)
				conn_accept(listener);
			else if (((ready[i].events & EPOLLOUT) && conn_flush(c)) ||
				 ((ready[i].events & ~(uint32_t)EPOLLOUT) && conn_read(c)))
				conn_free(c);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t port, gap_ms = 1000;
	int fd;

	if (argc < 2 || argc > 3 || number_parse(argv[1], 1, 65535, &port) ||
		(argc == 3 && number_parse(argv[2], 1, 60000, &gap_ms))) {
		fprintf(stderr, "usage: bench-upstream PORT [GAP_MS]\n");
		return 2;
	}
	gap_ns = gap_ms * 1000 * NS_PER_US;
	queue.prev = queue.next = &queue;
	files_raise();
	signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* else 50 us on every wait */
	answers_build();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	fd = endpoint_listen((uint16_t)port);
	if (epoll_fd < 0 || fd < 0) {
		fprintf(stderr, "bench-upstream: port %s: cannot listen\n", argv[1]);
		return 1;
	}
	serve(fd);
}
