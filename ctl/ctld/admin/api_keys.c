/* Virtual keys: create, list, revoke. A key's text leaves in the answer to its creation and is kept
 * nowhere. */
#include "admin/api.h"
#include "admin/audit.h"
#include "ctld.h"
#include <aigw/clock.h>
#include <aigw/secret.h>
#include <aigw/text.h>
#include <aigw/vkey.h>

#define KEY_TAGS_MAX 127

static const char *keys_state(const struct agent *a, const struct api_wait *w)
{
	return feed_keys_state(a, w->number);
}

/* Customer of a project of the running policy; empty: not in it. */
static struct slice customer_of(const struct ctld *c, struct slice project)
{
	const struct policy_doc *doc = c->feed.policy ? c->feed.policy->doc : NULL;

	for (uint32_t i = 0; doc && i < doc->n_projects; i++)
		if (slice_eq(doc->projects[i].name, project))
			return doc->customers[doc->projects[i].customer].name;
	return SLICE_EMPTY;
}

static void no_project(struct api_request *q, struct slice asked)
{
	const struct policy_doc *doc = q->ctld->feed.policy ? q->ctld->feed.policy->doc : NULL;
	size_t n = doc ? doc->n_projects : 0;
	struct slice *names = calloc(n ? n : 1, sizeof(*names)), near = SLICE_EMPTY;

	for (size_t i = 0; names && i < n; i++)
		names[i] = doc->projects[i].name;
	if (names)
		near = text_near(asked, names, n);
	free(names);
	if (near.n)
		api_error(q->x, ADMIN_ERROR_not_found,
			"the running policy has no project '" SLICE_FMT
			"'; did you mean '" SLICE_FMT "'?",
			SLICE_ARG(asked), SLICE_ARG(near));
	else
		api_error(q->x, ADMIN_ERROR_not_found,
			"the running policy has no project '" SLICE_FMT "'", SLICE_ARG(asked));
}

int api_count_key(struct slice bytes, void *counts)
{
	struct key_states *n = counts;
	struct key_record k;
	int r = key_record_unpack(bytes, &k);

	if (r < 0)
		return r;
	if (k.state == KEY_REVOKED)
		n->revoked++;
	else if (!k.expires_us || k.expires_us > clock_wall_us())
		n->active++;
	return 0;
}

static const char *state_name(const struct key_record *k)
{
	if (k->state == KEY_REVOKED)
		return "revoked";
	if (k->state == KEY_DISABLED)
		return "disabled";
	return k->expires_us && k->expires_us <= clock_wall_us() ? "expired" : "active";
}

static json_t *key_json(const struct ctld *c, const struct key_record *k)
{
	struct slice customer = customer_of(c, k->project);

	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "id",
		json_slice(slice_of(k->id, VKEY_ID_LEN)), "name", json_slice(k->name), "project",
		json_slice(k->project), "customer", customer.n ? json_slice(customer) : json_null(),
		"state", state_name(k), "created", api_time(k->created_us), "expires",
		api_time(k->expires_us), "revoked", api_time(k->revoked_us), "require_tags",
		json_slice(k->require_tags));
}

/* --- reading ------------------------------------------------------------------------------------
 */

struct list_run {
	const struct ctld *c;
	bool filtered;
	struct slice project;
	json_t *list;
};

static int list_key(struct slice bytes, void *arg)
{
	struct list_run *run = arg;
	struct key_record k;
	int r = key_record_unpack(bytes, &k);

	if (r < 0)
		return r;
	if (run->filtered && !slice_eq(k.project, run->project))
		return 0;
	return json_array_append_new(run->list, key_json(run->c, &k)) < 0 ? -ENOMEM : 0;
}

static int list_read(struct store_txn *t, void *arg)
{
	return store_key_each(t, list_key, arg);
}

void api_keys_list(struct api_request *q)
{
	struct list_run run = { .c = q->ctld, .list = json_array() };
	int r;

	run.filtered = http_query_get(q->x, SLICE("project"), &run.project);
	r = store_read(q->ctld->store, list_read, &run);
	if (r < 0) {
		json_decref(run.list);
		api_store_error(q->x, r);
		return;
	}
	api_answer(q->x, 200, json_pack("{s:o}", "keys", run.list));
}

struct get_run {
	const struct ctld *c;
	struct slice id;
	json_t *answer;
};

static int get_read(struct store_txn *t, void *arg)
{
	struct get_run *run = arg;
	struct key_record k;
	int r = store_key_get(t, run->id, &k);

	if (r == 0)
		run->answer = key_json(run->c, &k);
	return r;
}

static void answer_key_error(struct api_request *q, int r)
{
	if (r == -ENOENT)
		api_error(q->x, ADMIN_ERROR_not_found, "there is no key " SLICE_FMT,
			SLICE_ARG(q->arg));
	else
		api_store_error(q->x, r);
}

void api_key_get(struct api_request *q)
{
	struct get_run run = { q->ctld, q->arg, NULL };
	int r = store_read(q->ctld->store, get_read, &run);

	if (r < 0)
		answer_key_error(q, r);
	else
		api_answer(q->x, 200, run.answer);
}

/* --- changing -----------------------------------------------------------------------------------
 */

struct put_run {
	const char *by, *action;
	struct slice id; /* revoke: whose */
	struct key_record key;
	uint64_t seq;
	bool unchanged;    /* revoked already */
	struct buf record; /* packed, for the feed */
};

static int put_key(struct store_txn *t, struct put_run *run)
{
	int r = store_key_put(t, &run->key, &run->seq);

	if (r < 0)
		return r;
	buf_reset(&run->record);
	r = key_record_pack(&run->key, &run->record);
	if (r < 0)
		return r;
	return audit_add(t, run->by, run->action, slice_of(run->key.id, VKEY_ID_LEN),
		"name=" SLICE_FMT " project=" SLICE_FMT " seq=%" PRIu64, SLICE_ARG(run->key.name),
		SLICE_ARG(run->key.project), run->seq);
}

static int create_write(struct store_txn *t, void *arg)
{
	return put_key(t, arg);
}

/* Marks that change the direction of text: what is shown would not be what is there. */
static bool turns_text(struct slice s)
{
	static const char *const marks[] = { "\u061c", "\u200e", "\u200f", "\u202a", "\u202b",
		"\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069" };

	for (size_t i = 0; i < ARRAY_LEN(marks); i++)
		if (slice_starts(s, slice_str(marks[i])))
			return true;
	return false;
}

static bool name_is_valid(struct slice s)
{
	if (s.n == 0 || s.n > 63 || !text_is_utf8(s))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f || turns_text(slice_skip(s, i)))
			return false;
	return true;
}

/* Each is carried by some target of the running policy; else the key could do nothing. */
static bool tags_are_known(struct api_request *q, struct slice list)
{
	const struct policy_doc *doc = q->ctld->feed.policy ? q->ctld->feed.policy->doc : NULL;
	struct slice word;

	if (list.n > KEY_TAGS_MAX) {
		api_error(
			q->x, ADMIN_ERROR_usage, "require_tags has at most %d bytes", KEY_TAGS_MAX);
		return false;
	}
	while (slice_take_part(&list, &word)) {
		bool known = false;

		for (uint32_t i = 0; doc && i < doc->n_tags; i++)
			known |= slice_eq(doc->tags[i], word);
		if (!known) {
			api_error(q->x, ADMIN_ERROR_usage,
				"no target of the running policy carries the tag '" SLICE_FMT
				"'; write tags with nothing but commas between them",
				SLICE_ARG(word));
			return false;
		}
	}
	return true;
}

/* Fills the record from the body, or answers. */
static bool create_take(struct api_request *q, struct key_record *k)
{
	const char *name = json_get_str(q->body, "name", ""),
		   *project = json_get_str(q->body, "project", "");
	const char *expires = json_get_str(q->body, "expires", NULL);
	usec span;

	*k = (struct key_record){ .state = KEY_ACTIVE,
		.name = slice_str(name),
		.project = slice_str(project),
		.require_tags = slice_str(json_get_str(q->body, "require_tags", "")),
		.created_us = clock_wall_us() };
	if (!name_is_valid(k->name)) {
		api_error(q->x, ADMIN_ERROR_usage,
			"name has 1 to 63 bytes without control characters and marks of direction");
		return false;
	}
	if (!customer_of(q->ctld, k->project).n) {
		no_project(q, k->project);
		return false;
	}
	if (!tags_are_known(q, k->require_tags))
		return false;
	if (!expires)
		return true;
	if (text_parse_duration(slice_str(expires), &span) < 0 || span <= 0 ||
		__builtin_add_overflow(k->created_us, span, &k->expires_us)) {
		api_error(q->x, ADMIN_ERROR_usage,
			"expires is a duration with its unit, such as 90d");
		return false;
	}
	return true;
}

void api_key_create(struct api_request *q)
{
	struct put_run run = { .by = q->by, .action = "key.create" };
	char text[VKEY_TEXT_LEN + 1];
	struct vkey vk;
	usec timeout = 0;
	json_t *answer;
	int r;

	if (!create_take(q, &run.key) ||
		(json_get_bool(q->body, "wait", false) && !api_timeout(q, &timeout)))
		return;
	r = vkey_create(text, &vk);
	if (r < 0) {
		api_error(q->x, ADMIN_ERROR_internal, "no random bytes from the system");
		return;
	}
	memcpy(run.key.id, vk.id, VKEY_ID_LEN);
	memcpy(run.key.verifier, vk.verifier, sizeof(run.key.verifier));
	buf_init(&run.record, 4096);
	r = store_write(q->ctld->store, 4096, create_write, &run);
	if (r == -EEXIST) {
		api_error(q->x, ADMIN_ERROR_conflict,
			"project " SLICE_FMT " has a key named " SLICE_FMT " already",
			SLICE_ARG(run.key.project), SLICE_ARG(run.key.name));
	} else if (r < 0) {
		api_store_error(q->x, r);
	} else {
		log_event(LOG_INFO, "admin", "key.created",
			"by=%s key=" SLICE_FMT " project=%s seq=%" PRIu64,
			log_quote(slice_str(q->by)), SLICE_ARG(slice_of(vk.id, VKEY_ID_LEN)),
			log_quote(run.key.project), run.seq);
		feed_key(&q->ctld->feed, run.seq, buf_view(&run.record));
		answer = json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:I}", "id",
			json_slice(slice_of(vk.id, VKEY_ID_LEN)), "key", text, "name",
			json_slice(run.key.name), "project", json_slice(run.key.project),
			"customer", json_slice(customer_of(q->ctld, run.key.project)), "expires",
			api_time(run.key.expires_us), "seq", (json_int_t)run.seq);
		api_wait_agents(q, 201, answer, keys_state, run.seq, NULL, timeout);
	}
	secret_wipe(text, sizeof(text));
	buf_fini(&run.record);
}

static int revoke_write(struct store_txn *t, void *arg)
{
	struct put_run *run = arg;
	int r = store_key_get(t, run->id, &run->key);

	if (r < 0)
		return r;
	run->unchanged = run->key.state == KEY_REVOKED;
	if (run->unchanged) {
		run->seq = store_keys_seq(t);
		return 0;
	}
	run->key.state = KEY_REVOKED;
	run->key.revoked_us = clock_wall_us();
	return put_key(t, run);
}

void api_key_revoke(struct api_request *q)
{
	struct put_run run = { .by = q->by, .action = "key.revoke", .id = q->arg };
	usec timeout;
	int r;

	if (!api_timeout(q, &timeout))
		return;
	buf_init(&run.record, 4096);
	r = store_write(q->ctld->store, 4096, revoke_write, &run);
	if (r < 0) {
		answer_key_error(q, r);
	} else {
		if (!run.unchanged) {
			log_event(LOG_INFO, "admin", "key.revoked",
				"by=%s key=" SLICE_FMT " seq=%" PRIu64, log_quote(slice_str(q->by)),
				SLICE_ARG(q->arg), run.seq);
			feed_key(&q->ctld->feed, run.seq, buf_view(&run.record));
		}
		api_wait_agents(q, 200,
			json_pack("{s:o, s:s, s:I}", "id", json_slice(q->arg), "state", "revoked",
				"seq", (json_int_t)run.seq),
			keys_state, run.seq, NULL, timeout);
	}
	buf_fini(&run.record);
}
