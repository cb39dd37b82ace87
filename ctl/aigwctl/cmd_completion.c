/* completion: a stub for the shell, which asks `aigwctl __complete -- WORDS` for what may come
 * next. Words and flags come from the command table; names of keys, projects, models, providers and
 * agents from the controller, within a moment or not at all. */
#include "client.h"

#include <aigw/json.h>

#define NAMES_US (300 * USEC_PER_MS)

static const char bash[] =
	"_aigwctl() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} line\n"
	"\tCOMPREPLY=()\n"
	"\twhile IFS= read -r line; do\n"
	"\t\t[[ $line == \"$cur\"* ]] && COMPREPLY+=(\"$line\")\n"
	"\tdone < <(aigwctl __complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
	"\t[ \"${#COMPREPLY[@]}\" -gt 0 ] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
	"}\n"
	"complete -F _aigwctl aigwctl\n";

static const char zsh[] =
	"#compdef aigwctl\n"
	"_aigwctl() {\n"
	"\tlocal -a found\n"
	"\tfound=(\"${(@f)$(aigwctl __complete -- \"${words[@]:1:$((CURRENT-1))}\" "
	"2>/dev/null)}\")\n"
	"\tif (( ${#found[@]} )) && [[ -n ${found[1]} ]]; then\n"
	"\t\tcompadd -a found\n"
	"\telse\n"
	"\t\t_files\n"
	"\tfi\n"
	"}\n"
	"compdef _aigwctl aigwctl\n";

static const char fish[] = "function __aigwctl_complete\n"
			   "\tset -l words (commandline -opc) (commandline -ct)\n"
			   "\taigwctl __complete -- $words[2..-1] 2>/dev/null\n"
			   "end\n"
			   "complete -c aigwctl -f -a '(__aigwctl_complete)'\n"
			   "complete -c aigwctl -l file -s f -r -F\n"
			   "complete -c aigwctl -l secret-file -r -F\n";

int cmd_completion(struct cli *c)
{
	const char *shell = c->inv.args[0];
	const char *text = strcmp(shell, "bash") == 0   ? bash
			   : strcmp(shell, "zsh") == 0  ? zsh
			   : strcmp(shell, "fish") == 0 ? fish
							: NULL;

	if (!text)
		return cli_fail(c, EXIT_USAGE, "completion %s: bash, zsh or fish", shell);
	(void)fputs(text, c->out);
	return EXIT_DONE;
}

/* --- what may come next ---------------------------------------------------------------- */

struct ask {
	struct cli *c;
	const char *words[COMMAND_MAX_ARGS]; /* complete ones, without flags */
	unsigned n;
	const char *flag; /* the word before is a flag that takes a value; NULL: it is not */
	const char *now;  /* what is being typed */
};

static bool is_prefix(const char *prefix, const char *word)
{
	return strncmp(prefix, word, strlen(prefix)) == 0;
}

static void offer(const struct ask *a, const char *word)
{
	if (is_prefix(a->now, word))
		(void)fprintf(a->c->out, "%s\n", word);
}

/* A name that a shell would take apart is not offered. */
static void offer_name(const struct ask *a, const char *name)
{
	if (name && *name && !strpbrk(name, " \t\n\r\"'`$\\;&|<>()*?[]{}!#~"))
		offer(a, name);
}

static void offer_names(
	const struct ask *a, const char *target, const char *list, const char *member)
{
	const struct client_call call = { .method = "GET", .target = target, .quiet_errors = true };
	JSON_AUTO *answer = NULL;
	json_t *item;
	size_t i;

	a->c->timeout_us = NAMES_US;
	if (client_call(a->c, &call, &answer) != EXIT_DONE)
		return;
	json_array_foreach(json_object_get(answer, list), i, item)
	{
		const json_t *v = json_object_get(item, member);
		char number[32];

		(void)snprintf(
			number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		offer_name(a, json_is_integer(v) ? number : json_string_value(v));
	}
}

static const struct noun {
	const char *word, *target, *list, *member;
} nouns[] = {
	{ "key", "/api/v1/keys", "keys", "id" },
	{ "project", "/api/v1/projects", "projects", "name" },
	{ "model", "/api/v1/models", "models", "name" },
	{ "provider", "/api/v1/providers", "providers", "name" },
	{ "agent", "/api/v1/agents", "agents", "name" },
	{ "try", "/api/v1/models", "models", "name" },
	{ "rollback", "/api/v1/revisions", "revisions", "revision" },
};

static bool offer_objects(const struct ask *a, const char *noun)
{
	for (size_t i = 0; i < ARRAY_LEN(nouns); i++) {
		if (strcmp(nouns[i].word, noun) != 0)
			continue;
		offer_names(a, nouns[i].target, nouns[i].list, nouns[i].member);
		return true;
	}
	return false;
}

/* The value of a flag. */
static void offer_values(const struct ask *a)
{
	static const struct {
		const char *flag, *values;
	} fixed[] = {
		{ "output", "table wide json jsonl yaml csv name" },
		{ "color", "auto always never" },
		{ "shell", "bash zsh fish" },
		{ "period", "today yesterday week month last-month" },
		{ "by", "customer project key model provider agent uid outcome endpoint day hour" },
	};
	char values[128], *at = values, *word;

	if (offer_objects(a, a->flag))
		return;
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		if (strcmp(fixed[i].flag, a->flag) != 0)
			continue;
		(void)snprintf(values, sizeof(values), "%s", fixed[i].values);
		while ((word = strsep(&at, " ")) != NULL)
			offer(a, word);
	}
}

/* The longest row that the words name: "explain route", not "explain". */
static const struct command *command_of(const struct ask *a)
{
	const struct command *found = NULL;

	for (unsigned i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];
		unsigned words = command_words(cmd);

		if (a->n >= words && command_matches(cmd, a->words, words) &&
			(!found || words > command_words(found)))
			found = cmd;
	}
	return found;
}

static void offer_flags(const struct ask *a)
{
	const struct command *cmd = command_of(a);
	char text[64];

	for (unsigned i = 0; i < FLAG_COUNT; i++) {
		if (cmd && !(cmd->flags & UINT64_C(1) << i))
			continue;
		(void)snprintf(text, sizeof(text), "--%s", command_flags[i].name);
		offer(a, text);
	}
}

/* The next word of each command that begins with what stands there, each once. */
static void offer_words(const struct ask *a)
{
	for (unsigned i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];
		bool again = false;

		if (command_words(cmd) <= a->n || !command_matches(cmd, a->words, a->n))
			continue;
		for (unsigned k = 0; k < i && !again; k++)
			again = command_words(&command_table[k]) > a->n &&
				command_matches(&command_table[k], a->words, a->n) &&
				strcmp(command_table[k].words[a->n], cmd->words[a->n]) == 0;
		if (!again)
			offer(a, cmd->words[a->n]);
	}
}

static bool takes_value(const char *word, const char **ret_flag)
{
	for (unsigned i = 0; i < FLAG_COUNT; i++) {
		const struct flag *f = &command_flags[i];
		char letter[3] = { '-', f->letter, 0 };

		if (!f->arg ||
			(strncmp(word, "--", 2) == 0 ? strcmp(word + 2, f->name) != 0
						     : !f->letter || strcmp(word, letter) != 0))
			continue;
		*ret_flag = f->name;
		return true;
	}
	return false;
}

/* Never fails: a shell shows nothing then. */
int complete_words(struct cli *c, int n, char *const *words)
{
	struct ask a = { .c = c, .now = n ? words[n - 1] : "" };
	const struct command *cmd;

	for (int i = 0; i < n - 1; i++) {
		a.flag = NULL;
		if (words[i][0] != '-') {
			if (a.n < COMMAND_MAX_ARGS)
				a.words[a.n++] = words[i];
		} else if (takes_value(words[i], &a.flag) && i + 1 < n - 1) {
			i++; /* its value is there already */
			a.flag = NULL;
		}
	}
	if (a.flag)
		offer_values(&a);
	else if (a.now[0] == '-')
		offer_flags(&a);
	else
		offer_words(&a);
	cmd = command_of(&a);
	if (!a.flag && a.now[0] != '-' && cmd && cmd->n_args && a.n == command_words(cmd) &&
		strcmp(cmd->words[cmd->words[1] ? 1 : 0], "create") != 0)
		(void)offer_objects(&a, cmd->words[0]);
	if (!a.flag && cmd && a.n == 1 && strcmp(cmd->words[0], "rollback") == 0)
		(void)offer_objects(&a, "rollback");
	return EXIT_DONE;
}
