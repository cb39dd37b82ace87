#include <aigw/json.h>
#include <aigw/text.h>

json_t *json_parse(struct slice text, struct errbuf *e)
{
	json_error_t error;
	json_t *v = json_loadb(
		text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (!v)
		(void)err_set(
			e, -EINVAL, "line %d, column %d: %s", error.line, error.column, error.text);
	return v;
}

static int write_to_buf(const char *p, size_t n, void *arg)
{
	return buf_append(arg, p, n) < 0 ? -1 : 0;
}

int json_write(const json_t *v, struct buf *b, bool pretty)
{
	size_t flags = JSON_ENCODE_ANY | (pretty ? JSON_INDENT(2) : JSON_COMPACT);

	if (json_dump_callback(v, write_to_buf, b, flags) == 0)
		return 0;
	/* Without an error of the buffer it was the library's own memory. */
	return b->err ? b->err : (b->err = -ENOMEM);
}

void json_unrefp(json_t **v)
{
	json_decref(*v);
	*v = NULL;
}

const char *json_get_str(const json_t *o, const char *name, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : otherwise;
}

int64_t json_get_int(const json_t *o, const char *name, int64_t otherwise)
{
	const json_t *v = json_object_get(o, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool json_get_bool(const json_t *o, const char *name, bool otherwise)
{
	const json_t *v = json_object_get(o, name);

	return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

json_t *json_slice(struct slice s)
{
	struct buf clean;
	json_t *v = NULL;

	if (text_is_utf8(s))
		return json_stringn_nocheck(s.p ? s.p : "", s.n);
	buf_init(&clean, SIZE_MAX);
	if (text_utf8_clean(&clean, s) == 0)
		v = json_stringn_nocheck(clean.p, clean.n);
	buf_fini(&clean);
	return v;
}

json_t *json_nano(int64_t nano)
{
	char text[32];

	text_format_nano(nano, 9, text);
	return json_string(text);
}
