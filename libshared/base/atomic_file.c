#include <aigw/atomic_file.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_READ_BYTES 65536

static int write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t r = write(fd, s.p, s.n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -EIO;
		s = slice_skip(s, (size_t)r);
	}
	return 0;
}

/* A rename is durable only when its folder is. */
static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;
	int fd, r = 0;

	if (n >= sizeof(folder))
		return -ENAMETOOLONG;
	if (!slash) {
		memcpy(folder, ".", 2);
	} else if (n == 0) {
		memcpy(folder, "/", 2);
	} else {
		memcpy(folder, path, n);
		folder[n] = '\0';
	}
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	(void)close(fd);
	return r;
}

static int fill_file(int fd, mode_t mode, struct slice content)
{
	int r = 0;

	if (fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = write_all(fd, content);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

int atomic_file_write(const char *path, mode_t mode, struct slice content, struct errbuf *e)
{
	char tmp[PATH_MAX];
	int n = snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path);
	int fd, r;

	if (n < 0 || (size_t)n >= sizeof(tmp))
		return err_set(
			e, -ENAMETOOLONG, "cannot write %.200s...: the path is too long", path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		return err_set(e, r, "cannot create a file beside %s: %s", path, strerror(-r));
	}
	r = fill_file(fd, mode, content);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(tmp);
		return err_set(e, r, "cannot write %s: %s", path, strerror(-r));
	}
	r = sync_folder(path);
	if (r < 0)
		return err_set(e, r, "%s is written, but its folder cannot be synced: %s", path,
			strerror(-r));
	return 0;
}

/* Reads until the end or until b is full; -EFBIG if something is left then. */
static int read_all(int fd, struct buf *b)
{
	for (;;) {
		size_t room;
		ssize_t got;
		char extra;

		if (b->n < b->max && b->n >= b->cap) {
			int r = buf_reserve(b, MIN((size_t)FILE_READ_BYTES, b->max - b->n));

			if (r < 0)
				return r;
		}
		room = MIN(b->cap, b->max) - b->n;
		got = room ? read(fd, b->p + b->n, room) : read(fd, &extra, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return 0;
		if (room == 0)
			return -EFBIG;
		b->n += (size_t)got;
	}
}

int file_read(const char *path, struct buf *b, struct errbuf *e)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0) {
		r = -errno;
		return err_set(e, r, "cannot open %s: %s", path, strerror(-r));
	}
	/* One allocation for a plain file; the size is a hint only, the file may grow. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
		(uint64_t)st.st_size < b->max - b->n)
		(void)buf_reserve(b, (size_t)st.st_size + 1);
	r = b->err ? b->err : read_all(fd, b);
	(void)close(fd);
	if (r == -EFBIG)
		return err_set(e, r, "%s is larger than %zu bytes", path, b->max);
	if (r < 0)
		return err_set(e, r, "cannot read %s: %s", path, strerror(-r));
	return 0;
}
