#include "local.h"

#include "client.h"
#include "exchange.h"

#include <aigw/clock.h>
#include <aigw/text.h>

#define LINE_MAX_TEXT (1u << 20)

static int say_failure(const struct cli *c, int rc, const struct errbuf *e)
{
	char span[32];

	switch (-rc) {
	case EINTR: return EXIT_INTERRUPTED;
	case ETIMEDOUT:
		text_format_duration(c->timeout_us, span);
		return cli_fail(c, EXIT_TIMED_OUT,
			"the agent at unix:%s did not answer within %s (--timeout)", c->agent,
			span);
	case EACCES:
		return cli_fail(c, EXIT_NOT_PERMITTED,
			"%s; the agent answers root, its own user and the members of group "
			"aigw-admin",
			e->text);
	case ECONNREFUSED:
		return cli_fail(c, EXIT_UNREACHABLE,
			"no agent: %s. Start aigw-agentd there, or name its control socket: "
			"--agent "
			"PATH or AIGW_AGENT",
			e->text);
	case ECONNRESET: return cli_fail(c, EXIT_UNREACHABLE, "%s", e->text);
	default: return cli_fail(c, EXIT_FAILED, "%s", e->text);
	}
}

static int say_refusal(const struct cli *c, const struct exchange_answer *a)
{
	struct errbuf e;
	JSON_AUTO *v = json_parse(buf_view(&a->body), &e);
	const char *text = json_get_str(json_object_get(v, "error"), "message", NULL);

	if (text)
		return cli_fail(c, client_exit_code(a->status), "%s", text);
	return cli_fail(
		c, client_exit_code(a->status), "the agent answered with status %u", a->status);
}

enum may { MAY_NOTHING, MAY_MISS, MAY_BE_AWAY }; /* each with those before */

static int run(const struct cli *c, const char *method, const char *target, struct slice body,
	usec timeout_us, enum may may, struct exchange_answer *a)
{
	struct exchange_request rq = { .method = method, .target = target, .body = body };
	struct exchange_peer peer;
	struct interrupt held;
	struct errbuf e;
	usec start = clock_mono_us();
	int rc = exchange_unix(c->agent, &peer, &e);

	if (rc)
		return cli_fail(c, EXIT_USAGE, "%s", e.text);
	rc = interrupt_hold(&held, false);
	if (rc)
		return cli_fail(c, EXIT_FAILED, "signalfd: %s", strerror(-rc));
	rq.peer = &peer;
	rq.interrupt = &held;
	rq.deadline_us = timeout_us == INT64_MAX ? INT64_MAX : start + timeout_us;
	rc = exchange_run(&rq, a, &e);
	interrupt_release(&held);
	cli_verbose(c, "%s %s -> %u in %lld ms", method, target, a->status,
		(long long)((clock_mono_us() - start) / 1000));
	if (rc == -ECANCELED)
		return EXIT_DONE; /* whoever did not want more says why */
	if (rc == -ECONNREFUSED && may == MAY_BE_AWAY)
		return EXIT_UNREACHABLE;
	if (rc)
		return say_failure(c, rc, &e);
	if (client_exit_code(a->status) == EXIT_DONE || (may != MAY_NOTHING && a->status == 404))
		return EXIT_DONE;
	return say_refusal(c, a);
}

int local_text(const struct cli *c, const char *method, const char *target, struct slice body,
	struct buf *ret)
{
	struct exchange_answer a;
	int code;

	exchange_answer_init(&a);
	code = run(c, method, target, body, c->timeout_us, MAY_NOTHING, &a);
	if (!code && buf_slice(ret, buf_view(&a.body)))
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	exchange_answer_fini(&a);
	return code;
}

int local_call(const struct cli *c, const char *method, const char *target, struct slice body,
	json_t **ret)
{
	struct errbuf e;
	struct buf b;
	int code;

	*ret = NULL;
	buf_init(&b, EXCHANGE_MAX_ANSWER);
	code = local_text(c, method, target, body, &b);
	if (!code) {
		*ret = json_parse(buf_view(&b), &e);
		if (!*ret)
			code = cli_fail(
				c, EXIT_FAILED, "the agent's answer is not JSON: %s", e.text);
	}
	buf_fini(&b);
	return code;
}

static int find(const struct cli *c, const char *target, enum may may, json_t **ret)
{
	struct exchange_answer a;
	struct errbuf e;
	int code;

	*ret = NULL;
	exchange_answer_init(&a);
	code = run(c, "GET", target, SLICE_EMPTY, c->timeout_us, may, &a);
	if (!code && a.status != 404) {
		*ret = json_parse(buf_view(&a.body), &e);
		if (!*ret)
			code = cli_fail(
				c, EXIT_FAILED, "the agent's answer is not JSON: %s", e.text);
	}
	exchange_answer_fini(&a);
	return code;
}

int local_find(const struct cli *c, const char *target, json_t **ret)
{
	return find(c, target, MAY_MISS, ret);
}

int local_find_if_there(const struct cli *c, const char *target, json_t **ret)
{
	return find(c, target, MAY_BE_AWAY, ret);
}

/* --- lines ----------------------------------------------------------------------------- */

struct reading {
	struct cli *c;
	int (*each)(struct cli *c, json_t *line, void *owner);
	void *owner;
	struct buf rest; /* a line that is not whole */
	int code;
};

static bool on_piece(struct slice bytes, void *owner)
{
	struct reading *r = owner;
	struct slice all;
	size_t used = 0;
	const char *end;

	if (buf_slice(&r->rest, bytes)) {
		r->code = cli_fail(r->c, EXIT_FAILED, "a line of the agent's answer is too long");
		return false;
	}
	all = buf_view(&r->rest);
	while (!r->code && (end = memchr(all.p + used, '\n', all.n - used)) != NULL) {
		struct errbuf e;
		JSON_AUTO *v = json_parse(slice_of(all.p + used, (size_t)(end - all.p) - used), &e);

		used = (size_t)(end - all.p) + 1;
		if (json_is_object(v))
			r->code = r->each(r->c, v, r->owner);
		else
			r->code = cli_fail(r->c, EXIT_FAILED,
				"a line of the agent's answer is not a JSON object");
	}
	buf_drop(&r->rest, used);
	if (fflush(r->c->out) != 0)
		r->code = EXIT_FAILED; /* print_finish() says it */
	return !r->code;
}

int local_lines(struct cli *c, const char *target, bool endless,
	int (*each)(struct cli *c, json_t *line, void *owner), void *owner)
{
	struct reading r = { .c = c, .each = each, .owner = owner };
	struct exchange_answer a;
	int code;

	buf_init(&r.rest, LINE_MAX_TEXT + (64u << 10));
	exchange_answer_init(&a);
	a.piece = on_piece;
	a.owner = &r;
	code = run(c, "GET", target, SLICE_EMPTY, endless ? INT64_MAX : c->timeout_us, MAY_NOTHING,
		&a);
	exchange_answer_fini(&a);
	buf_fini(&r.rest);
	return r.code ? r.code : code;
}
