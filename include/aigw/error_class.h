/* What a provider's error means for the call, the target and the credential. */
#ifndef AIGW_ERROR_CLASS_H
#define AIGW_ERROR_CLASS_H

#include <aigw/slice.h>

enum error_class {
#define ERROR_CLASS(name, doc) CLASS_##name,
#include <aigw/tbl/error_classes.h>
#undef ERROR_CLASS
	CLASS_COUNT
};

const char *error_class_name(enum error_class c);

#endif
