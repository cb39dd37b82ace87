#include "dialect/openai_needs.h"

#include <aigw/json_scan.h>

static bool value_is(const struct jscan_member *m, struct slice text)
{
	char bytes[32];
	struct buf b = { .p = bytes, .cap = sizeof(bytes), .max = sizeof(bytes) };

	if (m->kind != JSCAN_STRING)
		return false;
	if (!m->value_escaped)
		return slice_eq(slice_of(m->value.p + 1, m->value.n - 2), text);
	return jscan_string(m->value, &b) == 0 && slice_eq(buf_view(&b), text);
}

/* A part of a message's content: its type says what it is. */
static int on_part_member(void *arg, const struct jscan_member *m)
{
	uint32_t *features = arg;

	if (!jscan_key_is(m, SLICE("type")))
		return 0;
	if (value_is(m, SLICE("image_url")) || value_is(m, SLICE("input_image")))
		*features |= CAPABILITY_BIT(vision);
	if (value_is(m, SLICE("input_audio")))
		*features |= CAPABILITY_BIT(audio);
	return 0;
}

static int on_part(void *arg, const struct jscan_member *m)
{
	if (m->kind == JSCAN_OBJECT)
		(void)jscan_object(m->value, on_part_member, arg, NULL);
	return 0;
}

/* The last message's role is the one that stays. */
static int on_message_member(void *arg, const struct jscan_member *m)
{
	uint32_t *features = arg;

	if (jscan_key_is(m, SLICE("role")) && value_is(m, SLICE("assistant")))
		*features |= CAPABILITY_BIT(prefill);
	else if (jscan_key_is(m, SLICE("content")) && m->kind == JSCAN_ARRAY)
		(void)jscan_array(m->value, on_part, features, NULL);
	return 0;
}

static int on_message(void *arg, const struct jscan_member *m)
{
	uint32_t *features = arg;

	*features &= ~CAPABILITY_BIT(prefill);
	if (m->kind == JSCAN_OBJECT)
		(void)jscan_object(m->value, on_message_member, features, NULL);
	return 0;
}

static int on_input(void *arg, const struct jscan_member *m)
{
	(void)on_message(arg, m);
	*(uint32_t *)arg &= ~CAPABILITY_BIT(prefill); /* there it is history, never gone on with */
	return 0;
}

static int on_format_member(void *arg, const struct jscan_member *m)
{
	uint32_t *features = arg;

	if (jscan_key_is(m, SLICE("type")) && value_is(m, SLICE("json_schema")))
		*features |= CAPABILITY_BIT(json_schema);
	return 0;
}

static int on_text_member(void *arg, const struct jscan_member *m)
{
	if (jscan_key_is(m, SLICE("format")) && m->kind == JSCAN_OBJECT)
		(void)jscan_object(m->value, on_format_member, arg, NULL);
	return 0;
}

static int on_modality(void *arg, const struct jscan_member *m)
{
	if (value_is(m, SLICE("audio")))
		*(uint32_t *)arg |= CAPABILITY_BIT(audio);
	return 0;
}

static int on_element(void *arg, const struct jscan_member *m)
{
	(void)m;
	*(bool *)arg = true;
	return 1;
}

static bool has_elements(const struct jscan_member *m)
{
	bool some = false;

	if (m->kind == JSCAN_ARRAY)
		(void)jscan_array(m->value, on_element, &some, NULL);
	return some;
}

static int on_metadata(void *arg, const struct jscan_member *m)
{
	if (jscan_key_is(m, SLICE("user_id")) && m->kind == JSCAN_STRING && m->value.n > 2)
		*(struct slice *)arg = m->value;
	return 0;
}

struct walk {
	uint32_t features;
	struct slice cache_key, user_id;
};

static void note_lists(struct walk *w, const struct jscan_member *m)
{
	if (jscan_key_is(m, SLICE("messages")))
		(void)jscan_array(m->value, on_message, &w->features, NULL);
	else if (jscan_key_is(m, SLICE("input")))
		(void)jscan_array(m->value, on_input, &w->features, NULL);
	else if (jscan_key_is(m, SLICE("modalities")))
		(void)jscan_array(m->value, on_modality, &w->features, NULL);
	else if ((jscan_key_is(m, SLICE("tools")) || jscan_key_is(m, SLICE("functions"))) &&
		 has_elements(m))
		w->features |= CAPABILITY_BIT(tools);
}

static void note_objects(struct walk *w, const struct jscan_member *m)
{
	if (jscan_key_is(m, SLICE("response_format")))
		(void)jscan_object(m->value, on_format_member, &w->features, NULL);
	else if (jscan_key_is(m, SLICE("text")))
		(void)jscan_object(m->value, on_text_member, &w->features, NULL);
	else if (jscan_key_is(m, SLICE("metadata")))
		(void)jscan_object(m->value, on_metadata, &w->user_id, NULL);
	else if (jscan_key_is(m, SLICE("reasoning")))
		w->features |= CAPABILITY_BIT(reasoning);
	else if (jscan_key_is(m, SLICE("audio")))
		w->features |= CAPABILITY_BIT(audio);
}

static int on_member(void *arg, const struct jscan_member *m)
{
	struct walk *w = arg;

	if (m->kind == JSCAN_ARRAY)
		note_lists(w, m);
	else if (m->kind == JSCAN_OBJECT)
		note_objects(w, m);
	else if (m->kind == JSCAN_TRUE && jscan_key_is(m, SLICE("parallel_tool_calls")))
		w->features |= CAPABILITY_BIT(parallel_tools);
	else if (m->kind == JSCAN_STRING && jscan_key_is(m, SLICE("reasoning_effort")))
		w->features |= value_is(m, SLICE("none")) ? 0 : CAPABILITY_BIT(reasoning);
	else if (m->kind == JSCAN_STRING && m->value.n > 2 &&
		 jscan_key_is(m, SLICE("prompt_cache_key")))
		w->cache_key = m->value;
	return 0;
}

void openai_needs(struct slice body, struct openai_needs *ret)
{
	struct walk w = { 0 };

	(void)jscan_object(body, on_member, &w, NULL);
	ret->features = w.features;
	ret->cache_key = w.cache_key.n ? w.cache_key : w.user_id;
}
