/* validate and apply: policy files -> findings, or the policy in force */
#include "client.h"
#include "policy_files.h"
#include "print.h"

#include <aigw/atomic_file.h>
#include <aigw/clock.h>
#include <aigw/policy_doc.h>
#include <aigw/text.h>
#include <unistd.h>

#define POLICY_FILE     "/etc/aigw/policy.yaml"
#define POLICY_DIR_GLOB "/etc/aigw/policy.d/*.yaml"

void policy_files_fini(struct policy_files *f)
{
	for (unsigned i = 0; i < f->n; i++)
		buf_fini(&f->texts[i]);
	globfree(&f->found);
}

/* The files of -f, else the usual ones in name order. */
static int files_name(const struct cli *c, struct policy_files *f)
{
	memset(f, 0, sizeof(*f));
	for (unsigned i = 0; i < c->inv.n_files; i++)
		f->names[f->n++] = c->inv.files[i];
	if (f->n)
		return 0;
	if (access(POLICY_FILE, F_OK) == 0)
		f->names[f->n++] = POLICY_FILE;
	if (glob(POLICY_DIR_GLOB, 0, NULL, &f->found) == 0) {
		if (f->found.gl_pathc > COMMAND_MAX_FILES - 1)
			return cli_fail(c, EXIT_USAGE, "more than %d files in %s",
				COMMAND_MAX_FILES - 1, POLICY_DIR_GLOB);
		for (size_t i = 0; i < f->found.gl_pathc; i++)
			f->names[f->n++] = f->found.gl_pathv[i];
	}
	return f->n ? 0
		    : cli_fail(c, EXIT_USAGE,
			      "no policy: " POLICY_FILE " does not exist; name one with -f FILE");
}

int policy_files_read(const struct cli *c, struct policy_files *f)
{
	int code = files_name(c, f);
	struct errbuf e;

	for (unsigned i = 0; i < f->n; i++)
		buf_init(&f->texts[i], TREE_MAX_BYTES);
	for (unsigned i = 0; i < f->n && !code; i++) {
		cli_verbose(c, "reading %s", f->names[i]);
		if (file_read(f->names[i], &f->texts[i], &e) < 0)
			code = cli_fail(c, EXIT_FAILED, "%s", e.text);
	}
	return code;
}

/* --- validate ---------------------------------------------------------------------- */

/* Lines of the report as two lists. */
static int report_split(struct slice report, json_t *findings, json_t *warnings)
{
	while (report.n) {
		const char *end = memchr(report.p, '\n', report.n);
		size_t n = end ? (size_t)(end - report.p) : report.n;
		struct slice line = slice_of(report.p, n);
		bool warning = memmem(line.p, line.n, ": warning: ", 11) != NULL;

		if (n && json_array_append_new(warning ? warnings : findings, json_slice(line)) < 0)
			return -ENOMEM;
		report = slice_skip(report, n + 1);
	}
	return 0;
}

/* The object that the controller's /policy/validate answers with. */
static json_t *verdict(const struct policy_doc *doc, struct slice report)
{
	json_t *findings = json_array(), *warnings = json_array(), *v = NULL;
	char digest[65] = "";

	if (doc)
		text_hex(doc->digest, sizeof(doc->digest), digest);
	if (findings && warnings && report_split(report, findings, warnings) == 0)
		v = json_pack("{s:b, s:O, s:O, s:s}", "valid", doc != NULL, "findings", findings,
			"warnings", warnings, "digest", digest);
	json_decref(findings);
	json_decref(warnings);
	return v;
}

int cmd_validate(struct cli *c)
{
	struct policy_doc *doc = NULL;
	struct policy_files f;
	struct buf report;
	int code = policy_files_read(c, &f);
	JSON_AUTO *v = NULL;

	if (code) {
		policy_files_fini(&f);
		return code;
	}
	buf_init(&report, 1u << 20);
	code = policy_doc_from_files(f.names, f.n, &doc, &report) == 0 ? EXIT_DONE : EXIT_POLICY;
	v = verdict(code ? NULL : doc, buf_view(&report));
	if (!v)
		code = cli_fail(c, EXIT_FAILED, "out of memory");
	else if (!print_object(c, v))
		cli_put_text(c->out, buf_view(&report));
	if (code == EXIT_POLICY)
		cli_note(c, "not valid");
	else if (code == EXIT_DONE)
		cli_note(c, "valid: %u file%s, %u models, %u providers, %u projects", f.n,
			f.n == 1 ? "" : "s", doc->n_models, doc->n_providers, doc->n_projects);
	if (!code)
		policy_doc_free(doc);
	buf_fini(&report);
	policy_files_fini(&f);
	return code;
}

/* --- apply ------------------------------------------------------------------------- */

json_t *policy_files_json(const struct policy_files *f)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < f->n; i++) {
		struct slice text = buf_view(&f->texts[i]);
		bool has_nul = text.n && memchr(text.p, '\0', text.n);
		json_t *file = has_nul ? NULL
				       : json_pack("{s:s, s:s%}", "name", f->names[i], "text",
						 text.p ? text.p : "", text.n);

		if (json_array_append_new(list, file) < 0) { /* jansson takes UTF-8 only */
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Bytes that no JSON can carry never reach the controller: the place is found here. */
int policy_files_say_why(const struct cli *c, const struct policy_files *f)
{
	struct policy_doc *doc = NULL;
	struct buf report;
	bool valid;

	buf_init(&report, 1u << 20);
	valid = policy_doc_from_files(f->names, f->n, &doc, &report) == 0;
	cli_put_text(c->err, buf_view(&report));
	buf_fini(&report);
	if (!valid)
		return cli_fail(
			c, EXIT_POLICY, "the policy is not valid; the one in force is untouched");
	policy_doc_free(doc);
	return cli_fail(c, EXIT_FAILED, "out of memory");
}

static json_t *apply_body(
	const struct cli *c, const struct policy_files *f, bool dry_run, int64_t if_revision)
{
	bool wait = !cli_flag(c, FLAG_no_wait);
	const char *message = cli_flag(c, FLAG_message);
	json_t *list = policy_files_json(f);
	json_t *body;

	if (!list)
		return NULL;
	body = json_pack("{s:o, s:s, s:b, s:b, s:I}", "files", list, "message",
		message ? message : "", "dry_run", dry_run, "wait", wait, "timeout_ms",
		(json_int_t)client_timeout_ms(c));
	if (if_revision >= 0 &&
		json_object_set_new(body, "if_revision", json_integer(if_revision)) < 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

static int send_policy(const struct cli *c, const struct policy_files *f, bool dry_run,
	int64_t if_revision, json_t **ret)
{
	json_t *body = apply_body(c, f, dry_run, if_revision);
	int code;

	*ret = NULL;
	if (!body)
		return policy_files_say_why(c, f);
	code = client_send(c, "POST", "/api/v1/policy", body, !dry_run, ret);
	if (code == EXIT_POLICY)
		(void)print_object(c, *ret);
	return code;
}

static size_t plan_lines(const struct cli *c, FILE *out, const json_t *plan, const char *member,
	char sign, const char *color)
{
	const json_t *list = json_object_get(plan, member);
	bool colored = out == c->out ? c->color : c->color_err;
	struct buf b;
	size_t i;
	json_t *item;

	buf_init(&b, 1u << 20);
	json_array_foreach(list, i, item)
	{
		buf_reset(&b);
		(void)print_value(&b, item);
		(void)fprintf(out, "%s%c%s ", colored ? color : "", sign, colored ? "\033[0m" : "");
		cli_put_text(out, buf_view(&b));
		(void)fputc('\n', out);
	}
	buf_fini(&b);
	return json_array_size(list);
}

void revision_show_plan(const struct cli *c, FILE *out, const json_t *answer)
{
	const json_t *plan = json_object_get(answer, "plan");
	size_t agents = json_array_size(json_object_get(answer, "agents"));
	size_t added = plan_lines(c, out, plan, "added", '+', "\033[32m");
	size_t changed = plan_lines(c, out, plan, "changed", '~', "\033[33m");
	size_t removed = plan_lines(c, out, plan, "removed", '-', "\033[31m");

	(void)fprintf(out, "Plan: %zu added, %zu changed, %zu removed. %zu agent%s affected.\n",
		added, changed, removed, agents, agents == 1 ? "" : "s");
}

void revision_show_warnings(const struct cli *c, const json_t *answer)
{
	size_t i;
	json_t *w;

	json_array_foreach(json_object_get(answer, "warnings"), i, w) if (json_string_value(w))
		cli_note(c, "%s", json_string_value(w));
}

int revision_report(const struct cli *c, const json_t *answer, usec took_us)
{
	bool wait = !cli_flag(c, FLAG_no_wait);
	size_t all = json_array_size(json_object_get(answer, "agents"));
	struct buf list, offline;
	unsigned not_applied, failed, away;
	int64_t tenths = (took_us + USEC_PER_S / 20) / (USEC_PER_S / 10);

	buf_init(&list, 64u << 10);
	not_applied = client_agents_missing(answer, "applied", &list);
	buf_reset(&list);
	failed = client_agents_missing(
		answer, wait ? "applied|offline" : "applied|offline|pending", &list);
	buf_init(&offline, 64u << 10);
	away = client_agents_missing(answer, "applied|pending|refused", &offline);
	if (!print_object(c, answer))
		(void)fprintf(c->out,
			"revision %" PRId64 "%s on %zu/%zu agents in %" PRId64 ".%d s\n",
			json_get_int(answer, "revision", 0),
			json_get_bool(answer, "unchanged", false) ? " (unchanged)" : "",
			all - not_applied, all, tenths / 10, (int)(tenths % 10));
	if (away)
		cli_note(c, "not connected, will get it when they are: %s", buf_cstr(&offline));
	if (failed)
		(void)cli_fail(c, EXIT_PARTLY, "stored, but not in force at %u agent%s: %s", failed,
			failed == 1 ? "" : "s", buf_cstr(&list));
	buf_fini(&list);
	buf_fini(&offline);
	return failed ? EXIT_PARTLY : EXIT_DONE;
}

/* The plan was made against a revision; what a human said yes to may only be applied to that one.
 */
int revision_base(const struct cli *c, int64_t *ret)
{
	JSON_AUTO *status = NULL;
	int code = client_get(c, "/api/v1/status", &status);

	if (!code)
		*ret = json_get_int(status, "revision", 0);
	return code;
}

int revision_ask(const struct cli *c, const char *question)
{
	int answer = cli_ask(c, question);

	if (answer == -EINTR)
		return cli_fail(c, EXIT_INTERRUPTED, "interrupted; nothing was changed");
	return answer > 0 ? EXIT_DONE : cli_fail(c, EXIT_FAILED, "not applied");
}

static int apply_files(const struct cli *c, const struct policy_files *f, int64_t if_revision)
{
	bool dry_run = cli_flag(c, FLAG_dry_run), asks = !cli_flag(c, FLAG_yes) && !dry_run;
	JSON_AUTO *plan = NULL, *answer = NULL;
	usec start;
	int code = EXIT_DONE;

	if (asks && if_revision < 0)
		code = revision_base(c, &if_revision);
	if (!code)
		code = send_policy(c, f, true, if_revision, &plan);
	if (code)
		return code;
	revision_show_warnings(c, plan);
	if (dry_run) {
		if (!print_object(c, plan))
			revision_show_plan(c, c->out, plan);
		return EXIT_DONE;
	}
	if (asks || !c->quiet)
		revision_show_plan(c, c->err, plan);
	if (asks && !json_get_bool(plan, "unchanged", false))
		code = revision_ask(c, "Apply?");
	if (code)
		return code;
	start = clock_mono_us();
	code = send_policy(c, f, false, if_revision, &answer);
	return code ? code : revision_report(c, answer, clock_mono_us() - start);
}

int revision_flags(const struct cli *c, int64_t *ret_if_revision)
{
	const char *text = cli_flag(c, FLAG_if_revision);
	uint64_t if_revision = 0;

	if (text && (text_parse_u64(slice_str(text), &if_revision) < 0 || if_revision > INT64_MAX))
		return cli_fail(c, EXIT_USAGE, "--if-revision %s: must be a number", text);
	*ret_if_revision = text ? (int64_t)if_revision : -1;
	if (!cli_flag(c, FLAG_yes) && !cli_flag(c, FLAG_dry_run) &&
		!(isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))
		return cli_fail(c, EXIT_USAGE,
			"there is no terminal to ask on: say -y (or -n to see the plan only)");
	return EXIT_DONE;
}

int cmd_apply(struct cli *c)
{
	int64_t if_revision = -1;
	struct policy_files f;
	int code = revision_flags(c, &if_revision);

	if (code)
		return code;
	code = policy_files_read(c, &f);
	if (!code)
		code = apply_files(c, &f, if_revision);
	policy_files_fini(&f);
	return code;
}
