/* The FUSE side: requests of the kernel -> nodes, snapshots, text. One thread does it all, so
 * nothing here is locked. The kernel is told to remember nothing (time-outs 0, direct_io): numbers
 * change, and what `self` is depends on who asks. */
#define FUSE_USE_VERSION 35

#include "statfs/statfs.h"

#include "statfs/event_files.h"
#include "statfs/mount_point.h"
#include "statfs/snapshots.h"

#include <aigw/clock.h>

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REQUESTS_PER_WAKE 64

struct stat_mount {
	struct stat_tree *tree;
	struct fuse_session *session;
	pthread_t thread;
	int stop_fd; /* eventfd: the thread shall end */
	struct snapshots snapshots;
	struct event_files events;
	struct fuse_buf request;
	char reply[64 << 10]; /* one folder listing */
};

/* --- requests ------------------------------------------------------------------------- */

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct stat_mount *m = fuse_req_userdata(req);
	struct stat_look l = stat_look_begin(m->tree);
	struct fuse_entry_param entry = { .generation = 1 };
	struct node n;
	int r = node_of_ino(&l.view, parent, &n);

	if (r == 0)
		r = node_child(&l.view, n, slice_str(name), &n);
	stat_look_end(&l);
	if (r < 0) {
		(void)fuse_reply_err(req, -r);
		return;
	}
	node_attr(n, stat_tree_owner(m->tree), clock_wall_us(), &entry.attr);
	entry.ino = entry.attr.st_ino;
	(void)fuse_reply_entry(req, &entry);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat_mount *m = fuse_req_userdata(req);
	struct stat_look l = stat_look_begin(m->tree);
	struct stat st;
	struct node n;
	int r = node_of_ino(&l.view, ino, &n);

	(void)fi;
	stat_look_end(&l);
	if (r < 0) {
		(void)fuse_reply_err(req, -r);
		return;
	}
	node_attr(n, stat_tree_owner(m->tree), clock_wall_us(), &st);
	(void)fuse_reply_attr(req, &st, 0);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[32];

	if (ino != node_ino((struct node){ NODE_self, 0 })) {
		(void)fuse_reply_err(req, EINVAL);
		return;
	}
	(void)snprintf(target, sizeof(target), "by-uid/%" PRIu32, (uint32_t)fuse_req_ctx(req)->uid);
	(void)fuse_reply_readlink(req, target);
}

/* Renders the file for this open. *ret: the handle. */
static int open_node(struct stat_mount *m, fuse_ino_t ino, uint32_t uid, uint64_t *ret)
{
	struct stat_look l = stat_look_begin(m->tree);
	size_t room = snapshots_room(&m->snapshots, uid);
	struct node n;
	struct buf b;
	int r = node_of_ino(&l.view, ino, &n);

	buf_init(&b, room);
	if (r == 0 && room == 0)
		r = -ENFILE;
	if (r == 0 && n.row == NODE_events) {
		stat_look_end(&l);
		*ret = event_files_open(&m->events, uid);
		return *ret ? 0 : -ENFILE;
	}
	if (r == 0)
		r = stat_tree_render(m->tree, &l, n, &b);
	stat_look_end(&l);
	if (r == 0)
		*ret = snapshots_take(&m->snapshots, uid, &b);
	buf_fini(&b);
	return r == -ENOBUFS ? -ENFILE : r;
}

static void give_handle(struct stat_mount *m, uint64_t handle)
{
	if (event_files_has(&m->events, handle))
		event_files_release(&m->events, handle);
	else
		snapshots_give(&m->snapshots, handle);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat_mount *m = fuse_req_userdata(req);
	uint64_t handle = 0;
	int r = (fi->flags & O_ACCMODE) == O_RDONLY
			? open_node(m, ino, fuse_req_ctx(req)->uid, &handle)
			: -EROFS;

	if (r < 0) {
		(void)fuse_reply_err(req, -r);
		return;
	}
	fi->fh = handle;
	fi->direct_io = 1;
	fi->nonseekable = event_files_has(&m->events, handle);
	if (fuse_reply_open(req, fi) < 0) /* the caller was killed: there will be no release */
		give_handle(m, handle);
}

static void on_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct stat_mount *m = fuse_req_userdata(req);
	struct slice s;

	(void)ino;
	if (event_files_has(&m->events, fi->fh)) {
		event_files_read(&m->events, req, fi->fh, size, !(fi->flags & O_NONBLOCK));
		return;
	}
	s = at < 0 ? SLICE_EMPTY : snapshots_read(&m->snapshots, fi->fh, (uint64_t)at, size);
	(void)fuse_reply_buf(req, s.p, s.n);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat_mount *m = fuse_req_userdata(req);

	(void)ino;
	give_handle(m, fi->fh);
	(void)fuse_reply_err(req, 0);
}

/* A snapshot is always there to be read. */
static void on_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	struct stat_mount *m = fuse_req_userdata(req);

	(void)ino;
	event_files_poll(&m->events, req, fi->fh, ph);
}

/* Adds an entry to m->reply; false: it is full. */
static bool add_entry(struct stat_mount *m, fuse_req_t req, size_t size, size_t *n,
	const char *name, struct node node, uint64_t next)
{
	struct stat st = { .st_ino = node_ino(node), .st_mode = node_mode(node.row) };
	size_t more = fuse_add_direntry(req, m->reply + *n, size - *n, name, &st, (off_t)next);

	if (more > size - *n)
		return false;
	*n += more;
	return true;
}

/* Nothing is kept between calls: an offset is 0 ".", 1 "..", then 2 + the position in the tree. */
static void on_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct stat_mount *m = fuse_req_userdata(req);
	struct stat_look l = stat_look_begin(m->tree);
	uint64_t pos = at >= 2 ? (uint64_t)at - 2 : 0;
	char name[NODE_NAME_MAX + 1];
	struct node dir, child;
	size_t n = 0;
	int r = node_of_ino(&l.view, ino, &dir);
	bool room = r == 0;

	(void)fi;
	size = MIN(size, sizeof(m->reply));
	if (room && at <= 0)
		room = add_entry(m, req, size, &n, ".", dir, 1);
	if (room && at <= 1)
		room = add_entry(m, req, size, &n, "..", node_parent(dir), 2);
	while (room && node_next(&l.view, dir, &pos, &child, name))
		room = add_entry(m, req, size, &n, name, child, pos + 2);
	stat_look_end(&l);
	if (r < 0)
		(void)fuse_reply_err(req, -r);
	else
		(void)fuse_reply_buf(req, m->reply, n);
}

static const struct fuse_lowlevel_ops operations = {
	.lookup = on_lookup,
	.getattr = on_getattr,
	.readlink = on_readlink,
	.open = on_open,
	.read = on_read,
	.release = on_release,
	.readdir = on_readdir,
	.poll = on_poll,
};

/* --- the thread ----------------------------------------------------------------------- */

/* All requests that are waiting, up to a number: the sampling must not starve. */
static void serve_requests(struct stat_mount *m)
{
	for (int i = 0; i < REQUESTS_PER_WAKE && !fuse_session_exited(m->session); i++) {
		int n = fuse_session_receive_buf(m->session, &m->request);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN || n == -ENOMEM)
			return;
		if (n <= 0) { /* unmounted by somebody else */
			fuse_session_exit(m->session);
			return;
		}
		fuse_session_process_buf(m->session, &m->request);
	}
}

static void *serve(void *arg)
{
	static const struct sched_param none = { 0 };
	struct stat_mount *m = arg;
	struct pollfd p[2] = {
		{ .fd = fuse_session_fd(m->session), .events = POLLIN },
		{ .fd = m->stop_fd, .events = POLLIN },
	};

	/* sched(7): only when nothing else wants to run. Calls come before those who look. */
	(void)pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
	while (!fuse_session_exited(m->session)) {
		int wait_ms = m->events.n ? EVENT_LOOK_MS : (int)(WATCH_EVERY_US / USEC_PER_MS);

		if (poll(p, 2, wait_ms) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		stat_tree_tick(m->tree);
		serve_requests(m);
		event_files_look(&m->events);
	}
	event_files_end(&m->events);
	return NULL;
}

/* Signals are the control loop's business. */
static int start_thread(struct stat_mount *m)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r)
		return -r;
	r = pthread_create(&m->thread, NULL, serve, m);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	(void)pthread_setname_np(m->thread, "aigw-statfs");
	return 0;
}

/* --- start and stop ------------------------------------------------------------------- */

static _Thread_local char fuse_said[256]; /* the library's last complaint, for the sentence */

static void on_fuse_log(enum fuse_log_level level, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

static void on_fuse_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	size_t n;

	if (level > FUSE_LOG_WARNING)
		return;
	(void)vsnprintf(fuse_said, sizeof(fuse_said), fmt, ap);
	n = strlen(fuse_said);
	if (n && fuse_said[n - 1] == '\n')
		fuse_said[n - 1] = '\0';
}

static int mount_session(struct stat_mount *m, const char *path, struct errbuf *e)
{
	/* Only root may let others in; the kernel checks the modes then. */
	char program[] = "aigw-agentd", option[] = "-o";
	char own[] = "ro,nosuid,nodev,noexec,fsname=" MOUNT_FS_NAME ",subtype=" MOUNT_FS_NAME;
	char all[] = "ro,nosuid,nodev,noexec,allow_other,default_permissions,fsname=" MOUNT_FS_NAME
		     ",subtype=" MOUNT_FS_NAME;
	char *argv[] = { program, option, geteuid() == 0 ? all : own, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	int fd, flags, r = 0;

	fuse_set_log_func(on_fuse_log);
	fuse_said[0] = '\0';
	m->session = fuse_session_new(&args, &operations, sizeof(operations), m);
	fuse_opt_free_args(&args);
	if (!m->session)
		return err_set(
			e, -ENOMEM, "no stats mount: %s", fuse_said[0] ? fuse_said : "no memory");
	if (fuse_session_mount(m->session, path) < 0) {
		r = err_set(e, -EIO, "no stats mount at %s: %s", path,
			fuse_said[0] ? fuse_said : "the helper fusermount3 could not mount it");
		fuse_session_destroy(m->session);
		return r;
	}
	fd = fuse_session_fd(m->session);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		r = err_set(e, -errno, "no stats mount at %s: %s", path, strerror(errno));
		fuse_session_unmount(m->session);
		fuse_session_destroy(m->session);
	}
	return r;
}

/* The kernel's side is there already, made by somebody with the right to. The session closes the
 * descriptor that it is given, but not always when it fails: so it gets one of its own. */
static int mount_handed_over(struct stat_mount *m, int fd, struct errbuf *e)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), err = -errno;
	char path[32];

	(void)close(fd);
	if (own < 0)
		return err_set(e, err, "no stats mount: %s", strerror(-err));
	(void)snprintf(path, sizeof(path), "/dev/fd/%d", own);
	return mount_session(m, path, e);
}

static int mount_by_path(struct stat_mount *m, const char *path, struct errbuf *e)
{
	int r;

	if (access("/dev/fuse", F_OK) < 0) /* the helper may open what we may not */
		return err_set(e, -errno, "no stats mount: /dev/fuse: %s", strerror(errno));
	r = mount_point_prepare(path, e);
	return r < 0 ? r : mount_session(m, path, e);
}

static int mount_and_serve(struct stat_mount *m, const struct statfs_config *c, struct errbuf *e)
{
	int r = 0;

	m->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->stop_fd < 0) {
		r = err_set(e, -errno, "no stats mount: %s", strerror(errno));
		if (c->fuse_fd >= 0)
			(void)close(c->fuse_fd);
		return r;
	}
	r = c->fuse_fd >= 0 ? mount_handed_over(m, c->fuse_fd, e)
			    : mount_by_path(m, c->mountpoint, e);
	if (r == 0) {
		r = start_thread(m);
		if (r < 0) {
			(void)err_set(e, r, "no stats mount: no thread for it: %s", strerror(-r));
			fuse_session_unmount(m->session);
			fuse_session_destroy(m->session);
		}
	}
	if (r < 0)
		(void)close(m->stop_fd);
	return r;
}

int statfs_start(const struct statfs_config *c, struct stat_mount **ret, struct errbuf *e)
{
	struct stat_mount *m = calloc(1, sizeof(*m));
	int r;

	if (!m) {
		if (c->fuse_fd >= 0)
			(void)close(c->fuse_fd);
		return err_set(e, -ENOMEM, "no stats mount: no memory");
	}
	m->tree = c->tree;
	m->events.ring = c->events;
	r = mount_and_serve(m, c, e);
	if (r < 0) {
		free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void statfs_stop(struct stat_mount *m)
{
	uint64_t one = 1;
	ssize_t n;

	if (!m)
		return;
	n = write(m->stop_fd, &one, sizeof(one));
	ASSERT(n == (ssize_t)sizeof(one)); /* an empty eventfd always takes them */
	(void)pthread_join(m->thread, NULL);
	fuse_session_unmount(m->session);
	fuse_session_destroy(m->session);
	(void)close(m->stop_fd);
	snapshots_fini(&m->snapshots);
	free(m->request.mem);
	free(m);
}
