#include "client.h"
#include "exchange.h"

#include <aigw/clock.h>
#include <aigw/secret.h>
#include <aigw/text.h>

int client_exit_code(unsigned status)
{
	switch (status) {
	case 400: return EXIT_USAGE;
	case 403: return EXIT_NOT_PERMITTED;
	case 404: return EXIT_NOT_FOUND;
	case 409: return EXIT_CONFLICT;
	case 422: return EXIT_POLICY;
	default: return status >= 200 && status < 300 ? EXIT_DONE : EXIT_FAILED;
	}
}

int64_t client_timeout_ms(const struct cli *c)
{
	return (c->timeout_us + 999) / 1000;
}

const char *client_path(struct buf *b, const char *before, const char *name, const char *rest)
{
	buf_init(b, 16u << 10);
	(void)buf_str(b, before);
	(void)exchange_escape(b, slice_str(name));
	(void)buf_str(b, rest);
	return buf_cstr(b);
}

static int say_failure(
	const struct cli *c, const struct client_call *call, int rc, const struct errbuf *e)
{
	char span[32];
	int code = rc == -EACCES                              ? EXIT_NOT_PERMITTED
		   : rc == -ECONNREFUSED || rc == -ECONNRESET ? EXIT_UNREACHABLE
							      : EXIT_FAILED;

	if (call->quiet_errors && code != EXIT_FAILED)
		return code;
	/* Who waits for signals knows which it was, or which daemon has died. */
	if (c->interrupt && (rc == -EINTR || code == EXIT_UNREACHABLE))
		return rc == -EINTR ? EXIT_INTERRUPTED : code;
	switch (-rc) {
	case EINTR:
		return cli_fail(c, EXIT_INTERRUPTED, "interrupted%s",
			strcmp(call->method, "GET") == 0
				? ""
				: "; what was asked may have been done: aigwctl status");
	case ETIMEDOUT:
		text_format_duration(c->timeout_us, span);
		return cli_fail(c, EXIT_TIMED_OUT,
			"the controller at unix:%s did not answer within %s (--timeout)", c->ctl,
			span);
	case EACCES:
		return cli_fail(c, code,
			"%s; the controller's users are root and the members of group aigw-admin",
			e->text);
	case ECONNREFUSED:
		return cli_fail(c, code,
			"no controller: %s. Start aigw-ctld there, or name another one: --ctl "
			"unix:PATH or AIGW_CTL (to try things out: aigwctl demo)",
			e->text);
	default: return cli_fail(c, code, "%s", e->text);
	}
}

static int say_refusal(const struct cli *c, unsigned status, const json_t *answer)
{
	const json_t *findings = json_object_get(answer, "findings");
	const char *text = json_get_str(json_object_get(answer, "error"), "message", NULL);
	size_t i;
	json_t *line;

	json_array_foreach(findings, i, line)
	{
		cli_put_text(
			c->err, slice_str(json_string_value(line) ? json_string_value(line) : "?"));
		(void)fputc('\n', c->err);
	}
	if (status == 422)
		return cli_fail(
			c, EXIT_POLICY, "the policy is not valid; the one in force is untouched");
	if (text)
		return cli_fail(c, client_exit_code(status), "%s", text);
	return cli_fail(
		c, client_exit_code(status), "the controller answered with status %u", status);
}

static int run(const struct cli *c, const struct client_call *call, struct exchange_answer *a)
{
	struct exchange_request rq = {
		.method = call->method, .target = call->target, .body = call->body
	};
	struct exchange_peer peer;
	struct interrupt held;
	struct errbuf e;
	usec start = clock_mono_us();
	int rc = exchange_unix(c->ctl, &peer, &e);

	if (rc)
		return cli_fail(c, EXIT_USAGE, "%s", e.text);
	rc = c->interrupt ? 0 : interrupt_hold(&held, false);
	if (rc)
		return cli_fail(c, EXIT_FAILED, "signalfd: %s", strerror(-rc));
	rq.peer = &peer;
	rq.interrupt = c->interrupt ? c->interrupt : &held;
	rq.deadline_us = start + c->timeout_us + (call->waits ? 2 * USEC_PER_S : 0);
	rc = exchange_run(&rq, a, &e);
	if (!c->interrupt)
		interrupt_release(&held);
	cli_verbose(c, "%s %s -> %u in %lld ms", call->method, call->target, a->status,
		(long long)((clock_mono_us() - start) / 1000));
	return rc ? say_failure(c, call, rc, &e) : EXIT_DONE;
}

int client_call(const struct cli *c, const struct client_call *call, json_t **ret)
{
	struct exchange_answer a;
	struct errbuf e;
	int code;

	*ret = NULL;
	exchange_answer_init(&a);
	code = run(c, call, &a);
	if (code == EXIT_DONE) {
		*ret = json_parse(buf_view(&a.body), &e);
		if (!json_is_object(*ret))
			code = cli_fail(c, EXIT_FAILED,
				"the controller's answer (status %u) is not a JSON object%s%s",
				a.status, *ret ? "" : ": ", *ret ? "" : e.text);
		else if (client_exit_code(a.status) != EXIT_DONE)
			code = say_refusal(c, a.status, *ret);
	}
	exchange_answer_fini(&a);
	if (code != EXIT_DONE && code != EXIT_POLICY)
		json_unrefp(ret);
	return code;
}

int client_get(const struct cli *c, const char *target, json_t **ret)
{
	const struct client_call call = { .method = "GET", .target = target };

	return client_call(c, &call, ret);
}

int client_send(const struct cli *c, const char *method, const char *target, json_t *body,
	bool waits, json_t **ret)
{
	struct client_call call = { .method = method, .target = target, .waits = waits };
	struct buf b;
	int code;

	*ret = NULL;
	buf_init(&b, 32u << 20);
	if (!body || json_write(body, &b, false) < 0) {
		code = cli_fail(c, EXIT_FAILED, "the request is too large, or memory is short");
	} else {
		call.body = buf_view(&b);
		code = client_call(c, &call, ret);
	}
	buf_fini(&b);
	json_decref(body);
	return code;
}

/* {"value":"…"}: by hand into memory that is wiped, since a JSON tree would leave copies. */
int client_put_secret(const struct cli *c, const char *name, const struct secret *s, json_t **ret)
{
	struct client_call call = { .method = "PUT", .waits = true };
	struct buf body, path;
	int code;

	*ret = NULL;
	if (!text_is_utf8(secret_expose(s)))
		return cli_fail(c, EXIT_USAGE, "the secret is not text");
	buf_init(&body, 128u << 10);
	(void)buf_reserve(&body, secret_expose(s).n * 6 + 64);
	(void)buf_printf(&body, "{\"timeout_ms\":%lld,\"value\":", (long long)client_timeout_ms(c));
	(void)text_json_quote(&body, secret_expose(s));
	(void)buf_char(&body, '}');
	call.target = client_path(&path, "/api/v1/secrets/", name, "");
	call.body = buf_view(&body);
	if (body.err)
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	else
		code = client_call(c, &call, ret);
	if (body.p)
		secret_wipe(body.p, body.cap);
	buf_fini(&body);
	buf_fini(&path);
	return code;
}

static bool word_among(const char *word, const char *list)
{
	size_t n = strlen(word);

	for (;;) {
		size_t len = strcspn(list, "|");

		if (len == n && memcmp(list, word, n) == 0)
			return true;
		if (!list[len])
			return false;
		list += len + 1;
	}
}

unsigned client_agents_missing(const json_t *answer, const char *good, struct buf *list)
{
	unsigned n = 0;
	size_t i;
	json_t *agent;

	json_array_foreach(json_object_get(answer, "agents"), i, agent)
	{
		const char *state = json_get_str(agent, "state", "unknown");
		const char *reason = json_get_str(agent, "reason", "");

		if (word_among(state, good))
			continue;
		(void)buf_printf(list, "%s%s (%s%s%s)", n++ ? ", " : "",
			json_get_str(agent, "name", "?"), state, *reason ? ": " : "", reason);
	}
	return n;
}
