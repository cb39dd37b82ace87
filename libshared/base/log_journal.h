/* The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL, 2026): an event as one
 * datagram of fields. Only for log.c; any thread. */
#ifndef LIBSHARED_BASE_LOG_JOURNAL_H
#define LIBSHARED_BASE_LOG_JOURNAL_H

#include <aigw/buf.h>

struct journal_entry {
	const char *program;
	int priority; /* as syslog's */
	const char *area, *event;
	struct slice fields; /* " key=value key=\"quoted value\"", as in a line */
};

bool journal_is_stderr(void); /* as systemd told by JOURNAL_STREAM */
int journal_open(void);       /* descriptor, or -1 */
/* Never waits: false if the journal does not take it now. */
bool journal_send(int fd, const struct journal_entry *e);
/* The datagram. A key of the line becomes AIGW_KEY. */
void journal_compose(const struct journal_entry *e, struct buf *b);

#endif
