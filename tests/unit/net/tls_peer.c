#include "tls_peer.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DAY 86400

static EVP_PKEY *key; /* one for all: what differs is who vouches for it and for what */
static X509 *certificates[CERT_COUNT];

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void name_set(X509 *x, X509_NAME *name, const char *cn)
{
	must(X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0));
	(void)x;
}

static void extension_add(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

/* names NULL: an authority, signed by itself. */
static X509 *certificate_made(
	X509 *by, const char *cn, const char *names, long from_s, long until_s)
{
	static long serial = 1;
	X509 *x = X509_new();

	must(x && X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), serial++));
	must(X509_gmtime_adj(X509_getm_notBefore(x), from_s) &&
		X509_gmtime_adj(X509_getm_notAfter(x), until_s));
	name_set(x, X509_get_subject_name(x), cn);
	must(X509_set_issuer_name(x, X509_get_subject_name(by ? by : x)) &&
		X509_set_pubkey(x, key));
	extension_add(x, NID_basic_constraints, names ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (names)
		extension_add(x, NID_subject_alt_name, names);
	must(X509_sign(x, key, EVP_sha256()));
	return x;
}

static void certificates_make(void)
{
	static const char here[] = "DNS:localhost,IP:127.0.0.1,IP:::1",
			  there[] = "DNS:elsewhere.test,IP:192.0.2.1";
	X509 *ca, *foreign;
	FILE *f;

	if (key)
		return;
	key = EVP_EC_gen("P-256");
	must(key != NULL);
	ca = certificate_made(NULL, "test authority", NULL, -DAY, DAY);
	foreign = certificate_made(NULL, "another authority", NULL, -DAY, DAY);
	certificates[CERT_GOOD] = certificate_made(ca, "good", here, -DAY, DAY);
	certificates[CERT_OTHER_NAME] = certificate_made(ca, "other", there, -DAY, DAY);
	certificates[CERT_EXPIRED] = certificate_made(ca, "expired", here, -2 * DAY, -60);
	certificates[CERT_NOT_YET] = certificate_made(ca, "not yet", here, 3600, DAY);
	certificates[CERT_FOREIGN] = certificate_made(foreign, "foreign", here, -DAY, DAY);
	f = fopen(path_of("ca.pem"), "w");
	must(f && PEM_write_X509(f, ca) && fclose(f) == 0);
	X509_free(ca);
	X509_free(foreign);
}

const char *tls_peer_ca(void)
{
	certificates_make();
	return path_of("ca.pem");
}

void tls_peer_fini(void)
{
	EVP_PKEY_free(key);
	key = NULL;
	for (size_t i = 0; i < CERT_COUNT; i++)
		X509_free(certificates[i]);
}

static SSL_CTX *context_made(const struct tls_peer_config *c)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	must(ctx && SSL_CTX_use_certificate(ctx, certificates[c->certificate]) &&
		SSL_CTX_use_PrivateKey(ctx, key));
	SSL_CTX_set_security_level(ctx, 0); /* old versions too */
	must(SSL_CTX_set_cipher_list(ctx, "ALL"));
	if (c->version)
		must(SSL_CTX_set_min_proto_version(ctx, c->version) &&
			SSL_CTX_set_max_proto_version(ctx, c->version));
	must(SSL_CTX_set_num_tickets(ctx, (size_t)c->tickets));
	must(SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"aigw", 4));
	if (!c->tickets)
		(void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return ctx;
}

static void serve_tls(struct tls_peer *p, int fd)
{
	SSL *ssl = SSL_new(p->ctx);

	must(ssl && SSL_set_fd(ssl, fd));
	if (SSL_accept(ssl) == 1 && p->cfg.serve)
		p->cfg.serve(ssl, p->cfg.arg);
	SSL_free(ssl);
}

static void *run(void *arg)
{
	struct tls_peer *p = arg;
	struct pollfd at[2] = { { .fd = p->fd, .events = POLLIN },
		{ .fd = p->stop[0], .events = POLLIN } };

	for (;;) {
		int fd;

		must(poll(at, 2, -1) > 0);
		if (at[1].revents)
			return NULL;
		fd = accept(p->fd, NULL, NULL);
		must(fd >= 0);
		if (p->cfg.raw)
			p->cfg.raw(fd, p->cfg.arg);
		else
			serve_tls(p, fd);
		(void)close(fd);
	}
}

struct tls_peer *tls_peer_start(const struct tls_peer_config *c)
{
	struct tls_peer *p = calloc(1, sizeof(*p));
	socklen_t n = sizeof(p->addr);
	int narrow = 32768; /* what is sent to it has to wait until it reads */

	certificates_make();
	p->cfg = *c;
	p->ctx = context_made(c);
	p->addr = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(p->fd >= 0 && setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &narrow, sizeof(narrow)) == 0);
	must(bind(p->fd, (struct sockaddr *)&p->addr, n) == 0 && listen(p->fd, 16) == 0);
	must(getsockname(p->fd, (struct sockaddr *)&p->addr, &n) == 0 && pipe(p->stop) == 0);
	must(pthread_create(&p->thread, NULL, run, p) == 0);
	return p;
}

void tls_peer_stop(struct tls_peer *p)
{
	must(write(p->stop[1], "x", 1) == 1);
	(void)pthread_join(p->thread, NULL);
	(void)close(p->stop[0]);
	(void)close(p->stop[1]);
	(void)close(p->fd);
	SSL_CTX_free(p->ctx);
	free(p);
}

void tls_read_all(SSL *ssl, char *p, size_t n)
{
	while (n) {
		int k = SSL_read(ssl, p, (int)MIN(n, 65536u));

		must(k > 0);
		p += k;
		n -= (size_t)k;
	}
}

void tls_write_all(SSL *ssl, const char *p, size_t n)
{
	while (n) {
		int k = SSL_write(ssl, p, (int)MIN(n, 65536u));

		must(k > 0);
		p += k;
		n -= (size_t)k;
	}
}
