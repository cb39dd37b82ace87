#include "script.h"
#include "hashtable.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS_MAX 65536 /* model names are the client's: more than these share one counter */

struct entry {
	char *model;
	json_t *what;
	uint64_t count;
	UT_hash_handle hh;
};

struct script {
	struct behaviour none;
	struct entry *scripted, *counted;
	uint64_t overflow;
};

static uint64_t count_next(struct script *s, const char *model)
{
	struct entry *e;

	HASH_FIND_STR(s->counted, model, e);
	if (!e && HASH_COUNT(s->counted) >= COUNTERS_MAX)
		return ++s->overflow;
	if (!e) {
		e = mem_get(sizeof(*e));
		e->model = mem_dup(model, strlen(model));
		HASH_ADD_KEYPTR(hh, s->counted, e->model, strlen(e->model), e);
	}
	return ++e->count;
}

static const char *scripted_apply(struct script *s, struct behaviour *b, const char *model)
{
	json_t *what;
	struct entry *e;
	uint64_t k;

	if (!s->scripted)
		return NULL;
	HASH_FIND_STR(s->scripted, model, e);
	if (!e)
		HASH_FIND_STR(s->scripted, "*", e);
	if (!e)
		return NULL;
	what = e->what;
	k = e->count++;
	if (json_is_array(what)) {
		size_t last = json_array_size(what) - 1;

		what = json_array_get(what, k < last ? k : last);
	}
	return behaviour_apply_json(b, what);
}

const char *script_pick(struct script *s, const char *model, struct span sim, struct behaviour *ret)
{
	struct behaviour b;
	uint64_t count = count_next(s, model);
	const char *why;

	memcpy(&b, &s->none, sizeof(b)); /* with its padding: behaviour_has_fault compares bytes */
	why = behaviour_apply_text(&b, model, true);
	if (!why)
		why = scripted_apply(s, &b, model);
	if (!why && sim.len) {
		json_t *doc = json_loadb(sim.p, sim.len, JSON_DECODE_ANY, NULL);

		why = doc ? behaviour_apply_json(&b, doc)
			  : "sim: the member \"sim\" cannot be read";
		json_decref(doc);
	}
	if (why)
		return why;
	if (b.times >= 0 && count > (uint64_t)b.times)
		behaviour_clear_faults(&b);
	if (b.flaky > 0 && count % (uint64_t)b.flaky)
		behaviour_clear_faults(&b);
	else if (b.flaky > 0 && !behaviour_has_fault(&b))
		b.fail = 500;
	memcpy(ret, &b, sizeof(b));
	return NULL;
}

static const char *entry_check(json_t *what)
{
	struct behaviour scratch = { 0 };
	const char *why;
	json_t *v;
	size_t i;

	if (json_is_null(what))
		return NULL;
	if (!json_is_array(what))
		return behaviour_apply_json(&scratch, what);
	if (!json_array_size(what))
		return "sim: an empty list of behaviours";
	json_array_foreach(what, i, v)
	{
		why = behaviour_apply_json(&scratch, v);
		if (why)
			return why;
	}
	return NULL;
}

static void entry_free(struct entry **table, struct entry *e)
{
	HASH_DEL(*table, e);
	json_decref(e->what);
	free(e->model);
	free(e);
}

static void entry_set(struct script *s, const char *model, json_t *what)
{
	struct entry *e;

	HASH_FIND_STR(s->scripted, model, e);
	if (e)
		entry_free(&s->scripted, e);
	if (json_is_null(what))
		return;
	e = mem_get(sizeof(*e));
	e->model = mem_dup(model, strlen(model));
	e->what = json_incref(what);
	HASH_ADD_KEYPTR(hh, s->scripted, e->model, strlen(e->model), e);
}

const char *script_put(struct script *s, struct span json)
{
	json_t *doc = json_loadb(json.p, json.len, JSON_REJECT_DUPLICATES, NULL), *v;
	const char *model, *why = NULL;

	if (!json_is_object(doc)) {
		json_decref(doc);
		return "sim: the script is an object: model name to behaviours";
	}
	json_object_foreach(doc, model, v)
	{
		why = entry_check(v);
		if (why)
			break;
	}
	if (!why) {
		json_object_foreach(doc, model, v) entry_set(s, model, v);
	}
	json_decref(doc);
	return why;
}

void script_show(const struct script *s, struct buf *out)
{
	struct entry *e, *tmp;
	bool first = true;
	char *text;

	buf_adds(out, "{");
	HASH_ITER(hh, s->scripted, e, tmp)
	{
		buf_adds(out, first ? "" : ",");
		first = false;
		buf_add_json(out, e->model, strlen(e->model));
		text = json_dumps(e->what, JSON_ENCODE_ANY | JSON_COMPACT);
		buf_addf(out, ":%s", text ? text : "null");
		free(text);
	}
	buf_adds(out, "}");
}

void script_clear(struct script *s)
{
	struct entry *e, *tmp;

	HASH_ITER(hh, s->scripted, e, tmp)
	entry_free(&s->scripted, e);
	HASH_ITER(hh, s->counted, e, tmp)
	entry_free(&s->counted, e);
	s->overflow = 0;
}

struct script *script_new(int64_t pace_us, bool cut)
{
	struct script *s = mem_get(sizeof(*s));

	behaviour_init(&s->none);
	s->none.pace = pace_us;
	s->none.chunk_split = cut;
	return s;
}

void script_free(struct script *s)
{
	script_clear(s);
	free(s);
}
