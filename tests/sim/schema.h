/* schema: the smallest JSON instance that fits a JSON schema; needs no thread and keeps nothing. */
#ifndef SIM_SCHEMA_H
#define SIM_SCHEMA_H

#include <jansson.h>

/* New reference. Objects get all their properties; arrays as many items as minItems; anyOf and
 * oneOf their first; const, enum (first) and default win over types; "$ref" into the root document
 * is followed. Nested too deep: null. */
json_t *schema_instance(const json_t *root, const json_t *schema);

#endif
