/* Bytes both ways over a unix socket, TCP or TLS, behind one interface of five events. Nobody above
 * net/ sees uv_ or SSL_.
 *
 * A plain stream is embedded in its owner (struct stream_plain), a TLS one is an object of its own.
 * Life: init or new, then stream_connect() or stream_accept(), then events; stream_close() at any
 * time, and memory may go in `closed`. After stream_close() no event but `closed` comes. Events
 * come from the loop only, never from inside a call of ours. All on the loop's thread. Errors are
 * negative errno/UV codes, TLS failures -EPROTO with stream_error_text(). */
#ifndef AIGW_STREAM_H
#define AIGW_STREAM_H

#include <aigw/loop.h>
#include <aigw/slice.h>

struct stream;
struct tls_client;

struct stream_events {
	void (*open)(struct stream *s, int status); /* connect and handshake ended: 0 or why not */
	void (*data)(struct stream *s, char *p,
		size_t n); /* p: loop scratch (or `into` memory); writable; valid until return */
	void (*drained)(struct stream *s);        /* all that was queued is written */
	void (*eof)(struct stream *s);            /* the peer has sent its last byte */
	void (*error)(struct stream *s, int err); /* broken; close it */
	void (*closed)(struct stream *s);         /* memory may go */
	size_t (*into)(struct stream *s,
		char **ret); /* optional: read into the owner's memory; 0: scratch */
};

enum stream_kind { STREAM_PLAIN, STREAM_TLS };

struct stream {
	const struct stream_events *ev;
	struct loop *loop;
	uint8_t kind;
	bool is_unix : 1, open : 1, closing : 1, reading : 1, saw_eof : 1;
	uint32_t queued_writes; /* on their way to the kernel */
	size_t queued_bytes;    /* not yet taken by the kernel */
};

struct plain_queued;

struct stream_plain {
	struct stream s;
	int fd; /* -1: none */
	int connect_error;
	bool attached : 1, connecting : 1; /* there is a handle; it waits for connect(2) */
	bool on_edges : 1;                 /* the socket is watched for edges */
	bool more : 1;                     /* it may have bytes that have not been read */
	bool peer_done : 1;                /* behind them is the end, or an error */
	bool broken : 1;                   /* it is not watched any more */
	bool shut_behind : 1;              /* shutdown(2) behind what is queued */
	struct plain_queued *first, *last;
	struct deferred later;
	union {
		uv_handle_t handle;
		uv_poll_t poll;
	};
};

/* An accepting socket. `connection` is called with each connection in `accepted`: stream_accept()
 * takes it; one that nobody takes is closed. */
struct stream_listener {
	struct loop *loop;
	void (*connection)(struct stream_listener *l);
	int fd, accepted;
	bool open;
	struct deadline retry;
	uv_poll_t poll;
};

#define STREAM_LISTEN_RETRY_US (100 * USEC_PER_MS) /* after descriptors or memory ran out */

/* The descriptor is the listener's, also if this fails (then it is closed). */
int stream_listen(struct stream_listener *l, struct loop *loop, int fd, int backlog,
	void (*connection)(struct stream_listener *l));
/* Idempotent. `closed` (may be NULL) gets the handle, whose data is l: its memory may go then. */
void stream_listener_close(struct stream_listener *l, uv_close_cb closed);

void stream_plain_init(
	struct stream_plain *p, struct loop *l, bool is_unix, const struct stream_events *ev);
int stream_accept(
	struct stream_plain *p, struct stream_listener *listener); /* open at once; TCP_NODELAY */
bool address_is_loopback(const struct sockaddr *addr); /* AF_INET, AF_INET6; else false */
/* A TCP socket whose peers are on this host, or a listener of such: there is no congestion to
 * control, and a host-wide choice such as BBR would pace writes with timers. Accepted sockets
 * inherit it. */
void socket_stays_local(int fd);
int stream_connect(struct stream_plain *p,
	const struct sockaddr *addr);  /* AF_INET, AF_INET6 or AF_UNIX; `open` follows */
int stream_fd(const struct stream *s); /* the socket, to ask about it only */

/* Has the peer of an open stream sent nothing that is still to be read, nor its end? Asks the
 * kernel: events of this turn of the loop may not have come here yet. */
bool stream_is_silent(const struct stream *s);

void stream_read_start(struct stream *s); /* events data, eof, error from now on */
void stream_read_stop(
	struct stream *s); /* back-pressure: nothing is read, the peer is slowed down */

/* Writes now what the kernel takes. What is left is copied and queued. 0: all written; 1: queued,
 * `drained` follows; negative: broken. */
int stream_write(struct stream *s, const struct slice *v, unsigned n);
/* The same without a copy: the caller's memory has to stay until `drained` (if 1 is returned) or
 * `closed`. */
int stream_write_held(struct stream *s, const struct slice *v, unsigned n);

void stream_shutdown(
	struct stream *s);           /* no more from us; the peer sees EOF after what is queued */
void stream_close(struct stream *s); /* now; queued bytes are lost; `closed` follows */
void stream_reset(struct stream *s); /* close with RST where the transport has it */

/* --- TLS client over TCP -----------------------------------------------------------------------
 */
struct stream *stream_tls_new(struct loop *l, struct tls_client *t, const char *server_name,
	bool name_is_ip, const struct stream_events *ev,
	void *owner); /* heap; freed by stream_tls_free in `closed` */
void *stream_tls_owner(const struct stream *s);
int stream_tls_connect(struct stream *s, const struct sockaddr *addr);
/* Before it: the address is a proxy's. It is sent `request` (CONNECT, whole; borrowed until
 * `open`), and TLS begins when it has answered 2xx. Else `open` comes with -EACCES and an error
 * text. */
void stream_tls_tunnel(struct stream *s, struct slice request);
void stream_tls_free(struct stream *s);
bool stream_tls_resumed(const struct stream *s);
/* When the handshake began, by loop_now(); 0: not yet, or no TLS. */
usec stream_tls_connected_us(const struct stream *s);
const char *stream_error_text(const struct stream *s); /* last TLS failure in words, or "" */

#endif
