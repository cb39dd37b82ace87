/* base_url: what a provider's address may look like, and that its errors never repeat it. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/url.h>

static void assert_slice(const char *url, struct slice s, const char *expected)
{
	if (!slice_eq(s, slice_str(expected)))
		fail_msg("%s: '" SLICE_FMT "' instead of '%s'", url, SLICE_ARG(s), expected);
}

static void test_good(void **state)
{
	static const struct {
		const char *text;
		bool tls;
		const char *host;
		bool ip;
		uint16_t port;
		bool is_default;
		const char *path, *authority;
	} cases[] = {
		{ "https://api.openai.com/v1", true, "api.openai.com", false, 443, true, "/v1",
			"api.openai.com" },
		{ "https://api.openai.com", true, "api.openai.com", false, 443, true, "",
			"api.openai.com" },
		{ "https://api.openai.com/", true, "api.openai.com", false, 443, true, "",
			"api.openai.com" },
		{ "http://a/b/c//", false, "a", false, 80, true, "/b/c", "a" },
		{ "HTTPS://A.example/V1", true, "A.example", false, 443, true, "/V1", "A.example" },
		{ "http://127.0.0.1:11434/v1", false, "127.0.0.1", true, 11434, false, "/v1",
			"127.0.0.1:11434" },
		{ "http://a:80", false, "a", false, 80, true, "", "a" },
		{ "https://a:80", true, "a", false, 80, false, "", "a:80" },
		{ "https://a:0443/x", true, "a", false, 443, true, "/x", "a" },
		{ "http://[::1]:8080/v1", false, "::1", true, 8080, false, "/v1", "[::1]:8080" },
		{ "https://[2001:db8::1]", true, "2001:db8::1", true, 443, true, "",
			"[2001:db8::1]" },
		{ "http://my_service-1", false, "my_service-1", false, 80, true, "",
			"my_service-1" },
		{ "http://a/%7Ex/y:z@1", false, "a", false, 80, true, "/%7Ex/y:z@1", "a" },
		{ "http://1a.example", false, "1a.example", false, 80, true, "", "1a.example" },
		{ "http://a/...", false, "a", false, 80, true, "/...", "a" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *text = cases[i].text;
		struct errbuf e = { "" };
		struct url u;

		if (url_parse(slice_str(text), &u, &e) < 0)
			fail_msg("%s: %s", text, e.text);
		assert_int_equal(u.tls, cases[i].tls);
		assert_slice(text, u.host, cases[i].host);
		assert_int_equal(u.host_is_ip, cases[i].ip);
		assert_int_equal(u.port, cases[i].port);
		assert_int_equal(u.port_is_default, cases[i].is_default);
		assert_slice(text, u.path, cases[i].path);
		assert_slice(text, u.authority, cases[i].authority);
	}
}

static void test_bad(void **state)
{
	static const char *const cases[] = { "", "api.openai.com", "//a", "ftp://a", "httpss://a",
		"http:/a", "http:a", " http://a", "http://", "http:///v1", "http://:80",
		"http://a b", "http://a/b c", "http://a\\b", "http://a/b\\c", "http://u@a",
		"http://u:SECRET@a/v1", "http://a@b@c", "https://a/v1?SECRET", "https://a/v1#x",
		"https://a?b", "http://a:0", "http://a:65536", "http://a:", "http://a:x",
		"http://a:1:2", "http://a:+1", "http://a:000080", "http://[::1", "http://[]",
		"http://[::g]", "http://[127.0.0.1]", "http://[fe80::1%eth0]", "http://[::1]x",
		"http://::1", "http://a..b", "http://.a", "http://a.", "http://2130706433",
		"http://127.1", "http://0x7f.0.0.1", "http://a.0x1", "http://1.2.3.4.5",
		"http://256.1.1.1", "http://01.2.3.4", "http://a/%", "http://a/%4", "http://a/%zz",
		"http://a/../b", "http://a/.", "http://a/b/..", "http://a/\001",
		"http://a/\303\244", "http://\303\244", "http://a/<", "http://a\r\nHost: b" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errbuf e = { "" };
		struct url u;

		if (url_parse(slice_str(cases[i]), &u, &e) != -EINVAL)
			fail_msg("%s passes", cases[i]);
		assert_true(e.text[0] != '\0');
		assert_null(strstr(e.text, "SECRET"));
	}
	assert_int_equal(url_parse(SLICE_EMPTY, &(struct url){ 0 }, NULL), -EINVAL);
	assert_int_equal(url_parse(slice_of("http://a\0b", 10), &(struct url){ 0 }, NULL), -EINVAL);
	assert_int_equal(url_parse(slice_of("http://a/\0", 10), &(struct url){ 0 }, NULL), -EINVAL);
}

static void test_lengths_of_names(void **state)
{
	char text[400];
	struct url u;

	(void)state;
	for (int n = 63; n <= 64; n++) {
		(void)snprintf(text, sizeof(text), "http://%0*d.a/", n, 0);
		memset(text + 7, 'x', (size_t)n);
		assert_int_equal(url_parse(slice_str(text), &u, NULL), n == 63 ? 0 : -EINVAL);
	}
	memcpy(text, "http://", 7);
	for (size_t n = 253; n <= 254; n++) {
		for (size_t i = 0; i < n; i++)
			text[7 + i] = i % 2 && i + 1 < n ? '.' : 'x';
		assert_int_equal(
			url_parse(slice_of(text, 7 + n), &u, NULL), n == 253 ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_lengths_of_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
