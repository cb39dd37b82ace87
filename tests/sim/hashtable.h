/* hashtable: uthash with our own hash, since its default falls through cases without saying so. */
#ifndef SIM_HASHTABLE_H
#define SIM_HASHTABLE_H

#include "tokens.h"

#define HASH_FUNCTION(key, len, hashv) ((hashv) = (unsigned)hash_bytes(0, (const char *)(key), len))

#include <uthash.h>

#endif
