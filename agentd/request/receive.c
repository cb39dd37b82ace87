/* The head: which endpoint, which headers may go upstream, who is asking; then the body, in one
 * block of its own. */
#include "request/once.h"
#include "request/request.h"
#include "request/upload.h"

/* --- paths
 * ---------------------------------------------------------------------------------------------- */

enum { TAKES_JSON = 1, TAKES_FORM = 2 };

static const struct {
	struct slice path;
	uint8_t endpoint, takes;
} api_paths[] = {
	{ SLICE_INIT("chat/completions"), ENDPOINT_chat, TAKES_JSON },
	{ SLICE_INIT("completions"), ENDPOINT_completions, TAKES_JSON },
	{ SLICE_INIT("embeddings"), ENDPOINT_embeddings, TAKES_JSON },
	{ SLICE_INIT("responses"), ENDPOINT_responses, TAKES_JSON },
	{ SLICE_INIT("moderations"), ENDPOINT_moderations, TAKES_JSON },
	{ SLICE_INIT("audio/transcriptions"), ENDPOINT_transcriptions, TAKES_FORM },
	{ SLICE_INIT("audio/translations"), ENDPOINT_translations, TAKES_FORM },
	{ SLICE_INIT("audio/speech"), ENDPOINT_speech, TAKES_JSON },
	{ SLICE_INIT("images/generations"), ENDPOINT_images, TAKES_JSON },
	{ SLICE_INIT("images/edits"), ENDPOINT_image_edits, TAKES_JSON | TAKES_FORM },
	{ SLICE_INIT("images/variations"), ENDPOINT_image_variations, TAKES_FORM },
};

static uint8_t takes(uint8_t endpoint)
{
	for (size_t i = 0; i < ARRAY_LEN(api_paths); i++)
		if (api_paths[i].endpoint == endpoint)
			return api_paths[i].takes;
	return TAKES_JSON;
}

static struct slice skip_slashes(struct slice s)
{
	while (s.n && s.p[0] == '/')
		s = slice_skip(s, 1);
	return s;
}

/* Path behind an optional "/v1", doubled slashes and a trailing one forgiven; nothing is decoded.
 */
static struct slice api_path(struct slice path)
{
	struct slice s = skip_slashes(path);

	if (slice_starts(s, SLICE("v1/")))
		s = skip_slashes(slice_skip(s, 3));
	while (s.n && s.p[s.n - 1] == '/')
		s.n--;
	return s;
}

static bool path_is(struct slice s, struct slice want)
{
	const char *slash;

	if (slice_eq(s, want))
		return true;
	/* A doubled slash inside. */
	slash = memchr(s.p, '/', s.n);
	if (!slash || slash + 1 >= s.p + s.n || slash[1] != '/')
		return false;
	return slice_starts(want, slice_of(s.p, (size_t)(slash - s.p) + 1)) &&
	       slice_eq(skip_slashes(slice_of(slash, s.n - (size_t)(slash - s.p))),
		       slice_skip(want, (size_t)(slash - s.p) + 1));
}

static enum fail wrong_method(struct errbuf *why, const char *allowed)
{
	(void)err_set(why, 0, "This URL accepts %s only.", allowed);
	return FAIL_method_not_allowed;
}

/* Which of our URLs: sets endpoint, is_api, or leaves a models request's id in r->forward. */
static enum fail find_url(struct request *r, const struct h1_head *h, struct errbuf *why)
{
	struct slice path = api_path(h->path);
	bool get = slice_eq(h->method, SLICE("GET")) || r->head_only;

	for (size_t i = 0; i < ARRAY_LEN(api_paths); i++) {
		if (!path_is(path, api_paths[i].path))
			continue;
		r->endpoint = api_paths[i].endpoint;
		if (!slice_eq(h->method, SLICE("POST")))
			return wrong_method(why, "POST");
		r->is_api = true;
		return FAIL_none;
	}
	if (slice_eq(h->path, SLICE("/healthz")) || slice_eq(h->path, SLICE("/readyz"))) {
		r->is_probe = true;
		r->asks_ready = h->path.p[1] == 'r';
		return get ? FAIL_none : wrong_method(why, "GET");
	}
	if (slice_eq(h->path, SLICE("/metrics"))) {
		r->is_probe = r->asks_metrics = true;
		return get ? FAIL_none : wrong_method(why, "GET");
	}
	if (slice_eq(path, SLICE("models")) || slice_starts(path, SLICE("models/"))) {
		struct slice id = slice_skip(path, 7);

		if (!get)
			return wrong_method(why, "GET");
		if (id.n > POLICY_MODEL_NAME_MAX * 3) {
			(void)err_set(why, 0, "The model does not exist here.");
			return FAIL_model_not_found;
		}
		r->forward = strndup(id.n ? id.p : "", id.n);
		r->forward_n = (uint16_t)id.n;
		r->models_one = id.n > 0;
		return r->forward ? FAIL_none : FAIL_internal;
	}
	(void)err_set(why, 0,
		"Unknown request URL: " SLICE_FMT " " SLICE_FMT
		". See the list of supported URLs in aigw-agentd(8).",
		SLICE_ARG(h->method), (int)MIN(h->path.n, (size_t)200), h->path.p);
	return FAIL_unknown_url;
}

#define FORWARD_MAX_BYTES                                                                          \
	8000 /* with the credential and our own it fits the loop's scratch memory */

/* --- headers
 * -------------------------------------------------------------------------------------------- */

static const struct slice forwarded[] = {
	SLICE_INIT("content-type"),
	SLICE_INIT("accept"),
	SLICE_INIT("anthropic-version"),
	SLICE_INIT("anthropic-beta"),
	SLICE_INIT("openai-beta"),
	SLICE_INIT("x-goog-user-project"),
	SLICE_INIT("traceparent"),
};

static bool is_forwarded(struct slice name)
{
	char first = (char)(name.p[0] | 0x20);

	if (first != 'c' && first != 'a' && first != 'o' && first != 'x' && first != 't')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		if (slice_eq_nocase(name, forwarded[i]))
			return true;
	return false;
}

static bool is_json(struct slice type)
{
	const struct slice json = SLICE("application/json");

	return type.n >= json.n && slice_eq_nocase(slice_of(type.p, json.n), json) &&
	       (type.n == json.n || type.p[json.n] == ';' || type.p[json.n] == ' ');
}

static enum fail check_type(struct request *r, struct slice type, struct errbuf *why)
{
	const struct slice form = SLICE("multipart/form-data");
	uint8_t may = takes(r->endpoint);

	if (may & TAKES_JSON && is_json(type))
		return FAIL_none;
	if (may & TAKES_FORM && type.n >= form.n &&
		slice_eq_nocase(slice_of(type.p, form.n), form)) {
		enum fail f = r->upload ? FAIL_bad_request : upload_begin(r, type, 0);

		if (f == FAIL_bad_request)
			(void)err_set(why, 0,
				"The content-type multipart/form-data needs one boundary of 1 to "
				"70 letters, digits and '()+_,-./:=?");
		return f;
	}
	(void)err_set(why, 0, "Send the body as content-type: %s, not " SLICE_FMT ".",
		may == TAKES_JSON   ? "application/json"
		: may == TAKES_FORM ? "multipart/form-data"
				    : "multipart/form-data or application/json",
		(int)MIN(type.n, (size_t)64), type.n ? type.p : "");
	return FAIL_unsupported_media_type;
}

static bool is_require_tags(const struct h1_field *f)
{
	return f->name.n == 19 && slice_eq_nocase(f->name, SLICE("x-aigw-require-tags"));
}

static bool is_usage(const struct h1_field *f)
{
	return f->name.n == 12 && slice_eq_nocase(f->name, SLICE("x-aigw-usage"));
}

/* One of ours. */
static enum fail check_own(const struct h1_field *f, struct errbuf *why)
{
	if (is_require_tags(f))
		return FAIL_none;
	if (!is_usage(f)) {
		(void)err_set(why, 0,
			"The header " SLICE_FMT " is not supported by this version. Remove it.",
			(int)MIN(f->name.n, (size_t)64), f->name.p);
		return FAIL_unsupported_header;
	}
	if (slice_eq(f->value, SLICE("0")) || slice_eq(f->value, SLICE("1")))
		return FAIL_none;
	(void)err_set(why, 0,
		"The header x-aigw-usage is 1, for an answer that says what the call costs, or 0; "
		"send one of them.");
	return FAIL_unsupported_header;
}

static enum fail check_field(const struct h1_field *f, struct errbuf *why)
{
	if (f->name.n > 7 && (f->name.p[0] | 0x20) == 'x' &&
		slice_eq_nocase(slice_of(f->name.p, 7), SLICE("x-aigw-")))
		return check_own(f, why);
	if (f->name.n == 6 && slice_eq_nocase(f->name, SLICE("expect")) &&
		!slice_eq_nocase(f->value, SLICE("100-continue")))
		return FAIL_expectation_failed;
	return FAIL_none;
}

/* For later: the official SDKs count their own tries; tags are looked up in the policy; an
 * idempotency key is its caller's. */
static void note_field(struct request *r, const struct h1_field *f)
{
	if (f->name.n == 23 && slice_eq_nocase(f->name, SLICE("x-stainless-retry-count")))
		r->sdk_retries |= f->value.n && !slice_eq(f->value, SLICE("0"));
	else if (is_require_tags(f))
		r->asks_tags = true;
	else if (is_usage(f))
		r->asks_usage = slice_eq(f->value, SLICE("1")) ? ASKS_USAGE : ASKS_NO_USAGE;
	else if (once_is_field(f))
		r->asks_once = r->is_api;
}

static bool is_traceparent(const struct h1_field *f)
{
	return f->name.n == 11 && (f->name.p[0] | 0x20) == 't' &&
	       slice_eq_nocase(f->name, SLICE("traceparent"));
}

/* n digits of lower case; `some`: not all of them 0. */
static bool is_hex(const char *p, size_t n, bool some)
{
	bool zero = true;

	for (size_t i = 0; i < n; i++) {
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
			return false;
		zero &= p[i] == '0';
	}
	return !some || !zero;
}

/* version-traceid-parentid-flags. A second one makes both invalid. */
static void note_trace(struct request *r, struct slice s, unsigned n)
{
	r->has_trace = n == 1 && s.n == TRACEPARENT_LEN && s.p[2] == '-' && s.p[35] == '-' &&
		       s.p[52] == '-' && is_hex(s.p, 2, false) && memcmp(s.p, "ff", 2) != 0 &&
		       is_hex(s.p + 3, 32, true) && is_hex(s.p + 36, 16, true) &&
		       is_hex(s.p + 53, 2, false);
	if (r->has_trace)
		memcpy(r->traceparent, s.p, TRACEPARENT_LEN);
}

/* One pass: what is refused, what goes upstream (re-written, never copied as a block). */
static enum fail read_fields(struct request *r, const struct h1_head *h, struct errbuf *why)
{
	struct buf scratch = buf_over(r->env->answer_head, sizeof(r->env->answer_head));
	struct buf *out = &scratch;
	unsigned traces = 0;
	bool typed = false;

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct h1_field *f = &h->fields[i];

		enum fail bad = check_field(f, why);

		if (bad != FAIL_none)
			return bad;
		note_field(r, f);
		if (!r->is_api || !is_forwarded(f->name))
			continue;
		if (f->name.n == 12 && (f->name.p[0] | 0x20) == 'c') {
			bad = check_type(r, f->value, why);
			if (bad != FAIL_none)
				return bad;
			typed = true;
		}
		if (is_traceparent(f))
			note_trace(r, f->value, ++traces);
		if (h1_write_field(out, f->name, f->value) || out->n > FORWARD_MAX_BYTES) {
			(void)err_set(why, 0,
				"The headers that go on to the provider are larger than %d bytes "
				"together.",
				FORWARD_MAX_BYTES);
			return FAIL_header_too_large;
		}
	}
	if (r->is_api && !typed && !(takes(r->endpoint) & TAKES_JSON))
		return check_type(r, SLICE_EMPTY, why);
	if (out->n) {
		r->forward = out->n <= sizeof(r->forward_here) ? r->forward_here : malloc(out->n);
		if (!r->forward)
			return FAIL_internal;
		memcpy(r->forward, out->p, out->n);
		r->forward_n = (uint16_t)out->n;
	}
	return FAIL_none;
}

uint64_t receive_tags(const struct policy_doc *d, struct slice list)
{
	struct slice word;
	uint64_t bits = 0;

	while (slice_take_part(&list, &word)) {
		uint64_t bit = POLICY_TAG_UNKNOWN;

		word = slice_trim(word);
		for (uint32_t i = 0; i < d->n_tags; i++)
			if (slice_eq(d->tags[i], word))
				bit = UINT64_C(1) << i;
		bits |= word.n ? bit : 0;
	}
	return bits;
}

/* What routing goes by and is not known before the policy is. */
static void read_wishes(struct request *r, const struct h1_head *h)
{
	const struct policy_doc *d = r->rules->rules->policy->doc;

	if (d->cost_headers || r->asks_usage) {
		r->tells_usage = r->asks_usage != ASKS_NO_USAGE;
		r->tells_at_end = r->asks_usage == ASKS_USAGE ||
				  (r->tells_usage && d->cost_headers == COST_HEADERS_STREAM);
	}
	if (!r->asks_tags && !d->n_sticky_headers)
		return;
	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct h1_field *f = &h->fields[i];

		if (r->asks_tags && is_require_tags(f))
			r->require_tags |= receive_tags(d, f->value); /* it can only narrow */
		for (uint32_t k = 0; k < d->n_sticky_headers; k++)
			if (f->value.n && slice_eq_nocase(f->name, d->sticky_headers[k]))
				r->sticky_hash[k] = plan_seed(f->value);
	}
}

/* --- body
 * -----------------------------------------------------------------------------------------------
 */

static enum fail too_large(struct request *r, struct errbuf *why)
{
	(void)err_set(why, 0, "The body is larger than the %" PRIu64 " bytes that max_body allows.",
		(uint64_t)atomic_load_explicit(&r->env->gw->max_body, memory_order_relaxed));
	return FAIL_request_too_large;
}

static enum fail prepare_body(struct request *r, const struct h1_head *h, struct errbuf *why)
{
	if (h->has_length &&
		h->length > atomic_load_explicit(&r->env->gw->max_body, memory_order_relaxed))
		return too_large(r, why);
	if (r->upload) {
		r->upload->length = h->has_length ? h->length : 0;
		return body_room(r, UPLOAD_FIRST_BYTES) ? FAIL_none : FAIL_gateway_overloaded;
	}
	if (!r->is_api || !h->has_length || !h->length)
		return FAIL_none;
	r->body_length = (size_t)h->length;
	/* Memory goes to what has arrived. What can't be held anyway is refused before it is sent.
	 */
	return body_would_fit(r, r->body_length) ? FAIL_none : FAIL_gateway_overloaded;
}

enum fail receive_head(struct request *r, const struct h1_head *h, struct errbuf *why)
{
	enum fail f;

	r->expect_more = h->has_body;
	f = find_url(r, h, why);
	if (!r->is_probe)
		stats_add(r->env->stats, STAT_GLOBAL, 0, STAT_requests, 1);
	if (f == FAIL_none)
		f = read_fields(r, h, why);
	if (f != FAIL_none || r->is_probe)
		return f;
	if (!r->env->rules)
		f = FAIL_no_policy;
	if (f == FAIL_none) {
		r->rules = worker_rules_ref(r->env->rules);
		f = identify_caller(r, h, why);
		read_wishes(r, h);
	}
	if (f == FAIL_none && atomic_load_explicit(&r->env->gw->draining, memory_order_relaxed) &&
		r->is_api)
		f = FAIL_draining;
	if (f == FAIL_none && r->asks_once)
		f = once_begin(r, h, why);
	if (f == FAIL_none)
		f = prepare_body(r, h, why);
	return f;
}

size_t request_body_room(struct request *r, char **ret)
{
	size_t length = r->body_length, left;

	if (r->discard_body || !r->body.bytes || !r->is_api || r->upload || r->body.n >= length)
		return 0;
	left = MIN(length, r->body.cap) - r->body.n;
	if (left < BODY_DIRECT_BYTES && r->body.n + left < length) {
		if (r->body.cap < BODY_LARGE_BYTES ||
			!body_room(r, body_step(r, r->body.cap * (size_t)2, length)))
			return 0; /* by the loop's memory; what finds no room is refused then */
		left = MIN(length, r->body.cap) - r->body.n;
	}
	*ret = r->body.bytes + r->body.n;
	return left; /* not one byte of what follows the message */
}

void body_refuse(struct request *r, enum fail f, const char *text)
{
	r->discard_body = r->want_close = true;
	r->fail = (uint8_t)f;
	r->head_text = strdup(text);
	r->head_text_owned = true;
	r->expect_more = false;
	body_free(r);
}

void request_body_bytes(struct request *r, char *p, size_t n, bool read_ends)
{
	uint64_t max = atomic_load_explicit(&r->env->gw->max_body, memory_order_relaxed);
	size_t have = r->body.n;
	struct errbuf why;

	if (r->discard_body || !r->is_api)
		return;
	if (r->upload)
		have = (size_t)r->upload->mp.at;
	if (have + n > max && !r->outcome) {
		(void)too_large(r, &why);
		body_refuse(r, FAIL_request_too_large, why.text);
		return;
	}
	if (r->upload) {
		upload_bytes(r, p, n);
		return;
	}
	if (!have && n == r->body_length && read_ends && body_adopt(r, p, n))
		return;
	/* Blocks come in powers of two, so that a body that comes in parts doubles. */
	if (have + n > r->body.cap &&
		!body_room(r, body_step(r, have + n, MAX(have + n, r->body_length)))) {
		body_refuse(r, FAIL_gateway_overloaded, fail_row(FAIL_gateway_overloaded)->text);
		return;
	}
	if (p != r->body.bytes + have)
		memcpy(r->body.bytes + have, p, n);
	r->body.n += n;
}
