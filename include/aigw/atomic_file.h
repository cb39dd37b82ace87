/* Files that are there whole or not at all: write to a temporary name beside it, fsync, rename,
 * fsync the folder. Blocks on the disk: never on a worker or the control loop while serving. */
#ifndef AIGW_ATOMIC_FILE_H
#define AIGW_ATOMIC_FILE_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>

int atomic_file_write(const char *path, mode_t mode, struct slice content, struct errbuf *e);
/* Whole file into b (its max is the limit). 0, -ENOENT, -EFBIG or another errno, with a
 * sentence. */
int file_read(const char *path, struct buf *b, struct errbuf *e);

#endif
