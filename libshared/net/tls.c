/* Trust stores and client contexts. Sessions: TLS 1.3 tickets are single-use, so each is taken out
 * when it is tried; the newest is tried first. */
#include "tls_private.h"

#include <aigw/tls.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>

struct tls_trust {
	_Atomic unsigned refs;
	X509_STORE *store;
};

int tls_trust_new(const char *ca_file, struct tls_trust **ret, struct errbuf *e)
{
	struct tls_trust *t = calloc(1, sizeof(*t));
	const char *file = ca_file ? ca_file : X509_get_default_cert_file();

	/* Debian's bundle lies where OpenSSL's own default file does not. */
	if (!ca_file)
		file = "/etc/ssl/certs/ca-certificates.crt";
	if (!t || !(t->store = X509_STORE_new())) {
		free(t);
		return err_set(e, -ENOMEM, "out of memory");
	}
	t->refs = 1;
	if (!X509_STORE_load_file(t->store, file)) {
		ERR_clear_error();
		if (ca_file || !X509_STORE_set_default_paths(t->store)) {
			tls_trust_unref(t);
			return err_set(e, -ENOENT,
				"no certificates could be read from %s; check the file", file);
		}
	}
	*ret = t;
	return 0;
}

struct tls_trust *tls_trust_ref(struct tls_trust *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void tls_trust_unref(struct tls_trust *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	X509_STORE_free(t->store);
	free(t);
}

static int ctx_index;
static pthread_once_t ctx_index_once =
	PTHREAD_ONCE_INIT; /* workers make their contexts at the same moment */

static void make_ctx_index(void)
{
	ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* OpenSSL hands over a session (1: we keep the reference). The oldest makes room. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_client *c = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);

	if (c->n_sessions == TLS_CLIENT_SESSIONS) {
		SSL_SESSION_free(c->sessions[0]);
		memmove(&c->sessions[0], &c->sessions[1],
			(TLS_CLIENT_SESSIONS - 1) * sizeof(c->sessions[0]));
		c->n_sessions--;
	}
	c->sessions[c->n_sessions++] = session;
	return 1;
}

/* A ticket of TLS 1.3 is good for one connection; a session of 1.2 stays good, and a resumed
 * handshake brings no new one. */
SSL_SESSION *tls_client_take_session(struct tls_client *c)
{
	SSL_SESSION *newest = c->n_sessions ? c->sessions[c->n_sessions - 1] : NULL;

	if (newest && SSL_SESSION_get_protocol_version(newest) < TLS1_3_VERSION)
		return SSL_SESSION_up_ref(newest) ? newest : NULL;
	if (newest)
		c->n_sessions--;
	return newest;
}

int tls_client_new(struct tls_trust *trust, struct tls_client **ret, struct errbuf *e)
{
	struct tls_client *c = calloc(1, sizeof(*c));

	(void)pthread_once(&ctx_index_once, make_ctx_index);
	if (c)
		c->ctx = SSL_CTX_new(TLS_client_method());
	if (!c || !c->ctx || !SSL_CTX_set_ex_data(c->ctx, ctx_index, c)) {
		tls_client_free(c);
		return err_set(e, -ENOMEM, "out of memory for a TLS context");
	}
	c->trust = tls_trust_ref(trust);
	SSL_CTX_set1_cert_store(c->ctx, trust->store);
	(void)SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_quiet_shutdown(c->ctx, 1);
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
	*ret = c;
	return 0;
}

void tls_client_free(struct tls_client *c)
{
	if (!c)
		return;
	while (c->n_sessions)
		SSL_SESSION_free(c->sessions[--c->n_sessions]);
	SSL_CTX_free(c->ctx);
	tls_trust_unref(c->trust);
	free(c);
}
