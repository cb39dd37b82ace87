/* init: a single host from nothing to its first call. Files first (none is ever overwritten), then
 * the units, then policy and key through the admin API like everybody else. A step that fails says
 * what has been done and how to go on by hand. */
#include "client.h"
#include "print.h"

#include <aigw/atomic_file.h>
#include <aigw/clock.h>
#include <aigw/policy_doc.h>
#include <aigw/secret.h>
#include <aigw/text.h>
#include <aigw/url.h>

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ETC      "/etc/aigw"
#define POLICY   ETC "/policy.yaml"
#define SECRETS  ETC "/secrets.d"
#define START_US (30 * USEC_PER_S)
#define POLL_NS  (100 * 1000 * 1000)
#define PROJECT  "default"
#define SERVICES "aigw-ctld.service", "aigw-agentd.service"
#define SOCKETS                                                                                    \
	"aigw-ctld.socket", "aigw-ctld-agents.socket", "aigw-agentd.socket",                       \
		"aigw-agentd-control.socket", "aigw-agentd-mount.socket"

struct init {
	struct cli *c;
	const char *provider; /* its name in the policy */
	const char *base_url; /* NULL: OpenAI's own */
	const char *project, *user;
	struct slice model, target; /* the first model's name, and the provider's name of it */
	bool has_secret;
	int64_t revision; /* that the policy became */
};

/* --- what was asked ------------------------------------------------------------------- */

static int read_model(struct init *in)
{
	const char *text = cli_flag(in->c, FLAG_model), *equals;

	if (!text && in->base_url)
		return cli_fail(in->c, EXIT_USAGE,
			"which model? --model NAME, or --model NAME=THE-PROVIDER'S-NAME");
	if (!text)
		text = "gpt-4o-mini";
	equals = strchr(text, '=');
	in->model = equals ? slice_of(text, (size_t)(equals - text)) : slice_str(text);
	in->target = equals ? slice_str(equals + 1) : in->model;
	return EXIT_DONE;
}

static int read_arguments(struct init *in)
{
	const char *p = cli_flag(in->c, FLAG_provider);

	in->provider = "openai";
	if (p && strcmp(p, "openai") != 0) {
		if (strncmp(p, "http://", 7) != 0 && strncmp(p, "https://", 8) != 0)
			return cli_fail(in->c, EXIT_USAGE,
				"--provider %s: openai, or the base URL of a compatible server "
				"such "
				"as http://127.0.0.1:11434/v1",
				p);
		in->provider = "local";
		in->base_url = p;
	}
	in->project = cli_flag(in->c, FLAG_project);
	if (!in->project)
		in->project = PROJECT;
	in->user = cli_flag(in->c, FLAG_local_user);
	if (in->user && !getpwnam(in->user))
		return cli_fail(
			in->c, EXIT_USAGE, "--local-user %s: no such user on this host", in->user);
	in->has_secret = cli_flag(in->c, FLAG_secret_file) != NULL;
	if (!in->has_secret && !in->base_url)
		return cli_fail(in->c, EXIT_USAGE,
			"where is OpenAI's key? --secret-file F, or --secret-file - for stdin (it "
			"never stands in the arguments)");
	return read_model(in);
}

/* --- files ---------------------------------------------------------------------------- */

static int put_policy(const struct init *in, struct buf *b)
{
	(void)buf_printf(b,
		"# Written by aigwctl init. After a change: aigwctl diff, aigwctl apply. See "
		"aigw-policy(5).\n"
		"apiVersion: aigw/v1\n"
		"settings: {currency: USD}\n"
		"providers:\n"
		"  - name: %s\n"
		"    type: %s\n",
		in->provider, in->base_url ? "openai-compatible" : "openai");
	if (in->base_url) {
		(void)buf_str(b, "    base_url: ");
		(void)text_json_quote(b, slice_str(in->base_url));
		(void)buf_char(b, '\n');
	}
	if (in->has_secret)
		(void)buf_printf(b, "    credential: %s\n", in->provider);
	if (!in->base_url)
		(void)buf_str(b,
			"prices:                      # USD per million tokens; look them up "
			"before "
			"you bill by them\n"
			"  - {provider: openai, model: gpt-4o-mini, from: 2024-07-18, input: 0.15, "
			"cached_input: 0.075, output: 0.60}\n");
	(void)buf_str(b, "models:\n  - name: ");
	(void)text_json_quote(b, in->model);
	(void)buf_printf(b, "\n    targets: [{provider: %s, model: ", in->provider);
	(void)text_json_quote(b, in->target);
	(void)buf_str(b, "}]\ncustomers:\n  - name: default\n    projects:\n      - name: ");
	(void)text_json_quote(b, slice_str(in->project));
	(void)buf_str(b, "\nidentities:                  # these need no key on the unix socket\n");
	(void)buf_str(b, "  - {uid: 0, project: ");
	(void)text_json_quote(b, slice_str(in->project));
	(void)buf_str(b, "}\n");
	if (in->user) {
		(void)buf_str(b, "  - {user: ");
		(void)text_json_quote(b, slice_str(in->user));
		(void)buf_str(b, ", project: ");
		(void)text_json_quote(b, slice_str(in->project));
		(void)buf_str(b, "}\n");
	}
	return b->err;
}

static int make_folder(const struct cli *c, const char *path, mode_t mode)
{
	if (mkdir(path, mode) == 0 || errno == EEXIST)
		return EXIT_DONE;
	return cli_fail(c, EXIT_FAILED, "can't make %s: %s", path, strerror(errno));
}

/* A file that is there already is somebody's work. */
static int must_be_new(const struct cli *c, const char *path)
{
	if (access(path, F_OK) != 0)
		return EXIT_DONE;
	return cli_fail(c, EXIT_CONFLICT,
		"%s exists already, and init overwrites nothing: this host has been set up. Change "
		"the policy and run aigwctl apply, or move the file away first",
		path);
}

/* As apply will check it, from a file of its own, before anything is put in its place. */
static int check_policy(const struct init *in, struct slice text)
{
	char folder[] = "/tmp/aigw-init-XXXXXX", part[64];
	const char *path = part;
	struct policy_doc *doc = NULL;
	struct errbuf e = { "" };
	struct buf report;
	int code = EXIT_DONE;

	if (mkdtemp(folder) == NULL)
		return cli_fail(in->c, EXIT_FAILED, "can't make %s: %s", folder, strerror(errno));
	(void)snprintf(part, sizeof(part), "%s/policy.yaml", folder);
	buf_init(&report, 64u << 10);
	if (atomic_file_write(part, 0600, text, &e)) {
		code = cli_fail(in->c, EXIT_FAILED, "%s", e.text);
	} else if (policy_doc_from_files(&path, 1, &doc, &report)) {
		cli_put_text(in->c->err, buf_view(&report));
		code = cli_fail(in->c, EXIT_POLICY,
			"these arguments make no valid policy; nothing was written");
	} else {
		policy_doc_free(doc);
	}
	(void)unlink(part);
	(void)rmdir(folder);
	buf_fini(&report);
	return code;
}

static int write_secret(const struct init *in, const char *path, struct secret *s)
{
	struct errbuf e;

	if (in->has_secret && atomic_file_write(path, 0600, secret_expose(s), &e))
		return cli_fail(in->c, EXIT_FAILED, "%s", e.text);
	return EXIT_DONE;
}

static void secret_path(const struct init *in, char path[256])
{
	(void)snprintf(path, 256, SECRETS "/%s", in->provider);
}

/* Everything is checked before anything is written; the policy comes last: where it is, the host is
 * set up. */
static int write_files(const struct init *in)
{
	struct cli *c = in->c;
	struct secret s = { 0 };
	struct errbuf e;
	struct buf text;
	char secret[256];
	int code = must_be_new(c, POLICY);

	secret_path(in, secret);
	buf_init(&text, 64u << 10);
	if (!code && in->has_secret)
		code = must_be_new(c, secret);
	if (!code && put_policy(in, &text))
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	if (!code)
		code = check_policy(in, buf_view(&text));
	if (!code && in->has_secret)
		code = cli_read_secret(c, cli_flag(c, FLAG_secret_file), "secret", &s);
	if (!code)
		code = make_folder(c, ETC, 0755);
	if (!code)
		code = make_folder(c, SECRETS, 0700);
	if (!code)
		code = write_secret(in, secret, &s);
	if (!code && atomic_file_write(POLICY, 0644, buf_view(&text), &e)) {
		code = cli_fail(c, EXIT_FAILED, "%s", e.text);
		if (in->has_secret)
			(void)unlink(secret);
	}
	secret_fini(&s);
	buf_fini(&text);
	if (!code)
		cli_note(c, "wrote " POLICY "%s",
			in->has_secret ? " and the secret in " SECRETS : "");
	return code;
}

/* --- units ---------------------------------------------------------------------------- */

static int run_program(const struct cli *c, const char *const *argv)
{
	int status, r;
	pid_t pid;

	cli_verbose(c, "running %s %s", argv[0], argv[1] ? argv[1] : "");
	r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (r)
		return cli_fail(c, EXIT_FAILED, "can't run %s: %s", argv[0], strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return cli_fail(c, EXIT_FAILED, "%s: %s", argv[0], strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return EXIT_DONE;
	return cli_fail(c, EXIT_FAILED,
		"%s %s failed (see above). The files are written; go on by hand with: systemctl "
		"enable --now aigw-ctld aigw-agentd, aigwctl apply",
		argv[0], argv[1] ? argv[1] : "");
}

static int start_units(const struct cli *c)
{
	static const char *const steps[][12] = {
		{ "systemd-sysusers", NULL },
		{ "systemd-tmpfiles", "--create", NULL },
		{ "journalctl", "--update-catalog", NULL },
		{ "systemctl", "daemon-reload", NULL },
		{ "systemctl", "enable", "--quiet", "--now", SOCKETS, SERVICES, NULL },
	};
	int code = EXIT_DONE;

	for (size_t i = 0; i < ARRAY_LEN(steps) && !code; i++)
		code = run_program(c, steps[i]);
	if (!code)
		cli_note(c, "started aigw-ctld and aigw-agentd");
	return code;
}

/* Until the controller answers and an agent is connected to it. */
static int wait_up(const struct cli *c)
{
	const struct client_call call = {
		.method = "GET", .target = "/api/v1/agents", .quiet_errors = true
	};
	const struct timespec pause = { .tv_nsec = POLL_NS };
	usec until = clock_mono_us() + START_US;

	do {
		JSON_AUTO *answer = NULL;

		if (client_call(c, &call, &answer) == EXIT_DONE) {
			const json_t *agent;
			size_t i;

			json_array_foreach(json_object_get(answer, "agents"), i, agent)
			{
				if (strcmp(json_get_str(agent, "state", ""), "up") == 0)
					return EXIT_DONE;
			}
		}
		(void)nanosleep(&pause, NULL);
	} while (clock_mono_us() < until);
	return cli_fail(c, EXIT_UNREACHABLE,
		"the agent did not connect to the controller within 30 s: see journalctl -u "
		"aigw-agentd -u aigw-ctld; then go on with aigwctl apply");
}

/* --- policy and key ------------------------------------------------------------------- */

static int apply_policy(struct init *in)
{
	const struct cli *c = in->c;
	JSON_AUTO *answer = NULL;
	struct buf text, list;
	struct errbuf e;
	json_t *body;
	int code;

	buf_init(&list, 4096);
	buf_init(&text, TREE_MAX_BYTES);
	if (file_read(POLICY, &text, &e))
		return cli_fail(c, EXIT_FAILED, "%s", e.text);
	body = json_pack("{s:[{s:s, s:s%}], s:s, s:b, s:I}", "files", "name", POLICY, "text",
		text.p, text.n, "message", "aigwctl init", "wait", 1, "timeout_ms",
		(json_int_t)client_timeout_ms(c));
	buf_fini(&text);
	code = client_send(c, "POST", "/api/v1/policy", body, true, &answer);
	if (!code && client_agents_missing(answer, "applied", &list))
		code = cli_fail(
			c, EXIT_PARTLY, "the agent did not take the policy: %s", buf_cstr(&list));
	buf_fini(&list);
	in->revision = json_get_int(answer, "revision", 0);
	if (!code)
		cli_note(c, "applied revision %" PRId64, in->revision);
	return code;
}

/* What this run made, for programs: key and revision only where the units were started. */
static bool print_made(const struct init *in, const char *key, int64_t revision)
{
	char secret[256];
	JSON_AUTO *made = NULL;

	secret_path(in, secret);
	made = json_pack("{s:s, s:s?, s:s, s:s, s:o, s:s?, s:o}", "policy", POLICY, "secret",
		in->has_secret ? secret : NULL, "provider", in->provider, "project", in->project,
		"model", json_slice(in->model), "key", key, "revision",
		revision ? json_integer(revision) : json_null());
	return made && print_object(in->c, made);
}

static int make_key(const struct init *in)
{
	JSON_AUTO *answer = NULL;
	json_t *body = json_pack("{s:s, s:s, s:b, s:I}", "name", "first", "project", in->project,
		"wait", 1, "timeout_ms", (json_int_t)client_timeout_ms(in->c));
	int code = client_send(in->c, "POST", "/api/v1/keys", body, true, &answer);

	if (!code && !print_made(in, json_get_str(answer, "key", ""), in->revision))
		(void)fprintf(in->c->out, "%s\n", json_get_str(answer, "key", ""));
	return code;
}

static int say_what_is_written(const struct init *in)
{
	(void)print_made(in, NULL, 0);
	cli_note(in->c,
		"next: aigw-ctld, aigw-agentd, aigwctl apply, aigwctl key create first --project "
		"%s",
		in->project);
	return EXIT_DONE;
}

static int say_what_to_try(const struct init *in)
{
	const struct cli *c = in->c;

	cli_note(c, "standard output holds the first key; it is shown once. Try:");
	cli_note(c, "  export OPENAI_BASE_URL=http://127.0.0.1:2449/v1 OPENAI_API_KEY=THE-KEY");
	cli_note(c,
		"  curl $OPENAI_BASE_URL/chat/completions -H \"Authorization: Bearer "
		"$OPENAI_API_KEY\" -H 'content-type: application/json' -d "
		"'{\"model\":\"" SLICE_FMT
		"\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'",
		SLICE_ARG(in->model));
	cli_note(c,
		"  curl --unix-socket /run/aigw/agent.sock http://localhost/v1/models    "
		"(root%s%s: no key needed)",
		in->user ? " and " : "", in->user ? in->user : "");
	cli_note(c, "  aigwctl status; aigwctl usage show; cat /run/aigw/stats/summary");
	return EXIT_DONE;
}

int cmd_init(struct cli *c)
{
	struct init in = { .c = c };
	bool start = !cli_flag(c, FLAG_no_start);
	int code;

	if (geteuid() != 0)
		return cli_fail(c, EXIT_NOT_PERMITTED,
			"init writes " ETC " and starts units: run it as root. Without: aigwctl "
			"demo");
	code = read_arguments(&in);
	if (!code && start && access("/run/systemd/system", F_OK) != 0)
		code = cli_fail(c, EXIT_FAILED,
			"systemd does not run here: with --no-start the files are written, and you "
			"start aigw-ctld and aigw-agentd yourself");
	if (!code)
		code = write_files(&in);
	if (!code && !start)
		return say_what_is_written(&in);
	if (!code)
		code = start_units(c);
	if (!code)
		code = wait_up(c);
	if (!code)
		code = apply_policy(&in);
	if (!code)
		code = make_key(&in);
	return code ? code : say_what_to_try(&in);
}
