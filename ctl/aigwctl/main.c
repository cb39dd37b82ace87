/* aigwctl: reads the command line, runs one command, says how it went. */
#include "cli.h"
#include "print.h"

#include <langinfo.h>
#include <locale.h>

static int help_asked(struct cli *c)
{
	struct errbuf e;

	if (help_print(c->out, c->inv.words, c->inv.n_words) == 0)
		return EXIT_DONE;
	(void)command_unknown(&c->inv, &e);
	return cli_fail(c, EXIT_USAGE, "%s", e.text);
}

static int run(struct cli *c, int argc, char **argv)
{
	struct errbuf e;

	if (argc < 2) {
		(void)help_print(c->err, NULL, 0);
		return EXIT_USAGE;
	}
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
	return c->inv.command->run(c);
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
