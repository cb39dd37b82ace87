/* Usage: sums in any grouping, the records themselves, rebuilding; and the audit log. */
#include "admin/api.h"
#include "admin/audit.h"
#include "ctld.h"
#include "report/rollup.h"
#include <aigw/clock.h>
#include <aigw/text.h>
#include <time.h>

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000

/* RFC 3339, UTC ("Z") or with an offset. */
static bool time_parse(struct slice s, usec *ret)
{
	char text[40];
	struct tm tm = { 0 };
	const char *rest;
	int64_t at;

	if (s.n >= sizeof(text) || s.n < 20)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!rest)
		return false;
	at = (int64_t)timegm(&tm);
	if (*rest == '.') { /* parts of a second don't move a quarter of an hour */
		rest++;
		rest += strspn(rest, "0123456789");
	}
	if (*rest == '+' || *rest == '-' ||
		*rest == ' ') { /* an unescaped + of a query is a blank */
		int sign = *rest == '-' ? -1 : 1;
		int hours, minutes, n = 0;

		if (sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || n != 5)
			return false;
		at -= (int64_t)sign * (hours * 3600 + minutes * 60);
		rest += 6;
	} else if (*rest == 'Z') {
		rest++;
	} else {
		return false;
	}
	if (*rest || at < 0)
		return false;
	*ret = at * USEC_PER_S;
	return true;
}

/* --- query --------------------------------------------------------------------------------------
 */

static bool by_parse(
	struct api_request *q, struct slice words, struct rollup_query *query, json_t *by)
{
	struct slice word;

	while (slice_take_part(&words, &word)) {
		unsigned d = 0;

		while (d < DIM_COUNT && !slice_eq(word, slice_str(rollup_dim_names[d])))
			d++;
		if (d == DIM_COUNT) {
			api_error(q->x, ADMIN_ERROR_usage,
				"'" SLICE_FMT "' is nothing to group by: customer, project, key, "
				"model, provider, agent, uid, "
				"outcome, endpoint, day, hour are",
				SLICE_ARG(word));
			return false;
		}
		if (!(query->by & 1u << d))
			(void)json_array_append_new(by, json_string(rollup_dim_names[d]));
		query->by |= (uint16_t)(1u << d);
	}
	return true;
}

static bool span_parse(struct api_request *q, const char *name, usec *ret)
{
	struct slice text;

	if (!http_query_get(q->x, slice_str(name), &text))
		return true;
	if (time_parse(text, ret))
		return true;
	api_error(q->x, ADMIN_ERROR_usage, "%s is a time such as 2026-11-01T00:00:00Z", name);
	return false;
}

static bool query_take(struct api_request *q, struct rollup_query *query, json_t *by)
{
	struct slice words;

	*query = (struct rollup_query){ .until_us = clock_wall_us() };
	if (http_query_get(q->x, SLICE("by"), &words) && !by_parse(q, words, query, by))
		return false;
	if (!span_parse(q, "since", &query->since_us) || !span_parse(q, "until", &query->until_us))
		return false;
	if (query->until_us < query->since_us) {
		api_error(q->x, ADMIN_ERROR_usage, "until lies before since");
		return false;
	}
	query->since_us -= query->since_us % ROLLUP_QUARTER_US;
	query->until_us += ROLLUP_QUARTER_US - 1;
	query->until_us -= query->until_us % ROLLUP_QUARTER_US;
	for (unsigned d = 0; d < ROLLUP_TEXT_DIMS; d++)
		query->filtered[d] =
			http_query_get(q->x, slice_str(rollup_dim_names[d]), &query->filter[d]);
	return true;
}

/* Counts fit JSON's integers unless records lie; then the number is given as text, still exact. */
static json_t *count_json(rollup_int v)
{
	char text[48];

	if (v >= INT64_MIN && v <= INT64_MAX)
		return json_integer((json_int_t)v);
	rollup_format(v, false, text);
	return json_string(text);
}

static json_t *money_json(const struct rollup_sums *s, enum rollup_sum which)
{
	char text[48];

	if (s->v[SUM_requests] && s->v[SUM_requests] == s->v[SUM_unpriced])
		return json_null(); /* none, not 0 */
	rollup_format(s->v[which], true, text);
	return json_string(text);
}

static void sums_json(json_t *v, const struct rollup_sums *s)
{
	static const struct {
		const char *name;
		enum rollup_sum sum;
	} counts[] = {
		{ "requests", SUM_requests },
		{ "ok", SUM_ok },
		{ "errors", SUM_errors },
		{ "input_tokens", SUM_input_tokens },
		{ "cached_input_tokens", SUM_cached_input_tokens },
		{ "output_tokens", SUM_output_tokens },
		{ "reasoning_tokens", SUM_reasoning_tokens },
		{ "unpriced", SUM_unpriced },
		{ "estimated", SUM_estimated },
	};

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		(void)json_object_set_new(v, counts[i].name, count_json(s->v[counts[i].sum]));
	(void)json_object_set_new(v, "cost", money_json(s, SUM_cost));
	(void)json_object_set_new(v, "charge", money_json(s, SUM_charge));
}

static json_t *dim_json(enum rollup_dim d, const struct rollup_key *k)
{
	char text[32];

	switch ((int)d) {
	case DIM_uid: return k->uid ? json_integer(k->uid - 1) : json_null();
	case DIM_outcome: return json_string(usage_outcome_name(k->outcome));
	case DIM_endpoint: return json_string(usage_endpoint_name(k->endpoint));
	case DIM_day:
	case DIM_hour:
		clock_format_utc(k->quarter_us, false, text);
		if (d == DIM_day)
			text[10] = '\0';
		return json_string(text);
	default: return json_slice(k->text[d]);
	}
}

static json_t *groups_json(const struct rollup_query *query, const struct rollup_result *res)
{
	json_t *list = json_array();

	for (size_t i = 0; i < res->n; i++) {
		json_t *v = json_object();

		for (unsigned d = 0; d < DIM_COUNT; d++)
			if (query->by & 1u << d)
				(void)json_object_set_new(v, rollup_dim_names[d],
					dim_json((enum rollup_dim)d, &res->groups[i].key));
		sums_json(v, &res->groups[i].sums);
		(void)json_array_append_new(list, v);
	}
	return list;
}

const struct bucket_bounds api_query_bounds = { 9,
	{ 1000, 2500, 5000, 10000, 25000, 100000, 250000, 1000000, 5000000 } };

int api_query(struct ctld *c, const struct rollup_query *query, struct rollup_result *ret)
{
	usec began = clock_mono_us();
	int r = rollup_query(c->store, query, ret);

	buckets_add(&c->query_times, &api_query_bounds, clock_mono_us() - began);
	return r;
}

void api_usage(struct api_request *q)
{
	const struct published *p = q->ctld->feed.policy;
	JSON_AUTO *by = json_array();
	JSON_AUTO *total = json_object();
	struct rollup_query query;
	struct rollup_result res;
	char since[32];
	int r;

	if (!query_take(q, &query, by))
		return;
	r = api_query(q->ctld, &query, &res);
	if (r == -E2BIG) {
		api_error(q->x, ADMIN_ERROR_too_many_groups,
			"more than %d groups: group by less, or shorten the time",
			ROLLUP_MAX_GROUPS);
		return;
	}
	if (r < 0) {
		api_store_error(q->x, r);
		return;
	}
	sums_json(total, &res.total);
	clock_format_utc(query.since_us, false, since); /* api_time() would make null of 1970 */
	api_answer(q->x, 200,
		json_pack("{s:s, s:o, s:O, s:o, s:o, s:O}", "since", since, "until",
			api_time(query.until_us), "by", by, "currency",
			p ? json_slice(p->doc->currency) : json_null(), "groups",
			groups_json(&query, &res), "total", total));
	rollup_result_free(&res);
}

/* --- records ------------------------------------------------------------------------------------
 */

struct page {
	uint32_t head_no;
	uint64_t seq;
	uint64_t limit;
	struct buf *out;
	uint64_t n;
	bool more;
	struct store_txn *t;
	struct ledger_head head; /* of the last record */
};

static int head_match(const struct ledger_head *h, void *arg)
{
	struct page *p = arg;

	if (h->no != p->head_no)
		return 0;
	p->head = *h;
	return 1;
}

static int record_body(const struct ledger_record *rec, struct buf *b)
{
	struct usage_record u;
	size_t at = b->n;
	char *raw;

	if (usage_decode(rec->bytes, &u, NULL) == 0) {
		(void)usage_to_json(&u, b);
		if (b->n > at)
			b->p[at] = ','; /* its opening brace: our members stand before it */
		return b->err;
	}
	raw = malloc(4 * ((rec->bytes.n + 2) / 3));
	if (!raw)
		return -ENOMEM;
	(void)buf_str(b, ",\"undecodable\":true,\"bytes\":\"");
	(void)buf_append(b, raw, text_base64_encode(rec->bytes.p, rec->bytes.n, raw));
	(void)buf_str(b, "\"}");
	free(raw);
	return b->err;
}

static int page_record(const struct ledger_record *rec, void *arg)
{
	struct page *p = arg;
	char id[32];
	int r = 0;

	if (p->n == p->limit) {
		p->more = true;
		return 1;
	}
	p->head_no = rec->head_no;
	p->seq = rec->seq;
	if (p->head.no != rec->head_no)
		r = ledger_head_each(p->t, head_match, p);
	if (r < 0)
		return r;
	text_hex(p->head.store_id, 16, id);
	(void)buf_printf(p->out, "%s{\"agent\":\"%s\",\"store_id\":\"%.32s\",\"seq\":%" PRIu64,
		p->n ? "," : "", p->head.agent, id, rec->seq);
	p->n++;
	return record_body(rec, p->out);
}

static int page_read(struct store_txn *t, void *arg)
{
	struct page *p = arg;

	p->t = t;
	return ledger_record_each(t, p->head_no, p->seq + 1, page_record, p);
}

static bool limit_take(struct api_request *q, uint64_t *ret)
{
	struct slice text;

	*ret = PAGE_DEFAULT;
	if (!http_query_get(q->x, SLICE("limit"), &text))
		return true;
	if (text_parse_u64(text, ret) == 0 && *ret >= 1 && *ret <= PAGE_MAX)
		return true;
	api_error(q->x, ADMIN_ERROR_usage, "limit is 1 to %d", PAGE_MAX);
	return false;
}

/* A cursor is "head-sequence"; the page begins behind it. */
static bool cursor_take(struct api_request *q, struct page *p)
{
	struct slice text;
	const char *dash;
	uint64_t no;

	if (!http_query_get(q->x, SLICE("after"), &text))
		return true;
	dash = text.n ? memchr(text.p, '-', text.n) : NULL;
	if (dash && text_parse_u64(slice_of(text.p, (size_t)(dash - text.p)), &no) == 0 &&
		no <= UINT32_MAX &&
		text_parse_u64(slice_skip(text, (size_t)(dash - text.p) + 1), &p->seq) == 0 &&
		p->seq < UINT64_MAX) {
		p->head_no = (uint32_t)no;
		return true;
	}
	api_error(q->x, ADMIN_ERROR_usage, "after is a cursor that an answer gave as next");
	return false;
}

void api_records(struct api_request *q)
{
	struct page p = { 0 };
	struct buf out;
	int r;

	if (!limit_take(q, &p.limit) || !cursor_take(q, &p))
		return;
	buf_init(&out, 64u << 20);
	(void)buf_str(&out, "{\"records\":[");
	p.out = &out;
	r = store_read(q->ctld->store, page_read, &p);
	if (r == 0 && p.more)
		(void)buf_printf(&out, "],\"next\":\"%u-%" PRIu64 "\"}\n", p.head_no, p.seq);
	else if (r == 0)
		(void)buf_str(&out, "],\"next\":null}\n");
	if (r == 0)
		r = out.err;
	if (r < 0)
		api_store_error(q->x, r);
	else
		http_answer(q->x, 200, "application/json", buf_view(&out));
	buf_fini(&out);
}

/* --- rebuilding, audit --------------------------------------------------------------------------
 */

struct rebuilt_run {
	const char *by;
	struct rollup_rebuilt done;
};

static int rebuilt_note(struct store_txn *t, void *arg)
{
	const struct rebuilt_run *run = arg;

	return audit_add(t, run->by, "rollups.rebuild", SLICE("rollups"),
		"records=%" PRIu64 " differences=%" PRIu64, run->done.records,
		run->done.differences);
}

void api_rollups_rebuild(struct api_request *q)
{
	struct rebuilt_run run = { .by = q->by };
	int r = rollup_rebuild(q->ctld->store, &run.done);

	if (r == 0)
		r = store_write(q->ctld->store, 4096, rebuilt_note, &run);
	if (r < 0)
		api_store_error(q->x, r);
	else
		api_answer(q->x, 200,
			json_pack("{s:I, s:I}", "records", (json_int_t)run.done.records,
				"differences", (json_int_t)run.done.differences));
}

struct audit_run {
	json_t *list;
	uint64_t limit;
};

static int audit_entry(const struct store_audit *a, void *arg)
{
	struct audit_run *run = arg;

	if (json_array_size(run->list) >= run->limit)
		return 1;
	return json_array_append_new(run->list,
		       json_pack("{s:o, s:o, s:o, s:o, s:o}", "at", api_time(a->at_us), "by",
			       json_slice(a->by), "action", json_slice(a->action), "object",
			       json_slice(a->object), "detail", json_slice(a->detail))) < 0
		       ? -ENOMEM
		       : 0;
}

static int audit_read(struct store_txn *t, void *arg)
{
	return store_audit_each(t, audit_entry, arg);
}

void api_audit_list(struct api_request *q)
{
	struct audit_run run = { .list = NULL };
	int r;

	if (!limit_take(q, &run.limit))
		return;
	run.list = json_array();
	r = store_read(q->ctld->store, audit_read, &run);
	if (r < 0) {
		json_decref(run.list);
		api_store_error(q->x, r);
		return;
	}
	api_answer(q->x, 200, json_pack("{s:o}", "entries", run.list));
}
