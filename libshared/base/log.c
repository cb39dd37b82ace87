#include "log_journal.h"

#include <aigw/clock.h>
#include <aigw/log.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#define LOG_LINE_BYTES    4096
#define LOG_QUOTE_BYTES   512
#define LOG_QUOTE_BUFFERS 8
#define LOG_RATE_SLOTS    64
#define LOG_RATE_PER_S    10

static const char *const level_names[] = { "error", "warning", "info", "debug" };

/* One event's lines within the current second. Events that share a slot take it from each other:
 * the count that is lost then is only a comfort. */
struct rate {
	uint64_t id;
	usec since_us;
	unsigned lines;
	unsigned suppressed;
};

static const int priorities[] = { 3, 4, 6, 7 }; /* as syslog's */

static char log_program[64] = "aigw";
static int log_journal_fd = -1;
static _Atomic int log_level_now = LOG_INFO;
static void (*log_tap)(struct slice line);
static pthread_mutex_t rate_lock =
	PTHREAD_MUTEX_INITIALIZER; /* guards rates; never held across a write */
static struct rate rates[LOG_RATE_SLOTS];

void log_init(const char *program, enum log_level level)
{
	(void)snprintf(log_program, sizeof(log_program), "%s", program);
	log_set_level(level);
	if (log_journal_fd < 0 && journal_is_stderr())
		log_journal_fd = journal_open();
}

int log_level_parse(struct slice s, enum log_level *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(level_names); i++) {
		if (slice_eq(s, slice_str(level_names[i]))) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

void log_set_tap(void (*tap)(struct slice line))
{
	log_tap = tap;
}

/* FNV-1a over both names. */
static uint64_t event_id(const char *area, const char *event)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *area; area++)
		h = (h ^ (unsigned char)*area) * 0x100000001b3u;
	h = (h ^ '/') * 0x100000001b3u;
	for (; *event; event++)
		h = (h ^ (unsigned char)*event) * 0x100000001b3u;
	return h;
}

/* May this line go out? Then *ret_repeated is the number of lines kept back before it. */
static bool rate_admit(const char *area, const char *event, unsigned *ret_repeated)
{
	uint64_t id = event_id(area, event);
	struct rate *r = &rates[id % LOG_RATE_SLOTS];
	usec now = clock_mono_us();
	bool admit = true;

	*ret_repeated = 0;
	(void)pthread_mutex_lock(&rate_lock);
	if (r->id != id) {
		*r = (struct rate){ .id = id, .since_us = now };
	} else if (now - r->since_us >= USEC_PER_S || now < r->since_us) {
		*ret_repeated = r->suppressed;
		*r = (struct rate){ .id = id, .since_us = now };
	}
	if (r->lines < LOG_RATE_PER_S) {
		r->lines++;
	} else {
		r->suppressed++;
		admit = false;
	}
	(void)pthread_mutex_unlock(&rate_lock);
	return admit;
}

static void write_line(const char *p, size_t n)
{
	ssize_t r;

	/* A log that can't be written has nowhere to complain; the rest of a short write is
	 * dropped. */
	do
		r = write(STDERR_FILENO, p, n);
	while (r < 0 && errno == EINTR);
}

struct line {
	char text[LOG_LINE_BYTES];
	size_t n, from; /* bytes; where "key=value ..." begins, n: nothing */
};

static void line_make(struct line *l, enum log_level level, const char *area, const char *event,
	unsigned repeated, const char *fmt, va_list ap) PRINTF_LIKE(6, 0);

static void line_make(struct line *l, enum log_level level, const char *area, const char *event,
	unsigned repeated, const char *fmt, va_list ap)
{
	char ts[32];
	int r;

	clock_format_utc(clock_wall_us(), true, ts);
	r = snprintf(l->text, sizeof(l->text), "ts=%s prog=%s level=%s area=%s event=%s", ts,
		log_program, level_names[level], area, event);
	l->n = r < 0 ? 0 : MIN((size_t)r, sizeof(l->text) - 1);
	l->from = l->n;
	if (repeated) {
		r = snprintf(l->text + l->n, sizeof(l->text) - l->n, " repeated=%u", repeated);
		l->n += r < 0 ? 0 : MIN((size_t)r, sizeof(l->text) - l->n - 1);
	}
	if (!fmt || !*fmt || l->n >= sizeof(l->text) - 1)
		return;
	l->text[l->n++] = ' ';
	l->text[l->n] = '\0';
	r = vsnprintf(l->text + l->n, sizeof(l->text) - l->n, fmt, ap);
	l->n += r < 0 ? 0 : MIN((size_t)r, sizeof(l->text) - l->n - 1);
	/* Whatever a caller printed: one event stays one line. */
	for (size_t i = l->from; i < l->n; i++) {
		if ((unsigned char)l->text[i] < 0x20 || l->text[i] == 0x7f)
			l->text[i] = ' ';
	}
}

static void line_put(struct line *l, enum log_level level, const char *area, const char *event)
{
	const struct journal_entry e = { .program = log_program,
		.priority = priorities[level],
		.area = area,
		.event = event,
		.fields = slice_of(l->text + l->from, l->n - l->from) };

	if (log_journal_fd >= 0 && journal_send(log_journal_fd, &e))
		return;
	l->text[l->n] = '\n';
	write_line(l->text, l->n + 1);
}

void log_event(enum log_level level, const char *area, const char *event, const char *fmt, ...)
{
	bool written = level <= log_get_level(), tapped = log_tap && level <= LOG_INFO;
	struct line l;
	unsigned repeated;
	va_list ap;

	if ((!written && !tapped) || !rate_admit(area, event, &repeated))
		return;
	va_start(ap, fmt);
	line_make(&l, level, area, event, repeated, fmt, ap);
	va_end(ap);
	if (tapped)
		log_tap(slice_of(l.text, l.n));
	if (written)
		line_put(&l, level, area, event);
}

void log_event_each(const char *area, const char *event, const char *fmt, ...)
{
	struct line l;
	va_list ap;

	va_start(ap, fmt);
	line_make(&l, LOG_INFO, area, event, 0, fmt, ap);
	va_end(ap);
	line_put(&l, LOG_INFO, area, event);
}

static bool quote_needed(struct slice s)
{
	if (s.n == 0)
		return true;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c == 0x7f)
			return true;
	}
	return false;
}

/* Writes c as it stands in quotes; returns the number of bytes (at most 4). */
static size_t quote_byte(unsigned char c, char out[static 4])
{
	static const char hex[] = "0123456789abcdef";

	out[0] = '\\';
	switch (c) {
	case '"':
	case '\\': out[1] = (char)c; return 2;
	case '\n': out[1] = 'n'; return 2;
	case '\r': out[1] = 'r'; return 2;
	case '\t': out[1] = 't'; return 2;
	default: break;
	}
	if (c >= 0x20 && c != 0x7f) {
		out[0] = (char)c;
		return 1;
	}
	out[1] = 'x';
	out[2] = hex[c >> 4];
	out[3] = hex[c & 15];
	return 4;
}

const char *log_quote(struct slice s)
{
	static _Thread_local char buffers[LOG_QUOTE_BUFFERS][LOG_QUOTE_BYTES];
	static _Thread_local unsigned turn;
	static const char cut[] = "...\"";
	char *out = buffers[turn++ % LOG_QUOTE_BUFFERS];
	size_t n = 0;

	if (s.n < LOG_QUOTE_BYTES && !quote_needed(s)) {
		memcpy(out, s.p, s.n);
		out[s.n] = '\0';
		return out;
	}
	out[n++] = '"';
	for (size_t i = 0; i < s.n; i++) {
		if (n + 4 + sizeof(cut) > LOG_QUOTE_BYTES) {
			memcpy(out + n, cut, sizeof(cut));
			return out;
		}
		n += quote_byte((unsigned char)s.p[i], out + n);
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}
