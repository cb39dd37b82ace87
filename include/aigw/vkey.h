/* Virtual keys: `sk-aigw-<12 public>-<40 secret><6 checksum>`, base62. Id: "key_" and the 12 public
 * characters. Stored is only SHA-256("aigw-vk1" ‖ id ‖ secret). Needs libcrypto. Any thread. */
#ifndef AIGW_VKEY_H
#define AIGW_VKEY_H

#include <aigw/buf.h>

#define VKEY_TEXT_LEN (8 + 12 + 1 + 40 + 6)
#define VKEY_ID_LEN   16

struct vkey {
	char id[VKEY_ID_LEN]; /* no NUL */
	uint8_t verifier[32];
};

/* A new key from the system's random source; text gets VKEY_TEXT_LEN bytes and NUL: show it once,
 * then wipe it. */
int vkey_create(char text[static VKEY_TEXT_LEN + 1], struct vkey *ret);
/* Form, checksum, verifier. -EINVAL: not of this form; -EBADMSG: form right, checksum wrong (a
 * typo). */
int vkey_parse(struct slice text, struct vkey *ret);
bool vkey_has_prefix(struct slice text); /* begins with "sk-aigw-" */

/* 55 bits that stand for the id where there is no room for it (inodes, counters). */
uint64_t vkey_id_number(const char id[static VKEY_ID_LEN]);

enum key_state { KEY_ACTIVE = 1, KEY_DISABLED, KEY_REVOKED };

/* A key as the controller stores it and agents cache it. */
struct key_record {
	char id[VKEY_ID_LEN];
	uint8_t verifier[32];
	enum key_state state;
	struct slice project;
	struct slice name;
	struct slice require_tags; /* names between commas; empty: none. Bounded like the others */
	usec created_us, expires_us; /* wall; expires 0: never */
	usec revoked_us;
};

int key_record_pack(
	const struct key_record *k, struct buf *b); /* version byte, msgpack map by tags */
int key_record_unpack(
	struct slice bytes, struct key_record *ret); /* slices point into bytes; -EBADMSG */

#endif
