/* Help from the tables: examples first, since that is what one looks for. */
#include "cli.h"

static void print_flag(FILE *out, const struct flag *f)
{
	char left[64];

	(void)snprintf(left, sizeof(left), "%c%c%s --%s%s%s", f->letter ? '-' : ' ',
		f->letter ? f->letter : ' ', f->letter ? "," : " ", f->name, f->arg ? " " : "",
		f->arg ? f->arg : "");
	(void)fprintf(out, "  %-24s  %s%s%s%s\n", left, f->doc, f->env ? " [" : "",
		f->env ? f->env : "", f->env ? "]" : "");
}

static void print_words(FILE *out, const struct command *cmd)
{
	for (unsigned i = 0; i < command_words(cmd); i++)
		(void)fprintf(out, "%s%s", i ? " " : "", cmd->words[i]);
}

static void print_one(FILE *out, const struct command *cmd)
{
	(void)fprintf(out, "aigwctl ");
	print_words(out, cmd);
	(void)fprintf(out, ": %s\n\nExamples:\n", cmd->summary);
	for (unsigned i = 0; i < ARRAY_LEN(cmd->examples) && cmd->examples[i]; i++)
		(void)fprintf(out, "  %s\n", cmd->examples[i]);
	(void)fprintf(out, "\nUsage:\n  aigwctl ");
	print_words(out, cmd);
	(void)fprintf(out, "%s%s [FLAGS]\n", *cmd->args ? " " : "", cmd->args);
	if (*cmd->about)
		(void)fprintf(out, "\n%s\n", cmd->about);
	(void)fprintf(out, "\nFlags:\n");
	for (int i = 0; i < FLAG_COUNT; i++)
		if (cmd->flags & UINT64_C(1) << i)
			print_flag(out, &command_flags[i]);
}

static void print_row(FILE *out, const struct command *cmd)
{
	char left[80];
	int n = 0;

	for (unsigned i = 0; i < command_words(cmd); i++)
		n += snprintf(
			left + n, sizeof(left) - (size_t)n, "%s%s", i ? " " : "", cmd->words[i]);
	(void)fprintf(out, "  %-20s  %s\n", left, cmd->summary);
}

static void print_all(FILE *out)
{
	(void)fprintf(out,
		"aigwctl: the command line of the aigw AI gateway\n\n"
		"Examples:\n"
		"  aigwctl demo                                  try everything, leaves nothing "
		"behind\n"
		"  aigwctl status                                one screen\n"
		"  aigwctl apply -m \"add embed\"                  make /etc/aigw/policy.yaml the "
		"policy\n"
		"  aigwctl key create ci --project search        a key for an application\n"
		"  aigwctl usage show --by project,model         who used what, and what it "
		"cost\n\n"
		"Commands:\n");
	for (unsigned i = 0; i < command_count; i++)
		print_row(out, &command_table[i]);
	(void)fprintf(out, "\nFlags of most commands (`aigwctl COMMAND -h` lists all of one):\n");
	for (int i = 0; i < FLAG_file; i++)
		print_flag(out, &command_flags[i]);
	(void)fprintf(out, "\nExit codes:\n");
	for (unsigned i = 0; i < command_exit_count; i++)
		(void)fprintf(out, "  %3d  %s\n", (int)command_exits[i].code, command_exits[i].doc);
}

/* The longest row that the words name whole; behind it stand arguments: "key show key_1 -h". */
static const struct command *whole_row(const char *const *words, unsigned n)
{
	const struct command *best = NULL;

	for (unsigned i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];
		unsigned has = command_words(cmd);

		if (has <= n && command_matches(cmd, words, has) &&
			(!best || has > command_words(best)))
			best = cmd;
	}
	return best;
}

/* Rows that go on from the words: "explain" to "explain request". */
static unsigned print_longer(FILE *out, const char *const *words, unsigned n, const char *title)
{
	unsigned found = 0;

	for (unsigned i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];

		if (command_words(cmd) <= n || !command_matches(cmd, words, n))
			continue;
		if (!found++)
			(void)fprintf(out, "%s", title);
		print_row(out, cmd);
	}
	return found;
}

int help_print(FILE *out, const char *const *words, unsigned n)
{
	const struct command *row = whole_row(words, n);

	if (n == 0) {
		print_all(out);
		return 0;
	}
	if (row) {
		print_one(out, row);
		(void)print_longer(out, words, n, "\nBeside it:\n");
		return 0;
	}
	return print_longer(out, words, n, "Commands (`aigwctl COMMAND -h` says more):\n")
		       ? 0
		       : -ENOENT;
}

int cmd_help(struct cli *c)
{
	struct errbuf e;

	if (help_print(c->out, c->inv.args, c->inv.n_args) == 0)
		return EXIT_DONE;
	for (unsigned i = 0; i < c->inv.n_args; i++)
		c->inv.words[i] = c->inv.args[i];
	c->inv.n_words = c->inv.n_args;
	(void)command_unknown(&c->inv, &e);
	return cli_fail(c, EXIT_USAGE, "%s", e.text);
}
