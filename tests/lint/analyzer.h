/* Read before every file by clang-tidy (tidy.py) and by nothing else: that err_set() returns its
 * code is what the analyzer can't see from another file, and without it takes every failure for a
 * success. */
#ifndef TESTS_LINT_ANALYZER_H
#define TESTS_LINT_ANALYZER_H

#include <aigw/errbuf.h>

#define err_set(e, code, ...)                                                                      \
	__extension__({                                                                            \
		int code_of_err = (code);                                                          \
		(void)(err_set)((e), code_of_err, __VA_ARGS__);                                    \
		code_of_err;                                                                       \
	})

#endif
