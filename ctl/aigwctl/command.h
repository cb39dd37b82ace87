/* The command line as data: one table of flags, one of commands. Parsing, help, near names and the
 * man page's test read these tables and nothing else. Pure; any thread. */
#ifndef AIGWCTL_COMMAND_H
#define AIGWCTL_COMMAND_H

#include <aigw/errbuf.h>

/* What the shell sees; documented in aigwctl(1). */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_NOT_PERMITTED = 4,
	EXIT_CONFLICT = 5,
	EXIT_UNREACHABLE = 6,
	EXIT_POLICY = 7,
	EXIT_REFUSED = 8, /* by a limit or budget */
	EXIT_PARTLY = 9,
	EXIT_TIMED_OUT = 124,
	EXIT_INTERRUPTED = 130,
};

struct exit_doc {
	enum exit_code code;
	const char *doc;
};

enum flag_id {
	FLAG_ctl,
	FLAG_output,
	FLAG_columns,
	FLAG_no_header,
	FLAG_limit,
	FLAG_timeout,
	FLAG_dry_run,
	FLAG_yes,
	FLAG_if_revision,
	FLAG_color,
	FLAG_quiet,
	FLAG_verbose,
	FLAG_help,
	FLAG_version,
	FLAG_file,
	FLAG_message,
	FLAG_wait,
	FLAG_no_wait,
	FLAG_project,
	FLAG_expires,
	FLAG_require_tags,
	FLAG_needs,
	FLAG_endpoint,
	FLAG_input_tokens,
	FLAG_output_tokens,
	FLAG_user,
	FLAG_by,
	FLAG_period,
	FLAG_since,
	FLAG_until,
	FLAG_secret_file,
	FLAG_provider,
	FLAG_port,
	FLAG_requests,
	FLAG_selftest,
	FLAG_keep,
	FLAG_model,
	FLAG_local_user,
	FLAG_no_start,
	FLAG_revision,
	FLAG_show,
	FLAG_at,
	FLAG_shell,
	FLAG_filter,
	FLAG_sort,
	FLAG_watch,
	FLAG_agent,
	FLAG_follow,
	FLAG_kind,
	FLAG_lines,
	FLAG_for,
	FLAG_target,
	FLAG_show_route,
	FLAG_credential,
	FLAG_once,
	FLAG_key,
	FLAG_uid,
	FLAG_header,
	FLAG_cache_key,
	FLAG_COUNT
};

struct flag {
	const char *name; /* without dashes */
	char letter;      /* 0: none */
	const char *arg;  /* what its value is called; NULL: takes none */
	const char *env;  /* environment variable with the same meaning; NULL: none */
	const char *doc;
};

struct cli;

struct command {
	const char *words[3]; /* "key" "create"; behind the last NULL */
	const char *args;     /* for the synopsis: "NAME --project P" */
	uint8_t n_args;       /* needed behind the words, exactly, unless any_args */
	bool any_args;
	uint64_t flags; /* bit 1 << FLAG_x: acts in this command; all others are refused */
	int (*run)(struct cli *c); /* returns an exit code */
	const char *summary;       /* one line */
	const char *examples[4];   /* whole command lines, NULL behind the last */
	const char *about;         /* what else one has to know; "" for nothing */
};

#define FLAG_BIT(id) (UINT64_C(1) << FLAG_##id)

extern const struct flag command_flags[FLAG_COUNT];
extern const struct command command_table[];
extern const unsigned command_count;
extern const struct exit_doc command_exits[];
extern const unsigned command_exit_count;

/* Words and flags of the coming command line; they are refused as "not supported yet", never taken
 * for a typing error. */
extern const char *const command_later[];       /* "diff", "key rotate" */
extern const char *const command_later_flags[]; /* "sort"; one letter: a short one */

#define COMMAND_MAX_ARGS    8
#define COMMAND_MAX_FILES   64
#define COMMAND_MAX_FILTERS 8

/* A parsed command line; texts are borrowed from argv. */
struct invocation {
	const struct command *command; /* NULL: no command, only help or version was asked for */
	const char *words[COMMAND_MAX_ARGS]; /* the free words as typed, command's own included */
	unsigned n_words;
	const char *args[COMMAND_MAX_ARGS]; /* those behind the command's words */
	unsigned n_args;
	const char *value[FLAG_COUNT];        /* NULL: not given; "" for a flag without value */
	const char *files[COMMAND_MAX_FILES]; /* of -f, in order */
	unsigned n_files;
	const char *filters[COMMAND_MAX_FILTERS]; /* of --filter: all have to hold */
	unsigned n_filters;
};

/* 0, or -EINVAL with a sentence that names what was typed and what was meant. With -h or -V given
 * nothing else has to be complete. */
int command_parse(int argc, char *const *argv, struct invocation *ret, struct errbuf *e);

/* The sentence for words that no row has: not supported yet, a near name, or the verbs of the noun.
 * -EINVAL. */
int command_unknown(const struct invocation *inv, struct errbuf *e);

/* Does the command begin with these words? Plural nouns count ("keys"). */
bool command_matches(const struct command *cmd, const char *const *words, unsigned n);
unsigned command_words(const struct command *cmd);

/* Help, examples first: of one command, of all commands of a noun, or of everything (n == 0).
 * -ENOENT: no such words. */
int help_print(FILE *out, const char *const *words, unsigned n);

#endif
