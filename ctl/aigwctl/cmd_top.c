/* top: what this host's agent is busy with now, by model, project, key, provider or user. On a
 * terminal a screen that is drawn anew every 2 s until q or Ctrl-C, and that leaves the terminal as
 * it was; else a table every 2 s, or one with --once. */
#include "exchange.h"
#include "format.h"
#include "local.h"
#include "print.h"

#include <aigw/clock.h>
#include <aigw/text.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define EVERY_US   (2 * USEC_PER_S)
#define SCREEN_MAX (1u << 20)
#define ENTER_LIVE "\033[?1049h\033[?25l\033[?7l" /* other screen, no cursor, no wrapping */
#define LEAVE_LIVE "\033[?7h\033[?25h\033[?1049l"

__extension__ typedef __int128 wide_int; /* sums times 3600 s in microseconds */

/* --- rates ---------------------------------------------------------------------------- */

/* n per second with so many decimals, rounded. */
static json_t *per_second(int64_t n, int64_t span_us, unsigned decimals)
{
	wide_int scaled = (wide_int)n * USEC_PER_S;
	int64_t unit = 1, v;

	for (unsigned i = 0; i < decimals; i++)
		unit *= 10;
	v = (int64_t)((scaled * unit + span_us / 2) / span_us);
	return decimals ? json_sprintf("%" PRId64 ".%0*" PRId64, v / unit, (int)decimals, v % unit)
			: json_sprintf("%" PRId64, v);
}

/* To cents, below one unit of money to a hundredth of them. */
static json_t *per_hour(const char *cost, int64_t span_us)
{
	wide_int v;
	int64_t nano, step;

	if (!cost || text_parse_nano(slice_str(cost), false, &nano))
		return json_null();
	v = (wide_int)nano * 3600 * USEC_PER_S / span_us;
	if (v > INT64_MAX)
		v = INT64_MAX;
	nano = (int64_t)v;
	step = nano >= 1000000000 ? 10000000 : 100000;
	return json_nano(nano > INT64_MAX - step ? nano : (nano + step / 2) / step * step);
}

static void add_rates(json_t *row, int64_t span_us)
{
	int64_t calls = json_get_int(row, "calls", 0), errors = json_get_int(row, "errors", 0);
	struct buf b;

	(void)json_object_set_new(row, "calls_per_s", per_second(calls, span_us, 2));
	(void)json_object_set_new(row, "input_tokens_per_s",
		per_second(json_get_int(row, "input_tokens", 0), span_us, 0));
	(void)json_object_set_new(row, "output_tokens_per_s",
		per_second(json_get_int(row, "output_tokens", 0), span_us, 0));
	(void)json_object_set_new(
		row, "cost_per_hour", per_hour(json_get_str(row, "cost", NULL), span_us));
	buf_init(&b, 64);
	(void)format_percent(&b, errors, calls);
	(void)json_object_set_new(row, "error_share", json_slice(buf_view(&b)));
	buf_fini(&b);
}

/* --- cells ---------------------------------------------------------------------------- */

static int cell_p50(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_latency(b, json_get_int(row, "ttft_p50_us", -1));
}

static int cell_p95(struct buf *b, const json_t *row, const struct listing *l)
{
	(void)l;
	return format_latency(b, json_get_int(row, "ttft_p95_us", -1));
}

static int cell_cost(struct buf *b, const json_t *row, const struct listing *l)
{
	const char *cost = json_get_str(row, "cost_per_hour", NULL);

	return cost ? format_money(b, cost, format_money_decimals(cost), l->currency)
		    : buf_char(b, '-');
}

static const char *color_errors(const json_t *row)
{
	return json_get_int(row, "errors", 0) ? "\033[31m" : NULL;
}

static const struct column columns[] = {
	{ .title = "", .member = "" }, /* the group's */
	{ .title = "CALLS/S", .member = "calls_per_s", .right = true },
	{ .title = "NOW", .member = "in_flight", .right = true },
	{ .title = "ERR", .member = "errors", .right = true, .color = color_errors },
	{ .title = "ERR%", .member = "error_share", .right = true },
	{ .title = "IN TOK/S", .member = "input_tokens_per_s", .right = true },
	{ .title = "OUT TOK/S", .member = "output_tokens_per_s", .right = true },
	{ .title = "COST/H", .member = "cost_per_hour", .right = true, .cell = cell_cost },
	{ .title = "TTFT P50", .member = "ttft_p50_us", .right = true, .cell = cell_p50 },
	{ .title = "TTFT P95", .member = "ttft_p95_us", .right = true, .cell = cell_p95 },
	{ .title = "CALLS", .member = "calls", .right = true, .wide = true },
	{ .title = "IN TOK", .member = "input_tokens", .right = true, .wide = true },
	{ .title = "OUT TOK", .member = "output_tokens", .right = true, .wide = true },
	{ .title = "COST", .member = "cost", .right = true, .wide = true },
};

struct view {
	struct cli *c;
	char title[16]; /* "MODEL" */
	const char *by;
	char target[64];
	struct column columns[ARRAY_LEN(columns)];
};

static int view_init(struct view *v, struct cli *c)
{
	static const char *const words[] = { "model", "project", "key", "provider", "uid" };
	const char *asked = cli_flag(c, FLAG_by) ? cli_flag(c, FLAG_by) : words[0];

	v->c = c;
	v->by = NULL;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(asked, words[i]) == 0)
			v->by = words[i];
	if (!v->by)
		return cli_fail(c, EXIT_USAGE,
			"--by %.60s: write one of model, project, key, provider, uid", asked);
	for (size_t i = 0; i <= strlen(v->by); i++)
		v->title[i] = (char)(v->by[i] ? v->by[i] - ('a' - 'A') : 0);
	(void)snprintf(v->target, sizeof(v->target), "/v1/top?by=%s", v->by);
	memcpy(v->columns, columns, sizeof(columns));
	v->columns[0].title = v->title;
	v->columns[0].member = v->by;
	return EXIT_DONE;
}

/* The agent's answer, with rates; an agent that is away is EXIT_UNREACHABLE, unsaid. */
static int fetch(const struct view *v, json_t **ret)
{
	int code = local_find_if_there(v->c, v->target, ret);
	int64_t span = json_get_int(*ret, "span_us", 0);
	json_t *row;
	size_t i;

	if (code)
		return code;
	if (!json_is_array(json_object_get(*ret, "rows")) || span < 1)
		return cli_fail(v->c, EXIT_FAILED,
			"the agent at unix:%s knows no /v1/top: it is of an older version",
			v->c->agent);
	json_array_foreach(json_object_get(*ret, "rows"), i, row)
	{
		add_rates(row, span);
	}
	add_rates(json_object_get(*ret, "total"), span);
	(void)json_object_set_new(json_object_get(*ret, "total"), v->by, json_string("all"));
	return EXIT_DONE;
}

static int put_table(const struct view *v, json_t *answer)
{
	const struct listing l = { .member = "rows",
		.name = v->by,
		.columns = v->columns,
		.n_columns = ARRAY_LEN(columns),
		.total = json_object_get(answer, "total"),
		.currency = json_get_str(answer, "currency", "USD") };

	return print_listing(v->c, answer, &l);
}

/* "web-01  05:26:17 UTC  by model, the last 60 s" */
static void put_head(const struct view *v, const json_t *answer, struct buf *b)
{
	char now[40];
	int64_t ms = json_get_int(answer, "span_us", 0) / USEC_PER_MS;

	clock_format_utc(clock_wall_us(), false, now);
	(void)buf_printf(b, "%s  %.8s UTC  by %s, the last ", json_get_str(answer, "agent", "?"),
		now + 11, v->by);
	if (ms < 10000)
		(void)buf_printf(b, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
	else
		(void)buf_printf(b, "%" PRId64 " s", ms / 1000);
}

/* --- plain ---------------------------------------------------------------------------- */

static int say_away(const struct view *v)
{
	JSON_AUTO *none = NULL;

	return local_call(v->c, "GET", v->target, SLICE_EMPTY, &none);
}

static int once(const struct view *v)
{
	JSON_AUTO *answer = NULL;
	int code = fetch(v, &answer);

	if (code == EXIT_UNREACHABLE)
		code = say_away(v);
	return code ? code : put_table(v, answer);
}

static int again_and_again(const struct view *v)
{
	struct cli *c = v->c;
	struct interrupt held;
	int code = interrupt_hold(&held, false) ? EXIT_FAILED : EXIT_DONE;

	while (!code) {
		JSON_AUTO *answer = NULL;
		usec next = clock_mono_us() + EVERY_US;
		struct buf head;

		code = fetch(v, &answer);
		if (code == EXIT_UNREACHABLE)
			code = say_away(v);
		if (code)
			break;
		buf_init(&head, 4096);
		put_head(v, answer, &head);
		if (c->output <= OUTPUT_WIDE) {
			cli_put_text(c->out, buf_view(&head));
			(void)fputc('\n', c->out);
		}
		buf_fini(&head);
		code = put_table(v, answer);
		if (c->output <= OUTPUT_WIDE)
			(void)fputc('\n', c->out);
		c->inv.value[FLAG_no_header] =
			c->output == OUTPUT_CSV ? "" : c->inv.value[FLAG_no_header];
		if (fflush(c->out) != 0)
			code = EXIT_FAILED; /* print_finish() says it */
		if (!code && interrupt_wait(&held, -1, 0, next) == -EINTR)
			code = EXIT_INTERRUPTED;
	}
	interrupt_release(&held);
	return code;
}

/* --- on a terminal -------------------------------------------------------------------- */

struct live {
	const struct view *view;
	FILE *out, *err; /* the program's own */
	struct termios before;
	struct interrupt held;
	sigset_t before_resize;
	int resized; /* a signalfd of SIGWINCH */
	struct winsize size;
	char *said; /* on stderr meanwhile */
	size_t said_n;
};

static void measure(struct live *s)
{
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &s->size) < 0 || !s->size.ws_row || !s->size.ws_col)
		s->size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
}

/* The first `n` lines, each at most as wide as the terminal, and what was there is wiped. */
static void put_lines(struct live *s, struct slice text, unsigned n)
{
	while (text.n && n--) {
		const char *end = memchr(text.p, '\n', text.n);
		size_t line = end ? (size_t)(end - text.p) : text.n, at = 0;

		for (unsigned width = 0; at < line; at++) {
			width += ((unsigned char)text.p[at] & 0xc0) != 0x80;
			if (width > s->size.ws_col)
				break;
		}
		(void)fwrite(text.p, 1, at, s->out);
		(void)fputs("\033[K", s->out);
		text = slice_skip(text, line + (end != NULL));
		if (text.n && n)
			(void)fputs("\r\n", s->out);
	}
}

/* The table in memory, without colors: so it can be cut. */
static int table_text(const struct view *v, json_t *answer, char **text, size_t *n)
{
	FILE *to = open_memstream(text, n), *out = v->c->out;
	bool color = v->c->color;
	int code;

	if (!to)
		return cli_fail(v->c, EXIT_FAILED, "out of memory");
	v->c->out = to;
	v->c->color = false;
	code = put_table(v, answer);
	v->c->out = out;
	v->c->color = color;
	(void)fclose(to);
	return code;
}

static int draw(struct live *s)
{
	const struct view *v = s->view;
	JSON_AUTO *answer = NULL;
	struct buf head, shown;
	char *text = NULL;
	size_t n = 0;
	int code = fetch(v, &answer);

	if (code && code != EXIT_UNREACHABLE)
		return code;
	buf_init(&head, 4096);
	buf_init(&shown, SCREEN_MAX);
	if (code) {
		(void)buf_printf(&head, "no agent at unix:%s; it is asked again", v->c->agent);
		code = EXIT_DONE;
	} else {
		put_head(v, answer, &head);
		(void)buf_str(&head, "  (q quits)");
		code = table_text(v, answer, &text, &n);
	}
	(void)buf_printf(&shown, "aigwctl top  %s\n\n", buf_cstr(&head));
	(void)buf_append(&shown, text ? text : "", n);
	(void)fputs("\033[H", s->out);
	put_lines(s, buf_view(&shown), s->size.ws_row);
	(void)fputs("\033[J", s->out);
	free(text);
	buf_fini(&head);
	buf_fini(&shown);
	return fflush(s->out) == 0 ? code : EXIT_FAILED;
}

/* Until it is time to draw again; or the end. */
static int wait_for_key(struct live *s, usec until)
{
	for (;;) {
		struct pollfd p[] = { { .fd = s->held.fd, .events = POLLIN },
			{ .fd = s->resized, .events = POLLIN },
			{ .fd = STDIN_FILENO, .events = POLLIN } };
		usec left = until - clock_mono_us();
		struct signalfd_siginfo si;
		char key = 0;

		if (left <= 0)
			return -1;
		if (poll(p, ARRAY_LEN(p), (int)((left + 999) / 1000)) < 0 && errno != EINTR)
			return EXIT_FAILED;
		if (p[0].revents)
			return EXIT_INTERRUPTED;
		if (p[1].revents && read(s->resized, &si, sizeof(si)) > 0) {
			measure(s);
			return -1;
		}
		if (p[2].revents && read(STDIN_FILENO, &key, 1) <= 0)
			return EXIT_DONE; /* the terminal is gone */
		if (key == 'q' || key == 'Q')
			return EXIT_DONE;
	}
}

/* Keys come at once and unseen; Ctrl-Z would leave the other screen on. */
static int live_begin(struct live *s)
{
	struct termios t;
	sigset_t resize;
	struct cli *c = s->view->c;

	if (tcgetattr(STDIN_FILENO, &s->before) < 0 || interrupt_hold(&s->held, false))
		return cli_fail(c, EXIT_FAILED, "the terminal: %s", strerror(errno));
	(void)sigemptyset(&resize);
	(void)sigaddset(&resize, SIGWINCH);
	(void)sigprocmask(SIG_BLOCK, &resize, &s->before_resize);
	s->resized = signalfd(-1, &resize, SFD_CLOEXEC | SFD_NONBLOCK);
	s->out = c->out;
	s->err = c->err;
	c->err = open_memstream(&s->said, &s->said_n);
	if (!c->err)
		c->err = s->err;
	t = s->before;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	t.c_cc[VSUSP] = _POSIX_VDISABLE;
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &t);
	(void)fputs(ENTER_LIVE, s->out);
	measure(s);
	return EXIT_DONE;
}

static void live_end(struct live *s)
{
	struct cli *c = s->view->c;

	(void)fputs(LEAVE_LIVE, s->out);
	(void)fflush(s->out);
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
	if (c->err != s->err) {
		(void)fclose(c->err);
		c->err = s->err;
		(void)fwrite(s->said, 1, s->said_n, c->err);
		free(s->said);
	}
	if (s->resized >= 0)
		(void)close(s->resized);
	(void)sigprocmask(SIG_SETMASK, &s->before_resize, NULL);
	interrupt_release(&s->held);
}

static int live(const struct view *v)
{
	struct live s = { .view = v, .resized = -1 };
	bool quiet = v->c->quiet;
	int code = live_begin(&s), end = -1;

	if (code)
		return code;
	v->c->quiet = true; /* notes have no place on the screen */
	while (!code && end < 0) {
		usec next = clock_mono_us() + EVERY_US;

		code = draw(&s);
		if (!code)
			end = wait_for_key(&s, next);
	}
	v->c->quiet = quiet;
	live_end(&s);
	return code ? code : end;
}

int cmd_top(struct cli *c)
{
	bool lines = c->output != OUTPUT_JSON && c->output != OUTPUT_YAML;
	struct view v;
	int code = view_init(&v, c);

	if (code)
		return code;
	if (cli_flag(c, FLAG_once))
		return once(&v);
	if (!lines)
		return cli_fail(c, EXIT_USAGE, "-o %s prints one object: with --once",
			c->output == OUTPUT_JSON ? "json" : "yaml");
	if (c->output <= OUTPUT_WIDE && isatty(STDIN_FILENO) && cli_draws_on(c->out))
		return live(&v);
	return again_and_again(&v);
}
