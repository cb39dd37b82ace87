#include <aigw/digest.h>
#include <aigw/usage.h>

void usage_chain_next(uint8_t hash[32], struct slice record)
{
	struct slice pieces[] = { { (const char *)hash, 32 }, record };
	uint8_t next[32];

	digest_sha256(pieces, ARRAY_LEN(pieces), next);
	memcpy(hash, next, sizeof(next));
}
