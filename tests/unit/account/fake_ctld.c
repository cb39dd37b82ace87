#include "fake_ctld.h"

#include "fixture.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static usec now_us(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
	return (usec)t.tv_sec * USEC_PER_S + t.tv_nsec / 1000;
}

void fake_turn(struct loop *l, int fd, bool (*done)(void *arg), void *arg)
{
	usec until = now_us() + 30 * USEC_PER_S;

	for (;;) {
		struct pollfd p[2] = { { uv_backend_fd(&l->uv), POLLIN, 0 }, { fd, POLLIN, 0 } };
		int wait;

		(void)uv_run(&l->uv, UV_RUN_NOWAIT);
		if (done(arg))
			return;
		if (now_us() > until)
			fail_msg("nothing came within 30 s");
		wait = uv_backend_timeout(&l->uv);
		(void)poll(p, fd < 0 ? 1 : 2, wait < 0 || wait > 50 ? 50 : wait);
	}
}

void fake_ctld_init(struct fake_ctld *f, struct loop *l, const char *dir)
{
	*f = (struct fake_ctld){ .loop = l, .listener = -1, .fd = -1 };
	(void)snprintf(f->path, sizeof(f->path), "%s/ctld.sock", dir);
	buf_init(&f->in, 8u << 20);
	arena_init(&f->arena, 65536, 8u << 20);
}

void fake_ctld_listen(struct fake_ctld *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	memcpy(addr.sun_path, f->path, sizeof(f->path));
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(f->listener >= 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(f->listener, 8), 0);
}

void fake_hang_up(struct fake_ctld *f)
{
	if (f->fd >= 0)
		assert_int_equal(close(f->fd), 0);
	f->fd = -1;
	buf_reset(&f->in);
}

void fake_ctld_fini(struct fake_ctld *f)
{
	fake_hang_up(f);
	if (f->listener >= 0)
		assert_int_equal(close(f->listener), 0);
	buf_fini(&f->in);
	arena_fini(&f->arena);
	free(f->payload);
}

static bool accepted(void *arg)
{
	struct fake_ctld *f = arg;

	f->fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return f->fd >= 0;
}

void fake_accept(struct fake_ctld *f)
{
	fake_hang_up(f);
	fake_turn(f->loop, f->listener, accepted, f);
}

/* Reads what is there; -1: the agent has hung up. */
static int read_some(struct fake_ctld *f)
{
	char p[65536];
	ssize_t n = read(f->fd, p, sizeof(p));

	if (n > 0)
		assert_int_equal(buf_append(&f->in, p, (size_t)n), 0);
	return n == 0 || (n < 0 && errno != EAGAIN) ? -1 : 0;
}

static bool frame_is_whole(struct fake_ctld *f)
{
	ssize_t n = wire_frame(f->in.p, f->in.n, WIRE_MAX_FRAME);

	assert_true(n >= 0);
	return n > 0;
}

static bool frame_arrived(void *arg)
{
	struct fake_ctld *f = arg;

	if (!frame_is_whole(f) && read_some(f) < 0)
		fail_msg("the agent hung up");
	return frame_is_whole(f);
}

static void frame_take(struct fake_ctld *f, struct wire_message *ret)
{
	ssize_t n = wire_frame(f->in.p, f->in.n, WIRE_MAX_FRAME);
	struct errbuf e = { "" };

	arena_fini(&f->arena);
	free(f->payload);
	f->payload = malloc((size_t)n);
	assert_non_null(f->payload);
	memcpy(f->payload, f->in.p + 4, (size_t)n);
	buf_drop(&f->in, (size_t)n + 4);
	if (wire_decode(slice_of(f->payload, (size_t)n), WIRE_none, &f->arena, ret, &e) != 0)
		fail_msg("%s", e.text);
}

void fake_expect(struct fake_ctld *f, enum wire_kind kind, struct wire_message *ret)
{
	do {
		fake_turn(f->loop, f->fd, frame_arrived, f);
		frame_take(f, ret);
	} while (ret->kind == WIRE_agent_status && kind != WIRE_agent_status);
	assert_int_equal(ret->kind, kind);
}

static bool hung_up(void *arg)
{
	return read_some(arg) < 0;
}

void fake_expect_eof(struct fake_ctld *f)
{
	fake_turn(f->loop, f->fd, hung_up, f);
	fake_hang_up(f);
}

struct quiet {
	struct fake_ctld *f;
	usec until_us;
};

static bool was_quiet(void *arg)
{
	struct quiet *q = arg;

	return read_some(q->f) < 0 || now_us() >= q->until_us;
}

bool fake_is_quiet(struct fake_ctld *f)
{
	struct quiet q = { f, now_us() + 120 * USEC_PER_MS };
	struct wire_message m;

	fake_turn(f->loop, f->fd, was_quiet, &q);
	while (frame_is_whole(f)) {
		frame_take(f, &m);
		if (m.kind != WIRE_agent_status)
			return false;
	}
	return true;
}

struct sending {
	struct fake_ctld *f;
	const char *p;
	size_t n;
};

static bool sent(void *arg)
{
	struct sending *s = arg;
	ssize_t n = send(s->f->fd, s->p, s->n, MSG_NOSIGNAL);

	if (n < 0 &&
		errno != EAGAIN) /* it hung up in the middle: what follows is for the test to see */
		return true;
	s->p += MAX(n, 0);
	s->n -= (size_t)MAX(n, 0);
	return s->n == 0;
}

void fake_send_bytes(struct fake_ctld *f, const void *p, size_t n)
{
	fake_turn(f->loop, -1, sent, &(struct sending){ f, p, n });
}

void fake_send(struct fake_ctld *f, const struct wire_message *m)
{
	struct buf b;

	buf_init(&b, 2u << 20);
	assert_int_equal(wire_encode(m, &b), 0);
	fake_send_bytes(f, b.p, b.n);
	buf_fini(&b);
}
