/* The journal's native protocol: which fields an event has. That journald takes them is tried in a
 * booted system (tests/boot). */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "log_journal.h"

#include <aigw/log.h>
#include <sys/socket.h>
#include <unistd.h>

static char text[8192];

static const char *compose(const char *event, const char *fields)
{
	const struct journal_entry e = { "aigw-test", 4, "area", event, slice_str(fields) };
	struct buf b = buf_over(text, sizeof(text));

	journal_compose(&e, &b);
	assert_int_equal(b.err, 0);
	return buf_cstr(&b);
}

static void fields_of_an_event(void **state)
{
	(void)state;
	assert_string_equal(compose("no.such_event", " request_id=req_1 n=3"),
		"MESSAGE=no.such_event request_id=req_1 n=3\n"
		"PRIORITY=4\n"
		"SYSLOG_IDENTIFIER=aigw-test\n"
		"AIGW_EVENT=no.such_event\n"
		"AIGW_AREA=area\n"
		"AIGW_REQUEST_ID=req_1\n"
		"AIGW_N=3\n");
	assert_non_null(strstr(compose("agent.ready", ""), "\nMESSAGE_ID="));
	assert_null(strstr(compose("agent.read", ""), "\nMESSAGE_ID="));
}

static void quotes_are_undone_and_lines_stay_lines(void **state)
{
	char line[512];

	(void)state;
	(void)snprintf(line, sizeof(line), " why=%s next=%s", log_quote(SLICE("say \"a\\b\" =x")),
		log_quote(SLICE("two\nlines")));
	(void)compose("a.b", line);
	assert_non_null(strstr(text, "\nAIGW_WHY=say \"a\\b\" =x\n"));
	assert_non_null(strstr(text, "\nAIGW_NEXT=two\\nlines\n"));
}

static void what_is_no_field_makes_none(void **state)
{
	static const char *const wrong[] = { " word", " =x", " Key=x", " a-b=x", " a=\"open",
		" aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=x", "  ", " \"" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const char *at = strstr(compose("a.b", wrong[i]), "AIGW_AREA=area\n");

		assert_non_null(at);
		at += strlen("AIGW_AREA=area\n");
		if (strcmp(wrong[i], " a=\"open") == 0)
			assert_string_equal(at, "AIGW_A=open\n");
		else
			assert_string_equal(at, "");
	}
}

static void it_never_waits(void **state)
{
	const struct journal_entry e = { "aigw-test", 6, "area", "agent.ready", SLICE(" a=1") };
	int pair[2], sent = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	while (sent < 100000 && journal_send(pair[0], &e))
		sent++;
	assert_in_range(sent, 1, 99999);
	assert_true(recv(pair[1], text, sizeof(text), 0) > 0);
	(void)close(pair[1]);
	assert_false(journal_send(pair[0], &e));
	(void)close(pair[0]);
}

static void stderr_is_the_journal_if_systemd_says_so(void **state)
{
	(void)state;
	(void)unsetenv("JOURNAL_STREAM");
	assert_false(journal_is_stderr());
	(void)setenv("JOURNAL_STREAM", "1:1", 1);
	assert_false(journal_is_stderr());
	(void)setenv("JOURNAL_STREAM", "nonsense", 1);
	assert_false(journal_is_stderr());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_of_an_event),
		cmocka_unit_test(quotes_are_undone_and_lines_stay_lines),
		cmocka_unit_test(what_is_no_field_makes_none),
		cmocka_unit_test(it_never_waits),
		cmocka_unit_test(stderr_is_the_journal_if_systemd_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
