#include <aigw/crc.h>
#include <aigw/digest.h>
#include <aigw/secret.h>
#include <aigw/text.h>
#include <aigw/vkey.h>

#include <openssl/rand.h>

#define VKEY_PREFIX     "sk-aigw-"
#define VKEY_PREFIX_LEN 8
#define VKEY_PUBLIC_LEN 12
#define VKEY_SECRET_LEN 40
#define VKEY_CHECK_LEN  6
#define VKEY_SECRET_AT  (VKEY_PREFIX_LEN + VKEY_PUBLIC_LEN + 1)
#define VKEY_CHECK_AT   (VKEY_SECRET_AT + VKEY_SECRET_LEN)

_Static_assert(VKEY_CHECK_AT + VKEY_CHECK_LEN == VKEY_TEXT_LEN, "lengths of a key's parts");

/* Each digit equally likely: bytes from 248 = 4 * 62 on are drawn anew. */
static int vkey_random(char *out, size_t n)
{
	unsigned char pool[64];
	size_t done = 0;
	int ok = 1;

	while (done < n) {
		ok = RAND_priv_bytes(pool, sizeof(pool)) == 1;
		if (!ok)
			break;
		for (size_t i = 0; i < sizeof(pool) && done < n; i++) {
			if (pool[i] < 248)
				out[done++] = TEXT_BASE62[pool[i] % 62];
		}
	}
	secret_wipe(pool, sizeof(pool));
	return ok ? 0 : -EIO;
}

/* CRC-32 of all before it, six base62 digits, most significant first. */
static void vkey_checksum(const char *text, char out[VKEY_CHECK_LEN])
{
	uint32_t crc = crc32_ieee(text, VKEY_CHECK_AT);

	for (int i = VKEY_CHECK_LEN - 1; i >= 0; i--) {
		out[i] = TEXT_BASE62[crc % 62];
		crc /= 62;
	}
}

static void vkey_derive(const char *text, struct vkey *ret)
{
	struct slice pieces[] = { SLICE("aigw-vk1"), { ret->id, VKEY_ID_LEN },
		{ text + VKEY_SECRET_AT, VKEY_SECRET_LEN } };

	memcpy(ret->id, "key_", 4);
	memcpy(ret->id + 4, text + VKEY_PREFIX_LEN, VKEY_PUBLIC_LEN);
	digest_sha256(pieces, ARRAY_LEN(pieces), ret->verifier);
}

int vkey_create(char text[static VKEY_TEXT_LEN + 1], struct vkey *ret)
{
	int r = vkey_random(text + VKEY_PREFIX_LEN, VKEY_PUBLIC_LEN);

	if (r == 0)
		r = vkey_random(text + VKEY_SECRET_AT, VKEY_SECRET_LEN);
	if (r < 0) {
		secret_wipe(text, VKEY_TEXT_LEN + 1);
		return r;
	}
	memcpy(text, VKEY_PREFIX, VKEY_PREFIX_LEN);
	text[VKEY_SECRET_AT - 1] = '-';
	vkey_checksum(text, text + VKEY_CHECK_AT);
	text[VKEY_TEXT_LEN] = '\0';
	vkey_derive(text, ret);
	return 0;
}

bool vkey_has_prefix(struct slice text)
{
	return slice_starts(text, SLICE(VKEY_PREFIX));
}

int vkey_parse(struct slice text, struct vkey *ret)
{
	char check[VKEY_CHECK_LEN];

	if (text.n != VKEY_TEXT_LEN || !vkey_has_prefix(text) ||
		text.p[VKEY_SECRET_AT - 1] != '-' ||
		!text_is_base62(slice_of(text.p + VKEY_PREFIX_LEN, VKEY_PUBLIC_LEN)) ||
		!text_is_base62(slice_skip(text, VKEY_SECRET_AT)))
		return -EINVAL;
	vkey_checksum(text.p, check);
	if (memcmp(check, text.p + VKEY_CHECK_AT, VKEY_CHECK_LEN) != 0)
		return -EBADMSG;
	vkey_derive(text.p, ret);
	return 0;
}

/* FNV-1a, mixed, since ids differ in their last bytes. */
uint64_t vkey_id_number(const char id[static VKEY_ID_LEN])
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < VKEY_ID_LEN; i++)
		h = (h ^ (unsigned char)id[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return h >> 9;
}
