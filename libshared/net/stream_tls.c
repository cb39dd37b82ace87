/* TLS as a stream over a plain one. OpenSSL reads and writes through a BIO of our own over the
 * loop's scratch memory: BIO_s_mem would grow and keep. Ciphertext is read into scratch_tls_in,
 * drained in one go (which is what lets OpenSSL release its buffers), and what the owner does not
 * want yet (reads stopped in the midst) is kept as ciphertext. */
#include "stream_private.h"
#include "tls_private.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define TLS_RECORD 16384

struct stream_tls {
	struct stream s;
	struct stream_plain plain;
	SSL *ssl;
	void *owner;
	const char *in; /* ciphertext not yet taken by OpenSSL; only during tls_pump */
	size_t in_n;
	char *kept; /* ciphertext that came while reads were stopped */
	size_t kept_n;
	size_t out_n;                         /* ciphertext in scratch_tls_out */
	struct slice held[STREAM_MAX_SLICES]; /* the caller's bytes still to be encrypted */
	unsigned n_held;
	char *copy; /* our copy of such bytes */
	char host[256];
	struct slice tunnel; /* what a proxy is asked first; empty: nothing, or it has agreed */
	char *proxy_head;    /* of its answer, until it is whole */
	size_t proxy_head_n;
	char proxy_error[64];
	const char *error;
	struct deferred resume;
	usec connected_us; /* the handshake begins */
	bool handshaken : 1, resumed : 1, host_is_ip : 1, in_pump : 1, shut_after : 1;
};

static struct stream_tls *tls_of(const struct stream *s)
{
	return container_of(s, struct stream_tls, s);
}

/* --- BIO
 * -----------------------------------------------------------------------------------------------
 */

static int bio_read(BIO *b, char *out, int n)
{
	struct stream_tls *t = BIO_get_data(b);
	size_t k = MIN((size_t)MAX(n, 0), t->in_n);

	BIO_clear_retry_flags(b);
	if (!k) {
		BIO_set_retry_read(b);
		return -1;
	}
	memcpy(out, t->in, k);
	t->in += k;
	t->in_n -= k;
	return (int)k;
}

static int bio_write(BIO *b, const char *p, int n)
{
	struct stream_tls *t = BIO_get_data(b);
	size_t k = MIN((size_t)MAX(n, 0), (size_t)LOOP_SCRATCH_BYTES - t->out_n);

	BIO_clear_retry_flags(b);
	if (!k) {
		BIO_set_retry_write(b);
		return -1;
	}
	memcpy(t->s.loop->scratch_tls_out + t->out_n, p, k);
	t->out_n += k;
	return (int)k;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
	static BIO_METHOD
		*method; /* made once, before any worker connects by TLS twice: benign if lost */
	BIO_METHOD *m = __atomic_load_n(&method, __ATOMIC_ACQUIRE);
	BIO_METHOD *none = NULL;

	if (m)
		return m;
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "aigw scratch");
	if (!m)
		return NULL;
	(void)BIO_meth_set_read(m, bio_read);
	(void)BIO_meth_set_write(m, bio_write);
	(void)BIO_meth_set_ctrl(m, bio_ctrl);
	if (!__atomic_compare_exchange_n(
		    &method, &none, m, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		BIO_meth_free(m);
		return none;
	}
	return m;
}

/* --- failure
 * ------------------------------------------------------------------------------------------- */

static const char *failure_text(struct stream_tls *t)
{
	unsigned long code = ERR_peek_last_error();
	long verify = SSL_get_verify_result(t->ssl);

	if (verify != X509_V_OK)
		return X509_verify_cert_error_string(verify);
	return code && ERR_reason_error_string(code) ? ERR_reason_error_string(code)
						     : "TLS failure";
}

static void fail(struct stream_tls *t, int err)
{
	t->error = err == -EPROTO ? failure_text(t) : err == -EACCES ? t->proxy_error : "";
	ERR_clear_error();
	plain_read_stop(&t->plain.s);
	if (t->handshaken)
		t->s.ev->error(&t->s, err);
	else
		t->s.ev->open(&t->s, err);
}

/* Sends what OpenSSL has written. */
static int flush(struct stream_tls *t)
{
	struct slice out = slice_of(t->s.loop->scratch_tls_out, t->out_n);

	t->out_n = 0;
	return out.n ? plain_write(&t->plain.s, &out, 1, false) : 0;
}

/* --- reading
 * ------------------------------------------------------------------------------------------- */

static int handshake(struct stream_tls *t)
{
	int r = SSL_do_handshake(t->ssl);

	if (r != 1 && SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ) {
		(void)flush(t); /* the alert */
		return -EPROTO;
	}
	if (flush(t) < 0)
		return -ECONNRESET;
	if (r != 1)
		return 0;
	t->handshaken = t->s.open = true;
	t->resumed = SSL_session_reused(t->ssl);
	t->s.ev->open(&t->s, 0);
	return 0;
}

/* Plaintext to the owner until there is none or it has had enough. */
static int deliver(struct stream_tls *t)
{
	while (t->s.reading && !t->s.closing) {
		char *at = NULL;
		size_t cap = t->s.ev->into ? t->s.ev->into(&t->s, &at) : 0;
		int n;

		if (!cap) {
			at = t->s.loop->scratch_in;
			cap = LOOP_SCRATCH_BYTES;
		}
		/* Several records in one call of the owner. */
		size_t got = 0;
		while (got < cap) {
			n = SSL_read(t->ssl, at + got, (int)MIN(cap - got, (size_t)1 << 30));
			if (n <= 0)
				break;
			got += (size_t)n;
		}
		int why = got < cap ? SSL_get_error(t->ssl, n) : SSL_ERROR_NONE;
		if (got)
			t->s.ev->data(&t->s, at, got);
		if (why == SSL_ERROR_NONE)
			continue;
		if (why == SSL_ERROR_WANT_READ || t->s.closing)
			return 0;
		if (why != SSL_ERROR_ZERO_RETURN)
			return -EPROTO;
		if (!t->s.reading)
			return 0; /* the owner has had enough for now; OpenSSL will say it again */
		t->s.saw_eof = true;
		t->s.reading = false;
		t->s.ev->eof(&t->s);
		return 0;
	}
	return 0;
}

static int keep(struct stream_tls *t)
{
	char *rest;

	if (!t->in_n)
		return 0;
	rest = malloc(t->in_n);
	if (!rest)
		return -ENOMEM;
	memcpy(rest, t->in, t->in_n);
	t->kept = rest;
	t->kept_n = t->in_n;
	return 0;
}

/* Works on ciphertext p[0..n). */
static void pump(struct stream_tls *t, const char *p, size_t n)
{
	int err = 0;

	ERR_clear_error();
	t->in = p;
	t->in_n = n;
	t->in_pump = true;
	if (!t->handshaken)
		err = handshake(t);
	if (!err && t->handshaken)
		err = deliver(t);
	if (!err && !t->s.closing && flush(t) < 0) /* answers to key updates */
		err = -ECONNRESET;
	if (!err && !t->s.closing)
		err = keep(t);
	t->in_pump = false;
	t->in = NULL;
	t->in_n = 0;
	if (err && !t->s.closing)
		fail(t, err);
	else if (!t->s.closing && t->handshaken && !t->s.reading)
		plain_read_stop(&t->plain.s);
}

static size_t on_plain_into(struct stream *s, char **ret)
{
	*ret = s->loop->scratch_tls_in;
	return LOOP_SCRATCH_BYTES;
}

static struct stream_tls *of_plain(struct stream *s)
{
	return container_of(container_of(s, struct stream_plain, s), struct stream_tls, plain);
}

/* --- a tunnel through a proxy --------------------------------------------------------- */

#define PROXY_HEAD_MAX 8192

static void proxy_fail(struct stream_tls *t, const char *why)
{
	(void)snprintf(t->proxy_error, sizeof(t->proxy_error), "%s", why);
	fail(t, -EACCES);
}

/* The status line's verdict. */
static void proxy_judge(struct stream_tls *t, struct slice head, char *rest, size_t rest_n)
{
	const char *p = head.p;
	char why[48];
	bool is_line = head.n > 12 && memcmp(p, "HTTP/1.", 7) == 0 && p[8] == ' ' && p[9] >= '1' &&
		       p[9] <= '9' && p[10] >= '0' && p[10] <= '9' && p[11] >= '0' && p[11] <= '9';

	if (is_line && p[9] == '2') {
		t->tunnel = SLICE_EMPTY;
		t->connected_us = loop_now(t->s.loop);
		pump(t, rest, rest_n);
		return;
	}
	(void)snprintf(why, sizeof(why),
		is_line ? "the proxy answered %.3s" : "the proxy speaks no HTTP",
		is_line ? p + 9 : "");
	proxy_fail(t, why);
}

static void proxy_data(struct stream_tls *t, char *p, size_t n)
{
	size_t had = t->proxy_head_n, take = MIN(n, (size_t)PROXY_HEAD_MAX - had);
	const char *end;

	if (!t->proxy_head)
		t->proxy_head = malloc(PROXY_HEAD_MAX);
	if (!t->proxy_head) {
		fail(t, -ENOMEM);
		return;
	}
	memcpy(t->proxy_head + had, p, take);
	t->proxy_head_n += take;
	end = memmem(t->proxy_head, t->proxy_head_n, "\r\n\r\n", 4);
	if (end) {
		size_t head_n = (size_t)(end - t->proxy_head) + 4;
		char *head = t->proxy_head;

		t->proxy_head = NULL;
		proxy_judge(t, slice_of(head, head_n), p + (head_n - had), n - (head_n - had));
		free(head);
	} else if (take < n || t->proxy_head_n == PROXY_HEAD_MAX) {
		proxy_fail(t, "the proxy's answer has a head larger than 8 KiB");
	}
}

static void on_plain_data(struct stream *s, char *p, size_t n)
{
	struct stream_tls *t = of_plain(s);

	if (t->tunnel.n)
		proxy_data(t, p, n);
	else
		pump(t, p, n);
}

static void on_plain_open(struct stream *s, int status)
{
	struct stream_tls *t = of_plain(s);

	if (status) {
		t->s.ev->open(&t->s, status);
		return;
	}
	plain_read_start(&t->plain.s);
	if (!t->tunnel.n) {
		t->connected_us = loop_now(s->loop);
		pump(t, NULL, 0);
	} else if (plain_write(&t->plain.s, &t->tunnel, 1, false) < 0)
		fail(t, -ECONNRESET);
}

static void on_plain_eof(struct stream *s)
{
	struct stream_tls *t = of_plain(s);

	if (t->kept_n) {
		t->plain.s.saw_eof = true; /* told after what is kept was read */
		return;
	}
	/* Without close_notify this may be an attacker's cut. */
	fail(t, -ECONNRESET);
}

static void on_plain_error(struct stream *s, int err)
{
	fail(of_plain(s), err);
}

static void on_plain_closed(struct stream *s)
{
	struct stream_tls *t = of_plain(s);

	t->s.ev->closed(&t->s);
}

static void on_resume(struct deferred *d)
{
	struct stream_tls *t = container_of(d, struct stream_tls, resume);
	char *kept = t->kept;
	size_t n = t->kept_n;

	if (t->s.closing || !t->s.reading)
		return;
	t->kept = NULL;
	t->kept_n = 0;
	pump(t, kept, n);
	free(kept);
	if (!t->s.closing && t->s.reading) {
		if (t->plain.s.saw_eof && !t->kept_n)
			fail(t, -ECONNRESET);
		else
			plain_read_start(&t->plain.s);
	}
}

void tls_read_start(struct stream *s)
{
	struct stream_tls *t = tls_of(s);

	if (s->reading || s->closing || s->saw_eof)
		return;
	s->reading = true;
	if (!t->in_pump &&
		t->handshaken) /* OpenSSL may hold plaintext: events come from the loop only */
		deferred_queue(s->loop, &t->resume);
}

void tls_read_stop(struct stream *s)
{
	struct stream_tls *t = tls_of(s);

	s->reading = false;
	if (!t->in_pump && t->handshaken)
		plain_read_stop(&t->plain.s);
}

/* --- writing
 * ------------------------------------------------------------------------------------------- */

/* Encrypts v while the socket takes it. Returns slices left (moved to the front of v) or negative.
 */
static int encrypt(struct stream_tls *t, struct slice *v, unsigned n)
{
	unsigned i = 0;

	while (i < n) {
		int k;

		if (!v[i].n) {
			i++;
			continue;
		}
		if (t->plain.s.queued_writes)
			break;
		ERR_clear_error();
		k = SSL_write(t->ssl, v[i].p, (int)MIN(v[i].n, (size_t)TLS_RECORD));
		if (k <= 0)
			return -EPROTO;
		v[i] = slice_skip(v[i], (size_t)k);
		if ((v[i].n || i + 1 == n || t->out_n > LOOP_SCRATCH_BYTES - 2 * TLS_RECORD) &&
			flush(t) < 0)
			return -ECONNRESET;
	}
	if (flush(t) < 0)
		return -ECONNRESET;
	memmove(v, v + i, (n - i) * sizeof(*v));
	return (int)(n - i);
}

static int copy_rest(struct stream_tls *t)
{
	size_t total = 0, at = 0;
	char *copy;

	for (unsigned i = 0; i < t->n_held; i++)
		total += t->held[i].n;
	copy = malloc(total);
	if (!copy)
		return -ENOMEM;
	for (unsigned i = 0; i < t->n_held; i++) {
		memcpy(copy + at, t->held[i].p, t->held[i].n);
		at += t->held[i].n;
	}
	free(t->copy);
	t->copy = copy;
	t->held[0] = slice_of(copy, total);
	t->n_held = 1;
	return 0;
}

int tls_write(struct stream *s, const struct slice *v, unsigned n, bool held)
{
	struct stream_tls *t = tls_of(s);
	int left, err;

	ASSERT(n <= STREAM_MAX_SLICES);
	if (s->closing || !t->handshaken)
		return -ENOTCONN;
	if (t->n_held) {
		/* Behind what waits already: everything becomes one copy. */
		ASSERT(t->n_held + n <= STREAM_MAX_SLICES);
		memcpy(t->held + t->n_held, v, n * sizeof(*v));
		t->n_held += n;
		err = copy_rest(t);
		return err ? err : 1;
	}
	memcpy(t->held, v, n * sizeof(*v));
	left = encrypt(t, t->held, n);
	if (left < 0)
		return left;
	t->n_held = (unsigned)left;
	if (left && !held && (err = copy_rest(t)))
		return err;
	return left || t->plain.s.queued_writes ? 1 : 0;
}

static void on_plain_drained(struct stream *s)
{
	struct stream_tls *t = of_plain(s);
	int left = t->n_held ? encrypt(t, t->held, t->n_held) : 0;

	if (left < 0) {
		fail(t, left);
		return;
	}
	t->n_held = (unsigned)left;
	if (t->n_held || t->plain.s.queued_writes)
		return;
	free(t->copy);
	t->copy = NULL;
	if (t->shut_after)
		plain_shutdown(&t->plain.s);
	else if (t->handshaken && t->s.ev->drained)
		t->s.ev->drained(&t->s);
}

/* --- life
 * ---------------------------------------------------------------------------------------------- */

static const struct stream_events plain_events = {
	.open = on_plain_open,
	.data = on_plain_data,
	.drained = on_plain_drained,
	.eof = on_plain_eof,
	.error = on_plain_error,
	.closed = on_plain_closed,
	.into = on_plain_into,
};

static int tls_scratch(struct loop *l)
{
	if (!l->scratch_tls_in)
		l->scratch_tls_in = malloc(LOOP_SCRATCH_BYTES);
	if (!l->scratch_tls_out)
		l->scratch_tls_out = malloc(LOOP_SCRATCH_BYTES);
	return l->scratch_tls_in && l->scratch_tls_out ? 0 : -ENOMEM;
}

static int tls_setup(struct stream_tls *t, struct tls_client *c)
{
	BIO *bio = bio_method() ? BIO_new(bio_method()) : NULL;
	SSL_SESSION *session;
	int ok;

	t->ssl = bio ? SSL_new(c->ctx) : NULL;
	if (!t->ssl) {
		BIO_free(bio);
		return -ENOMEM;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_connect_state(t->ssl);
	if (t->host_is_ip)
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), t->host);
	else
		ok = SSL_set1_host(t->ssl, t->host) && SSL_set_tlsext_host_name(t->ssl, t->host);
	if (!ok)
		return -EINVAL;
	session = tls_client_take_session(c);
	if (session) {
		(void)SSL_set_session(t->ssl, session);
		SSL_SESSION_free(session);
	}
	return 0;
}

struct stream *stream_tls_new(struct loop *l, struct tls_client *c, const char *server_name,
	bool name_is_ip, const struct stream_events *ev, void *owner)
{
	struct stream_tls *t = calloc(1, sizeof(*t));
	size_t n = strlen(server_name);

	if (!t || n >= sizeof(t->host) || tls_scratch(l)) {
		free(t);
		return NULL;
	}
	memcpy(t->host, server_name, n);
	t->host_is_ip = name_is_ip;
	t->owner = owner;
	t->s.ev = ev;
	t->s.loop = l;
	t->s.kind = STREAM_TLS;
	t->error = "";
	deferred_init(&t->resume, on_resume);
	if (tls_setup(t, c)) {
		SSL_free(t->ssl);
		free(t);
		return NULL;
	}
	stream_plain_init(&t->plain, l, false, &plain_events);
	return &t->s;
}

int stream_tls_connect(struct stream *s, const struct sockaddr *addr)
{
	return stream_connect(&tls_of(s)->plain, addr);
}

void stream_tls_tunnel(struct stream *s, struct slice request)
{
	tls_of(s)->tunnel = request;
}

void stream_tls_free(struct stream *s)
{
	struct stream_tls *t = tls_of(s);

	deferred_cancel(&t->resume);
	/* Quiet shutdown, but a shutdown: else OpenSSL forgets the session. */
	(void)SSL_shutdown(t->ssl);
	SSL_free(t->ssl);
	free(t->kept);
	free(t->copy);
	free(t->proxy_head);
	free(t);
}

void *stream_tls_owner(const struct stream *s)
{
	return tls_of(s)->owner;
}

bool stream_tls_resumed(const struct stream *s)
{
	return s->kind == STREAM_TLS && tls_of(s)->resumed;
}

usec stream_tls_connected_us(const struct stream *s)
{
	return s->kind == STREAM_TLS ? tls_of(s)->connected_us : 0;
}

const char *stream_error_text(const struct stream *s)
{
	return s->kind == STREAM_TLS ? tls_of(s)->error : "";
}

void tls_shutdown(struct stream *s)
{
	struct stream_tls *t = tls_of(s);

	if (t->n_held || t->plain.s.queued_writes)
		t->shut_after = true;
	else
		plain_shutdown(&t->plain.s);
}

void tls_close(struct stream *s, bool reset)
{
	struct stream_tls *t = tls_of(s);

	if (s->closing)
		return;
	s->closing = true;
	s->open = s->reading = false;
	deferred_cancel(&t->resume);
	plain_close(&t->plain.s, reset);
}

int tls_fd(const struct stream *s)
{
	return plain_fd(&tls_of(s)->plain.s);
}
