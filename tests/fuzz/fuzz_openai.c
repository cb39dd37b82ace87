/* OpenAI's dialect: a body that is taken is edited into one that is JSON, names the model wanted
 * and asks for usage. */
#include "fuzz.h"

#include <aigw/json_scan.h>

#include "dialect/openai_answer.h"
#include "dialect/openai_hint.h"
#include "dialect/openai_continue.h"
#include "dialect/openai_needs.h"

static int see_options(void *arg, const struct jscan_member *m)
{
	bool *odd = arg;

	if (jscan_key_is(m, SLICE("stream_options")))
		*odd = m->kind != JSCAN_OBJECT && m->kind != JSCAN_NULL;
	return 0;
}

/* stream_options that are no object are left to the provider to refuse. */
static bool has_odd_options(struct slice body)
{
	bool odd = false;

	(void)jscan_object(body, see_options, &odd, NULL);
	return odd;
}

static void check_edit(struct slice body, const struct openai_facts *f, bool want_usage)
{
	struct slice part[OPENAI_MAX_PARTS], model = SLICE("\"target\"");
	struct openai_facts after;
	const char *name;
	size_t offset;
	struct buf b;
	unsigned n = openai_edit(body, f, model, want_usage, part);

	ASSERT(n <= OPENAI_MAX_PARTS);
	buf_init(&b, 8u << 20);
	for (unsigned i = 0; i < n; i++)
		(void)buf_slice(&b, part[i]);
	if (!b.err) {
		ASSERT(openai_scan(buf_view(&b), &after, &offset, &name) == FAIL_none);
		ASSERT(slice_eq(after.model_raw, model) && after.stream == f->stream);
		if (want_usage && !has_odd_options(body))
			ASSERT(after.asks_usage);
	}
	buf_fini(&b);
}

static void check_answer(struct slice s)
{
	struct openai_usage u;
	bool hide;

	(void)openai_peek(s, &u, &hide);
	(void)openai_usage_parse(s, &u);
	if (s.n)
		for (int64_t e = ENDPOINT_chat; e <= ENDPOINT_moderations; e++)
			(void)openai_event_kind(s, e);
}

/* What is judged before any of an answer has gone out. */
static void check_judgement(struct slice s)
{
	enum error_class c = openai_class_of(400, s);
	struct slice error;

	ASSERT(c > CLASS_none && c < CLASS_COUNT);
	ASSERT(openai_class_of(500, s) != CLASS_caller_fault);
	(void)openai_class_in_band(s);
	ASSERT(openai_hint_in(s) >= 0 && openai_hint_of(s) >= 0);
	(void)openai_end_of(s.p, s.n);
	for (int64_t e = ENDPOINT_chat; e <= ENDPOINT_speech && s.n; e++) {
		error = SLICE_EMPTY;
		if (openai_content_of(s, e, &error) == OPENAI_CONTENT_ERROR)
			ASSERT(error.n && lies_in(error, s));
		(void)openai_begins_with_text(s.p, s.n, e);
	}
	if (s.n)
		(void)openai_may_be_json(s);
	ASSERT(openai_is_answer(s, &error) == (jscan_object(s, NULL, NULL, NULL) == 0));
	ASSERT(!error.n || lies_in(error, s));
}

/* An event that was read is written anew as one that reads the same. */
static void check_delta(struct slice data)
{
	const struct openai_ids ids = { SLICE("\"i\""), SLICE("1"), SLICE("\"m\"") };
	struct openai_delta d, after;
	struct sse_event e;
	struct buf out;

	if (openai_delta_read(data, &d))
		return;
	ASSERT(lies_in(d.text, data) && lies_in(d.error, data) && lies_in(d.ids.id, data));
	buf_init(&out, 8u << 20);
	if (openai_delta_write(data, &ids, d.text, SLICE("{}"), &out) == 0 &&
		!memchr(data.p, '\n', data.n) && !memchr(data.p, '\r', data.n)) {
		sse_parse(buf_view(&out), &e);
		ASSERT(e.data_lines == 1 && openai_delta_read(e.data, &after) == 0);
		ASSERT(slice_eq(after.text, d.text) && after.is_end == d.is_end &&
			after.has_usage == d.has_usage && after.error.n == d.error.n);
		ASSERT(!d.ids.id.n || slice_eq(after.ids.id, ids.id));
	}
	buf_fini(&out);
}

/* A request that may be gone on with becomes one that is taken, and that may not once more. */
static void check_prefill(struct slice body, const struct openai_facts *f)
{
	struct openai_facts after;
	const char *name;
	size_t offset;
	struct buf out;

	buf_init(&out, 8u << 20);
	for (int way = PREFILL_message; way <= PREFILL_continue_final_message; way++) {
		buf_reset(&out);
		if (openai_prefill(body, (enum policy_prefill)way, SLICE("a\\n"), 3, &out))
			continue;
		ASSERT(openai_scan(buf_view(&out), &after, &offset, &name) == FAIL_none);
		ASSERT(slice_eq(after.model_raw, f->model_raw) && after.stream == f->stream &&
			after.n == f->n && after.asks_usage == f->asks_usage);
		ASSERT(!openai_may_continue(buf_view(&out)));
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice body = slice_of((const char *)data, size);
	struct openai_facts f;
	const char *name = NULL;
	size_t offset = 0;

	enum fail fail = openai_scan(body, &f, &offset, &name);

	if (fail == FAIL_none || (fail == FAIL_missing_model && f.model_absent)) {
		struct openai_needs needs;

		openai_needs(body, &needs);
		ASSERT(lies_in(needs.cache_key, body));
		ASSERT(lies_in(f.model_raw, body) && lies_in(f.stream_options, body) &&
			lies_in(f.user, body));
		check_edit(body, &f, false);
		if (f.stream)
			check_edit(body, &f, true);
		if (fail == FAIL_none)
			check_prefill(body, &f);
	}
	check_answer(body);
	check_judgement(body);
	check_delta(body);
	(void)openai_ends_torn(body);
	return 0;
}
