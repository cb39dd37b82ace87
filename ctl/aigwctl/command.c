/* From words to a row of the table. Flags may stand anywhere; what they take doesn't depend on the
 * command (but for a letter of two flags), so they are read first, then the words name the row,
 * then every flag given has to act in it. */
#include "command.h"

#include <aigw/text.h>

unsigned command_words(const struct command *cmd)
{
	unsigned n = 0;

	while (n < ARRAY_LEN(cmd->words) && cmd->words[n])
		n++;
	return n;
}

/* "keys" is "key"; words that are verbs have no plural. */
static bool word_is(const char *typed, const char *word, bool noun)
{
	size_t n = strlen(word);

	if (strcmp(typed, word) == 0)
		return true;
	return noun && strncmp(typed, word, n) == 0 && strcmp(typed + n, "s") == 0;
}

bool command_matches(const struct command *cmd, const char *const *words, unsigned n)
{
	unsigned has = command_words(cmd);

	if (n > has)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!word_is(words[i], cmd->words[i], i + 1 < has))
			return false;
	return true;
}

static bool later_has(const char *const *list, const char *what)
{
	for (; *list; list++)
		if (strcmp(*list, what) == 0)
			return true;
	return false;
}

static const char *command_name(const struct command *cmd, char out[static 64])
{
	int n = snprintf(out, 64, "%s%s%s%s%s", cmd->words[0], cmd->words[1] ? " " : "",
		cmd->words[1] ? cmd->words[1] : "", cmd->words[2] ? " " : "",
		cmd->words[2] ? cmd->words[2] : "");

	ASSERT(n > 0 && n < 64);
	return out;
}

/* --- flags ------------------------------------------------------------------------- */

static int flag_unknown(const char *typed, struct errbuf *e)
{
	struct slice names[FLAG_COUNT];
	struct slice word = slice_str(typed), near;

	for (unsigned i = 0; i < FLAG_COUNT; i++)
		names[i] = slice_str(command_flags[i].name);
	near = text_near(word, names, FLAG_COUNT);
	if (near.n)
		return err_set(e, -EINVAL, "unknown flag --%s; did you mean --" SLICE_FMT "?",
			typed, SLICE_ARG(near));
	return err_set(e, -EINVAL, "unknown flag --%s; `aigwctl help` lists them", typed);
}

static int flag_find(struct slice name, struct errbuf *e)
{
	char typed[64];

	for (int i = 0; i < FLAG_COUNT; i++)
		if (slice_eq(slice_str(command_flags[i].name), name))
			return i;
	(void)snprintf(typed, sizeof(typed), SLICE_FMT, SLICE_ARG(name));
	if (later_has(command_later_flags, typed) && name.n > 1)
		return err_set(e, -EINVAL, "--%s is not supported yet", typed);
	return flag_unknown(typed, e);
}

static const struct command *row_find(const struct invocation *inv);

/* A letter may stand for two flags: it is the one that acts in the command whose words stand before
 * it ("tail -n 3"), else the first. */
static int letter_find(const struct invocation *inv, char letter, struct errbuf *e)
{
	const struct command *row = row_find(inv);
	char typed[2] = { letter, 0 };

	for (int i = 0; row && i < FLAG_COUNT; i++)
		if (command_flags[i].letter == letter && row->flags & UINT64_C(1) << i)
			return i;
	for (int i = 0; i < FLAG_COUNT; i++)
		if (command_flags[i].letter == letter)
			return i;
	if (later_has(command_later_flags, typed))
		return err_set(e, -EINVAL, "-%s is not supported yet", typed);
	return err_set(e, -EINVAL, "unknown flag -%s; `aigwctl help` lists them", typed);
}

static int flag_store(struct invocation *inv, int id, const char *value, struct errbuf *e)
{
	if (id == FLAG_file) {
		if (inv->n_files == COMMAND_MAX_FILES)
			return err_set(e, -EINVAL, "more than %d files", COMMAND_MAX_FILES);
		inv->files[inv->n_files++] = value;
	} else if (id == FLAG_filter) {
		if (inv->n_filters == COMMAND_MAX_FILTERS)
			return err_set(e, -EINVAL, "more than %d filters", COMMAND_MAX_FILTERS);
		inv->filters[inv->n_filters++] = value;
	} else if (inv->value[id] && command_flags[id].arg && strcmp(inv->value[id], value) != 0) {
		return err_set(e, -EINVAL, "--%s is given twice: %s and %s", command_flags[id].name,
			inv->value[id], value);
	}
	inv->value[id] = value;
	return 0;
}

static int take_long(
	struct invocation *inv, const char *text, const char *next, int *ret_used, struct errbuf *e)
{
	const char *eq = strchr(text, '=');
	int id = flag_find(slice_of(text, eq ? (size_t)(eq - text) : strlen(text)), e);

	*ret_used = 1;
	if (id < 0)
		return id;
	if (!command_flags[id].arg) {
		if (eq && id == FLAG_watch) /* the one with a value that may be left out */
			return flag_store(inv, id, eq + 1, e);
		if (eq)
			return err_set(e, -EINVAL, "--%s takes no value", command_flags[id].name);
		return flag_store(inv, id, "", e);
	}
	if (eq)
		return flag_store(inv, id, eq + 1, e);
	if (!next)
		return err_set(e, -EINVAL, "--%s needs a value: --%s %s", command_flags[id].name,
			command_flags[id].name, command_flags[id].arg);
	*ret_used = 2;
	return flag_store(inv, id, next, e);
}

/* "-qy", "-ojson", "-o json" */
static int take_letters(
	struct invocation *inv, const char *text, const char *next, int *ret_used, struct errbuf *e)
{
	*ret_used = 1;
	for (; *text; text++) {
		int id = letter_find(inv, *text, e);
		int rc;

		if (id < 0)
			return id;
		if (!command_flags[id].arg) {
			rc = flag_store(inv, id, "", e);
			if (rc)
				return rc;
			continue;
		}
		if (text[1])
			return flag_store(inv, id, text + (text[1] == '=' ? 2 : 1), e);
		if (!next)
			return err_set(e, -EINVAL, "-%c needs a value: -%c %s", *text, *text,
				command_flags[id].arg);
		*ret_used = 2;
		return flag_store(inv, id, next, e);
	}
	return 0;
}

static int read_words(int argc, char *const *argv, struct invocation *inv, struct errbuf *e)
{
	bool flags = true;

	for (int i = 1; i < argc;) {
		const char *a = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
		int used = 1, rc = 0;

		if (flags && strcmp(a, "--") == 0)
			flags = false;
		else if (flags && a[0] == '-' && a[1] == '-')
			rc = take_long(inv, a + 2, next, &used, e);
		else if (flags && a[0] == '-' && a[1])
			rc = take_letters(inv, a + 1, next, &used, e);
		else if (inv->n_words == COMMAND_MAX_ARGS)
			rc = err_set(e, -EINVAL, "too many words: %s", a);
		else
			inv->words[inv->n_words++] = a;
		if (rc)
			return rc;
		i += used;
	}
	return 0;
}

/* --- the row ----------------------------------------------------------------------- */

/* Longest match of the words' beginning with a whole row. */
static const struct command *row_find(const struct invocation *inv)
{
	const struct command *best = NULL;

	for (unsigned i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];
		unsigned n = command_words(cmd);

		if (n <= inv->n_words && command_matches(cmd, inv->words, n) &&
			(!best || n > command_words(best)))
			best = cmd;
	}
	return best;
}

/* How many of the words begin some row. */
static unsigned row_prefix(const struct invocation *inv)
{
	unsigned best = 0;

	for (unsigned i = 0; i < command_count; i++)
		for (unsigned n = best + 1; n <= inv->n_words; n++)
			if (command_matches(&command_table[i], inv->words, n))
				best = n;
	return best;
}

/* The entry's words ("provider secret rotate") against what was typed; plural nouns count. */
static bool later_matches(const char *entry, const struct invocation *inv)
{
	for (unsigned i = 0; *entry; i++) {
		size_t n = strcspn(entry, " ");
		const char *w;

		if (i == inv->n_words)
			return false;
		w = inv->words[i];
		if (strncmp(w, entry, n) != 0 || (w[n] && strcmp(w + n, "s") != 0))
			return false;
		entry += n + (entry[n] == ' ');
	}
	return true;
}

/* "key creat" -> "did you mean"; `before` is "key " */
static int verb_unknown(
	const struct invocation *inv, unsigned depth, const char *before, struct errbuf *e)
{
	struct slice names[64], near;
	unsigned n = 0;
	struct buf list;

	buf_init(&list, 512);
	for (unsigned i = 0; i < command_count && n < ARRAY_LEN(names); i++) {
		const struct command *cmd = &command_table[i];

		if (!command_matches(cmd, inv->words, depth) || command_words(cmd) <= depth)
			continue;
		names[n] = slice_str(cmd->words[depth]);
		if (!n || !slice_eq(names[n], names[n - 1]))
			(void)buf_printf(&list, "%s%s", n ? ", " : "", cmd->words[depth]);
		n++;
	}
	if (depth == inv->n_words) {
		(void)err_set(e, -EINVAL, "`%s` needs a verb: %s", before, buf_cstr(&list));
	} else {
		near = text_near(slice_str(inv->words[depth]), names, n);
		if (near.n)
			(void)err_set(e, -EINVAL,
				"unknown command `%s%s%.60s`; did you mean `%s%s" SLICE_FMT "`?",
				before, *before ? " " : "", inv->words[depth], before,
				*before ? " " : "", SLICE_ARG(near));
		else
			(void)err_set(e, -EINVAL,
				"unknown command `%s%s%.60s`; `aigwctl help` lists them", before,
				*before ? " " : "", inv->words[depth]);
	}
	buf_fini(&list);
	return -EINVAL;
}

int command_unknown(const struct invocation *inv, struct errbuf *e)
{
	unsigned depth = row_prefix(inv);
	char before[64] = "";

	for (const char *const *l = command_later; *l; l++)
		if (later_matches(*l, inv))
			return err_set(e, -EINVAL, "`%s` is not supported yet", *l);
	for (unsigned i = 0; i < depth; i++) {
		size_t n = strlen(before);

		(void)snprintf(before + n, sizeof(before) - n, "%s%s", n ? " " : "", inv->words[i]);
	}
	return verb_unknown(inv, depth, before, e);
}

static int check_flags(const struct invocation *inv, struct errbuf *e)
{
	char name[64];

	for (int i = 0; i < FLAG_COUNT; i++)
		if (inv->value[i] && i != FLAG_version && !(inv->command->flags & UINT64_C(1) << i))
			return err_set(e, -EINVAL,
				"`%s` has no flag --%s; `aigwctl %s -h` lists its flags",
				command_name(inv->command, name), command_flags[i].name, name);
	if (inv->value[FLAG_wait] && inv->value[FLAG_no_wait])
		return err_set(e, -EINVAL, "--wait and --no-wait exclude each other");
	return 0;
}

static int check_args(const struct invocation *inv, struct errbuf *e)
{
	char name[64];

	(void)command_name(inv->command, name);
	if (inv->command->any_args || inv->n_args == inv->command->n_args)
		return 0;
	if (inv->n_args > inv->command->n_args)
		return err_set(e, -EINVAL, "`%s` takes nothing like `%.60s`: aigwctl %s%s%s", name,
			inv->args[inv->command->n_args], name, *inv->command->args ? " " : "",
			inv->command->args);
	return err_set(
		e, -EINVAL, "`%s` needs more: aigwctl %s %s", name, name, inv->command->args);
}

int command_parse(int argc, char *const *argv, struct invocation *ret, struct errbuf *e)
{
	int rc;

	*ret = (struct invocation){ 0 };
	rc = read_words(argc, argv, ret, e);
	if (rc)
		return rc;
	ret->command = row_find(ret);
	if (ret->command) {
		unsigned n = command_words(ret->command);

		ret->n_args = ret->n_words - n;
		for (unsigned i = 0; i < ret->n_args; i++)
			ret->args[i] = ret->words[n + i];
	}
	if (ret->value[FLAG_help] || ret->value[FLAG_version])
		return 0;
	if (ret->n_words == 0)
		return err_set(e, -EINVAL, "a command is needed");
	if (!ret->command)
		return command_unknown(ret, e);
	rc = check_flags(ret, e);
	return rc ? rc : check_args(ret, e);
}
