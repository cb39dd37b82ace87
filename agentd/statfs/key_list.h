/* The keys that this agent knows, as the tree shows them: one state of the key set, sorted by their
 * numbers, immutable and counted. A key's number is made of its id and stands for it in inodes and
 * counters: 55 bits of a hash, so that of ten thousand two never meet (one in 10^9). */
#ifndef AGENTD_STATFS_KEY_LIST_H
#define AGENTD_STATFS_KEY_LIST_H

#include "policy/keyset.h"

#include <stdatomic.h>

struct key_entry {
	uint64_t number;
	char id[VKEY_ID_LEN];
	uint8_t state; /* enum key_state */
	usec expires_us;
	struct slice project, name, require_tags; /* in text */
};

struct key_list {
	_Atomic unsigned refs;
	uint64_t generation; /* of the key set when it was read */
	uint32_t n;
	struct key_entry *v;
	struct buf text;
};

/* Reads all of them. -ENOMEM, or the store's trouble. */
int key_list_read(struct keyset_reader *r, uint64_t generation, struct key_list **ret);
struct key_list *key_list_ref(struct key_list *l);
void key_list_unref(struct key_list *l); /* NULL is allowed; any thread */
/* NULL: not there. */
const struct key_entry *key_list_find(const struct key_list *l, uint64_t number);
const struct key_entry *key_list_find_id(const struct key_list *l, struct slice id);
const char *key_entry_state(const struct key_entry *k, usec wall_us);

#endif
