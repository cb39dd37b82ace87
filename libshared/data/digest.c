/* EVP allocates a context per digest and so may fail; the low-level calls work on the stack. They
 * are marked as deprecated since OpenSSL 3.0 for the sake of hardware tokens, which don't concern
 * us. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <aigw/digest.h>

#include <openssl/sha.h>

void digest_sha256(const struct slice *pieces, size_t n, uint8_t out[static DIGEST_BYTES])
{
	SHA256_CTX ctx;
	int ok = SHA256_Init(&ctx);

	for (size_t i = 0; i < n && ok; i++) {
		if (pieces[i].n)
			ok = SHA256_Update(&ctx, pieces[i].p, pieces[i].n);
	}
	ok = ok && SHA256_Final(out, &ctx);
	ASSERT(ok);
}
