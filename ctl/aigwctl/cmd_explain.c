/* explain: what an error code means and what to do. Codes of the agent come from tbl/fail.h, those
 * of the administrators' sockets from tbl/admin_errors.h; nothing is asked of a daemon. */
#include "print.h"

#include <aigw/json.h>
#include <aigw/text.h>

struct code {
	const char *name;
	unsigned status;
	const char *who, *text, *retry;
};

#define RETRY_YES "SDKs try again by themselves"
#define RETRY_NO  "no: the answer says x-should-retry: false"
#define RETRY_ANY "as the SDK sees fit"

/* The words of tbl/admin_errors.h. */
#define SOCKET_admin   "admin.sock"
#define SOCKET_control "control.sock"
#define SOCKET_both    "admin.sock and control.sock"
#define ADMIN_NO       "no"
#define ADMIN_LATER    "later"

static const struct code codes[] = {
#define FAIL(name, status, type, retry, text)                                                      \
	{ #name, status, "an answer to an application", text, RETRY_##retry },
#include <aigw/tbl/fail.h>
#undef FAIL
#define ADMIN_ERROR(name, status, socket, retry, text)                                             \
	{ #name, status, "an answer on " SOCKET_##socket, text, ADMIN_##retry },
#include <aigw/tbl/admin_errors.h>
#undef ADMIN_ERROR
};

static int unknown(const struct cli *c, const char *asked)
{
	struct slice names[ARRAY_LEN(codes)], near;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (strcmp(codes[i].name, "none") != 0)
			names[n++] = slice_str(codes[i].name);
	near = text_near(slice_str(asked), names, n);
	if (near.n)
		return cli_fail(c, EXIT_NOT_FOUND, "no error code %s; did you mean " SLICE_FMT "?",
			asked, SLICE_ARG(near));
	return cli_fail(c, EXIT_NOT_FOUND,
		"no error code %s; it is the member `code` of an error, and aigw-agentd(8) lists "
		"all",
		asked);
}

int cmd_explain(struct cli *c)
{
	static const struct column columns[] = {
		{ .title = "CODE", .member = "code" },
		{ .title = "STATUS", .member = "status" },
		{ .title = "FROM", .member = "from" },
		{ .title = "MEANING", .member = "meaning" },
		{ .title = "RETRY", .member = "retry" },
	};
	static const struct listing l = { .columns = columns, .n_columns = ARRAY_LEN(columns) };
	const char *asked = c->inv.args[0];
	const char *bare = strchr(asked, ':') ? strchr(asked, ':') + 1 : asked; /* failed:… */

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		JSON_AUTO *o = NULL;

		if (strcmp(codes[i].name, bare) != 0 || strcmp(bare, "none") == 0)
			continue;
		o = json_pack("{s:s, s:i, s:s, s:s, s:s}", "code", codes[i].name, "status",
			(int)codes[i].status, "from", codes[i].who, "meaning", codes[i].text,
			"retry", codes[i].retry);
		return print_facts(c, o, &l);
	}
	return unknown(c, asked);
}
