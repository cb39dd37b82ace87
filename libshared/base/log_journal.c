#include "log_journal.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH    "/run/systemd/journal/socket"
#define DATAGRAM_BYTES 16384
#define KEY_MAX        40

static const struct {
	const char *name, *id;
} events[] = {
#define LOG_EVENT(name, id, doc, remedy) { name, id },
#include <aigw/tbl/log_events.h>
#undef LOG_EVENT
};

bool journal_is_stderr(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	uint64_t device, inode;
	struct stat st;

	return text && sscanf(text, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

int journal_open(void)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = SOCKET_PATH };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

static void put(struct buf *b, const char *key, struct slice value)
{
	(void)buf_str(b, key);
	(void)buf_char(b, '=');
	(void)buf_slice(b, value);
	(void)buf_char(b, '\n');
}

/* Undoes what log_quote() does, up to the closing quote; what comes behind it. Control characters
 * stay escaped, so that a value is a line. */
static struct slice put_quoted(struct buf *b, struct slice s)
{
	while (s.n && s.p[0] != '"') {
		if (s.p[0] == '\\' && s.n > 1 && (s.p[1] == '"' || s.p[1] == '\\'))
			s = slice_skip(s, 1);
		(void)buf_char(b, s.p[0]);
		s = slice_skip(s, 1);
	}
	return slice_skip(s, s.n ? 1 : 0);
}

static bool key_is_fine(struct slice key)
{
	for (size_t i = 0; i < key.n; i++) {
		if ((key.p[i] < 'a' || key.p[i] > 'z') && key.p[i] != '_' &&
			(key.p[i] < '0' || key.p[i] > '9'))
			return false;
	}
	return key.n > 0 && key.n <= KEY_MAX;
}

/* Words without a key are in MESSAGE only. */
static void put_fields(struct buf *b, struct slice s)
{
	while (s.n) {
		size_t n = 0, equals = 0;
		struct slice key;

		while (n < s.n && s.p[n] != ' ' && s.p[n] != '=')
			n++;
		equals = n;
		key = slice_of(s.p, equals);
		if (equals == s.n || s.p[equals] != '=' || !key_is_fine(key)) {
			s = slice_skip(s, MIN(n + 1, s.n));
			continue;
		}
		(void)buf_str(b, "AIGW_");
		for (size_t i = 0; i < key.n; i++)
			(void)buf_char(
				b, key.p[i] >= 'a' ? (char)(key.p[i] - 'a' + 'A') : key.p[i]);
		(void)buf_char(b, '=');
		s = slice_skip(s, equals + 1);
		if (s.n && s.p[0] == '"') {
			s = put_quoted(b, slice_skip(s, 1));
		} else {
			for (n = 0; n < s.n && s.p[n] != ' ';)
				n++;
			(void)buf_append(b, s.p, n);
			s = slice_skip(s, n);
		}
		(void)buf_char(b, '\n');
	}
}

void journal_compose(const struct journal_entry *e, struct buf *b)
{
	(void)buf_str(b, "MESSAGE=");
	(void)buf_str(b, e->event);
	(void)buf_slice(b, e->fields);
	(void)buf_printf(b, "\nPRIORITY=%d\n", e->priority);
	put(b, "SYSLOG_IDENTIFIER", slice_str(e->program));
	put(b, "AIGW_EVENT", slice_str(e->event));
	put(b, "AIGW_AREA", slice_str(e->area));
	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		if (strcmp(events[i].name, e->event) == 0)
			put(b, "MESSAGE_ID", slice_str(events[i].id));
	}
	put_fields(b, e->fields);
}

bool journal_send(int fd, const struct journal_entry *e)
{
	char bytes[DATAGRAM_BYTES];
	struct buf b = buf_over(bytes, sizeof(bytes));

	journal_compose(e, &b);
	return !b.err && send(fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)b.n;
}
