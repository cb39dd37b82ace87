/* chat: one prompt to this host's agent, as an application would send it; the answer is printed as
 * it comes. */
#include "chat.h"
#include "client.h"

#include <aigw/clock.h>
#include <aigw/sse.h>
#include <aigw/text.h>
#include <aigw/url.h>

#include <unistd.h>

#define SOCKET_DEFAULT "/run/aigw/agent.sock"
#define PROMPT_MAX     (1u << 20)
#define CHAT_TIMEOUT   (10 * 60 * USEC_PER_S)

struct chat {
	struct cli *c;
	struct chat_way way;
	const char *model;
	char model_found[256];
	struct buf rest; /* an event that is not whole */
	size_t scanned;
	usec began_us, first_us;
	int64_t input, output;
	bool any, failed;
};

/* --- where ---------------------------------------------------------------------------- */

int chat_way(const struct cli *c, struct chat_way *ret)
{
	const char *base = getenv("OPENAI_BASE_URL");
	struct errbuf e;
	struct url url;

	ret->key = getenv("OPENAI_API_KEY");
	if (!base) {
		(void)snprintf(ret->path, sizeof(ret->path), "/v1");
		if (exchange_unix(SOCKET_DEFAULT, &ret->peer, &e))
			return cli_fail(c, EXIT_USAGE, "%s", e.text);
		return EXIT_DONE;
	}
	if (url_parse(slice_str(base), &url, &e))
		return cli_fail(c, EXIT_USAGE, "OPENAI_BASE_URL: %s", e.text);
	if (url.tls ||
		!(slice_eq(url.host, SLICE("127.0.0.1")) || slice_eq(url.host, SLICE("localhost"))))
		return cli_fail(c, EXIT_USAGE,
			"OPENAI_BASE_URL is %s: the agent of this host is asked, "
			"http://127.0.0.1:PORT/v1; unset it to use " SOCKET_DEFAULT,
			base);
	exchange_loopback(url.port, &ret->peer);
	(void)snprintf(ret->path, sizeof(ret->path), SLICE_FMT, SLICE_ARG(url.path));
	return EXIT_DONE;
}

/* --- a call --------------------------------------------------------------------------- */

static int say_refusal(const struct cli *c, const struct exchange_answer *a)
{
	struct errbuf e;
	JSON_AUTO *v = json_parse(buf_view(&a->body), &e);
	const json_t *error = json_object_get(v, "error");
	const char *text = json_get_str(error, "message", NULL);
	int code = a->status == 401 || a->status == 403 ? EXIT_NOT_PERMITTED
		   : a->status == 404                   ? EXIT_NOT_FOUND
		   : a->status == 429                   ? EXIT_REFUSED
							: EXIT_FAILED;

	if (!text)
		return cli_fail(c, code, "the agent answered with status %u", a->status);
	return cli_fail(c, code, "%s (%s)", text, json_get_str(error, "code", "no code was given"));
}

int chat_call(const struct cli *c, const struct chat_way *w, const char *method, const char *below,
	struct slice body, struct exchange_answer *a)
{
	char target[320], bearer[600];
	struct exchange_field auth = { SLICE("authorization"), SLICE_EMPTY };
	struct exchange_request rq = { .peer = &w->peer,
		.method = method,
		.target = target,
		.body = body,
		.deadline_us = clock_mono_us() + CHAT_TIMEOUT };
	struct interrupt held;
	struct errbuf e;
	int rc;

	(void)snprintf(target, sizeof(target), "%s%s", w->path, below);
	if (w->key && snprintf(bearer, sizeof(bearer), "Bearer %s", w->key) < (int)sizeof(bearer)) {
		auth.value = slice_str(bearer);
		rq.fields = &auth;
		rq.n_fields = 1;
	}
	rc = interrupt_hold(&held, false);
	if (rc)
		return cli_fail(c, EXIT_FAILED, "signalfd: %s", strerror(-rc));
	rq.interrupt = &held;
	rc = exchange_run(&rq, a, &e);
	interrupt_release(&held);
	if (rc == -EINTR)
		return EXIT_INTERRUPTED;
	if (rc == -ECANCELED)
		return EXIT_FAILED;
	if (rc)
		return cli_fail(c, rc == -ETIMEDOUT ? EXIT_TIMED_OUT : EXIT_UNREACHABLE,
			"%s. Start aigw-agentd, or set OPENAI_BASE_URL (aigwctl env)", e.text);
	return a->status == 200 ? EXIT_DONE : say_refusal(c, a);
}

/* The first that this caller may use. */
static int find_model(struct chat *t)
{
	struct exchange_answer a;
	struct errbuf e;
	int code;

	t->model = cli_flag(t->c, FLAG_model);
	if (t->model)
		return EXIT_DONE;
	exchange_answer_init(&a);
	code = chat_call(t->c, &t->way, "GET", "/models", SLICE_EMPTY, &a);
	if (!code) {
		JSON_AUTO *v = json_parse(buf_view(&a.body), &e);
		const char *id =
			json_get_str(json_array_get(json_object_get(v, "data"), 0), "id", NULL);

		if (id)
			(void)snprintf(t->model_found, sizeof(t->model_found), "%s", id);
		else
			code = cli_fail(t->c, EXIT_NOT_FOUND,
				"no model may be used here: the policy gives this project none");
		t->model = t->model_found;
	}
	exchange_answer_fini(&a);
	return code;
}

/* --- the answer ----------------------------------------------------------------------- */

/* From a terminal's point of view the text is a stranger's: newlines and tabs may pass. */
static void put_content(struct chat *t, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n\t");

		cli_put_text(t->c->out, slice_of(text, n));
		text += n;
		if (*text)
			(void)fputc(*text++, t->c->out);
	}
	(void)fflush(t->c->out);
}

static void take_event(struct chat *t, struct slice raw)
{
	struct sse_event event;
	struct errbuf e;
	JSON_AUTO *v = NULL;
	const json_t *usage, *delta;
	const char *text;

	sse_parse(raw, &event);
	if (!event.data.n || slice_eq(event.data, SLICE("[DONE]")))
		return;
	v = json_parse(event.data, &e);
	if (json_object_get(v, "error")) {
		t->failed = true;
		(void)fputc('\n', t->c->out);
		(void)cli_fail(t->c, EXIT_FAILED, "%s",
			json_get_str(json_object_get(v, "error"), "message", "the stream broke"));
		return;
	}
	delta = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "delta");
	text = json_get_str(delta, "content", "");
	if (*text && !t->first_us)
		t->first_us = clock_mono_us();
	t->any = t->any || *text;
	put_content(t, text);
	usage = json_object_get(v, "usage");
	if (json_is_object(usage)) {
		t->input = json_get_int(usage, "prompt_tokens", 0);
		t->output = json_get_int(usage, "completion_tokens", 0);
	}
}

static bool on_piece(struct slice bytes, void *owner)
{
	struct chat *t = owner;
	size_t n;

	if (buf_slice(&t->rest, bytes)) {
		(void)cli_fail(t->c, EXIT_FAILED, "an event of the answer is too large");
		return false;
	}
	while ((n = sse_event_end(t->rest.p, t->rest.n, &t->scanned, false)) != 0) {
		take_event(t, slice_of(t->rest.p, n));
		buf_drop(&t->rest, n);
		t->scanned = 0;
	}
	return !t->failed;
}

static int ask(struct chat *t, struct slice prompt)
{
	bool plain = t->c->output == OUTPUT_JSON;
	struct exchange_answer a;
	struct buf body;
	int code;

	buf_init(&body, PROMPT_MAX * 8);
	(void)buf_str(&body, "{\"model\":");
	(void)text_json_quote(&body, slice_str(t->model));
	(void)buf_str(&body, ",\"messages\":[{\"role\":\"user\",\"content\":");
	(void)text_json_quote(&body, prompt);
	(void)buf_str(&body,
		plain ? "}]}" : "}],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
	exchange_answer_init(&a);
	if (!plain) {
		a.piece = on_piece;
		a.owner = t;
	}
	t->began_us = clock_mono_us();
	code = body.err
		       ? cli_fail(t->c, EXIT_FAILED, "out of memory")
		       : chat_call(t->c, &t->way, "POST", "/chat/completions", buf_view(&body), &a);
	if (!code && plain) {
		cli_put_text(t->c->out, buf_view(&a.body));
		(void)fputc('\n', t->c->out);
	} else if (!code) {
		if (t->any)
			(void)fputc('\n', t->c->out);
		cli_note(t->c,
			"%s: %" PRId64 " tokens in, %" PRId64 " out; first after %" PRId64
			" ms, all after %" PRId64 " ms",
			t->model, t->input, t->output,
			t->first_us ? (t->first_us - t->began_us) / USEC_PER_MS : 0,
			(clock_mono_us() - t->began_us) / USEC_PER_MS);
	}
	exchange_answer_fini(&a);
	buf_fini(&body);
	return code;
}

/* The words of the command line, or standard input. */
static int read_prompt(const struct cli *c, struct buf *b)
{
	char piece[4096];
	ssize_t n;

	for (unsigned i = 0; i < c->inv.n_args; i++) {
		if (i)
			(void)buf_char(b, ' ');
		(void)buf_str(b, c->inv.args[i]);
	}
	if (c->inv.n_args == 0) {
		if (isatty(STDIN_FILENO))
			return cli_fail(c, EXIT_USAGE,
				"what is the prompt? aigwctl chat \"hello\", or on standard input");
		while ((n = read(STDIN_FILENO, piece, sizeof(piece))) > 0)
			(void)buf_append(b, piece, (size_t)n);
		if (n < 0)
			return cli_fail(c, EXIT_FAILED, "standard input: %s", strerror(errno));
	}
	if (b->err)
		return cli_fail(c, EXIT_USAGE, "the prompt is larger than 1 MiB");
	return b->n ? EXIT_DONE : cli_fail(c, EXIT_USAGE, "the prompt is empty");
}

int cmd_chat(struct cli *c)
{
	struct chat t = { .c = c };
	struct buf prompt;
	int code;

	if (c->output != OUTPUT_TABLE && c->output != OUTPUT_JSON)
		return cli_fail(c, EXIT_USAGE, "-o: chat prints text, or the answer as json");
	buf_init(&prompt, PROMPT_MAX);
	buf_init(&t.rest, 16u << 20);
	code = read_prompt(c, &prompt);
	if (!code)
		code = chat_way(c, &t.way);
	if (!code)
		code = find_model(&t);
	if (!code)
		code = ask(&t, buf_view(&prompt));
	buf_fini(&prompt);
	buf_fini(&t.rest);
	return code;
}
