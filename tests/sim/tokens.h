/*
 * tokens: the simulator's arithmetic. Everything that a test has to know to foretell the usage of
 * an answer stands here.
 *
 * Input tokens:
 * - chat, responses: ceil(bytes / 4) + 3 per message; bytes counts the UTF-8 text of all contents
 *   (a string, or the `text` of its parts), JSON escapes resolved. In responses `instructions` is
 *   one message more, and an input that is one string is one message. Tools, images and names
 *   count nothing.
 * - completions: ceil(bytes / 4) + 3 per prompt.
 * - embeddings: ceil(bytes / 4) per input; a list of integers counts its members.
 * - At least 1.
 *
 * Output tokens: the number of content chunks that the whole answer has when it is streamed, over
 * all choices. A text of words has one per word (5 to 36, by the hash of the contents, unless
 * `tokens-N` says otherwise), JSON text and tool arguments one per 8 bytes, each tool call one more
 * for its head; never more than max_tokens for each choice. `reasoning-N` adds N. The log line of
 * a cut stream still names the number of the whole answer, and beside it the chunks sent.
 */
#ifndef SIM_TOKENS_H
#define SIM_TOKENS_H

#include "buf.h"

#define TOKENS_FRAGMENT 8 /* bytes of JSON text in one chunk */

uint64_t hash_mix(uint64_t x);
uint64_t hash_bytes(uint64_t seed, const char *p, size_t n);

int64_t tokens_of_bytes(size_t bytes);
int64_t tokens_default(uint64_t seed); /* 5 .. 36 */
/* The k-th word of the text that belongs to seed, with its leading space when k > 0. Not
 * NUL-terminated. */
struct span token_word(uint64_t seed, uint32_t k);

#endif
