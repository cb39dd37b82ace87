/* try: one tiny call to a model through this host's agent, and what the agent says became of it. */
#include "chat.h"
#include "local.h"
#include "story.h"

#include <aigw/clock.h>
#include <aigw/text.h>

#include <time.h>

#define PROMPT      "Reply with the word ok."
#define SETTLE_US   (3 * USEC_PER_S) /* an answer may be out before its call is settled */
#define SETTLE_LOOK (20 * USEC_PER_MS)

static int await_call(const struct cli *c, const char *id, json_t **ret)
{
	usec end = clock_mono_us() + SETTLE_US;
	struct buf path;
	int code;

	buf_init(&path, 4096);
	(void)buf_str(&path, "/v1/requests/");
	(void)exchange_escape(&path, slice_str(id));
	for (;;) {
		struct timespec pause = { .tv_nsec = SETTLE_LOOK * 1000 };

		code = local_find(c, buf_cstr(&path), ret);
		if (code || *ret)
			break;
		if (clock_mono_us() > end) {
			code = cli_fail(c, EXIT_NOT_FOUND,
				"the agent at unix:%s knows nothing of the call %.63s; --agent "
				"names the control socket of the one that was asked",
				c->agent, id);
			break;
		}
		(void)nanosleep(&pause, NULL);
	}
	buf_fini(&path);
	return code;
}

static int send_one(const struct cli *c, const struct chat_way *w, struct exchange_answer *a)
{
	struct buf body;
	int code;

	buf_init(&body, 16384);
	(void)buf_str(&body, "{\"model\":");
	(void)text_json_quote(&body, slice_str(c->inv.args[0]));
	(void)buf_str(&body, ",\"messages\":[{\"role\":\"user\",\"content\":\"" PROMPT "\"}]}");
	code = body.err ? cli_fail(c, EXIT_USAGE, "the model's name is too long")
			: chat_call(c, w, "POST", "/chat/completions", buf_view(&body), a);
	buf_fini(&body);
	return code;
}

int cmd_try(struct cli *c)
{
	struct chat_way way;
	struct exchange_answer a;
	JSON_AUTO *call = NULL;
	int code = chat_way(c, &way), told;

	if (code)
		return code;
	exchange_answer_init(&a);
	code = send_one(c, &way, &a);
	if (a.request_id[0]) { /* also of a call that came to nothing */
		told = await_call(c, a.request_id, &call);
		if (!told)
			told = story_tell(c, call, !cli_flag(c, FLAG_show_route));
		code = code ? code : told;
	}
	exchange_answer_fini(&a);
	return code;
}
