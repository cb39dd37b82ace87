/* Words and flags -> a row of the table, or a sentence that helps. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "cli.h"

#define MAX_WORDS 12

/* Splits at blanks; "…" is one word. */
static int parse(
	const char *line, char *memory, size_t cap, struct invocation *inv, struct errbuf *e)
{
	char *argv[MAX_WORDS + 1] = { (char *)"aigwctl" };
	int argc = 1;
	char *p = memory;

	(void)snprintf(memory, cap, "%s", line);
	while (p && *p && argc < MAX_WORDS) {
		char end = *p == '"' ? '"' : ' ';

		p += end == '"';
		argv[argc++] = p;
		p = strchr(p, end);
		if (p)
			*p++ = 0;
		if (p && end == '"' && *p == ' ')
			p++;
	}
	memset(e, 0, sizeof(*e));
	return command_parse(argc, argv, inv, e);
}

static void test_words(void **state)
{
	static const struct {
		const char *line;
		int (*run)(struct cli *c);
		unsigned n_args;
	} cases[] = {
		{ "status", cmd_status, 0 },
		{ "key create ci --project search", cmd_key_create, 1 },
		{ "--project search key create ci", cmd_key_create, 1 }, /* flags stand anywhere */
		{ "keys list", cmd_key_list, 0 },                        /* plural nouns */
		{ "agents show web-01", cmd_agent_show, 1 },
		{ "providers secrets set openai --secret-file=f", cmd_provider_secret_set, 1 },
		{ "usage show --by project,model -ojson", cmd_usage_show, 0 },
		{ "key show -- -odd", cmd_key_show, 1 }, /* behind -- nothing is a flag */
		{ "help key create", cmd_help, 2 },
		{ "help", cmd_help, 0 },
	};
	char memory[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct invocation inv;
		struct errbuf e;

		if (parse(cases[i].line, memory, sizeof(memory), &inv, &e) != 0)
			fail_msg("%s: %s", cases[i].line, e.text);
		assert_ptr_equal(inv.command->run, cases[i].run);
		assert_int_equal(inv.n_args, cases[i].n_args);
	}
}

static void test_flag_forms(void **state)
{
	static const char *const lines[] = {
		"status --output json",
		"status --output=json",
		"status -o json",
		"status -ojson",
		"status -o=json",
		"-qo json status",
	};
	char memory[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct invocation inv;
		struct errbuf e;

		assert_int_equal(parse(lines[i], memory, sizeof(memory), &inv, &e), 0);
		assert_string_equal(inv.value[FLAG_output], "json");
		assert_int_equal(inv.value[FLAG_quiet] != NULL, i == 5);
	}
}

static void test_files_repeat(void **state)
{
	struct invocation inv;
	struct errbuf e;
	char memory[256];

	(void)state;
	assert_int_equal(parse("apply -f a.yaml --file b.yaml -fc.yaml -y", memory, sizeof(memory),
				 &inv, &e),
		0);
	assert_int_equal(inv.n_files, 3);
	assert_string_equal(inv.files[0], "a.yaml");
	assert_string_equal(inv.files[1], "b.yaml");
	assert_string_equal(inv.files[2], "c.yaml");
}

/* Everything that is refused says why, what was meant, or that it is still to come. */
static void test_refused(void **state)
{
	static const struct {
		const char *line;
		const char *says;
	} cases[] = {
		{ "", "a command is needed" },
		{ "statsu", "did you mean `status`?" },
		{ "kye list", "did you mean `key`?" },
		{ "key lsit", "did you mean `key list`?" },
		{ "provider secret sett x", "did you mean `provider secret set`?" },
		{ "key", "`key` needs a verb: create, list, show, revoke" },
		{ "keys", "needs a verb" },
		{ "frobnicate", "unknown command `frobnicate`" },
		{ "doctor", "`doctor` is not supported yet" },
		{ "compare 3", "`compare` is not supported yet" },
		{ "key rotate key_1", "`key rotate` is not supported yet" },
		{ "projects usage", "`project usage` is not supported yet" },
		{ "provider secret rotate x", "`provider secret rotate` is not supported yet" },
		{ "usage export", "`usage export` is not supported yet" },
		{ "agent revoke x", "`agent revoke` is not supported yet" },
		{ "status --ouptut json", "did you mean --output?" },
		{ "status --debug", "--debug is not supported yet" },
		{ "apply -w", "`apply` has no flag --watch" },
		{ "-c prod status", "-c is not supported yet" },
		{ "status --sort=name", "`status` has no flag --sort" },
		{ "key create ci --budget 5/day", "--budget is not supported yet" },
		{ "apply --confirm-within 5m", "--confirm-within is not supported yet" },
		{ "status --zzzzzzzzz", "unknown flag --zzzzzzzzz" },
		{ "status -z", "unknown flag -z" },
		{ "status --output", "--output needs a value" },
		{ "status -o", "-o needs a value" },
		{ "status --quiet=1", "--quiet takes no value" },
		{ "status extra", "takes nothing like `extra`" },
		{ "key show", "`key show` needs more: aigwctl key show ID" },
		{ "key show a b", "takes nothing like `b`" },
		{ "status --limit 3", "`status` has no flag --limit" },
		{ "key list -n", "`key list` has no flag --dry-run" },
		{ "usage show -y", "`usage show` has no flag --yes" },
		{ "validate --timeout 1s", "`validate` has no flag --timeout" },
		{ "apply --wait --no-wait", "exclude each other" },
		{ "status -o json -o yaml", "--output is given twice" },
	};
	char memory[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct invocation inv;
		struct errbuf e;

		if (parse(cases[i].line, memory, sizeof(memory), &inv, &e) != -EINVAL)
			fail_msg("%s: taken", cases[i].line);
		if (!strstr(e.text, cases[i].says))
			fail_msg("%s: says \"%s\", not \"%s\"", cases[i].line, e.text,
				cases[i].says);
	}
}

/* Help is given whatever else is missing. */
static void test_help_needs_nothing(void **state)
{
	static const char *const lines[] = { "key show -h", "-h", "key -h",
		"key create --help --limit 3", "-V" };
	char memory[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct invocation inv;
		struct errbuf e;

		assert_int_equal(parse(lines[i], memory, sizeof(memory), &inv, &e), 0);
	}
}

static void test_too_much(void **state)
{
	struct invocation inv;
	struct errbuf e;
	char memory[256];
	char *argv[2 + 2 * (COMMAND_MAX_FILES + 1)] = { (char *)"aigwctl", (char *)"apply" };

	(void)state;
	assert_int_equal(parse("help a b c d e f g h", memory, sizeof(memory), &inv, &e), -EINVAL);
	for (int i = 0; i <= COMMAND_MAX_FILES; i++) {
		argv[2 + 2 * i] = (char *)"-f";
		argv[3 + 2 * i] = (char *)"x";
	}
	assert_int_equal(command_parse(2 + 2 * COMMAND_MAX_FILES, argv, &inv, &e), 0);
	assert_int_equal(command_parse(2 + 2 * (COMMAND_MAX_FILES + 1), argv, &inv, &e), -EINVAL);
}

static char *help_of(const char *const *words, unsigned n)
{
	static char text[16384];
	FILE *f = fmemopen(text, sizeof(text), "w");

	assert_non_null(f);
	memset(text, 0, sizeof(text));
	assert_int_equal(help_print(f, words, n), 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

/* Of every row: examples come first, then usage, then exactly the flags that act. */
static void test_help_of_rows(void **state)
{
	(void)state;
	for (unsigned i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];
		const char *text = help_of(cmd->words, command_words(cmd));
		const char *examples = strstr(text, "Examples:"), *usage = strstr(text, "Usage:"),
			   *flags = strstr(text, "Flags:");

		assert_true(examples && usage && flags && examples < usage && usage < flags);
		assert_non_null(cmd->examples[0]);
		for (int f = 0; f < FLAG_COUNT; f++) {
			char name[64];
			bool there;

			(void)snprintf(name, sizeof(name), " --%s ", command_flags[f].name);
			there = strstr(flags, name) != NULL;
			if (there != !!(cmd->flags & UINT64_C(1) << f))
				fail_msg("%s %s: help and flags differ about%s", cmd->words[0],
					cmd->words[1] ? cmd->words[1] : "", name);
		}
	}
}

/* The examples of the help are command lines that parse. */
static void test_examples(void **state)
{
	char memory[256];

	(void)state;
	for (unsigned i = 0; i < command_count; i++)
		for (unsigned k = 0;
			k < ARRAY_LEN(command_table[i].examples) && command_table[i].examples[k];
			k++) {
			const char *line = strstr(command_table[i].examples[k], "aigwctl ");
			char words[256];
			struct invocation inv;
			struct errbuf e;

			assert_non_null(line);
			(void)snprintf(words, sizeof(words), "%s", line + 8);
			words[strcspn(words, ")")] = 0; /* the shell's own sign */
			if (parse(words, memory, sizeof(memory), &inv, &e) != 0)
				fail_msg("%s: %s", words, e.text);
			assert_ptr_equal(inv.command, &command_table[i]);
		}
}

static void test_help_overview(void **state)
{
	const char *text = help_of(NULL, 0);
	const char *noun[] = { "keys" };

	(void)state;
	for (unsigned i = 0; i < command_count; i++)
		assert_non_null(strstr(text, command_table[i].summary));
	text = help_of(noun, 1);
	assert_non_null(strstr(text, "key revoke"));
	assert_null(strstr(text, "agent list"));
	assert_int_equal(help_print(stderr, (const char *[]){ "nonsense" }, 1), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_flag_forms),
		cmocka_unit_test(test_files_repeat),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_help_needs_nothing),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_help_of_rows),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_help_overview),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
