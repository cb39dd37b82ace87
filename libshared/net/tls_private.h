/* What tls.c and stream_tls.c share. */
#ifndef NET_TLS_PRIVATE_H
#define NET_TLS_PRIVATE_H

#include <aigw/tls.h>
#include <openssl/ssl.h>

#define TLS_CLIENT_SESSIONS 8

struct tls_client {
	SSL_CTX *ctx;
	struct tls_trust *trust;
	SSL_SESSION *sessions[TLS_CLIENT_SESSIONS]; /* newest last */
	unsigned n_sessions;
};

SSL_SESSION *tls_client_take_session(
	struct tls_client *c); /* the newest, owned by the caller; NULL: none */

#endif
