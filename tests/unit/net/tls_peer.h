/* A TLS server on loopback in a thread of its own, straight on OpenSSL with blocking calls: what
 * our client side is judged by. Its certificates are made at the first use. */
#ifndef TEST_NET_TLS_PEER_H
#define TEST_NET_TLS_PEER_H

#include "fixture.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>

enum certificate {
	CERT_GOOD,       /* localhost, 127.0.0.1, ::1, by our authority */
	CERT_OTHER_NAME, /* elsewhere.test, 192.0.2.1 */
	CERT_EXPIRED,
	CERT_NOT_YET,
	CERT_FOREIGN, /* the right names, by an authority that nobody trusts */
	CERT_COUNT
};

struct tls_peer_config {
	enum certificate certificate;
	int version; /* TLS1_3_VERSION, ...: the only one spoken; 0: any */
	int tickets; /* after each handshake of TLS 1.3; TLS 1.2: none if 0 */
	/* One connection, its handshake done; the thread closes the socket after. NULL: closes at
	 * once. */
	void (*serve)(SSL *ssl, void *arg);
	/* Instead of TLS: the bare socket. */
	void (*raw)(int fd, void *arg);
	void *arg;
};

struct tls_peer {
	struct tls_peer_config cfg;
	pthread_t thread;
	SSL_CTX *ctx;
	int fd, stop[2];
	struct sockaddr_in addr;
};

struct tls_peer *tls_peer_start(const struct tls_peer_config *c);
void tls_peer_stop(struct tls_peer *p); /* waits for the connection that is served */

const char *tls_peer_ca(void); /* a PEM file */
void tls_peer_fini(void);      /* forgets certificates and contexts */

/* Helpers for serve(): all of it or the test ends. */
void tls_read_all(SSL *ssl, char *p, size_t n);
void tls_write_all(SSL *ssl, const char *p, size_t n);

#endif
