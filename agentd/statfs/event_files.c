#include "statfs/event_files.h"

#include <poll.h>

#define HANDLE_BASE (UINT64_C(1) << 32) /* snapshots have the numbers below */

static struct event_file *file_of(struct event_files *f, uint64_t handle)
{
	uint64_t i = handle - HANDLE_BASE;

	return handle >= HANDLE_BASE && i < EVENT_FILES_MAX && f->v[i].used ? &f->v[i] : NULL;
}

bool event_files_has(const struct event_files *f, uint64_t handle)
{
	return handle >= HANDLE_BASE && handle - HANDLE_BASE < EVENT_FILES_MAX &&
	       f->v[handle - HANDLE_BASE].used;
}

uint64_t event_files_open(struct event_files *f, uint32_t uid)
{
	unsigned his = 0, free_at = EVENT_FILES_MAX;

	for (unsigned i = EVENT_FILES_MAX; i-- > 0;) {
		his += f->v[i].used && f->v[i].uid == uid;
		if (!f->v[i].used)
			free_at = i;
	}
	if (!f->ring || free_at == EVENT_FILES_MAX || his >= EVENT_FILES_PER_UID)
		return 0;
	f->v[free_at] =
		(struct event_file){ .used = true, .uid = uid, .at = line_ring_next(f->ring) };
	f->n++;
	return HANDLE_BASE + free_at;
}

/* The next line, if there is one and none is left over. */
static void next_line(struct event_files *f, struct event_file *e)
{
	uint64_t first;
	size_t n;
	int r;

	if (e->line_at < e->line_n)
		return;
	e->line_at = e->line_n = 0;
	r = line_ring_read(f->ring, e->at, e->line, &n, &first);
	if (r == 0) {
		e->line[n] = '\n';
		e->line_n = n + 1;
		e->at++;
	} else if (r == -EOVERFLOW) {
		e->line_n = (size_t)snprintf(
			e->line, sizeof(e->line), "lost %" PRIu64 "\n", first - e->at);
		e->at = first;
	}
}

static bool has_something(struct event_files *f, struct event_file *e)
{
	next_line(f, e);
	return e->line_at < e->line_n;
}

/* Whole lines as far as they fit; of one that is longer than the read, a piece. */
static size_t fill(struct event_files *f, struct event_file *e, char *out, size_t size)
{
	size_t n = 0;

	while (n < size && has_something(f, e)) {
		size_t more = MIN(e->line_n - e->line_at, size - n);

		if (more < e->line_n - e->line_at && n > 0)
			break;
		memcpy(out + n, e->line + e->line_at, more);
		e->line_at += more;
		n += more;
	}
	return n;
}

static void answer(struct event_files *f, struct event_file *e, fuse_req_t req, size_t size)
{
	static char out[16384]; /* one thread */
	size_t n = fill(f, e, out, MIN(size, sizeof(out)));

	(void)fuse_reply_buf(req, out, n);
}

/* Only noted here: the library holds its locks. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct event_file *e = data;

	(void)req;
	e->interrupted = true;
}

void event_files_read(
	struct event_files *f, fuse_req_t req, uint64_t handle, size_t size, bool may_wait)
{
	struct event_file *e = file_of(f, handle);

	if (!e || e->waiting) { /* two reads of one open at a time: nobody's order */
		(void)fuse_reply_err(req, e ? EBUSY : EBADF);
	} else if (size == 0 || has_something(f, e)) {
		answer(f, e, req, size);
	} else if (!may_wait) {
		(void)fuse_reply_err(req, EAGAIN);
	} else {
		e->waiting = req;
		e->size = size;
		e->interrupted = false;
		fuse_req_interrupt_func(req, on_interrupt, e);
	}
}

static void drop_poll(struct event_file *e)
{
	if (e->poll)
		fuse_pollhandle_destroy(e->poll);
	e->poll = NULL;
}

void event_files_poll(
	struct event_files *f, fuse_req_t req, uint64_t handle, struct fuse_pollhandle *ph)
{
	struct event_file *e = file_of(f, handle);
	bool ready = e && has_something(f, e);

	if (e && ph) {
		drop_poll(e);
		e->poll = ph;
	} else if (ph) {
		fuse_pollhandle_destroy(ph);
	}
	(void)fuse_reply_poll(req, ready || !e ? POLLIN | POLLRDNORM : 0);
}

static void end_wait(struct event_file *e, int err)
{
	if (e->waiting)
		(void)fuse_reply_err(e->waiting, err);
	e->waiting = NULL;
}

void event_files_release(struct event_files *f, uint64_t handle)
{
	struct event_file *e = file_of(f, handle);

	if (!e)
		return;
	end_wait(e, EINTR);
	drop_poll(e);
	e->used = false;
	f->n--;
}

void event_files_look(struct event_files *f)
{
	for (unsigned i = 0; i < EVENT_FILES_MAX; i++) {
		struct event_file *e = &f->v[i];

		if (!e->used)
			continue;
		if (e->waiting && e->interrupted) {
			end_wait(e, EINTR);
		} else if (e->waiting && has_something(f, e)) {
			fuse_req_t req = e->waiting;

			e->waiting = NULL;
			answer(f, e, req, e->size);
		}
		if (e->poll && has_something(f, e)) {
			(void)fuse_lowlevel_notify_poll(e->poll);
			drop_poll(e);
		}
	}
}

void event_files_end(struct event_files *f)
{
	for (unsigned i = 0; i < EVENT_FILES_MAX; i++) {
		end_wait(&f->v[i], ENODEV);
		drop_poll(&f->v[i]);
		f->v[i].used = false;
	}
	f->n = 0;
}
