/* HTTP/1.1 heads and bodies: what is accepted, what is refused and with which reason, and that it
 * never matters how the bytes are cut. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/h1.h>

#define HOST    "Host: a\r\n"
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define ANSWER  "HTTP/1.1 200 OK\r\n"

struct message {
	const char *name;
	const char *bytes;
	enum h1_error error;
	const char *content; /* of an accepted one; NULL: no body */
	const char *behind;  /* bytes that do not belong to it */
};

struct outcome {
	enum h1_error error;
	struct h1_head head;
	char content[4096];
	size_t content_n;
	size_t used; /* head and body */
	bool done;
};

/* Reads one message, its body in pieces of `step` bytes, as a connection would. */
static void read_message(
	enum h1_role role, const char *bytes, size_t n, size_t step, struct outcome *o)
{
	struct h1 h;
	size_t scanned = 0, head_n = 0;
	char *copy = malloc(n + 1);
	ssize_t r = 0;

	memset(o, 0, sizeof(*o));
	memcpy(copy, bytes, n);
	for (size_t have = 1; have <= n && r == 0; have++)
		r = h1_head_end(copy, have, &scanned);
	if (r <= 0) {
		o->error = r == 0 ? H1_BAD_SYNTAX : (enum h1_error)r;
		goto out;
	}
	head_n = (size_t)r;
	o->error = h1_begin(&h, role, false, copy, head_n, &o->head);
	if (o->error)
		goto out;
	o->used = head_n;
	while (o->used < n && !h.done) {
		size_t piece = MIN(step, n - o->used), used, content;
		char *own = malloc(piece); /* so that a sanitizer sees every byte too far */

		memcpy(own, bytes + o->used, piece);
		o->error = h1_body(&h, own, piece, &used, &content);
		if (!o->error) {
			assert_true(content <= used && used <= piece);
			assert_true(h.done || used == piece);
			memcpy(o->content + o->content_n, own, content);
			o->content_n += content;
			o->used += used;
		}
		free(own);
		if (o->error)
			goto out;
	}
	if (!h.done)
		o->error = h1_eof(&h);
	o->done = h.done;
out:
	free(copy);
}

static void check_message(enum h1_role role, const struct message *m)
{
	const char *content = m->content ? m->content : "";
	const char *behind = m->behind ? m->behind : "";
	size_t n = strlen(m->bytes) + strlen(behind);
	char *all = malloc(n + 1);
	static struct outcome o;

	(void)snprintf(all, n + 1, "%s%s", m->bytes, behind);
	for (size_t step = 1; step <= n; step++) {
		read_message(role, all, n, step, &o);
		if (o.error != m->error)
			fail_msg("%s, in steps of %zu: %d (%s), expected %d", m->name, step,
				o.error, h1_error_text(o.error), m->error);
		if (o.error)
			continue;
		if (!o.done || o.used != strlen(m->bytes) || o.content_n != strlen(content) ||
			memcmp(o.content, content, o.content_n) != 0)
			fail_msg("%s, in steps of %zu: used %zu, content '%.*s'", m->name, step,
				o.used, (int)o.content_n, o.content);
		assert_int_equal(o.head.has_body, m->content != NULL);
	}
	free(all);
}

static const struct message requests[] = {
	{ "length", "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi", H1_OK, "hi", NULL },
	{ "length and the next message", "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi",
		H1_OK, "hi", "GET /2 HTTP/1.1\r\n" HOST "\r\n" },
	{ "no body", "GET /a?b=c HTTP/1.1\r\n" HOST "\r\n", H1_OK, NULL, "GET / HTTP/1.1\r\n" },
	{ "length zero", "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", H1_OK, NULL, "X" },
	{ "body on GET", "GET / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi", H1_OK, "hi",
		NULL },
	{ "chunks", CHUNKED "2\r\nhi\r\n6\r\n there\r\n0\r\n\r\n", H1_OK, "hi there", "POST" },
	{ "chunk size in hex, upper case, leading zeros",
		CHUNKED "00A\r\n0123456789\r\n000\r\n\r\n", H1_OK, "0123456789", NULL },
	{ "no chunk at all", CHUNKED "0\r\n\r\n", H1_OK, "", "GET" },
	{ "harmless trailer", CHUNKED "1\r\nx\r\n0\r\nServer-Timing: a\r\n\r\n", H1_OK, "x", "G" },
	{ "chunked in another case",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", H1_OK, "",
		NULL },
	{ "1.0 without Host", "GET / HTTP/1.0\r\n\r\n", H1_OK, NULL, NULL },
	{ "OPTIONS *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", H1_OK, NULL, NULL },
	{ "IPv6 host with port", "GET / HTTP/1.1\r\nHost: [::1]:2449\r\n\r\n", H1_OK, NULL, NULL },
	{ "empty value, spaces around a value",
		"GET / HTTP/1.1\r\n" HOST "A:\r\nB: \t b \t\r\n\r\n", H1_OK, NULL, NULL },

	{ "no Host", "GET / HTTP/1.1\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "two Hosts", "GET / HTTP/1.1\r\n" HOST "Host: b\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "two equal Hosts", "GET / HTTP/1.1\r\n" HOST HOST "\r\n", H1_BAD_HOST, NULL, NULL },
	{ "two Hosts on 1.0", "GET / HTTP/1.0\r\n" HOST "Host: b\r\n\r\n", H1_BAD_HOST, NULL,
		NULL },
	{ "Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host with two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host with a wrong port", "GET / HTTP/1.1\r\nHost: a:66000\r\n\r\n", H1_BAD_HOST, NULL,
		NULL },
	{ "Host with only a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", H1_BAD_HOST, NULL, NULL },
	{ "Host with an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", H1_BAD_HOST, NULL,
		NULL },

	{ "length, then chunked",
		"POST / HTTP/1.1\r\n" HOST
		"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "chunked, then length",
		"POST / HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "two equal lengths",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		H1_BAD_FRAMING, NULL, NULL },
	{ "two lengths",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
		H1_BAD_FRAMING, NULL, NULL },
	{ "length list", "POST / HTTP/1.1\r\n" HOST "Content-Length: 2,2\r\n\r\nhi", H1_BAD_FRAMING,
		NULL, NULL },
	{ "length with a sign", "POST / HTTP/1.1\r\n" HOST "Content-Length: +2\r\n\r\nhi",
		H1_BAD_FRAMING, NULL, NULL },
	{ "negative length", "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "length in hex", "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x2\r\n\r\nhi",
		H1_BAD_FRAMING, NULL, NULL },
	{ "length over 64 bits",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551617\r\n\r\nx",
		H1_BAD_FRAMING, NULL, NULL },
	{ "length of two numbers", "POST / HTTP/1.1\r\n" HOST "Content-Length: 2 2\r\n\r\nhi",
		H1_BAD_FRAMING, NULL, NULL },
	{ "length empty", "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", H1_BAD_FRAMING,
		NULL, NULL },
	{ "chunked twice in one",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "chunked twice in two",
		"POST / HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "xchunked", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "identity", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "gzip, chunked",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "chunked with a parameter",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "coding empty", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "chunked on 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "vertical tab before chunked",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \013chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FIELD, NULL, NULL },

	{ "underscore length", "POST / HTTP/1.1\r\n" HOST "Content_Length: 5\r\n\r\n", H1_BAD_FIELD,
		NULL, NULL },
	{ "underscore coding", "POST / HTTP/1.1\r\n" HOST "transfer_ENCODING: chunked\r\n\r\n",
		H1_BAD_FIELD, NULL, NULL },
	{ "space before the colon", "POST / HTTP/1.1\r\n" HOST "Content-Length : 2\r\n\r\nhi",
		H1_BAD_FIELD, NULL, NULL },
	{ "space before the name", "POST / HTTP/1.1\r\n" HOST " Content-Length: 2\r\n\r\nhi",
		H1_BAD_FIELD, NULL, NULL },
	{ "folded value", "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", H1_BAD_FIELD, NULL,
		NULL },
	{ "folded with a tab", "GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", H1_BAD_FIELD, NULL,
		NULL },
	{ "folded, first line empty", "GET / HTTP/1.1\r\n" HOST "X:\r\n b\r\n\r\n", H1_BAD_FIELD,
		NULL, NULL },
	{ "folded, only white space", "GET / HTTP/1.1\r\n" HOST "X:\r\n \r\nY: b\r\n\r\n",
		H1_BAD_FIELD, NULL, NULL },
	{ "empty name", "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n", H1_BAD_FIELD, NULL, NULL },
	{ "no colon", "GET / HTTP/1.1\r\n" HOST "foo\r\n\r\n", H1_BAD_FIELD, NULL, NULL },
	{ "name with a bracket", "GET / HTTP/1.1\r\n" HOST "f[o]: x\r\n\r\n", H1_BAD_FIELD, NULL,
		NULL },
	{ "bare CR in a value", "GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n", H1_BAD_SYNTAX, NULL,
		NULL },
	{ "bare CR that hides a field",
		"POST / HTTP/1.1\r\n" HOST "X:\rxTransfer-Encoding: chunked\r\n\r\n", H1_BAD_SYNTAX,
		NULL, NULL },
	{ "control byte in a value", "GET / HTTP/1.1\r\n" HOST "X: a\001z\r\n\r\n", H1_BAD_FIELD,
		NULL, NULL },
	{ "DEL in a value", "GET / HTTP/1.1\r\n" HOST "X: a\177z\r\n\r\n", H1_BAD_FIELD, NULL,
		NULL },
	{ "high byte in a value", "GET / HTTP/1.1\r\n" HOST "X: a\377\r\n\r\n", H1_BAD_FIELD, NULL,
		NULL },
	{ "bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "bare LF after a field",
		"GET / HTTP/1.1\r\n"
		"Host: a\nX: b\r\n\r\n",
		H1_BAD_SYNTAX, NULL, NULL },
	{ "empty lines first", "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", H1_BAD_SYNTAX, NULL,
		NULL },

	{ "HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "HTTP/0.9", "GET /\r\n\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "http/1.1", "GET / http/1.1\r\n" HOST "\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "HTTP/01.1", "GET / HTTP/01.1\r\n" HOST "\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "text behind the version", "GET / HTTP/1.1 x\r\n" HOST "\r\n", H1_BAD_VERSION, NULL,
		NULL },
	{ "another protocol", "GET / RTSP/1.0\r\n" HOST "\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "lower-case method", "get / HTTP/1.1\r\n" HOST "\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "unknown method", "GRAB / HTTP/1.1\r\n" HOST "\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "tab behind the method", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "two spaces before the target", "GET  / HTTP/1.1\r\n" HOST "\r\n", H1_BAD_SYNTAX, NULL,
		NULL },
	{ "two spaces before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n", H1_BAD_SYNTAX, NULL,
		NULL },
	{ "control byte in the target", "GET /a\001 HTTP/1.1\r\n" HOST "\r\n", H1_BAD_TARGET, NULL,
		NULL },
	{ "high byte in the target", "GET /\377 HTTP/1.1\r\n" HOST "\r\n", H1_BAD_TARGET, NULL,
		NULL },
	{ "fragment in the target", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", H1_BAD_TARGET, NULL,
		NULL },
	{ "absolute target", "GET http://evil/ HTTP/1.1\r\n" HOST "\r\n", H1_BAD_TARGET, NULL,
		NULL },
	{ "target without slash", "GET a HTTP/1.1\r\n" HOST "\r\n", H1_BAD_TARGET, NULL, NULL },
	{ "GET *", "GET * HTTP/1.1\r\n" HOST "\r\n", H1_BAD_TARGET, NULL, NULL },
	{ "CONNECT", "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", H1_BAD_UPGRADE, NULL, NULL },
	{ "Upgrade",
		"POST / HTTP/1.1\r\n" HOST
		"Connection: upgrade\r\nUpgrade: foo\r\nContent-Length: 2\r\n\r\nhi",
		H1_BAD_UPGRADE, NULL, NULL },
	{ "Upgrade alone", "GET / HTTP/1.1\r\n" HOST "upgrade: h2c\r\n\r\n", H1_BAD_UPGRADE, NULL,
		NULL },

	{ "chunk extension", CHUNKED "2;a=b\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk extension without value", CHUNKED "2;a\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL,
		NULL },
	{ "chunk extension, empty", CHUNKED "2;\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk extension with LF", CHUNKED "2;\nxx\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL,
		NULL },
	{ "extension of the last chunk", CHUNKED "0;a=b\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk lines end with LF", CHUNKED "2\nhi\n0\n\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk size 0x2", CHUNKED "0x2\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk size with a space", CHUNKED "2 \r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk size with a sign", CHUNKED "+2\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk size missing", CHUNKED "\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "chunk size over 64 bits", CHUNKED "10000000000000002\r\nhi\r\n0\r\n\r\n", H1_BAD_CHUNK,
		NULL, NULL },
	{ "no CRLF behind a chunk", CHUNKED "2\r\nhiXX0\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "trailer with a length", CHUNKED "0\r\nContent-Length: 9\r\n\r\n", H1_BAD_CHUNK, NULL,
		NULL },
	{ "trailer with a coding", CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n", H1_BAD_CHUNK,
		NULL, NULL },
	{ "trailer with a twin", CHUNKED "0\r\nTransfer_Encoding: chunked\r\n\r\n", H1_BAD_CHUNK,
		NULL, NULL },
	{ "trailer with a host", CHUNKED "0\r\nHOST: b\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "trailer with an upgrade", CHUNKED "0\r\nUpgrade: b\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "trailer without a name", CHUNKED "0\r\n: b\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "trailer with a high byte", CHUNKED "0\r\nA: \377\r\n\r\n", H1_BAD_CHUNK, NULL, NULL },
	{ "cut in a chunk", CHUNKED "5\r\nhi", H1_BAD_SYNTAX, NULL, NULL },
	{ "cut before the last empty line", CHUNKED "0\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "cut in a body", "POST / HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhi", H1_BAD_SYNTAX,
		NULL, NULL },
	{ "cut in the head", "GET / HTTP/1.1\r\n" HOST, H1_BAD_SYNTAX, NULL, NULL },
};

static const struct message responses[] = {
	{ "length", ANSWER "Content-Length: 2\r\n\r\nhi", H1_OK, "hi", "HTTP/1.1 200 OK\r\n" },
	{ "chunks", ANSWER "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", H1_OK, "hi",
		"HTTP" },
	{ "until close", ANSWER "\r\nhi", H1_OK, "hi", NULL },
	{ "until close, empty", ANSWER "\r\n", H1_OK, "", NULL },
	{ "no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", H1_OK, NULL, NULL },
	{ "no reason, no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", H1_OK, NULL, NULL },
	{ "no content", "HTTP/1.1 204 No Content\r\n\r\n", H1_OK, NULL, "HTTP" },
	{ "not modified, with the length of what is not sent",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", H1_OK, NULL, "HTTP" },
	{ "100 is a message of its own", "HTTP/1.1 100 Continue\r\n\r\n", H1_OK, NULL,
		"HTTP/1.1 200 OK\r\n" },
	{ "early hints", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", H1_OK, NULL,
		"HTTP/1.1 200 OK\r\n" },
	{ "high bytes in a value and the reason",
		"HTTP/1.1 200 \303\204h\r\nX: \344\r\nContent-Length: 0\r\n\r\n", H1_OK, NULL,
		NULL },
	{ "an offer to upgrade",
		ANSWER "Upgrade: h2\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nhi", H1_OK,
		"hi", NULL },

	{ "switching protocols",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		H1_BAD_UPGRADE, NULL, NULL },
	{ "101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", H1_BAD_UPGRADE, NULL,
		NULL },
	{ "gzip, chunked", ANSWER "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "gzip", ANSWER "Transfer-Encoding: gzip\r\n\r\nx", H1_BAD_FRAMING, NULL, NULL },
	{ "both", ANSWER "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "two lengths", ANSWER "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", H1_BAD_FRAMING,
		NULL, NULL },
	{ "chunked on 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		H1_BAD_FRAMING, NULL, NULL },
	{ "folded", ANSWER "A: b\r\n c\r\n\r\n", H1_BAD_FIELD, NULL, NULL },
	{ "twin", ANSWER "Content_Length: 2\r\n\r\nhi", H1_BAD_FIELD, NULL, NULL },
	{ "control byte", ANSWER "A: \002\r\n\r\n", H1_BAD_FIELD, NULL, NULL },
	{ "control byte in the reason", "HTTP/1.1 200 O\002K\r\nContent-Length: 0\r\n\r\n",
		H1_BAD_SYNTAX, NULL, NULL },
	{ "four digits", "HTTP/1.1 2000 OK\r\n\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "two digits", "HTTP/1.1 20 OK\r\n\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "below 100", "HTTP/1.1 099 OK\r\n\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "above 599", "HTTP/1.1 600 OK\r\n\r\n", H1_BAD_SYNTAX, NULL, NULL }, /* RFC 9110 15 */
	{ "two spaces", "HTTP/1.1  200 OK\r\n\r\n", H1_BAD_SYNTAX, NULL, NULL },
	{ "another version", "HTTP/2.0 200 OK\r\n\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "not HTTP", "ICY 200 OK\r\n\r\n", H1_BAD_VERSION, NULL, NULL },
	{ "chunk extension", ANSWER "Transfer-Encoding: chunked\r\n\r\n2;a\r\nhi\r\n0\r\n\r\n",
		H1_BAD_CHUNK, NULL, NULL },
	{ "cut in the body", ANSWER "Content-Length: 9\r\n\r\nhi", H1_BAD_SYNTAX, NULL, NULL },
	{ "cut in a chunk", ANSWER "Transfer-Encoding: chunked\r\n\r\n9\r\nhi", H1_BAD_SYNTAX, NULL,
		NULL },
};

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		check_message(H1_REQUEST, &requests[i]);
}

static void test_responses(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(responses); i++)
		check_message(H1_RESPONSE, &responses[i]);
}

static enum h1_error begin(
	struct h1 *h, enum h1_role role, bool head_request, const char *text, struct h1_head *head)
{
	return h1_begin(h, role, head_request, text, strlen(text), head);
}

static void assert_slice(struct slice s, const char *expected)
{
	if (!slice_eq(s, slice_str(expected)))
		fail_msg("'" SLICE_FMT "' instead of '%s'", SLICE_ARG(s), expected);
}

static void test_head_fields(void **state)
{
	static struct h1_head head;
	struct h1 h;

	(void)state;
	assert_int_equal(begin(&h, H1_REQUEST, false,
				 "POST /v1/models?a=b?c HTTP/1.1\r\nHost: a\r\nX-One:  1 "
				 "\r\nx-two:\r\nX-ONE: 3\r\n"
				 "Expect: 100-Continue\r\nContent-Length: 007\r\n\r\n",
				 &head),
		H1_OK);
	assert_slice(head.method, "POST");
	assert_slice(head.target, "/v1/models?a=b?c");
	assert_slice(head.path, "/v1/models");
	assert_slice(head.query, "a=b?c");
	assert_int_equal(head.n_fields, 6);
	assert_slice(h1_find(&head, SLICE("x-one"))->name, "X-One");
	assert_slice(h1_find(&head, SLICE("x-one"))->value, "1");
	assert_slice(h1_find(&head, SLICE("X-Two"))->value, "");
	assert_null(h1_find(&head, SLICE("x-three")));
	assert_int_equal(h1_count(&head, SLICE("x-one")), 2);
	assert_true(head.expect_continue && head.has_length && head.has_body && !head.chunked);
	assert_int_equal(head.length, 7);
	assert_int_equal(head.minor, 1);

	assert_int_equal(begin(&h, H1_RESPONSE, false, "HTTP/1.0 503 Busy\r\n\r\n", &head), H1_OK);
	assert_int_equal(head.status, 503);
	assert_int_equal(head.minor, 0);
	assert_true(head.until_close && head.has_body && !h.done);
}

static void test_keep_alive(void **state)
{
	static const struct {
		enum h1_role role;
		const char *text;
		bool keep_alive;
	} cases[] = {
		{ H1_REQUEST, "GET / HTTP/1.1\r\n" HOST "\r\n", true },
		{ H1_REQUEST, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false },
		{ H1_REQUEST, "GET / HTTP/1.1\r\n" HOST "Connection: te, CLOSE ,x\r\n\r\n", false },
		{ H1_REQUEST,
			"GET / HTTP/1.1\r\n" HOST "Connection: te\r\nConnection: close\r\n\r\n",
			false },
		{ H1_REQUEST, "GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n\r\n", true },
		{ H1_REQUEST, "GET / HTTP/1.0\r\n\r\n", false },
		{ H1_REQUEST, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
		{ H1_REQUEST, "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false },
		{ H1_RESPONSE, ANSWER "Content-Length: 2\r\n\r\n", true },
		{ H1_RESPONSE, ANSWER "Content-Length: 2\r\nConnection: close\r\n\r\n", false },
		{ H1_RESPONSE, ANSWER "Connection: keep-alive\r\n\r\n", false },
		{ H1_RESPONSE, "HTTP/1.1 204 No Content\r\n\r\n", true },
		{ H1_RESPONSE, "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false },
		{ H1_RESPONSE, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", false },
		{ H1_RESPONSE,
			"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
			true },
	};
	static struct h1_head head;
	struct h1 h;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(begin(&h, cases[i].role, false, cases[i].text, &head), H1_OK);
		if (head.keep_alive != cases[i].keep_alive)
			fail_msg("keep_alive is %d for %s", head.keep_alive, cases[i].text);
	}
}

static void test_answer_to_head_has_no_body(void **state)
{
	static const char *const answers[] = {
		ANSWER "Content-Length: 9\r\n\r\n",
		ANSWER "Transfer-Encoding: chunked\r\n\r\n",
		ANSWER "\r\n",
	};
	static struct h1_head head;
	size_t used, content;
	char next[] = "HTTP";
	struct h1 h;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		assert_int_equal(begin(&h, H1_RESPONSE, true, answers[i], &head), H1_OK);
		assert_true(h.done && !head.has_body && head.keep_alive);
		assert_int_equal(h1_body(&h, next, 4, &used, &content), H1_OK);
		assert_int_equal(used, 0);
		assert_int_equal(h1_eof(&h), H1_OK);
	}
}

static void test_an_error_stays(void **state)
{
	static struct h1_head head;
	char bad[] = "zz\r\n", good[] = "0\r\n\r\n";
	size_t used = 1, content = 1;
	struct h1 h;

	(void)state;
	assert_int_equal(begin(&h, H1_REQUEST, false, CHUNKED, &head), H1_OK);
	assert_int_equal(h1_body(&h, bad, 4, &used, &content), H1_BAD_CHUNK);
	assert_int_equal(used + content, 0);
	assert_int_equal(h1_body(&h, good, 5, &used, &content), H1_BAD_CHUNK);
	assert_int_equal(h1_eof(&h), H1_BAD_CHUNK);
}

/* A request with that many fields; returns its length. */
static size_t write_fields(char *p, size_t cap, unsigned fields)
{
	size_t n = (size_t)snprintf(p, cap, "GET / HTTP/1.1\r\nHost: a\r\n");

	for (unsigned i = 1; i < fields; i++)
		n += (size_t)snprintf(p + n, cap - n, "A: b\r\n");
	return n + (size_t)snprintf(p + n, cap - n, "\r\n");
}

static void test_limits(void **state)
{
	static struct h1_head head;
	size_t n = 0, scanned = 0, used, content, line;
	char *p = malloc(2 * H1_MAX_HEAD_BYTES);
	struct h1 h;

	(void)state;
	/* One hundred fields pass, one more does not. */
	for (unsigned fields = H1_MAX_FIELDS; fields <= H1_MAX_FIELDS + 1; fields++) {
		n = write_fields(p, H1_MAX_HEAD_BYTES, fields);
		assert_int_equal(h1_begin(&h, H1_REQUEST, false, p, n, &head),
			fields == H1_MAX_FIELDS ? H1_OK : H1_BAD_HEAD_SIZE);
	}
	/* A head of exactly the limit passes, one byte more does not, and without an end it stops
	 * there. */
	line = (size_t)snprintf(p, 64, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	memset(p + line, 'x', 2 * H1_MAX_HEAD_BYTES - line);
	memcpy(p + H1_MAX_HEAD_BYTES - 4, "\r\n\r\n", 4);
	assert_int_equal(h1_head_end(p, 2 * H1_MAX_HEAD_BYTES, &scanned), H1_MAX_HEAD_BYTES);
	assert_int_equal(h1_begin(&h, H1_REQUEST, false, p, H1_MAX_HEAD_BYTES, &head), H1_OK);
	memcpy(p + H1_MAX_HEAD_BYTES - 4, "x\r\n\r\n", 5);
	scanned = 0;
	assert_int_equal(h1_head_end(p, 2 * H1_MAX_HEAD_BYTES, &scanned), H1_BAD_HEAD_SIZE);
	assert_int_equal(
		h1_begin(&h, H1_REQUEST, false, p, H1_MAX_HEAD_BYTES + 1, &head), H1_BAD_HEAD_SIZE);
	scanned = 0;
	memset(p + line, 'x', H1_MAX_HEAD_BYTES);
	assert_int_equal(h1_head_end(p, H1_MAX_HEAD_BYTES, &scanned), H1_BAD_HEAD_SIZE);
	/* Trailers without end. */
	assert_int_equal(begin(&h, H1_REQUEST, false, CHUNKED, &head), H1_OK);
	n = (size_t)snprintf(p, 64, "0\r\nA: ");
	memset(p + n, 'x', H1_MAX_HEAD_BYTES);
	assert_int_equal(h1_body(&h, p, H1_MAX_HEAD_BYTES, &used, &content), H1_BAD_CHUNK);
	free(p);
}

static void test_head_end_goes_on_where_it_was(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
	size_t head_n = sizeof("GET / HTTP/1.1\r\nHost: a\r\n\r\n") - 1;

	(void)state;
	for (size_t first = 0; first < head_n; first++) {
		size_t scanned = 0;

		assert_int_equal(h1_head_end(text, first, &scanned), 0);
		assert_int_equal(h1_head_end(text, sizeof(text) - 1, &scanned), head_n);
	}
}

static void test_head_end_refuses_at_once(void **state)
{
	static const char *const first[] = { "\r", "\n", " ", "get", "\026\003\001", "{" };
	size_t scanned;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(first); i++) {
		scanned = 0;
		assert_int_equal(h1_head_end(first[i], strlen(first[i]), &scanned), H1_BAD_SYNTAX);
	}
	scanned = 0;
	assert_int_equal(h1_head_end("GET / HTTP/1.1\n", 15, &scanned), H1_BAD_SYNTAX);
}

static void test_write_field(void **state)
{
	static const struct {
		struct slice name, value;
		int result;
	} cases[] = {
		{ { "a", 1 }, { "b\tc", 3 }, 0 },
		{ { "a", 1 }, { "\303\244", 2 }, 0 },
		{ { "a", 1 }, { NULL, 0 }, 0 },
		{ { "", 0 }, { "b", 1 }, -EINVAL },
		{ { "a b", 3 }, { "b", 1 }, -EINVAL },
		{ { "a:", 2 }, { "b", 1 }, -EINVAL },
		{ { "a\r\n", 3 }, { "b", 1 }, -EINVAL },
		{ { "a", 1 }, { "b\r\nc: d", 7 }, -EINVAL },
		{ { "a", 1 }, { "b\n", 2 }, -EINVAL },
		{ { "a", 1 }, { "b\0c", 3 }, -EINVAL },
		{ { "a", 1 }, { "b\177", 2 }, -EINVAL },
	};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_init(&b, 100);
		assert_int_equal(
			h1_write_field(&b, cases[i].name, cases[i].value), cases[i].result);
		assert_int_equal(b.n, cases[i].result ? 0 : cases[i].name.n + cases[i].value.n + 4);
		assert_int_equal(b.err, 0);
		buf_fini(&b);
	}
	buf_init(&b, 8);
	assert_int_equal(h1_write_field(&b, SLICE("abc"), SLICE("de")), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_reset(&b);
	assert_int_equal(h1_write_field(&b, SLICE("ab"), SLICE("cd")), 0);
	assert_slice(buf_view(&b), "ab: cd\r\n");
	buf_fini(&b);
}

static void test_write_parsed_field(void **state)
{
	static struct h1_head head;
	struct buf b;
	struct h1 h;

	(void)state;
	assert_int_equal(begin(&h, H1_RESPONSE, false,
				 ANSWER "A: \t b c \r\nX-None:\r\nx: \344\r\n\r\n", &head),
		H1_OK);
	buf_init(&b, 100);
	assert_int_equal(h1_write_parsed_field(&b, head.fields[0].name, &head.fields[0]), 0);
	assert_int_equal(h1_write_parsed_field(&b, head.fields[1].name, &head.fields[1]), 0);
	assert_int_equal(h1_write_parsed_field(&b, SLICE("x-other"), &head.fields[2]), 0);
	assert_slice(buf_view(&b), "A: b c\r\nX-None: \r\nx-other: \344\r\n");
	buf_fini(&b);
	buf_init(&b, 7);
	assert_int_equal(h1_write_parsed_field(&b, head.fields[0].name, &head.fields[0]), -ENOBUFS);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

static void test_name_is(void **state)
{
	(void)state;
	assert_true(h1_name_is(SLICE("TE"), "te"));
	assert_true(h1_name_is(SLICE("hOsT"), "host"));
	assert_true(h1_name_is(SLICE("X-AIGW-1"), "x-aigw-1"));
	assert_true(h1_name_is(SLICE("Content-Length"), "content-length"));
	assert_true(h1_name_is(SLICE("TRANSFER-ENCODING"), "transfer-encoding"));
	assert_false(h1_name_is(SLICE("Content-Lengti"), "content-length"));
	assert_false(h1_name_is(SLICE("Content_Length"), "content-length"));
	assert_false(h1_name_is(SLICE("Content-Length2"), "content-length"));
	assert_false(h1_name_is(SLICE("Most"), "host"));
	assert_false(h1_name_is(SLICE("t"), "te"));
	assert_false(h1_name_is(SLICE_EMPTY, "te"));
}

static void test_status_of_errors(void **state)
{
	(void)state;
	assert_int_equal(h1_error_status(H1_BAD_SYNTAX), 400);
	assert_int_equal(h1_error_status(H1_BAD_HEAD_SIZE), 431);
	assert_int_equal(h1_error_status(H1_BAD_UPGRADE), 426);
	assert_int_equal(h1_error_status(H1_BAD_VERSION), 505);
	assert_string_equal(h1_reason(404), "Not Found");
	assert_string_equal(h1_reason(799), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_head_fields),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_answer_to_head_has_no_body),
		cmocka_unit_test(test_an_error_stays),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_head_end_goes_on_where_it_was),
		cmocka_unit_test(test_head_end_refuses_at_once),
		cmocka_unit_test(test_write_field),
		cmocka_unit_test(test_write_parsed_field),
		cmocka_unit_test(test_name_is),
		cmocka_unit_test(test_status_of_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
