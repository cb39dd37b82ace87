/* uthash for tables by name: with our own hash function, and a lack of memory is the caller's to
 * handle (uthash would exit). A function that adds declares `bool out_of_memory = false` and looks
 * at it after. One owner per table. */
#ifndef AIGW_HASH_H
#define AIGW_HASH_H

#include <aigw/crc.h>

#define HASH_NONFATAL_OOM           1
#define HASH_FUNCTION(key, n, hash) ((hash) = crc32c(0, (key), (n)))
#include <uthash.h>

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(element) (out_of_memory = true)

#endif
