/* aigwctl(1) names every command, flag, variable and exit code of the tables. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "command.h"

#include <aigw/atomic_file.h>

static struct buf page;

static int setup(void **state)
{
	struct errbuf e;

	(void)state;
	buf_init(&page, 1u << 20);
	return file_read(AIGWCTL_MAN, &page, &e);
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&page);
	return 0;
}

/* `text`, and behind it a blank or a line's end. */
static bool stands(const char *text)
{
	const char *p = buf_cstr(&page);
	size_t n = strlen(text);

	for (p = strstr(p, text); p; p = strstr(p + 1, text))
		if (strchr(" \n", p[n]))
			return true;
	return false;
}

static void test_commands(void **state)
{
	(void)state;
	for (unsigned i = 0; i < command_count; i++) {
		char text[96] = ".It Ic";

		for (unsigned k = 0; k < command_words(&command_table[i]); k++) {
			size_t n = strlen(text);

			(void)snprintf(
				text + n, sizeof(text) - n, " %s", command_table[i].words[k]);
		}
		if (!stands(text))
			fail_msg("no \"%s\"", text);
	}
}

static void test_flags(void **state)
{
	(void)state;
	for (int i = 0; i < FLAG_COUNT; i++) {
		char lone[64], pair[64];

		if (command_flags[i].letter)
			(void)snprintf(lone, sizeof(lone), ".It Fl %c , -%s",
				command_flags[i].letter, command_flags[i].name);
		else
			(void)snprintf(lone, sizeof(lone), "Fl -%s", command_flags[i].name);
		(void)snprintf(pair, sizeof(pair), ".It Fl -%s", command_flags[i].name);
		if (!stands(lone) && !stands(pair))
			fail_msg("no \"%s\"", lone);
		if (command_flags[i].env) {
			(void)snprintf(lone, sizeof(lone), ".It Ev %s", command_flags[i].env);
			assert_true(stands(lone));
		}
	}
}

static void test_exits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < command_exit_count; i++) {
		char text[160];

		(void)snprintf(text, sizeof(text), ".It %d\n%s", (int)command_exits[i].code,
			command_exits[i].doc);
		if (!stands(text))
			fail_msg("no \"%s\"", text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_exits),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
