#include <aigw/error_class.h>

const char *error_class_name(enum error_class c)
{
	static const char *const names[] = {
#define ERROR_CLASS(name, doc) #name,
#include <aigw/tbl/error_classes.h>
#undef ERROR_CLASS
	};

	return names[c];
}
