/*
 * tls: the server's TLS context, from files or from a CA and a certificate that it makes itself for
 * tests.
 */
#ifndef SIM_TLS_H
#define SIM_TLS_H

#include <openssl/ssl.h>

struct tls_files {
	const char *cert, *key;  /* PEM; both or none */
	const char *self_signed; /* folder: gets ca.pem, cert.pem, key.pem for localhost, 127.0.0.1,
				    ::1 */
	int tickets; /* TLS 1.3 session tickets per handshake; 0: no resumption at all */
};

/* NULL with a message on stderr. TLS 1.2 and 1.3. */
SSL_CTX *tls_context_new(const struct tls_files *f);

#endif
