/* The OpenAPI 3.1 description of the admin API, generated from tbl/admin_api.h. Pure. */
#ifndef CTLD_ADMIN_OPENAPI_H
#define CTLD_ADMIN_OPENAPI_H

#include <aigw/json.h>

json_t *openapi_build(void); /* NULL: no memory */

#endif
