/* What a target can do and a request needs, as bits. */
#ifndef AIGW_CAPABILITY_H
#define AIGW_CAPABILITY_H

#include <aigw/base.h>

enum capability {
#define CAPABILITY(name, kind, doc) CAPABILITY_##name,
#include <aigw/tbl/capabilities.h>
#undef CAPABILITY
	CAPABILITY_COUNT
};

#define CAPABILITY_BIT(name) (UINT32_C(1) << CAPABILITY_##name)
#define CAPABILITIES_ALL     UINT32_MAX

/* Those that are endpoints. */
#define CAPABILITY_IS_ENDPOINT_ENDPOINT 1
#define CAPABILITY_IS_ENDPOINT_FEATURE  0
#define CAPABILITY(name, kind, doc)     | ((uint32_t)CAPABILITY_IS_ENDPOINT_##kind << CAPABILITY_##name)
enum {
	CAPABILITY_ENDPOINTS = 0
#include <aigw/tbl/capabilities.h>
};
#undef CAPABILITY

const char *capability_name(enum capability c);

#endif
