/* bench-load: calls a chat endpoint on loopback or a unix socket and measures the answers.
 *
 *   closed loop (no --rate)   each connection sends its next request when its answer is complete:
 *                             finds the limit
 *   open loop (--rate N)      call k is due at start + k/N whether or not the ones before it have
 *                             been answered; its latency counts from there, so that a server that
 *                             stalls cannot hide it (no coordinated omission). What is due while
 *                             every connection is busy begins late, on the next free one.
 *   held (--hold)             each connection begins one stream and keeps it; prints one line of
 *                             JSON when all have begun, ends when stdin is closed
 *
 * One thread, epoll, one JSON object on stdout, times in microseconds.
 */
#include "client.h"
#include "hist.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { HEADERS_BYTES = 4096, GRACE_S = 3, HOLD_LIMIT_S = 600 };

static struct {
	uint64_t conns, rate, calls, size, seconds_ms, warm_ms;
	bool hold;
	const char *to, *path, *model;
	char headers[HEADERS_BYTES];
} plan = { .conns = 64,
	.size = 1024,
	.seconds_ms = 3000,
	.warm_ms = 500,
	.path = "/v1/chat/completions",
	.model = "mock-gpt" };

static struct {
	uint64_t begun, answered, ok, bad_status, incomplete, errors, reconnects, unanswered;
	uint64_t first_ns, last_ns;
	unsigned first_bad_status;
} count;
/* from the due instant; from the write; to the first byte; to the first content event; one event's
 * way; what the end of an answer waited after the rest of it had come */
static struct hist latency, service, first_byte, first_event, event_delay, end_hold;

static struct client *conn;
static size_t *idle,
	idle_len; /* open loop: indices of connections without a call, last in first out */
/* calls that were due before record_ns, and events that came before events_ns, are warm-up */
static uint64_t start_ns, record_ns, events_ns, stop_ns;

static uint64_t due_of(uint64_t k)
{
	return start_ns + (uint64_t)((double)k * (double)NS_PER_S / (double)plan.rate);
}

static void on_event(const struct client *c, uint64_t delay_ns)
{
	if (c->read_ns >= events_ns && c->read_ns < stop_ns)
		hist_add(&event_delay, delay_ns);
}

static void answer_record(const struct client *c)
{
	count.answered++;
	count.last_ns = c->read_ns;
	if (c->due_ns < record_ns)
		return;
	if (c->status != 200) {
		if (!count.bad_status++)
			count.first_bad_status = c->status;
		return;
	}
	if (clients.sse && !c->done) {
		count.incomplete++;
		return;
	}
	count.ok++;
	hist_add(&latency, c->read_ns - c->due_ns);
	hist_add(&service, c->read_ns - c->sent_ns);
	hist_add(&first_byte, c->byte_ns - c->due_ns);
	if (c->event_ns)
		hist_add(&first_event, c->event_ns - c->due_ns);
	hist_add(&end_hold, c->tail_ns ? c->read_ns - c->tail_ns : 0);
}

static void call_begin(struct client *c, uint64_t due_ns)
{
	int err = c->state == CLIENT_CLOSED ? client_open(c) : 0;

	if (!count.begun++)
		count.first_ns = clock_ns();
	if (!err)
		err = client_begin(c, due_ns);
	if (!err)
		return;
	count.errors++;
	client_close(c);
	idle[idle_len++] = (size_t)(c - conn);
}

/* The connection has no call any more: the next one of the closed loop, or back to the idle ones.
 */
static void call_next(struct client *c)
{
	uint64_t now = clock_ns();

	if (!plan.rate && now < stop_ns && (!plan.calls || count.begun < plan.calls))
		call_begin(c, now);
	else
		idle[idle_len++] = (size_t)(c - conn);
}

static void conn_ready(struct client *c, uint32_t events)
{
	bool busy = c->state == CLIENT_BUSY;
	int err = (events & EPOLLOUT) ? client_write(c) : 0;

	if (!err && (events & ~(uint32_t)EPOLLOUT))
		err = client_read(c);
	if (!err && !c->complete)
		return;
	if (err) {
		client_close(c);
		if (busy)
			count.errors++;
		else
			count.reconnects++; /* an idle one was closed: dialled again when needed */
	} else {
		answer_record(c);
		c->state = CLIENT_READY;
		c->complete = false;
		if (c->last) {
			client_close(c);
			count.reconnects++;
		}
	}
	if (busy && !plan.hold)
		call_next(c);
}

static void events_wait(uint64_t until_ns)
{
	static struct epoll_event ready[256];
	uint64_t now = clock_ns(), wait = until_ns > now ? until_ns - now : 0;
	struct timespec ts = { (time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S) };
	int n = epoll_pwait2(clients.epoll_fd, ready, 256, &ts, NULL);

	if (n < 0 && errno != EINTR)
		die("epoll_pwait2");
	for (int i = 0; i < n; i++) {
		struct client *c = ready[i].data.ptr;

		if (c->state != CLIENT_CLOSED)
			conn_ready(c, ready[i].events);
	}
}

static void run_closed(void)
{
	uint64_t first = plan.calls && plan.calls < plan.conns ? plan.calls : plan.conns;

	idle_len = plan.conns - first;
	for (uint64_t i = plan.conns - first; i < plan.conns; i++)
		call_begin(&conn[i], clock_ns());
	while (idle_len < plan.conns && clock_ns() < stop_ns + GRACE_S * NS_PER_S)
		events_wait(stop_ns + GRACE_S * NS_PER_S);
}

static void run_open(void)
{
	uint64_t k = 0, due = start_ns, now;

	for (;;) {
		now = clock_ns();
		while (due <= now && due < stop_ns && idle_len) {
			call_begin(&conn[idle[--idle_len]], due);
			due = due_of(++k);
			now = clock_ns();
		}
		if (due >= stop_ns)
			break;
		if (now >= stop_ns) { /* overrun: what never began is unanswered as well */
			count.unanswered += ((stop_ns - due) * plan.rate + NS_PER_S - 1) / NS_PER_S;
			break;
		}
		events_wait(idle_len ? due : stop_ns);
	}
	while (idle_len < plan.conns && clock_ns() < stop_ns + GRACE_S * NS_PER_S)
		events_wait(stop_ns + GRACE_S * NS_PER_S);
}

static uint64_t streams_begun(void)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < plan.conns; i++)
		n += conn[i].state == CLIENT_BUSY && conn[i].tail_ns;
	return n;
}

static bool stdin_open(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char drop[64];

	return poll(&p, 1, 0) == 0 || read(STDIN_FILENO, drop, sizeof(drop)) > 0;
}

static void run_hold(void)
{
	uint64_t k = 0, held = 0, now = start_ns, limit = start_ns + HOLD_LIMIT_S * NS_PER_S;

	record_ns = start_ns;
	stop_ns = events_ns = limit;
	while (now < limit && stdin_open()) {
		while (k < plan.conns && due_of(k) <= now)
			call_begin(&conn[k++], clock_ns());
		events_wait(k < plan.conns ? due_of(k) : now + NS_PER_S / 20);
		now = clock_ns();
		if (events_ns == limit && k == plan.conns) {
			held = streams_begun();
			if (held + count.errors + count.answered < plan.conns)
				continue;
			events_ns = now;
			printf("{\"held\":%llu}\n", (unsigned long long)held);
			fflush(stdout);
		}
	}
	count.ok = streams_begun();
}

static void report(void)
{
	uint64_t span = count.last_ns > count.first_ns ? count.last_ns - count.first_ns : 0;

	printf("{\"conns\":%llu,\"rate\":%llu,\"begun\":%llu,\"answered\":%llu,\"ok\":%llu,"
	       "\"bad_status\":%llu,\"first_bad_status\":%u,\"incomplete\":%llu,\"errors\":%llu,"
	       "\"unanswered\":%llu,\"reconnects\":%llu,\"wall_s\":%.6f,\"calls_per_s\":%.1f,",
		(unsigned long long)plan.conns, (unsigned long long)plan.rate,
		(unsigned long long)count.begun, (unsigned long long)count.answered,
		(unsigned long long)count.ok, (unsigned long long)count.bad_status,
		count.first_bad_status, (unsigned long long)count.incomplete,
		(unsigned long long)count.errors, (unsigned long long)count.unanswered,
		(unsigned long long)count.reconnects, (double)span / (double)NS_PER_S,
		span ? (double)count.answered * (double)NS_PER_S / (double)span : 0.0);
	hist_print(stdout, "latency", &latency);
	putchar(',');
	hist_print(stdout, "service", &service);
	putchar(',');
	hist_print(stdout, "first_byte", &first_byte);
	putchar(',');
	hist_print(stdout, "first_event", &first_event);
	putchar(',');
	hist_print(stdout, "event_delay", &event_delay);
	putchar(',');
	hist_print(stdout, "end_hold", &end_hold);
	printf("}\n");
}

/* A chat request of plan.size bytes; `model` and `stream` come first, where the upstream looks. */
static void request_build(void)
{
	static const char filler[] =
		"Plain words with a \\\"quotation\\\", digits 0123456789 and a "
		"line end now and then, as prompts have them.\\n";
	static const char end[] = "\"}]}";
	size_t cap = plan.size + HEADERS_BYTES + 2048, head_len, len;
	char *body = malloc(cap), *request = malloc(cap);

	if (!body || !request)
		die("bench-load");
	len = (size_t)snprintf(body, cap,
		"{\"model\":\"%s\",%s\"temperature\":0.2,\"max_tokens\":256,\"messages\":["
		"{\"role\":\"system\",\"content\":\"Answer briefly.\"},"
		"{\"role\":\"user\",\"content\":\"",
		plan.model,
		clients.sse ? "\"stream\":true,\"stream_options\":{\"include_usage\":true}," : "");
	for (; len + sizeof(filler) + 4 < plan.size; len += sizeof(filler) - 1)
		memcpy(body + len, filler, sizeof(filler) - 1);
	while (len + 4 < plan.size)
		body[len++] = '.';
	memcpy(body + len, end, sizeof(end) - 1);
	len += sizeof(end) - 1;
	head_len = (size_t)snprintf(request, cap,
		"POST %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: OpenAI/Python 2.0.0\r\n"
		"Accept: application/json\r\nContent-Type: application/json\r\n%s"
		"Content-Length: %zu\r\n\r\n",
		plan.path, plan.headers, len);
	memcpy(request + head_len, body, len);
	free(body);
	clients.request = request;
	clients.request_len = head_len + len;
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: bench-load --to 127.0.0.1:PORT|unix:PATH [options]\n"
		"  --conns N      connections (64)          --rate N     calls/s, open loop\n"
		"  --ms N         measured time (3000)      --warm-ms N  before it, not measured "
		"(500)\n"
		"  --calls N      stop after N, closed loop --size N     bytes of body (1024)\n"
		"  --stream       ask for SSE               --hold       keep one stream per "
		"connection\n"
		"  --path P       (/v1/chat/completions)    --model M    (mock-gpt)\n"
		"  --header 'K: V'  may be repeated\n"
		"  with --hold, --rate is how many streams begin in a second (1000)\n");
	exit(2);
}

static void number_option(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (number_parse(text, min, max, ret))
		usage();
}

static void header_add(const char *text)
{
	size_t have = strlen(plan.headers);
	int n = snprintf(plan.headers + have, HEADERS_BYTES - have, "%s\r\n", text);

	if (n < 0 || (size_t)n >= HEADERS_BYTES - have)
		usage();
}

static void plan_parse(int argc, char **argv)
{
	static const struct option options[] = { { "to", 1, NULL, 't' }, { "conns", 1, NULL, 'c' },
		{ "rate", 1, NULL, 'r' }, { "ms", 1, NULL, 'd' }, { "warm-ms", 1, NULL, 'w' },
		{ "calls", 1, NULL, 'n' }, { "size", 1, NULL, 's' }, { "stream", 0, NULL, 'S' },
		{ "hold", 0, NULL, 'k' }, { "path", 1, NULL, 'p' }, { "model", 1, NULL, 'm' },
		{ "header", 1, NULL, 'H' }, { NULL, 0, NULL, 0 } };
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 't': plan.to = optarg; break;
		case 'c': number_option(optarg, 1, 100000, &plan.conns); break;
		case 'r': number_option(optarg, 1, 1000000, &plan.rate); break;
		case 'd': number_option(optarg, 1, 600000, &plan.seconds_ms); break;
		case 'w': number_option(optarg, 0, 600000, &plan.warm_ms); break;
		case 'n': number_option(optarg, 1, UINT32_MAX, &plan.calls); break;
		case 's': number_option(optarg, 256, 32 << 20, &plan.size); break;
		case 'S': clients.sse = true; break;
		case 'k': plan.hold = clients.sse = true; break;
		case 'p': plan.path = optarg; break;
		case 'm': plan.model = optarg; break;
		case 'H': header_add(optarg); break;
		default: usage();
		}
	}
	if (optind != argc || !plan.to || endpoint_parse(plan.to, &clients.to))
		usage();
	if (plan.hold && !plan.rate)
		plan.rate = 1000;
}

int main(int argc, char **argv)
{
	plan_parse(argc, argv);
	request_build();
	files_raise();
	signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* else a call begins up to 50 us late */
	clients.on_event = on_event;
	clients.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	conn = calloc(plan.conns, sizeof(*conn));
	idle = calloc(plan.conns, sizeof(*idle));
	if (clients.epoll_fd < 0 || !conn || !idle)
		die("bench-load");
	for (uint64_t i = 0; i < plan.conns && !plan.hold; i++) {
		int err = client_open(&conn[i]);

		if (err) {
			errno = -err;
			die(plan.to);
		}
		idle[idle_len++] = i;
	}
	start_ns = clock_ns();
	record_ns = events_ns = start_ns + plan.warm_ms * 1000 * NS_PER_US;
	stop_ns = record_ns + plan.seconds_ms * 1000 * NS_PER_US;
	if (plan.hold)
		run_hold();
	else if (plan.rate)
		run_open();
	else
		run_closed();
	for (uint64_t i = 0; i < plan.conns && !plan.hold; i++)
		count.unanswered += conn[i].state == CLIENT_BUSY;
	report();
	return 0;
}
