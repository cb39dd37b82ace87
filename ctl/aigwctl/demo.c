/* The order of things: folder, simulator, controller, agent, policy, key; then calls; then the end,
 * in reverse. */
#include "demo.h"
#include "client.h"

#include <aigw/clock.h>
#include <aigw/text.h>
#include <unistd.h>

#define POLL_US (20 * USEC_PER_MS)

/* --- options ----------------------------------------------------------------------- */

static int read_credential(struct demo *d)
{
	const char *file = cli_flag(d->c, FLAG_secret_file), *env = getenv("OPENAI_API_KEY");

	if (!d->openai)
		return file ? cli_fail(d->c, EXIT_USAGE,
				      "--secret-file needs --provider openai; the simulator wants "
				      "none")
			    : EXIT_DONE;
	if (file)
		return cli_read_secret(d->c, file, "OpenAI key", &d->credential);
	if (!env || !*env)
		return cli_fail(d->c, EXIT_USAGE,
			"whose key? --secret-file F, --secret-file - (stdin), or OPENAI_API_KEY");
	return secret_set(&d->credential, slice_str(env))
		       ? cli_fail(d->c, EXIT_FAILED, "out of memory")
		       : EXIT_DONE;
}

static int options(struct demo *d)
{
	const char *provider = cli_flag(d->c, FLAG_provider), *port = cli_flag(d->c, FLAG_port);
	const char *requests = cli_flag(d->c, FLAG_requests);
	uint64_t n = 0;

	if (provider && strcmp(provider, "sim") != 0 && strcmp(provider, "openai") != 0)
		return cli_fail(d->c, EXIT_USAGE,
			"--provider %s is not supported yet; sim and openai are", provider);
	d->openai = provider && strcmp(provider, "openai") == 0;
	d->selftest = cli_flag(d->c, FLAG_selftest);
	d->keep = cli_flag(d->c, FLAG_keep);
	if (port && (text_parse_u64(slice_str(port), &n) < 0 || n < 1 || n > 65535))
		return cli_fail(
			d->c, EXIT_USAGE, "--port %s: must be a number from 1 to 65535", port);
	d->port = (uint16_t)n;
	d->requests = d->openai || d->selftest ? 0 : 12;
	if (requests &&
		(text_parse_u64(slice_str(requests), &d->requests) < 0 || d->requests > 100000))
		return cli_fail(d->c, EXIT_USAGE,
			"--requests %s: must be a number from 0 to 100000", requests);
	return read_credential(d);
}

/* --- things that have to come up --------------------------------------------------- */

/* After a call of the admin API: what became of it if a signal or a child's death came in
   between. */
static int settle(struct demo *d, int code)
{
	bool timeout;
	int why;

	if (code != EXIT_INTERRUPTED && code != EXIT_UNREACHABLE)
		return code;
	why = demo_wait(d, -1, USEC_PER_S, &timeout);
	return why ? why : cli_fail(d->c, EXIT_FAILED, "the demo's controller does not answer");
}

typedef int ready_fn(struct demo *d, bool *ret_ready);

static int wait_until(struct demo *d, ready_fn *fn, const char *what)
{
	usec deadline = clock_mono_us() + DEMO_START_US;
	bool ready = false, timeout;
	int code;

	for (;;) {
		code = fn(d, &ready);
		if (code || ready)
			return code;
		if (clock_mono_us() > deadline)
			return cli_fail(d->c, EXIT_FAILED, "%s within %d s", what,
				(int)(DEMO_START_US / USEC_PER_S));
		code = demo_wait(d, -1, POLL_US, &timeout);
		if (code)
			return code;
	}
}

static int controller_ready(struct demo *d, bool *ret_ready)
{
	const struct client_call call = {
		.method = "GET", .target = "/api/v1/version", .quiet_errors = true
	};
	JSON_AUTO *answer = NULL;
	int code = client_call(&d->api, &call, &answer);

	*ret_ready = code == EXIT_DONE;
	return code == EXIT_UNREACHABLE ? EXIT_DONE : settle(d, code);
}

static int agent_connected(struct demo *d, bool *ret_ready)
{
	JSON_AUTO *answer = NULL;
	int code = settle(d, client_get(&d->api, "/api/v1/agents", &answer));
	const char *state =
		json_get_str(json_array_get(json_object_get(answer, "agents"), 0), "state", "down");

	*ret_ready = !code && strcmp(state, "down") != 0;
	return code;
}

static int agent_ready(struct demo *d, bool *ret_ready)
{
	unsigned status;
	int code = demo_get(d, "/readyz", &status);

	*ret_ready = status == 200;
	return code;
}

static int start_sim(struct demo *d)
{
	int code = d->openai ? EXIT_DONE : demo_child_start(d, DEMO_SIM);

	return code || d->openai ? code : demo_sim_wait(d);
}

static int start_controller(struct demo *d)
{
	int code = demo_child_start(d, DEMO_CTLD);

	return code ? code : wait_until(d, controller_ready, "the controller does not answer");
}

static int start_agent(struct demo *d)
{
	int code = demo_child_start(d, DEMO_AGENTD);

	return code ? code
		    : wait_until(
			      d, agent_connected, "the agent does not connect to the controller");
}

/* --- policy, secret, key ----------------------------------------------------------- */

static int apply(struct demo *d)
{
	JSON_AUTO *answer = NULL;
	struct buf text, missing;
	json_t *body;
	int code;

	buf_init(&text, 64u << 10);
	if (demo_policy_text(d, &text) < 0) {
		buf_fini(&text);
		return cli_fail(d->c, EXIT_FAILED, "out of memory");
	}
	body = json_pack("{s:[{s:s, s:s%}], s:s, s:b, s:I}", "files", "name", "demo.yaml", "text",
		text.p, text.n, "message", "aigwctl demo", "wait", 1, "timeout_ms",
		(json_int_t)client_timeout_ms(&d->api));
	buf_fini(&text);
	code = settle(d, client_send(&d->api, "POST", "/api/v1/policy", body, true, &answer));
	if (code)
		return code;
	buf_init(&missing, 4096);
	if (client_agents_missing(answer, "applied", &missing))
		code = cli_fail(d->c, EXIT_FAILED, "the agent did not take the demo's policy: %s",
			buf_cstr(&missing));
	buf_fini(&missing);
	return code;
}

static int push_secret(struct demo *d)
{
	JSON_AUTO *answer = NULL;

	return d->openai ? settle(d, client_put_secret(&d->api, "openai", &d->credential, &answer))
			 : EXIT_DONE;
}

static int make_key(struct demo *d)
{
	JSON_AUTO *answer = NULL;
	const char *key;
	int code = settle(d, client_send(&d->api, "POST", "/api/v1/keys",
				     json_pack("{s:s, s:s, s:b, s:I}", "name", "demo", "project",
					     DEMO_KEY_PROJECT, "wait", 1, "timeout_ms",
					     (json_int_t)client_timeout_ms(&d->api)),
				     true, &answer));

	if (code)
		return code;
	key = json_get_str(answer, "key", NULL);
	if (!key || secret_set(&d->key, slice_str(key)))
		return cli_fail(d->c, EXIT_FAILED, "the controller made no key");
	return wait_until(d, agent_ready, "the agent is not ready");
}

/* --- what one sees ----------------------------------------------------------------- */

static int sample_calls(struct demo *d)
{
	for (uint64_t i = 0; i < d->requests; i++) {
		int code = demo_call(
			d, (enum demo_call_kind)(i % DEMO_CALL_KINDS), i / DEMO_CALL_KINDS % 2);

		if (code)
			return code;
	}
	return EXIT_DONE;
}

static void banner(const struct demo *d)
{
	FILE *out = d->c->out;
	struct slice key = secret_expose(&d->key);

	(void)fprintf(out, "aigw demo (%s)   Ctrl-C ends and removes it\n",
		d->openai ? "real provider: calls cost money"
			  : "simulated provider, nothing leaves this machine");
	(void)fprintf(out, "  API      http://127.0.0.1:%u/v1     key " SLICE_FMT "\n",
		(unsigned)d->port, SLICE_ARG(key));
	(void)fprintf(
		out, "  Socket   %s/agent.sock     no key: the kernel says who you are\n", d->dir);
	if (d->no_mount)
		(void)fprintf(out, "  Stats    none: %s\n", d->no_mount);
	else
		(void)fprintf(out, "  Stats    %s/stats\n", d->dir);
	(void)fprintf(out,
		"  Control  export AIGW_CTL=unix:%s AIGW_AGENT=%s/control.sock\n"
		"           then aigwctl status, usage show, key create …, tail, top, explain …\n",
		d->admin_socket, d->dir);
	(void)fprintf(out,
		"Try:\n"
		"  curl http://127.0.0.1:%u/v1/chat/completions -H 'authorization: "
		"Bearer " SLICE_FMT "' \\\n"
		"       -H 'content-type: application/json' \\\n"
		"       -d '{\"model\":\"" DEMO_MODEL
		"\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}'\n",
		(unsigned)d->port, SLICE_ARG(key));
	(void)fprintf(out,
		"  curl --unix-socket %s/agent.sock http://localhost/v1/chat/completions \\\n"
		"       -H 'content-type: application/json' \\\n"
		"       -d '{\"model\":\"" DEMO_ALIAS
		"\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}'\n",
		d->dir);
	if (d->no_mount)
		(void)fprintf(out, "  aigwctl --ctl unix:%s usage show --by project,model\n",
			d->admin_socket);
	else
		(void)fprintf(out, "  watch cat %s/stats/summary\n", d->dir);
	if (d->requests)
		(void)fprintf(out,
			"Traffic: %" PRIu64 " sample calls were made (--requests 0 for none).\n",
			d->requests);
	(void)fflush(out);
}

/* --- order ------------------------------------------------------------------------- */

static int come_up(struct demo *d)
{
	static int (*const steps[])(struct demo * d) = { demo_home_make, demo_port_choose,
		start_sim, demo_config_write, start_controller, start_agent, apply, push_secret,
		make_key, sample_calls };

	for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
		int code = steps[i](d);

		if (code)
			return code;
	}
	return EXIT_DONE;
}

/* Until somebody ends it; that is how a demo goes well. */
static int stay(struct demo *d)
{
	bool timeout;
	int code;

	banner(d);
	code = demo_wait(d, -1, INT64_MAX, &timeout);
	return code == EXIT_INTERRUPTED ? EXIT_DONE : code;
}

int cmd_demo(struct cli *c)
{
	struct demo d = { .c = c, .api = *c };
	int code = options(&d);

	if (code || interrupt_hold(&d.signals, true) < 0) {
		secret_fini(&d.credential);
		return code ? code : cli_fail(c, EXIT_FAILED, "signalfd: %s", strerror(errno));
	}
	/* A reader of our stdout that goes away must not keep us from tidying up. */
	(void)signal(SIGPIPE, SIG_IGN);
	d.api.quiet = true;
	d.api.output = OUTPUT_TABLE;
	d.api.timeout_us = DEMO_START_US;
	d.api.ctl = d.admin_socket;
	d.api.interrupt = &d.signals;
	code = come_up(&d);
	if (!code)
		code = d.selftest ? demo_selftest(&d) : stay(&d);
	(void)fflush(c->out); /* what was found shows before the programs have ended */
	if (d.signal)
		(void)fputc('\n', c->err);
	if (code && code != EXIT_INTERRUPTED && !d.keep)
		cli_note(c, "(--keep leaves the logs to look at)");
	demo_children_stop(&d);
	demo_home_remove(&d);
	interrupt_release(&d.signals);
	secret_fini(&d.key);
	secret_fini(&d.credential);
	return code;
}
