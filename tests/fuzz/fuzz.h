/* One fuzz target per file: libFuzzer drives it (./dev fuzz), replay.c runs its corpus as a normal
 * test. A target checks what must hold for every input; a broken promise is an ASSERT. One thread.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <aigw/slice.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Does `part` lie in `whole`? An empty one may lie anywhere. */
static inline bool lies_in(struct slice part, struct slice whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

#endif
