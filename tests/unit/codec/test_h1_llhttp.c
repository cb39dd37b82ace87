/* llhttp sees only what frames a message. So that nothing is lost: whatever passes is a head
 * to llhttp as a whole, too, with the same fields and the same framing. Heads are put together from
 * lines that matter and then damaged; the numbers are the same in every run. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/h1.h>

#define HEADS 60000

static const char *const firsts[] = {
	"GET / HTTP/1.1\r\n",
	"POST /v1/chat/completions?a=b HTTP/1.1\r\n",
	"OPTIONS * HTTP/1.1\r\n",
	"HTTP/1.1 200 OK\r\n",
	"HTTP/1.1 204\r\n",
	"HTTP/1.0 404 Not Found\r\n",
};

static const char *const lines[] = {
	"Host: [::1]:80\r\n",
	"Content-Length: 5\r\n",
	"CONTENT-LENGTH:  12345678901 \t\r\n",
	"Transfer-Encoding:\tChunked \r\n",
	"Connection: keep-alive, x\r\n",
	"Connection: upgrade\r\n",
	"Upgrade: h2c\r\n",
	"Expect: 100-continue\r\n",
	"X-Long-Name-That-Goes-On: a value that goes on for quite some time, does it not\r\n",
	"A:\r\n",
	"a.b!c: d\te\r\n",
	"Content-Lengthy: 1\r\n",
	"x: \344\366\r\n",
};

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

static size_t add(char *text, size_t n, const char *line)
{
	memcpy(text + n, line, strlen(line));
	return n + strlen(line);
}

/* A head, sound or damaged in up to two places; its length. */
static size_t make_head(uint64_t *random, char *text)
{
	static const char bytes[] = "\r\n \t:,?#/\001\177\200AZaz09-_^~@[`{;";
	size_t n = add(text, 0, firsts[next_random(random) % ARRAY_LEN(firsts)]);

	n = add(text, n, "Host: a\r\n");
	for (uint32_t i = next_random(random) % 5; i > 0; i--)
		n = add(text, n, lines[next_random(random) % ARRAY_LEN(lines)]);
	n = add(text, n, "\r\n");
	for (uint32_t i = next_random(random) % 3; i > 0; i--) {
		size_t at = next_random(random) % n;

		if (next_random(random) % 2) {
			text[at] = bytes[next_random(random) % (sizeof(bytes) - 1)];
		} else {
			memmove(text + at, text + at + 1, n - at - 1);
			n--;
		}
	}
	return n;
}

struct seen {
	llhttp_t parser;
	struct h1_field fields[H1_MAX_FIELDS];
	unsigned n_names, n_values;
	uint16_t flags;
	uint64_t length;
};

static int on_name(llhttp_t *p, const char *at, size_t n)
{
	struct seen *s = container_of(p, struct seen, parser);

	s->fields[s->n_names++].name = slice_of(at, n);
	return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
	struct seen *s = container_of(p, struct seen, parser);

	s->fields[s->n_values++].value = slice_trim(slice_of(at, n));
	return 0;
}

static int on_complete(llhttp_t *p)
{
	struct seen *s = container_of(p, struct seen, parser);

	s->flags = p->flags;
	s->length = p->content_length;
	return HPE_PAUSED;
}

static void check_whole(enum h1_role role, const char *text, size_t n, const struct h1_head *head)
{
	static const llhttp_settings_t settings = {
		.on_header_field = on_name,
		.on_header_value = on_value,
		.on_headers_complete = on_complete,
	};
	static struct seen s;

	memset(&s, 0, sizeof(s));
	llhttp_init(&s.parser, role == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	if (llhttp_execute(&s.parser, text, n) != HPE_PAUSED)
		fail_msg("llhttp refuses (%s): %.*s", llhttp_get_error_reason(&s.parser), (int)n,
			text);
	assert_int_equal(s.n_names, head->n_fields);
	assert_int_equal(s.n_values, head->n_fields);
	for (unsigned i = 0; i < head->n_fields; i++) {
		assert_true(slice_eq(s.fields[i].name, head->fields[i].name));
		assert_true(slice_eq(s.fields[i].value, head->fields[i].value));
	}
	assert_int_equal(!!(s.flags & F_CHUNKED), head->chunked);
	assert_int_equal(!!(s.flags & F_CONTENT_LENGTH), head->has_length);
	if (head->has_length)
		assert_int_equal(s.length, head->length);
	assert_int_equal(s.parser.http_minor, head->minor);
	assert_int_equal(role == H1_RESPONSE ? s.parser.status_code : 0, head->status);
}

static void test_what_passes_is_a_head_to_llhttp(void **state)
{
	static struct h1_head head;
	uint64_t random = 1;
	unsigned passed = 0;
	struct h1 h;

	(void)state;
	for (unsigned i = 0; i < HEADS; i++) {
		char text[1024];
		size_t n = make_head(&random, text);
		enum h1_role role = text[0] == 'H' ? H1_RESPONSE : H1_REQUEST;
		char *exact = malloc(n);

		memcpy(exact, text, n);
		if (h1_begin(&h, role, false, exact, n, &head) == H1_OK) {
			check_whole(role, exact, n, &head);
			passed++;
		}
		free(exact);
	}
	/* Neither all nor none. */
	assert_in_range(passed, HEADS / 20, HEADS - HEADS / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_passes_is_a_head_to_llhttp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
