/* The stats mount as the agent has it. Where the service manager opened the socket `mount`, the
 * agent is sandboxed and mounts nothing itself: aigw-statsfs-mount (root) mounts, and hands the
 * descriptor of /dev/fuse over that socket, one message {1 byte, SCM_RIGHTS}; the answer is "ok" or
 * a sentence. A new descriptor replaces the former one, whose mount is dead by then. Elsewhere the
 * agent mounts at the setting `stats`. */
#include "agent_private.h"

#include <aigw/log.h>
#include <aigw/peer.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HAND_OVER_US (5 * USEC_PER_S) /* from connecting to the message */
#define FUSE_MAJOR   10
#define FUSE_MINOR   229

/* --- what the mount asks of the agent ------------------------------------------------- */

static void on_info(struct statfs_info *ret, void *owner)
{
	static const char *const names[] = { [UPLINK_OFF] = "standalone",
		[UPLINK_RETRYING] = "retrying",
		[UPLINK_CONNECTED] = "connected" };
	struct agent *a = owner;

	memset(ret, 0, sizeof(*ret));
	(void)snprintf(ret->agent_id, sizeof(ret->agent_id), "%s", a->agent_id);
	ret->start_wall_us = a->start_wall_us;
	ret->start_mono_us = a->start_mono_us;
	ret->control = names[atomic_load_explicit(&a->control, memory_order_relaxed)];
	ret->server = a->cfg.controller;
	ret->source = atomic_load_explicit(&a->policy_is_fresh, memory_order_relaxed) ? "controller"
										      : "cache";
	spool_read_gauges(a->gw.spool, &ret->spool);
	ret->committer = committer_state(a->gw.committer);
	ret->strict = atomic_load_explicit(&a->gw.strict, memory_order_relaxed);
	ret->policies_refused = atomic_load_explicit(&a->policies_refused, memory_order_relaxed);
	ret->draining = atomic_load_explicit(&a->gw.draining, memory_order_relaxed);
}

static struct policy *on_policy_get(void *owner)
{
	return agent_shown_policy(owner);
}

int agent_make_tree(struct agent *a, struct errbuf *e)
{
	const struct stat_tree_config c = {
		.stats = a->gw.stats,
		.health = a->gw.health,
		.inflight = a->gw.inflight,
		.keyset = a->gw.keyset,
		.policy_get = on_policy_get,
		.info_get = on_info,
		.owner = a,
	};

	return stat_tree_new(&c, &a->tree) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

/* By path, or by a descriptor that is taken. */
static int serve(struct agent *a, const char *path, int fuse_fd, struct errbuf *e)
{
	const struct statfs_config c = {
		.mountpoint = path, .fuse_fd = fuse_fd, .tree = a->tree, .events = a->events
	};

	return statfs_start(&c, &a->mount, e);
}

/* --- the hand-over -------------------------------------------------------------------- */

static void visit_end(struct agent *a, const char *answer)
{
	struct mount_door *d = &a->door;

	if (answer)
		(void)!send(d->visitor_fd, answer, strlen(answer), MSG_NOSIGNAL);
	deadline_stop(&a->loop, &d->patience);
	(void)uv_poll_stop(&d->poll);
	uv_close((uv_handle_t *)&d->poll, NULL);
	(void)close(d->visitor_fd);
	d->visitor_fd = -1;
}

static bool is_fuse_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

/* The one descriptor of the message; -1: none, or not what it has to be. */
static int receive_descriptor(int from)
{
	char byte;
	struct iovec part = { &byte, 1 };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return -1;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (fd >= 0 && ((m.msg_flags & MSG_CTRUNC) || !is_fuse_device(fd))) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

static void listen_again(struct agent *a);

static void on_message(uv_poll_t *p, int status, int events)
{
	struct agent *a = container_of(p, struct agent, door.poll);
	int fd =
		status == 0 && (events & UV_READABLE) ? receive_descriptor(a->door.visitor_fd) : -1;
	struct errbuf why = { "" };

	if (fd < 0) {
		visit_end(a, "this is no descriptor of /dev/fuse");
	} else {
		statfs_stop(a->mount); /* its kernel side is gone, so its thread is or will be at
					  once */
		a->mount = NULL;
		if (serve(a, NULL, fd, &why)) {
			log_event(LOG_WARNING, "statfs", "statfs.not_mounted", "path=%s why=%s",
				a->cfg.stats, log_quote(slice_str(why.text)));
			visit_end(a, why.text);
		} else {
			log_event(LOG_INFO, "statfs", "statfs.mounted", "by=helper");
			visit_end(a, "ok");
		}
	}
	listen_again(a);
}

static void on_impatient(struct deadline *dl)
{
	struct agent *a = container_of(dl, struct agent, door.patience);

	visit_end(a, NULL);
	listen_again(a);
}

/* One visitor at a time; the others wait in the backlog. */
static void on_visitor(uv_poll_t *p, int status, int events)
{
	struct agent *a = container_of(p, struct agent, door.listener);
	struct mount_door *d = &a->door;
	struct peer_cred who;
	int fd;

	(void)events;
	if (status < 0 || d->visitor_fd >= 0)
		return;
	fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (peer_cred_of(fd, &who) || who.uid != 0) {
		log_event(LOG_WARNING, "statfs", "statfs.visitor_refused", "uid=%u", who.uid);
		(void)close(fd);
		return;
	}
	if (uv_poll_init(&a->loop.uv, &d->poll, fd)) {
		(void)close(fd);
		return;
	}
	(void)uv_poll_stop(&d->listener);
	d->visitor_fd = fd;
	deadline_set(&a->loop, &d->patience, HAND_OVER_US);
	(void)uv_poll_start(&d->poll, UV_READABLE | UV_DISCONNECT, on_message);
}

static void listen_again(struct agent *a)
{
	(void)uv_poll_start(&a->door.listener, UV_READABLE, on_visitor);
}

/* --- life ----------------------------------------------------------------------------- */

static bool door_open(struct agent *a)
{
	const struct sd_socket *s = sd_take(&a->sd, "mount", AF_UNIX);

	if (!s)
		return false;
	if (s->type != SOCK_SEQPACKET || uv_poll_init(&a->loop.uv, &a->door.listener, s->fd)) {
		log_event(LOG_WARNING, "statfs", "statfs.not_mounted",
			"path=%s why=\"the socket 'mount' has to be ListenSequentialPacket=\"",
			a->cfg.stats);
		(void)close(s->fd);
		return true;
	}
	a->door.fd = s->fd;
	deadline_init(&a->door.patience, on_impatient);
	listen_again(a);
	return true;
}

void agent_start_mount(struct agent *a)
{
	struct errbuf why;

	if (!strcmp(a->cfg.stats, "off") || door_open(a))
		return;
	if (serve(a, a->cfg.stats, -1, &why))
		log_event(LOG_WARNING, "statfs", "statfs.not_mounted", "path=%s why=%s",
			a->cfg.stats, log_quote(slice_str(why.text)));
}

void agent_stop_mount(struct agent *a)
{
	if (a->door.visitor_fd >= 0)
		visit_end(a, NULL);
	if (a->door.fd >= 0) {
		uv_close((uv_handle_t *)&a->door.listener, NULL);
		(void)close(a->door.fd);
		a->door.fd = -1;
	}
	statfs_stop(a->mount);
	a->mount = NULL;
}
