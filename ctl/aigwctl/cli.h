/* One run of aigwctl: the parsed command line, its settings, and how it talks. Data goes to stdout
 * by print.h, talk to stderr by the functions here. One thread. */
#ifndef AIGWCTL_CLI_H
#define AIGWCTL_CLI_H

#include "command.h"

#include <aigw/slice.h>

struct interrupt;

enum output {
	OUTPUT_TABLE,
	OUTPUT_WIDE,
	OUTPUT_JSON,
	OUTPUT_JSONL,
	OUTPUT_YAML,
	OUTPUT_CSV,
	OUTPUT_NAME
};

struct cli {
	struct invocation inv;
	enum output output;
	bool color;     /* on stdout */
	bool color_err; /* on stderr */
	bool quiet, verbose;
	usec timeout_us;
	uint64_t limit;                    /* rows; UINT64_MAX: all */
	const char *ctl;                   /* path of the controller's socket */
	const char *agent;                 /* path of this host's agent's control socket */
	const struct interrupt *interrupt; /* who waits for signals and looks after
					    * the daemons (demo); NULL: nobody */
	FILE *out, *err;
};

#define CTL_DEFAULT   "unix:/run/aigw-ctl/admin.sock"
#define AGENT_DEFAULT "/run/aigw/control.sock"

/* Settings from flags and environment. 0, or -EINVAL with a sentence. */
int cli_settings(struct cli *c, struct errbuf *e);

/* A terminal that knows escape sequences. */
bool cli_draws_on(FILE *f);

static inline const char *cli_flag(const struct cli *c, enum flag_id id)
{
	return c->inv.value[id];
}

/* "aigwctl: sentence" on stderr; returns `code`, so that `return cli_fail(c, EXIT_USAGE, ...)`
 * reads well. */
int cli_fail(const struct cli *c, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void cli_note(const struct cli *c, const char *fmt, ...) PRINTF_LIKE(2, 3);    /* not with -q */
void cli_verbose(const struct cli *c, const char *fmt, ...) PRINTF_LIKE(2, 3); /* only with -v */

/* Text of others to a terminal or file: control bytes and invalid UTF-8 are shown as \xNN. */
void cli_put_text(FILE *out, struct slice text);

/* Asks on stderr, reads a line of stdin. 1 yes, 0 no, -EINTR. Only if both are terminals. */
int cli_ask(const struct cli *c, const char *question);

struct secret;
/* A secret from the file of --secret-file; from a terminal it asks first and shows nothing. 0 or an
 * exit code, said. */
int cli_read_secret(const struct cli *c, const char *path, const char *what, struct secret *ret);

/* The commands (command_table.c). Each returns an exit code and has said why. */
int cmd_status(struct cli *c);
int cmd_validate(struct cli *c);
int cmd_apply(struct cli *c);
int cmd_key_create(struct cli *c);
int cmd_key_list(struct cli *c);
int cmd_key_show(struct cli *c);
int cmd_key_revoke(struct cli *c);
int cmd_usage_show(struct cli *c);
int cmd_agent_list(struct cli *c);
int cmd_agent_show(struct cli *c);
int cmd_agent_stats_cat(struct cli *c);
int cmd_agent_stats_ls(struct cli *c);
int cmd_agent_drain(struct cli *c);
int cmd_agent_resume(struct cli *c);
int cmd_provider_drain(struct cli *c);
int cmd_provider_resume(struct cli *c);
int cmd_model_disable(struct cli *c);
int cmd_model_enable(struct cli *c);
int cmd_model_targets(struct cli *c);
int cmd_provider_status(struct cli *c);
int cmd_provider_test(struct cli *c);
int cmd_agent_log_level(struct cli *c);
int cmd_tail(struct cli *c);
int cmd_events(struct cli *c);
int cmd_top(struct cli *c);
int cmd_provider_secret_set(struct cli *c);
int cmd_init(struct cli *c);
int cmd_diff(struct cli *c);
int cmd_history(struct cli *c);
int cmd_rollback(struct cli *c);
int cmd_provider_list(struct cli *c);
int cmd_provider_show(struct cli *c);
int cmd_model_list(struct cli *c);
int cmd_model_show(struct cli *c);
int cmd_project_list(struct cli *c);
int cmd_project_show(struct cli *c);
int cmd_price_list(struct cli *c);
int cmd_explain(struct cli *c);
int cmd_explain_request(struct cli *c);
int cmd_explain_route(struct cli *c);
int cmd_env(struct cli *c);
int cmd_chat(struct cli *c);
int cmd_try(struct cli *c);
int cmd_completion(struct cli *c);
int complete_words(struct cli *c, int n, char *const *words); /* `__complete -- WORDS` */
int cmd_demo(struct cli *c);
int cmd_version(struct cli *c);
int cmd_help(struct cli *c);

#endif
