#include "tls.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VALID_SECONDS (30L * 86400)

static const unsigned char session_context[] = "aigw-sim";

static int extension_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

static int serial_set(X509 *cert)
{
	uint64_t serial;

	return RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1);
}

/* A certificate without extensions and signature. */
static X509 *cert_begin(const char *name, EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *subject;

	if (!cert)
		return NULL;
	subject = X509_get_subject_name(cert);
	if (X509_set_version(cert, 2) && serial_set(cert) &&
		X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
		X509_gmtime_adj(X509_getm_notAfter(cert), VALID_SECONDS) &&
		X509_set_pubkey(cert, key) &&
		X509_NAME_add_entry_by_txt(
			subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0))
		return cert;
	X509_free(cert);
	return NULL;
}

static X509 *ca_make(EVP_PKEY *key)
{
	X509 *ca = cert_begin("aigw-sim test CA", key);

	if (ca && X509_set_issuer_name(ca, X509_get_subject_name(ca)) &&
		extension_add(ca, ca, NID_basic_constraints, "critical,CA:TRUE") &&
		extension_add(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		extension_add(ca, ca, NID_subject_key_identifier, "hash") &&
		X509_sign(ca, key, EVP_sha256()))
		return ca;
	X509_free(ca);
	return NULL;
}

static X509 *server_make(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
	X509 *cert = cert_begin("localhost", key);

	if (cert && X509_set_issuer_name(cert, X509_get_subject_name(ca)) &&
		extension_add(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
		extension_add(cert, ca, NID_ext_key_usage, "serverAuth") &&
		extension_add(
			cert, ca, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") &&
		extension_add(cert, ca, NID_authority_key_identifier, "keyid") &&
		X509_sign(cert, ca_key, EVP_sha256()))
		return cert;
	X509_free(cert);
	return NULL;
}

static int pem_write(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
	char path[4096];
	FILE *f;
	int ok;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return 0;
	f = fopen(path, "we");
	if (!f)
		return 0;
	if (key)
		(void)fchmod(fileno(f), 0600);
	ok = cert ? PEM_write_X509(f, cert)
		  : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	return fclose(f) == 0 && ok;
}

static int self_signed_use(SSL_CTX *ctx, const char *dir)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = ca_key ? ca_make(ca_key) : NULL;
	X509 *cert = ca && key ? server_make(key, ca, ca_key) : NULL;
	int ok;

	(void)mkdir(dir, 0755); /* there already, or the writing says what is wrong */
	ok = cert && SSL_CTX_use_certificate(ctx, cert) && SSL_CTX_use_PrivateKey(ctx, key) &&
	     pem_write(dir, "ca.pem", ca, NULL) && pem_write(dir, "cert.pem", cert, NULL) &&
	     pem_write(dir, "key.pem", NULL, key);
	X509_free(cert);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	return ok;
}

SSL_CTX *tls_context_new(const struct tls_files *f)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int ok = ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);

	if (ok && f->self_signed)
		ok = self_signed_use(ctx, f->self_signed);
	else if (ok)
		ok = SSL_CTX_use_certificate_chain_file(ctx, f->cert) == 1 &&
		     SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) == 1;
	if (!ok) {
		fputs("aigw-sim: TLS certificate:\n", stderr);
		ERR_print_errors_fp(stderr);
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1);
	(void)SSL_CTX_set_num_tickets(ctx, (size_t)f->tickets);
	SSL_CTX_set_session_cache_mode(
		ctx, f->tickets ? SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL
				: SSL_SESS_CACHE_OFF);
	if (!f->tickets)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return ctx;
}
