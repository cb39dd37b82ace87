/* One event, one line, one write; levels, quoting, and the limit on repetition. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/clock.h>
#include <aigw/log.h>
#include <fcntl.h>
#include <unistd.h>

static int ends[2]; /* packets: each read gives exactly what one write(2) wrote */
static int saved_stderr;
static char got[8192];

static int take_stderr(void **state)
{
	(void)state;
	if (pipe2(ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC) < 0)
		return -1;
	saved_stderr = dup(STDERR_FILENO);
	clock_fake_set(1000 * USEC_PER_S, 1795397211 * USEC_PER_S + 42);
	log_init("aigw-test", LOG_INFO);
	return 0;
}

static int give_stderr(void **state)
{
	(void)state;
	clock_fake_off();
	(void)close(saved_stderr);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return 0;
}

/* Between these two, stderr is the pipe; an assertion between them would be mute. */
static void begin(void)
{
	(void)dup2(ends[1], STDERR_FILENO);
}

static void end(void)
{
	(void)dup2(saved_stderr, STDERR_FILENO);
}

/* The next line that was written, without its LF; NULL: none. */
static const char *next_line(void)
{
	ssize_t n = read(ends[0], got, sizeof(got) - 1);

	if (n < 0)
		return NULL;
	got[n] = '\0';
	assert_true(n > 0 && got[n - 1] == '\n');
	got[n - 1] = '\0';
	assert_null(strchr(got, '\n'));
	return got;
}

static void test_line(void **state)
{
	(void)state;
	begin();
	log_event(LOG_INFO, "uplink", "uplink.connected", "peer=%s n=%d", "a", 3);
	log_event(LOG_ERROR, "uplink", "uplink.lost", "%s", "");
	end();
	assert_string_equal(next_line(),
		"ts=2026-11-23T01:26:51.000042Z prog=aigw-test level=info area=uplink "
		"event=uplink.connected peer=a n=3");
	assert_string_equal(next_line(),
		"ts=2026-11-23T01:26:51.000042Z prog=aigw-test level=error area=uplink "
		"event=uplink.lost ");
	assert_null(next_line());
}

static void test_levels(void **state)
{
	enum log_level level;

	(void)state;
	begin();
	log_event(LOG_DEBUG, "a", "a.hidden", "x=1");
	log_set_level(LOG_DEBUG);
	log_event(LOG_DEBUG, "a", "a.shown", "x=1");
	log_set_level(LOG_WARNING);
	log_event(LOG_INFO, "a", "a.hidden", "x=1");
	log_set_level(LOG_INFO);
	end();
	assert_non_null(strstr(next_line(), "level=debug area=a event=a.shown x=1"));
	assert_null(next_line());
	assert_int_equal(log_level_parse(SLICE("warning"), &level), 0);
	assert_int_equal(level, LOG_WARNING);
	assert_int_equal(log_level_parse(SLICE("debug"), &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse(SLICE("Debug"), &level), -EINVAL);
	assert_int_equal(log_level_parse(SLICE(""), &level), -EINVAL);
	assert_int_equal(log_get_level(), LOG_INFO);
}

static void test_one_line_whatever_comes(void **state)
{
	static char longest[10000];
	const char *line;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	begin();
	log_event(LOG_INFO, "a", "a.evil", "v=%s", "1\nts=0 level=error\r\033[2J\177");
	log_event(LOG_INFO, "a", "a.long", "v=%s", longest);
	end();
	line = next_line();
	assert_non_null(strstr(line, "v=1 ts=0 level=error  [2J "));
	assert_int_equal(strlen(next_line()), 4095);
	assert_null(next_line());
}

static void test_repetition(void **state)
{
	unsigned lines = 0;

	(void)state;
	begin();
	for (unsigned i = 0; i < 25; i++)
		log_event(LOG_INFO, "flood", "flood.x", "i=%u", i);
	log_event(LOG_INFO, "flood", "flood.other", "i=%u", 0u);
	end();
	for (; lines < 10; lines++)
		assert_non_null(strstr(next_line(), "event=flood.x i="));
	assert_non_null(strstr(next_line(), "event=flood.other i=0"));
	assert_null(next_line());

	clock_fake_advance(USEC_PER_S - 1);
	begin();
	log_event(LOG_INFO, "flood", "flood.x", "i=%u", 25u);
	end();
	assert_null(next_line());

	clock_fake_advance(1);
	begin();
	log_event(LOG_INFO, "flood", "flood.x", "i=%u", 26u);
	log_event(LOG_INFO, "flood", "flood.x", "i=%u", 27u);
	end();
	assert_non_null(strstr(next_line(), "event=flood.x repeated=16 i=26"));
	assert_non_null(strstr(next_line(), "event=flood.x i=27"));
	assert_null(next_line());
}

static void test_quote(void **state)
{
	static const struct {
		struct slice value;
		const char *text;
	} cases[] = {
		{ { "plain", 5 }, "plain" },
		{ { "a-b/c:d.e,f", 11 }, "a-b/c:d.e,f" },
		{ { "\303\244", 2 }, "\303\244" },
		{ { "", 0 }, "\"\"" },
		{ { NULL, 0 }, "\"\"" },
		{ { "a b", 3 }, "\"a b\"" },
		{ { "a=b", 3 }, "\"a=b\"" },
		{ { "a\"b", 3 }, "\"a\\\"b\"" },
		{ { "a\\b", 3 }, "\"a\\\\b\"" },
		{ { "a\nb\r\t", 5 }, "\"a\\nb\\r\\t\"" },
		{ { "\0\033\177", 3 }, "\"\\x00\\x1b\\x7f\"" },
	};
	static char longest[1000];
	const char *first, *text;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(log_quote(cases[i].value), cases[i].text);
	/* Eight at a time. */
	first = log_quote(SLICE("first"));
	for (unsigned i = 0; i < 7; i++)
		assert_ptr_not_equal(log_quote(SLICE("x")), first);
	assert_string_equal(first, "first");
	/* Cut, but still one quoted value. */
	memset(longest, '\001', sizeof(longest));
	for (size_t n = 100; n < 600; n++) {
		text = log_quote(slice_of(longest, n));
		assert_true(strlen(text) < 512);
		assert_int_equal(text[strlen(text) - 1], '"');
	}
	assert_non_null(strstr(text, "...\""));
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(strlen(log_quote(slice_of(longest, 511))), 511);
	assert_non_null(strstr(log_quote(slice_of(longest, 512)), "...\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_one_line_whatever_comes),
		cmocka_unit_test(test_repetition),
		cmocka_unit_test(test_quote),
	};

	return cmocka_run_group_tests(tests, take_stderr, give_stderr);
}
