/* The self test: six calls, and their way into the agent's numbers and the controller's ledger, to
 * the nano-dollar. */
#include "demo.h"
#include "client.h"

#include <aigw/atomic_file.h>
#include <aigw/clock.h>
#include <aigw/text.h>

#define BOOKED_US (20 * USEC_PER_S)

static void ok(const struct demo *d, const char *what, const char *more)
{
	cli_note(d->c, "%sok%s  %s%s%s", d->c->color_err ? "\033[32m" : "",
		d->c->color_err ? "\033[0m" : "", what, *more ? ": " : "", more);
}

static int calls(struct demo *d)
{
	for (int socket = 0; socket < 2; socket++) {
		for (int kind = 0; kind < DEMO_CALL_KINDS; kind++) {
			int code = demo_call(d, (enum demo_call_kind)kind, socket);
			char what[64];

			if (code)
				return code;
			(void)snprintf(what, sizeof(what), "%s call %s", demo_call_names[kind],
				socket ? "over the unix socket without a key"
				       : "over TCP with a key");
			ok(d, what, "");
		}
	}
	return EXIT_DONE;
}

/* --- ledger ------------------------------------------------------------------------ */

static int64_t expected_cost(const struct demo_sum *s)
{
	return (s->input_tokens - s->cached_tokens) * DEMO_NANO_INPUT +
	       s->cached_tokens * DEMO_NANO_CACHED + s->output_tokens * DEMO_NANO_OUTPUT;
}

static int compare(const struct demo *d, const json_t *total)
{
	const struct {
		const char *member;
		int64_t want;
	} rows[] = {
		{ "requests", d->sum.requests },
		{ "ok", d->sum.requests },
		{ "errors", 0 },
		{ "input_tokens", d->sum.input_tokens },
		{ "cached_input_tokens", d->sum.cached_tokens },
		{ "output_tokens", d->sum.output_tokens },
		{ "unpriced", 0 },
		{ "estimated", 0 },
	};
	const char *cost = json_get_str(total, "cost", "");
	char want[32];

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t got = json_get_int(total, rows[i].member, -1);

		if (got != rows[i].want)
			return cli_fail(d->c, EXIT_FAILED,
				"the ledger says %s %" PRId64 ", the answers say %" PRId64,
				rows[i].member, got, rows[i].want);
	}
	text_format_nano(expected_cost(&d->sum), 9, want);
	if (strcmp(cost, want) != 0)
		return cli_fail(d->c, EXIT_FAILED, "the ledger says cost %s, the answers make %s",
			cost, want);
	ok(d, "ledger: requests, tokens and cost as in the answers", want);
	return EXIT_DONE;
}

/* Records travel agent -> spool -> controller; the answer to a client waits for the disk, not for
 * the ledger. */
static int ledger(struct demo *d)
{
	usec deadline = clock_mono_us() + BOOKED_US;

	for (;;) {
		JSON_AUTO *answer = NULL;
		int code = client_get(&d->api, "/api/v1/usage?by=project", &answer);
		const json_t *total = json_object_get(answer, "total");
		bool timeout;

		if (code == EXIT_DONE && json_get_int(total, "requests", 0) >= d->sum.requests)
			return compare(d, total);
		if (code != EXIT_DONE && code != EXIT_INTERRUPTED && code != EXIT_UNREACHABLE)
			return code; /* of those two demo_wait knows more */
		if (clock_mono_us() > deadline)
			return cli_fail(d->c, EXIT_FAILED,
				"after %d s the controller has booked %" PRId64 " of %" PRId64
				" calls",
				(int)(BOOKED_US / USEC_PER_S), json_get_int(total, "requests", 0),
				d->sum.requests);
		code = demo_wait(d, -1, 20 * USEC_PER_MS, &timeout);
		if (code)
			return code;
	}
}

/* --- mount ------------------------------------------------------------------------- */

/* Value of "KEY VALUE" in a flat keyed file; -1: not there. */
static int64_t keyed(struct slice text, const char *key)
{
	size_t n = strlen(key);

	while (text.n) {
		const char *end = memchr(text.p, '\n', text.n);
		struct slice line = slice_of(text.p, end ? (size_t)(end - text.p) : text.n);
		int64_t v;

		if (line.n > n && memcmp(line.p, key, n) == 0 && line.p[n] == ' ' &&
			text_parse_i64(slice_skip(line, n + 1), &v) == 0)
			return v;
		text = slice_skip(text, line.n + 1);
	}
	return -1;
}

static int read_stats(struct demo *d, const char *name, struct buf *b)
{
	char path[108], file[64];
	struct errbuf e;

	(void)snprintf(file, sizeof(file), "stats/%s", name);
	if (file_read(demo_path(d, file, path), b, &e) < 0)
		return cli_fail(d->c, EXIT_FAILED, "stats mount: %s", e.text);
	return EXIT_DONE;
}

static int mount(struct demo *d)
{
	static const char *const keys[] = { "ok", "tokens_in", "tokens_out" };
	const int64_t want[] = { d->sum.requests, d->sum.input_tokens, d->sum.output_tokens };
	struct buf b;
	int code;

	if (d->no_mount) {
		cli_note(d->c, "skipped: the stats mount: %s", d->no_mount);
		return EXIT_DONE;
	}
	buf_init(&b, 1u << 20);
	code = read_stats(d, "stat", &b);
	for (unsigned i = 0; i < ARRAY_LEN(keys) && !code; i++) {
		int64_t got = keyed(buf_view(&b), keys[i]);

		if (got != want[i])
			code = cli_fail(d->c, EXIT_FAILED,
				"stats/stat says %s %" PRId64 ", the answers say %" PRId64, keys[i],
				got, want[i]);
	}
	if (!code)
		ok(d, "stats/stat in the mount: calls and tokens as in the answers", "");
	buf_reset(&b);
	if (!code)
		code = read_stats(d, "summary", &b);
	if (!code && !memmem(b.p, b.n, DEMO_MODEL, strlen(DEMO_MODEL)))
		code = cli_fail(
			d->c, EXIT_FAILED, "stats/summary does not name the model " DEMO_MODEL);
	if (!code)
		ok(d, "stats/summary in the mount names the model", "");
	buf_fini(&b);
	return code;
}

/* --- all --------------------------------------------------------------------------- */

static int show_usage(struct demo *d)
{
	struct cli c = d->api;

	c.inv.value[FLAG_by] = "project,model";
	c.inv.value[FLAG_since] = "1970-01-01";
	c.limit = UINT64_MAX;
	return cmd_usage_show(&c);
}

int demo_selftest(struct demo *d)
{
	static int (*const steps[])(struct demo * d) = { calls, ledger, mount, show_usage };

	for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
		int code = steps[i](d);

		if (code)
			return code;
	}
	return EXIT_DONE;
}
