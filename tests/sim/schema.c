#include "schema.h"

#include <string.h>

#define DEPTH_MAX 32
#define ITEMS_MAX 64
#define TEXT_MAX  4096

static json_t *instance(const json_t *root, const json_t *schema, int depth);

/* "#/$defs/name" in the root document. Escapes ~0 ~1 are not in use by the SDKs that generate such
 * schemas. */
static const json_t *ref_find(const json_t *root, const char *ref)
{
	const json_t *at = root;
	char name[128];

	if (ref[0] != '#')
		return NULL;
	for (const char *p = ref + 1; at && *p;) {
		size_t n;

		if (*p++ != '/')
			return NULL;
		n = strcspn(p, "/");
		if (n >= sizeof(name))
			return NULL;
		memcpy(name, p, n);
		name[n] = 0;
		at = json_object_get(at, name);
		p += n;
	}
	return at;
}

static json_t *object_make(const json_t *root, const json_t *schema, int depth)
{
	json_t *out = json_object(), *v;
	const char *key;

	json_object_foreach(json_object_get(schema, "properties"), key, v)(void)
		json_object_set_new(out, key, instance(root, v, depth + 1));
	return out;
}

static json_t *array_make(const json_t *root, const json_t *schema, int depth)
{
	json_int_t n = (json_int_t)json_number_value(json_object_get(schema, "minItems"));
	const json_t *items = json_object_get(schema, "items");
	json_t *out = json_array();

	for (json_int_t i = 0; i < n && i < ITEMS_MAX; i++)
		(void)json_array_append_new(out, instance(root, items, depth + 1));
	return out;
}

static json_t *string_make(const json_t *schema)
{
	json_int_t n = (json_int_t)json_number_value(json_object_get(schema, "minLength"));
	char text[TEXT_MAX];

	if (n <= 3)
		return json_string("sim");
	if (n > TEXT_MAX)
		n = TEXT_MAX;
	memset(text, 's', (size_t)n);
	return json_stringn(text, (size_t)n);
}

static json_t *number_make(const json_t *schema)
{
	const json_t *min = json_object_get(schema, "minimum");
	const json_t *above = json_object_get(schema, "exclusiveMinimum");

	if (json_is_number(min))
		return json_integer((json_int_t)json_number_value(min));
	if (json_is_number(above))
		return json_integer((json_int_t)json_number_value(above) + 1);
	return json_integer(1);
}

static json_t *type_make(const json_t *root, const json_t *schema, const char *type, int depth)
{
	if (!strcmp(type, "object"))
		return object_make(root, schema, depth);
	if (!strcmp(type, "array"))
		return array_make(root, schema, depth);
	if (!strcmp(type, "string"))
		return string_make(schema);
	if (!strcmp(type, "number") || !strcmp(type, "integer"))
		return number_make(schema);
	if (!strcmp(type, "boolean"))
		return json_true();
	return json_null();
}

static json_t *instance(const json_t *root, const json_t *schema, int depth)
{
	static const char *const given[] = { "const", "default" };
	static const char *const choice[] = { "anyOf", "oneOf", "allOf" };
	const json_t *v, *type;

	if (depth > DEPTH_MAX || !json_is_object(schema))
		return json_null();
	v = json_object_get(schema, "$ref");
	if (json_is_string(v))
		return instance(root, ref_find(root, json_string_value(v)), depth + 1);
	for (size_t i = 0; i < 2; i++) {
		v = json_object_get(schema, given[i]);
		if (v)
			return json_deep_copy(v);
	}
	v = json_array_get(json_object_get(schema, "enum"), 0);
	if (v)
		return json_deep_copy(v);
	for (size_t i = 0; i < 3; i++) {
		v = json_array_get(json_object_get(schema, choice[i]), 0);
		if (v)
			return instance(root, v, depth + 1);
	}
	type = json_object_get(schema, "type");
	if (json_is_array(type))
		type = json_array_get(type, 0);
	if (json_is_string(type))
		return type_make(root, schema, json_string_value(type), depth);
	return json_object_get(schema, "properties") ? object_make(root, schema, depth)
						     : json_null();
}

json_t *schema_instance(const json_t *root, const json_t *schema)
{
	return instance(root, schema, 0);
}
