#include "dialect/openai_continue.h"

#include <aigw/json_scan.h>

/* null, "", [], {} and false say nothing. */
static bool is_empty(const struct jscan_member *m)
{
	switch (m->kind) {
	case JSCAN_NULL:
	case JSCAN_FALSE: return true;
	case JSCAN_STRING: return m->value.n == 2;
	case JSCAN_ARRAY:
	case JSCAN_OBJECT: return slice_trim(slice_of(m->value.p + 1, m->value.n - 2)).n == 0;
	case JSCAN_NUMBER:
	case JSCAN_TRUE: break;
	}
	return false;
}

/* --- an event, read ------------------------------------------------------------------- */

struct reading {
	struct openai_delta *d;
	unsigned choices;
};

static int read_delta(void *arg, const struct jscan_member *m)
{
	struct openai_delta *d = arg;

	if (jscan_key_is(m, SLICE("role")) || is_empty(m))
		return 0;
	if (jscan_key_is(m, SLICE("content")) && m->kind == JSCAN_STRING && !d->text.n)
		d->text = slice_of(m->value.p + 1, m->value.n - 2);
	else
		d->is_other = true;
	return 0;
}

static int read_choice(void *arg, const struct jscan_member *m)
{
	struct openai_delta *d = arg;
	int64_t index;

	if (jscan_key_is(m, SLICE("delta")) && m->kind == JSCAN_OBJECT)
		return jscan_object(m->value, read_delta, d, NULL);
	if (jscan_key_is(m, SLICE("finish_reason")))
		d->is_end |= !is_empty(m);
	else if (jscan_key_is(m, SLICE("index")))
		d->is_other |= jscan_int(m, &index) != 0 || index != 0;
	else if (jscan_key_is(m, SLICE("message")) || jscan_key_is(m, SLICE("text")))
		d->is_other |= !is_empty(m);
	return 0;
}

static int read_choices(void *arg, const struct jscan_member *m)
{
	struct reading *r = arg;

	if (r->choices++ || m->kind != JSCAN_OBJECT)
		r->d->is_other = true;
	return m->kind == JSCAN_OBJECT ? jscan_object(m->value, read_choice, r->d, NULL) : 0;
}

static int read_event(void *arg, const struct jscan_member *m)
{
	struct reading *r = arg;

	if (jscan_key_is(m, SLICE("id")))
		r->d->ids.id = m->value;
	else if (jscan_key_is(m, SLICE("created")))
		r->d->ids.created = m->value;
	else if (jscan_key_is(m, SLICE("model")))
		r->d->ids.model = m->value;
	else if (jscan_key_is(m, SLICE("usage")))
		r->d->has_usage = m->kind == JSCAN_OBJECT;
	else if (jscan_key_is(m, SLICE("error")) && !is_empty(m))
		r->d->error = m->value;
	else if (jscan_key_is(m, SLICE("choices")) && m->kind == JSCAN_ARRAY)
		return jscan_array(m->value, read_choices, r, NULL);
	return 0;
}

int openai_delta_read(struct slice data, struct openai_delta *ret)
{
	struct reading r = { .d = ret };

	*ret = (struct openai_delta){ 0 };
	return jscan_object(data, read_event, &r, NULL) ? -EINVAL : 0;
}

/* --- an event, written ---------------------------------------------------------------- */

struct writing {
	const struct openai_ids *ids;
	struct slice text, usage;
	struct buf *out;
	bool first;      /* of the object or list at hand */
	bool text_taken; /* it stands once */
};

static void put_key(struct writing *w, struct slice key)
{
	if (!w->first)
		(void)buf_char(w->out, ',');
	w->first = false;
	(void)buf_char(w->out, '"');
	(void)buf_slice(w->out, key);
	(void)buf_str(w->out, "\":");
}

static void put(struct writing *w, struct slice key, struct slice value)
{
	put_key(w, key);
	(void)buf_slice(w->out, value);
}

static int within(struct writing *w, const struct jscan_member *m, jscan_member_fn *fn)
{
	bool list = m->kind == JSCAN_ARRAY;

	w->first = true;
	(void)buf_char(w->out, list ? '[' : '{');
	if (list ? jscan_array(m->value, fn, w, NULL) : jscan_object(m->value, fn, w, NULL))
		return -EINVAL;
	w->first = false;
	return buf_char(w->out, list ? ']' : '}');
}

static int write_delta(void *arg, const struct jscan_member *m)
{
	struct writing *w = arg;

	if (jscan_key_is(m, SLICE("role")))
		return 0;
	if (!jscan_key_is(m, SLICE("content")) || m->kind != JSCAN_STRING) {
		put(w, m->key, m->value);
		return 0;
	}
	if (w->text_taken)
		return 0;
	w->text_taken = true;
	put_key(w, m->key);
	(void)buf_char(w->out, '"');
	(void)buf_slice(w->out, w->text);
	return buf_char(w->out, '"');
}

static int write_choice(void *arg, const struct jscan_member *m)
{
	struct writing *w = arg;

	if (!jscan_key_is(m, SLICE("delta")) || m->kind != JSCAN_OBJECT) {
		put(w, m->key, m->value);
		return 0;
	}
	put_key(w, m->key);
	return within(w, m, write_delta);
}

static int write_choices(void *arg, const struct jscan_member *m)
{
	struct writing *w = arg;

	if (!w->first)
		(void)buf_char(w->out, ',');
	w->first = false;
	return m->kind == JSCAN_OBJECT ? within(w, m, write_choice) : buf_slice(w->out, m->value);
}

/* In place of one that stands there; where the stream had none before, it gets none. */
static void put_id(struct writing *w, const struct jscan_member *m, struct slice value)
{
	if (value.n)
		put(w, m->key, value);
}

static int write_event(void *arg, const struct jscan_member *m)
{
	struct writing *w = arg;

	if (jscan_key_is(m, SLICE("id"))) {
		put_id(w, m, w->ids->id);
	} else if (jscan_key_is(m, SLICE("created"))) {
		put_id(w, m, w->ids->created);
	} else if (jscan_key_is(m, SLICE("model"))) {
		put_id(w, m, w->ids->model);
	} else if (jscan_key_is(m, SLICE("usage")) && m->kind == JSCAN_OBJECT && w->usage.n) {
		put(w, m->key, w->usage);
	} else if (jscan_key_is(m, SLICE("choices")) && m->kind == JSCAN_ARRAY) {
		put_key(w, m->key);
		return within(w, m, write_choices);
	} else {
		put(w, m->key, m->value);
	}
	return 0;
}

int openai_delta_write(struct slice data, const struct openai_ids *ids, struct slice text,
	struct slice usage, struct buf *out)
{
	struct writing w = { .ids = ids, .text = text, .usage = usage, .out = out, .first = true };

	(void)buf_str(out, "data: {");
	if (jscan_object(data, write_event, &w, NULL) && !out->err)
		return -EINVAL;
	(void)buf_str(out, "}\n\n");
	return out->err;
}

/* --- the request ---------------------------------------------------------------------- */

struct asking {
	unsigned messages; /* members of that name */
	bool is_list, has_some, last_is_assistant, wants_more;
};

static bool value_is(const struct jscan_member *m, struct slice text)
{
	char bytes[32];
	struct buf b = { .p = bytes, .cap = sizeof(bytes), .max = sizeof(bytes) };

	return m->kind == JSCAN_STRING && jscan_string(m->value, &b) == 0 &&
	       slice_eq(buf_view(&b), text);
}

static int ask_role(void *arg, const struct jscan_member *m)
{
	struct asking *a = arg;

	if (jscan_key_is(m, SLICE("role")))
		a->last_is_assistant = value_is(m, SLICE("assistant"));
	return 0;
}

static int ask_message(void *arg, const struct jscan_member *m)
{
	struct asking *a = arg;

	a->has_some = true;
	a->last_is_assistant = false;
	return m->kind == JSCAN_OBJECT ? jscan_object(m->value, ask_role, a, NULL) : 0;
}

static int ask_format(void *arg, const struct jscan_member *m)
{
	struct asking *a = arg;

	if (jscan_key_is(m, SLICE("type")))
		a->wants_more |= !value_is(m, SLICE("text"));
	return 0;
}

static int ask(void *arg, const struct jscan_member *m)
{
	struct asking *a = arg;
	int64_t n;

	if (jscan_key_is(m, SLICE("messages"))) {
		a->messages++;
		a->is_list = m->kind == JSCAN_ARRAY;
		return a->is_list ? jscan_array(m->value, ask_message, a, NULL) : 0;
	}
	if (jscan_key_is(m, SLICE("response_format")) && m->kind == JSCAN_OBJECT)
		return jscan_object(m->value, ask_format, a, NULL);
	if (jscan_key_is(m, SLICE("n")))
		a->wants_more |= m->kind != JSCAN_NULL && (jscan_int(m, &n) != 0 || n != 1);
	else if (jscan_key_is(m, SLICE("audio")) || jscan_key_is(m, SLICE("response_format")))
		a->wants_more |= !is_empty(m);
	return 0;
}

bool openai_may_continue(struct slice body)
{
	struct asking a = { 0 };

	return jscan_object(body, ask, &a, NULL) == 0 && a.messages == 1 && a.is_list &&
	       a.has_some && !a.last_is_assistant && !a.wants_more;
}

struct prefill {
	struct writing w;
	enum policy_prefill way;
	struct slice text;
	int64_t used;
};

static void put_message(struct prefill *p, const struct jscan_member *list)
{
	put_key(&p->w, list->key);
	(void)buf_slice(p->w.out, slice_of(list->value.p, list->value.n - 1));
	(void)buf_str(p->w.out, ",{\"role\":\"assistant\",\"content\":\"");
	(void)buf_slice(p->w.out, p->text);
	(void)buf_char(p->w.out, '"');
	if (p->way == PREFILL_prefix)
		(void)buf_str(p->w.out, ",\"prefix\":true");
	if (p->way == PREFILL_partial)
		(void)buf_str(p->w.out, ",\"partial\":true");
	(void)buf_str(p->w.out, "}]");
}

static int write_request(void *arg, const struct jscan_member *m)
{
	struct prefill *p = arg;
	int64_t most;

	if (jscan_key_is(m, SLICE("messages"))) {
		put_message(p, m);
	} else if ((jscan_key_is(m, SLICE("max_tokens")) ||
			   jscan_key_is(m, SLICE("max_completion_tokens"))) &&
		   jscan_int(m, &most) == 0 && most > 0) {
		put_key(&p->w, m->key);
		(void)buf_u64(p->w.out, (uint64_t)(most > p->used ? most - p->used : 1));
	} else if (p->way != PREFILL_continue_final_message ||
		   !(jscan_key_is(m, SLICE("continue_final_message")) ||
			   jscan_key_is(m, SLICE("add_generation_prompt")))) {
		put(&p->w, m->key, m->value);
	}
	return 0;
}

int openai_prefill(struct slice body, enum policy_prefill way, struct slice text, int64_t used,
	struct buf *out)
{
	struct prefill p = {
		.w = { .out = out, .first = true }, .way = way, .text = text, .used = used
	};

	if (!openai_may_continue(body))
		return -EINVAL;
	(void)buf_char(out, '{');
	(void)jscan_object(body, write_request, &p, NULL);
	if (way == PREFILL_continue_final_message) {
		put(&p.w, SLICE("continue_final_message"), SLICE("true"));
		put(&p.w, SLICE("add_generation_prompt"), SLICE("false"));
	}
	(void)buf_char(out, '}');
	return out->err;
}

bool openai_ends_torn(struct slice text)
{
	size_t backslashes = 0;
	const char *e;

	while (backslashes < text.n && text.p[text.n - 1 - backslashes] == '\\')
		backslashes++;
	if (backslashes % 2)
		return true;
	if (text.n < 6)
		return false;
	e = text.p + text.n - 6;
	/* \ud800 to \udbff */
	return e[0] == '\\' && e[1] == 'u' && (e[2] | 0x20) == 'd' &&
	       memchr("89abAB", e[3], 6) != NULL;
}
