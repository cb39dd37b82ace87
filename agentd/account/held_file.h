/* A file that one agent alone holds, by an exclusive lock on it that ends with the process:
 * in-flight file and spool. Before any thread starts. */
#ifndef AGENTD_ACCOUNT_HELD_FILE_H
#define AGENTD_ACCOUNT_HELD_FILE_H

#include <aigw/errbuf.h>

#define HELD_FILE_PATH_MAX 4096

/* Opens or creates DIR/NAME (0600), locks it and makes its name durable. *ret_fd is set also on
 * failure (-1: nothing to close). -EBUSY: somebody else holds it; the sentence names `setting`,
 * where the folder comes from. */
int held_file_open(const char *dir, const char *name, const char *setting,
	char path[static HELD_FILE_PATH_MAX], int *ret_fd, struct errbuf *e);

#endif
