/* One answer off a provider's bytes: what is head, content and end, whether the connection may be
 * used again, and that it never matters how the bytes are cut. */
#include "fixture.h"

#include <aigw/http_call.h>

#define OK200   "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK200 "Transfer-Encoding: chunked\r\n\r\n"

struct answer {
	const char *name;
	const char *bytes;
	enum http_call_state state; /* when all bytes were fed */
	unsigned status;            /* of the head told; 0: none */
	const char *content;
	bool keep_alive, excess; /* valid when DONE */
	bool head_request;
	enum http_call_state at_eof; /* when the connection ends then */
};

struct seen {
	unsigned heads, lasts, bodies, status;
	char content[4096];
	size_t content_n;
	bool stop_in_head, stop_in_body;
};

static bool on_head(struct http_call *c, const struct h1_head *h, void *owner)
{
	struct seen *s = owner;

	(void)c;
	assert_int_equal(s->bodies, 0);
	s->heads++;
	s->status = h->status;
	return !s->stop_in_head;
}

static bool on_body(struct http_call *c, char *p, size_t n, bool last, void *owner)
{
	struct seen *s = owner;

	(void)c;
	assert_int_equal(s->heads, 1);
	assert_int_equal(s->lasts, 0);
	assert_true(n || last);
	assert_true(s->content_n + n <= sizeof(s->content));
	if (n)
		memcpy(s->content + s->content_n, p, n);
	s->content_n += n;
	s->bodies++;
	s->lasts += last;
	return !s->stop_in_body;
}

static const struct http_call_events events = { .head = on_head, .body = on_body };

/* A piece in memory of its own, so that a sanitizer sees every byte too far; the slices die with
 * it. */
static enum http_call_state feed(struct http_call *c, const char *p, size_t n, struct seen *s)
{
	char *own = malloc(n + !n);
	enum http_call_state st;

	memcpy(own, p, n);
	st = http_call_feed(c, own, n, &events, s);
	memset(own, 'X', n);
	free(own);
	assert_int_equal(st, c->state);
	return st;
}

static void check_end(const struct answer *a, struct http_call *c, struct seen *s)
{
	assert_int_equal(c->state, a->state);
	assert_int_equal(s->status, a->status);
	assert_int_equal(s->heads, a->status != 0);
	if (a->state == HTTP_CALL_DONE) {
		assert_int_equal(c->keep_alive, a->keep_alive);
		assert_int_equal(c->excess, a->excess);
	}
	if (a->state != HTTP_CALL_BROKEN) {
		assert_int_equal(s->content_n, strlen(a->content));
		assert_memory_equal(s->content, a->content, s->content_n);
	}
	assert_int_equal(s->lasts, a->state == HTTP_CALL_DONE);
	if (a->state == HTTP_CALL_DONE || a->state == HTTP_CALL_BROKEN)
		return;
	assert_int_equal(http_call_eof(c, &events, s), a->at_eof);
	assert_int_equal(s->lasts, a->at_eof == HTTP_CALL_DONE);
	assert_false(c->keep_alive);
}

/* In pieces [0, cut), then steps of `step`. */
static void read_answer(const struct answer *a, size_t cut, size_t step)
{
	struct http_call c;
	struct seen s = { 0 };
	size_t n = strlen(a->bytes);

	http_call_init(&c, a->head_request);
	for (size_t at = 0; at < n;) {
		size_t piece = at == 0 && cut ? cut : MIN(step, n - at);

		(void)feed(&c, a->bytes + at, piece, &s);
		at += piece;
	}
	check_end(a, &c, &s);
	http_call_fini(&c);
}

#define DONE   HTTP_CALL_DONE
#define BODY   HTTP_CALL_BODY
#define HEAD   HTTP_CALL_HEAD
#define BROKEN HTTP_CALL_BROKEN

static const struct answer answers[] = {
	{ .name = "length", OK200 "Content-Length: 5\r\n\r\nhello", DONE, 200, "hello", true },
	{ .name = "length, no content", OK200 "Content-Length: 0\r\n\r\n", DONE, 200, "", true },
	{ .name = "length, cut",
		OK200 "Content-Length: 6\r\n\r\nhello",
		BODY,
		200,
		"hello",
		.at_eof = BROKEN },
	{ .name = "length, not one byte",
		OK200 "Content-Length: 6\r\n\r\n",
		BODY,
		200,
		"",
		.at_eof = BROKEN },
	{ .name = "chunked",
		CHUNKED "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n",
		DONE,
		200,
		"hello world",
		true },
	{ .name = "chunked, no content", CHUNKED "0\r\n\r\n", DONE, 200, "", true },
	{ .name = "chunked, hexadecimal in both cases",
		CHUNKED "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
		DONE,
		200,
		"01234567890123456789a",
		true },
	{ .name = "chunked with a trailer",
		CHUNKED "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n",
		DONE,
		200,
		"x",
		true },
	{ .name = "chunked, cut between chunks",
		CHUNKED "5\r\nhello\r\n",
		BODY,
		200,
		"hello",
		.at_eof = BROKEN },
	{ .name = "chunked, cut before the last line",
		CHUNKED "5\r\nhello\r\n0\r\n",
		BODY,
		200,
		"hello",
		.at_eof = BROKEN },
	{ .name = "chunked, cut in a chunk", CHUNKED "5\r\nhe", BODY, 200, "he", .at_eof = BROKEN },
	{ .name = "until close", OK200 "\r\nhello", BODY, 200, "hello", .at_eof = DONE },
	{ .name = "until close, nothing", OK200 "\r\n", BODY, 200, "", .at_eof = DONE },
	{ .name = "until close, HTTP/1.0",
		"HTTP/1.0 200 OK\r\n\r\nhello",
		BODY,
		200,
		"hello",
		.at_eof = DONE },
	{ .name = "204", "HTTP/1.1 204 No Content\r\n\r\n", DONE, 204, "", true },
	{ .name = "304 with the length that a 200 would have",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		DONE,
		304,
		"",
		true },
	{ .name = "HEAD",
		OK200 "Content-Length: 5\r\n\r\n",
		DONE,
		200,
		"",
		true,
		.head_request = true },
	{ .name = "HEAD, chunked", CHUNKED, DONE, 200, "", true, .head_request = true },
	{ .name = "no reason phrase",
		"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		true },
	{ .name = "connection: close",
		OK200 "Connection: close\r\nContent-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		false },
	{ .name = "HTTP/1.0",
		"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		false },
	{ .name = "HTTP/1.0 kept alive",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		true },
	{ .name = "excess behind a length",
		OK200 "Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
		DONE,
		200,
		"x",
		true,
		true },
	{ .name = "excess behind the last chunk", CHUNKED "0\r\n\r\n?", DONE, 200, "", true, true },
	{ .name = "excess behind no body",
		"HTTP/1.1 204 No Content\r\n\r\n?",
		DONE,
		204,
		"",
		true,
		true },
	{ .name = "excess behind HEAD",
		OK200 "Content-Length: 1\r\n\r\nx",
		DONE,
		200,
		"",
		true,
		true,
		.head_request = true },
	{ .name = "100 before",
		"HTTP/1.1 100 Continue\r\n\r\n" OK200 "Content-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		true },
	{ .name = "102, 103 with fields before",
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: "
		"</a>\r\n\r\n" OK200 "Content-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		true },
	{ .name = "eight interim answers",
		"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 "
		"C\r\n\r\n"
		"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 "
		"C\r\n\r\n" OK200 "Content-Length: 1\r\n\r\nx",
		DONE,
		200,
		"x",
		true },
	{ .name = "nine",
		"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 "
		"C\r\n\r\n"
		"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 "
		"C\r\n\r\n"
		"HTTP/1.1 100 C\r\n\r\n",
		BROKEN,
		0,
		"" },
	{ .name = "interim only", "HTTP/1.1 100 Continue\r\n\r\n", HEAD, 0, "", .at_eof = BROKEN },
	{ .name = "half a head", OK200 "Content-Le", HEAD, 0, "", .at_eof = BROKEN },
	{ .name = "nothing", "", HEAD, 0, "", .at_eof = BROKEN },
	{ .name = "no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", BROKEN, 0, "" },
	{ .name = "HTTP/2", "HTTP/2 200 OK\r\n\r\n", BROKEN, 0, "" },
	{ .name = "a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", BROKEN, 0, "" },
	{ .name = "bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", BROKEN, 0, "" },
	{ .name = "two lengths",
		OK200 "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
		BROKEN,
		0,
		"" },
	{ .name = "length and chunked",
		OK200 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		BROKEN,
		0,
		"" },
	{ .name = "a length that is none", OK200 "Content-Length: 1x\r\n\r\nx", BROKEN, 0, "" },
	{ .name = "another coding", OK200 "Transfer-Encoding: gzip\r\n\r\nx", BROKEN, 0, "" },
	{ .name = "chunk size that is none", CHUNKED "x\r\nhello", BROKEN, 200, "" },
	{ .name = "chunk without its line end", CHUNKED "1\r\nxx", BROKEN, 200, "" },
	{ .name = "switching protocols",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		BROKEN,
		0,
		"" },
};

static void test_answers_cut_everywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		const struct answer *a = &answers[i];
		size_t n = strlen(a->bytes);

		print_message("%s\n", a->name);
		read_answer(a, 0, MAX(n, 1u));
		read_answer(a, 0, 1);
		read_answer(a, 0, 7);
		for (size_t cut = 1; cut < n; cut++)
			read_answer(a, cut, n);
	}
}

static void test_head_too_large(void **state)
{
	struct http_call c;
	struct seen s = { 0 };
	char line[1000];

	(void)state;
	http_call_init(&c, false);
	(void)feed(&c, OK200, strlen(OK200), &s);
	(void)snprintf(line, sizeof(line), "x: %0990d\r\n", 0);
	for (int i = 0; i < 66 && c.state == HTTP_CALL_HEAD; i++)
		(void)feed(&c, line, strlen(line), &s);
	assert_int_equal(c.state, HTTP_CALL_BROKEN);
	assert_int_equal(c.error, H1_BAD_HEAD_SIZE);
	http_call_fini(&c);
}

static void test_large_interim_heads_take_no_memory(void **state)
{
	struct http_call c;
	struct seen s = { 0 };
	char head[60100];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 103 E\r\nx: %060000d\r\n\r\n", 0);

	(void)state;
	http_call_init(&c, false);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(feed(&c, head, 10, &s), HTTP_CALL_HEAD);
		assert_int_equal(feed(&c, head + 10, (size_t)n - 10, &s), HTTP_CALL_HEAD);
	}
	assert_int_equal(c.head.n, 0);
	assert_int_equal(feed(&c, OK200 "Content-Length: 0\r\n\r\n", strlen(OK200) + 21, &s),
		HTTP_CALL_DONE);
	http_call_fini(&c);
}

/* Whatever comes after the end changes nothing but `excess`; after a break nothing at all. */
static void test_after_the_end(void **state)
{
	struct http_call c;
	struct seen s = { 0 };

	(void)state;
	http_call_init(&c, false);
	assert_int_equal(feed(&c, "HTTP/1.1 204 N\r\n\r\n", 18, &s), HTTP_CALL_DONE);
	assert_false(c.excess);
	assert_int_equal(feed(&c, "", 0, &s), HTTP_CALL_DONE);
	assert_false(c.excess);
	assert_int_equal(feed(&c, "x", 1, &s), HTTP_CALL_DONE);
	assert_true(c.excess);
	assert_int_equal(http_call_eof(&c, &events, &s), HTTP_CALL_DONE);
	assert_int_equal(s.lasts, 1);
	http_call_fini(&c);

	s = (struct seen){ 0 };
	http_call_init(&c, false);
	assert_int_equal(feed(&c, "?", 1, &s), HTTP_CALL_BROKEN);
	assert_int_equal(feed(&c, OK200 "\r\n", strlen(OK200) + 2, &s), HTTP_CALL_BROKEN);
	assert_int_equal(http_call_eof(&c, &events, &s), HTTP_CALL_BROKEN);
	assert_int_equal(s.heads, 0);
	http_call_fini(&c);
}

static void test_owner_stops(void **state)
{
	static const char bytes[] = OK200 "Content-Length: 5\r\n\r\nhello";

	(void)state;
	for (int in_body = 0; in_body < 2; in_body++) {
		for (size_t cut = 0; cut < sizeof(bytes) - 1; cut++) {
			struct seen s = { .stop_in_head = !in_body, .stop_in_body = in_body };
			struct http_call c;

			http_call_init(&c, false);
			(void)feed(&c, bytes, cut, &s);
			assert_int_equal(feed(&c, bytes + cut, sizeof(bytes) - 1 - cut, &s),
				HTTP_CALL_BROKEN);
			assert_int_equal(c.error, H1_OK); /* nothing was wrong with it */
			assert_int_equal(s.heads, 1);
			assert_int_equal(s.bodies, in_body);
			http_call_fini(&c);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_cut_everywhere),
		cmocka_unit_test(test_head_too_large),
		cmocka_unit_test(test_large_interim_heads_take_no_memory),
		cmocka_unit_test(test_after_the_end),
		cmocka_unit_test(test_owner_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
