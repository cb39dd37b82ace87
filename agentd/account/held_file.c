#include "account/held_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

/* A power cut must not take the name of a file whose content was synced. */
static int dir_sync(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		(void)close(fd);
	return r;
}

int held_file_open(const char *dir, const char *name, const char *setting,
	char path[static HELD_FILE_PATH_MAX], int *ret_fd, struct errbuf *e)
{
	int r;

	*ret_fd = -1;
	if ((size_t)snprintf(path, HELD_FILE_PATH_MAX, "%s/%s", dir, name) >= HELD_FILE_PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "%s is too long", setting);
	*ret_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*ret_fd < 0)
		return err_set(e, -errno, "%s can't be opened: %s", path, strerror(errno));
	if (flock(*ret_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(e, -EBUSY,
				"%s is held by another agent on this host; stop it or set another "
				"%s",
				path, setting);
		return err_set(e, -errno, "%s can't be locked: %s", path, strerror(errno));
	}
	r = dir_sync(dir);
	return r < 0 ? err_set(e, r, "%s can't be synced: %s", dir, strerror(-r)) : 0;
}
