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
		api_error(q->x, 400, "usage", "files is a list of 1 to %d objects {name, text}",
			PUBLISH_MAX_FILES);
		return false;
	}
	json_array_foreach(files, i, f)
	{
		json_t *name = json_object_get(f, "name"), *text = json_object_get(f, "text");

		if (!json_is_string(name) || !json_is_string(text) ||
			json_string_length(name) > 4096) {
			api_error(
				q->x, 400, "usage", "files[%zu] is not an object {name, text}", i);
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

	api_answer(q->x, 422,
		json_pack("{s:{s:s, s:s}, s:O}", "error", "message",
			first ? first : "the policy is invalid", "code", "policy_invalid",
			"findings", findings));
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
		api_error(q->x, 500, "internal", "%s", strerror(-r));
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
		api_error(q->x, 400, "usage", "message is longer than %d bytes", MESSAGE_MAX_BYTES);
		return false;
	}
	r = store_read(q->ctld->store, last_number_read, last);

	if (r < 0) {
		api_store_error(q->x, r);
		return false;
	}
	if (expected >= 0 && (uint64_t)expected != (now ? now->revision : 0)) {
		api_error(q->x, 409, "conflict",
			"the running revision is %" PRIu64 ", not %" PRId64,
			now ? now->revision : 0, expected);
		return false;
	}
	if (now && last->booked && !slice_eq(now->doc->currency, doc->currency)) {
		api_error(q->x, 409, "conflict",
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
		api_error(q->x, 400, "usage", "revision is a number from 1 up");
		return;
	}
	r = store_read(q->ctld->store, revision_read, &run);
	if (r == -ENOENT)
		api_error(q->x, 404, "not_found",
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
