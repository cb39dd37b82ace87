/* aigwctl: reads the command line, runs one command, says how it went. */
#include "cli.h"
#include "print.h"

#include <aigw/text.h>
#include <langinfo.h>
#include <locale.h>
#include <time.h>
#include <unistd.h>

static int help_asked(struct cli *c)
{
	struct errbuf e;

	if (help_print(c->out, c->inv.words, c->inv.n_words) == 0)
		return EXIT_DONE;
	(void)command_unknown(&c->inv, &e);
	return cli_fail(c, EXIT_USAGE, "%s", e.text);
}

#define WATCH_US     (2 * USEC_PER_S)
#define WATCH_MAX_US (3600 * USEC_PER_S)

/* "--watch", "--watch=5", "--watch=500ms" */
static int watch_pause(const struct cli *c, usec *ret)
{
	const char *text = cli_flag(c, FLAG_watch);
	uint64_t seconds;

	*ret = WATCH_US;
	if (!*text)
		return 0;
	if (text_parse_u64(slice_str(text), &seconds) == 0 && seconds <= 3600)
		*ret = (usec)seconds * USEC_PER_S;
	else if (text_parse_duration(slice_str(text), ret) < 0)
		*ret = 0;
	return *ret >= 100 * USEC_PER_MS && *ret <= WATCH_MAX_US ? 0 : -EINVAL;
}

/* Until it fails, the reader is gone, or Ctrl-C ends the program. A terminal is drawn anew. */
static int run_again_and_again(struct cli *c)
{
	struct timespec pause;
	usec every;
	int code;

	if (watch_pause(c, &every))
		return cli_fail(c, EXIT_USAGE, "--watch=%s: must be a time from 100ms to 1h",
			cli_flag(c, FLAG_watch));
	pause = (struct timespec){ every / USEC_PER_S, every % USEC_PER_S * 1000 };
	do {
		print_begin_round();
		if (isatty(fileno(c->out)) && c->output <= OUTPUT_WIDE)
			(void)fputs("\033[H\033[2J", c->out);
		code = c->inv.command->run(c);
		if (fflush(c->out) != 0)
			return EXIT_FAILED;
		(void)nanosleep(&pause, NULL);
	} while (code == EXIT_DONE);
	return code;
}

static int run(struct cli *c, int argc, char **argv)
{
	struct errbuf e;

	if (argc < 2) {
		(void)help_print(c->err, NULL, 0);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "__complete") == 0 && argc > 2 && strcmp(argv[2], "--") == 0)
		return cli_settings(c, &e) < 0 ? EXIT_USAGE : complete_words(c, argc - 3, argv + 3);
	if (command_parse(argc, argv, &c->inv, &e) < 0)
		return cli_fail(c, EXIT_USAGE, "%s", e.text);
	if (cli_flag(c, FLAG_version)) {
		(void)fprintf(c->out, "aigwctl %s\n", AIGW_VERSION);
		return EXIT_DONE;
	}
	if (cli_flag(c, FLAG_help))
		return help_asked(c);
	if (cli_settings(c, &e) < 0)
		return cli_fail(c, EXIT_USAGE, "%s", e.text);
	return cli_flag(c, FLAG_watch) ? run_again_and_again(c) : c->inv.command->run(c);
}

int main(int argc, char **argv)
{
	struct cli c = { .out = stdout, .err = stderr };

	/* Tables are measured in characters; names are UTF-8 whatever the locale says. Numbers stay
	 * locale-free. */
	if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		(void)setlocale(LC_CTYPE, "C.UTF-8");
	return print_finish(&c, run(&c, argc, argv));
}
