/* What stream.c dispatches to. Only for files of net/. */
#ifndef NET_STREAM_PRIVATE_H
#define NET_STREAM_PRIVATE_H

#include <aigw/stream.h>

#define STREAM_MAX_SLICES 16

void plain_read_start(struct stream *s);
void plain_read_stop(struct stream *s);
int plain_write(struct stream *s, const struct slice *v, unsigned n, bool held);
void plain_shutdown(struct stream *s);
void plain_close(struct stream *s, bool reset);
int plain_fd(const struct stream *s);

void tls_read_start(struct stream *s);
void tls_read_stop(struct stream *s);
int tls_write(struct stream *s, const struct slice *v, unsigned n, bool held);
void tls_shutdown(struct stream *s);
void tls_close(struct stream *s, bool reset);
int tls_fd(const struct stream *s);

#endif
