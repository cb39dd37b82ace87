/* Dispatch between the two kinds of streams; what is common to both. */
#include "stream_private.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

void stream_read_start(struct stream *s)
{
	if (s->kind == STREAM_PLAIN)
		plain_read_start(s);
	else
		tls_read_start(s);
}

void stream_read_stop(struct stream *s)
{
	if (s->kind == STREAM_PLAIN)
		plain_read_stop(s);
	else
		tls_read_stop(s);
}

int stream_write(struct stream *s, const struct slice *v, unsigned n)
{
	return s->kind == STREAM_PLAIN ? plain_write(s, v, n, false) : tls_write(s, v, n, false);
}

int stream_write_held(struct stream *s, const struct slice *v, unsigned n)
{
	return s->kind == STREAM_PLAIN ? plain_write(s, v, n, true) : tls_write(s, v, n, true);
}

void stream_shutdown(struct stream *s)
{
	if (s->kind == STREAM_PLAIN)
		plain_shutdown(s);
	else
		tls_shutdown(s);
}

void stream_close(struct stream *s)
{
	if (s->kind == STREAM_PLAIN)
		plain_close(s, false);
	else
		tls_close(s, false);
}

void stream_reset(struct stream *s)
{
	if (s->kind == STREAM_PLAIN)
		plain_close(s, true);
	else
		tls_close(s, true);
}

int stream_fd(const struct stream *s)
{
	return s->kind == STREAM_PLAIN ? plain_fd(s) : tls_fd(s);
}

bool stream_is_silent(const struct stream *s)
{
	char c;

	return syscall(SYS_recvfrom, stream_fd(s), &c, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) <
		       0 &&
	       errno == EAGAIN;
}
