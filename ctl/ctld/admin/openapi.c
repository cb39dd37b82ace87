#include "admin/openapi.h"

#include <aigw/admin_error.h>

struct route_row {
	const char *id, *method, *path, *summary, *request, *response, *errors;
	unsigned status;
};
struct param_row {
	const char *id, *in, *name, *type, *doc;
};
struct object_row {
	const char *name, *doc;
};
struct field_row {
	const char *object, *name, *type, *doc;
};

static const struct route_row routes[] = {
#define API(id, method, path, status, summary, request, response, errors)                          \
	{ #id, method, path, summary, request, response, errors, status },
#include <aigw/tbl/admin_api.h>
};
static const struct param_row params[] = {
#define API_PARAM(id, in, name, type, doc) { #id, #in, name, type, doc },
#include <aigw/tbl/admin_api.h>
};
static const struct object_row objects[] = {
#define API_OBJECT(name, doc) { #name, doc },
#include <aigw/tbl/admin_api.h>
};
static const struct field_row fields[] = {
#define API_FIELD(object, name, type, doc) { #object, #name, type, doc },
#include <aigw/tbl/admin_api.h>
};

static json_t *ref_to(const char *object)
{
	return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", object));
}

/* All that this socket answers with. */
static json_t *codes(void)
{
	json_t *list = json_array();

	for (int i = 0; i < ADMIN_ERROR_COUNT; i++)
		if (strcmp(admin_error_row(i)->socket, "control") != 0)
			(void)json_array_append_new(list, json_string(admin_error_row(i)->name));
	return list;
}

/* A type of the table as a schema. */
static json_t *schema_of(const char *type, const char *doc)
{
	static const struct {
		const char *type, *schema, *format;
	} scalars[] = {
		{ "string", "string", NULL },
		{ "integer", "integer", "int64" },
		{ "boolean", "boolean", NULL },
		{ "money", "string", "decimal" },
		{ "time", "string", "date-time" },
	};
	size_t n = strlen(type);
	json_t *v = NULL;

	if (type[0] == '?')
		return schema_of(type + 1, doc);
	if (type[0] == '[') {
		char inner[64];

		(void)snprintf(inner, sizeof(inner), "%.*s", (int)(n - 2), type + 1);
		v = json_pack("{s:s, s:o}", "type", "array", "items", schema_of(inner, NULL));
	} else if (strcmp(type, "map") == 0) {
		v = json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties", "type",
			"string");
	} else if (strcmp(type, "code") == 0) {
		v = json_pack("{s:s, s:o}", "type", "string", "enum", codes());
	} else {
		for (size_t i = 0; i < ARRAY_LEN(scalars) && !v; i++)
			if (strcmp(type, scalars[i].type) == 0)
				v = json_pack("{s:s, s:s*}", "type", scalars[i].schema, "format",
					scalars[i].format);
		if (!v)
			v = ref_to(type);
	}
	if (doc)
		(void)json_object_set_new(v, "description", json_string(doc));
	return v;
}

static json_t *object_schema(const struct object_row *o)
{
	JSON_AUTO *properties = json_object();
	JSON_AUTO *required = json_array();

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field_row *f = &fields[i];

		if (strcmp(f->object, o->name) != 0)
			continue;
		(void)json_object_set_new(properties, f->name, schema_of(f->type, f->doc));
		if (f->type[0] != '?')
			(void)json_array_append_new(required, json_string(f->name));
	}
	return json_pack("{s:s, s:s, s:O, s:O}", "type", "object", "description", o->doc,
		"properties", properties, "required", required);
}

static json_t *content_of(const char *object)
{
	return json_pack("{s:{s:o}}", "application/json", "schema", ref_to(object));
}

static json_t *route_parameters(const struct route_row *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		const struct param_row *p = &params[i];

		if (strcmp(p->id, r->id) != 0)
			continue;
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", p->name, "in", p->in,
				      "required", p->type[0] != '?', "description", p->doc,
				      "schema", schema_of(p->type, NULL)));
	}
	return list;
}

static json_t *route_schema(const struct route_row *r)
{
	char status[8];
	json_t *v, *answers;

	(void)snprintf(status, sizeof(status), "%u", r->status);
	v = json_pack("{s:s, s:s, s:o}", "operationId", r->id, "summary", r->summary, "parameters",
		route_parameters(r));
	if (r->request[0])
		(void)json_object_set_new(
			v, "requestBody", json_pack("{s:o}", "content", content_of(r->request)));
	answers = json_object();
	if (r->response[0])
		(void)json_object_set_new(answers, status,
			json_pack("{s:s, s:o}", "description", "Done.", "content",
				content_of(r->response)));
	else
		(void)json_object_set_new(
			answers, status, json_pack("{s:s}", "description", "Done."));
	(void)json_object_set_new(answers, "default",
		json_pack("{s:o, s:o}", "description",
			json_sprintf("An error; its code is one of: usage not_permitted not_found "
				     "method_not_allowed internal%s%s",
				r->errors[0] ? " " : "", r->errors),
			"content", content_of("error")));
	(void)json_object_set_new(v, "responses", answers);
	return v;
}

static const char *method_name(const char *method)
{
	if (strcmp(method, "POST") == 0)
		return "post";
	return strcmp(method, "PUT") == 0 ? "put" : "get";
}

json_t *openapi_build(void)
{
	JSON_AUTO *paths = json_object();
	JSON_AUTO *schemas = json_object();

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		json_t *path = json_object_get(paths, routes[i].path);

		if (!path) {
			path = json_object();
			(void)json_object_set_new(paths, routes[i].path, path);
		}
		(void)json_object_set_new(
			path, method_name(routes[i].method), route_schema(&routes[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		(void)json_object_set_new(schemas, objects[i].name, object_schema(&objects[i]));
	return json_pack("{s:s, s:{s:s, s:s, s:s}, s:O, s:{s:O}}", "openapi", "3.1.0", "info",
		"title", "aigw admin API", "version", AIGW_VERSION, "description",
		"HTTP and JSON on the controller's admin.sock.", "paths", paths, "components",
		"schemas", schemas);
}
