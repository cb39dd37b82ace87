#include "calllog.h"
#include "timer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int calllog_open(struct calllog *l, const char *path, size_t keep)
{
	*l = (struct calllog){ .fd = -1, .keep = keep };
	if (path) {
		l->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
		if (l->fd < 0)
			return -errno;
	}
	if (keep)
		l->ring = mem_get(keep * sizeof(char *));
	return 0;
}

void calllog_close(struct calllog *l)
{
	calllog_clear(l);
	free(l->ring);
	l->ring = NULL;
	l->keep = 0;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

bool calllog_wanted(const struct calllog *l)
{
	return l->fd >= 0 || l->keep;
}

struct buf *calllog_begin(struct calllog *l, const char *event)
{
	static struct buf line;

	line.len = 0;
	buf_addf(&line, "{\"n\":%llu,\"event\":\"%s\",\"time_us\":%llu", (unsigned long long)++l->n,
		event, (unsigned long long)time_wall_us());
	return &line;
}

/* A log that cannot be written is no oracle: better no simulator. */
static void file_write(const struct calllog *l, const struct buf *line)
{
	ssize_t n = write(l->fd, line->p, line->len);

	if (n == (ssize_t)line->len)
		return;
	fprintf(stderr, "aigw-sim: call log: %s\n", n < 0 ? strerror(errno) : "short write");
	exit(74);
}

void calllog_commit(struct calllog *l, struct buf *line)
{
	buf_add(line, "}\n", 2);
	if (l->fd >= 0)
		file_write(l, line);
	if (l->keep) {
		char **at = &l->ring[l->n % l->keep];

		free(*at);
		*at = mem_dup(line->p, line->len - 1);
	}
}

void calllog_show(const struct calllog *l, uint64_t since, struct buf *out)
{
	uint64_t first = l->n > l->keep ? l->n - l->keep + 1 : 1;
	bool comma = false;

	buf_adds(out, "[");
	for (uint64_t n = first > since + 1 ? first : since + 1; l->keep && n <= l->n && n > since;
		n++) {
		const char *line = l->ring[n % l->keep];

		if (!line)
			continue;
		buf_adds(out, comma ? ",\n" : "");
		buf_adds(out, line);
		comma = true;
	}
	buf_adds(out, "]\n");
}

void calllog_clear(struct calllog *l)
{
	for (size_t i = 0; i < l->keep; i++) {
		free(l->ring[i]);
		l->ring[i] = NULL;
	}
}
