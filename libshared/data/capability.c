#include <aigw/capability.h>

const char *capability_name(enum capability c)
{
	static const char *const names[] = {
#define CAPABILITY(name, kind, doc) [CAPABILITY_##name] = #name,
#include <aigw/tbl/capabilities.h>
#undef CAPABILITY
	};

	return names[c];
}
