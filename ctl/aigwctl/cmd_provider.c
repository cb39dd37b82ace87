/* provider secret set */
#include "client.h"
#include "print.h"

#include <aigw/secret.h>

static int report(const struct cli *c, const char *name, const json_t *answer)
{
	struct buf list;
	unsigned n;

	buf_init(&list, 64u << 10);
	if (!print_object(c, answer))
		cli_note(c, "secret %s stored as version %lld", name,
			(long long)json_get_int(answer, "version", 0));
	/* A file at the agent goes before what the controller pushes: not a failure, but one has to
	 * know. */
	if (client_agents_missing(answer, "confirmed|pending|offline", &list))
		cli_note(c, "these agents have a source of their own that goes before it: %s",
			buf_cstr(&list));
	buf_reset(&list);
	if (client_agents_missing(answer, "confirmed|pending|shadowed", &list))
		cli_note(c, "not connected, will get it when they are: %s", buf_cstr(&list));
	buf_reset(&list);
	n = client_agents_missing(answer, "confirmed|shadowed|offline", &list);
	if (n)
		(void)cli_fail(c, EXIT_PARTLY, "%u agent%s did not confirm the secret in time: %s",
			n, n == 1 ? "" : "s", buf_cstr(&list));
	buf_fini(&list);
	return n ? EXIT_PARTLY : EXIT_DONE;
}

int cmd_provider_secret_set(struct cli *c)
{
	const char *file = cli_flag(c, FLAG_secret_file), *name = c->inv.args[0];
	struct secret s = { 0 };
	JSON_AUTO *answer = NULL;
	int code;

	if (!file)
		return cli_fail(c, EXIT_USAGE,
			"where is the secret? --secret-file F, or --secret-file - for stdin "
			"(it never stands in the arguments)");
	code = cli_read_secret(c, file, "secret", &s);
	if (!code)
		code = client_put_secret(c, name, &s, &answer);
	secret_fini(&s);
	return code ? code : report(c, name, answer);
}
