/* TLS towards providers: one client context with a session cache per worker and provider, all on
 * one trust store loaded when the first TLS provider appears (each own store costs 0.8 MB and 40
 * ms). TLS 1.2 and 1.3, names and addresses verified. */
#ifndef AIGW_TLS_H
#define AIGW_TLS_H

#include <aigw/errbuf.h>

struct tls_trust; /* immutable, counted; any thread */
/* ca_file NULL: the system's bundle. Blocks on the disk. */
int tls_trust_new(const char *ca_file, struct tls_trust **ret, struct errbuf *e);
struct tls_trust *tls_trust_ref(struct tls_trust *t);
void tls_trust_unref(struct tls_trust *t);

struct tls_client; /* one thread's */
int tls_client_new(
	struct tls_trust *trust, struct tls_client **ret, struct errbuf *e); /* takes a reference */
void tls_client_free(struct tls_client *c); /* its streams are closed before */

#endif
