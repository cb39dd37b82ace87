#include "cli.h"
#include "filter.h"
#include "interrupt.h"

#include <aigw/clock.h>
#include <aigw/secret.h>
#include <aigw/text.h>
#include <stdarg.h>
#include <termios.h>
#include <unistd.h>

/* --- settings ---------------------------------------------------------------------- */

static const char *const output_names[] = { "table", "wide", "json", "jsonl", "yaml", "csv",
	"name" };

static int near_error(
	struct errbuf *e, const char *what, const char *word, const char *const *names, size_t n)
{
	struct slice v[16], near;
	struct buf list;

	ASSERT(n <= ARRAY_LEN(v));
	buf_init(&list, 512);
	for (size_t i = 0; i < n; i++) {
		v[i] = slice_str(names[i]);
		(void)buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
	}
	near = text_near(slice_str(word), v, n);
	if (near.n)
		(void)err_set(e, -EINVAL, "%s %.60s: did you mean " SLICE_FMT "? (%s)", what, word,
			SLICE_ARG(near), buf_cstr(&list));
	else
		(void)err_set(
			e, -EINVAL, "%s %.60s: must be one of %s", what, word, buf_cstr(&list));
	buf_fini(&list);
	return -EINVAL;
}

static int set_output(struct cli *c, struct errbuf *e)
{
	const char *given = cli_flag(c, FLAG_output);
	const char *word = given ? given : getenv("AIGW_OUTPUT");
	bool rows = c->inv.command && c->inv.command->flags & FLAG_BIT(columns);

	c->output = OUTPUT_TABLE;
	if (!word || !*word || !c->inv.command || !(c->inv.command->flags & FLAG_BIT(output)))
		return 0;
	for (unsigned i = 0; i < ARRAY_LEN(output_names); i++) {
		if (strcmp(word, output_names[i]) != 0)
			continue;
		c->output = (enum output)i;
		if (rows || (c->output != OUTPUT_WIDE && c->output != OUTPUT_CSV &&
				    c->output != OUTPUT_NAME))
			return 0;
		c->output = OUTPUT_TABLE;
		if (!given) /* the environment says what is preferred, not what must be */
			return 0;
		return err_set(e, -EINVAL,
			"`aigwctl %s%s%s` prints table, json, jsonl or yaml, not %s",
			c->inv.command->words[0], c->inv.command->words[1] ? " " : "",
			c->inv.command->words[1] ? c->inv.command->words[1] : "", word);
	}
	return near_error(
		e, given ? "--output" : "AIGW_OUTPUT", word, output_names, ARRAY_LEN(output_names));
}

bool cli_draws_on(FILE *f)
{
	const char *term = getenv("TERM");

	return term && strcmp(term, "dumb") != 0 && isatty(fileno(f));
}

static bool color_by_itself(FILE *f)
{
	const char *no = getenv("NO_COLOR");

	return !(no && *no) && cli_draws_on(f);
}

static int set_color(struct cli *c, struct errbuf *e)
{
	static const char *const names[] = { "auto", "always", "never" };
	const char *word = cli_flag(c, FLAG_color);

	if (!word || strcmp(word, "auto") == 0) {
		c->color = color_by_itself(c->out);
		c->color_err = color_by_itself(c->err);
		return 0;
	}
	c->color = c->color_err = strcmp(word, "always") == 0;
	if (c->color || strcmp(word, "never") == 0)
		return 0;
	return near_error(e, "--color", word, names, ARRAY_LEN(names));
}

static int set_ctl(struct cli *c, struct errbuf *e)
{
	const char *word = cli_flag(c, FLAG_ctl);
	const char *from = "--ctl";

	if (!word) {
		word = getenv("AIGW_CTL");
		from = "AIGW_CTL";
	}
	if (!word || !*word)
		word = CTL_DEFAULT;
	if (strncmp(word, "unix:", 5) == 0 && word[5]) {
		c->ctl = word + 5;
		return 0;
	}
	if (strncmp(word, "tls:", 4) == 0)
		return err_set(e, -EINVAL, "%s %.200s: tls is not supported yet; unix:PATH is",
			from, word);
	return err_set(
		e, -EINVAL, "%s %.200s: must be unix:PATH, like %s", from, word, CTL_DEFAULT);
}

/* A path, with or without unix: before it. */
static int set_agent(struct cli *c, struct errbuf *e)
{
	const char *word = cli_flag(c, FLAG_agent);

	if (!word)
		word = getenv("AIGW_AGENT");
	if (!word || !*word)
		word = AGENT_DEFAULT;
	c->agent = strncmp(word, "unix:", 5) == 0 ? word + 5 : word;
	if (*c->agent)
		return 0;
	return err_set(e, -EINVAL, "--agent %.200s: must be the path of a socket, like %s", word,
		AGENT_DEFAULT);
}

int cli_settings(struct cli *c, struct errbuf *e)
{
	const char *timeout = cli_flag(c, FLAG_timeout), *limit = cli_flag(c, FLAG_limit);
	int rc;

	c->quiet = cli_flag(c, FLAG_quiet);
	c->verbose = cli_flag(c, FLAG_verbose);
	c->timeout_us = 10 * USEC_PER_S;
	c->limit = UINT64_MAX;
	rc = set_color(c, e);
	if (!rc)
		rc = set_output(c, e);
	if (!rc)
		rc = set_ctl(c, e);
	if (!rc)
		rc = set_agent(c, e);
	if (rc)
		return rc;
	if (c->quiet && c->verbose)
		return err_set(e, -EINVAL, "--quiet and --verbose exclude each other");
	if (cli_flag(c, FLAG_no_header) && c->output != OUTPUT_TABLE && c->output != OUTPUT_WIDE &&
		c->output != OUTPUT_CSV)
		return err_set(e, -EINVAL, "--no-header: only table, wide and csv have a header");
	if (cli_flag(c, FLAG_columns) && c->output == OUTPUT_NAME)
		return err_set(e, -EINVAL, "--columns: -o name prints names only");
	if (timeout && (text_parse_duration(slice_str(timeout), &c->timeout_us) < 0 ||
			       c->timeout_us < USEC_PER_MS || c->timeout_us > 300 * USEC_PER_S))
		return err_set(e, -EINVAL,
			"--timeout %.60s: must be a time from 1ms to 5m with its unit, like 30s",
			timeout);
	for (unsigned i = 0; i < c->inv.n_filters; i++) {
		struct filter f;

		rc = filter_parse(c->inv.filters[i], &f, e);
		if (rc)
			return rc;
	}
	if (limit && (text_parse_u64(slice_str(limit), &c->limit) < 0 || c->limit == 0))
		return err_set(e, -EINVAL, "--limit %.60s: must be a number from 1", limit);
	return 0;
}

/* --- talk -------------------------------------------------------------------------- */

void cli_put_text(FILE *out, struct slice text)
{
	while (text.n) {
		size_t n = text_utf8_len(text);
		unsigned char b = (unsigned char)text.p[0];
		bool c1 = n == 2 && b == 0xc2 && (unsigned char)text.p[1] < 0xa0;

		if (n == 0 || c1 || (b < 0x20 && b != '\n' && b != '\t') || b == 0x7f) {
			n = n ? n : 1;
			for (size_t i = 0; i < n; i++)
				(void)fprintf(out, "\\x%02x", (unsigned char)text.p[i]);
		} else {
			(void)fwrite(text.p, 1, n, out);
		}
		text = slice_skip(text, n);
	}
}

PRINTF_LIKE(3, 0)
static void talk(const struct cli *c, const char *before, const char *fmt, va_list ap)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	if (buf_vprintf(&b, fmt, ap) == 0) {
		(void)fputs(before, c->err);
		cli_put_text(c->err, buf_view(&b));
		(void)fputc('\n', c->err);
	}
	buf_fini(&b);
}

int cli_fail(const struct cli *c, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	talk(c, c->color_err ? "aigwctl: \033[31merror:\033[0m " : "aigwctl: error: ", fmt, ap);
	va_end(ap);
	return code;
}

void cli_note(const struct cli *c, const char *fmt, ...)
{
	va_list ap;

	if (c->quiet)
		return;
	va_start(ap, fmt);
	talk(c, "", fmt, ap);
	va_end(ap);
}

void cli_verbose(const struct cli *c, const char *fmt, ...)
{
	va_list ap;

	if (!c->verbose)
		return;
	va_start(ap, fmt);
	talk(c, "- ", fmt, ap);
	va_end(ap);
}

/* --- questions --------------------------------------------------------------------- */

/* One line of the terminal on stdin, without its end. Ctrl-C ends the wait: it is held from before
 * the question is seen. */
static int read_line(const struct interrupt *i, char *out, size_t cap, size_t *ret_n)
{
	int rc = interrupt_wait(i, STDIN_FILENO, POLLIN, INT64_MAX);
	ssize_t n;

	if (rc)
		return rc;
	n = read(STDIN_FILENO, out, cap);
	if (n < 0)
		return -errno;
	while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == '\r'))
		n--;
	*ret_n = (size_t)n;
	return 0;
}

int cli_ask(const struct cli *c, const char *question)
{
	struct interrupt held;
	char line[16];
	size_t n = 0;
	int rc = interrupt_hold(&held, false);

	if (rc)
		return rc;
	(void)fprintf(c->err, "%s [y/N] ", question);
	(void)fflush(c->err);
	rc = read_line(&held, line, sizeof(line), &n);
	interrupt_release(&held);
	if (rc) {
		(void)fputc('\n', c->err);
		return rc;
	}
	return (n == 1 && (line[0] == 'y' || line[0] == 'Y')) ||
	       (n == 3 && strncasecmp(line, "yes", 3) == 0);
}

static int secret_from_terminal(const struct cli *c, const char *what, struct secret *ret)
{
	struct interrupt held;
	struct termios old, quiet;
	char line[4096];
	size_t n = 0;
	int rc;

	if (tcgetattr(STDIN_FILENO, &old) < 0)
		return cli_fail(c, EXIT_FAILED, "can't switch off the terminal's echo: %s",
			strerror(errno));
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	/* Held first: nobody's terminal stays without its echo. */
	rc = interrupt_hold(&held, false);
	if (rc)
		return cli_fail(c, EXIT_FAILED, "can't hold signals: %s", strerror(-rc));
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) < 0) {
		int err = errno;

		interrupt_release(&held);
		return cli_fail(
			c, EXIT_FAILED, "can't switch off the terminal's echo: %s", strerror(err));
	}
	/* Asked only now: the flush above throws away what was typed before. */
	(void)fprintf(c->err, "%s (not shown), then Enter: ", what);
	(void)fflush(c->err);
	rc = read_line(&held, line, sizeof(line), &n);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
	interrupt_release(&held);
	(void)fputc('\n', c->err);
	if (rc == -EINTR)
		return EXIT_INTERRUPTED;
	if (rc || n == 0)
		return cli_fail(c, EXIT_USAGE, "no secret was typed");
	rc = secret_set(ret, slice_of(line, n));
	secret_wipe(line, sizeof(line));
	return rc ? cli_fail(c, EXIT_FAILED, "out of memory") : 0;
}

int cli_read_secret(const struct cli *c, const char *path, const char *what, struct secret *ret)
{
	struct errbuf e;

	if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO))
		return secret_from_terminal(c, what, ret);
	if (secret_read_file(ret, path, &e) < 0)
		return cli_fail(c, EXIT_USAGE, "--secret-file: %s", e.text);
	return 0;
}
