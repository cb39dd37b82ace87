/* What systemd tells a service and what it wants to hear, without its library: sockets that it
 * opened (sd_listen_fds(3)), states (sd_notify(3)), the watchdog (sd_watchdog_enabled(3)).
 * Everything comes by the environment; without systemd every call does nothing. Control loop's
 * thread, from the start on. */
#ifndef AIGW_SD_H
#define AIGW_SD_H

#include <aigw/errbuf.h>

#define SD_FDS_MAX 16

struct sd_socket {
	int fd;        /* close-on-exec, non-blocking; its taker closes it */
	int family;    /* AF_UNIX, AF_INET, AF_INET6 */
	int type;      /* SOCK_STREAM, SOCK_SEQPACKET */
	char name[32]; /* FileDescriptorName= of the unit */
	bool taken;
};

struct sd {
	struct sd_socket sockets[SD_FDS_MAX];
	unsigned n_sockets;
	char notify[108]; /* NOTIFY_SOCKET; "": nobody listens */
	usec watchdog_us; /* the longest silence allowed; 0: there is no watchdog */
};

/* Reads and clears the variables, so that no child takes them for its own. -EINVAL with a sentence:
 * more sockets than SD_FDS_MAX, or a descriptor that is no listening socket. */
int sd_init(struct sd *sd, struct errbuf *e);
/* The next socket of that name that nobody has taken yet, of that family (0: any); NULL: none. */
const struct sd_socket *sd_take(struct sd *sd, const char *name, int family);
/* Names of sockets that were handed over and nobody took, closed here; "": none. */
void sd_close_rest(struct sd *sd, char *names, size_t cap);

/* Sends "READY=1" and the like, lines of NAME=value. 0 also if nobody listens. */
int sd_notify(const struct sd *sd, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Before and after settings are read again; systemd 253 wants the time, older ones ignore it. */
void sd_notify_reloading(const struct sd *sd);
void sd_notify_ready(const struct sd *sd, const char *status);

#endif
