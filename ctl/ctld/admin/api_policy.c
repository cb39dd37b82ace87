/* Policy: validate, apply, read, list. */
#include "admin/api.h"
#include "ctld.h"
#include "policy/publish.h"
#include <aigw/text.h>

#define MESSAGE_MAX_BYTES 1000
#define REPORT_BYTES      (1u << 20)

/* "files" of the body; answers 400 and gives false if they are not as they should be. Names and
 * texts live with the body. */
static bool files_take(struct api_request *q, struct policy_file *out, size_t *ret_n)
{
	json_t *files = json_object_get(q->body, "files"), *f;
	size_t i, n = json_array_size(files);

	if (n == 0 || n > PUBLISH_MAX_FILES) {
		api_error(q->x, ADMIN_ERROR_usage,
			"files is a list of 1 to %d objects {name, text}", PUBLISH_MAX_FILES);
		return false;
	}
	json_array_foreach(files, i, f)
	{
		json_t *name = json_object_get(f, "name"), *text = json_object_get(f, "text");

		if (!json_is_string(name) || !json_is_string(text) ||
			json_string_length(name) > 4096) {
			api_error(q->x, ADMIN_ERROR_usage,
				"files[%zu] is not an object {name, text}", i);
			return false;
		}
		out[i].name = slice_of(json_string_value(name), json_string_length(name));
		out[i].text = slice_of(json_string_value(text), json_string_length(text));
	}
	*ret_n = n;
	return true;
}

static void answer_invalid(struct api_request *q, struct slice report)
{
	JSON_AUTO *findings = api_lines(report, false);
	const char *first = json_string_value(json_array_get(findings, 0));
	const struct admin_error_row *row = admin_error_row(ADMIN_ERROR_policy_invalid);

	api_answer(q->x, row->status,
		json_pack("{s:{s:s, s:s}, s:O}", "error", "message",
			first ? first : "the policy is invalid", "code", row->name, "findings",
			findings));
}

/* Builds the document of the body's files, or answers. */
static struct policy_doc *doc_take(
	struct api_request *q, struct policy_file *files, size_t *n, struct buf *report)
{
	struct policy_doc *doc;
	int r;

	if (!files_take(q, files, n))
		return NULL;
	r = publish_build(files, *n, &doc, report);
	if (r == 0)
		return doc;
	if (r == -EINVAL)
		answer_invalid(q, buf_view(report));
	else
		api_error(q->x, ADMIN_ERROR_internal, "%s", strerror(-r));
	return NULL;
}

void api_policy_validate(struct api_request *q)
{
	struct policy_file files[PUBLISH_MAX_FILES];
	struct policy_doc *doc;
	struct buf report;
	size_t n;

	buf_init(&report, REPORT_BYTES);
	doc = doc_take(q, files, &n, &report);
	if (doc)
		api_answer(q->x, 200,
			json_pack("{s:b, s:o, s:o}", "valid", 1, "warnings",
				api_lines(buf_view(&report), true), "digest",
				api_hex(doc->digest, 32)));
	policy_doc_free(doc);
	buf_fini(&report);
}

/* --- apply --------------------------------------------------------------------------------------
 */

static const char *policy_state(const struct agent *a, const struct api_wait *w)
{
	return feed_policy_state(a, w->number);
}

static json_t *plan_json(const struct policy_doc *from, const struct policy_doc *to)
{
	struct publish_plan plan;
	json_t *v;

	if (publish_plan(from, to, &plan) < 0)
		return NULL;
	v = json_pack("{s:o, s:o, s:o}", "added", api_lines(buf_view(&plan.added), false),
		"changed", api_lines(buf_view(&plan.changed), false), "removed",
		api_lines(buf_view(&plan.removed), false));
	publish_plan_fini(&plan);
	return v;
}

struct last_number {
	uint64_t number;
	bool booked; /* something stands in the ledger */
};

static int head_any(const struct ledger_head *h, void *arg)
{
	struct last_number *l = arg;

	l->booked = l->booked || h->high_water > 0;
	return l->booked;
}

static int last_number_read(struct store_txn *t, void *arg)
{
	struct last_number *l = arg;
	struct store_revision rev;
	int r = store_revision_get(t, 0, &rev);

	if (r == 0)
		l->number = rev.number;
	return r < 0 && r != -ENOENT ? r : ledger_head_each(t, head_any, l);
}

/* What speaks against the new document besides its content. Answers and gives false. */
static bool apply_may(struct api_request *q, const struct policy_doc *doc, struct last_number *last)
{
	const struct published *now = q->ctld->feed.policy;
	int64_t expected = json_get_int(q->body, "if_revision", -1);
	int r;

	if (strlen(json_get_str(q->body, "message", "")) > MESSAGE_MAX_BYTES) {
		api_error(q->x, ADMIN_ERROR_usage, "message is longer than %d bytes",
			MESSAGE_MAX_BYTES);
		return false;
	}
	r = store_read(q->ctld->store, last_number_read, last);

	if (r < 0) {
		api_store_error(q->x, r);
		return false;
	}
	if (expected >= 0 && (uint64_t)expected != (now ? now->revision : 0)) {
		api_error(q->x, ADMIN_ERROR_conflict,
			"the running revision is %" PRIu64 ", not %" PRId64,
			now ? now->revision : 0, expected);
		return false;
	}
	if (now && last->booked && !slice_eq(now->doc->currency, doc->currency)) {
		api_error(q->x, ADMIN_ERROR_conflict,
			"the ledger is kept in " SLICE_FMT ": sums with amounts in " SLICE_FMT
			" would have no meaning",
			SLICE_ARG(now->doc->currency), SLICE_ARG(doc->currency));
		return false;
	}
	return true;
}

/* What agents would say, as far as their features tell. */
static json_t *dry_agents(struct ctld *c, const struct policy_doc *doc)
{
	json_t *list = json_array();
	struct list *it, *tmp;

	list_each(it, tmp, &c->agents.known)
	{
		const struct agent *a = list_entry(it, struct agent, node);
		struct slice lacks = a->session ? feed_feature_lacking(a, doc) : SLICE_EMPTY;
		json_t *v = json_pack("{s:s, s:s}", "name", a->name, "state",
			lacks.n      ? "refused"
			: a->session ? "pending"
				     : "offline");

		if (lacks.n)
			(void)json_object_set_new(v, "reason",
				json_sprintf("lacks feature " SLICE_FMT, SLICE_ARG(lacks)));
		(void)json_array_append_new(list, v);
	}
	return list;
}

/* Takes doc. */
static void apply_doc(struct api_request *q, struct policy_doc *doc,
	const struct policy_file *files, size_t n, const struct last_number *last, json_t *answer)
{
	const char *message = json_get_str(q->body, "message", "");
	struct publish_request p = { files, n, doc, slice_str(q->by), slice_str(message),
		last->number + 1 };
	struct feed *feed = &q->ctld->feed;
	bool same = feed->policy && memcmp(feed->policy->digest, doc->digest, 32) == 0;
	bool dry = json_get_bool(q->body, "dry_run", false);
	struct published *fresh;
	usec timeout = 0;
	int r;

	if (json_get_bool(q->body, "wait", false) && !dry && !api_timeout(q, &timeout))
		goto refuse;
	(void)json_object_set_new(answer, "unchanged", json_boolean(same));
	if (dry) {
		(void)json_object_set_new(answer, "revision",
			json_integer(
				(json_int_t)(same ? feed->policy->revision : last->number + 1)));
		(void)json_object_set_new(answer, "agents", dry_agents(q->ctld, doc));
		policy_doc_free(doc);
		api_answer(q->x, 200, answer);
		return;
	}
	if (same) {
		q->ctld->applies.unchanged++;
		policy_doc_free(doc);
		(void)json_object_set_new(
			answer, "revision", json_integer((json_int_t)feed->policy->revision));
		api_wait_agents(
			q, 200, answer, policy_state, feed->policy->revision, NULL, timeout);
		return;
	}
	r = publish_store(q->ctld->store, &p, &fresh);
	if (r < 0) {
		json_decref(answer);
		api_store_error(q->x, r);
		return;
	}
	q->ctld->applies.applied++;
	log_event(LOG_INFO, "admin", "policy.published", "revision=%" PRIu64 " by=%s",
		fresh->revision, log_quote(slice_str(q->by)));
	(void)json_object_set_new(answer, "revision", json_integer((json_int_t)fresh->revision));
	feed_policy(feed, fresh);
	api_wait_agents(q, 200, answer, policy_state, fresh->revision, NULL, timeout);
	return;
refuse:
	policy_doc_free(doc);
	json_decref(answer);
}

void api_policy_apply(struct api_request *q)
{
	struct policy_file files[PUBLISH_MAX_FILES];
	const struct published *now = q->ctld->feed.policy;
	struct last_number last = { 0 };
	struct policy_doc *doc;
	struct buf report;
	json_t *plan;
	size_t n;

	buf_init(&report, REPORT_BYTES);
	doc = doc_take(q, files, &n, &report);
	if (!doc || !apply_may(q, doc, &last)) {
		q->ctld->applies.refused++;
		policy_doc_free(doc);
		goto out;
	}
	plan = plan_json(now ? now->doc : NULL, doc);
	if (!plan) {
		policy_doc_free(doc);
		api_answer(q->x, 500, NULL);
		goto out;
	}
	apply_doc(q, doc, files, n, &last,
		json_pack("{s:o, s:o}", "warnings", api_lines(buf_view(&report), true), "plan",
			plan));
out:
	buf_fini(&report);
}

/* --- rollback -----------------------------------------------------------------------------------
 */

struct old_run {
	uint64_t number;
	struct policy_file files[PUBLISH_MAX_FILES];
	size_t n;
	struct buf texts; /* owns what files point to */
	size_t at[PUBLISH_MAX_FILES][3];
};

/* The files of a revision, copied out of the store's transaction. */
static int old_read(struct store_txn *t, void *arg)
{
	struct old_run *run = arg;
	struct store_revision rev;
	struct slice name, text, files;
	int r = store_revision_get(t, run->number, &rev);

	if (r < 0)
		return r;
	files = rev.files;
	while (run->n < PUBLISH_MAX_FILES && store_files_next(&files, &name, &text)) {
		run->at[run->n][0] = run->texts.n;
		(void)buf_slice(&run->texts, name);
		run->at[run->n][1] = run->texts.n;
		(void)buf_slice(&run->texts, text);
		run->at[run->n++][2] = run->texts.n;
	}
	return run->texts.err;
}

/* 0, or answers and gives a negative errno. */
static int old_take(struct api_request *q, struct old_run *run)
{
	int r = store_read(q->ctld->store, old_read, run);

	for (size_t i = 0; r == 0 && i < run->n; i++) {
		const size_t *at = run->at[i];

		run->files[i].name = slice_of(run->texts.p + at[0], at[1] - at[0]);
		run->files[i].text = slice_of(run->texts.p + at[1], at[2] - at[1]);
	}
	if (r == -ENOENT)
		api_error(
			q->x, ADMIN_ERROR_not_found, "there is no revision %" PRIu64, run->number);
	else if (r < 0)
		api_store_error(q->x, r);
	return r;
}

/* Builds the document of a stored revision, or answers. It was valid once; a newer version of this
 * program may know better. */
static struct policy_doc *old_build(struct api_request *q, struct old_run *run, struct buf *report)
{
	struct policy_doc *doc;
	int r;

	if (old_take(q, run) < 0)
		return NULL;
	r = publish_build(run->files, run->n, &doc, report);
	if (r == 0)
		return doc;
	if (r == -EINVAL)
		answer_invalid(q, buf_view(report));
	else
		api_error(q->x, ADMIN_ERROR_internal, "%s", strerror(-r));
	return NULL;
}

static void old_fini(struct old_run *run)
{
	buf_fini(&run->texts);
	free(run);
}

static struct old_run *old_new(uint64_t number)
{
	struct old_run *run = calloc(1, sizeof(*run));

	if (run) {
		run->number = number;
		buf_init(&run->texts, 256u << 20);
	}
	return run;
}

/* An older content as a new revision. Keys are no part of it, so none comes back to life. */
void api_policy_rollback(struct api_request *q)
{
	const struct published *now = q->ctld->feed.policy;
	int64_t to = json_get_int(q->body, "revision", now ? (int64_t)now->revision - 1 : 0);
	struct last_number last = { 0 };
	struct policy_doc *doc;
	struct old_run *run;
	struct buf report;
	json_t *plan;

	if (to < 1) {
		api_error(
			q->x, ADMIN_ERROR_not_found, "there is no revision before the running one");
		return;
	}
	run = old_new((uint64_t)to);
	if (!run) {
		api_answer(q->x, 500, NULL);
		return;
	}
	buf_init(&report, REPORT_BYTES);
	doc = old_build(q, run, &report);
	if (!doc || !apply_may(q, doc, &last)) {
		q->ctld->applies.refused++;
		policy_doc_free(doc);
		goto out;
	}
	plan = plan_json(now ? now->doc : NULL, doc);
	if (!plan) {
		policy_doc_free(doc);
		api_answer(q->x, 500, NULL);
		goto out;
	}
	apply_doc(q, doc, run->files, run->n, &last,
		json_pack("{s:o, s:o}", "warnings", api_lines(buf_view(&report), true), "plan",
			plan));
out:
	buf_fini(&report);
	old_fini(run);
}

/* --- diff ---------------------------------------------------------------------------------------
 */

static const char *const change_names[] = {
	[PUBLISH_ADDED] = "added", [PUBLISH_CHANGED] = "changed", [PUBLISH_REMOVED] = "removed"
};

static json_t *tree_json(const struct tree *t)
{
	struct buf b;
	json_t *v;

	if (!t)
		return json_null();
	buf_init(&b, 1u << 20);
	publish_text(t, &b);
	v = json_slice(buf_view(&b));
	buf_fini(&b);
	return v;
}

static void add_member(
	void *arg, const char *member, const struct tree *old, const struct tree *fresh)
{
	(void)json_array_append_new(
		arg, json_pack("{s:s, s:s, s:o, s:o}", "member", member, "change",
			     change_names[!old    ? PUBLISH_ADDED
					  : fresh ? PUBLISH_CHANGED
						  : PUBLISH_REMOVED],
			     "from", tree_json(old), "to", tree_json(fresh)));
}

static int add_change(void *arg, enum publish_change change, const char *name,
	const struct tree *old, const struct tree *fresh)
{
	json_t *members = json_array();

	publish_members(old, fresh, add_member, members);
	return json_array_append_new(arg, json_pack("{s:s, s:s, s:o}", "object", name, "change",
						  change_names[change], "members", members)) < 0
		       ? -ENOMEM
		       : 0;
}

static void answer_diff(struct api_request *q, const struct policy_doc *from,
	const struct policy_doc *to, uint64_t from_number, uint64_t to_number)
{
	json_t *changes = json_array();
	int r = publish_compare(from, to, add_change, changes);

	if (r < 0) {
		json_decref(changes);
		api_error(q->x, ADMIN_ERROR_internal, "%s", strerror(-r));
		return;
	}
	api_answer(q->x, 200,
		json_pack("{s:o, s:o, s:b, s:o, s:o}", "from",
			from_number ? json_integer((json_int_t)from_number) : json_null(), "to",
			to_number ? json_integer((json_int_t)to_number) : json_null(), "same",
			json_array_size(changes) == 0, "changes", changes, "agents",
			dry_agents(q->ctld, to)));
}

/* The document of a numbered revision; the running one is at hand. *ret_owned: to be freed. */
static bool diff_side(struct api_request *q, int64_t number, const struct policy_doc **ret,
	struct policy_doc **ret_owned)
{
	const struct published *now = q->ctld->feed.policy;
	struct old_run *run;
	struct buf report;

	*ret_owned = NULL;
	if (now && (uint64_t)number == now->revision) {
		*ret = now->doc;
		return true;
	}
	run = old_new((uint64_t)number);
	if (!run) {
		api_answer(q->x, 500, NULL);
		return false;
	}
	buf_init(&report, REPORT_BYTES);
	*ret = *ret_owned = old_build(q, run, &report);
	buf_fini(&report);
	old_fini(run);
	return *ret != NULL;
}

/* From the running revision, or one by number, to files or another one. */
void api_policy_diff(struct api_request *q)
{
	const struct published *now = q->ctld->feed.policy;
	int64_t from = json_get_int(q->body, "from", now ? (int64_t)now->revision : 0);
	int64_t to = json_get_int(q->body, "to", 0);
	struct policy_doc *owned_from = NULL, *owned_to = NULL;
	const struct policy_doc *a = NULL, *b = NULL;
	struct policy_file files[PUBLISH_MAX_FILES];
	struct buf report;
	bool ok;
	size_t n;

	if (from < 0 || to < 0 || (to == 0) == !json_object_get(q->body, "files")) {
		api_error(q->x, ADMIN_ERROR_usage,
			"one of `files` and `to` says what to compare with");
		return;
	}
	ok = from == 0 || diff_side(q, from, &a, &owned_from);
	if (ok && to) {
		ok = diff_side(q, to, &b, &owned_to);
	} else if (ok) {
		buf_init(&report, REPORT_BYTES);
		b = owned_to = doc_take(q, files, &n, &report);
		ok = b != NULL;
		buf_fini(&report);
	}
	if (ok)
		answer_diff(q, a, b, (uint64_t)from, (uint64_t)to);
	policy_doc_free(owned_from);
	policy_doc_free(owned_to);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static json_t *revision_json(const struct store_revision *r)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:o}", "revision", (json_int_t)r->number,
		"applied_at", api_time(r->applied_us), "applied_by", json_slice(r->by), "message",
		json_slice(r->message), "digest", api_hex(r->digest.p, r->digest.n));
}

struct revision_run {
	uint64_t number;
	json_t *answer;
};

static int revision_read(struct store_txn *t, void *arg)
{
	struct revision_run *run = arg;
	struct store_revision rev;
	struct slice name, text, files;
	json_t *list;
	int r = store_revision_get(t, run->number, &rev);

	if (r < 0)
		return r;
	list = json_array();
	files = rev.files;
	while (store_files_next(&files, &name, &text))
		(void)json_array_append_new(list, json_pack("{s:o, s:o}", "name", json_slice(name),
							  "text", json_slice(text)));
	run->answer = revision_json(&rev);
	(void)json_object_set_new(run->answer, "files", list);
	return 0;
}

void api_policy_get(struct api_request *q)
{
	struct revision_run run = { 0 };
	struct slice number;
	int r;

	if (http_query_get(q->x, SLICE("revision"), &number) &&
		(text_parse_u64(number, &run.number) < 0 || run.number == 0)) {
		api_error(q->x, ADMIN_ERROR_usage, "revision is a number from 1 up");
		return;
	}
	r = store_read(q->ctld->store, revision_read, &run);
	if (r == -ENOENT)
		api_error(q->x, ADMIN_ERROR_not_found,
			run.number ? "there is no such revision"
				   : "no policy has been applied yet");
	else if (r < 0)
		api_store_error(q->x, r);
	else
		api_answer(q->x, 200, run.answer);
}

static int revision_add(const struct store_revision *r, void *arg)
{
	return json_array_append_new(arg, revision_json(r)) < 0 ? -ENOMEM : 0;
}

static int revisions_read(struct store_txn *t, void *arg)
{
	return store_revision_each(t, revision_add, arg);
}

void api_revisions(struct api_request *q)
{
	json_t *list = json_array();
	int r = store_read(q->ctld->store, revisions_read, list);

	if (r < 0) {
		json_decref(list);
		api_store_error(q->x, r);
		return;
	}
	api_answer(q->x, 200, json_pack("{s:o}", "revisions", list));
}
