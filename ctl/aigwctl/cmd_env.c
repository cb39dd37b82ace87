/* env: the variables that point an OpenAI SDK at this host's agent, for eval in a shell. */
#include "cli.h"

#include <aigw/secret.h>
#include <aigw/text.h>
#include <unistd.h>

#define PORT_DEFAULT "2449"

/* Into single quotes; a quote inside ends them, stands escaped, and begins them anew. */
static void put_quoted(FILE *out, struct slice s, bool fish)
{
	(void)fputc('\'', out);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\'')
			(void)fputs(fish ? "\\'" : "'\\''", out);
		else if (fish && s.p[i] == '\\')
			(void)fputs("\\\\", out);
		else
			(void)fputc(s.p[i], out);
	}
	(void)fputc('\'', out);
}

static void put_variable(const struct cli *c, bool fish, const char *name, struct slice value)
{
	(void)fprintf(c->out, fish ? "set -gx %s " : "export %s=", name);
	put_quoted(c->out, value, fish);
	(void)fputs(fish ? ";\n" : "\n", c->out);
}

int cmd_env(struct cli *c)
{
	const char *shell = cli_flag(c, FLAG_shell), *file = cli_flag(c, FLAG_secret_file);
	const char *port = cli_flag(c, FLAG_port);
	struct secret key = { 0 };
	char url[64];
	uint64_t number;
	bool fish;
	int code;

	if (shell && strcmp(shell, "bash") != 0 && strcmp(shell, "fish") != 0 &&
		strcmp(shell, "zsh") != 0)
		return cli_fail(c, EXIT_USAGE, "--shell %s: bash, zsh or fish", shell);
	fish = shell && strcmp(shell, "fish") == 0;
	if (text_parse_u64(slice_str(port ? port : PORT_DEFAULT), &number) || number == 0 ||
		number > UINT16_MAX)
		return cli_fail(c, EXIT_USAGE, "--port %s: 1 to 65535", port);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%" PRIu64 "/v1", number);
	if (!file)
		return cli_fail(c, EXIT_USAGE,
			"which key? --secret-file F, or - for stdin: aigwctl key create NAME "
			"--project P | aigwctl env --secret-file -");
	code = cli_read_secret(c, file, "key", &key);
	if (!code) {
		put_variable(c, fish, "OPENAI_BASE_URL", slice_str(url));
		put_variable(c, fish, "OPENAI_API_KEY", secret_expose(&key));
		if (isatty(fileno(c->out)))
			cli_note(c, "to set them: eval \"$(aigwctl env --secret-file %s)\"", file);
	}
	secret_fini(&key);
	return code;
}
