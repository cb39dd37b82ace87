#include "control/private.h"
#include "stats/stats.h"

#include <aigw/clock.h>
#include <aigw/text.h>

static json_t *time_text(usec wall_us)
{
	char text[32];

	clock_format_utc(wall_us, true, text);
	return json_string(text);
}

static json_t *id_text(const uint8_t *op_id, size_t n)
{
	char id[REQUEST_ID_LEN + 1];

	if (n != 16)
		return json_null();
	request_id_format(op_id, id);
	return json_string(id);
}

static json_t *text_or_null(struct slice s)
{
	return s.n ? json_slice(s) : json_null();
}

/* "key:key_…", "uid:998"; null for somebody unknown. */
static json_t *caller_text(struct slice key, int64_t uid_plus_one)
{
	if (key.n)
		return json_sprintf("key:" SLICE_FMT, SLICE_ARG(key));
	return uid_plus_one ? json_sprintf("uid:%" PRId64, uid_plus_one - 1) : json_null();
}

/* --- calls ---------------------------------------------------------------------------- */

const char *show_state(const struct slot *s)
{
	switch ((enum slot_state)atomic_load_explicit(&s->state, memory_order_relaxed)) {
	case SLOT_ADMITTED: return "admitted";
	case SLOT_SENT:
		if (s->v.first_byte_us == 0)
			return "waiting";
		return s->v.stream ? "streaming" : "answering";
	case SLOT_SETTLED: return "settled";
	case SLOT_FREE: break;
	}
	return "free";
}

static json_t *show_slot(const struct slot *s, usec now_us)
{
	struct slice id = slot_text(s, SLOT_TEXT_op_id);
	usec age = MAX(now_us - (usec)s->began_mono_us, (usec)0);

	return json_pack("{s:o, s:I, s:s, s:o, s:o, s:o, s:I, s:I, s:o}", "request",
		id_text((const uint8_t *)id.p, id.n), "age_ms", (json_int_t)(age / USEC_PER_MS),
		"state", show_state(s), "project", text_or_null(slot_text(s, SLOT_TEXT_project)),
		"model", text_or_null(slot_text(s, SLOT_TEXT_model)), "target",
		text_or_null(slot_text(s, SLOT_TEXT_provider)), "input_tokens",
		(json_int_t)s->v.input_tokens, "output_tokens", (json_int_t)s->v.output_tokens,
		"caller", caller_text(slot_text(s, SLOT_TEXT_key_id), s->v.uid));
}

json_t *show_inflight(struct inflight *f)
{
	json_t *list = json_array();
	usec now = clock_mono_us();
	struct slot copy;

	for (uint32_t i = 0; i < inflight_touched(f) && json_array_size(list) < INFLIGHT_ROWS_MAX;
		i++) {
		if (slot_peek(inflight_slot(f, i), &copy))
			(void)json_array_append_new(list, show_slot(&copy, now));
	}
	return list;
}

/* "openai 429", "openai timeout_first_byte": of the first try that came to nothing. */
static json_t *first_failure(const struct finished *f)
{
	struct slice who = finished_text(f, FINISHED_failed);

	if (!f->tries)
		return json_null();
	if (f->first_failure && f->first_failure <= PROVIDER_ERROR_COUNT)
		return json_sprintf(SLICE_FMT " %s", SLICE_ARG(who),
			stats_error_name((enum provider_error)(f->first_failure - 1)));
	return json_sprintf(SLICE_FMT " %u", SLICE_ARG(who), f->first_status);
}

json_t *show_finished(const struct finished *f, const char *event)
{
	struct slice fail = finished_text(f, FINISHED_fail);
	json_t *v = json_pack("{s:o, s:s*, s:o, s:o, s:o, s:o, s:i, s:s, s:o, s:I, s:I, s:I}",
		"time", time_text(finished_end_us(f)), "event", event, "request",
		id_text(f->op_id, 16), "project", text_or_null(finished_text(f, FINISHED_project)),
		"model", text_or_null(finished_text(f, FINISHED_model)), "target",
		text_or_null(finished_text(f, FINISHED_provider)), "status", (int)f->status,
		"outcome", usage_outcome_name(f->outcome), "fail", text_or_null(fail),
		"input_tokens", (json_int_t)f->input_tokens, "cached_input_tokens",
		(json_int_t)f->cached_input_tokens, "output_tokens", (json_int_t)f->output_tokens);

	if (!v)
		return NULL;
	(void)json_object_set_new(v, "first_byte_us",
		f->first_byte_us ? json_integer(f->first_byte_us) : json_null());
	(void)json_object_set_new(v, "duration_us", json_integer(f->duration_us));
	(void)json_object_set_new(v, "cost", f->priced ? json_nano(f->cost_nano) : json_null());
	(void)json_object_set_new(v, "stream", json_boolean(f->stream));
	(void)json_object_set_new(v, "estimated", json_boolean(f->estimated));
	(void)json_object_set_new(v, "caller", caller_text(finished_text(f, FINISHED_key), f->uid));
	(void)json_object_set_new(v, "failed_tries", json_integer(f->tries));
	(void)json_object_set_new(v, "first_failure", first_failure(f));
	return v;
}

/* --- events: "t=SECONDS.MICROS level=info area=agent event=agent.ready key=value key=\"a b\"" ---
 */

/* The next pair of a logfmt line; false: no more. A value that is quoted keeps its quotes. */
static bool next_pair(struct slice *line, struct slice *key, struct slice *value)
{
	size_t i = 0, at;

	while (line->n && line->p[0] == ' ')
		*line = slice_skip(*line, 1);
	while (i < line->n && line->p[i] != '=' && line->p[i] != ' ')
		i++;
	if (i == 0 || i == line->n || line->p[i] != '=')
		return false;
	*key = slice_of(line->p, i++);
	at = i;
	if (i < line->n && line->p[i] == '"') {
		for (i++; i < line->n && line->p[i] != '"'; i++)
			i += line->p[i] == '\\';
		i = MIN(i + 1, line->n);
	} else {
		while (i < line->n && line->p[i] != ' ')
			i++;
	}
	*value = slice_of(line->p + at, i - at);
	*line = slice_skip(*line, i);
	return true;
}

static struct slice pair_of(struct slice line, struct slice wanted)
{
	struct slice key, value;

	while (next_pair(&line, &key, &value)) {
		if (slice_eq(key, wanted))
			return value;
	}
	return SLICE_EMPTY;
}

/* As log_quote() wrote it. */
static json_t *unquoted(struct slice s)
{
	char out[LINE_MAX_BYTES];
	size_t n = 0;

	if (!s.n || s.p[0] != '"')
		return json_slice(s);
	s = slice_skip(s, 1);
	if (s.n && s.p[s.n - 1] == '"')
		s.n--;
	for (size_t i = 0; i < s.n && n < sizeof(out); i++) {
		char c = s.p[i];

		if (c == '\\' && i + 1 < s.n) {
			c = s.p[++i];
			c = (char)(c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c);
		}
		out[n++] = c;
	}
	return json_slice(slice_of(out, n));
}

usec event_time(struct slice line)
{
	struct slice t = pair_of(line, SLICE("t"));
	const char *dot = t.n ? memchr(t.p, '.', t.n) : NULL;
	uint64_t s, us;

	if (!dot || text_parse_u64(slice_of(t.p, (size_t)(dot - t.p)), &s) ||
		text_parse_u64(slice_skip(t, (size_t)(dot - t.p) + 1), &us) || s > INT32_MAX * 8ull)
		return 0;
	return (usec)(s * USEC_PER_S + us);
}

struct slice event_kind(struct slice line)
{
	return pair_of(line, SLICE("event"));
}

json_t *show_event(struct slice line)
{
	struct slice key, value;
	usec t = event_time(line);
	json_t *v = t ? json_pack("{s:o}", "time", time_text(t)) : NULL;

	while (v && next_pair(&line, &key, &value)) {
		char name[64];

		if (slice_eq(key, SLICE("t")) || key.n >= sizeof(name))
			continue;
		memcpy(name, key.p, key.n);
		name[key.n] = '\0';
		(void)json_object_set_new(v, name, unquoted(value));
	}
	return v;
}
